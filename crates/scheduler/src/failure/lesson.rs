//! What a server teaches about itself, besides what becomes of a mail.

use std::time::Duration;

use posthaste_session::reply::{Class, Reply, Scope};
use posthaste_session::{CloseReason, Stage};

use super::consequence::{Consequence, Reading, read};
use super::{ConnectFailure, is_between_mails, is_mails_own};

/// What is learned of a server. The order is that of a mail with several recipients: what stands
/// further down wins. Complete on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lesson {
    /// Nothing.
    #[default]
    Nothing,
    /// It has too much to do, and does not say how much less it would bear.
    Overloaded,
    /// It thinks little of this sender: for [`SLOWED`] it gets as little as possible.
    Slowed,
    /// One mail may have as many recipients as it accepted of this one.
    RecipientCap,
    /// It named no reason that a mail could have. If the connection had delivered mails, these may
    /// have been its share; it is, if the same mail is taken over another connection.
    PerhapsSessionCap,
    /// A session may have as many mails as it delivered on this connection.
    SessionCap,
    /// It bears as many connections as there are besides this one.
    Ceiling,
}

/// How long a server is slowed down that spoke of reputation. Arbitrary; reputation is measured
/// over hours, and a pause of minutes shows goodwill at the price of few mails.
pub const SLOWED: Duration = Duration::from_secs(10 * 60);

/// The longest pause that a server gets for its words: more than four hours, and a mail would
/// rather come back.
pub const MAX_PAUSE: Duration = Duration::from_secs(4 * 60 * 60);

/// How long a server asked to be left alone when it ended a session, at most [`MAX_PAUSE`]; zero if
/// it did not, or spoke of one mail only.
pub fn close_pause(reason: &CloseReason) -> Duration {
    last_words(reason).map_or(Duration::ZERO, |(stage, reply)| pause(&read(stage, reply)))
}

/// What the end of a session teaches.
pub fn close_lesson(reason: &CloseReason) -> Lesson {
    if let Some((stage, reply)) = last_words(reason) {
        return lesson(stage, reply, &read(stage, reply));
    }
    match reason {
        CloseReason::Timeout { stage } if !is_between_mails(*stage) => Lesson::Overloaded,
        CloseReason::Lost { stage: Stage::Content } => Lesson::Overloaded,
        CloseReason::Timeout { .. }
        | CloseReason::Lost { .. }
        | CloseReason::Quit
        | CloseReason::Refused { .. }
        | CloseReason::Shutdown { .. }
        | CloseReason::Violation { .. }
        | CloseReason::Objected { .. }
        | CloseReason::Unavailable(_)
        | CloseReason::Aborted { .. } => Lesson::Nothing,
    }
}

/// What a failed try to connect teaches.
pub fn connect_lesson(failure: ConnectFailure) -> Lesson {
    match failure {
        ConnectFailure::Timeout => Lesson::Overloaded,
        ConnectFailure::Resolve
        | ConnectFailure::Refused
        | ConnectFailure::Unreachable
        | ConnectFailure::Tls
        | ConnectFailure::Certificate
        | ConnectFailure::Local => Lesson::Nothing,
    }
}

/// The reply that ended a session.
fn last_words(reason: &CloseReason) -> Option<(Stage, Reply<'_>)> {
    match reason {
        CloseReason::Refused { stage, reply } | CloseReason::Shutdown { stage, reply } => {
            Some((*stage, reply.as_reply()))
        }
        CloseReason::Quit
        | CloseReason::Lost { .. }
        | CloseReason::Timeout { .. }
        | CloseReason::Violation { .. }
        | CloseReason::Objected { .. }
        | CloseReason::Unavailable(_)
        | CloseReason::Aborted { .. } => None,
    }
}

/// How long the server is to be left alone, as far as a reply is about more than one mail.
pub(super) fn pause(reading: &Reading) -> Duration {
    let asked = match reading.scope {
        Scope::Connection
        | Scope::Session
        | Scope::Connections
        | Scope::Host
        | Scope::Source
        | Scope::Account => reading.wait,
        Scope::Sender | Scope::Recipient | Scope::Transaction | Scope::Mail => None,
    };
    asked.unwrap_or_default().min(MAX_PAUSE)
}

/// What a reply teaches that was said at this stage.
pub(super) fn lesson(stage: Stage, reply: Reply<'_>, reading: &Reading) -> Lesson {
    let Reading { class, scope, consequence, .. } = *reading;
    let code = reply.code();
    let is_permanent = code.is_permanent_negative();
    match (class, scope) {
        _ if !code.is_negative() => Lesson::Nothing,
        (Class::Throttled, Scope::Connections) => Lesson::Ceiling,
        (Class::Throttled, Scope::Session) => Lesson::SessionCap,
        // Between mails it may close as it likes.
        _ if is_between_mails(stage) => Lesson::Nothing,
        _ if consequence == Consequence::Split && counts_recipients(reply) => Lesson::RecipientCap,
        (Class::Throttled, Scope::Host) => Lesson::Overloaded,
        (
            Class::Throttled | Class::ShuttingDown,
            Scope::Host | Scope::Sender | Scope::Recipient | Scope::Transaction | Scope::Mail,
        ) if says_overload(reply) => Lesson::Overloaded,
        (Class::PolicySpam, Scope::Source) if is_permanent && stage == Stage::Final => {
            Lesson::Slowed
        }
        // Reasons of their own.
        (Class::Throttled | Class::Timeout, _) => Lesson::Nothing,
        _ if matches!(stage, Stage::Mail | Stage::Data)
            && !is_permanent
            && !is_mails_own(class, scope) =>
        {
            Lesson::PerhapsSessionCap
        }
        _ => Lesson::Nothing,
    }
}

/// Whether it is their number that it minds, not that they are of several domains (Q34).
fn counts_recipients(reply: Reply<'_>) -> bool {
    let status = reply.enhanced().map(|status| (status.subject(), status.detail()));
    matches!(reply.code().value(), 452 | 552) || status == Some((5, 3))
}

/// RFC 3463, sections 3.4 and 3.5: the system accepts no mail for now, or is congested.
fn says_overload(reply: Reply<'_>) -> bool {
    let status = reply.enhanced().map(|status| (status.subject(), status.detail()));
    matches!(status, Some((3, 2) | (4, 5)))
}

#[cfg(test)]
mod tests {
    use posthaste_session::reply::ReplyBuf;

    use super::*;

    fn reply(line: &str) -> ReplyBuf {
        Reply::parse(format!("{line}\r\n").as_bytes()).unwrap().to_owned()
    }

    fn shutdown(stage: Stage, line: &str) -> CloseReason {
        CloseReason::Shutdown { stage, reply: reply(line) }
    }

    fn refused(stage: Stage, line: &str) -> CloseReason {
        CloseReason::Refused { stage, reply: reply(line) }
    }

    /// Row 34, Q65: mails are what there were too many of, not errors, and not of all connections.
    #[test]
    fn only_too_many_mails_are_a_session_cap() {
        for (line, expected) in [
            ("421 too many messages in this connection", true),
            ("421 Max message per connection reached, closing transmission channel", true),
            ("421 4.7.0 exceeded maximum number of mails per session", true),
            ("421 4.7.0 Error: too many errors", false),
            ("421 Too many concurrent SMTP connections", false),
            ("421 Too many messages from your address, closing connection", false),
            ("421 4.4.2 timeout exceeded", false),
            ("421 closing transmission channel", false),
        ] {
            for stage in [Stage::Mail, Stage::Idle, Stage::Reset] {
                let is_cap = close_lesson(&shutdown(stage, line)) == Lesson::SessionCap;
                assert_eq!(is_cap, expected, "{stage} {line}");
            }
        }
        assert_eq!(close_lesson(&CloseReason::Quit), Lesson::Nothing);
        assert_eq!(close_lesson(&CloseReason::Lost { stage: Stage::Mail }), Lesson::Nothing);
    }

    /// Rows 7, 8 and 15 to 17: however the session ended, the words count.
    #[test]
    fn a_pause_is_as_long_as_it_is_asked_for_and_no_longer() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        for (reason, expected) in [
            (shutdown(Stage::Mail, "421 4.3.2 try again in 10 minutes"), minutes(10)),
            (shutdown(Stage::Greeting, "421 too busy, try again in 2 hours"), minutes(120)),
            (refused(Stage::Greeting, "450 try again in 1 minute"), minutes(1)),
            (refused(Stage::Greeting, "554 5.7.1 no mail here"), minutes(0)),
            (refused(Stage::Auth, "454 4.7.0 Too many login attempts"), minutes(10)),
            (shutdown(Stage::Mail, "421 4.7.28 unusual rate of mail"), minutes(60)),
            (refused(Stage::Content, "451 4.7.1 try again in 10 minutes"), minutes(0)),
            (CloseReason::Timeout { stage: Stage::Mail }, minutes(0)),
        ] {
            assert_eq!(close_pause(&reason), expected, "{reason:?}");
        }
        let asked = Some(2 * MAX_PAUSE);
        let endless = Reading {
            class: Class::Throttled,
            scope: Scope::Source,
            consequence: Consequence::SlowDown,
            wait: asked,
        };
        assert_eq!(pause(&endless), MAX_PAUSE);
    }

    /// A server that does not keep up is asked for less at once, whatever it says of it.
    #[test]
    fn slowness_is_overload() {
        for stage in [Stage::Greeting, Stage::Mail, Stage::Content, Stage::Final] {
            assert_eq!(close_lesson(&CloseReason::Timeout { stage }), Lesson::Overloaded);
        }
        for stage in [Stage::Reset, Stage::Quit] {
            assert_eq!(close_lesson(&CloseReason::Timeout { stage }), Lesson::Nothing);
        }
        let says = |line| close_lesson(&shutdown(Stage::Rcpt, line));
        assert_eq!(says("421 4.3.2 not accepting"), Lesson::Overloaded);
        assert_eq!(says("421 4.4.5 Server busy"), Lesson::Overloaded);
        assert_eq!(says("421 4.3.0 hm"), Lesson::Nothing);
    }
}
