//! A stream of mails in, a stream of reports out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use posthaste_session::Mail;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, mpsc};

use super::Scheduler;
use super::state::{Delivery, Waiter};
use crate::planner::ServerId;
use crate::report::Report;

/// Most mails taken from the stream in one poll, so that reports are not kept waiting by a source that
/// never pauses.
const BATCH: usize = 64;

/// Sends every mail of a stream; see [`Scheduler::send_all`].
///
/// Yields `(place, report)`: the mail's place in the stream, counted from 0, and what became of it. Mails
/// are taken from the stream as fast as the scheduler's intake allows, and a report occupies its share of the
/// intake until it is taken: whoever does not take reports stops the flow of mails.
///
/// # Cancel safety
///
/// Dropped, it takes no more mails; those it has taken go their way, and only their reports are lost.
#[must_use = "nothing is sent until it is polled"]
pub struct SendAll<S> {
    scheduler: Scheduler,
    server: ServerId,
    /// `None` when it has ended.
    mails: Option<Pin<Box<S>>>,
    /// A mail that waits for its share of the intake.
    waiting: Option<Waiting>,
    sender: mpsc::UnboundedSender<(u64, Delivery)>,
    reports: mpsc::UnboundedReceiver<(u64, Delivery)>,
    next_place: u64,
    unreported: u64,
    /// What became of a mail that came after the shutdown; no other is taken before it is given out.
    late: Option<(u64, Report)>,
}

struct Waiting {
    mail: Mail,
    permit: Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>,
}

impl<S> SendAll<S> {
    pub(super) fn new(scheduler: Scheduler, server: ServerId, mails: S) -> Self {
        let (sender, reports) = mpsc::unbounded_channel();
        let mails = Some(Box::pin(mails));
        Self {
            scheduler,
            server,
            mails,
            waiting: None,
            sender,
            reports,
            next_place: 0,
            unreported: 0,
            late: None,
        }
    }

    fn submit(&mut self, mail: Mail, permit: Result<OwnedSemaphorePermit, AcquireError>) {
        let place = self.next_place;
        self.next_place += 1;
        match permit {
            Ok(permit) => {
                self.unreported += 1;
                let sender = self.sender.clone();
                self.scheduler.submit(self.server, mail, Waiter::Stream(place, sender), permit);
            }
            Err(_) => self.late = Some((place, self.scheduler.drained(mail))),
        }
    }
}

impl<S: Stream<Item = Mail>> SendAll<S> {
    /// Takes one mail. `Ready` when there may be another one.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(waiting) = &mut self.waiting {
            let permit = match waiting.permit.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(permit) => permit,
            };
            if let Some(Waiting { mail, .. }) = self.waiting.take() {
                self.submit(mail, permit);
            }
            return Poll::Ready(());
        }
        let Some(mails) = &mut self.mails else { return Poll::Pending };
        match mails.as_mut().poll_next(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.mails = None;
                Poll::Pending
            }
            Poll::Ready(Some(mail)) => {
                let cost = self.scheduler.cost(&mail);
                let intake = Arc::clone(&self.scheduler.shared.intake);
                if let Ok(permit) = Arc::clone(&intake).try_acquire_many_owned(cost) {
                    self.submit(mail, Ok(permit));
                } else {
                    let permit = Box::pin(intake.acquire_many_owned(cost));
                    self.waiting = Some(Waiting { mail, permit });
                }
                Poll::Ready(())
            }
        }
    }
}

impl<S: Stream<Item = Mail>> Stream for SendAll<S> {
    type Item = (u64, Report);

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let mut taken = 0;
        while taken < BATCH && this.late.is_none() && this.poll_take(cx).is_ready() {
            taken += 1;
        }
        if taken == BATCH {
            cx.waker().wake_by_ref();
        }
        if let Some(late) = this.late.take() {
            return Poll::Ready(Some(late));
        }
        match this.reports.poll_recv(cx) {
            Poll::Ready(Some((place, (report, _permit)))) => {
                this.unreported -= 1;
                Poll::Ready(Some((place, report)))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending
                if this.mails.is_none() && this.waiting.is_none() && this.unreported == 0 =>
            {
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
