//! What the engine lets us see: counted for summaries, printed for `-v`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Mutex;
use std::time::Instant;

use posthaste::connection::{CertificateFault, Error, ErrorKind, Info};
use posthaste::scheduler::failure::{Charge, Part};
use posthaste::scheduler::{Observation, Observer, Record, ServerId, Time};
use posthaste::session::{
    CloseReason, Finished, Objection, Requirement, Session, Speaker, Stage, Violation,
};

use crate::units::{counted, elapsed};

mod servers;

pub(crate) use servers::ServerSeen;

/// Most different troubles that are told apart; the rest is counted together.
const MAX_TROUBLES: usize = 32;

/// Watches an engine.
pub(crate) struct Watch {
    verbosity: u8,
    /// The scheduler's epoch, but for the moment between making this and making that.
    started: Instant,
    seen: Mutex<Seen>,
    samples: Option<Box<dyn Samples>>,
}

/// What has been seen so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Connections that took mails.
    pub(crate) opened: u64,
    /// Connections that never came to that.
    pub(crate) failed: u64,
    /// Connections whose server did not prove who it is.
    pub(crate) unverified: u64,
    /// Connections on which the server broke the protocol.
    pub(crate) violations: u64,
    /// The server's address.
    pub(crate) peer: Option<String>,
    /// Version and cipher.
    pub(crate) tls: Option<String>,
    /// The newest trouble.
    pub(crate) trouble: Option<String>,
    /// What went wrong with connections, and how often.
    pub(crate) troubles: BTreeMap<String, u64>,
    /// By [`ServerId::index`]; those that nothing was heard of may be missing at the end.
    pub(crate) servers: Vec<ServerSeen>,
    /// When a mail that was deferred is tried again: the first of those that are known still.
    pub(crate) retry: Option<Time>,
}

/// Takes the times of every connection and attempt.
pub(crate) trait Samples: Send + Sync {
    /// A connection takes mails.
    fn ready(&self, info: &Info, session: &Session);
    /// An attempt is over.
    fn attempted(&self, finished: &Finished);
}

impl Watch {
    /// `verbosity`: 1 prints transcripts, 2 also what the scheduler decides.
    pub(crate) fn new(verbosity: u8, samples: Option<Box<dyn Samples>>) -> Self {
        Self { verbosity, started: Instant::now(), seen: Mutex::default(), samples }
    }

    /// What has been seen so far.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().map(|seen| seen.clone()).unwrap_or_default()
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        if let Ok(mut seen) = self.seen.lock() {
            note(&mut seen);
        }
    }

    fn say(&self, verbosity: u8, text: impl FnOnce() -> String) {
        if self.verbosity >= verbosity {
            // Nobody listening to what is going on is no reason to stop.
            let _ = writeln!(std::io::stderr().lock(), "{}", text());
        }
    }

    /// What the scheduler decided, in words.
    fn record(&self, record: Record) {
        let wait = |until: Time| match until {
            Time::NEVER => "never".to_owned(),
            until => {
                let wait = until.since_epoch().saturating_sub(self.started.elapsed());
                format!("in {}", elapsed(wait))
            }
        };
        let text = match record {
            Record::BackOff { failures, until, .. } => {
                let failures = counted(failures.into(), "failure");
                format!("server: {failures} in a row, next try {}", wait(until))
            }
            Record::Recovered { .. } => "server: works again".to_owned(),
            Record::Held { hold, until, .. } => {
                format!("server: {}, next try {}", hold.reason(), wait(until))
            }
            Record::CeilingLearned { connections, until, .. } => {
                let connections = counted(connections.into(), "connection");
                format!("server: bears {connections}, one more is tried {}", wait(until))
            }
            Record::SessionCapLearned { mails, .. } => {
                format!("server: takes {} over a connection", counted(mails.into(), "mail"))
            }
            Record::RecipientCapLearned { recipients, .. } => {
                format!("server: takes {} at a time", counted(recipients.into(), "recipient"))
            }
            Record::PaceLearned { per_minute, .. } => {
                format!("server: takes {} a minute", counted(per_minute.into(), "mail"))
            }
            Record::GreylistLearned { wait, .. } => {
                format!("server: takes what it greylists after {}", elapsed(wait))
            }
            Record::Overloaded { window, .. } => {
                format!("server: is slow, gets {} at a time", counted(window.into(), "mail"))
            }
            Record::PipeliningLearned { mode, .. } => format!("server: pipelining is {mode} now"),
            Record::Deferred { job, attempts, until } => {
                let attempts = counted(attempts.into(), "attempt");
                format!("mail {}: deferred after {attempts}, next {}", job.index(), wait(until))
            }
            Record::Requeued { job, charge } => {
                format!("mail {}: tried again, {}", job.index(), requeued(charge))
            }
            // The end of the session has said so.
            Record::Closed { .. } => return,
            _ => return,
        };
        self.say(2, || text);
    }
}

impl Observer for Watch {
    fn observe(&self, observation: Observation<'_>) {
        match observation {
            Observation::Ready(_, _, info, session) => {
                self.note(|seen| seen.ready(info));
                if let Some(samples) = &self.samples {
                    samples.ready(info, session);
                }
            }
            Observation::Attempted(server, _, finished, ..) => {
                self.note(|seen| seen.server(server, |server| server.attempted(finished)));
                if let Some(samples) = &self.samples {
                    samples.attempted(finished);
                }
            }
            Observation::Failed(server, connection, error) => {
                let text = unreached(error);
                self.say(1, || format!("[{}] {text}", connection.index()));
                self.note(|seen| {
                    seen.server(server, |server| server.said(text.clone()));
                    seen.failed(text);
                });
            }
            Observation::Closed(server, connection, reason) => {
                self.say(1, || format!("[{}] {}", connection.index(), describe(reason)));
                self.note(|seen| seen.closed(server, reason));
            }
            Observation::TokenRefused(_, connection, words) => {
                self.say(1, || {
                    format!("[{}] server refuses the token: {words}", connection.index())
                });
            }
            Observation::Record(record) => {
                if let Record::Deferred { until, .. } = record {
                    let now = Time::after_epoch(self.started.elapsed());
                    self.note(|seen| seen.deferred(now, until));
                }
                self.record(record);
            }
            Observation::Transcript(connection, line) => {
                let mark = match line.speaker {
                    Speaker::Client => "->",
                    Speaker::Server => "<-",
                };
                self.say(1, || format!("[{}] {mark} {}", connection.index(), line.text));
            }
            _ => {}
        }
    }
}

impl Seen {
    fn ready(&mut self, info: &Info) {
        self.opened += 1;
        self.peer = Some(info.peer.to_string());
        if let Some(tls) = &info.tls {
            // From the names of an enum: TLSv1_3, TLS13_AES_256_GCM_SHA384.
            let version = tls.version.replace("TLSv", "TLS ").replace('_', ".");
            self.tls = Some(format!("{version} {}", tls.cipher.replace("TLS13_", "TLS_")));
            self.unverified += u64::from(!tls.is_verified());
        }
        if let Some(kind) = info.tls_given_up {
            self.trouble(given_up(kind).to_owned());
        }
    }

    fn failed(&mut self, trouble: String) {
        self.failed += 1;
        self.trouble(trouble);
    }

    fn server(&mut self, server: ServerId, note: impl FnOnce(&mut ServerSeen)) {
        if let Some(server) = servers::entry(&mut self.servers, server) {
            note(server);
        }
    }

    fn deferred(&mut self, now: Time, until: Time) {
        let known = self.retry.filter(|&retry| retry > now);
        self.retry = Some(known.map_or(until, |known| known.min(until)));
    }

    fn closed(&mut self, server: ServerId, reason: &CloseReason) {
        match reason {
            CloseReason::Quit | CloseReason::Aborted { .. } => return,
            CloseReason::Violation { .. } => self.violations += 1,
            CloseReason::Refused { stage, .. } if *stage <= Stage::Auth => self.failed += 1,
            CloseReason::Unavailable(_) => self.failed += 1,
            _ => {}
        }
        self.server(server, |server| server.said(describe(reason)));
        self.trouble(describe(reason));
    }

    fn trouble(&mut self, trouble: String) {
        let is_told_apart =
            self.troubles.contains_key(&trouble) || self.troubles.len() < MAX_TROUBLES;
        let key = if is_told_apart { trouble.clone() } else { "other".to_owned() };
        *self.troubles.entry(key).or_default() += 1;
        self.trouble = Some(trouble);
    }
}

/// An error and all that led to it, on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        // Some errors repeat their source.
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        next = error.source();
    }
    text
}

/// Why there is no connection, in words, and what to do where that helps.
pub(crate) fn unreached(error: &Error) -> String {
    let text = chain(error);
    match (error.kind(), error.certificate_fault()) {
        (_, Some(fault)) => format!("{text}{}", trust_hint(fault)),
        (ErrorKind::Handshake | ErrorKind::NotTls, None) => format!(
            "{text} (smtps:// is for servers that begin with TLS, smtp:// for those that do not)"
        ),
        (_, None) => text,
    }
}

/// What to do about a certificate, if anything.
pub(crate) fn trust_hint(fault: CertificateFault) -> &'static str {
    match fault {
        CertificateFault::Unusable => "",
        CertificateFault::WrongName => " (--tls-name NAME expects another name, -k trusts any)",
        CertificateFault::SelfSigned => {
            " (--cacert FILE trusts it if it is no authority's, -k trusts any)"
        }
        CertificateFault::UnknownIssuer => " (--cacert FILE trusts its authority, -k trusts any)",
        _ => " (-k trusts any)",
    }
}

/// Why a connection has no TLS although the server offers it.
fn given_up(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::HandshakeTimeout => {
            "TLS handshake took too long, so mail went in the clear (--tls require)"
        }
        _ => "TLS handshake failed, so mail went in the clear (--tls require)",
    }
}

/// The end of a session, in words.
pub(crate) fn describe(reason: &CloseReason) -> String {
    let reply = |reply: &posthaste::reply::ReplyBuf| format!("{} {}", reply.code(), reply.text());
    match reason {
        CloseReason::Quit => "session ended".to_owned(),
        CloseReason::Refused { stage, reply: words } => {
            format!("{stage} was refused: {}", reply(words))
        }
        CloseReason::Shutdown { stage, reply: words } => {
            format!("server closed at {stage}: {}", reply(words))
        }
        CloseReason::Lost { stage: Stage::Greeting } => "connection was lost before the greeting \
             (smtps:// is for servers that begin with TLS)"
            .to_owned(),
        CloseReason::Lost { stage } => format!("connection was lost at {stage}"),
        CloseReason::Timeout { stage: Stage::Greeting } => "server did not answer in time at \
             greeting (smtps:// is for servers that begin with TLS)"
            .to_owned(),
        CloseReason::Timeout { stage } => format!("server did not answer in time at {stage}"),
        CloseReason::Violation { stage, violation } => {
            format!("server broke the protocol at {stage}: {}", violated(violation))
        }
        CloseReason::Objected { objection: Objection::Chunking, .. } => {
            format!("server does without BDAT from now on: {}", objected(Objection::Chunking))
        }
        CloseReason::Objected { stage, objection } => {
            format!("server bears no such pipelining at {stage}: {}", objected(*objection))
        }
        CloseReason::Unavailable(what) => unavailable(*what).to_owned(),
        CloseReason::Aborted { stage } => format!("ended from here at {stage}"),
    }
}

fn violated(violation: &Violation) -> String {
    match violation {
        Violation::Malformed(error) => error.to_string(),
        Violation::Grammar(error) => error.to_string(),
        Violation::UnexpectedReply(reply) => {
            format!("got an unexpected {} {}", reply.code(), reply.text())
        }
        Violation::BareLf => "got a line that ends in LF alone".to_owned(),
        Violation::Surplus => "got a reply to nothing".to_owned(),
        Violation::BeforeTls => "got octets in the clear where TLS was to begin".to_owned(),
        Violation::EndlessAuth => "got one challenge after another".to_owned(),
        Violation::Auth(failure) => failure.to_string(),
        _ => format!("{violation:?}"),
    }
}

fn objected(objection: Objection) -> &'static str {
    match objection {
        Objection::BadSequence => "it complains about the order of commands",
        Objection::Synchronization => "it complains about commands ahead of its replies",
        Objection::Close => "it closed the connection",
        Objection::Stall => "it fell silent",
        Objection::Surplus => "it sent more replies than commands came",
        Objection::Chunking => "it does not know BDAT, although it offers CHUNKING",
    }
}

fn unavailable(requirement: Requirement) -> &'static str {
    match requirement {
        Requirement::Tls => "server does not offer STARTTLS, which is required",
        Requirement::AuthMechanism => "server offers no AUTH mechanism that may be used (--auth)",
        Requirement::Xclient => "server does not let this client speak for another one (XCLIENT)",
        Requirement::TlsForAuth => {
            "credentials are sent only over TLS, which there is none of (--auth-plaintext sends \
             them all the same)"
        }
    }
}

fn requeued(charge: Charge) -> &'static str {
    match charge {
        Charge::Unsent => "nothing of it was sent",
        Charge::Split => "the server takes fewer recipients at a time",
        Charge::Interrupted(Part::Envelope) => "the connection ended before its content",
        Charge::Interrupted(Part::Content) => "the connection ended within its content",
        Charge::Throttled => "the server has too much to do",
        Charge::Counted => "the server deferred it",
    }
}
