//! Spans and events for those who subscribe to [`tracing`]; for all others, a look at one atomic number.
//!
//! A connection is a span, and so is each attempt within it. Neither mailboxes nor content are in them, and
//! what a server says only where a session ends.

use posthaste_connection::{Connector, Error};
use posthaste_session::{CloseReason, Finished, Outcome};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Span, debug, debug_span, trace};

use crate::planner::{ConnectionId, Record};

pub(super) fn connection(connector: &Connector, connection: ConnectionId) -> Span {
    let server = connector.server();
    debug_span!(parent: None, "connection", %server, connection = connection.index())
}

/// Within the span of a connection.
#[inline]
pub(super) fn attempt(mail: u64) -> Span {
    if LevelFilter::current() < Level::DEBUG { Span::none() } else { new_attempt(mail) }
}

#[inline(never)]
fn new_attempt(mail: u64) -> Span {
    debug_span!("attempt", mail)
}

#[inline]
pub(super) fn attempted(span: &Span, finished: &Finished) {
    if !span.is_disabled() {
        count_attempt(span, finished);
    }
}

#[inline(never)]
fn count_attempt(span: &Span, finished: &Finished) {
    let (mut delivered, mut refused, mut not_sent, mut in_doubt) = (0u32, 0u32, 0u32, 0u32);
    for outcome in &finished.outcomes {
        match outcome {
            Outcome::Delivered(_) => delivered += 1,
            Outcome::Refused(_) => refused += 1,
            Outcome::NotSent(_) => not_sent += 1,
            Outcome::InDoubt => in_doubt += 1,
        }
    }
    debug!(parent: span, delivered, refused, not_sent, in_doubt, "attempted");
}

pub(super) fn ready() {
    debug!("ready");
}

pub(super) fn failed(error: &Error) {
    debug!(%error, "failed");
}

pub(super) fn closed(reason: &CloseReason) {
    debug!(?reason, "closed");
}

pub(super) fn record(record: &Record) {
    // There is one of these for each mail that does not get through at once.
    if matches!(record, Record::Deferred { .. } | Record::Requeued { .. }) {
        trace!(?record);
    } else {
        debug!(?record);
    }
}
