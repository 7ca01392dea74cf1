//! The tokio half: it owns sockets and clocks, and does what the planner says.
//!
//! One lock holds the planner and the books of all mails. Every driver takes it for the moment in which a mail
//! is finished and the next one pulled; nothing is awaited under it.

mod lane;
mod observe;
mod port;
mod send_all;
mod state;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use posthaste_connection::Connector;
use posthaste_session::Mail;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

pub use observe::{Observation, Observer};
pub use send_all::SendAll;

use crate::ledger::{InDoubtPolicy, Ledger};
use crate::planner::{
    GiveUp, NewJob, Planner, PlannerConfig, ServerId, ServerLimits, ServerStatus,
};
use crate::report::Report;
use crate::time::Time;
use state::{Entry, Host, State, Waiter};

/// Octets of content that may be queued at once: enough to keep a thousand connections busy with usual
/// mails, and little enough for a small machine.
pub const DEFAULT_INTAKE: usize = 256 * 1024 * 1024;
/// What a mail is counted with at least, so that the number of queued mails is bounded, too.
const MIN_COST: usize = 1024;

/// Settings of a [`Scheduler`].
#[derive(Clone)]
pub struct SchedulerConfig {
    /// When mails are tried again, and servers left alone.
    pub planner: PlannerConfig,
    /// What a mail means whose fate is not known.
    pub in_doubt: InDoubtPolicy,
    /// Octets of content that may be queued at once; a mail counts with 1 KiB at least.
    pub intake: usize,
    /// Seeds the jitter, so that a run can be repeated.
    pub seed: u64,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            planner: PlannerConfig::default(),
            in_doubt: InDoubtPolicy::default(),
            intake: DEFAULT_INTAKE,
            seed: 0,
        }
    }
}

/// Sends many mails over few connections that are used again and again. Cheap to clone.
#[derive(Clone)]
pub struct Scheduler {
    shared: Arc<Shared>,
}

/// What all handles, all drivers and the clock share.
struct Shared {
    state: Mutex<State>,
    /// The earliest deadline has moved forward, or there is nothing left to watch.
    earlier: Arc<Notify>,
    /// The last mail and the last connection are gone.
    empty: Notify,
    intake: Arc<Semaphore>,
    /// Permits of `intake`, each for [`MIN_COST`] octets.
    permits: u32,
    in_doubt: InDoubtPolicy,
    observer: Option<Arc<dyn Observer>>,
    epoch: Instant,
    runtime: Handle,
}

impl Scheduler {
    /// Starts a scheduler on the current runtime.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn new(config: SchedulerConfig, observer: Option<Arc<dyn Observer>>) -> Self {
        let permits = u32::try_from(config.intake.div_ceil(MIN_COST)).unwrap_or(u32::MAX).max(1);
        let permits = permits.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        let earlier = Arc::new(Notify::new());
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(Planner::new(config.planner, config.seed))),
            earlier: Arc::clone(&earlier),
            empty: Notify::new(),
            intake: Arc::new(Semaphore::new(permits as usize)),
            permits,
            in_doubt: config.in_doubt,
            observer,
            epoch: Instant::now(),
            runtime: Handle::current(),
        });
        tokio::spawn(watch_clock(Arc::downgrade(&shared), earlier));
        Self { shared }
    }

    /// Adds a server.
    pub fn add_server(&self, connector: Connector, limits: ServerLimits) -> ServerId {
        let mut state = self.shared.lock();
        state.servers.push(Host { connector, words: None, trouble: None });
        state.planner.add_server(limits)
    }

    /// Sends a mail, again and again if need be, until every recipient has an outcome.
    ///
    /// Waits while too much is queued already.
    ///
    /// After a shutdown has begun nothing is sent any more, and the report says so.
    ///
    /// # Cancel safety
    ///
    /// Dropped before the mail was queued, nothing happens; after that the mail goes its way and only its
    /// report is lost.
    pub async fn send(&self, server: ServerId, mail: Mail) -> Report {
        let Ok(permit) = Arc::clone(&self.shared.intake).acquire_many_owned(self.cost(&mail)).await
        else {
            return self.drained(mail);
        };
        let (waiter, report) = oneshot::channel();
        self.submit(server, mail, Waiter::One(waiter), permit);
        match report.await {
            Ok((report, _permit)) => report,
            // Every mail is reported before its books are dropped, unless the whole runtime goes down.
            Err(_) => std::future::pending().await,
        }
    }

    /// Sends every mail of a stream, and gives a stream of what became of them, in the order in which they
    /// are done. See [`SendAll`].
    pub fn send_all<S>(&self, server: ServerId, mails: S) -> SendAll<S> {
        SendAll::new(self.clone(), server, mails)
    }

    /// What is known about a server at the moment.
    pub fn status(&self, server: ServerId) -> ServerStatus {
        self.shared.lock().planner.status(server)
    }

    /// Takes no more mails, finishes those that are being sent, reports all others as not sent, and closes every
    /// connection. What is still under way at the deadline is cut off.
    ///
    /// # Cancel safety
    ///
    /// The shutdown goes on if the future is dropped; call it again to wait for its end.
    pub async fn shutdown(&self, deadline: Duration) {
        self.shared.intake.close();
        self.shared.plan(|state, now| state.planner.drain(now, now + deadline, &mut state.actions));
        loop {
            let mut empty = std::pin::pin!(self.shared.empty.notified());
            // Registered before the look, so that the last one to leave is not missed.
            empty.as_mut().enable();
            if self.shared.lock().is_empty() {
                return;
            }
            empty.await;
        }
    }

    fn cost(&self, mail: &Mail) -> u32 {
        let cost = mail.content.len().div_ceil(MIN_COST).max(1);
        // A mail larger than everything that may be queued goes alone.
        u32::try_from(cost).unwrap_or(u32::MAX).min(self.shared.permits)
    }

    /// What becomes of a mail that comes too late.
    fn drained(&self, mail: Mail) -> Report {
        let now = self.shared.now();
        Ledger::new(mail, self.shared.in_doubt, now).give_up(now, GiveUp::Drained, 0, None)
    }

    fn submit(&self, server: ServerId, mail: Mail, waiter: Waiter, permit: OwnedSemaphorePermit) {
        self.shared.plan(|state, now| {
            let ledger = Ledger::new(mail, self.shared.in_doubt, now);
            let job = NewJob { server, expires: None };
            let job = state.planner.submit(now, job, &mut state.actions);
            state.add_job(job, Entry { server, ledger, waiter, permit });
        });
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        let (jobs, connections) = (state.planner.jobs(), state.planner.connections());
        f.debug_struct("Scheduler").field("jobs", &jobs).field("connections", &connections).finish()
    }
}

impl Shared {
    fn now(&self) -> Time {
        Time::after_epoch(self.epoch.elapsed())
    }

    /// A panic under the lock has been reported already, and the books are whole between any two calls.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the planner think, then does what it wants done.
    fn plan<T>(self: &Arc<Self>, think: impl FnOnce(&mut State, Time) -> T) -> T {
        let now = self.now();
        let mut state = self.lock();
        let result = think(&mut state, now);
        let left = state.obey(now);
        let due = state.planner.next_deadline();
        if due.is_some_and(|due| due < state.armed) {
            state.armed = due.unwrap_or(Time::NEVER);
            self.earlier.notify_one();
        }
        if state.is_empty() {
            self.empty.notify_waiters();
        }
        drop(state);
        for open in left.open {
            lane::open(self, open);
        }
        for record in left.records {
            self.observe(Observation::Record(record));
        }
        result
    }

    fn observe(&self, observation: Observation<'_>) {
        if let Some(observer) = &self.observer {
            observer.observe(observation);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.earlier.notify_one();
    }
}

/// Wakes the planner when something is due. It does not keep alive what it serves.
async fn watch_clock(shared: Weak<Shared>, earlier: Arc<Notify>) {
    loop {
        let due = {
            let Some(shared) = shared.upgrade() else { return };
            shared.plan(|state, now| state.planner.advance(now, &mut state.actions));
            let mut state = shared.lock();
            state.armed = state.planner.next_deadline().unwrap_or(Time::NEVER);
            (state.armed < Time::NEVER).then(|| shared.epoch + state.armed.since_epoch())
        };
        match due {
            Some(due) => {
                let _ = timeout_at(due, earlier.notified()).await;
            }
            None => earlier.notified().await,
        }
    }
}
