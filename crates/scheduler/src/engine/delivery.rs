//! The way of a report to whoever waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use tokio::sync::oneshot;

use super::intake::{Cost, Share};
use super::submission::Submission;
use crate::report::Report;

/// A report, and the share of the intake that is free once somebody has taken it; `None` if the mail came too
/// late to have one.
pub(super) type Delivery = (Report, Option<Share>);

/// Who wants the report of a mail. As many reports are on their way as there is room in the intake.
#[derive(Debug)]
pub(super) enum Waiter {
    One(Single),
    /// With the mail's place in the stream.
    Stream(u64, Arc<Line>),
}

/// Whoever waits for one report.
#[derive(Debug)]
pub(super) struct Single {
    pub(super) to: Submission,
    pub(super) sender: oneshot::Sender<Delivery>,
}

/// A report for whoever waits for many.
#[derive(Debug)]
pub(super) struct Arrival {
    /// The mail's place in the stream.
    pub(super) place: u64,
    pub(super) report: Report,
    /// The room that is free once somebody has taken it.
    pub(super) cost: Option<Cost>,
}

/// The way to whoever waits for many.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) to: Submission,
    platform: Mutex<Platform>,
}

/// Where reports wait for whoever waits for them.
#[derive(Debug, Default)]
struct Platform {
    arrivals: VecDeque<Arrival>,
    waker: Option<Waker>,
    /// Nobody will take any more.
    is_deserted: bool,
}

impl Line {
    pub(super) fn new(to: Submission) -> Self {
        Self { to, platform: Mutex::default() }
    }

    /// Takes all that has arrived, in exchange for an empty queue. Without anything, `waker` is woken when
    /// something comes.
    pub(super) fn collect(&self, arrivals: &mut VecDeque<Arrival>, waker: &Waker) {
        let mut platform = self.lock();
        std::mem::swap(&mut platform.arrivals, arrivals);
        if arrivals.is_empty() && !platform.waker.as_ref().is_some_and(|it| it.will_wake(waker)) {
            platform.waker = Some(waker.clone());
        }
    }

    /// Nobody takes reports any more. Gives those that nobody took.
    pub(super) fn desert(&self) -> VecDeque<Arrival> {
        let mut platform = self.lock();
        platform.is_deserted = true;
        std::mem::take(&mut platform.arrivals)
    }

    fn lock(&self) -> MutexGuard<'_, Platform> {
        self.platform.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reports that go the same way together, so that the other side is woken once. Mostly it is one, which needs no memory.
#[derive(Debug)]
pub(super) struct Convoy {
    pub(super) line: Arc<Line>,
    pub(super) first: Arrival,
    pub(super) more: Vec<Arrival>,
}

impl Convoy {
    /// Hands the reports over. Gives them back where nobody wants them.
    pub(super) fn arrive(self) -> Option<Self> {
        let mut platform = self.line.lock();
        if platform.is_deserted {
            drop(platform);
            return Some(self);
        }
        platform.arrivals.push_back(self.first);
        platform.arrivals.extend(self.more);
        let waker = platform.waker.take();
        drop(platform);
        if let Some(waker) = waker {
            waker.wake();
        }
        None
    }

    /// The reports.
    pub(super) fn arrivals(self) -> impl Iterator<Item = Arrival> {
        std::iter::once(self.first).chain(self.more)
    }
}

impl Single {
    /// Hands the report over. Whoever has gone away does not want to know.
    #[inline(never)]
    pub(super) fn arrive(self, report: Report, share: Option<Share>) {
        drop(self.sender.send((report, share)));
    }
}

impl Waiter {
    /// Where the mail was to go.
    pub(super) fn to(&self) -> Submission {
        match self {
            Self::One(single) => single.to,
            Self::Stream(_, line) => line.to,
        }
    }
}

/// Where the report of a job goes. Small, because each queued mail has one.
#[derive(Debug)]
pub(super) enum Addressee {
    /// As [`Waiter::Stream`].
    Stream(u64, Arc<Line>),
    Other(Box<Other>),
}

#[derive(Debug)]
pub(super) enum Other {
    /// As [`Waiter::One`].
    One(Single),
    /// The job is one of the batches of a mail with many recipients, and this is its place.
    Batch(usize, Submission, Arc<Mutex<Batches>>),
}

/// What is known of the batches of a mail.
#[derive(Debug)]
pub(super) struct Batches {
    /// In the order of the envelope.
    reports: Vec<Option<Report>>,
    waiter: Option<Waiter>,
}

impl From<Waiter> for Addressee {
    fn from(waiter: Waiter) -> Self {
        match waiter {
            Waiter::One(single) => Self::Other(Box::new(Other::One(single))),
            Waiter::Stream(place, line) => Self::Stream(place, line),
        }
    }
}

impl Addressee {
    /// One for each of the batches of a mail, whose reports are put together again for the waiter.
    pub(super) fn batches(waiter: Waiter, count: usize) -> impl Iterator<Item = Self> {
        let to = waiter.to();
        let reports = (0..count).map(|_| None).collect();
        let mail = Arc::new(Mutex::new(Batches { reports, waiter: Some(waiter) }));
        let batch = move |place| Self::Other(Box::new(Other::Batch(place, to, Arc::clone(&mail))));
        (0..count).map(batch)
    }

    /// Where the mail was to go.
    pub(super) fn to(&self) -> Submission {
        match self {
            Self::Stream(_, line) => line.to,
            Self::Other(other) => match &**other {
                Other::One(single) => single.to,
                Other::Batch(_, to, _) => *to,
            },
        }
    }

    /// Takes in the report of a job. Gives that of the mail, once it is whole, and who waits for it.
    pub(super) fn complete(self, report: Report) -> Option<(Waiter, Report)> {
        match self {
            Self::Stream(place, line) => Some((Waiter::Stream(place, line), report)),
            Self::Other(other) => other.complete(report),
        }
    }
}

impl Other {
    #[inline(never)]
    fn complete(self, report: Report) -> Option<(Waiter, Report)> {
        match self {
            Self::One(single) => Some((Waiter::One(single), report)),
            Self::Batch(place, _, mail) => {
                mail.lock().unwrap_or_else(PoisonError::into_inner).complete(place, report)
            }
        }
    }
}

impl Batches {
    fn complete(&mut self, place: usize, report: Report) -> Option<(Waiter, Report)> {
        *self.reports.get_mut(place)? = Some(report);
        if self.reports.iter().any(Option::is_none) {
            return None;
        }
        let reports = std::mem::take(&mut self.reports).into_iter().flatten();
        Some((self.waiter.take()?, reports.reduce(Report::with_batch)?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use posthaste_session::{Content, Envelope, Mail, Mailbox, NotSent, Outcome};

    use super::*;
    use crate::ledger::{Attempt, Freshness, InDoubtPolicy, Ledger};
    use crate::planner::{DestinationLimits, GiveUp, Planner, PlannerConfig};
    use crate::time::Time;

    fn report(names: &[&str], started: u64, until: u64) -> Report {
        let at = |seconds| Time::EPOCH + Duration::from_secs(seconds);
        let mailbox = |name: &str| -> Mailbox { format!("{name}@example.com").parse().unwrap() };
        let paths = names.iter().map(|name| mailbox(name));
        let envelope = Envelope::new(mailbox("from"), paths).unwrap();
        let mail = Mail::new(envelope, Content::new(&b"test\r\n"[..]).unwrap());
        let mut ledger = Ledger::new(mail, InDoubtPolicy::Report, Time::EPOCH);
        let outcomes = vec![Outcome::NotSent(NotSent::NeverStarted); names.len()];
        let (started, ended, connection) = (at(started), at(started), Freshness::Fresh);
        ledger.attempted(&Attempt { started, ended, outcomes, connection });
        ledger.give_up(at(until), GiveUp::Expired, 1, None)
    }

    #[test]
    fn batches_are_put_together_in_the_order_of_the_envelope() {
        let (sender, _receiver) = oneshot::channel();
        let to = Submission::new(
            Planner::new(PlannerConfig::default(), 0)
                .add_destination(DestinationLimits::default(), &[]),
        );
        let mut batches = Addressee::batches(Waiter::One(Single { to, sender }), 3);
        let [first, second, third] = std::array::from_fn(|_| batches.next().unwrap());
        assert!(second.complete(report(&["c", "d"], 3, 9)).is_none());
        assert!(third.complete(report(&["e"], 7, 8)).is_none());
        let (_, report) = first.complete(report(&["a", "b"], 4, 5)).unwrap();
        let paths: Vec<_> = report.recipients.iter().map(|it| it.forward_path.as_str()).collect();
        assert_eq!(paths, ["a", "b", "c", "d", "e"].map(|name| format!("{name}@example.com")));
        assert_eq!(report.timing.queued(), Duration::from_secs(3), "until the first attempt");
        assert_eq!(report.timing.total(), Duration::from_secs(9), "until the last outcome");
    }

    #[test]
    fn each_queued_mail_has_a_small_addressee() {
        assert_eq!(size_of::<Addressee>(), 16);
    }
}
