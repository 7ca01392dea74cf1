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

/// Whether a session ended with the words that it had its share of mails (Q65). Its share is what
/// it had delivered.
pub fn is_session_cap(reason: &CloseReason) -> bool {
    close_lesson(reason) == Lesson::SessionCap
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
        _ if consequence == Consequence::Split => Lesson::RecipientCap,
        (Class::Throttled, Scope::Host) => Lesson::Overloaded,
        (Class::ShuttingDown, Scope::Host) if is_not_accepting(reply) => Lesson::Overloaded,
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

/// RFC 3463 section 3.4: the host does not accept mail for now, for load as a rule.
fn is_not_accepting(reply: Reply<'_>) -> bool {
    reply.enhanced().is_some_and(|status| (status.subject(), status.detail()) == (3, 2))
}
