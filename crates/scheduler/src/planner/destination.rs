//! What a planner knows of one destination.

use std::ops::Range;

use super::action::{LimitId, ServerId};
use super::config::DestinationLimits;
use super::connection::Phase;
use super::queue::{Queue, Waits};
use super::slots::List;
use super::timers::TimerSlot;
use crate::time::Time;

#[derive(Debug)]
pub(super) struct Destination {
    pub(super) limits: DestinationLimits,
    /// Its servers.
    servers: Range<u32>,
    pub(super) queue: Queue,
    /// All flows, those of its servers included.
    pub(super) flows: List,
    /// Of all its servers.
    pub(super) connections: Census,
    /// Rate limits of mails, those of everything included.
    pub(super) rates: Vec<LimitId>,
    /// Rate limits of new connections, those of everything included.
    pub(super) opening_rates: Vec<LimitId>,
    /// For a rate limit of mails.
    pub(super) waits: Waits,
    /// For a rate limit of new connections.
    pub(super) opening_waits: Option<LimitId>,
    /// It is its turn at this one, although others wait for it.
    pub(super) opening_turn: Option<LimitId>,
    /// It waits for a connection of any destination to be closed.
    pub(super) is_crowded_out: bool,
    /// When a connection last took a job.
    pub(super) pulled: Time,
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
    /// The number that counts connections in this phase, if one does.
    pub(super) fn of(&mut self, phase: Phase) -> Option<&mut u32> {
        match phase {
            Phase::Connecting => Some(&mut self.connecting),
            Phase::Coming => Some(&mut self.coming),
            Phase::Closing => Some(&mut self.closing),
            Phase::Busy | Phase::Waiting => None,
        }
    }

    /// Those that send mails.
    pub(super) fn established(&self) -> u32 {
        self.open - self.connecting - self.closing
    }

    /// Those that a server has greeted, as far as it is known, and may still count.
    pub(super) fn greeted(&self) -> u32 {
        self.open - self.connecting
    }

    /// Those that send mails or will.
    pub(super) fn usable(&self) -> u32 {
        self.open - self.closing
    }
}

impl Destination {
    pub(super) fn new(limits: DestinationLimits, servers: Range<u32>) -> Self {
        let max_connections = limits.max_connections.max(1);
        Self {
            limits: DestinationLimits { max_connections, ..limits },
            servers,
            queue: Queue::default(),
            flows: List::default(),
            connections: Census::default(),
            rates: Vec::new(),
            opening_rates: Vec::new(),
            waits: Waits::Not,
            opening_waits: None,
            opening_turn: None,
            is_crowded_out: false,
            pulled: Time::EPOCH,
            timer: TimerSlot::default(),
        }
    }

    pub(super) fn servers(&self) -> impl ExactSizeIterator<Item = ServerId> + Clone + use<> {
        self.servers.clone().map(ServerId)
    }

    pub(super) fn first_server(&self) -> u32 {
        self.servers.start
    }

    /// The rate limits of new connections, or those of mails.
    pub(super) fn rates_of(&mut self, is_opening: bool) -> &mut Vec<LimitId> {
        if is_opening { &mut self.opening_rates } else { &mut self.rates }
    }

    /// How many of these mails may be started, as far as the rate limits of the destination go.
    /// Where there are some they are looked at one by one.
    pub(super) fn admits(&self, runnable: u32) -> u32 {
        match self.waits {
            Waits::For(_) => 0,
            Waits::Not if self.rates.is_empty() => runnable,
            Waits::Not | Waits::Granted(..) => runnable.min(1),
        }
    }
}
