//! The tokio half: it owns sockets and clocks, and does what the planner says.
//!
//! One lock holds the planner and the books of all mails. Every driver takes it for the moment in which a mail
//! is finished and the next one pulled; nothing is awaited under it.

mod clock;
mod delivery;
mod intake;
mod lane;
mod observe;
mod pages;
mod port;
mod send_all;
mod shared;
mod state;
mod submission;
mod trace;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use posthaste_connection::Connector;
use posthaste_session::Mail;
use tokio::sync::oneshot;

pub use clock::Clock;
pub use observe::{Observation, Observer};
pub use send_all::SendAll;
pub use submission::{Submission, Ticket};

use crate::ledger::{InDoubtPolicy, Ledgers};
use crate::planner::{
    DestinationId, DestinationLimits, DestinationStatus, Explanation, LimitId, LimitScope, Place,
    PlannerConfig, Question, Rate, ServerId, ServerStatus, TenantId,
};
use crate::report::Report;
use crate::time::Time;
use delivery::{Single, Waiter};
use intake::Closed;
use shared::Shared;
use state::Host;

/// Octets of content that may be queued at once: enough to keep a thousand connections busy with usual
/// mails, and little enough for a small machine.
pub const DEFAULT_INTAKE: usize = 256 * 1024 * 1024;
/// Recipients of one job: as many as each server must take (RFC 5321 section 4.5.3.1.8).
pub const DEFAULT_BATCH: usize = 100;

/// Settings of a [`Scheduler`].
#[derive(Clone)]
pub struct SchedulerConfig {
    /// When mails are tried again, and servers left alone.
    pub planner: PlannerConfig,
    /// What a mail means whose fate is not known.
    pub in_doubt: InDoubtPolicy,
    /// Octets of content that may be queued at once; a mail counts with 1 KiB at least.
    pub intake: usize,
    /// Most recipients that go together, at least 1. A mail with more of them is queued in so many parts, between
    /// which others have their turn; whoever gets one mail for all or nobody gets it whole.
    pub batch: usize,
    /// How exactly limits of rate are met.
    pub clock: Clock,
    /// Seeds the jitter, so that a run can be repeated.
    pub seed: u64,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            planner: PlannerConfig::default(),
            in_doubt: InDoubtPolicy::default(),
            intake: DEFAULT_INTAKE,
            batch: DEFAULT_BATCH,
            clock: Clock::default(),
            seed: 0,
        }
    }
}

/// Sends many mails over few connections that are used again and again. Cheap to clone.
#[derive(Clone)]
pub struct Scheduler {
    shared: Arc<Shared>,
}

impl Scheduler {
    /// Starts a scheduler on the current runtime.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn new(config: SchedulerConfig, observer: Option<Arc<dyn Observer>>) -> Self {
        Self { shared: Shared::start(config, observer) }
    }

    /// Adds a destination with one server.
    pub fn add_server(&self, connector: Connector, limits: DestinationLimits) -> DestinationId {
        self.add_destination(limits, [(connector, Place::default())])
    }

    /// Adds a destination that several servers serve: where they are, and the place of each.
    ///
    /// # Panics
    ///
    /// Without a server.
    pub fn add_destination(
        &self,
        limits: DestinationLimits,
        servers: impl IntoIterator<Item = (Connector, Place)>,
    ) -> DestinationId {
        let (connectors, places): (Vec<_>, Vec<_>) = servers.into_iter().unzip();
        assert!(!places.is_empty(), "a destination has a server");
        let mut state = self.shared.lock();
        state.hosts.extend(connectors.into_iter().map(Host::new));
        state.planner.add_destination(limits, &places)
    }

    /// Adds a tenant, see [`Planner::add_tenant`](crate::Planner::add_tenant).
    pub fn add_tenant(&self, weight: u16) -> TenantId {
        self.shared.lock().planner.add_tenant(weight)
    }

    /// Adds a rate limit, see [`Planner::add_limit`](crate::Planner::add_limit).
    ///
    /// # Panics
    ///
    /// When the scope names what this scheduler does not have.
    pub fn add_limit(&self, scope: LimitScope, rate: Rate) -> LimitId {
        self.shared.lock().planner.add_limit(scope, rate)
    }

    /// Sends a mail, again and again if need be, until every recipient has an outcome.
    ///
    /// Waits while too much is queued already.
    ///
    /// After a shutdown has begun nothing is sent any more, and the report says so.
    ///
    /// # Panics
    ///
    /// When the destination or the tenant is none of this scheduler's.
    ///
    /// # Cancel safety
    ///
    /// Dropped before the mail was queued, nothing happens; after that the mail goes its way and only its
    /// report is lost.
    pub async fn send(&self, to: impl Into<Submission>, mail: Mail) -> Report {
        self.submit(to, mail).await.await
    }

    /// Queues a mail, as soon as there is room for it. The [`Ticket`] gives its report, and can stop it.
    ///
    /// # Panics
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// Dropped before the mail was queued, nothing happens.
    pub async fn submit(&self, to: impl Into<Submission>, mail: Mail) -> Ticket {
        let shared = Arc::clone(&self.shared);
        let (sender, report) = oneshot::channel();
        let waiter = Waiter::One(Single { to: to.into(), sender });
        let cost = shared.intake.cost(mail.content.len());
        let mut jobs = Vec::new();
        match shared.intake.clone().enter(cost).await {
            Ok(entrance) => {
                entrance.pass();
                shared.submit(mail, waiter, &mut Ledgers::default(), |job| jobs.push(job));
            }
            Err(Closed) => shared.report_drained(mail, waiter),
        }
        Ticket::new(shared, jobs, report)
    }

    /// Sends every mail of a stream, and gives a stream of what became of them, in the order in which they
    /// are done. See [`SendAll`].
    pub fn send_all<S>(&self, to: impl Into<Submission>, mails: S) -> SendAll<S> {
        SendAll::new(Arc::clone(&self.shared), to.into(), mails)
    }

    /// The servers of a destination, in the order in which they were given.
    pub fn servers_of(&self, destination: DestinationId) -> Vec<ServerId> {
        self.shared.lock().planner.servers_of(destination).collect()
    }

    /// What is known about a server at the moment.
    pub fn status(&self, server: ServerId) -> ServerStatus {
        let state = self.shared.lock();
        state.planner.status(self.shared.now(), server)
    }

    /// What is known about a destination at the moment.
    pub fn destination_status(&self, destination: DestinationId) -> DestinationStatus {
        self.shared.lock().planner.destination_status(destination)
    }

    /// How many flows and destinations a rate limit holds up at the moment. Looks at all of them.
    pub fn held_up(&self) -> usize {
        self.shared.lock().planner.held_up()
    }

    /// Why something is not moving, and until when.
    pub fn explain(&self, question: Question) -> Explanation {
        let state = self.shared.lock();
        state.planner.explain(self.shared.now(), question)
    }

    /// The present time, as statuses and explanations tell it.
    pub fn now(&self) -> Time {
        self.shared.now()
    }

    /// Forgets what was learned about a server: its limits, its failures, its pipelining mode. For the operator
    /// who knows that it is another one now.
    pub fn forget(&self, server: ServerId) {
        self.shared.plan(|state, now| state.planner.forget(now, server, &mut state.actions));
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
            if self.shared.is_empty() {
                return;
            }
            empty.await;
        }
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        let (jobs, connections) = (state.planner.jobs(), state.planner.connections());
        f.debug_struct("Scheduler").field("jobs", &jobs).field("connections", &connections).finish()
    }
}
