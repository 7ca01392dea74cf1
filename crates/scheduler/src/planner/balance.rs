//! Brings mails and connections together: which connections are woken, and which are opened.

use super::action::{Action, ConnectionId, DestinationId, ServerId};
use super::connection::Phase;
use super::destination::Census;
use super::server::Admission;
use super::{Planner, Timer};
use crate::time::Time;
use std::time::Duration;

/// With fewer mails queued than connections open, one more is opened only when none was free for
/// this long. It costs a server less to serve a short queue over the connections it has.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether to open a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Now(ServerId),
    /// Not before this time, unless something happens.
    Later(Time),
}

impl Planner {
    /// To be called after every change of a destination, its servers or its connections.
    pub(super) fn balance(&mut self, now: Time, id: DestinationId, out: &mut Vec<Action>) {
        self.wake(now, id, out);
        let review = loop {
            match self.opening(now, id) {
                Opening::Later(at) => break at,
                Opening::Now(_) if self.waits_to_open(now, id) => break Time::NEVER,
                Opening::Now(_) if !self.has_room(id, out) => break Time::NEVER,
                Opening::Now(server) => {
                    self.take_opening(now, server);
                    self.open(now, server, out);
                }
            }
        };
        let review = review.min(self.resumes_at(now, id));
        let destination = &mut self.destinations[id.index()];
        let timer = Timer::Destination(id);
        self.timers.set(&mut destination.timer, Some(review), timer);
    }

    /// When connections that are open may send again, if they wait for nothing else.
    fn resumes_at(&self, now: Time, id: DestinationId) -> Time {
        if self.backlog(id) == 0 {
            return Time::NEVER;
        }
        let paused = |server| {
            let server = self.server(server);
            (!server.waiting.is_empty() && now < server.sends_at()).then(|| server.sends_at())
        };
        self.destination(id).servers().filter_map(paused).min().unwrap_or(Time::NEVER)
    }

    /// Wakes as many connections as there are mails that nobody will ask for.
    fn wake(&mut self, now: Time, id: DestinationId, out: &mut Vec<Action>) {
        let is_one_of_several = self.destination(id).servers().len() > 1;
        if is_one_of_several {
            for server in self.destination(id).servers() {
                while self.server(server).own.runnable() > self.server(server).connections.coming
                    && self.wake_one(now, server, out)
                {}
            }
        }
        while self.has_mail_for_one_more(id) {
            let servers = self.destination(id).servers();
            let rank = |&server: &ServerId| {
                let server = self.server(server);
                (server.place.preference, server.window.latency.mean)
            };
            let best = servers.filter(|&server| self.can_wake(now, server)).min_by_key(rank);
            if !best.is_some_and(|server| self.wake_one(now, server, out)) {
                return;
            }
        }
    }

    /// Whether there are more mails that may be started than connections about to ask for one.
    fn has_mail_for_one_more(&self, id: DestinationId) -> bool {
        let destination = self.destination(id);
        destination.admits(destination.queue.runnable()) > self.spare(id, |it| it.coming)
    }

    /// How many connections of some kind a destination has, but for those that its servers need for
    /// mails of their own.
    fn spare(&self, id: DestinationId, kind: impl Fn(&Census) -> u32) -> u32 {
        let destination = self.destination(id);
        if destination.servers().len() == 1 {
            return kind(&destination.connections);
        }
        let spare = |server| {
            let server = self.server(server);
            kind(&server.connections).saturating_sub(server.own.runnable())
        };
        destination.servers().map(spare).sum()
    }

    /// Whether a connection of a server waits that could start the next mail.
    pub(super) fn can_wake(&self, now: Time, server: ServerId) -> bool {
        let found = self.server(server);
        if !found.takes_one_more(now) {
            return false;
        }
        let Some(key) = found.waiting.head(&self.connections) else { return false };
        let is_busy = self.connections.get(key).is_some_and(|it| !it.in_flight.is_empty());
        !is_busy || !self.is_next_dear(now, server)
    }

    fn wake_one(&mut self, now: Time, server: ServerId, out: &mut Vec<Action>) -> bool {
        let destination = self.destination(self.server(server).destination);
        // One after the other, where there is a rate.
        let is_enough = !destination.rates.is_empty() && destination.connections.coming > 0;
        if destination.waits.is_for_limit() || is_enough || !self.can_wake(now, server) {
            return false;
        }
        let Some(key) = self.server(server).waiting.head(&self.connections) else { return false };
        self.set_phase(key, Phase::Coming);
        out.push(Action::Wake { connection: ConnectionId(key) });
        true
    }

    /// Whether the mails that may be started want one more connection, and to which server.
    fn opening(&mut self, now: Time, id: DestinationId) -> Opening {
        if !self.destination(id).waits.is_for_limit()
            && let Some(server) = self.wanted_by_its_own(now, id)
        {
            return Opening::Now(server);
        }
        match self.opening_for_others(now, id) {
            // Those that a server has of its own do not wait for what the others wait for.
            Opening::Later(at) => Opening::Later(at.min(self.own_admitted_at(now, id))),
            opens => opens,
        }
    }

    /// The same for the mails that any server may be sent.
    fn opening_for_others(&mut self, now: Time, id: DestinationId) -> Opening {
        let destination = self.destination(id);
        let Census { open, connecting, .. } = destination.connections;
        let usable = destination.connections.usable();
        let backlog = self.backlog(id);
        let runnable = destination.admits(destination.queue.runnable());
        if runnable <= self.spare(id, |it| it.coming + it.connecting) {
            return Opening::Later(Time::NEVER);
        }
        if open >= destination.limits.max_connections {
            return Opening::Later(Time::NEVER);
        }
        let patient_until = destination.pulled + PATIENCE;
        match self.choose_server(now, id) {
            Opening::Later(at) => Opening::Later(at),
            opens if usable < backlog => opens,
            Opening::Now(_) if connecting > 0 => Opening::Later(Time::NEVER),
            opens if now >= patient_until => opens,
            Opening::Now(_) => Opening::Later(patient_until),
        }
    }

    /// A server that has mails of its own and no connection to send them over.
    fn wanted_by_its_own(&self, now: Time, id: DestinationId) -> Option<ServerId> {
        let destination = self.destination(id);
        if destination.servers().len() == 1
            || destination.connections.open >= destination.limits.max_connections
        {
            return None;
        }
        destination.servers().find(|&server| {
            let found = self.server(server);
            let Census { connecting, coming, .. } = found.connections;
            found.own.runnable() > connecting + coming
                && found.waiting.is_empty()
                && self.admits(now, server) == Admission::Now
        })
    }

    /// When a server that has mails of its own, and no connection, may be asked.
    fn own_admitted_at(&self, now: Time, id: DestinationId) -> Time {
        let destination = self.destination(id);
        if destination.servers().len() == 1 {
            return Time::NEVER;
        }
        let wanted = destination.servers();
        let wanted = wanted.filter(|&server| self.server(server).own.runnable() > 0);
        let at = wanted.map(|server| match self.admits(now, server) {
            Admission::Full(until) | Admission::Down(until) => until,
            Admission::Now | Admission::SlowStart => Time::NEVER,
        });
        at.filter(|&at| at > now).min().unwrap_or(Time::NEVER)
    }

    /// The server for the next connection: of the best preference that works, the one of two with
    /// the smaller share of connections, or the quicker one. That a server has as many as it bears
    /// is no reason to use worse ones.
    fn choose_server(&mut self, now: Time, id: DestinationId) -> Opening {
        let destination = self.destination(id);
        let servers = destination.servers();
        if servers.len() == 1 {
            let only = ServerId(destination.first_server());
            return match self.admits(now, only) {
                Admission::Now => Opening::Now(only),
                Admission::SlowStart => Opening::Later(Time::NEVER),
                Admission::Full(until) | Admission::Down(until) => Opening::Later(until),
            };
        }
        let works = |&server: &ServerId| !matches!(self.admits(now, server), Admission::Down(_));
        let preference = |server| self.server(server).place.preference;
        let best = servers.clone().filter(works).map(preference).min();
        let share = self.share(now, id, best);
        let mut soonest = Time::NEVER;
        let mut able = Vec::new();
        for server in servers {
            let is_best = Some(preference(server)) == best;
            match self.admits(now, server) {
                Admission::Now if is_best && self.has_its_share(server, share) => {}
                Admission::Now if is_best => able.push(server),
                Admission::Full(until) if is_best => soonest = soonest.min(until),
                Admission::Down(until) => soonest = soonest.min(until),
                Admission::Now | Admission::SlowStart | Admission::Full(_) => {}
            }
        }
        match self.better_of_two(&able) {
            Some(server) => Opening::Now(server),
            None => Opening::Later(soonest),
        }
    }

    /// Whether a connection to a server may be opened, its rates included.
    pub(super) fn admits(&self, now: Time, id: ServerId) -> Admission {
        let server = self.server(id);
        match (server.admits(now), self.opens_at(now, &server.opening_rates)) {
            (Admission::Now | Admission::SlowStart, Some(at)) => Admission::Full(at),
            (admission, _) => admission,
        }
    }

    /// How many connections of all go to how much weight, among the servers of a preference that
    /// take more, or will in a moment: one that starts slowly shall not find everything taken.
    fn share(&self, now: Time, id: DestinationId, preference: Option<u16>) -> (u32, u32) {
        let destination = self.destination(id);
        let (mut connections, mut weight) = (destination.limits.max_connections, 0);
        for id in destination.servers() {
            let server = self.server(id);
            let takes_part = Some(server.place.preference) == preference
                && match self.admits(now, id) {
                    Admission::Now | Admission::SlowStart => true,
                    Admission::Full(_) | Admission::Down(_) => false,
                };
            // One that has not been heard of yet has its probe, and no share.
            if takes_part && server.connections.established() > 0 {
                weight += u32::from(server.place.weight);
            } else {
                let probe = u32::from(takes_part);
                connections = connections.saturating_sub(server.connections.open.max(probe));
            }
        }
        (connections, weight)
    }

    fn has_its_share(&self, id: ServerId, (connections, weight): (u32, u32)) -> bool {
        let server = self.server(id);
        let share = u64::from(connections) * u64::from(server.place.weight);
        server.connections.open > 0
            && u64::from(server.connections.open) >= share.div_ceil(u64::from(weight.max(1)))
    }

    fn better_of_two(&mut self, able: &[ServerId]) -> Option<ServerId> {
        let (&first, rest) = able.split_first()?;
        if rest.is_empty() {
            return Some(first);
        }
        let one = self.rng.usize(..able.len());
        let other = (one + self.rng.usize(1..able.len())) % able.len();
        let (one, other) = (*able.get(one)?, *able.get(other)?);
        let (a, b) = (self.server(one), self.server(other));
        let share = |used: &super::server::Server, weight: u16| {
            u64::from(used.connections.open) * u64::from(weight)
        };
        let left = (share(a, b.place.weight), a.window.latency.mean, one);
        let right = (share(b, a.place.weight), b.window.latency.mean, other);
        Some(if left <= right { one } else { other })
    }
}
