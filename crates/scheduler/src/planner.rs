//! The planner: which mail goes over which connection, and when.
//!
//! It does no I/O, reads no clock and has no randomness but its seed: the same calls give the same
//! actions. Whoever drives it
//!
//! 1. calls it as things happen, each time with the present [`Time`], which never goes back;
//! 2. carries out the [`Action`]s that the call pushed, in their order;
//! 3. calls [`Planner::advance`] when [`Planner::next_deadline`] is reached.
//!
//! A mail is submitted to a *destination*, which has one or several *servers*; each of these has its
//! own health, and its own limits as far as they were learned. The mails of one *tenant* and one *class*
//! that wait for a destination are a *flow*; flows take turns. *Limits* hold them up until the exact
//! instant from which the next mail may go.
//!
//! Connections *pull*: in the moment in which one can take a mail it asks for the next, and gets it
//! or is told to wait. Everything takes constant time, spread over the calls, or
//! logarithmic in the number of tenants; never does it depend on the number of mails.

mod action;
mod balance;
mod ceiling;
mod config;
mod connection;
mod crowd;
mod destination;
mod drain;
mod explain;
mod flows;
mod gate;
mod greylist;
mod job;
mod limit;
mod pace;
mod pacing;
mod pipelining;
mod queue;
mod server;
mod service;
mod slots;
mod status;
#[cfg(test)]
mod tests;
mod timers;
mod window;

use std::collections::HashMap;

use fastrand::Rng;

pub use action::{
    Action, Again, Answer, AttemptResult, Cancelled, Class, ConnectionId, DestinationId, Ending,
    GiveUp, Hold, JobId, LimitId, NewJob, Pull, Record, ServerId, TenantId, Use,
};
pub use config::{
    DestinationLimits, Exhausted, Fault, LimitScope, PipeliningPolicy, Place, PlannerConfig, Rate,
    Unit,
};
pub use explain::{Explanation, Question, Reason, ReasonKind};
pub use status::{DestinationStatus, ServerState, ServerStatus};

use self::connection::Connection;
use self::crowd::Crowd;
use self::destination::{Census, Destination};
use self::job::{InTurn, Job};
use self::limit::Limit;
use self::queue::{Flow, FlowName};
use self::server::Server;
use self::slots::{Key, List, Slots};
use self::timers::Timers;
use crate::time::Time;

/// Decides which mail goes over which connection, and when. See the [module's page](crate::planner).
#[derive(Debug)]
pub struct Planner {
    config: PlannerConfig,
    rng: Rng,
    destinations: Vec<Destination>,
    servers: Vec<Server>,
    tenants: Vec<Tenant>,
    limits: Vec<Limit>,
    /// Those of the limits that hold for everything.
    everywhere: Vec<LimitId>,
    /// A tenant has limits.
    has_limited_flows: bool,
    jobs: Slots<Job>,
    flows: Slots<Flow>,
    /// Only looked up in, never walked through: its order depends on more than the seed.
    flow_names: HashMap<FlowName, Key>,
    /// The flow that was looked up last, since mails mostly come in rows.
    last_flow: Option<(FlowName, Key)>,
    connections: Slots<Connection>,
    crowd: Crowd,
    timers: Timers<Timer>,
    /// Jobs whose expiry needs no timer.
    expiring: List<InTurn>,
    drain: Option<Time>,
    drain_timer: timers::TimerSlot,
}

/// On whose behalf mails are sent.
#[derive(Debug)]
struct Tenant {
    weight: u16,
    rates: Vec<LimitId>,
}

/// Whom a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    Drain,
    Job(Key),
    Connection(Key),
    Destination(DestinationId),
    Limit(LimitId),
}

impl Planner {
    /// A planner without destinations.
    pub fn new(config: PlannerConfig, seed: u64) -> Self {
        Self {
            config,
            rng: Rng::with_seed(seed),
            destinations: Vec::new(),
            servers: Vec::new(),
            tenants: vec![Tenant { weight: 1, rates: Vec::new() }],
            limits: Vec::new(),
            everywhere: Vec::new(),
            has_limited_flows: false,
            jobs: Slots::new(),
            flows: Slots::new(),
            flow_names: HashMap::new(),
            last_flow: None,
            connections: Slots::new(),
            crowd: Crowd::default(),
            timers: Timers::new(),
            expiring: List::default(),
            drain: None,
            drain_timer: timers::TimerSlot::default(),
        }
    }

    /// Adds a destination with its servers, one at least: without any, there is one of default
    /// place. They are few: each decision may look at all of them.
    pub fn add_destination(
        &mut self,
        limits: DestinationLimits,
        servers: &[Place],
    ) -> DestinationId {
        let count = |len: usize| u32::try_from(len).expect("4 billion do not fit into memory");
        let id = DestinationId(count(self.destinations.len()));
        let first = count(self.servers.len());
        let default = [Place::default()];
        for &place in if servers.is_empty() { &default } else { servers } {
            self.servers.push(Server::new(id, place, &limits));
        }
        let servers = first..count(self.servers.len());
        let mut destination = Destination::new(limits, servers);
        for &limit in &self.everywhere {
            let is_opening = self.limits[limit.index()].rate.unit == Unit::Connections;
            destination.rates_of(is_opening).push(limit);
        }
        self.destinations.push(destination);
        id
    }

    /// Adds a tenant. Where several wait for the same destination, their shares are as their
    /// weights; [`TenantId::DEFAULT`] has 1.
    pub fn add_tenant(&mut self, weight: u16) -> TenantId {
        let id = u32::try_from(self.tenants.len()).expect("4 billion do not fit into memory");
        self.tenants.push(Tenant { weight, rates: Vec::new() });
        TenantId(id)
    }

    /// Does what is due.
    pub fn advance(&mut self, now: Time, out: &mut Vec<Action>) {
        self.expire(now, out);
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Drain => {
                    self.drain_timer = timers::TimerSlot::default();
                    self.abort_all(out);
                }
                Timer::Job(key) => self.job_is_due(now, key, out),
                Timer::Connection(key) => self.idle_is_over(now, key, out),
                Timer::Destination(id) => {
                    self.destination_mut(id).timer = timers::TimerSlot::default();
                    self.balance(now, id, out);
                }
                Timer::Limit(id) => self.limit_is_due(now, id, out),
            }
        }
    }

    /// When [`advance`](Self::advance) has something to do; `None` if only a call can change that.
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.earliest().into_iter().chain(self.next_expiry()).min()
    }

    /// How many mails are queued, waiting or being sent.
    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// How many connections are open, or being opened or closed.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    fn destination(&self, id: DestinationId) -> &Destination {
        &self.destinations[id.index()]
    }

    fn destination_mut(&mut self, id: DestinationId) -> &mut Destination {
        &mut self.destinations[id.index()]
    }

    fn server(&self, id: ServerId) -> &Server {
        &self.servers[id.index()]
    }

    fn server_mut(&mut self, id: ServerId) -> &mut Server {
        &mut self.servers[id.index()]
    }

    fn limits_of(&self, id: ServerId) -> &DestinationLimits {
        &self.destination(self.server(id).destination).limits
    }

    /// The numbers that count a connection to this server.
    fn censuses(&mut self, server: ServerId, destination: DestinationId) -> [&mut Census; 2] {
        let server = &mut self.servers[server.index()];
        let destination = &mut self.destinations[destination.index()];
        [&mut server.connections, &mut destination.connections]
    }
}
