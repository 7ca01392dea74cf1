//! The end: what is being sent may finish, for a while.

use super::action::{Action, ConnectionId, DestinationId, GiveUp};
use super::connection::Phase;
use super::job::State;
use super::slots::Key;
use super::{Planner, Timer};
use crate::time::Time;

impl Planner {
    /// Starts nothing any more. Mails that are not being sent are given up at once, and so is what
    /// is submitted from now on; those that are may finish until the deadline, then their
    /// connections are aborted. Called again, the earlier deadline counts.
    pub fn drain(&mut self, now: Time, deadline: Time, out: &mut Vec<Action>) {
        let deadline = self.drain.map_or(deadline, |earlier| earlier.min(deadline));
        self.timers.set(&mut self.drain_timer, Some(deadline), Timer::Drain);
        self.drain = Some(deadline);

        let idle = |state| !matches!(state, State::InFlight(_));
        let jobs: Vec<Key> =
            self.jobs.iter().filter(|(_, job)| idle(job.state)).map(|(key, _)| key).collect();
        for job in jobs {
            self.give_up(job, GiveUp::Drained, out);
        }
        let connections: Vec<Key> = self.connections.keys().collect();
        for key in connections {
            self.let_finish(key, out);
        }
        for index in 0..self.destinations.len() {
            self.balance(now, DestinationId(index as u32), out);
        }
        if now >= deadline {
            self.abort_all(out);
        }
    }

    /// No more mail for a connection than it has.
    pub(super) fn let_finish(&mut self, key: Key, out: &mut Vec<Action>) {
        let Some(found) = self.connections.get(key) else { return };
        let connection = ConnectionId(key);
        let action = match found.phase {
            Phase::Connecting => Action::Abort { connection },
            Phase::Coming | Phase::Busy | Phase::Waiting => Action::Quit { connection },
            Phase::Closing => return,
        };
        self.set_phase(key, Phase::Closing);
        out.push(action);
    }

    /// The deadline is over.
    pub(super) fn abort_all(&mut self, out: &mut Vec<Action>) {
        let connections: Vec<Key> = self.connections.keys().collect();
        for key in connections {
            self.set_phase(key, Phase::Closing);
            out.push(Action::Abort { connection: ConnectionId(key) });
        }
    }
}
