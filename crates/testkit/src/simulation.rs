//! A planner among virtual servers, in virtual time.
//!
//! Discrete events, seeded: the same seed gives the same trace. It does what the engine does, with
//! models in place of connections, and panics when a bound or a promise is broken: those of one
//! mail where its books are closed, those of the planner's decisions in `witness`.

mod connection;
mod crash;
mod mails;
mod model;
mod scenario;
mod server;
mod session;
mod units;
mod witness;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use fastrand::Rng;
use posthaste_scheduler::planner::Place;
use posthaste_scheduler::{
    Action, Cancelled, ConnectionId, DestinationId, DestinationLimits, InDoubtPolicy, JobId,
    Ledger, LimitId, LimitScope, NewJob, Planner, PlannerConfig, Rate, Report, ServerId, TenantId,
    Time,
};
use posthaste_session::{CloseReason, Stage};

pub use mails::{Closed, Interruptions, Totals};
pub use model::{
    Balancer, Bucket, CapWords, Greylist, Poisoning, ServerModel, SessionCap, SessionLimit,
    TooMany, Trouble,
};
pub use scenario::{DestinationPlan, LimitPlan, Limited, Scenario, ServerPlan, Wave};
pub use server::ServerTally;
pub use units::{Latency, Millis};

use connection::Connections;
use mails::Mails;
use server::Server;
use session::Why;
use witness::Witness;

/// A planner among virtual servers.
#[derive(Debug)]
pub struct Simulation {
    now: Time,
    setup: Setup,
    planner: Planner,
    rng: Rng,
    detail: Detail,
    destinations: Vec<Destination>,
    servers: Vec<Server>,
    connections: Connections,
    mails: Mails,
    waves: Vec<Wave>,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    /// Mails that will be submitted.
    arriving: usize,
    /// Events so far; orders those of one instant.
    sequence: u64,
    /// Steps since time went on, or a mail came.
    steps_at_once: u32,
    actions: Vec<Action>,
    /// Actions until the next crash.
    crash_after: Option<u64>,
    is_drained: bool,
    trace: Vec<(Time, Action)>,
    tally: Tally,
    witness: Witness,
}

/// What makes a planner, for the next one after a crash.
#[derive(Debug)]
struct Setup {
    config: PlannerConfig,
    seed: u64,
    in_doubt: InDoubtPolicy,
    tenants: Vec<(TenantId, u16)>,
    limits: Vec<(LimitScope, Rate)>,
}

#[derive(Debug)]
struct Destination {
    id: DestinationId,
    limits: DestinationLimits,
    places: Vec<Place>,
    /// The first of its servers.
    first: usize,
    connections: u32,
}

/// How much a simulation looks at, and remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Everything, of each mail and at each step.
    #[default]
    Full,
    /// What costs next to nothing: no trace, no reports, no second look at decisions.
    Lean,
}

/// What was counted on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls of the planner.
    pub calls: u64,
    /// Those for a timer.
    pub timers: u64,
    /// Most connections to one destination at a time.
    pub most_connections: u32,
    /// Connections that were opened.
    pub opened: u64,
    /// Connections that were woken.
    pub wakes: u64,
    /// Connections that were woken and found no work.
    pub wakes_for_nothing: u64,
    /// Attempts, those included that did not count.
    pub attempts: u64,
    /// Crashes.
    pub crashes: u32,
}

/// Steps without progress in time: more than any scenario has connections.
const MOST_AT_ONCE: u32 = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive { wave: u32, nth: u32 },
    Dialed(ConnectionId),
    Silent(ConnectionId),
    Wake(ConnectionId),
    Answered(ConnectionId),
    Gone(ConnectionId),
    Aborted(ConnectionId),
    OutageBegins(u32),
    LimitMoves(u32),
    Overdue(u32),
}

impl Simulation {
    /// A simulation without servers and mails.
    pub fn new(config: PlannerConfig, in_doubt: InDoubtPolicy, seed: u64) -> Self {
        let planner = Planner::new(config.clone(), seed);
        let tenants = vec![(TenantId::DEFAULT, 1)];
        Self {
            now: Time::EPOCH,
            planner,
            setup: Setup { config, seed, in_doubt, tenants, limits: Vec::new() },
            // Not the planner's numbers again.
            rng: Rng::with_seed(!seed),
            detail: Detail::default(),
            destinations: Vec::new(),
            servers: Vec::new(),
            connections: Connections::default(),
            mails: Mails::default(),
            waves: Vec::new(),
            events: BinaryHeap::new(),
            arriving: 0,
            sequence: 0,
            steps_at_once: 0,
            actions: Vec::new(),
            crash_after: None,
            is_drained: false,
            trace: Vec::new(),
            tally: Tally::default(),
            witness: Witness::default(),
        }
    }

    /// The same, that looks at and remembers this much.
    pub fn with_detail(mut self, detail: Detail) -> Self {
        self.detail = detail;
        self
    }

    /// Adds a destination of one server.
    pub fn add_server(&mut self, limits: DestinationLimits, model: ServerModel) -> ServerId {
        let destination = self.add_destination(limits, [(Place::default(), model)]);
        self.servers[self.destinations[destination.index()].first].id
    }

    /// Adds a destination.
    pub fn add_destination(
        &mut self,
        limits: DestinationLimits,
        servers: impl IntoIterator<Item = (Place, ServerModel)>,
    ) -> DestinationId {
        let (places, models): (Vec<_>, Vec<_>) = servers.into_iter().unzip();
        let id = self.planner.add_destination(limits, &places);
        let destination = self.destinations.len();
        assert_eq!(id.index(), destination, "destinations count up");
        let first = self.servers.len();
        for (server, model) in self.planner.servers_of(id).zip(models) {
            assert_eq!(server.index(), self.servers.len(), "servers count up");
            for outage in &model.outages {
                self.schedule_at(outage.start.time(), Event::OutageBegins(server.index() as u32));
            }
            for (from, _) in &model.sessions.steps {
                self.schedule_at(from.time(), Event::LimitMoves(server.index() as u32));
            }
            self.servers.push(Server::new(server, destination, model));
        }
        self.destinations.push(Destination { id, limits, places, first, connections: 0 });
        id
    }

    /// Adds a tenant, whose mails get so much beside those of others.
    pub fn add_tenant(&mut self, weight: u16) -> TenantId {
        let id = self.planner.add_tenant(weight);
        assert_eq!(id.index(), self.setup.tenants.len(), "tenants count up");
        self.setup.tenants.push((id, weight));
        id
    }

    /// Adds a limit; the simulation checks that it is kept.
    pub fn add_limit(&mut self, scope: LimitScope, rate: Rate) -> LimitId {
        self.setup.limits.push((scope, rate));
        self.witness.watch(scope, rate);
        self.planner.add_limit(scope, rate)
    }

    /// Lets mails arrive.
    pub fn submit(&mut self, wave: Wave) {
        let at = wave.at.time().max(self.now);
        if wave.mails > 0 {
            self.schedule_at(at, Event::Arrive { wave: self.waves.len() as u32, nth: 0 });
        }
        self.arriving += wave.mails as usize;
        self.waves.push(wave);
    }

    /// Crashes after so many more actions, and starts again with what was written down.
    pub fn crash_after(&mut self, actions: u64) {
        self.crash_after = Some(actions);
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
        assert_eq!(self.connections.len(), 0, "connections are left: {:?}", self.connections);
        assert_eq!((self.planner.jobs(), self.planner.connections()), (0, 0));
        assert_eq!(self.planner.next_deadline(), None, "there is nothing to wait for");
        self.check_wakes();
    }

    /// Drains the planner now; what is under way may take this long.
    pub fn drain(&mut self, time: Duration) {
        let deadline = self.now + time;
        self.is_drained = true;
        self.call(|planner, now, out| planner.drain(now, deadline, out));
        self.obey();
    }

    /// Cancels the mail with a number, if it is not done with.
    pub fn cancel(&mut self, number: usize) {
        let Some(open) = self.mails.open(number) else { return };
        let job = open.job;
        let cancelled = self.call(|planner, now, out| planner.cancel(now, job, out));
        match cancelled {
            Cancelled::Removed => {
                let now = self.now;
                let cause = posthaste_scheduler::GiveUp::Cancelled;
                self.close(job, |ledger| ledger.give_up(now, cause, 0, None));
            }
            Cancelled::InFlight(_) => {}
            Cancelled::Unknown => panic!("mail {number} is not done with"),
        }
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

    /// What became of the mails that are done with.
    pub fn totals(&self) -> Totals {
        self.mails.totals
    }

    /// What was counted.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// What a server counted until now.
    pub fn server_tally(&mut self, server: ServerId) -> ServerTally {
        self.servers[server.index()].tally(self.now)
    }

    /// The job of a mail that is not done with.
    pub fn job(&self, number: usize) -> Option<JobId> {
        Some(self.mails.open(number)?.job)
    }

    /// Lets the next thing happen, if it does so by then.
    fn step(&mut self, until: Time) -> bool {
        let event_at = self.events.peek().map(|Reverse((at, ..))| *at);
        let timer_at = self.planner.next_deadline();
        let next = [event_at, timer_at].into_iter().flatten().min();
        let Some(next) = next.filter(|&next| next <= until) else { return false };
        assert!(next >= self.now, "time goes forward");
        if next > self.now {
            self.check_rest();
            self.steps_at_once = 0;
        }
        self.now = next;
        if timer_at.is_some_and(|at| at <= next) {
            self.tally.timers += 1;
            self.call(|planner, now, out| planner.advance(now, out));
            assert!(self.planner.next_deadline().is_none_or(|at| at > next), "a timer is left");
        } else if let Some(Reverse((_, _, event))) = self.events.pop() {
            if let Event::Arrive { .. } = event {
                self.steps_at_once = 0;
            }
            self.handle(event);
        }
        self.steps_at_once += 1;
        let last = &self.trace[self.trace.len().saturating_sub(10)..];
        assert!(self.steps_at_once < MOST_AT_ONCE, "time stands still at {next:?}: {last:?}");
        self.obey();
        true
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Planner, Time, &mut Vec<Action>) -> T) -> T {
        self.tally.calls += 1;
        call(&mut self.planner, self.now, &mut self.actions)
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.schedule_at(self.now + after, event);
    }

    fn schedule_at(&mut self, at: Time, event: Event) {
        self.events.push(Reverse((at, self.sequence, event)));
        self.sequence += 1;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrive { wave, nth } => self.arrive(wave, nth),
            Event::Dialed(id) => self.dialed(id),
            Event::Silent(id) => self.silent(id),
            Event::Wake(id) => self.pull(id, Why::Woken),
            Event::Answered(id) => self.answered(id),
            Event::Gone(id) => self.end(id, &CloseReason::Quit),
            Event::Aborted(id) => self.end(id, &CloseReason::Aborted { stage: Stage::Idle }),
            Event::OutageBegins(server) => self.begin_outage(server as usize),
            Event::LimitMoves(server) => self.move_limit(server as usize),
            Event::Overdue(number) => self.witness.overdue(number as usize),
        }
    }

    /// The mails of a wave arrive that do so at this time, from the nth on.
    fn arrive(&mut self, index: u32, nth: u32) {
        let Wave { mails, every, .. } = self.waves[index as usize];
        for nth in nth..mails {
            self.arrive_one(index, nth);
            if every > Millis(0) && nth + 1 < mails {
                return self.schedule(every.into(), Event::Arrive { wave: index, nth: nth + 1 });
            }
            self.obey();
        }
    }

    fn arrive_one(&mut self, index: u32, nth: u32) {
        self.arriving -= 1;
        let wave = &self.waves[index as usize];
        let recipients = wave.recipients;
        let destination = wave.destination + nth % wave.spread.max(1);
        let new = NewJob {
            class: wave.class,
            tenant: self.setup.tenants[wave.tenant as usize].0,
            recipients,
            octets: wave.octets,
            expires: wave.lifetime.map(|lifetime| self.now + lifetime.into()),
            ..NewJob::new(self.destinations[destination as usize].id)
        };
        let in_doubt = self.setup.in_doubt;
        let ledger = self.mails.prepare(self.now, recipients as usize, in_doubt);
        let job = self.call(|planner, now, out| planner.submit(now, new, out));
        let number = self.mails.enter(job, new, ledger);
        if let (Some(expires), Detail::Full) = (new.expires, self.detail) {
            self.schedule_at(expires + witness::TICK, Event::Overdue(number as u32));
        }
    }

    fn close(&mut self, job: JobId, report: impl FnOnce(Ledger) -> Report) {
        self.mails.close(job, self.detail == Detail::Full, report);
    }

    fn obey(&mut self) {
        let mut actions = std::mem::take(&mut self.actions);
        while !actions.is_empty() {
            for action in actions.drain(..) {
                if self.crash_after == Some(0) {
                    self.crash_after = None;
                    self.crash();
                    break;
                }
                self.crash_after = self.crash_after.map(|left| left - 1);
                self.do_it(action);
            }
            // A restart has actions of its own; nothing else here calls the planner.
            std::mem::swap(&mut actions, &mut self.actions);
        }
        self.actions = actions;
    }

    fn do_it(&mut self, action: Action) {
        if self.detail == Detail::Full {
            self.trace.push((self.now, action));
        }
        match action {
            Action::Open { server, connection, pipelining, .. } => {
                self.count_open(server);
                self.open(server.index(), connection, pipelining);
            }
            Action::Wake { connection } => {
                self.tally.wakes += 1;
                if let Some(found) = self.connections.get_mut(connection) {
                    assert!(found.is_told_to_wait, "only who waits is woken");
                    found.is_woken = true;
                }
                self.schedule(Duration::ZERO, Event::Wake(connection));
            }
            Action::SetPipelining { connection, mode } => {
                if let Some(connection) = self.connections.get_mut(connection) {
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
                self.close(job, |ledger| ledger.give_up(now, cause, attempts, None));
            }
            Action::Record(record) => self.hear(record),
        }
    }

    fn count_open(&mut self, server: ServerId) {
        let index = self.servers[server.index()].destination;
        let destination = &mut self.destinations[index];
        destination.connections += 1;
        let most = destination.limits.max_connections.max(1);
        assert!(destination.connections <= most, "too many connections");
        self.tally.opened += 1;
        self.tally.most_connections = self.tally.most_connections.max(destination.connections);
        self.witness.opened(self.now, server, destination.id);
    }
}
