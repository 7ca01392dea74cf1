//! The bound on all connections together, and who makes room for whom.

use std::collections::VecDeque;

use super::Planner;
use super::action::{Action, ConnectionId, DestinationId};
use super::connection::Phase;
use super::slots::Key;
use crate::time::Time;

/// Who waits for a connection to be closed, and which ones are not needed.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Destinations that want a connection, in the order in which they asked.
    waiting: VecDeque<DestinationId>,
    /// Connections that became idle, the first ones first. What is not idle any more, or again
    /// since another time, is found out when its turn comes.
    idle: VecDeque<(Key, Time)>,
    /// Connections that were told to make room, and are not closed yet.
    leaving: usize,
}

impl Planner {
    fn is_crowded(&self) -> bool {
        self.connections.len() >= self.config.max_connections.max(1) as usize
    }

    /// Whether there is room for one more connection. If not, the one that has been idle for
    /// longest makes room, and the destination has its turn when a connection is closed.
    pub(super) fn has_room(&mut self, id: DestinationId, out: &mut Vec<Action>) -> bool {
        if !self.is_crowded() {
            return true;
        }
        if !self.destination(id).is_crowded_out {
            self.destination_mut(id).is_crowded_out = true;
            self.crowd.waiting.push_back(id);
            self.yield_idle(out);
        }
        false
    }

    /// An idle connection makes room for whoever waits.
    pub(super) fn yield_idle(&mut self, out: &mut Vec<Action>) {
        if self.crowd.waiting.len() > self.crowd.leaving {
            self.evict_idle(out);
        }
    }

    /// Whether a destination has more than its share while others have none, so that one of its
    /// connections is to make room.
    pub(super) fn is_greedy(&mut self, id: DestinationId) -> bool {
        let itself = usize::from(self.destination(id).is_crowded_out);
        let wanted = self.crowd.waiting.len() - itself;
        if wanted <= self.crowd.leaving {
            return false;
        }
        let share = self.config.max_connections as usize / (wanted + 1);
        let is_greedy = self.destination(id).connections.usable() as usize > share.max(1);
        self.crowd.leaving += usize::from(is_greedy);
        is_greedy
    }

    fn evict_idle(&mut self, out: &mut Vec<Action>) {
        while let Some((key, since)) = self.crowd.idle.pop_front() {
            if self.is_idle_since(key, since) {
                self.crowd.leaving += 1;
                self.set_phase(key, Phase::Closing);
                out.push(Action::Quit { connection: ConnectionId(key) });
                return;
            }
        }
    }

    fn is_idle_since(&self, key: Key, since: Time) -> bool {
        let found = self.connections.get(key);
        found.is_some_and(|it| {
            it.phase == Phase::Waiting && it.in_flight.is_empty() && it.busy_since == since
        })
    }

    /// A connection has nothing to do from now on.
    pub(super) fn note_idle(&mut self, now: Time, key: Key) {
        if self.config.max_connections == u32::MAX {
            return;
        }
        if self.crowd.idle.len() > 2 * self.connections.len() {
            let mut idle = std::mem::take(&mut self.crowd.idle);
            idle.retain(|&(key, since)| self.is_idle_since(key, since));
            self.crowd.idle = idle;
        }
        self.crowd.idle.push_back((key, now));
    }

    /// A connection is gone: whoever waits first may have its place.
    pub(super) fn make_room(&mut self, now: Time, out: &mut Vec<Action>) {
        self.crowd.leaving = self.crowd.leaving.saturating_sub(1);
        while !self.is_crowded() {
            let Some(id) = self.crowd.waiting.pop_front() else { return };
            self.destination_mut(id).is_crowded_out = false;
            self.balance(now, id, out);
        }
    }
}
