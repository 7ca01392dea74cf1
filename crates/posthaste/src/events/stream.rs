//! The way of events from an engine to whoever follows it.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures_core::Stream;
use posthaste_scheduler::{Observation, Observer, ServerId, Time};
use tokio::sync::mpsc;

use super::{Event, EventKind, Timestamp, made};

/// Where the events of a mailer come out. Ends when nothing more can come: the mailer is gone, or
/// the stream was [closed](Self::close).
///
/// # Cancel safety
///
/// Nothing is lost between two polls but what the queue cannot hold.
#[derive(Debug)]
pub struct Events {
    events: mpsc::Receiver<Event>,
    lost: Arc<AtomicU64>,
    /// Comes behind the news that events were lost.
    next: Option<Event>,
}

/// Makes events of what it observes. It never waits.
#[derive(Debug)]
pub(crate) struct EventSender {
    events: mpsc::Sender<Event>,
    lost: Arc<AtomicU64>,
    /// By [`ServerId::index`]. Nothing happens before it is known.
    names: OnceLock<Arc<[Arc<str>]>>,
    /// The scheduler's epoch, but for the moment between making this and making that.
    epoch: Timestamp,
}

/// `capacity` is how many events are kept for whoever is slow to take them, at least 1.
pub(crate) fn channel(capacity: usize) -> (EventSender, Events) {
    let capacity = capacity.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
    let (sender, events) = mpsc::channel(capacity);
    let lost = Arc::new(AtomicU64::new(0));
    let sender = EventSender {
        events: sender,
        lost: Arc::clone(&lost),
        names: OnceLock::new(),
        epoch: Timestamp::now(),
    };
    (sender, Events { events, lost, next: None })
}

impl Events {
    /// Takes no more events. Those that wait are still given out; then the stream ends.
    pub fn close(&mut self) {
        self.events.close();
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let this = self.get_mut();
        if let Some(event) = this.next.take() {
            return Poll::Ready(Some(event));
        }
        let Poll::Ready(event) = this.events.poll_recv(cx) else { return Poll::Pending };
        match this.lost.swap(0, Relaxed) {
            0 => Poll::Ready(event),
            count => {
                this.next = event;
                let kind = EventKind::EventsLost { count };
                Poll::Ready(Some(Event { at: Timestamp::now(), kind }))
            }
        }
    }
}

impl EventSender {
    /// What the servers are called, in the order in which they were added.
    pub(crate) fn name(&self, names: Arc<[Arc<str>]>) {
        // There is one mailer for a sender.
        let _ = self.names.set(names);
    }

    pub(super) fn server(&self, server: ServerId) -> Arc<str> {
        let names = self.names.get().map(AsRef::as_ref).unwrap_or_default();
        match names.get(server.index()) {
            Some(name) => Arc::clone(name),
            None => Arc::from(format!("server {}", server.index())),
        }
    }

    /// A time of the scheduler on the clock on the wall, unless it never comes.
    pub(super) fn wall(&self, time: Time) -> Option<Timestamp> {
        (time < Time::NEVER).then(|| self.epoch.after(time.since_epoch()))
    }

    pub(super) fn send(&self, kind: EventKind) {
        let event = Event { at: Timestamp::now(), kind };
        if self.events.try_send(event).is_err() && !self.events.is_closed() {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}

impl Observer for EventSender {
    fn observe(&self, observation: Observation<'_>) {
        made::events(self, observation);
    }
}
