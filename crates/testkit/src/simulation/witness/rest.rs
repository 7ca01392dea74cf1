//! Looks at a planner that has done what there was to do at one point in time: whatever waits now must
//! have a reason, and the reason must be true.

use posthaste_scheduler::{Question, Reason, ReasonKind, Time};

use super::super::connection::{Connection, Phase};
use super::super::mails::{Open, Place};
use super::super::{Detail, Simulation};
use super::TICK;

/// Mails that are looked at each time, one after the other: often enough that each is looked at
/// again and again, and few enough that it takes no longer than the simulation.
const LOOKS: usize = 3;

impl Simulation {
    /// Nothing more will happen at this time.
    pub(in super::super) fn check_rest(&mut self) {
        if self.detail == Detail::Lean || self.mails.is_empty() {
            return;
        }
        self.check_late();
        let total = self.mails.total();
        let numbers = (0..total).map(|step| (self.witness.cursor + step) % total);
        let waits = |number: &usize| {
            self.mails.open(*number).is_some_and(|open| matches!(open.place, Place::Waits { .. }))
        };
        let looks: Vec<usize> = numbers.take(MOST_STEPS).filter(waits).take(LOOKS).collect();
        for &number in &looks {
            self.check_reason(number);
        }
        self.witness.cursor = looks.last().map_or(self.witness.cursor + MOST_STEPS, |it| it + 1);
    }

    /// Nobody is left whose time is over, but who is on the way.
    fn check_late(&mut self) {
        let Self { witness, mails, now, .. } = self;
        witness.late.retain(|&number| match mails.open(number) {
            Some(Open { place: Place::Goes(_), .. }) => true,
            Some(Open { new, .. }) => {
                let expires = new.expires.unwrap_or(Time::NEVER);
                assert!(expires + TICK >= *now, "mail {number} waits past {expires:?} at {now:?}");
                true
            }
            None => false,
        });
    }

    /// A mail that does not move has a reason not to.
    fn check_reason(&self, number: usize) {
        let Some(open) = self.mails.open(number) else { return };
        let explanation = self.planner.explain(self.now, Question::Job(open.job));
        let Some(first) = explanation.reasons.first() else {
            panic!("mail {number} waits for nothing at {:?}: {open:?}", self.now)
        };
        for reason in &explanation.reasons {
            let is_true = self.is_true(reason, open);
            let now = self.now;
            assert!(
                is_true,
                "mail {number} at {now:?} is told {reason:?}, of {:?}: {open:?}",
                explanation.reasons
            );
        }
        if let ReasonKind::BehindOthers { .. } = first.kind {
            self.check_nothing_is_free(number, open);
        }
    }

    /// Whether a reason is true, by what was seen from outside.
    fn is_true(&self, reason: &Reason, open: &Open) -> bool {
        let is_later = reason.until.is_some_and(|until| until > self.now);
        let destination = &self.destinations[open.new.destination.index()];
        let seen = |server: posthaste_scheduler::ServerId| self.witness.servers.get(server.index());
        match reason.kind {
            ReasonKind::Unknown | ReasonKind::BeingSent(_) => false,
            ReasonKind::Draining => self.is_drained,
            ReasonKind::WaitsForRetry { .. } => {
                is_later && matches!(open.place, Place::Waits { due } if due > self.now)
            }
            // It may be over already, for somebody who is in front of this one.
            ReasonKind::Limited { rate, .. } => {
                reason.until.is_some() && self.setup.limits.iter().any(|(_, known)| *known == rate)
            }
            ReasonKind::BackingOff { server, .. } => {
                is_later && seen(server).is_some_and(|it| reason.until == Some(it.backs_off))
            }
            ReasonKind::Held { server, hold } => {
                let is_known = |(known, until): &(_, Time)| *known == hold && *until > self.now;
                is_later && seen(server).is_some_and(|it| it.holds.iter().any(is_known))
            }
            ReasonKind::Paced { .. } => is_later,
            ReasonKind::Probing { server } | ReasonKind::SlowStart { server, .. } => {
                self.servers[server.index()].connections > 0
            }
            ReasonKind::CeilingReached { server, connections } => {
                self.servers[server.index()].connections >= connections
            }
            // Each connection that is there, or comes, has a mail or will have one.
            ReasonKind::WindowReached { server, mails } => {
                let to_it = |it: &&Connection| it.server == server.index();
                let each = |it: &Connection| it.mails.len().max(1);
                let all: usize = self.connections.iter().filter(to_it).map(each).sum();
                all >= mails as usize
            }
            ReasonKind::ConnectionsUsed { connections } => {
                destination.connections >= connections
                    && connections == destination.limits.max_connections
            }
            ReasonKind::BehindOthers { ready } => ready > 0,
            _ => panic!("nobody knows how to check {reason:?}"),
        }
    }

    /// Work conservation: who is only behind others would go at once over a connection that waits, and
    /// there are connections for the others to be on.
    fn check_nothing_is_free(&self, number: usize, open: &Open) {
        let connections = self.destinations[open.new.destination.index()].connections;
        assert!(connections > 0, "mail {number} waits at {:?}, and nobody comes", self.now);
        let idle = self.connections.iter().find(|it| {
            it.phase == Phase::Session
                && self.servers[it.server].destination == open.new.destination.index()
                && it.is_idle()
                && !self.is_kept_from_sending(it.server, open)
        });
        let now = self.now;
        let last = &self.trace[self.trace.len().saturating_sub(5)..];
        let is_fine = open.is_bound || idle.is_none();
        assert!(is_fine, "mail {number} waits at {now:?} beside {idle:?}, after {last:?}");
    }
}

impl Simulation {
    /// Whether there is a true reason for no mail to be started over the connections to a server.
    fn is_kept_from_sending(&self, server: usize, open: &Open) -> bool {
        let question = Question::Server(self.servers[server].id);
        let why = self.planner.explain(self.now, question);
        why.reasons.iter().any(|reason| {
            let is_about_sending = matches!(
                reason.kind,
                ReasonKind::Held { .. }
                    | ReasonKind::Limited { .. }
                    | ReasonKind::Paced { .. }
                    | ReasonKind::WindowReached { .. }
            );
            is_about_sending && self.is_true(reason, open)
        })
    }
}

/// Mails that are passed over at most, in search of those that wait.
const MOST_STEPS: usize = 64;
