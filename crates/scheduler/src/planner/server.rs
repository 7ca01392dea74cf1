//! What a planner knows of one server, and how many connections that justifies.

use std::time::Duration;

use super::action::Hold;
use super::config::ServerLimits;
use super::gate::{Breaker, Ceiling, Gate};
use super::pipelining::Memory;
use super::slots::List;
use super::timers::TimerSlot;
use crate::time::Time;

#[derive(Debug)]
pub(super) struct Server {
    pub(super) limits: ServerLimits,
    /// Jobs that could be sent now.
    pub(super) ready: List,
    /// Connections with room for a mail; those with nothing to do at all first.
    pub(super) waiting: List,
    pub(super) connections: Census,
    /// Most connections that slow start allows now.
    pub(super) window: u32,
    pub(super) breaker: Breaker,
    /// Somebody was there at some time, if only to say no.
    pub(super) has_answered: bool,
    /// Closed: no connection is opened.
    pub(super) opening: Gate,
    /// Closed: no mail is started.
    pub(super) sending: Gate,
    pub(super) ceiling: Option<Ceiling>,
    pub(super) pipelining: Memory,
    /// When a connection last took a job.
    pub(super) pulled: Time,
    /// Mails deferred at MAIL, in a row.
    pub(super) deferred_in_row: u32,
    /// Breaches of the protocol since the last that counted as a failure.
    pub(super) violations: u32,
    pub(super) timer: TimerSlot,
}

/// How many connections are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// All, until they are closed.
    pub(super) open: u32,
    /// Those not ready yet.
    pub(super) connecting: u32,
    /// Those told to quit or to abort.
    pub(super) closing: u32,
    /// Those that will pull without being told to.
    pub(super) coming: u32,
}

impl Census {
    /// Those that send mails.
    pub(super) fn established(&self) -> u32 {
        self.open - self.connecting - self.closing
    }

    /// Those that send mails or will.
    fn usable(&self) -> u32 {
        self.open - self.closing
    }
}

/// Whether to open a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    Now,
    /// Not before this time, unless something happens.
    Later(Time),
    /// Not unless something happens.
    No,
}

impl Server {
    /// With fewer mails queued than connections open, one more is opened only when none was free
    /// for this long. It costs a server less to serve a short queue over the connections it has.
    const PATIENCE: Duration = Duration::from_secs(2);

    pub(super) fn new(limits: ServerLimits) -> Self {
        let max_connections = limits.max_connections.max(1);
        Self {
            limits: ServerLimits { max_connections, ..limits },
            ready: List::default(),
            waiting: List::default(),
            connections: Census::default(),
            window: 1,
            breaker: Breaker::default(),
            has_answered: false,
            opening: Gate::default(),
            sending: Gate::default(),
            ceiling: None,
            pipelining: Memory::new(limits.pipelining),
            pulled: Time::EPOCH,
            deferred_in_row: 0,
            violations: 0,
            timer: TimerSlot::default(),
        }
    }

    /// Whether there are more jobs than connections about to ask for one.
    pub(super) fn lacks_pulls(&self) -> bool {
        self.ready.len() > self.connections.coming
    }

    /// Whether the jobs that are ready want one more connection, and the server may be asked.
    pub(super) fn opening(&self, now: Time) -> Opening {
        let Census { open, connecting, coming, .. } = self.connections;
        if self.ready.len() <= connecting + coming {
            return Opening::No;
        }
        if now < self.sending.until && !self.waiting.is_empty() {
            // Those that are open may send again then, whatever keeps others from being opened.
            return Opening::Later(self.sending.until);
        }
        let closed_until = self.breaker.until.max(self.opening.until).max(self.sending.until);
        if now < closed_until {
            return Opening::Later(closed_until);
        }
        let usable = self.connections.usable();
        if open >= self.limits.max_connections || usable >= self.allowed() {
            return Opening::No;
        }
        // The server counts those that are closing as well.
        if let Some(ceiling) = &self.ceiling
            && open >= ceiling.allows(now)
        {
            return if now < ceiling.probe_at {
                Opening::Later(ceiling.probe_at)
            } else {
                Opening::No
            };
        }
        let patient_until = self.pulled + Self::PATIENCE;
        if usable < self.ready.len() || (connecting == 0 && now >= patient_until) {
            return Opening::Now;
        }
        if connecting == 0 { Opening::Later(patient_until) } else { Opening::No }
    }

    /// How many connections slow start allows: one until it is ready, then at most twice as many
    /// as are; on trial after a failure, one more than work.
    fn allowed(&self) -> u32 {
        let established = self.connections.established();
        if self.breaker.on_trial { established.saturating_add(1) } else { self.window }
    }

    /// A connection became ready.
    pub(super) fn grow(&mut self) {
        let doubled = self.connections.established().saturating_mul(2);
        self.window = self.window.max(doubled).min(self.limits.max_connections);
    }

    /// The server is not what it was: slow start begins again from the connections that work.
    pub(super) fn shrink(&mut self) {
        self.window = self.connections.established().max(1);
    }

    /// Why no mail would be sent, if nothing works and nothing will for a while.
    pub(super) fn refuses(&self, now: Time) -> Option<Hold> {
        if self.connections.established() > 0 {
            return None;
        }
        self.opening.closed(now)
    }
}
