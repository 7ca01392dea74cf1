//! What a planner knows of one server.

use posthaste_session::Pipelining;

use super::action::{DestinationId, Hold, LimitId};
use super::ceiling::{Borne, Cap, Ceiling, SessionCap};
use super::config::{DestinationLimits, Place};
use super::destination::Census;
use super::gate::{Breaker, Gate};
use super::greylist::Greylist;
use super::pace::Pace;
use super::pipelining::Memory;
use super::queue::Queue;
use super::slots::List;
use super::status::ServerState;
use super::window::Window;
use crate::time::Time;

#[derive(Debug)]
pub(super) struct Server {
    pub(super) destination: DestinationId,
    pub(super) place: Place,
    pub(super) connections: Census,
    /// Connections with room for a mail; those with nothing to do at all first.
    pub(super) waiting: List,
    /// Mails on their way.
    pub(super) in_flight: u32,
    /// Mails that only this server may be sent.
    pub(super) own: Queue,
    /// Turns that they had, or let others have.
    pub(super) own_turns: u8,
    /// Rate limits of mails of this server alone.
    pub(super) rates: Vec<LimitId>,
    /// No mail is started before this time because of them.
    pub(super) paced_until: Time,
    /// The same of new connections.
    pub(super) opening_rates: Vec<LimitId>,

    /// Most connections that slow start allows now.
    pub(super) allowance: u32,
    /// As many connections worked at a time, before the last trouble.
    pub(super) most_established: u32,
    pub(super) breaker: Breaker,
    /// Somebody was there at some time, if only to say no.
    pub(super) has_answered: bool,
    /// Closed: no connection is opened.
    pub(super) opening: Gate,
    /// Closed: no mail is started.
    pub(super) sending: Gate,
    pub(super) window: Window,
    pub(super) pace: Pace,
    pub(super) ceiling: Option<Ceiling>,
    pub(super) session_cap: SessionCap,
    pub(super) recipient_cap: Cap,
    pub(super) greylist: Greylist,
    pub(super) pipelining: Memory,
    /// Mails deferred at MAIL, in a row.
    pub(super) deferred_in_row: u32,
    /// Breaches of the protocol since the last that counted as a failure.
    pub(super) violations: u32,
    /// Connections at a time of late.
    pub(super) borne: Borne,
    /// Mails it took. Comes around.
    pub(super) accepted: u32,
}

/// Whether a connection to a server may be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Now,
    /// It works, and more are opened once those work that are being opened.
    SlowStart,
    /// It works, or is about to, and bears no more connections, at least until then. No reason to
    /// use a server of a worse preference.
    Full(Time),
    /// It does not work, at least until then.
    Down(Time),
}

impl Server {
    pub(super) fn new(
        destination: DestinationId,
        place: Place,
        limits: &DestinationLimits,
    ) -> Self {
        Self {
            destination,
            place: Place { weight: place.weight.max(1), ..place },
            connections: Census::default(),
            waiting: List::default(),
            in_flight: 0,
            own: Queue::default(),
            own_turns: 0,
            rates: Vec::new(),
            paced_until: Time::EPOCH,
            opening_rates: Vec::new(),
            allowance: 1,
            most_established: 0,
            breaker: Breaker::default(),
            has_answered: false,
            opening: Gate::default(),
            sending: Gate::default(),
            window: Window::default(),
            pace: Pace::default(),
            ceiling: None,
            session_cap: SessionCap::default(),
            recipient_cap: Cap::default(),
            greylist: Greylist::default(),
            pipelining: Memory::new(limits.pipelining),
            deferred_in_row: 0,
            violations: 0,
            borne: Borne::default(),
            accepted: 0,
        }
    }

    /// Whether one more connection may be opened, as far as this server goes.
    pub(super) fn admits(&self, now: Time) -> Admission {
        let Census { open, connecting, .. } = self.connections;
        let usable = self.connections.usable();
        let closed_until = self.breaker.until.max(self.opening.until);
        if now < closed_until {
            return if self.connections.established() > 0 {
                Admission::Full(closed_until)
            } else {
                Admission::Down(closed_until)
            };
        }
        if now < self.sends_at() {
            return Admission::Full(self.sends_at());
        }
        if self.breaker.on_trial && connecting > 0 {
            return if usable > connecting {
                Admission::Full(Time::NEVER)
            } else {
                Admission::Down(Time::NEVER)
            };
        }
        // The server counts those that are closing as well.
        match &self.ceiling {
            Some(ceiling) if now < ceiling.settles => Admission::Full(ceiling.settles),
            Some(ceiling) if !ceiling.is_outdated(now) && open >= ceiling.allows(now) => {
                let is_later = now < ceiling.probe_at;
                Admission::Full(if is_later { ceiling.probe_at } else { Time::NEVER })
            }
            _ if !self.window.has_room(usable) => Admission::Full(Time::NEVER),
            _ if usable >= self.allowed() => Admission::SlowStart,
            Some(_) | None => Admission::Now,
        }
    }

    /// Whether a mail may be started, as far as this server goes.
    pub(super) fn takes_mail(&self, now: Time) -> bool {
        now >= self.sends_at() && self.window.has_room(self.in_flight)
    }

    /// Whether a mail may be started even if all connections that are about to pull get one.
    pub(super) fn takes_one_more(&self, now: Time) -> bool {
        let coming = self.connections.coming;
        // One after the other, where each may be one too many.
        let has_rate = self.pace.rate(now).is_some() || !self.rates.is_empty();
        let is_paced = has_rate && coming > 0;
        let expected = self.in_flight.saturating_add(coming);
        now >= self.sends_at() && !is_paced && self.window.has_room(expected)
    }

    /// Before this time no mail is started.
    pub(super) fn sends_at(&self) -> Time {
        self.sending.until.max(self.paced_until).max(self.pace.next())
    }

    /// How many connections slow start allows: one until it is ready, then at most twice as many
    /// as are; on trial after a failure, one more than work.
    pub(super) fn allowed(&self) -> u32 {
        let established = self.connections.established();
        if self.breaker.on_trial { established.saturating_add(1) } else { self.allowance }
    }

    /// A connection became ready. What worked before the last trouble is got back to in steps
    /// twice as large.
    pub(super) fn grow(&mut self, most: u32) {
        let established = self.connections.established();
        let doubled = established.saturating_mul(2);
        let known = established.saturating_mul(4).min(self.most_established);
        self.allowance = self.allowance.max(doubled).max(known).min(most);
        if established >= self.most_established {
            self.most_established = established;
        }
    }

    /// The server is not what it was: slow start begins again from the connections that work.
    pub(super) fn shrink(&mut self) {
        self.allowance = self.connections.established().max(1);
    }

    /// Whether nothing works, and nothing will for a while.
    pub(super) fn is_down(&self, now: Time) -> bool {
        let established = self.connections.established();
        established == 0 && now < self.breaker.until.max(self.opening.until)
    }

    /// How it is: what lasts longest, of what stands against it.
    pub(super) fn state(&self, now: Time) -> ServerState {
        let held = |gate: &Gate| gate.closed(now).map(|hold| (gate.until, hold));
        let held = held(&self.opening).max(held(&self.sending));
        let backs_off = now < self.breaker.until;
        match held {
            Some((until, hold)) if !backs_off || until >= self.breaker.until => {
                ServerState::Held(hold, until)
            }
            _ if backs_off => ServerState::BackingOff(self.breaker.until),
            _ if self.breaker.on_trial => ServerState::Probing,
            _ => ServerState::Normal,
        }
    }

    /// Why no mail would be sent, if nothing works and nothing will for a while.
    pub(super) fn refuses(&self, now: Time) -> Option<Hold> {
        if self.connections.established() > 0 {
            return None;
        }
        self.opening.closed(now)
    }

    pub(super) fn mode(&self) -> Pipelining {
        self.pipelining.mode()
    }

    /// Forgets what was learned, and what is held against it.
    pub(super) fn forget(&mut self, limits: &DestinationLimits) {
        self.breaker = Breaker::default();
        self.opening = Gate::default();
        self.sending = Gate::default();
        self.window = Window::default();
        self.pace = Pace::default();
        self.ceiling = None;
        self.session_cap = SessionCap::default();
        self.recipient_cap = Cap::default();
        self.greylist = Greylist::default();
        self.pipelining = Memory::new(limits.pipelining);
        (self.deferred_in_row, self.violations, self.most_established) = (0, 0, 0);
        self.allowance = self.connections.established().saturating_mul(2).max(1);
    }
}
