//! What happens, as values: for logs, dashboards, and programs that follow along.
//!
//! [`MailerBuilder::events`](crate::MailerBuilder::events) gives [`Events`], a stream of [`Event`]s.
//! It never holds up the sending: what does not fit into its queue is left out, and
//! [`EventKind::EventsLost`] says how much that was.
//!
//! With the feature `serde` an event is a flat object, which is what the command writes:
//!
//! ```json
//! {"at":"2026-06-01T12:00:31.250Z","event":"server_state_changed","server":"mx.example:25","state":"backing_off","failures":3,"until":"2026-06-01T12:00:43.900Z"}
//! ```
//!
//! | `event` | fields beside `at` |
//! |---|---|
//! | `attempt` | `mail`, `server`, `connection`, `accepted`, `refused`, `not_sent`, `in_doubt` (recipients), `took_ms`; `stage`, `code`, `enhanced`, `text` of the first refusal, or else of the last reply |
//! | `delivered`, `failed`, `deferred`, `in_doubt` | a recipient's final outcome: `mail`, `class`, `tenant`, `rcpt`, `cause`, `attempts`, `queued_ms`, `sent_ms`, and the server's last words |
//! | `connection_opened` | `server`, `connection`, `peer`, `tls` |
//! | `connection_failed` | `server`, `connection`, `error` |
//! | `connection_closed` | `server`, `connection`, `how`, `stage`, and the server's words |
//! | `server_state_changed` | `server`, `state`, `why`, `failures`, `until` |
//! | `limit_learned` | `server`, `limit`, `value`, `until` |
//! | `events_lost` | `count` |
//!
//! What is not known is left out. `connection` is small, and used again once the connection is
//! closed; `mail` counts from 1 in the order in which mails were submitted.

mod made;
mod stream;
#[cfg(test)]
mod tests;
mod timestamp;

use std::sync::Arc;
use std::time::Duration;

use posthaste_reply::ReplyBuf;
use posthaste_session::Pipelining;

#[cfg(feature = "metrics")]
pub(crate) use self::made::how;
pub use self::stream::Events;
pub(crate) use self::stream::{EventSender, channel};
pub use self::timestamp::Timestamp;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(tag = "event", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum EventKind {
    /// One attempt at a mail, or at a batch of its recipients, is over.
    Attempt(Attempt),
    /// A recipient has the mail.
    Delivered(Outcome),
    /// A recipient will not get it.
    Failed(Outcome),
    /// A recipient does not have it, and sending it again is safe.
    Deferred(Outcome),
    /// A recipient may have it, and nobody knows.
    InDoubt(Outcome),
    /// A connection takes mails.
    ConnectionOpened {
        /// Where to.
        server: Arc<str>,
        /// Which.
        connection: u64,
        /// The other end's address.
        peer: String,
        /// The version of TLS, where there is TLS.
        #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
        tls: Option<String>,
    },
    /// A connection could not be opened, or not secured.
    ConnectionFailed {
        /// Where to.
        server: Arc<str>,
        /// Which.
        connection: u64,
        /// Why, with what the system said.
        error: String,
    },
    /// A session is over.
    ConnectionClosed {
        /// Where to.
        server: Arc<str>,
        /// Which.
        connection: u64,
        /// How: `quit`, `refused`, `shutdown`, `lost`, `timeout`, `violation`, `objected`,
        /// `unavailable` or `aborted`.
        how: &'static str,
        /// What was awaited.
        stage: &'static str,
        /// What the server said.
        #[cfg_attr(feature = "serde", serde(flatten))]
        said: Option<Said>,
    },
    /// A server is left alone, or works again.
    ServerStateChanged {
        /// Which.
        server: Arc<str>,
        /// How it is now.
        state: ServerState,
        /// Why, where it is held: `full`, `throttled`, `credentials`, `requirement`, `unwelcome` or
        /// `local`.
        #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
        why: Option<&'static str>,
        /// Failures in a row that are held against it.
        #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
        failures: Option<u32>,
        /// Nothing is tried before.
        #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
        until: Option<Timestamp>,
    },
    /// Something was found out about what a server bears.
    LimitLearned {
        /// Which.
        server: Arc<str>,
        /// How much of what.
        #[cfg_attr(feature = "serde", serde(flatten))]
        limit: Limit,
        /// When more is tried.
        #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
        until: Option<Timestamp>,
    },
    /// Events were left out here, since nobody took them as fast as they came.
    EventsLost {
        /// How many.
        count: u64,
    },
}

/// One attempt at a mail, or at a batch of its recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Attempt {
    /// The number of the mail, as in its [`Outcome`]s.
    pub mail: u64,
    /// Where to.
    pub server: Arc<str>,
    /// Over which connection.
    pub connection: u64,
    /// Recipients that have the mail now.
    pub accepted: u32,
    /// Recipients that were refused, for now or for good.
    pub refused: u32,
    /// Recipients of whom nobody heard.
    pub not_sent: u32,
    /// Recipients for whom the content was handed over, and no final reply came.
    pub in_doubt: u32,
    /// From MAIL to the final reply, where there was one.
    #[cfg_attr(feature = "serde", serde(rename = "took_ms"))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "serde", serde(serialize_with = "milliseconds_or_none"))]
    pub took: Option<Duration>,
    /// Where the first refusal came.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub stage: Option<&'static str>,
    /// The first refusal, or else the last reply.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub said: Option<Said>,
}

/// What became of a mail for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Outcome {
    /// The number of the mail.
    pub mail: u64,
    /// `interactive`, `normal` or `bulk`.
    pub class: &'static str,
    /// On whose behalf, by number; 0 is nobody's in particular.
    pub tenant: u64,
    /// Who.
    pub rcpt: String,
    /// Why, unless it was delivered, e.g. `attempts_used_up`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub cause: Option<&'static str>,
    /// How many attempts counted.
    pub attempts: u32,
    /// How long the mail waited for its first attempt.
    #[cfg_attr(feature = "serde", serde(rename = "queued_ms"))]
    #[cfg_attr(feature = "serde", serde(serialize_with = "milliseconds"))]
    pub queued: Duration,
    /// How long it took from then on.
    #[cfg_attr(feature = "serde", serde(rename = "sent_ms"))]
    #[cfg_attr(feature = "serde", serde(serialize_with = "milliseconds"))]
    pub sent: Duration,
    /// Where the last reply came, or where the connection ended.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub stage: Option<&'static str>,
    /// What the server said last about this recipient, or about the session.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub said: Option<Said>,
}

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Said {
    /// The reply code.
    pub code: u16,
    /// The enhanced status code.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub enhanced: Option<String>,
    /// The words, those of several lines with a space between them.
    pub text: String,
}

impl From<&ReplyBuf> for Said {
    fn from(reply: &ReplyBuf) -> Self {
        Self {
            code: reply.code().value(),
            enhanced: reply.enhanced().map(|enhanced| enhanced.to_string()),
            text: reply.text().to_string(),
        }
    }
}

/// How a server is dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ServerState {
    /// As well as it can.
    Normal,
    /// It gets less than it could: it said that mail comes too fast, or does ever more slowly.
    Slowed,
    /// It failed, and gets no connection for a while.
    BackingOff,
    /// It wants no mail, and gets none for a while.
    Held,
}

/// What a server bears only so much of. Written as `limit` and `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(tag = "limit", content = "value", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Limit {
    /// Connections at a time.
    Connections(u32),
    /// Mails over one connection.
    MailsPerConnection(u32),
    /// Mails in a minute, since it said that they come too fast.
    MailsPerMinute(u32),
    /// Recipients of one mail transaction.
    Recipients(u32),
    /// Mails at a time, since it got slow.
    MailsAtATime(u32),
    /// How far commands go ahead of the replies: `off`, `envelope`, `cross`.
    Pipelining(#[cfg_attr(feature = "serde", serde(serialize_with = "text"))] Pipelining),
    /// How long it wants strangers to wait; written in milliseconds.
    Greylisting(#[cfg_attr(feature = "serde", serde(serialize_with = "milliseconds"))] Duration),
}

#[cfg(feature = "serde")]
fn text<S: serde::Serializer>(value: &Pipelining, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(value)
}

#[cfg(feature = "serde")]
fn milliseconds<S: serde::Serializer>(time: &Duration, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(feature = "serde")]
fn milliseconds_or_none<S: serde::Serializer>(
    time: &Option<Duration>,
    out: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => milliseconds(time, out),
        None => out.serialize_none(),
    }
}
