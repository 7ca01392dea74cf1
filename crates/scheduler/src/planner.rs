//! The planner: which mail goes over which connection, and when.
//!
//! It does no I/O, reads no clock and has no randomness but its seed: the same calls give the same
//! actions. Whoever drives it
//!
//! 1. calls it as things happen, each time with the present [`Time`], which never goes back;
//! 2. carries out the [`Action`]s that the call pushed, in their order;
//! 3. calls [`Planner::advance`] when [`Planner::next_deadline`] is reached.
//!
//! Connections *pull*: in the moment in which one can take a mail it asks for the next, and gets it
//! or is told to wait. Everything takes constant time; so do timers, but for an odd few.

mod action;
mod config;
mod connection;
mod drain;
mod gate;
mod job;
mod pipelining;
mod server;
mod service;
mod slots;
#[cfg(test)]
mod tests;
mod timers;

use fastrand::Rng;
use posthaste_session::Pipelining;

pub use action::{
    Action, Again, Answer, AttemptResult, Bdat, Cancelled, ConnectionId, GiveUp, Hold, JobId,
    NewJob, Pull, Record, ServerId,
};
pub use config::{Exhausted, Fault, PipeliningPolicy, PlannerConfig, ServerLimits};

use self::connection::Connection;
use self::job::Job;
use self::server::Server;
use self::slots::{Key, Slots};
use self::timers::{TimerSlot, Timers};
use crate::time::Time;

/// Decides which mail goes over which connection, and when. See the [module's page](crate::planner).
#[derive(Debug)]
pub struct Planner {
    config: PlannerConfig,
    rng: Rng,
    servers: Vec<Server>,
    jobs: Slots<Job>,
    connections: Slots<Connection>,
    timers: Timers<Timer>,
    drain: Option<Time>,
    drain_timer: TimerSlot,
}

/// Whom a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Drain,
    Job(Key),
    Connection(Key),
    Server(ServerId),
}

impl Planner {
    /// A planner without servers.
    pub fn new(config: PlannerConfig, seed: u64) -> Self {
        Self {
            config,
            rng: Rng::with_seed(seed),
            servers: Vec::new(),
            jobs: Slots::new(),
            connections: Slots::new(),
            timers: Timers::new(),
            drain: None,
            drain_timer: TimerSlot::default(),
        }
    }

    /// Adds a server.
    pub fn add_server(&mut self, limits: ServerLimits) -> ServerId {
        let id =
            u32::try_from(self.servers.len()).expect("4 billion servers do not fit into memory");
        self.servers.push(Server::new(limits));
        ServerId(id)
    }

    /// Does what is due.
    pub fn advance(&mut self, now: Time, out: &mut Vec<Action>) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Drain => {
                    self.drain_timer = TimerSlot::default();
                    self.abort_all(out);
                }
                Timer::Job(key) => self.job_is_due(now, key, out),
                Timer::Connection(key) => self.idle_is_over(now, key, out),
                Timer::Server(server) => {
                    self.server_mut(server).timer = TimerSlot::default();
                    self.balance(now, server, out);
                }
            }
        }
    }

    /// When [`advance`](Self::advance) has something to do; `None` if only a call can change that.
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.earliest()
    }

    /// How many mails are queued, waiting or being sent.
    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// How many connections are open, or being opened or closed.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// All servers, in the order in which they were added.
    pub fn servers(&self) -> impl Iterator<Item = ServerId> + use<> {
        (0..self.servers.len() as u32).map(ServerId)
    }

    /// What is known about a server.
    pub fn status(&self, server: ServerId) -> ServerStatus {
        let server = self.server(server);
        let connections = server.connections;
        ServerStatus {
            ready: server.ready.len(),
            open: connections.open,
            connecting: connections.connecting,
            established: connections.established(),
            failures: server.breaker.failures,
            opens_at: server.breaker.until.max(server.opening.until).max(server.sending.until),
            ceiling: server.ceiling.as_ref().map(|ceiling| ceiling.limit),
            pipelining: server.pipelining.mode(),
        }
    }

    fn server(&self, server: ServerId) -> &Server {
        &self.servers[server.index()]
    }

    fn server_mut(&mut self, server: ServerId) -> &mut Server {
        &mut self.servers[server.index()]
    }
}

/// What is known about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStatus {
    /// Mails that could be sent now.
    pub ready: u32,
    /// Connections that are open, or being opened or closed.
    pub open: u32,
    /// Those of them that are being opened.
    pub connecting: u32,
    /// Those of them that send mails.
    pub established: u32,
    /// Failures in a row that are held against it.
    pub failures: u32,
    /// No connection is opened before this time; in the past if nothing stands against it.
    pub opens_at: Time,
    /// How many connections it bears, if it refused one.
    pub ceiling: Option<u32>,
    /// The pipelining mode.
    pub pipelining: Pipelining,
}
