//! A planner among virtual servers, in virtual time.
//!
//! Discrete events, seeded: the same seed gives the same trace. It does what the engine does, with
//! a model instead of connections, and panics when a bound or a promise is broken.

mod mails;
mod server;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use fastrand::Rng;
use posthaste_scheduler::failure::{self, Closed as How, ConnectFailure};
use posthaste_scheduler::{
    Action, AttemptResult, ConnectionId, DestinationId, DestinationLimits, InDoubtPolicy, JobId,
    NewJob, Place, Planner, PlannerConfig, Pull, Time,
};
use posthaste_session::{CloseReason, NotSent, Outcome, Pipelining, Stage};

pub use mails::{Closed, Interruptions};
pub use server::{Poisoning, ServerModel, Trouble};

use mails::Mails;
use server::{between, refused, reply};

/// A planner among virtual servers.
#[derive(Debug)]
pub struct Simulation {
    now: Time,
    planner: Planner,
    rng: Rng,
    in_doubt: InDoubtPolicy,
    servers: Vec<Server>,
    connections: BTreeMap<ConnectionId, Connection>,
    mails: Mails,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    /// Mails that will be submitted.
    arriving: usize,
    /// Events so far; orders those of one instant.
    sequence: u64,
    actions: Vec<Action>,
    trace: Vec<(Time, Action)>,
    tally: Tally,
}

/// What was counted on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls of the planner.
    pub calls: u64,
    /// Most connections to one server at a time.
    pub most_connections: u32,
    /// Connections that were woken.
    pub wakes: u64,
    /// Connections that were woken and found no work.
    pub wakes_for_nothing: u64,
    /// Attempts, those included that did not count.
    pub attempts: u64,
}

#[derive(Debug)]
struct Server {
    id: DestinationId,
    limits: DestinationLimits,
    model: ServerModel,
    /// Sessions that the server counts.
    sessions: u32,
    /// Connections that the planner counts.
    connections: u32,
}

#[derive(Debug)]
struct Connection {
    server: usize,
    established: bool,
    pipelining: Pipelining,
    /// The mode that works for sure.
    proven: Pipelining,
    /// Mails it has; the first one is on its way.
    mails: VecDeque<JobId>,
    /// When the first one was started, and when it will be done.
    under_way: (Time, Time),
    finished: u32,
    is_told_to_wait: bool,
    is_told_to_quit: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive { server: usize, recipients: usize, lifetime: Option<Duration> },
    Dialed(ConnectionId),
    Silent(ConnectionId),
    Wake(ConnectionId),
    Answered(ConnectionId),
    Gone(ConnectionId),
    Aborted(ConnectionId),
    OutageBegins(usize),
}

impl Simulation {
    /// A simulation without servers and mails.
    pub fn new(config: PlannerConfig, in_doubt: InDoubtPolicy, seed: u64) -> Self {
        Self {
            now: Time::EPOCH,
            planner: Planner::new(config, seed),
            // Not the planner's numbers again.
            rng: Rng::with_seed(!seed),
            in_doubt,
            servers: Vec::new(),
            connections: BTreeMap::new(),
            mails: Mails::default(),
            events: BinaryHeap::new(),
            arriving: 0,
            sequence: 0,
            actions: Vec::new(),
            trace: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Adds a server.
    pub fn add_server(&mut self, limits: DestinationLimits, model: ServerModel) -> DestinationId {
        let server = self.servers.len();
        for outage in &model.outages {
            self.events.push(Reverse((outage.start, self.sequence, Event::OutageBegins(server))));
            self.sequence += 1;
        }
        let id = self.planner.add_destination(limits, &[Place::default()]);
        self.servers.push(Server { id, limits, model, sessions: 0, connections: 0 });
        id
    }

    /// Submits a mail at a time; it is given up after its lifetime.
    pub fn submit(
        &mut self,
        at: Time,
        server: DestinationId,
        recipients: usize,
        lifetime: Option<Duration>,
    ) {
        let server = server.index();
        let event = Event::Arrive { server, recipients, lifetime };
        self.schedule(at - self.now, event);
        self.arriving += 1;
    }

    /// Goes on until every mail is done with.
    ///
    /// # Panics
    ///
    /// When a bound or a promise is broken, or nothing happens any more although mails are left.
    pub fn run(&mut self) {
        while self.arriving > 0 || !self.mails.is_empty() {
            assert!(self.step(Time::NEVER), "mails are left, and nothing will happen");
        }
    }

    /// Goes on until a time.
    ///
    /// # Panics
    ///
    /// When a bound or a promise is broken.
    pub fn run_until(&mut self, until: Time) {
        while self.step(until) {}
        self.now = self.now.max(until);
    }

    /// Goes on until mails and connections are gone.
    ///
    /// # Panics
    ///
    /// When a bound or a promise is broken, or a connection or timer is left.
    pub fn run_to_the_end(&mut self) {
        while self.step(Time::NEVER) {}
        assert!(self.mails.is_empty(), "mails are left");
        assert!(self.connections.is_empty(), "connections are left: {:?}", self.connections);
        assert_eq!((self.planner.jobs(), self.planner.connections()), (0, 0));
        assert_eq!(self.planner.next_deadline(), None, "there is nothing to wait for");
    }

    /// Drains the planner now; what is under way may take this long.
    pub fn drain(&mut self, time: Duration) {
        self.planner.drain(self.now, self.now + time, &mut self.actions);
        self.obey();
    }

    /// The present.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The planner.
    pub fn planner(&self) -> &Planner {
        &self.planner
    }

    /// Every action so far.
    pub fn trace(&self) -> &[(Time, Action)] {
        &self.trace
    }

    /// Every mail that is done with, in this order.
    pub fn closed(&self) -> &[Closed] {
        &self.mails.closed
    }

    /// What was counted.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Lets the next thing happen, if it does so by then.
    fn step(&mut self, until: Time) -> bool {
        let event_at = self.events.peek().map(|Reverse((at, ..))| *at);
        let timer_at = self.planner.next_deadline();
        let next = [event_at, timer_at].into_iter().flatten().min();
        let Some(next) = next.filter(|&next| next <= until) else { return false };
        assert!(next >= self.now, "time goes forward");
        self.now = next;
        self.tally.calls += 1;
        if timer_at.is_some_and(|at| at <= next) {
            self.planner.advance(next, &mut self.actions);
            assert!(self.planner.next_deadline().is_none_or(|at| at > next), "a timer is left");
            self.obey();
        } else if let Some(Reverse((_, _, event))) = self.events.pop() {
            self.handle(event);
            self.obey();
        }
        true
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.events.push(Reverse((self.now + after, self.sequence, event)));
        self.sequence += 1;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrive { server, recipients, lifetime } => {
                self.arrive(server, recipients, lifetime)
            }
            Event::Dialed(id) => self.dialed(id),
            Event::Silent(id) => self.end(id, &CloseReason::Timeout { stage: Stage::Greeting }),
            Event::Wake(id) => self.pull(id, Why::Woken),
            Event::Answered(id) => self.answered(id),
            Event::Gone(id) => self.end(id, &CloseReason::Quit),
            Event::Aborted(id) => self.end(id, &CloseReason::Aborted { stage: Stage::Idle }),
            Event::OutageBegins(server) => self.begin_outage(server),
        }
    }

    fn arrive(&mut self, server: usize, recipients: usize, lifetime: Option<Duration>) {
        self.arriving -= 1;
        let ledger = Mails::prepare(self.now, self.mails.total(), recipients, self.in_doubt);
        let job = NewJob {
            recipients: recipients as u32,
            expires: lifetime.map(|lifetime| self.now + lifetime),
            ..NewJob::new(self.servers[server].id)
        };
        let job = self.planner.submit(self.now, job, &mut self.actions);
        self.mails.enter(job, ledger);
    }

    fn dialed(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let server = &mut self.servers[connection.server];
        let shutdown =
            |octets| CloseReason::Shutdown { stage: Stage::Greeting, reply: reply(octets) };
        match server.model.trouble_at(self.now) {
            Some(Trouble::Refuses | Trouble::RefusesMore) => {
                self.closed_as(id, failure::connect_failed(ConnectFailure::Refused));
                return;
            }
            Some(Trouble::Hangs) => return self.schedule(Trouble::TIMEOUT, Event::Silent(id)),
            Some(Trouble::ShutsDown) => return self.end(id, &shutdown(b"421 4.3.2 not now\r\n")),
            Some(Trouble::RefusesLogin) => {
                let reply = reply(b"535 5.7.8 authentication failed\r\n");
                return self.end(id, &CloseReason::Refused { stage: Stage::Auth, reply });
            }
            Some(Trouble::RefusesSession) => {
                let reply = reply(b"550 5.7.1 no mail from here\r\n");
                return self.end(id, &CloseReason::Refused { stage: Stage::Greeting, reply });
            }
            Some(Trouble::Breaks | Trouble::Dismisses | Trouble::DefersMail) | None => {}
        }
        if server.model.max_sessions.is_some_and(|most| server.sessions >= most) {
            return self.end(id, &shutdown(b"421 4.7.0 too many connections from you\r\n"));
        }
        server.sessions += 1;
        connection.established = true;
        self.planner.connection_ready(self.now, id, &mut self.actions);
        self.pull(id, Why::Own);
    }

    fn pull(&mut self, id: ConnectionId, mut why: Why) {
        if let Some(connection) = self.connections.get_mut(&id)
            && why == Why::Woken
        {
            connection.is_told_to_wait = false;
        }
        while self.connections.get(&id).is_some_and(Connection::wants_mail) {
            let pull = self.planner.pull(self.now, id, &mut self.actions);
            self.tally.calls += 1;
            let Some(connection) = self.connections.get_mut(&id) else { return };
            match pull {
                Pull::Job { job, .. } => {
                    why = Why::Own;
                    connection.mails.push_back(job);
                    if connection.mails.len() == 1 {
                        self.start(id);
                    }
                }
                Pull::Wait => {
                    connection.is_told_to_wait = true;
                    self.tally.wakes_for_nothing += u64::from(why == Why::Woken);
                    return;
                }
                Pull::Quit => return self.quit(id),
            }
        }
    }

    /// The first mail of a connection is on its way.
    fn start(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(&job) = connection.mails.front() else { return };
        let mail = self.mails.ledger(job).next_attempt(self.now, u32::MAX);
        assert!(mail.is_some(), "a job has somebody to send to");
        let model = &self.servers[connection.server].model;
        let round_trips = match connection.pipelining {
            Pipelining::Off => 4,
            Pipelining::Envelope => 2,
            Pipelining::Cross => 1,
        };
        let time = between(&model.round_trip, &mut self.rng) * round_trips
            + between(&model.service, &mut self.rng);
        connection.under_way = (self.now, self.now + time);
        self.tally.attempts += 1;
        self.schedule(time, Event::Answered(id));
    }

    /// The server answers the first mail of a connection, or does not.
    fn answered(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(&job) = connection.mails.front() else { return };
        let model = &self.servers[connection.server].model;
        let lost = |stage| CloseReason::Lost { stage };
        match model.trouble_at(self.now) {
            Some(Trouble::Breaks) => return self.end(id, &lost(Stage::Mail)),
            Some(Trouble::Hangs) => {
                return self.end(id, &CloseReason::Timeout { stage: Stage::Mail });
            }
            Some(Trouble::Dismisses) => return self.end(id, &dismissed()),
            Some(
                Trouble::Refuses
                | Trouble::RefusesMore
                | Trouble::ShutsDown
                | Trouble::DefersMail
                | Trouble::RefusesLogin
                | Trouble::RefusesSession,
            )
            | None => {}
        }
        if model.poison.contains(&self.mails.number(job)) {
            return match model.poisoning {
                Poisoning::Breaks => self.end(id, &lost(Stage::Content)),
                Poisoning::Dismisses => self.end(id, &dismissed()),
            };
        }
        let draw = self.rng.u32(..1000);
        if draw < model.dropped_in_content {
            return self.end(id, &lost(Stage::Content));
        }
        if draw < model.dropped_in_content + model.dropped_at_end {
            return self.end(id, &lost(Stage::Final));
        }
        let bears = model.bears;
        let cap = model.mails_per_session;
        let defers = model.trouble_at(self.now) == Some(Trouble::DefersMail);
        let outcomes: Vec<_> = (0..self.mails.ledger(job).remaining().len())
            .map(|_| match defers {
                true => refused(Stage::Mail, b"451 4.3.0 something is wrong here\r\n"),
                false => model.outcome_of_recipient(&mut self.rng),
            })
            .collect();
        connection.mails.pop_front();
        connection.finished += 1;
        let capped = cap.is_some_and(|most| connection.finished >= most);
        let (mode, proven) = (connection.pipelining, connection.proven);
        self.finish(id, job, &outcomes, false);
        if capped {
            let reply = reply(b"421 4.7.0 enough for one session\r\n");
            return self.end(id, &CloseReason::Shutdown { stage: Stage::Mail, reply });
        }
        if mode > proven {
            self.try_mode(id, mode, bears);
        }
        self.start(id);
        self.pull(id, Why::Own);
        self.quit_if_told(id);
    }

    /// A mail was sent in a mode that the connection had not used before.
    fn try_mode(&mut self, id: ConnectionId, mode: Pipelining, bears: Pipelining) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if mode <= bears {
            connection.proven = mode;
            self.planner.pipelining_proven(self.now, id, mode, &mut self.actions);
        } else {
            connection.pipelining = mode.lower();
            self.planner.pipelining_lowered(self.now, id, mode.lower(), &mut self.actions);
        }
    }

    fn finish(&mut self, id: ConnectionId, job: JobId, outcomes: &[Outcome], taken_in_doubt: bool) {
        self.mails.take(job, outcomes, taken_in_doubt);
        let result: AttemptResult = self.mails.ledger(job).attempted(self.now, outcomes);
        self.planner.finished(self.now, id, job, result, &mut self.actions);
        self.tally.calls += 1;
        if result.again.is_none() {
            self.mails.close(job, |ledger| ledger.into_report());
        }
    }

    /// A session is over: its mails are reported, then itself.
    fn end(&mut self, id: ConnectionId, reason: &CloseReason) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let stage = reason.stage();
        let stage = match stage {
            Stage::Idle if connection.under_way.1 > self.now => {
                progress(connection.under_way, self.now)
            }
            _ => stage,
        };
        let jobs = std::mem::take(&mut connection.mails);
        for (at, job) in jobs.into_iter().enumerate() {
            let recipients = self.mails.ledger(job).remaining().len();
            let outcome = match (at, stage) {
                (0, Stage::Final) => Outcome::InDoubt,
                (0, stage) => Outcome::NotSent(NotSent::Interrupted(stage)),
                (1.., _) => Outcome::NotSent(NotSent::NeverStarted),
            };
            let in_doubt = outcome == Outcome::InDoubt;
            if at == 0 {
                self.mails.interrupt(job, in_doubt);
            }
            let taken = in_doubt && self.rng.bool();
            self.finish(id, job, &vec![outcome; recipients], taken);
        }
        self.closed_as(id, failure::closed(reason));
    }

    fn closed_as(&mut self, id: ConnectionId, how: How) {
        let Some(connection) = self.connections.remove(&id) else { return };
        let server = &mut self.servers[connection.server];
        server.sessions -= u32::from(connection.established);
        server.connections -= 1;
        self.planner.connection_closed(self.now, id, how, &mut self.actions);
        self.tally.calls += 1;
    }

    fn begin_outage(&mut self, server: usize) {
        let established = |(_, connection): &(_, &Connection)| connection.server == server;
        let ids: Vec<_> = self.connections.iter().filter(established).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(connection) = self.connections.get(&id).filter(|it| it.established) else {
                continue;
            };
            let stage = match connection.mails.front() {
                Some(_) => progress(connection.under_way, self.now),
                None => Stage::Idle,
            };
            match self.servers[server].model.trouble {
                Trouble::Refuses => self.end(id, &CloseReason::Lost { stage }),
                Trouble::ShutsDown => {
                    let reply = reply(b"421 4.3.2 shutting down\r\n");
                    self.end(id, &CloseReason::Shutdown { stage, reply });
                }
                Trouble::Hangs
                | Trouble::Breaks
                | Trouble::Dismisses
                | Trouble::RefusesMore
                | Trouble::DefersMail
                | Trouble::RefusesLogin
                | Trouble::RefusesSession => {}
            }
        }
    }

    fn quit(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.is_told_to_quit = true;
        self.quit_if_told(id);
    }

    fn quit_if_told(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else { return };
        if connection.is_told_to_quit && connection.mails.is_empty() {
            let model = &self.servers[connection.server].model;
            let time = between(&model.round_trip, &mut self.rng);
            self.schedule(time, Event::Gone(id));
        }
    }

    fn obey(&mut self) {
        for action in std::mem::take(&mut self.actions) {
            self.trace.push((self.now, action));
            match action {
                Action::Open { server, connection, pipelining, .. } => {
                    self.open(server.index(), connection, pipelining);
                }
                Action::Wake { connection } => {
                    let waits = |it: &Connection| it.is_told_to_wait;
                    let found = self.connections.get(&connection);
                    assert!(found.is_none_or(waits), "only who waits is woken");
                    self.tally.wakes += 1;
                    self.schedule(Duration::ZERO, Event::Wake(connection));
                }
                Action::SetPipelining { connection, mode } => {
                    if let Some(connection) = self.connections.get_mut(&connection) {
                        connection.pipelining = mode;
                        connection.proven = connection.proven.min(mode);
                    }
                }
                Action::Quit { connection } => self.quit(connection),
                Action::Abort { connection } => {
                    self.schedule(Duration::ZERO, Event::Aborted(connection));
                }
                Action::GiveUp { job, cause, attempts } => {
                    let now = self.now;
                    self.mails.close(job, |ledger| ledger.give_up(now, cause, attempts, None));
                }
                Action::Record(_) => {}
            }
        }
    }

    fn open(&mut self, index: usize, id: ConnectionId, pipelining: Pipelining) {
        let server = &mut self.servers[index];
        server.connections += 1;
        assert!(server.connections <= server.limits.max_connections, "too many connections");
        self.tally.most_connections = self.tally.most_connections.max(server.connections);
        let time = between(&server.model.round_trip, &mut self.rng) * 3;
        self.connections.insert(
            id,
            Connection {
                server: index,
                established: false,
                pipelining,
                proven: pipelining.min(Pipelining::Envelope),
                mails: VecDeque::new(),
                under_way: (self.now, self.now),
                finished: 0,
                is_told_to_wait: false,
                is_told_to_quit: false,
            },
        );
        self.schedule(time, Event::Dialed(id));
    }
}

/// The server ends a session before its next mail.
fn dismissed() -> CloseReason {
    let reply = reply(b"421 4.3.2 not now\r\n");
    CloseReason::Shutdown { stage: Stage::Mail, reply }
}

/// Why a connection pulls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Own,
    Woken,
}

impl Connection {
    fn wants_mail(&self) -> bool {
        let depth = if self.pipelining == Pipelining::Cross { 2 } else { 1 };
        !self.is_told_to_quit && !self.is_told_to_wait && self.mails.len() < depth
    }
}

/// How far a mail is that takes from one time to another.
fn progress((from, to): (Time, Time), now: Time) -> Stage {
    let (gone, whole) = (now - from, to - from);
    if gone < whole * 4 / 10 {
        Stage::Rcpt
    } else if gone < whole * 7 / 10 {
        Stage::Content
    } else {
        Stage::Final
    }
}
