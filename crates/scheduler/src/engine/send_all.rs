//! A stream of mails in, a stream of reports out.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_core::future::BoxFuture;
use posthaste_session::Mail;

use super::delivery::{Arrival, Line, Waiter};
use super::intake::{Closed, Entrance, Purse};
use super::shared::Shared;
use super::submission::Submission;
use crate::ledger::Ledgers;
use crate::report::Report;

/// Most mails taken from the stream and queued at once: so many that the lock is paid for, so few that whoever
/// else wants it does not wait for long.
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
    /// There may be a mail that can be taken at once.
    has_more: bool,
    /// What has room and is about to be queued; empty between polls.
    batch: Vec<Mail>,
    /// Reports that were collected and not taken yet.
    arrivals: VecDeque<Arrival>,
    /// Reports that were taken since mails were last asked for.
    taken: usize,
    next_place: u64,
    unreported: u64,
    /// There is a shutdown, so that mails need no room any more.
    is_late: bool,
}

struct Waiting {
    mail: Mail,
    /// Its place in the queue for room, only while the stream itself is waiting: whoever handles a report may
    /// want room, too, and does not poll the stream meanwhile.
    entrance: Option<BoxFuture<'static, Result<Entrance, Closed>>>,
}

impl<S> SendAll<S> {
    pub(super) fn new(shared: Arc<Shared>, to: Submission, mails: S) -> Self {
        Self {
            shared,
            line: Arc::new(Line::new(to)),
            ledgers: Ledgers::default(),
            mails: Some(Box::pin(mails)),
            waiting: None,
            has_more: true,
            batch: Vec::new(),
            arrivals: VecDeque::new(),
            taken: 0,
            next_place: 0,
            unreported: 0,
            is_late: false,
        }
    }

    /// The place of the next mail, which will have a report.
    fn next_place(&mut self) -> u64 {
        let place = self.next_place;
        self.next_place += 1;
        self.unreported += 1;
        place
    }

    /// Queues a mail that has room, by itself if it is for many, or else with the next ones.
    #[inline(always)]
    fn put(&mut self, mail: Mail) {
        if !self.shared.is_for_many(&mail) {
            self.batch.push(mail);
            return;
        }
        self.submit_batch();
        let waiter = Waiter::Stream(self.next_place(), Arc::clone(&self.line));
        self.shared.submit(mail, waiter, &mut self.ledgers, |_| ());
    }

    /// Queues what has been taken.
    fn submit_batch(&mut self) {
        let (first, count) = (self.next_place, self.batch.len() as u64);
        self.next_place += count;
        self.unreported += count;
        self.shared.submit_all(&mut self.batch, first, &self.line, &mut self.ledgers);
    }
}

impl<S: Stream<Item = Mail>> SendAll<S> {
    /// Takes mails as far as there is room. `Ready` when there may be more.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let shared = Arc::clone(&self.shared);
        let mut purse = shared.intake.purse();
        ready!(self.poll_waiting(cx, &mut purse));
        // One at a time, then, so that reports do not pile up.
        if self.is_late && self.unreported > 0 {
            return Poll::Pending;
        }
        let result = self.poll_batch(cx, &mut purse);
        self.submit_batch();
        result
    }

    /// `Ready` when no mail waits for room any more.
    fn poll_waiting(&mut self, cx: &mut Context<'_>, purse: &mut Purse<'_>) -> Poll<()> {
        if self.waiting.as_ref().is_some_and(|waiting| waiting.entrance.is_some()) {
            return self.poll_entrance(cx);
        }
        let Some(Waiting { mail, .. }) = self.waiting.take() else { return Poll::Ready(()) };
        self.pass(mail, purse)
    }

    /// The same for a mail that has its place in the queue.
    fn poll_entrance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(Waiting { entrance: Some(entrance), .. }) = &mut self.waiting else {
            return Poll::Ready(());
        };
        let entrance = ready!(entrance.as_mut().poll(cx));
        let Some(Waiting { mail, .. }) = self.waiting.take() else { return Poll::Ready(()) };
        match entrance {
            Ok(entrance) => {
                entrance.pass();
                self.put(mail);
            }
            Err(Closed) => {
                self.is_late = true;
                let waiter = Waiter::Stream(self.next_place(), Arc::clone(&self.line));
                self.shared.report_drained(mail, waiter);
            }
        }
        Poll::Ready(())
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>, purse: &mut Purse<'_>) -> Poll<()> {
        while self.batch.len() < BATCH {
            let Some(mails) = &mut self.mails else { return Poll::Pending };
            let Some(mail) = ready!(mails.as_mut().poll_next(cx)) else {
                self.mails = None;
                return Poll::Pending;
            };
            ready!(self.pass(mail, purse));
        }
        Poll::Ready(())
    }

    /// Queues a mail if there is room for it, or else lets it wait.
    #[inline(always)]
    fn pass(&mut self, mail: Mail, purse: &mut Purse<'_>) -> Poll<()> {
        if purse.pay(self.shared.intake.cost(mail.content.len())) {
            self.put(mail);
            return Poll::Ready(());
        }
        self.waiting = Some(Waiting { mail, entrance: None });
        Poll::Pending
    }

    /// Queues up for room, where a mail waits for it. `Ready` when there may be more mails.
    fn poll_enter(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(waiting) = &mut self.waiting else { return Poll::Pending };
        if waiting.entrance.is_none() {
            let intake = self.shared.intake.clone();
            let cost = intake.cost(waiting.mail.content.len());
            waiting.entrance = Some(Box::pin(intake.enter(cost)));
        }
        ready!(self.poll_entrance(cx));
        self.submit_batch();
        Poll::Ready(())
    }
}

impl<S: Stream<Item = Mail>> Stream for SendAll<S> {
    type Item = (u64, Report);

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.arrivals.is_empty() || this.has_more || this.taken >= BATCH {
            this.taken = 0;
            this.has_more = this.poll_take(cx).is_ready();
            if this.arrivals.is_empty() {
                this.line.collect(&mut this.arrivals, cx.waker());
            }
        }
        if let Some(Arrival { place, report, cost }) = this.arrivals.pop_front() {
            this.unreported -= 1;
            this.taken += 1;
            if let Some(waiting) = &mut this.waiting {
                waiting.entrance = None;
            }
            if let Some(cost) = cost {
                this.shared.intake.give_back(cost);
            }
            return Poll::Ready(Some((place, report)));
        }
        this.has_more |= this.poll_enter(cx).is_ready();
        if this.has_more {
            cx.waker().wake_by_ref();
        }
        let is_over = this.mails.is_none() && this.waiting.is_none() && this.unreported == 0;
        if is_over { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl<S> Drop for SendAll<S> {
    fn drop(&mut self) {
        // Where the stream has panicked.
        self.submit_batch();
        let left = self.line.desert();
        self.shared.free(left.into_iter().chain(self.arrivals.drain(..)));
        self.shared.intake.settle();
    }
}
