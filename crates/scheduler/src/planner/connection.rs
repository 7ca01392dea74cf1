//! Connections: opened, ready, pulling, waiting, closed.

use std::time::Duration;

use posthaste_session::Pipelining;

use super::action::{
    Action, ConnectionId, DestinationId, Ending, GiveUp, JobId, Pull, Record, ServerId,
};
use super::destination::Census;
use super::job::{Alarm, Blame, State};
use super::server::Admission;
use super::slots::{End, Key, Linked, Links, List};
use super::timers::TimerSlot;
use super::{Planner, Timer};
use crate::failure::{Charge, Closed, Lesson, Part};
use crate::time::Time;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) server: ServerId,
    pub(super) destination: DestinationId,
    pub(super) phase: Phase,
    /// What it was asked to do, or said that it does.
    pub(super) pipelining: Pipelining,
    pub(super) in_flight: List,
    pub(super) opened: Time,
    /// Since when the oldest mail in flight is all that it is busy with.
    pub(super) busy_since: Time,
    /// Mails it took.
    started: u32,
    /// Mails that the server accepted over it.
    pub(super) accepted: u32,
    /// Whether the server answered one of them.
    pub(super) answered: bool,
    /// Mails in a row of which it refused all recipients.
    pub(super) refused_in_row: u32,
    /// The mail under which it may have ended.
    interrupted: Option<(JobId, Part)>,
    timer: TimerSlot,
    links: Links,
}

impl Linked for Connection {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// What a planner expects of a connection.
///
/// ```text
/// Connecting --ready--> Coming --pull--> Busy <--pull/wake--> Waiting
///      |                   |               |                     |
///      +-------------------+--- closed, or told to: Closing -----+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    /// It will pull without being told to.
    Coming,
    /// It has mails, and pulls when it can take one more.
    Busy,
    /// It is on its server's list of those with room for a mail.
    Waiting,
    /// It takes no more mails.
    Closing,
}

impl Planner {
    /// A connection is ready for mails: connected, secured, greeted, authenticated. It must
    /// [`pull`](Self::pull) next.
    pub fn connection_ready(&mut self, now: Time, connection: ConnectionId, out: &mut Vec<Action>) {
        let Some(found) = self.connections.get(connection.0) else { return };
        let (server, destination, phase) = (found.server, found.destination, found.phase);
        if phase == Phase::Connecting {
            self.set_phase(connection.0, Phase::Coming);
            self.server_is_open(now, server);
            self.balance(now, destination, out);
        }
    }

    /// A connection has room for a mail. If it is told to wait, it has to remember nothing.
    pub fn pull(&mut self, now: Time, connection: ConnectionId, out: &mut Vec<Action>) -> Pull {
        let key = connection.0;
        let Some(found) = self.connections.get(key) else { return Pull::Quit };
        match found.phase {
            Phase::Closing => return Pull::Quit,
            Phase::Connecting => return Pull::Wait,
            Phase::Coming | Phase::Busy | Phase::Waiting => {}
        }
        let (server, destination) = (found.server, found.destination);
        self.set_mode(connection, out);
        let is_over = self.is_worn(now, key) || self.drain.is_some();
        if is_over || self.has_better_use(now, server) || self.is_greedy(destination) {
            self.set_phase(key, Phase::Closing);
            self.balance(now, destination, out);
            return Pull::Quit;
        }
        // It pulls now, and is not expected to do so any more.
        self.set_phase(key, Phase::Busy);
        self.pull_one(now, connection, (server, destination), out)
    }

    /// A connection has room for another mail in the same moment in which it was [given](Self::pull) one: but for the
    /// mails that it has had, nothing has changed that could tell it to end.
    #[inline]
    pub fn pull_more(
        &mut self,
        now: Time,
        connection: ConnectionId,
        out: &mut Vec<Action>,
    ) -> Pull {
        match self.connections.get(connection.0) {
            Some(found) if found.phase == Phase::Busy && !self.is_worn(now, connection.0) => {
                let from = (found.server, found.destination);
                self.pull_one(now, connection, from, out)
            }
            Some(_) | None => self.pull(now, connection, out),
        }
    }

    fn pull_one(
        &mut self,
        now: Time,
        connection: ConnectionId,
        (server, destination): (ServerId, DestinationId),
        out: &mut Vec<Action>,
    ) -> Pull {
        let key = connection.0;
        let Some(job) = self.next_job(now, key) else {
            self.wait(now, key);
            self.balance(now, destination, out);
            self.yield_idle(out);
            return Pull::Wait;
        };
        self.start(now, key, job);
        self.server_mut(server).pace.start(now);
        let is_paced = self.server(server).pace.rate(now).is_some();
        let is_limited = !self.destination(destination).rates.is_empty()
            || !self.server(server).rates.is_empty();
        if is_paced || is_limited || self.has_limited_flows {
            self.balance(now, destination, out);
        }
        let cap = self.server(server).recipient_cap.at(now);
        Pull::Job { job: JobId(job), recipients: cap.unwrap_or(u32::MAX) }
    }

    /// Whether a server of a better preference, or one of the same that has none, could have the place
    /// of a connection of this one.
    fn has_better_use(&self, now: Time, id: ServerId) -> bool {
        let server = self.server(id);
        let destination = self.destination(server.destination);
        let Census { open, connecting, closing, .. } = destination.connections;
        if destination.servers().len() == 1
            || open < destination.limits.max_connections.max(2)
            || connecting + closing > 0
            || destination.queue.runnable() == 0
            || server.own.runnable() > 0
        {
            return false; // or one after the other
        }
        let better = |&other: &ServerId| {
            let found = self.server(other);
            let is_left_out = found.connections.open == 0 && server.connections.open > 1;
            let is_better = found.place.preference < server.place.preference
                || (found.place.preference == server.place.preference && is_left_out);
            is_better && self.admits(now, other) == Admission::Now
        };
        destination.servers().any(|other| better(&other))
            && self.opens_at(now, &destination.opening_rates).is_none()
    }

    /// Tells a connection of a pipelining mode that was learned since it was here last.
    fn set_mode(&mut self, id: ConnectionId, out: &mut Vec<Action>) {
        let Some(connection) = self.connections.get_mut(id.0) else { return };
        let memory = &self.servers[connection.server.index()].pipelining;
        if let Some(mode) = memory.wants(id, connection.pipelining) {
            connection.pipelining = mode;
            out.push(Action::SetPipelining { connection: id, mode });
        }
    }

    /// Whether a connection had its share of mails, or of time.
    #[inline(always)]
    fn is_worn(&self, now: Time, key: Key) -> bool {
        let Some(found) = self.connections.get(key) else { return true };
        let limits = &self.destination(found.destination).limits;
        let is_over = |most: Option<u32>, count| most.is_some_and(|most| count >= most.max(1));
        let learned = self.server(found.server).session_cap.cap.at(now);
        is_over(limits.max_mails_per_connection, found.started)
            || is_over(learned, found.accepted.saturating_add(found.in_flight.len()))
            || now - found.opened >= self.config.reuse
    }

    /// Gives a job that is on no list to a connection.
    #[inline(always)]
    fn start(&mut self, now: Time, key: Key, job: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.in_flight.is_empty() {
            connection.busy_since = now;
        }
        connection.started = connection.started.saturating_add(1);
        connection.in_flight.push(End::Tail, job, &mut self.jobs);
        self.servers[connection.server.index()].in_flight += 1;
        let id = connection.destination;
        let destination = &mut self.destinations[id.index()];
        destination.pulled = now;
        if destination.queue.is_empty() && destination.servers().len() == 1 {
            self.timers.set(&mut destination.timer, None, Timer::Destination(id));
        }
        self.set_job_state(job, State::InFlight(ConnectionId(key)), Alarm::Never);
    }

    pub(super) fn wait(&mut self, now: Time, key: Key) {
        self.set_phase(key, Phase::Waiting);
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.in_flight.is_empty() {
            connection.busy_since = now;
            let until = now + self.destinations[connection.destination.index()].limits.idle;
            self.timers.set(&mut connection.timer, Some(until), Timer::Connection(key));
            self.note_idle(now, key);
        }
    }

    /// A mail of a connection is finished: if it was waiting for more already, it is idle now.
    pub(super) fn rest(&mut self, now: Time, connection: ConnectionId) {
        let found = self.connections.get(connection.0);
        if found.is_some_and(|it| it.phase == Phase::Waiting && it.in_flight.is_empty()) {
            self.wait(now, connection.0);
        }
    }

    /// The timer of a connection fired: it had nothing to do for too long.
    pub(super) fn idle_is_over(&mut self, now: Time, key: Key, out: &mut Vec<Action>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.timer = TimerSlot::default();
        let destination = connection.destination;
        if connection.phase == Phase::Waiting {
            self.set_phase(key, Phase::Closing);
            out.push(Action::Quit { connection: ConnectionId(key) });
            self.balance(now, destination, out);
        }
    }

    /// A connection is closed, or could not be opened. Every mail it had must be
    /// [`finished`](Self::finished) before; one that is not is in doubt.
    pub fn connection_closed(
        &mut self,
        now: Time,
        connection: ConnectionId,
        ending: impl Into<Ending>,
        out: &mut Vec<Action>,
    ) {
        let Ending { how, pause, lesson } = ending.into();
        let key = connection.0;
        let Some(found) = self.connections.get(key) else { return };
        let (server, destination, was) = (found.server, found.destination, found.phase);
        self.set_phase(key, Phase::Closing);
        while let Some(job) =
            self.connections.get(key).and_then(|found| found.in_flight.head(&self.jobs))
        {
            self.give_up(job, GiveUp::Unreported, out);
        }
        let Some(gone) = self.connections.remove(key) else { return };
        for census in self.censuses(server, destination) {
            census.open -= 1;
            census.closing -= 1;
        }
        self.server_mut(server).pipelining.closed(connection);
        out.push(Action::Record(Record::Closed { server, connection, how }));

        // That it had nothing to do, or was not let, is no fault of the server.
        let was_not_used = matches!(was, Phase::Waiting | Phase::Coming);
        let nothing_to_do = gone.started == 0 && (was_not_used || self.backlog(destination) == 0);
        let end = Ended {
            how,
            pause,
            opened: gone.opened,
            was,
            was_useful: gone.answered || nothing_to_do,
            accepted: gone.accepted,
            under_mail: gone.interrupted.is_some(),
            lesson,
        };
        self.judge(now, server, end, out);
        if let (Some(job), Some(blame)) = (gone.interrupted, end.blame()) {
            self.blame(now, job, (server, blame), out);
        }
        self.make_room(now, out);
        self.balance(now, destination, out);
    }

    pub(super) fn open(&mut self, now: Time, server: ServerId, out: &mut Vec<Action>) {
        let state = self.server(server);
        let (bdat, tls) = (state.pipelining.bdat(now), state.pipelining.tls(now));
        let pipelining = state.mode();
        let destination = state.destination;
        for census in self.censuses(server, destination) {
            census.open += 1;
            census.connecting += 1;
        }
        let connection = ConnectionId(self.connections.insert(Connection {
            server,
            destination,
            phase: Phase::Connecting,
            pipelining,
            in_flight: List::default(),
            opened: now,
            busy_since: now,
            started: 0,
            accepted: 0,
            answered: false,
            refused_in_row: 0,
            interrupted: None,
            timer: TimerSlot::default(),
            links: Links::default(),
        }));
        out.push(Action::Open { server, connection, pipelining, bdat, tls });
    }

    /// Remembers the first mail that a connection ended under; those behind it are innocent.
    pub(super) fn note_interruption(
        &mut self,
        connection: ConnectionId,
        job: JobId,
        charge: Charge,
    ) {
        if let Charge::Interrupted(part) = charge
            && let Some(connection) = self.connections.get_mut(connection.0)
        {
            connection.interrupted.get_or_insert((job, part));
        }
    }

    /// Changes the phase, and everything that counts connections by phase.
    pub(super) fn set_phase(&mut self, key: Key, phase: Phase) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if (connection.phase, phase) == (Phase::Busy, Phase::Busy) {
            return; // as with every mail but the first
        }
        let was = std::mem::replace(&mut connection.phase, phase);
        let idle = connection.in_flight.is_empty();
        let (server, destination) = (connection.server, connection.destination);
        self.timers.set(&mut connection.timer, None, Timer::Connection(key));
        for census in self.censuses(server, destination) {
            if let Some(count) = census.of(was) {
                *count -= 1;
            }
            if let Some(count) = census.of(phase) {
                *count += 1;
            }
        }
        let waiting = &mut self.servers[server.index()].waiting;
        if was == Phase::Waiting {
            waiting.remove(key, &mut self.connections);
        }
        if phase == Phase::Waiting {
            let end = if idle { End::Head } else { End::Tail };
            waiting.push(end, key, &mut self.connections);
        }
    }
}

/// The end of a connection, and what it had been good for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) how: Closed,
    /// How long the server wants to be left alone, if it said so.
    pub(super) pause: Duration,
    pub(super) opened: Time,
    pub(super) was: Phase,
    /// The server answered a mail on it, or there had been none to send.
    pub(super) was_useful: bool,
    /// Mails that the server accepted on it.
    pub(super) accepted: u32,
    /// It ended under a mail.
    pub(super) under_mail: bool,
    /// What its end teaches.
    pub(super) lesson: Lesson,
}

impl Ended {
    /// Who may have ended it, if not this side.
    fn blame(self) -> Option<Blame> {
        if self.lesson == Lesson::SessionCap && self.accepted > 0 {
            return Some(Blame::Load);
        }
        match self.how {
            Closed::Broken | Closed::Absent(_) | Closed::Failure(_) | Closed::Violation => {
                Some(Blame::MailOrServer)
            }
            Closed::Shutdown => Some(Blame::Server),
            Closed::Throttled | Closed::TooManyConnections => Some(Blame::Load),
            Closed::Unremarkable
            | Closed::Objected
            | Closed::Unwelcome
            | Closed::Credentials
            | Closed::Requirement
            | Closed::Local => None,
        }
    }
}
