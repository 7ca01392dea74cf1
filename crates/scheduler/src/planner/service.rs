//! Servers: how many connections, which of them are woken, and when a server is left alone.

use posthaste_session::Pipelining;

use super::Planner;
use super::Timer;
use super::action::{Action, ConnectionId, GiveUp, Hold, Record, ServerId};
use super::config::Exhausted;
use super::connection::{Ended, Phase};
use super::gate::{Ceiling, Counted};
use super::server::Opening;
use super::slots::Key;
use crate::failure::{Closed, Weight};
use crate::time::Time;

/// So many mails deferred at MAIL one after the other are the server's doing, not the mails'.
const DEFERRED_IN_ROW: u32 = 5;
/// One breach of the protocol may be an accident of the line.
const VIOLATIONS: u32 = 2;

impl Planner {
    /// To be called after every change: brings connections and jobs together.
    pub(super) fn balance(&mut self, now: Time, id: ServerId, out: &mut Vec<Action>) {
        self.wake(now, id, out);
        let review = loop {
            match self.server(id).opening(now) {
                Opening::Now => self.open(now, id, out),
                Opening::No => break None,
                Opening::Later(at) => break Some(at),
            }
        };
        let server = &mut self.servers[id.index()];
        self.timers.set(&mut server.timer, review, Timer::Server(id));
    }

    /// Wakes as many connections as there are jobs that nobody will ask for.
    fn wake(&mut self, now: Time, id: ServerId, out: &mut Vec<Action>) {
        while self.server(id).lacks_pulls() && now >= self.server(id).sending.until {
            let Some(key) = self.server(id).waiting.head(&self.connections) else { return };
            self.set_phase(key, Phase::Coming);
            out.push(Action::Wake { connection: ConnectionId(key) });
        }
    }

    /// A connection became ready.
    pub(super) fn server_is_open(&mut self, now: Time, id: ServerId) {
        let server = self.server_mut(id);
        server.breaker.on_trial = false;
        server.opening.forget(now);
        server.grow();
        let established = server.connections.established();
        if let Some(ceiling) = &mut server.ceiling {
            ceiling.works(now, established);
        }
    }

    /// A mail was delivered over a connection that was opened then.
    pub(super) fn server_works(
        &mut self,
        now: Time,
        id: ServerId,
        opened: Time,
        out: &mut Vec<Action>,
    ) {
        let server = &mut self.servers[id.index()];
        server.sending.forget(now);
        if server.breaker.succeed(now, opened, &self.config.back_off) {
            let failures = server.breaker.failures;
            out.push(Action::Record(Record::Recovered { server: id, failures }));
        }
    }

    /// A mail was deferred at MAIL.
    pub(super) fn deferred_at_mail(&mut self, now: Time, id: ServerId, out: &mut Vec<Action>) {
        let server = self.server_mut(id);
        server.deferred_in_row += 1;
        if server.deferred_in_row >= DEFERRED_IN_ROW {
            self.throttle(now, id, out);
        }
    }

    /// No mail is started for a while.
    pub(super) fn throttle(&mut self, now: Time, id: ServerId, out: &mut Vec<Action>) {
        let server = &mut self.servers[id.index()];
        if let Some(until) = server.sending.close(now, Hold::Throttled, &mut self.rng) {
            out.push(Action::Record(Record::Held { server: id, hold: Hold::Throttled, until }));
        }
    }

    /// What the end of a connection means for its server.
    pub(super) fn judge(&mut self, now: Time, id: ServerId, end: Ended, out: &mut Vec<Action>) {
        let others = self.server(id).connections.established();
        let has_served = end.was != Phase::Connecting || others > 0;
        if has_served || !matches!(end.how, Closed::Absent(_) | Closed::Local) {
            self.server_mut(id).has_answered = true;
        }
        match end.how {
            // With nothing left to come down to, it is like any other.
            Closed::Objected if self.server(id).pipelining.mode() > Pipelining::Off => {}
            // As it was told to.
            Closed::Unremarkable | Closed::Shutdown | Closed::Broken
                if end.was == Phase::Closing => {}
            Closed::Shutdown if end.was == Phase::Connecting && others > 0 => {
                self.full(now, id, out)
            }
            Closed::Unremarkable | Closed::Shutdown | Closed::Broken | Closed::Objected => {
                if !end.was_useful {
                    self.fail(now, id, end, Weight::Single, out);
                }
            }
            Closed::Absent(weight) | Closed::Failure(weight) => {
                self.fail(now, id, end, weight, out)
            }
            Closed::Violation => {
                let server = self.server_mut(id);
                server.violations += 1;
                if server.violations >= VIOLATIONS || !end.was_useful {
                    server.violations = 0;
                    self.fail(now, id, end, Weight::Single, out);
                }
            }
            Closed::Throttled => {
                self.throttle(now, id, out);
                if !end.was_useful {
                    self.fail(now, id, end, Weight::Single, out);
                }
            }
            Closed::TooManyConnections => self.full(now, id, out),
            Closed::Unwelcome => {
                self.hold(now, id, Hold::Unwelcome, out);
                self.fail(now, id, end, Weight::Single, out);
            }
            Closed::Credentials => self.hold(now, id, Hold::Credentials, out),
            Closed::Requirement => self.hold(now, id, Hold::Requirement, out),
            Closed::Local => self.hold(now, id, Hold::Local, out),
        }
        let server = self.server_mut(id);
        let deserted = others == 0 && end.was != Phase::Closing;
        let cold = server.connections.open == 0 && server.ready.is_empty();
        if deserted || cold {
            server.shrink();
        }
    }

    fn fail(&mut self, now: Time, id: ServerId, end: Ended, weight: Weight, out: &mut Vec<Action>) {
        let config = &self.config;
        let server = &mut self.servers[id.index()];
        let attempted = (end.was == Phase::Connecting).then_some(end.opened);
        let breaker = &mut server.breaker;
        let counted = breaker.fail(now, attempted, weight, &config.back_off, &mut self.rng);
        if counted == Counted::Known {
            return;
        }
        let (failures, until) = (breaker.failures, breaker.until);
        server.shrink();
        out.push(Action::Record(Record::BackOff { server: id, failures, until }));
        let fails = match config.exhausted {
            Exhausted::Wait => false,
            Exhausted::FailIfAbsent => !server.has_answered,
            Exhausted::Fail => true,
        };
        if fails && failures >= config.failures {
            self.give_up_queue(id, GiveUp::ServerExhausted, out);
        }
    }

    /// The server has as many connections as it wants.
    fn full(&mut self, now: Time, id: ServerId, out: &mut Vec<Action>) {
        let server = self.server_mut(id);
        let established = server.connections.established();
        let ceiling = match &mut server.ceiling {
            Some(ceiling) => {
                ceiling.refused(now, established);
                ceiling
            }
            none => none.insert(Ceiling::new(now, established)),
        };
        let (connections, until) = (ceiling.limit, ceiling.probe_at);
        out.push(Action::Record(Record::CeilingLearned { server: id, connections, until }));
        if established == 0 {
            // Somebody else has the slots.
            self.hold(now, id, Hold::Full, out);
        }
    }

    /// No connection is opened for a while, although the server did not fail.
    fn hold(&mut self, now: Time, id: ServerId, hold: Hold, out: &mut Vec<Action>) {
        let server = &mut self.servers[id.index()];
        if let Some(until) = server.opening.close(now, hold, &mut self.rng) {
            out.push(Action::Record(Record::Held { server: id, hold, until }));
        }
        if let Some(cause) = self.hopeless(now, id) {
            self.give_up_queue(id, cause, out);
        }
    }

    /// A connection delivered a mail: perhaps it shall try the next pipelining mode.
    pub(super) fn climb(&mut self, now: Time, id: ConnectionId, out: &mut Vec<Action>) {
        let Some(connection) = self.connections.get_mut(id.0) else { return };
        let memory = &mut self.servers[connection.server.index()].pipelining;
        if let Some(mode) = memory.delivered(now, id) {
            connection.pipelining = mode;
            out.push(Action::SetPipelining { connection: id, mode });
        }
    }

    /// A connection found that its server bears a pipelining mode.
    pub fn pipelining_proven(
        &mut self,
        _now: Time,
        connection: ConnectionId,
        mode: Pipelining,
        out: &mut Vec<Action>,
    ) {
        let Some(found) = self.connections.get(connection.0) else { return };
        let server = found.server;
        if self.server_mut(server).pipelining.proven(mode, connection) {
            self.spread_mode(server, out);
        }
    }

    /// A connection found that its server bears no more than a pipelining mode, and has gone down
    /// to that.
    pub fn pipelining_lowered(
        &mut self,
        now: Time,
        connection: ConnectionId,
        mode: Pipelining,
        out: &mut Vec<Action>,
    ) {
        let Some(found) = self.connections.get_mut(connection.0) else { return };
        found.pipelining = found.pipelining.min(mode);
        let server = found.server;
        let remember = self.config.pipelining_memory;
        if self.server_mut(server).pipelining.lowered(now, mode, remember) {
            self.spread_mode(server, out);
        }
    }

    /// A connection found that its server offers CHUNKING and does not know BDAT. Connections that are opened
    /// later do without it.
    pub fn bdat_refused(&mut self, now: Time, connection: ConnectionId) {
        let Some(found) = self.connections.get(connection.0) else { return };
        let (server, remember) = (found.server, self.config.pipelining_memory);
        self.server_mut(server).pipelining.bdat_refused(now, remember);
    }

    /// Tells every connection of a server its mode. Seldom: it looks at all connections.
    fn spread_mode(&mut self, server: ServerId, out: &mut Vec<Action>) {
        let mode = self.server(server).pipelining.mode();
        out.push(Action::Record(Record::PipeliningLearned { server, mode }));
        let keys: Vec<Key> = self.connections.keys().collect();
        for key in keys {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            if connection.server == server && connection.pipelining != mode {
                connection.pipelining = mode;
                out.push(Action::SetPipelining { connection: ConnectionId(key), mode });
            }
        }
    }
}
