//! What follows from what: from outcomes and ends of connections to consequences.
//!
//! Three subjects, told apart here and nowhere else: the *recipient* (final or another attempt, and
//! whether that one counts), the *connection* (the session closes what cannot be used any more),
//! the *server* (left alone for a while or not, and what it teaches: [`Lesson`]). All functions are
//! pure and their matches complete. [`table::TABLE`] shows what they say, row by row.

mod consequence;
mod lesson;
pub mod table;

use std::time::Duration;

use posthaste_session::reply::{Class, ReplyBuf, ReplyCode, Scope};
use posthaste_session::{CloseReason, NotSent, Objection, Outcome, Refusal, Stage, Violation};

pub use self::consequence::{Consequence, Reading, read};
pub use self::lesson::{Lesson, MAX_PAUSE, SLOWED, close_lesson, close_pause, connect_lesson};
use crate::planner::Answer;

/// What one recipient's outcome means for this recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server took the mail.
    Delivered,
    /// The server will not take it, today or tomorrow.
    Failed,
    /// Nobody knows; sending again may deliver twice.
    InDoubt,
    /// Try again after the minutes that greylisting servers want; the attempt counts.
    Greylisted(Greylisting),
    /// Try again.
    Again(Charge),
}

/// How sure it is that a recipient is greylisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greylisting {
    /// The server says so.
    Said,
    /// It looks like it. A server that was only busy for a moment looks the same.
    Guessed,
}

/// What another attempt costs a mail. The order is that of a mail with several recipients: what
/// stands further down wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Charge {
    /// Nothing of it was tried: it is first in the queue again.
    Unsent,
    /// The server takes fewer recipients a mail: those left over go at once, if others were taken.
    Split,
    /// The connection ended within its transaction. Free, unless this mail makes a habit of it.
    Interrupted(Part),
    /// The server has too much to do: free, but the server is left alone for a while.
    Throttled,
    /// The server deferred this mail: the attempt counts.
    Counted,
}

/// Which part of a mail was on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// MAIL, RCPT, DATA.
    Envelope,
    /// The content.
    Content,
}

/// What a recipient's outcome means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// For this recipient.
    pub verdict: Verdict,
    /// For the server and the connection.
    pub answer: Answer,
    /// How long the server would like the recipient to wait, if there is another attempt.
    pub asked: Duration,
    /// How long the server would like to be left alone by whoever shares what it complains of, at
    /// most [`MAX_PAUSE`]; zero if it complains of this mail, or names no time.
    pub pause: Duration,
    /// What it teaches about the server.
    pub lesson: Lesson,
}

/// What a recipient's outcome means.
pub fn judge(outcome: &Outcome) -> Judgement {
    let (verdict, answer) = match outcome {
        Outcome::Delivered(_) => (Verdict::Delivered, Answer::Accepted),
        Outcome::Refused(refusal) => return refused(refusal),
        Outcome::InDoubt => (Verdict::InDoubt, Answer::Nothing),
        Outcome::NotSent(not_sent) => {
            let charge = match not_sent {
                // Those of a mail that the server does take go first, so this comes to an end.
                NotSent::NeverStarted | NotSent::Pipelining | NotSent::Limit => Charge::Unsent,
                NotSent::Interrupted(stage) => Charge::Interrupted(part(*stage)),
                // Whoever was refused decides for all; alone it means nothing.
                NotSent::AllOrNothing => Charge::Counted,
            };
            (Verdict::Again(charge), Answer::Nothing)
        }
    };
    let (asked, pause) = (Duration::ZERO, Duration::ZERO);
    Judgement { verdict, answer, asked, pause, lesson: Lesson::Nothing }
}

fn refused(refusal: &Refusal) -> Judgement {
    let Refusal { stage, reply } = refusal;
    let reading = read(*stage, reply.as_reply());
    let Reading { class, scope, consequence, wait } = reading;
    let at_mail = *stage == Stage::Mail;
    let is_mails_own = is_mails_own(class, scope);
    let interrupted = Verdict::Again(Charge::Interrupted(part(*stage)));
    let counted = Verdict::Again(Charge::Counted);
    let (verdict, answer) = match consequence {
        // It closes the connection over this mail, and would do so again.
        _ if is_shutdown(reply) && is_mails_own => (counted, Answer::Refused),
        _ if is_shutdown(reply) && *stage == Stage::Final => (counted, Answer::Nothing),
        _ if is_shutdown(reply) => (interrupted, Answer::Nothing),
        Consequence::Reconnect => (interrupted, Answer::Exhausted),
        Consequence::Retry if at_mail && !is_mails_own => (counted, Answer::Deferred),
        Consequence::Retry => (counted, Answer::Refused),
        Consequence::Greylist => {
            let said = if wait.is_some() { Greylisting::Said } else { Greylisting::Guessed };
            (Verdict::Greylisted(said), Answer::Refused)
        }
        Consequence::Split => (Verdict::Again(Charge::Split), Answer::Refused),
        Consequence::SlowDown | Consequence::LimitConnections | Consequence::BackOff => {
            // At MAIL the server knows next to nothing of the mail. Later it may be the mail that
            // it finds too much, and what it calls a refusal for good must come to an end.
            let is_free = at_mail && refusal.is_transient();
            let charge = if is_free { Charge::Throttled } else { Charge::Counted };
            (Verdict::Again(charge), Answer::Throttled)
        }
        // What is no refusal is no delivery either.
        Consequence::Proceed
        | Consequence::Deliver
        | Consequence::Fail
        | Consequence::HoldAccount
        | Consequence::HoldServer => (Verdict::Failed, Answer::Refused),
    };
    Judgement {
        verdict,
        answer,
        asked: wait.unwrap_or_default(),
        pause: lesson::pause(&reading),
        lesson: lesson::lesson(*stage, reply.as_reply(), &reading),
    }
}

/// Whether a reply is about this mail, so that others may hear something else. What names no reason
/// is the server's doing.
fn is_mails_own(class: Class, scope: Scope) -> bool {
    match scope {
        Scope::Sender | Scope::Recipient | Scope::Transaction | Scope::Mail => {
            class != Class::LocalError
        }
        Scope::Connection
        | Scope::Session
        | Scope::Connections
        | Scope::Host
        | Scope::Source
        | Scope::Account => false,
    }
}

fn part(stage: Stage) -> Part {
    match stage {
        Stage::Content | Stage::Final => Part::Content,
        Stage::Connect
        | Stage::Tls
        | Stage::Greeting
        | Stage::Hello
        | Stage::StartTls
        | Stage::Xclient
        | Stage::Auth
        | Stage::Mail
        | Stage::Rcpt
        | Stage::Data
        | Stage::Reset
        | Stage::Idle
        | Stage::Quit => Part::Envelope,
    }
}

/// What the end of a connection, or of the try to open one, means for its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It was closed from here, or ended while it had nothing to do: says nothing.
    Unremarkable,
    /// The server did not bear the pipelining mode. Costs it a mode, and nothing else.
    Objected,
    /// The server closes in good order, by 421 (RFC 5321 section 3.8). Says nothing if the
    /// connection had been of use.
    Shutdown,
    /// The same, because mail came too fast: the server is left alone for a while.
    Throttled,
    /// The connection broke although something was expected of it. Says nothing if the connection
    /// had been of use: a line can break.
    Broken,
    /// Nobody answered, or nobody who speaks SMTP: there is no such server, it is down, or the port
    /// is another service's.
    Absent(Weight),
    /// The server is in trouble.
    Failure(Weight),
    /// The server broke the protocol; twice is a failure.
    Violation,
    /// The server has as many connections as it wants.
    TooManyConnections,
    /// The server wants no mail from here: its greeting was a permanent refusal.
    Unwelcome,
    /// The server does not take the credentials.
    Credentials,
    /// The server does not have what the settings demand: TLS, a certificate, a mechanism.
    Requirement,
    /// This machine has no descriptors, ports or memory left, or no such source address.
    Local,
}

/// How much a failure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Once.
    Single,
    /// Twice: finding it out took long.
    Double,
}

/// Why no connection could be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectFailure {
    /// The name did not resolve.
    Resolve,
    /// Nobody listens.
    Refused,
    /// No way there, or the connection broke before the greeting.
    Unreachable,
    /// No answer.
    Timeout,
    /// The TLS handshake failed.
    Tls,
    /// TLS would work, but the certificate does not prove who the server is.
    Certificate,
    /// No descriptors, ports or memory on this machine, or no such source address.
    Local,
}

/// What a failed try to connect means for the server.
pub fn connect_failed(failure: ConnectFailure) -> Closed {
    match failure {
        ConnectFailure::Resolve
        | ConnectFailure::Refused
        | ConnectFailure::Unreachable
        | ConnectFailure::Tls => Closed::Absent(Weight::Single),
        ConnectFailure::Timeout => Closed::Absent(Weight::Double),
        ConnectFailure::Certificate => Closed::Requirement,
        ConnectFailure::Local => Closed::Local,
    }
}

/// What the end of a session means for the server.
pub fn closed(reason: &CloseReason) -> Closed {
    match reason {
        CloseReason::Quit | CloseReason::Aborted { .. } => Closed::Unremarkable,
        // It is known from now on, and everything goes by DATA.
        CloseReason::Objected { objection: Objection::Chunking, .. } => Closed::Unremarkable,
        CloseReason::Objected { .. } => Closed::Objected,
        CloseReason::Refused { stage, reply } => session_refused(*stage, reply),
        CloseReason::Shutdown { stage, reply } => shut_down(*stage, reply),
        CloseReason::Lost { stage } => lost(*stage),
        CloseReason::Timeout { stage } => timed_out(*stage),
        CloseReason::Violation { stage: Stage::Greeting, .. } => Closed::Absent(Weight::Single),
        // As little of a proof as a certificate that is not valid.
        CloseReason::Violation { violation: Violation::Auth(_), .. } => Closed::Requirement,
        CloseReason::Violation { .. } => Closed::Violation,
        CloseReason::Unavailable(_) => Closed::Requirement,
    }
}

fn session_refused(stage: Stage, reply: &ReplyBuf) -> Closed {
    let Reading { consequence, scope, wait, .. } = read(stage, reply.as_reply());
    match consequence {
        Consequence::LimitConnections => Closed::TooManyConnections,
        // What was refused is one mail, before all of it was written.
        _ if stage == Stage::Content => Closed::Unremarkable,
        Consequence::HoldServer => Closed::Unwelcome,
        Consequence::HoldAccount => Closed::Credentials,
        Consequence::Reconnect => Closed::Unremarkable,
        // Each further login would lengthen the lock.
        Consequence::BackOff if scope == Scope::Account && wait.is_some() => {
            Closed::Failure(Weight::Double)
        }
        Consequence::BackOff
        | Consequence::SlowDown
        | Consequence::Proceed
        | Consequence::Deliver
        | Consequence::Fail
        | Consequence::Retry
        | Consequence::Greylist
        | Consequence::Split => Closed::Failure(Weight::Single),
    }
}

fn shut_down(stage: Stage, reply: &ReplyBuf) -> Closed {
    match read(stage, reply.as_reply()).consequence {
        Consequence::LimitConnections => Closed::TooManyConnections,
        Consequence::SlowDown => Closed::Throttled,
        Consequence::BackOff
        | Consequence::HoldAccount
        | Consequence::HoldServer
        | Consequence::Reconnect
        | Consequence::Proceed
        | Consequence::Deliver
        | Consequence::Fail
        | Consequence::Retry
        | Consequence::Greylist
        | Consequence::Split => Closed::Shutdown,
    }
}

fn lost(stage: Stage) -> Closed {
    match stage {
        stage if is_between_mails(stage) => Closed::Unremarkable,
        Stage::Greeting => Closed::Absent(Weight::Single),
        // It may have been closed for its idleness, just when it was used again.
        Stage::Mail | Stage::Rcpt | Stage::Data | Stage::Final => Closed::Broken,
        _ => Closed::Failure(Weight::Single),
    }
}

fn timed_out(stage: Stage) -> Closed {
    match stage {
        stage if is_between_mails(stage) => Closed::Unremarkable,
        Stage::Connect => Closed::Failure(Weight::Double),
        Stage::Greeting => Closed::Absent(Weight::Single),
        _ => Closed::Failure(Weight::Single),
    }
}

/// No mail was on its way, so nothing is lost but a connection that had no more to do.
fn is_between_mails(stage: Stage) -> bool {
    matches!(stage, Stage::Reset | Stage::Idle | Stage::Quit)
}

/// Whether the server is about to close the connection, whatever it was asked.
fn is_shutdown(reply: &ReplyBuf) -> bool {
    reply.code() == ReplyCode::NOT_AVAILABLE
}

#[cfg(test)]
mod tests {
    use posthaste_session::AuthFailure;
    use posthaste_session::reply::Reply;

    use super::*;

    fn reply(line: &str) -> ReplyBuf {
        Reply::parse(format!("{line}\r\n").as_bytes()).unwrap().to_owned()
    }

    /// The session reports 421 as the end of a connection. Who has heard it as a refusal is told
    /// the same: it costs the mail nothing, unless the server closes over this very mail.
    #[test]
    fn refusals_with_421_cost_only_the_mail_that_is_the_reason() {
        use Stage::{Final, Mail, Rcpt};
        let counted = Verdict::Again(Charge::Counted);
        let interrupted = Verdict::Again(Charge::Interrupted(Part::Envelope));
        for (stage, line, expected) in [
            (Mail, "421 4.3.2 shutting down", interrupted),
            (Mail, "421 4.7.28 unusual rate of mail", interrupted),
            (Mail, "421 4.7.0 this message is suspicious", counted),
            (Rcpt, "421 4.7.0 too many errors", interrupted),
            (Final, "421 4.3.0 going down", counted),
            (Final, "421 4.7.0 this message is suspicious and has been blocked", counted),
        ] {
            let refusal = Refusal { stage, reply: reply(line) };
            assert_eq!(judge(&Outcome::Refused(refusal)).verdict, expected, "{stage} {line}");
        }
    }

    /// SCHED-05: what is deferred at MAIL over the sender says nothing about the server.
    #[test]
    fn only_the_servers_own_trouble_at_mail_counts_against_it() {
        for (line, expected) in [
            ("451 4.3.0 local error", Answer::Deferred),
            ("452 4.3.1 no space", Answer::Deferred),
            ("451 hm", Answer::Deferred),
            ("450 4.7.1 blocked using dnsbl.example.net", Answer::Deferred),
            ("450 4.1.8 <a@b.test>: Sender address rejected: Domain not found", Answer::Refused),
            ("450 4.7.26 SPF failed", Answer::Refused),
            ("550 Sender frequency limited", Answer::Refused),
            ("421 4.7.0 this message is suspicious", Answer::Refused),
            ("421 4.3.2 shutting down", Answer::Nothing),
        ] {
            let refusal = Refusal { stage: Stage::Mail, reply: reply(line) };
            assert_eq!(judge(&Outcome::Refused(refusal)).answer, expected, "{line}");
        }
    }

    /// CL-01: before the end of content it is free, behind it nobody knows.
    #[test]
    fn mails_that_nobody_refused() {
        let again = Verdict::Again;
        for (outcome, expected) in [
            (Outcome::Delivered(reply("250 ok")), Verdict::Delivered),
            (Outcome::InDoubt, Verdict::InDoubt),
            (Outcome::NotSent(NotSent::NeverStarted), again(Charge::Unsent)),
            (Outcome::NotSent(NotSent::Pipelining), again(Charge::Unsent)),
            (Outcome::NotSent(NotSent::AllOrNothing), again(Charge::Counted)),
            (
                Outcome::NotSent(NotSent::Interrupted(Stage::Rcpt)),
                again(Charge::Interrupted(Part::Envelope)),
            ),
            (
                Outcome::NotSent(NotSent::Interrupted(Stage::Content)),
                again(Charge::Interrupted(Part::Content)),
            ),
        ] {
            assert_eq!(judge(&outcome).verdict, expected, "{outcome:?}");
        }
    }

    /// What the table has no row for: how sessions end otherwise.
    #[test]
    fn ended_sessions() {
        use Stage::{Auth, Final, Greeting, Mail, Rcpt};
        let violates = |stage, violation| CloseReason::Violation { stage, violation };
        for (reason, expected) in [
            (CloseReason::Quit, Closed::Unremarkable),
            (CloseReason::Lost { stage: Mail }, Closed::Broken),
            (CloseReason::Lost { stage: Rcpt }, Closed::Broken),
            (CloseReason::Lost { stage: Auth }, Closed::Failure(Weight::Single)),
            (violates(Greeting, Violation::Surplus), Closed::Absent(Weight::Single)),
            (violates(Mail, Violation::Surplus), Closed::Violation),
            // SCRAM-03
            (violates(Auth, Violation::Auth(AuthFailure::ServerSignature)), Closed::Requirement),
            (CloseReason::Objected { stage: Mail, objection: Objection::Close }, Closed::Objected),
            (
                CloseReason::Objected { stage: Final, objection: Objection::Chunking },
                Closed::Unremarkable,
            ),
        ] {
            assert_eq!(closed(&reason), expected, "{reason:?}");
        }
    }

    /// Servers' phrases are found whatever their case, and in any line of a reply.
    #[test]
    fn phrases_are_found_in_any_line() {
        let octets = b"421-4.7.0 mx.example.org\r\n421 4.7.0 TOO MANY CONNECTIONS from you\r\n";
        let reply = Reply::parse(octets).unwrap().to_owned();
        let reason = CloseReason::Shutdown { stage: Stage::Greeting, reply };
        assert_eq!(closed(&reason), Closed::TooManyConnections);
    }
}
