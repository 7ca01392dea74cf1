//! What all handles, all drivers and the clock share.

use std::num::NonZeroU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use posthaste_session::{Mail, PartialRefusal};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::clock::{Due, Precision, Watch};
use super::delivery::{Addressee, Waiter};
use super::intake::{Entrance, Intake};
use super::observe::{Observation, Observer};
use super::state::{Done, Entry, Left, State};
use super::submission::Submission;
use super::{SchedulerConfig, lane, trace};
use crate::ledger::{InDoubtPolicy, Ledger, Ledgers};
use crate::planner::{Cancelled, GiveUp, JobId, NewJob, Planner};
use crate::time::Time;

/// See the module.
pub(super) struct Shared {
    state: Mutex<State>,
    /// The earliest deadline has moved forward, or there is nothing left to watch.
    earlier: Arc<Notify>,
    /// The last mail and the last connection are gone, and everything about them has been said.
    pub(super) empty: Notify,
    /// How many are thinking, or telling others what came of it.
    busy: AtomicUsize,
    pub(super) intake: Intake,
    in_doubt: InDoubtPolicy,
    batch: usize,
    observer: Option<Arc<dyn Observer>>,
    epoch: Instant,
    pub(super) runtime: Handle,
}

impl Shared {
    /// On the current runtime, with somebody who watches the clock.
    pub(super) fn start(config: SchedulerConfig, observer: Option<Arc<dyn Observer>>) -> Arc<Self> {
        let earlier = Arc::new(Notify::new());
        let shared = Arc::new(Self {
            state: Mutex::new(State::new(Planner::new(config.planner, config.seed))),
            earlier: Arc::clone(&earlier),
            empty: Notify::new(),
            busy: AtomicUsize::new(0),
            intake: Intake::new(config.intake),
            in_doubt: config.in_doubt,
            batch: config.batch.max(1),
            observer,
            epoch: Instant::now(),
            runtime: Handle::current(),
        });
        tokio::spawn(watch(Arc::downgrade(&shared), Watch::new(config.clock, earlier)));
        shared
    }

    pub(super) fn now(&self) -> Time {
        Time::after_epoch(self.epoch.elapsed())
    }

    /// A panic under the lock has been reported already, and the books are whole between any two calls.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is nothing left to do, and nothing to be said about it.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty() && self.busy.load(SeqCst) == 0
    }

    /// As long as this is kept, somebody has more to say.
    pub(super) fn busy(&self) -> Busy<'_> {
        self.busy.fetch_add(1, SeqCst);
        Busy(self)
    }

    /// Lets the planner think, then does what it wants done.
    pub(super) fn plan<T>(self: &Arc<Self>, think: impl FnOnce(&mut State, Time) -> T) -> T {
        let _busy = self.busy();
        let mut state = self.lock();
        // Read under the lock, so that it does not go back for the planner.
        let now = self.now();
        let result = think(&mut state, now);
        let left = (!state.actions.is_empty()).then(|| state.obey(now));
        let due = state.planner.next_deadline();
        if due.is_some_and(|due| due < state.armed) {
            state.armed = due.unwrap_or(Time::NEVER);
            self.earlier.notify_one();
        }
        drop(state);
        if let Some(left) = left {
            self.finish(left);
        }
        result
    }

    /// Does what does not need the lock.
    fn finish(self: &Arc<Self>, left: Left) {
        let Left { open, records, done } = left;
        for open in open {
            lane::open(self, open);
        }
        for record in records {
            trace::record(&record);
            self.observe(Observation::Record(record));
        }
        for done in done {
            self.report(done);
        }
    }

    pub(super) fn observe(&self, observation: Observation<'_>) {
        if let Some(observer) = &self.observer {
            observer.observe(observation);
        }
    }

    /// Hands out the report of a mail, if this was its last job.
    pub(super) fn report(&self, done: Done) {
        let Done { report, addressee, number, content } = done;
        let Some((waiter, report)) = addressee.complete(report) else { return };
        let Submission { class, tenant, .. } = waiter.to();
        self.observe(Observation::Reported { mail: number.get(), class, tenant, report: &report });
        waiter.deliver((report, content.map(|content| self.intake.share(&content))));
    }

    /// Queues a mail that has room, in as many jobs as it has batches of recipients, and tells which they are.
    pub(super) fn submit(
        self: &Arc<Self>,
        mail: Mail,
        waiter: Waiter,
        entrance: Entrance,
        ledgers: &mut Ledgers,
        mut tell: impl FnMut(JobId),
    ) {
        entrance.pass();
        let Some(mails) = self.batches(&mail) else {
            tell(self.queue(mail, waiter.into(), None, ledgers));
            return;
        };
        let number = Some(self.lock().next_number());
        let addressees = Addressee::batches(waiter, mails.len());
        for (mail, addressee) in mails.into_iter().zip(addressees) {
            tell(self.queue(mail, addressee, number, ledgers));
        }
    }

    /// A mail for the many as several for a few; `None` if it has few recipients, or if all of them are to have
    /// it or nobody.
    fn batches(&self, mail: &Mail) -> Option<Vec<Mail>> {
        let Mail { envelope, content, partial_refusal } = mail;
        let recipients = envelope.forward_paths().len();
        if recipients <= self.batch || *partial_refusal == PartialRefusal::AllOrNothing {
            return None;
        }
        let places: Vec<u32> = (0..).take(recipients).collect();
        let envelopes = places.chunks(self.batch).filter_map(|places| envelope.subset(places));
        Some(envelopes.map(|envelope| Mail::new(envelope, content.clone())).collect())
    }

    /// Queues a job, of a mail with this number, or of a new one.
    fn queue(
        self: &Arc<Self>,
        mail: Mail,
        addressee: Addressee,
        number: Option<NonZeroU64>,
        ledgers: &mut Ledgers,
    ) -> JobId {
        self.plan(|state, now| {
            let number = number.unwrap_or_else(|| state.next_number());
            let Submission { destination, class, tenant, lifetime } = addressee.to();
            let expires = lifetime.map(|lifetime| now + lifetime);
            let recipients = mail.envelope.forward_paths().len();
            let recipients = u32::try_from(recipients).unwrap_or(u32::MAX);
            let octets = mail.content.len() as u64;
            let job = NewJob { destination, class, tenant, recipients, octets, expires };
            let ledger = ledgers.open(mail, self.in_doubt, now);
            let job = state.planner.submit(now, job, &mut state.actions);
            state.add_job(job, Entry { ledger, addressee, number });
            job
        })
    }

    /// Gives the jobs up that are not being sent; those that are have their last attempt.
    pub(super) fn cancel(self: &Arc<Self>, jobs: &[JobId]) {
        let _busy = self.busy();
        for &job in jobs {
            let done =
                self.plan(|state, now| match state.planner.cancel(now, job, &mut state.actions) {
                    Cancelled::Removed => {
                        state.close(job, |ledger| ledger.give_up(now, GiveUp::Cancelled, 0, None))
                    }
                    Cancelled::InFlight(_) | Cancelled::Unknown => None,
                });
            if let Some(done) = done {
                self.report(done);
            }
        }
    }

    /// Reports a mail that comes too late.
    pub(super) fn report_drained(&self, mail: Mail, waiter: Waiter) {
        let now = self.now();
        let ledger = Ledger::new(mail, self.in_doubt, now);
        let report = ledger.give_up(now, GiveUp::Drained, 0, None);
        let (addressee, number) = (waiter.into(), self.lock().next_number());
        self.report(Done { report, addressee, number, content: None });
    }
}

/// See [`Shared::busy`].
pub(super) struct Busy<'a>(&'a Shared);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if self.0.busy.fetch_sub(1, SeqCst) == 1 {
            self.0.empty.notify_waiters();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.earlier.notify_one();
    }
}

/// Wakes the planner when something is due. It does not keep alive what it serves.
async fn watch(shared: Weak<Shared>, mut watch: Watch) {
    loop {
        let due = {
            let Some(shared) = shared.upgrade() else { return };
            shared.plan(|state, now| state.planner.advance(now, &mut state.actions));
            let mut state = shared.lock();
            state.armed = state.planner.next_deadline().unwrap_or(Time::NEVER);
            (state.armed < Time::NEVER).then(|| Due {
                at: shared.epoch + state.armed.since_epoch(),
                precision: match state.planner.next_deadline_is_exact() {
                    true => Precision::Microseconds,
                    false => Precision::Milliseconds,
                },
            })
        };
        watch.wait(due).await;
    }
}
