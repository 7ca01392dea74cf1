//! Servers: what is learned of them, and when one is left alone.

use std::time::Duration;

use posthaste_session::{Pipelining, Window};

use super::Planner;
use super::action::{
    Action, Again, Answer, AttemptResult, ConnectionId, DestinationId, GiveUp, Hold, Record,
    ServerId,
};
use super::ceiling::Ceiling;
use super::config::Exhausted;
use super::connection::{Ended, Phase};
use super::gate::Counted;
use crate::failure::{Charge, Closed, Lesson, SLOWED, Weight};
use crate::time::Time;

/// So many mails deferred at MAIL one after the other are the server's doing, not the mails'.
const DEFERRED_IN_ROW: u32 = 5;
/// Servers count errors and end connections with too many of them: better to go first.
const REFUSED_IN_ROW: u32 = 25;
/// One breach of the protocol may be an accident of the line.
const VIOLATIONS: u32 = 2;

impl Planner {
    /// A connection became ready.
    pub(super) fn server_is_open(&mut self, now: Time, id: ServerId) {
        let most = self.limits_of(id).max_connections;
        let server = self.server_mut(id);
        server.breaker.on_trial = false;
        server.opening.forget(now);
        server.grow(most);
        server.borne.note(now, server.connections.greeted());
        let established = server.connections.established();
        if let Some(ceiling) = &mut server.ceiling {
            ceiling.greeted();
            if ceiling.is_greeting_enough() {
                ceiling.works(now, established);
            }
        }
    }

    /// A connection delivered its first mail.
    fn connection_works(&mut self, now: Time, id: ServerId) {
        let server = self.server_mut(id);
        let established = server.connections.established();
        if let Some(ceiling) = &mut server.ceiling {
            ceiling.works(now, established);
        }
    }

    /// What an attempt says about the server.
    pub(super) fn answered(
        &mut self,
        now: Time,
        id: ConnectionId,
        result: &AttemptResult,
        out: &mut Vec<Action>,
    ) {
        let Some(connection) = self.connections.get_mut(id.0) else { return };
        let (server, opened) = (connection.server, connection.opened);
        let was_useful = connection.answered;
        let took = now - connection.busy_since;
        connection.busy_since = now;
        connection.answered |= result.answer != Answer::Nothing;
        connection.accepted += u32::from(result.answer == Answer::Accepted);
        let refuses = matches!(result.answer, Answer::Refused);
        connection.refused_in_row = if refuses { connection.refused_in_row + 1 } else { 0 };
        let (accepted, refused) = (connection.accepted, connection.refused_in_row);
        match result.answer {
            Answer::Nothing => {}
            Answer::Accepted => {
                if accepted == 1 {
                    self.connection_works(now, server);
                }
                self.server_works(now, server, (opened, accepted), out);
                self.learn_latency(now, server, took, out);
                self.climb(now, id, out);
            }
            // It does what it is for.
            Answer::Refused => self.server_answers(now, server, opened, out),
            Answer::Throttled if result.lesson == Lesson::Ceiling => self.let_finish(id.0, out),
            Answer::Throttled => {
                let is_free = |again: Again| again.charge == Charge::Throttled;
                if result.again.is_some_and(is_free) {
                    self.slow_down(now, server, result.pause, out);
                } else {
                    self.throttle(now, server, result.pause, out);
                }
            }
            Answer::Exhausted => {
                self.let_finish(id.0, out);
                // It says this to the first mail of a connection: another one would not help.
                if !was_useful {
                    self.throttle(now, server, result.pause, out);
                }
            }
            Answer::Deferred => self.deferred_at_mail(now, server, out),
        }
        if refused >= REFUSED_IN_ROW {
            self.let_finish(id.0, out);
        }
        // After 421 the connection is closed, and that teaches the same.
        if result.answer != Answer::Nothing {
            self.learn_lesson(now, server, (result.lesson, accepted), out);
        }
        if result.lesson == Lesson::PerhapsSessionCap && accepted > 0 {
            self.let_finish(id.0, out);
        }
    }

    /// What a server says about itself, after so many mails that it accepted on the connection.
    #[inline]
    fn learn_lesson(
        &mut self,
        now: Time,
        id: ServerId,
        (lesson, accepted): (Lesson, u32),
        out: &mut Vec<Action>,
    ) {
        match lesson {
            Lesson::Nothing | Lesson::RecipientCap => {}
            Lesson::Overloaded => self.overload(now, id, out),
            Lesson::Slowed => {
                let server = self.server_mut(id);
                if server.window.slow(now, SLOWED, server.in_flight) {
                    out.push(Action::Record(Record::Overloaded { server: id, window: 1 }));
                }
            }
            Lesson::PerhapsSessionCap => self.perhaps_session_cap(now, id, accepted, out),
            Lesson::SessionCap => {
                if accepted > 0 && self.server_mut(id).session_cap.said(now, accepted) {
                    let record = Record::SessionCapLearned { server: id, mails: accepted };
                    out.push(Action::Record(record));
                }
            }
            Lesson::Ceiling => self.full(now, id, Refused::Mail { accepted }, out),
        }
    }

    /// A server ended a connection under a mail, after so many that it had accepted.
    fn perhaps_session_cap(
        &mut self,
        now: Time,
        id: ServerId,
        accepted: u32,
        out: &mut Vec<Action>,
    ) {
        if accepted > 0 && self.server_mut(id).session_cap.ended(now, accepted) {
            let record = Record::SessionCapLearned { server: id, mails: accepted };
            out.push(Action::Record(record));
        }
    }

    /// A mail was delivered over a connection that was opened then, on which so many were.
    fn server_works(
        &mut self,
        now: Time,
        id: ServerId,
        (opened, accepted): (Time, u32),
        out: &mut Vec<Action>,
    ) {
        let server = &mut self.servers[id.index()];
        server.accepted = server.accepted.wrapping_add(1);
        server.violations = 0;
        server.session_cap.passed(accepted);
        self.server_answers(now, id, opened, out);
    }

    /// A mail was delivered or refused for reasons of its own.
    #[inline]
    fn server_answers(&mut self, now: Time, id: ServerId, opened: Time, out: &mut Vec<Action>) {
        let depth = depth(self.server(id).mode());
        let most = self.limits_of(id).max_connections.saturating_mul(depth);
        let server = &mut self.servers[id.index()];
        server.deferred_in_row = 0;
        server.sending.forgive(now);
        server.pace.taken(now);
        server.window.succeed(now, server.in_flight, most);
        if server.breaker.succeed(now, opened, &self.config.back_off) {
            let failures = server.breaker.failures;
            out.push(Action::Record(Record::Recovered { server: id, failures }));
        }
    }

    /// A server took so long for a mail.
    fn learn_latency(&mut self, now: Time, id: ServerId, took: Duration, out: &mut Vec<Action>) {
        // Of mails that are answered together only the first tells how long that took.
        if took.is_zero() {
            return;
        }
        let server = self.server_mut(id);
        if server.window.latency.took(took, server.in_flight) {
            self.overload(now, id, out);
        }
    }

    /// A server cannot keep up.
    fn overload(&mut self, now: Time, id: ServerId, out: &mut Vec<Action>) {
        if !self.limits_of(id).yields {
            return;
        }
        let server = self.server_mut(id);
        if let Some(window) = server.window.overload(now, server.in_flight) {
            out.push(Action::Record(Record::Overloaded { server: id, window }));
        }
    }

    /// A mail was deferred at MAIL.
    fn deferred_at_mail(&mut self, now: Time, id: ServerId, out: &mut Vec<Action>) {
        let server = self.server_mut(id);
        server.deferred_in_row = server.deferred_in_row.saturating_add(1);
        if server.deferred_in_row >= DEFERRED_IN_ROW {
            self.throttle(now, id, Duration::ZERO, out);
        }
    }

    /// No mail is started for a while, and then one at first. Whether that is news.
    fn throttle(
        &mut self,
        now: Time,
        id: ServerId,
        asked: Duration,
        out: &mut Vec<Action>,
    ) -> bool {
        let hold = Hold::Throttled;
        let server = &mut self.servers[id.index()];
        if server.pace.has_taken() {
            server.sending.relent(now);
        }
        let Some(until) = server.sending.close(now, hold, asked, &mut self.rng) else {
            return false;
        };
        server.window.restart(server.in_flight);
        out.push(Action::Record(Record::Held { server: id, hold, until }));
        true
    }

    /// The same, and the server meant all mail: said of a recipient or of content, it may have meant
    /// that one. How fast it takes mails is known from then on.
    pub(super) fn slow_down(
        &mut self,
        now: Time,
        id: ServerId,
        asked: Duration,
        out: &mut Vec<Action>,
    ) {
        if !self.throttle(now, id, asked, out) {
            return;
        }
        let server = self.server_mut(id);
        server.pace.throttled(now, server.sending.until);
        if let Some(per_minute) = server.pace.per_minute(now) {
            out.push(Action::Record(Record::PaceLearned { server: id, per_minute }));
        }
    }

    /// What the end of a connection means for its server.
    pub(super) fn judge(&mut self, now: Time, id: ServerId, end: Ended, out: &mut Vec<Action>) {
        if end.was != Phase::Connecting && end.how != Closed::TooManyConnections {
            let server = self.server_mut(id);
            server.borne.note(now, server.connections.greeted() + 1);
        }
        let others = self.server(id).connections.established();
        let has_served = end.was != Phase::Connecting || others > 0;
        if has_served || !matches!(end.how, Closed::Absent(_) | Closed::Local) {
            self.server_mut(id).has_answered = true;
        }
        match end.how {
            // With nothing left to come down to, it is like any other.
            Closed::Objected if self.server(id).mode() > Pipelining::Off => {}
            // As it was told to.
            Closed::Unremarkable | Closed::Shutdown | Closed::Broken
                if end.was == Phase::Closing => {}
            Closed::Shutdown if end.was == Phase::Connecting && others > 0 => {
                self.full(now, id, Refused::Greeting, out)
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
                self.slow_down(now, id, end.pause, out);
                if !end.was_useful {
                    self.fail(now, id, end, Weight::Single, out);
                }
            }
            Closed::TooManyConnections => {
                let refused = match end.was {
                    Phase::Connecting => Refused::Greeting,
                    _ => Refused::Connection { accepted: end.accepted },
                };
                self.full(now, id, refused, out);
            }
            Closed::Unwelcome => {
                self.hold(now, id, (Hold::Unwelcome, end.pause), out);
                self.fail(now, id, end, Weight::Single, out);
            }
            Closed::Credentials => self.hold(now, id, (Hold::Credentials, end.pause), out),
            Closed::Requirement => self.hold(now, id, (Hold::Requirement, end.pause), out),
            Closed::Local => self.hold(now, id, (Hold::Local, Duration::ZERO), out),
        }
        match (end.how, end.lesson) {
            // That was said to a new connection, and is dealt with.
            (Closed::TooManyConnections, Lesson::Ceiling) => {}
            (Closed::Shutdown | Closed::Broken, Lesson::Nothing) if end.under_mail => {
                self.perhaps_session_cap(now, id, end.accepted, out);
            }
            (_, lesson) => self.learn_lesson(now, id, (lesson, end.accepted), out),
        }
        if self.server(id).is_down(now) {
            self.release_own(now, id);
        }
        let destination = self.server(id).destination;
        let nothing_waits = self.backlog(destination) == 0;
        let server = self.server_mut(id);
        let deserted = others == 0 && end.was != Phase::Closing;
        let cold = server.connections.open == 0 && nothing_waits;
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
        if !end.pause.is_zero() {
            breaker.until = breaker.until.max(now + end.pause);
        }
        let (failures, until) = (breaker.failures, breaker.until);
        server.shrink();
        let is_deserted = server.connections.established() == 0;
        out.push(Action::Record(Record::BackOff { server: id, failures, until }));
        let destination = server.destination;
        if is_deserted {
            self.server_mut(id).window.lift();
        }
        if self.is_exhausted(destination) {
            self.give_up_queue(destination, GiveUp::ServerExhausted, out);
        }
    }

    /// Whether every server of a destination failed too often in a row.
    fn is_exhausted(&self, destination: DestinationId) -> bool {
        self.destination(destination).servers().all(|server| {
            let server = self.server(server);
            let fails = match self.config.exhausted {
                Exhausted::Wait => false,
                Exhausted::FailIfAbsent => !server.has_answered,
                Exhausted::Fail => true,
            };
            fails && server.breaker.failures >= self.config.failures
        })
    }

    /// The server has as many connections as it wants.
    fn full(&mut self, now: Time, id: ServerId, refused: Refused, out: &mut Vec<Action>) {
        let server = self.server_mut(id);
        let greeted = server.connections.greeted();
        let others = match refused {
            Refused::Greeting => server.borne.most(now, greeted),
            // That a connection was greeted says nothing here.
            Refused::Mail { .. } => greeted.saturating_sub(1),
            Refused::Connection { .. } => greeted,
        };
        let known = server.ceiling.as_ref().map(|ceiling| (ceiling.limit, ceiling.probe_at));
        let ceiling = match &mut server.ceiling {
            Some(ceiling) => {
                ceiling.refused(now, others);
                ceiling
            }
            none => none.insert(Ceiling::new(now, others)),
        };
        if let Refused::Mail { accepted: 0 } | Refused::Connection { accepted: 0 } = refused {
            ceiling.refused_late();
        }
        let (connections, until) = (ceiling.limit, ceiling.probe_at);
        if known != Some((connections, until)) {
            out.push(Action::Record(Record::CeilingLearned { server: id, connections, until }));
        }
        if others == 0 && server.connections.connecting == 0 {
            // Somebody else has the slots.
            self.hold(now, id, (Hold::Full, Duration::ZERO), out);
        }
    }

    /// No connection is opened for a while, although the server did not fail.
    fn hold(
        &mut self,
        now: Time,
        id: ServerId,
        (hold, asked): (Hold, Duration),
        out: &mut Vec<Action>,
    ) {
        let server = &mut self.servers[id.index()];
        if let Some(until) = server.opening.close(now, hold, asked, &mut self.rng) {
            out.push(Action::Record(Record::Held { server: id, hold, until }));
        }
        let destination = self.server(id).destination;
        if let Some(cause) = self.hopeless(now, destination) {
            self.give_up_queue(destination, cause, out);
        }
    }

    /// Forgets what was learned of a server, and what is held against it.
    pub fn forget(&mut self, now: Time, id: ServerId, out: &mut Vec<Action>) {
        let limits = *self.limits_of(id);
        let server = self.server_mut(id);
        server.forget(&limits);
        let destination = server.destination;
        self.balance(now, destination, out);
    }
}

/// When a server said that there are too many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// To a new one, before it was ready.
    Greeting,
    /// To one that had delivered so many mails, and is open still.
    Mail { accepted: u32 },
    /// The same, and it is closed.
    Connection { accepted: u32 },
}

/// Mails that one connection has in flight, mostly at most.
fn depth(mode: Pipelining) -> u32 {
    match mode {
        Pipelining::Off | Pipelining::Envelope => 1,
        Pipelining::Cross => 2,
        Pipelining::Stream => Window::default().mails(),
    }
}
