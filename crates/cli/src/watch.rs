//! What the engine lets us see: counted for summaries, printed for `-v`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Mutex;

use posthaste::connection::Info;
use posthaste::scheduler::{Observation, Observer, Record};
use posthaste::session::{CloseReason, Finished, Session, Speaker};

/// Most different troubles that are told apart; the rest is counted together.
const MAX_TROUBLES: usize = 32;

/// Watches an engine.
pub(crate) struct Watch {
    verbosity: u8,
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
        Self { verbosity, seen: Mutex::default(), samples }
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

    fn record(&self, record: Record) {
        self.say(2, || format!("{record:?}"));
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
            Observation::Attempted(_, _, finished) => {
                if let Some(samples) = &self.samples {
                    samples.attempted(finished);
                }
            }
            Observation::Failed(_, connection, error) => {
                let text = chain(error);
                self.say(1, || format!("[{}] {text}", connection.index()));
                self.note(|seen| seen.failed(text));
            }
            Observation::Closed(_, connection, reason) => {
                self.say(1, || format!("[{}] {}", connection.index(), describe(reason)));
                self.note(|seen| seen.closed(reason));
            }
            Observation::Record(record) => self.record(record),
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
            self.tls = Some(format!("{} {}", tls.version, tls.cipher));
            self.unverified += u64::from(!tls.is_verified);
        }
    }

    fn failed(&mut self, trouble: String) {
        self.failed += 1;
        self.trouble(trouble);
    }

    fn closed(&mut self, reason: &CloseReason) {
        match reason {
            CloseReason::Quit | CloseReason::Aborted { .. } => return,
            CloseReason::Violation { .. } => self.violations += 1,
            CloseReason::Refused { .. } | CloseReason::Unavailable(_) => self.failed += 1,
            _ => {}
        }
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
        CloseReason::Lost { stage } => format!("connection was lost at {stage}"),
        CloseReason::Timeout { stage } => format!("server did not answer in time at {stage}"),
        CloseReason::Violation { stage, violation } => {
            format!("server broke the protocol at {stage}: {violation:?}")
        }
        CloseReason::Objected { stage, objection } => {
            format!("server bears no pipelining at {stage}: {objection:?}")
        }
        CloseReason::Unavailable(what) => {
            format!("server does not offer what is required: {what:?}")
        }
        CloseReason::Aborted { stage } => format!("ended from here at {stage}"),
    }
}
