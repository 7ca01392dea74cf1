//! A stream of mails in, a stream of reports out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use posthaste_session::Mail;
use tokio::sync::mpsc;

use super::delivery::{Delivery, Line, Waiter};
use super::intake::{Closed, Entrance};
use super::shared::Shared;
use super::submission::Submission;
use crate::ledger::Ledgers;
use crate::report::Report;

/// Most mails taken from the stream in one poll, so that reports are not kept waiting by a source that
/// never pauses.
const BATCH: usize = 64;

/// Sends every mail of a stream; see [`Scheduler::send_all`](super::Scheduler::send_all).
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
    shared: Arc<Shared>,
    line: Arc<Line>,
    ledgers: Ledgers,
    /// `None` when it has ended.
    mails: Option<Pin<Box<S>>>,
    /// A mail that waits for its share of the intake.
    waiting: Option<Waiting>,
    reports: mpsc::UnboundedReceiver<(u64, Delivery)>,
    next_place: u64,
    unreported: u64,
    /// There is a shutdown, so that mails need no room any more.
    is_late: bool,
}

struct Waiting {
    mail: Mail,
    entrance: Pin<Box<dyn Future<Output = Result<Entrance, Closed>> + Send>>,
}

impl<S> SendAll<S> {
    pub(super) fn new(shared: Arc<Shared>, to: Submission, mails: S) -> Self {
        let (sender, reports) = mpsc::unbounded_channel();
        Self {
            shared,
            line: Arc::new(Line { to, sender }),
            ledgers: Ledgers::default(),
            mails: Some(Box::pin(mails)),
            waiting: None,
            reports,
            next_place: 0,
            unreported: 0,
            is_late: false,
        }
    }

    fn submit(&mut self, mail: Mail, entrance: Result<Entrance, Closed>) {
        let waiter = Waiter::Stream(self.next_place, Arc::clone(&self.line));
        self.next_place += 1;
        self.unreported += 1;
        match entrance {
            Ok(entrance) => {
                self.shared.submit(mail, waiter, entrance, &mut self.ledgers, |_| ());
            }
            Err(Closed) => {
                self.is_late = true;
                self.shared.report_drained(mail, waiter);
            }
        }
    }
}

impl<S: Stream<Item = Mail>> SendAll<S> {
    /// Takes one mail. `Ready` when there may be another one.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(waiting) = &mut self.waiting {
            let entrance = ready!(waiting.entrance.as_mut().poll(cx));
            if let Some(Waiting { mail, .. }) = self.waiting.take() {
                self.submit(mail, entrance);
            }
            return Poll::Ready(());
        }
        // One at a time, then, so that reports do not pile up.
        if self.is_late && self.unreported > 0 {
            return Poll::Pending;
        }
        let Some(mails) = &mut self.mails else { return Poll::Pending };
        match mails.as_mut().poll_next(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.mails = None;
                Poll::Pending
            }
            Poll::Ready(Some(mail)) => {
                let intake = &self.shared.intake;
                let cost = intake.cost(&mail.content);
                if let Some(entrance) = intake.try_enter(cost) {
                    self.submit(mail, Ok(entrance));
                } else {
                    let entrance = Box::pin(intake.clone().enter(cost));
                    self.waiting = Some(Waiting { mail, entrance });
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
        while taken < BATCH && this.poll_take(cx).is_ready() {
            taken += 1;
        }
        if taken == BATCH {
            cx.waker().wake_by_ref();
        }
        match this.reports.poll_recv(cx) {
            Poll::Ready(Some((place, (report, _share)))) => {
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
