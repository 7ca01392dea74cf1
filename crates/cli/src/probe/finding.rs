//! What a probe found at each stage.

use posthaste::connection::{CertificateFault, Error, ErrorKind, Proof, Verification};
use posthaste::reply::ReplyCode;
use posthaste::session::{CloseReason, Requirement, Stage};
use serde::Serialize;

use super::dialogue::{Exchange, Heard};
use crate::exit::Exit;
use crate::watch::{describe, trust_hint, unreached};

/// What is known about a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// It works.
    Ok,
    /// The server does not offer it.
    NotOffered,
    /// The server refuses it for good.
    Refused,
    /// The server is busy, or the connection broke: another time it may be otherwise.
    Inconclusive,
    /// The server broke the protocol.
    Violation,
    /// It was not asked for, or there was no need.
    NotTried,
    /// Something before it did not work.
    NotReached,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotOffered => "not offered",
            Self::Refused => "refused",
            Self::Inconclusive => "inconclusive",
            Self::Violation => "protocol violation",
            Self::NotTried => "not tried",
            Self::NotReached => "not reached",
        }
    }

    /// What a reply says: 4yz is for now, whatever it was said to.
    fn of(code: ReplyCode) -> Self {
        if code.is_transient_negative() {
            Self::Inconclusive
        } else if code.is_permanent_negative() {
            Self::Refused
        } else {
            Self::Ok
        }
    }
}

/// A stage's status, and the words that explain it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
}

impl Finding {
    fn new(status: Status, text: impl Into<Option<String>>) -> Self {
        Self { status, text: text.into() }
    }

    pub(super) fn bare(status: Status) -> Self {
        Self::new(status, None)
    }

    /// What became of a connection that was made to authenticate.
    pub(super) fn auth(login: &Heard) -> Self {
        let said = login.exchanges.iter().rev().find(|it| it.is("AUTH"));
        match (&login.error, &login.end) {
            (_, Some(reason @ CloseReason::Violation { .. })) => end(reason),
            _ if login.is_ready => {
                let mechanism = said.and_then(Exchange::mechanism);
                Self::new(Status::Ok, mechanism.map(|mechanism| format!("by {mechanism}")))
            }
            (Some(error), _) => Self::new(handshake(error), unreached(error)),
            (None, Some(reason)) => end(reason),
            (None, None) => Self::bare(Status::NotReached),
        }
    }
}

/// The stages in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Findings {
    pub(super) connect: Finding,
    pub(super) greeting: Finding,
    /// EHLO in the clear.
    pub(super) ehlo: Finding,
    pub(super) starttls: Finding,
    pub(super) tls: Finding,
    /// EHLO within TLS.
    pub(super) ehlo_tls: Finding,
    pub(super) auth: Finding,
    /// How the connection that was not to authenticate ended, where no other stage says so.
    pub(super) session: Finding,
}

/// What a probe was to find out about TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsPlan {
    /// Nothing.
    Off,
    /// Whether STARTTLS works.
    StartTls,
    /// There is TLS from the first octet.
    Implicit,
}

impl Findings {
    /// What was found on a connection that was not to authenticate, and whatever became of that.
    /// `verification` is what the user asks of certificates.
    pub(super) fn of(
        heard: &Heard,
        plan: TlsPlan,
        verification: Verification,
        auth: Finding,
    ) -> Self {
        let probe = Probe { heard, plan, verification };
        Self {
            connect: probe.connect(),
            greeting: probe.greeting(),
            ehlo: probe.ehlo_in_clear(),
            starttls: probe.starttls(),
            tls: probe.tls(),
            ehlo_tls: probe.ehlo_in_tls(),
            auth,
            session: probe.session(),
        }
    }

    fn all(&self) -> [&Finding; 8] {
        let Self { connect, greeting, ehlo, starttls, tls, ehlo_tls, auth, session } = self;
        [connect, greeting, ehlo, starttls, tls, ehlo_tls, auth, session]
    }

    fn any(&self, status: Status) -> bool {
        self.all().iter().any(|finding| finding.status == status)
    }

    /// Whether another probe would find the same.
    pub(super) fn are_conclusive(&self) -> bool {
        !self.any(Status::Inconclusive)
    }

    /// How the command ends. `lacks_tls`: TLS is not as it was demanded.
    pub(super) fn exit(&self, lacks_tls: bool) -> Exit {
        if self.any(Status::Violation) {
            Exit::ProtocolViolation
        } else if !self.are_conclusive() {
            Exit::Deferred
        } else if matches!(self.auth.status, Status::Refused | Status::NotOffered) || lacks_tls {
            Exit::Denied
        } else if self.any(Status::Refused) {
            Exit::Failed
        } else {
            Exit::Done
        }
    }
}

struct Probe<'a> {
    heard: &'a Heard,
    plan: TlsPlan,
    verification: Verification,
}

impl Probe<'_> {
    fn connect(&self) -> Finding {
        match (&self.heard.info, &self.heard.error) {
            (Some(_), _) => Finding::bare(Status::Ok),
            (None, Some(error)) if error.stage() == Stage::Tls => Finding::bare(Status::Ok),
            (None, error) => Finding::new(Status::Inconclusive, error.as_ref().map(unreached)),
        }
    }

    fn greeting(&self) -> Finding {
        let greeting = self.heard.exchanges.iter().find(|it| it.is_greeting());
        self.answered(greeting, |stage| stage == Stage::Greeting)
    }

    fn ehlo_in_clear(&self) -> Finding {
        if self.plan == TlsPlan::Implicit {
            return Finding::bare(Status::NotTried);
        }
        self.hello(false)
    }

    fn ehlo_in_tls(&self) -> Finding {
        match self.plan {
            TlsPlan::Off => Finding::bare(Status::NotTried),
            TlsPlan::StartTls | TlsPlan::Implicit => self.hello(true),
        }
    }

    fn hello(&self, in_tls: bool) -> Finding {
        let is_here = self.is_in_tls() == in_tls;
        // HELO is behind EHLO, and counts instead.
        let hello = |it: &&Exchange| it.is_hello() && it.in_tls == in_tls;
        let hello = self.heard.exchanges.iter().rev().find(hello);
        let mut finding = self.answered(hello, |stage| stage == Stage::Hello && is_here);
        if finding.status == Status::Ok {
            let is_old = hello.is_some_and(|it| it.is("HELO"));
            finding.text = is_old.then(|| "only HELO".to_owned());
        }
        finding
    }

    fn starttls(&self) -> Finding {
        if self.plan != TlsPlan::StartTls {
            return Finding::bare(Status::NotTried);
        }
        let said =
            self.heard.exchanges.iter().chain(&self.heard.before).find(|it| it.is("STARTTLS"));
        let ehlo = self.ehlo_in_clear();
        if said.is_none() && ehlo.status == Status::Ok {
            return Finding::bare(Status::NotOffered);
        }
        self.answered(said, |stage| stage == Stage::StartTls)
    }

    fn tls(&self) -> Finding {
        let info = self.heard.info.as_ref();
        let given_up = info.and_then(|info| info.tls_given_up);
        let ended = self.heard.end.as_ref().filter(|end| end.stage() == Stage::Tls);
        match (info.and_then(|info| info.tls.as_ref()), &self.heard.error, given_up) {
            (Some(tls), _, _) => self.trust(tls.proof),
            (None, Some(error), _) if error.stage() == Stage::Tls => {
                Finding::new(handshake(error), unreached(error))
            }
            // Tried once more, it did not come to a handshake.
            (None, _, Some(_)) => {
                Finding::new(Status::Inconclusive, "TLS handshake failed".to_owned())
            }
            (None, _, None) if ended.is_some() => {
                ended.map_or(Finding::bare(Status::NotReached), end)
            }
            (None, _, None) if self.plan == TlsPlan::Off => Finding::bare(Status::NotTried),
            (None, _, None) => Finding::bare(Status::NotReached),
        }
    }

    /// What the user would have said to the certificate.
    fn trust(&self, proof: Proof) -> Finding {
        let Proof::Unverified(fault) = proof else { return Finding::bare(Status::Ok) };
        let is_accepted = match self.verification {
            Verification::Required => false,
            Verification::Optional => true,
            // The name is looked at last: if it is at fault, nothing else is.
            Verification::DangerousAnyName => fault == CertificateFault::WrongName,
            Verification::DangerousAnyCertificate => fault != CertificateFault::WrongName,
        };
        if is_accepted {
            return Finding::bare(Status::Ok);
        }
        let text = format!("not trusted{}", trust_hint(fault));
        Finding::new(Status::Refused, text)
    }

    fn session(&self) -> Finding {
        match &self.heard.end {
            None => Finding::bare(Status::NotReached),
            Some(reason) if is_told(reason) => Finding::bare(Status::NotReached),
            Some(reason @ CloseReason::Violation { .. }) => end(reason),
            // All has been said by then, and some servers hang up instead of answering.
            Some(reason) if reason.stage() == Stage::Quit => Finding::bare(Status::Ok),
            Some(reason) => end(reason),
        }
    }

    fn is_in_tls(&self) -> bool {
        self.heard.info.as_ref().is_some_and(|info| info.tls.is_some())
    }

    /// What the reply says, if there is one; else how the session ended, if it ended at this stage.
    fn answered(&self, exchange: Option<&Exchange>, is_here: impl Fn(Stage) -> bool) -> Finding {
        let ended = self.heard.end.as_ref().filter(|end| is_here(end.stage()));
        if let Some(CloseReason::Violation { .. }) = ended {
            return ended.map_or(Finding::bare(Status::Violation), end);
        }
        let answer = exchange.filter(|it| it.is_complete() || ended.is_none());
        match (answer.and_then(|it| Some((it.code()?, it.text()))), ended) {
            (Some((code, text)), _) => Finding::new(Status::of(code), text),
            (None, Some(reason)) => end(reason),
            (None, None) => Finding::bare(Status::NotReached),
        }
    }
}

/// What the end of a session says about the stage at which it came.
fn end(reason: &CloseReason) -> Finding {
    let status = match reason {
        CloseReason::Quit => Status::Ok,
        CloseReason::Refused { reply, .. } | CloseReason::Shutdown { reply, .. } => {
            Status::of(reply.code())
        }
        CloseReason::Lost { .. } | CloseReason::Timeout { .. } | CloseReason::Aborted { .. } => {
            Status::Inconclusive
        }
        CloseReason::Violation { .. } | CloseReason::Objected { .. } => Status::Violation,
        CloseReason::Unavailable(Requirement::TlsForAuth) => Status::Refused,
        CloseReason::Unavailable(_) => Status::NotOffered,
    };
    let words = reason.reply().filter(|_| status != Status::Violation);
    let words = words.map(|reply| format!("{} {}", reply.code(), reply.text()));
    Finding::new(status, words.unwrap_or_else(|| describe(reason)))
}

/// Whether the end of a session is told at one of the stages before mail.
fn is_told(end: &CloseReason) -> bool {
    matches!(end.stage(), Stage::Greeting | Stage::Hello | Stage::StartTls | Stage::Tls)
}

/// What a failed connection says: a server without TLS on this port has none tomorrow, and another
/// certificate neither. Other handshakes that fail may be a drop.
fn handshake(error: &Error) -> Status {
    let is_for_good = error.kind() == ErrorKind::NotTls || error.certificate_fault().is_some();
    if is_for_good { Status::Refused } else { Status::Inconclusive }
}
