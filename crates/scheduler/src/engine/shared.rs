//! What all handles, all drivers and the clock share.

use std::any::Any;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use posthaste_session::{Mail, PartialRefusal};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::clock::{Due, Precision, Watch};
use super::delivery::{Addressee, Arrival, Convoy, Line, Waiter};
use super::intake::{Intake, Room};
use super::observe::{Observation, Observer};
use super::state::{Done, Entry, Left, State};
use super::submission::Submission;
use super::{SchedulerConfig, lane, trace};
use crate::ledger::{InDoubtPolicy, Ledger, Ledgers};
use crate::planner::{Cancelled, GiveUp, JobId, NewJob, Planner};
use crate::report::Report;
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
        self.time(Instant::now())
    }

    fn time(&self, at: Instant) -> Time {
        Time::after_epoch(at.saturating_duration_since(self.epoch))
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
    pub(super) fn busy(self: &Arc<Self>) -> Busy<'_> {
        self.busy.fetch_add(1, SeqCst);
        Busy(self)
    }

    /// Lets the planner think, then does what it wants done.
    pub(super) fn plan<T>(self: &Arc<Self>, think: impl FnOnce(&mut State, Time) -> T) -> T {
        self.busy().plan(think)
    }

    /// Does what does not need the lock. Whatever an observer does, all of it; gives its panic.
    fn finish(self: &Arc<Self>, left: Left) -> Option<Panic> {
        let Left { open, records, done } = left;
        for open in open {
            lane::open(self, open);
        }
        let mut panic = None;
        for record in records {
            trace::record(&record);
            panic = self.try_observe(Observation::Record(record)).or(panic);
        }
        self.try_report(done).or(panic)
    }

    pub(super) fn observe(&self, observation: Observation<'_>) {
        if let Some(observer) = &self.observer {
            observer.observe(observation);
        }
    }

    /// The same, but gives the panic of an observer.
    pub(super) fn try_observe(&self, observation: Observation<'_>) -> Option<Panic> {
        let observer = self.observer.as_ref()?;
        catch_unwind(AssertUnwindSafe(|| observer.observe(observation))).err()
    }

    /// Hands out the reports of those mails of which these were the last jobs.
    pub(super) fn report(&self, done: impl IntoIterator<Item = Done>) {
        if let Some(cause) = self.try_report(done) {
            resume_unwind(cause);
        }
    }

    /// The same, but gives the panic of an observer: each report gets to whoever waits for it.
    pub(super) fn try_report(&self, done: impl IntoIterator<Item = Done>) -> Option<Panic> {
        let mut panic = None;
        let mut convoy: Option<Convoy> = None;
        let mut done = done.into_iter();
        while let Some(Done { report, addressee, number, octets }) = done.next() {
            let Some((waiter, report)) = addressee.complete(report) else { continue };
            if self.observer.is_some() {
                panic = self.observe_report(&waiter, number, &report).or(panic);
            }
            match waiter {
                Waiter::One(single) => {
                    single.arrive(report, octets.map(|octets| self.intake.share(octets)));
                }
                Waiter::Stream(place, line) => {
                    let cost = octets.map(|octets| self.intake.cost(octets));
                    match &mut convoy {
                        Some(convoy) if Arc::ptr_eq(&convoy.line, &line) => {
                            convoy.more.push(Arrival { place, report, cost });
                        }
                        _ => {
                            let first = Arrival { place, report, cost };
                            let more = Vec::with_capacity(done.size_hint().1.unwrap_or_default());
                            self.hand_over(convoy.replace(Convoy { line, first, more }));
                        }
                    }
                }
            }
        }
        self.hand_over(convoy);
        panic
    }

    #[inline(never)]
    fn observe_report(
        &self,
        waiter: &Waiter,
        number: NonZeroU64,
        report: &Report,
    ) -> Option<Panic> {
        let Submission { class, tenant, .. } = waiter.to();
        let mail = number.get();
        self.try_observe(Observation::Reported { mail, class, tenant, report })
    }

    fn hand_over(&self, convoy: Option<Convoy>) {
        if let Some(convoy) = convoy.and_then(Convoy::arrive) {
            // What nobody wants takes no room either.
            self.free(convoy.arrivals());
        }
    }

    /// Gives back the room of reports that nobody will take.
    pub(super) fn free(&self, arrivals: impl IntoIterator<Item = Arrival>) {
        let mut room = Room::default();
        for cost in arrivals.into_iter().filter_map(|arrival| arrival.cost) {
            room += cost;
        }
        self.intake.free(room);
    }

    /// Queues a mail that has room, in as many jobs as it has batches of recipients, and tells which they are.
    pub(super) fn submit(
        self: &Arc<Self>,
        mail: Mail,
        waiter: Waiter,
        ledgers: &mut Ledgers,
        mut tell: impl FnMut(JobId),
    ) {
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

    /// Queues mails of a stream that have room, the first of which has this place, all under one lock. None of
    /// them is [for many](Self::is_for_many).
    pub(super) fn submit_all(
        self: &Arc<Self>,
        mails: &mut Vec<Mail>,
        mut place: u64,
        line: &Arc<Line>,
        ledgers: &mut Ledgers,
    ) {
        let mut mails = mails.drain(..);
        while !mails.as_slice().is_empty() {
            self.plan(|state, now| {
                for mail in mails.by_ref() {
                    let addressee = Addressee::Stream(place, Arc::clone(line));
                    place += 1;
                    self.enter(state, now, mail, addressee, None, ledgers);
                    if !state.actions.is_empty() {
                        // One may be to give this job up, whose place the next one would get.
                        break;
                    }
                }
                state.planner.submitted(now, line.to.destination, &mut state.actions);
            });
        }
    }

    /// Whether a mail goes in batches: it has many recipients, and need not be for all of them or nobody.
    pub(super) fn is_for_many(&self, mail: &Mail) -> bool {
        let recipients = mail.envelope.forward_paths().len();
        recipients > self.batch && mail.partial_refusal != PartialRefusal::AllOrNothing
    }

    /// A mail [for many](Self::is_for_many) as several for a few.
    fn batches(&self, mail: &Mail) -> Option<Vec<Mail>> {
        if !self.is_for_many(mail) {
            return None;
        }
        let Mail { envelope, content, .. } = mail;
        let places: Vec<u32> = (0..).take(envelope.forward_paths().len()).collect();
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
        let destination = addressee.to().destination;
        self.plan(|state, now| {
            let job = self.enter(state, now, mail, addressee, number, ledgers);
            state.planner.submitted(now, destination, &mut state.actions);
            job
        })
    }

    /// The same under the lock, before connections hear of it.
    fn enter(
        &self,
        state: &mut State,
        now: Time,
        mail: Mail,
        addressee: Addressee,
        number: Option<NonZeroU64>,
        ledgers: &mut Ledgers,
    ) -> JobId {
        let number = number.unwrap_or_else(|| state.next_number());
        let Submission { destination, class, tenant, lifetime } = addressee.to();
        let expires = lifetime.map(|lifetime| now + lifetime);
        let recipients = mail.envelope.forward_paths().len();
        let recipients = u32::try_from(recipients).unwrap_or(u32::MAX);
        let octets = mail.content.len() as u64;
        let job = NewJob { destination, class, tenant, recipients, octets, expires };
        let ledger = ledgers.open(mail, self.in_doubt, now);
        let job = state.planner.submit_more(now, job, &mut state.actions);
        state.add_job(job, Entry { ledger, addressee, number });
        job
    }

    /// Gives the jobs up that are not being sent; those that are have their last attempt.
    pub(super) fn cancel(self: &Arc<Self>, jobs: &[JobId]) {
        let busy = self.busy();
        for &job in jobs {
            let done =
                busy.plan(|state, now| match state.planner.cancel(now, job, &mut state.actions) {
                    Cancelled::Removed => {
                        state.close(job, |ledger| ledger.give_up(now, GiveUp::Cancelled, 0, None))
                    }
                    Cancelled::InFlight(_) | Cancelled::Unknown => None,
                });
            self.report(done);
        }
    }

    /// Reports a mail that comes too late.
    pub(super) fn report_drained(&self, mail: Mail, waiter: Waiter) {
        let now = self.now();
        let ledger = Ledger::new(mail, self.in_doubt, now);
        let report = ledger.give_up(now, GiveUp::Drained, 0, None);
        let (addressee, number) = (waiter.into(), self.lock().next_number());
        self.report([Done { report, addressee, number, octets: None }]);
    }
}

/// See [`Shared::busy`].
pub(super) struct Busy<'a>(&'a Arc<Shared>);

impl Busy<'_> {
    /// See [`Shared::plan`].
    pub(super) fn plan<T>(&self, think: impl FnOnce(&mut State, Time) -> T) -> T {
        let (result, panic) = self.try_plan(None, think);
        if let Some(cause) = panic {
            resume_unwind(cause);
        }
        result
    }

    /// The same for what was heard a moment ago, if it is known when. Gives the panic of an observer: what came of the
    /// thought is not lost.
    pub(super) fn try_plan<T>(
        &self,
        heard: Option<Instant>,
        think: impl FnOnce(&mut State, Time) -> T,
    ) -> (T, Option<Panic>) {
        let Self(shared) = self;
        let mut state = shared.lock();
        let now = heard.map_or_else(|| shared.now(), |heard| shared.time(heard));
        let now = state.advance(now);
        let result = think(&mut state, now);
        let left = (!state.actions.is_empty()).then(|| state.obey(now));
        let due = state.planner.next_deadline();
        if due.is_some_and(|due| due < state.armed) {
            state.armed = due.unwrap_or(Time::NEVER);
            shared.earlier.notify_one();
        }
        drop(state);
        (result, left.and_then(|left| shared.finish(left)))
    }
}

/// What an observer panicked with.
pub(super) type Panic = Box<dyn Any + Send>;

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
