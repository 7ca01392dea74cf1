//! The tokio half: it owns sockets and clocks, and does what the planner says.
//!
//! One lock holds the planner and the books of all mails. Every driver takes it for the moment in which a mail
//! is finished and the next one pulled; nothing is awaited under it.

mod lane;
mod observe;
mod send_all;
mod state;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use posthaste_connection::Connector;
use posthaste_session::Mail;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until};

pub use observe::{Observation, Observer};
pub use send_all::SendAll;

use crate::ledger::{InDoubtPolicy, Ledger};
use crate::planner::{Action, NewJob, Planner, PlannerConfig, ServerId, ServerLimits, ServerStatus};
use crate::report::Report;
use crate::time::Time;
use state::{Entry, State, Waiter};

/// Octets of content that may be queued at once: enough to keep a thousand connections busy with usual
/// mails, and little enough for a small machine.
pub const DEFAULT_INTAKE: usize = 256 * 1024 * 1024;
/// What a mail is counted with at least, so that the number of queued mails is bounded, too.
const MIN_COST: usize = 1024;

/// Settings of a [`Scheduler`].
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug)]
pub struct Scheduler {
    shared: Arc<Shared>,
}

/// Why a mail was not taken.
#[derive(Debug, thiserror::Error)]
#[error("scheduler is shut down")]
pub struct ShutDown {
    /// The mail, unchanged.
    pub mail: Box<Mail>,
}

/// What all handles, all drivers and the clock share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The earliest deadline has moved forward.
    earlier: Notify,
    /// The last mail and the last connection are gone.
    empty: Notify,
    intake: Arc<Semaphore>,
    /// Permits of `intake`, each for [`MIN_COST`] octets.
    permits: u32,
    in_doubt: InDoubtPolicy,
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
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(Planner::new(config.planner, config.seed), observer)),
            earlier: Notify::new(),
            empty: Notify::new(),
            intake: Arc::new(Semaphore::new(permits as usize)),
            permits,
            in_doubt: config.in_doubt,
            epoch: Instant::now(),
            runtime: Handle::current(),
        });
        let clock = Arc::downgrade(&shared);
        tokio::spawn(async move {
            // The clock must not keep alive what it serves.
            while let Some(shared) = clock.upgrade() {
                let due = shared.lock().planner.next_deadline();
                let wait = Arc::clone(&shared);
                drop(shared);
                wait.wait_until(due).await;
            }
        });
        Self { shared }
    }

    /// Adds a server.
    pub fn add_server(&self, connector: Connector, limits: ServerLimits) -> ServerId {
        let mut state = self.shared.lock();
        state.connectors.push(connector);
        state.planner.add_server(limits)
    }

    /// Sends a mail, again and again if need be, until every recipient has an outcome.
    ///
    /// Waits while too much is queued already.
    ///
    /// # Errors
    ///
    /// Gives the mail back when the scheduler is shut down. What a server refuses is no error.
    ///
    /// # Cancel safety
    ///
    /// Dropped before the mail was queued, nothing happens; after that the mail goes its way and only its
    /// report is lost.
    pub async fn send(&self, server: ServerId, mail: Mail) -> Result<Report, ShutDown> {
        let Ok(permit) = Arc::clone(&self.shared.intake).acquire_many_owned(self.cost(&mail)).await else {
            return Err(ShutDown { mail: Box::new(mail) });
        };
        let (waiter, report) = oneshot::channel();
        self.submit(server, mail, Waiter::One(waiter), permit);
        // Every entry answers before it is dropped.
        let (report, _permit) = report.await.unwrap_or_else(|_| unreachable!("a mail without a report"));
        Ok(report)
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
        let now = self.shared.now();
        self.shared.plan(|planner, actions| planner.drain(now, now + deadline, actions));
        loop {
            let empty = self.shared.empty.notified();
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

    fn submit(&self, server: ServerId, mail: Mail, waiter: Waiter, permit: OwnedSemaphorePermit) {
        let now = self.shared.now();
        let recipients = u32::try_from(mail.envelope.forward_paths().len()).unwrap_or(u32::MAX);
        let ledger = Ledger::new(mail, self.shared.in_doubt, now);
        let mut state = self.shared.lock();
        state.arriving = Some(Entry { server, ledger, waiter, permit });
        let job = NewJob { server, recipients, expires: None };
        let State { planner, actions, .. } = &mut *state;
        let job = planner.submit(now, job, actions);
        state.settle_arrival(job);
        self.shared.perform(state, now);
    }
}

impl Shared {
    fn now(&self) -> Time {
        Time::after_epoch(self.epoch.elapsed())
    }

    /// A panic under the lock has already been reported; the books are whole between any two lines.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the planner think, and does what it wants.
    fn plan<T>(self: &Arc<Self>, think: impl FnOnce(&mut Planner, &mut Vec<Action>) -> T) -> T {
        let mut state = self.lock();
        let State { planner, actions, .. } = &mut *state;
        let result = think(planner, actions);
        let now = self.now();
        self.perform(state, now);
        result
    }

    /// Does what the planner wants, lets go of the lock, and sees to the clock.
    fn perform(self: &Arc<Self>, mut state: MutexGuard<'_, State>, now: Time) {
        let mut opened = VecDeque::new();
        state.obey(now, |open| opened.push_back(open));
        let due = state.planner.next_deadline();
        let is_earlier = match (due, state.armed) {
            (Some(due), Some(armed)) => due < armed,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if is_earlier {
            state.armed = due;
            self.earlier.notify_one();
        }
        if state.is_empty() {
            self.empty.notify_waiters();
        }
        drop(state);
        for open in opened {
            lane::open(self, open);
        }
    }

    /// Sleeps until a deadline, or until there is an earlier one, and does what is due.
    async fn wait_until(self: Arc<Self>, due: Option<Time>) {
        todo!()
    }
}
