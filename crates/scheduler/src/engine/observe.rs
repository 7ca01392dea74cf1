//! What an engine lets others see.

use posthaste_connection::{Error, Info};
use posthaste_session::{CloseReason, Finished, Session, TranscriptLine};

use crate::planner::{Class, ConnectionId, Record, ServerId, TenantId};
use crate::report::Report;

/// Sees what an engine does; for progress displays, transcripts, statistics.
///
/// It is called from the drivers' tasks and must be quick. It must not call the scheduler.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn observe(&self, observation: Observation<'_>);
}

/// Something that happened.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Observation<'a> {
    /// The planner learned or decided something.
    Record(Record),
    /// A connection is open, or has got TLS.
    Connected(ServerId, ConnectionId, &'a Info),
    /// A session takes mails.
    Ready(ServerId, ConnectionId, &'a Info, &'a Session),
    /// One attempt at a mail, or at a batch of its recipients, is over. The number is that of the mail.
    Attempted(ServerId, ConnectionId, &'a Finished, u64),
    /// Each recipient of a mail has its outcome.
    Reported {
        /// The mail's number. The first mail has number 1, and no two have the same.
        mail: u64,
        /// How urgent it was.
        class: Class,
        /// On whose behalf it was sent.
        tenant: TenantId,
        /// What became of it.
        report: &'a Report,
    },
    /// A connection could not be opened, or not secured.
    Failed(ServerId, ConnectionId, &'a Error),
    /// A session is over.
    Closed(ServerId, ConnectionId, &'a CloseReason),
    /// What a server says about a bearer token that it refuses, as
    /// [`Event::TokenRefused`](posthaste_session::Event::TokenRefused).
    TokenRefused(ServerId, ConnectionId, &'a str),
    /// A line of a session's transcript, where the session keeps one.
    Transcript(ConnectionId, &'a TranscriptLine),
}
