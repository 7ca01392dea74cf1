//! Connections: opened, ready, pulling, waiting, closed.

use posthaste_session::Pipelining;

use super::action::{Action, ConnectionId, GiveUp, JobId, Pull, Record, ServerId};
use super::job::{Blame, State};
use super::slots::{End, Key, Linked, Links, List};
use super::timers::TimerSlot;
use super::{Planner, Timer};
use crate::failure::{Charge, Closed, Part};
use crate::time::Time;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) server: ServerId,
    pub(super) phase: Phase,
    /// What it was asked to do, or said that it does.
    pub(super) pipelining: Pipelining,
    pub(super) in_flight: List,
    pub(super) opened: Time,
    /// Mails it took.
    started: u32,
    /// Whether the server answered one of them.
    pub(super) answered: bool,
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
        let (server, phase) = (found.server, found.phase);
        if phase == Phase::Connecting {
            self.set_phase(connection.0, Phase::Coming);
            self.server_is_open(now, server);
            self.balance(now, server, out);
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
        let server = found.server;
        let limits = &self.server(server).limits;
        let full = limits.max_mails_per_connection.is_some_and(|most| found.started >= most.max(1));
        if full || now - found.opened >= self.config.reuse || self.drain.is_some() {
            self.set_phase(key, Phase::Closing);
            self.balance(now, server, out);
            return Pull::Quit;
        }
        match self.next_job(now, server) {
            Some(job) => {
                self.start(now, key, job);
                Pull::Job(JobId(job))
            }
            None => {
                self.wait(now, key);
                self.balance(now, server, out);
                Pull::Wait
            }
        }
    }

    fn next_job(&mut self, now: Time, server: ServerId) -> Option<Key> {
        let server = &mut self.servers[server.index()];
        if now < server.sending.until {
            return None;
        }
        server.ready.pop(&mut self.jobs)
    }

    /// Gives a job that is on no list to a connection.
    fn start(&mut self, now: Time, key: Key, job: Key) {
        self.set_phase(key, Phase::Busy);
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.started += 1;
        connection.in_flight.push(End::Tail, job, &mut self.jobs);
        let server = &mut self.servers[connection.server.index()];
        server.pulled = now;
        if server.ready.is_empty() {
            let timer = Timer::Server(connection.server);
            self.timers.set(&mut server.timer, None, timer);
        }
        self.set_job_state(job, State::InFlight(ConnectionId(key)), None);
    }

    pub(super) fn wait(&mut self, now: Time, key: Key) {
        self.set_phase(key, Phase::Waiting);
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.in_flight.is_empty() {
            let until = now + self.servers[connection.server.index()].limits.idle;
            self.timers.set(&mut connection.timer, Some(until), Timer::Connection(key));
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
        let server = connection.server;
        if connection.phase == Phase::Waiting {
            self.set_phase(key, Phase::Closing);
            out.push(Action::Quit { connection: ConnectionId(key) });
            self.balance(now, server, out);
        }
    }

    /// A connection is closed, or could not be opened. Every mail it had must be
    /// [`finished`](Self::finished) before; one that is not is in doubt.
    pub fn connection_closed(
        &mut self,
        now: Time,
        connection: ConnectionId,
        how: Closed,
        out: &mut Vec<Action>,
    ) {
        let key = connection.0;
        let Some(found) = self.connections.get(key) else { return };
        let (server, was) = (found.server, found.phase);
        self.set_phase(key, Phase::Closing);
        while let Some(found) = self.connections.get(key)
            && let Some(job) = found.in_flight.head(&self.jobs)
        {
            self.give_up(job, GiveUp::Unreported, out);
        }
        let Some(gone) = self.connections.remove(key) else { return };
        let state = &mut self.servers[server.index()];
        state.connections.open -= 1;
        state.connections.closing -= 1;
        state.pipelining.closed(connection);
        out.push(Action::Record(Record::Closed { server, connection, how }));

        let end = Ended {
            how,
            opened: gone.opened,
            was,
            was_useful: gone.answered || (gone.started == 0 && state.ready.is_empty()),
        };
        self.judge(now, server, end, out);
        if let (Some(job), Some(blame)) = (gone.interrupted, end.blame()) {
            self.blame(now, job, blame, out);
        }
        self.balance(now, server, out);
    }

    pub(super) fn open(&mut self, now: Time, server: ServerId, out: &mut Vec<Action>) {
        let state = &mut self.servers[server.index()];
        let (pipelining, bdat) = (state.pipelining.mode(), state.pipelining.bdat(now));
        state.connections.open += 1;
        state.connections.connecting += 1;
        let connection = ConnectionId(self.connections.insert(Connection {
            server,
            phase: Phase::Connecting,
            pipelining,
            in_flight: List::default(),
            opened: now,
            started: 0,
            answered: false,
            interrupted: None,
            timer: TimerSlot::default(),
            links: Links::default(),
        }));
        out.push(Action::Open { server, connection, pipelining, bdat });
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
        let was = std::mem::replace(&mut connection.phase, phase);
        let idle = connection.in_flight.is_empty();
        self.timers.set(&mut connection.timer, None, Timer::Connection(key));
        let server = &mut self.servers[connection.server.index()];
        match was {
            Phase::Connecting => server.connections.connecting -= 1,
            Phase::Coming => server.connections.coming -= 1,
            Phase::Closing => server.connections.closing -= 1,
            Phase::Waiting => server.waiting.remove(key, &mut self.connections),
            Phase::Busy => {}
        }
        match phase {
            Phase::Connecting => server.connections.connecting += 1,
            Phase::Coming => server.connections.coming += 1,
            Phase::Closing => server.connections.closing += 1,
            Phase::Waiting => {
                let end = if idle { End::Head } else { End::Tail };
                server.waiting.push(end, key, &mut self.connections);
            }
            Phase::Busy => {}
        }
    }
}

/// The end of a connection, and what it had been good for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) how: Closed,
    pub(super) opened: Time,
    pub(super) was: Phase,
    /// The server answered a mail on it, or there had been none to send.
    pub(super) was_useful: bool,
}

impl Ended {
    /// Who may have ended it, if not this side.
    fn blame(self) -> Option<Blame> {
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
