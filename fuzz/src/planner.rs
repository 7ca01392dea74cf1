//! The planner under any sequence of events that its driver could see.

use std::collections::BTreeMap;
use std::time::Duration;

use posthaste_scheduler::failure::{Charge, Closed, Lesson, Part, Weight};
use posthaste_scheduler::planner::{Place, Unit};
use posthaste_scheduler::{
    Action, Again, Answer, AttemptResult, Cancelled, Class, ConnectionId, DestinationId,
    DestinationLimits, Ending, JobId, LimitScope, NewJob, Planner, PlannerConfig, Pull, Question,
    Rate, ServerId, TenantId, Time,
};
use posthaste_session::Pipelining;
use posthaste_testkit::Dice;

/// Lets the input decide what happens to a planner, and then lets everything go well.
///
/// No connection more than allowed, no job in two places or twice at its end, no rate exceeded; and
/// in the end nothing is left (work conservation: nothing waits for nothing).
pub fn run(input: &[u8]) {
    let mut dice = Dice::from_octets(input);
    let mut world = World::new(&mut dice);
    for _ in 0..(input.len() / 2).min(MOST_EVENTS) {
        world.happen(&mut dice);
        world.check(dice.below(MOST_JOBS));
    }
    world.end_well();
}

/// More than a fuzzer's input decides.
const MOST_EVENTS: usize = 2048;

/// Jobs at a time; with more, nothing else happens than with these.
const MOST_JOBS: usize = 64;

struct World {
    planner: Planner,
    now: Time,
    destinations: Vec<DestinationId>,
    /// Most connections, by destination.
    most: Vec<u32>,
    servers: Vec<(ServerId, DestinationId)>,
    tenants: Vec<TenantId>,
    jobs: BTreeMap<JobId, State>,
    connections: BTreeMap<ConnectionId, Connection>,
    rates: Vec<Account>,
    out: Vec<Action>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waits(NewJob),
    Goes(NewJob, ConnectionId),
}

struct Connection {
    server: usize,
    is_ready: bool,
    is_waiting: bool,
    is_quitting: bool,
    jobs: Vec<JobId>,
}

/// A rate, and what was admitted.
struct Account {
    scope: LimitScope,
    rate: Rate,
    admitted: Vec<(Time, u64)>,
}

impl World {
    fn new(dice: &mut Dice) -> Self {
        let mut planner = Planner::new(PlannerConfig::default(), dice.below(256) as u64);
        let (mut destinations, mut most, mut servers) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..dice.within(1..=2) {
            let place = |dice: &mut Dice| Place {
                preference: dice.below(2) as u16,
                weight: dice.within(1..=3) as u16,
            };
            let places: Vec<_> = (0..dice.within(1..=2)).map(|_| place(dice)).collect();
            let limits = DestinationLimits {
                max_connections: dice.within(1..=4) as u32,
                max_mails_per_connection: dice.percent(30).then(|| dice.within(1..=5) as u32),
                ..DestinationLimits::default()
            };
            let id = planner.add_destination(limits, &places);
            servers.extend(planner.servers_of(id).map(|server| (server, id)));
            destinations.push(id);
            most.push(limits.max_connections);
        }
        let mut tenants = vec![TenantId::DEFAULT];
        tenants.extend((0..dice.below(3)).map(|_| planner.add_tenant(dice.within(1..=3) as u16)));
        let mut rates = Vec::new();
        for _ in 0..dice.below(3) {
            let scope = match dice.below(4) {
                0 => LimitScope::All,
                1 => LimitScope::Destination(dice.pick(&destinations)),
                2 => LimitScope::Server(dice.pick(&servers).0),
                _ => LimitScope::Tenant(dice.pick(&tenants)),
            };
            let units = [Unit::Mails, Unit::Recipients, Unit::Octets, Unit::Connections];
            let unit = dice.pick(&units);
            let per = dice.millis(1..=5000);
            let rate = Rate { unit, count: dice.within(1..=20) as u64, per };
            planner.add_limit(scope, rate);
            rates.push(Account { scope, rate, admitted: Vec::new() });
        }
        Self {
            planner,
            now: Time::EPOCH,
            destinations,
            most,
            servers,
            tenants,
            jobs: BTreeMap::new(),
            connections: BTreeMap::new(),
            rates,
            out: Vec::new(),
        }
    }

    fn happen(&mut self, dice: &mut Dice) {
        match dice.below(16) {
            0..=3 => self.submit(dice),
            4 | 5 => self.pass(dice),
            6 | 7 => self.make_ready(dice),
            8 | 9 => self.pull_one(dice),
            10..=12 => self.finish_one(dice),
            13 => self.close_one(dice),
            14 => self.cancel_one(dice),
            _ => self.do_something_rare(dice),
        }
        self.obey();
    }

    fn submit(&mut self, dice: &mut Dice) {
        if self.jobs.len() >= MOST_JOBS {
            return;
        }
        let new = NewJob {
            class: dice.pick(&[Class::Interactive, Class::Normal, Class::Bulk]),
            tenant: dice.pick(&self.tenants),
            recipients: dice.within(1..=5) as u32,
            octets: dice.within(1..=20) as u64,
            expires: dice.percent(20).then(|| self.now + dice.millis(0..=60_000)),
            ..NewJob::new(dice.pick(&self.destinations))
        };
        let job = self.planner.submit(self.now, new, &mut self.out);
        let old = self.jobs.insert(job, State::Waits(new));
        assert!(old.is_none(), "{job:?} is another job's name");
    }

    /// Time passes, to the next deadline or as long as it takes.
    fn pass(&mut self, dice: &mut Dice) {
        let next = self.now + dice.millis(0..=40_000);
        let deadline = self.planner.next_deadline().unwrap_or(next);
        // Early, in time, or late.
        self.now = if dice.percent(70) { deadline.max(self.now).min(next) } else { next };
        self.planner.advance(self.now, &mut self.out);
        assert!(self.planner.next_deadline().is_none_or(|at| at > self.now), "a timer is left");
    }

    fn find(&self, dice: &mut Dice, which: impl Fn(&Connection) -> bool) -> Option<ConnectionId> {
        let found = self.connections.iter().filter(|(_, it)| which(it));
        let ids: Vec<_> = found.map(|(id, _)| *id).collect();
        (!ids.is_empty()).then(|| dice.pick(&ids))
    }

    fn make_ready(&mut self, dice: &mut Dice) {
        if let Some(id) = self.find(dice, |it| !it.is_ready && !it.is_quitting) {
            self.ready(id);
        }
    }

    fn ready(&mut self, id: ConnectionId) {
        if let Some(found) = self.connections.get_mut(&id) {
            found.is_ready = true;
            self.planner.connection_ready(self.now, id, &mut self.out);
            self.pull(id);
        }
    }

    fn pull_one(&mut self, dice: &mut Dice) {
        let room = |it: &Connection| it.is_ready && !it.is_quitting && it.jobs.len() < 2;
        if let Some(id) = self.find(dice, room) {
            self.pull(id);
        }
    }

    fn pull(&mut self, id: ConnectionId) {
        let pull = self.planner.pull(self.now, id, &mut self.out);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.is_waiting = false;
        match pull {
            Pull::Job { job, recipients } => {
                let Some(State::Waits(new)) = self.jobs.get(&job).copied() else {
                    panic!("{job:?} goes twice, or after its end");
                };
                assert!(recipients > 0, "an attempt has somebody to go to");
                connection.jobs.push(job);
                self.jobs.insert(job, State::Goes(new, id));
                let (server, _) = self.servers[connection.server];
                let sent = u64::from(recipients.min(new.recipients));
                for rate in &mut self.rates {
                    rate.mail(self.now, server, &new, sent);
                }
            }
            Pull::Wait => connection.is_waiting = true,
            Pull::Quit => connection.is_quitting = true,
        }
    }

    fn finish_one(&mut self, dice: &mut Dice) {
        if let Some(id) = self.find(dice, |it| !it.jobs.is_empty()) {
            let result = result(dice);
            self.finish(id, result);
        }
    }

    /// The first mail of a connection is done with.
    fn finish(&mut self, id: ConnectionId, result: AttemptResult) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let job = connection.jobs.remove(0);
        let Some(State::Goes(new, _)) = self.jobs.remove(&job) else { panic!("{job:?} is lost") };
        if result.again.is_some() {
            let left = result.recipients.clamp(1, new.recipients);
            self.jobs.insert(job, State::Waits(NewJob { recipients: left, ..new }));
            let result = AttemptResult { recipients: left, ..result };
            self.planner.finished(self.now, id, job, result, &mut self.out);
        } else {
            self.planner.finished(self.now, id, job, result, &mut self.out);
        }
    }

    fn close_one(&mut self, dice: &mut Dice) {
        let Some(id) = self.find(dice, |_| true) else { return };
        // Seldom one forgets to say what became of its mails.
        if !dice.percent(5) {
            while self.connections.get(&id).is_some_and(|it| !it.jobs.is_empty()) {
                let charge = dice.pick(&[Charge::Unsent, Charge::Interrupted(Part::Envelope)]);
                let again = Some(Again::at_once(charge));
                let recipients = u32::MAX;
                self.finish(id, AttemptResult { again, recipients, ..nothing() });
            }
        }
        self.close(id, ending(dice));
    }

    fn close(&mut self, id: ConnectionId, ending: Ending) {
        // What it has is given up by an action.
        self.connections.remove(&id);
        self.planner.connection_closed(self.now, id, ending, &mut self.out);
    }

    fn cancel_one(&mut self, dice: &mut Dice) {
        let jobs: Vec<_> = self.jobs.keys().copied().collect();
        if jobs.is_empty() {
            return;
        }
        let job = dice.pick(&jobs);
        match (self.planner.cancel(self.now, job, &mut self.out), self.jobs.get(&job)) {
            (Cancelled::Removed, Some(State::Waits(_))) => {
                self.jobs.remove(&job);
            }
            (Cancelled::InFlight(id), Some(State::Goes(_, goes))) => assert_eq!(id, *goes),
            (cancelled, _) => panic!("{cancelled:?}"),
        }
    }

    fn do_something_rare(&mut self, dice: &mut Dice) {
        let (server, _) = dice.pick(&self.servers);
        let (now, out) = (self.now, &mut self.out);
        match dice.below(32) {
            0 => self.planner.drain(now, now + dice.millis(0..=10_000), out),
            1..=4 => self.planner.forget(now, server, out),
            kind => {
                let Some(id) = self.find(dice, |it| it.is_ready) else { return };
                let mode = dice.pick(&[Pipelining::Off, Pipelining::Envelope, Pipelining::Cross]);
                let out = &mut self.out;
                match kind {
                    5..=14 => self.planner.pipelining_proven(now, id, mode, out),
                    15..=24 => self.planner.pipelining_lowered(now, id, mode, out),
                    _ => self.planner.bdat_refused(now, id),
                }
            }
        }
    }

    fn obey(&mut self) {
        let mut at = 0;
        while let Some(&action) = self.out.get(at) {
            at += 1;
            match action {
                Action::Open { server, connection, .. } => self.open(server, connection),
                Action::Wake { connection } => {
                    let found = self.connections.get(&connection);
                    assert!(found.is_none_or(|it| it.is_waiting), "only who waits is woken");
                    if found.is_some() {
                        self.pull(connection);
                    }
                }
                Action::Quit { connection } | Action::Abort { connection } => {
                    if let Some(found) = self.connections.get_mut(&connection) {
                        found.is_quitting = true;
                    }
                }
                Action::GiveUp { job, .. } => {
                    let was = self.jobs.remove(&job);
                    assert!(was.is_some(), "{job:?} ends twice");
                    for connection in self.connections.values_mut() {
                        connection.jobs.retain(|goes| *goes != job);
                    }
                }
                Action::SetPipelining { .. } | Action::Record(_) => {}
            }
        }
        self.out.clear();
    }

    fn open(&mut self, server: ServerId, id: ConnectionId) {
        let connection = Connection {
            server: server.index(),
            is_ready: false,
            is_waiting: false,
            is_quitting: false,
            jobs: Vec::new(),
        };
        let old = self.connections.insert(id, connection);
        assert!(old.is_none(), "{id:?} is another connection's name");
        let (_, destination) = self.servers[server.index()];
        let to_it = |it: &&Connection| self.servers[it.server].1 == destination;
        let open = self.connections.values().filter(to_it).count();
        assert!(open <= self.most[destination.index()] as usize, "too many connections");
        for rate in &mut self.rates {
            rate.connection(self.now, server, destination);
        }
    }

    /// Whatever waits has a reason to; one of them is asked.
    fn check(&self, which: usize) {
        let waits = |(_, state): &(_, &State)| matches!(state, State::Waits(_));
        if let Some((job, _)) = self.jobs.iter().filter(waits).nth(which) {
            let why = self.planner.explain(self.now, Question::Job(*job));
            assert!(!why.reasons.is_empty(), "{job:?} waits for nothing");
        }
    }

    /// From now on servers are there and take everything. Whatever was learned before, each mail
    /// gets its turn.
    fn end_well(&mut self) {
        for _ in 0..MOST_ROUNDS {
            if !self.go_well() {
                let Some(next) = self.planner.next_deadline() else { break };
                self.now = self.now.max(next);
                self.planner.advance(self.now, &mut self.out);
            }
            self.obey();
        }
        assert!(self.jobs.is_empty(), "{:?} wait for nothing", self.jobs.keys());
        assert!(self.connections.is_empty(), "{:?} stay", self.connections.keys());
        assert_eq!((self.planner.jobs(), self.planner.connections()), (0, 0));
    }

    /// The first connection that has something to do does it; whether there is one.
    fn go_well(&mut self) -> bool {
        let has_to_do = |it: &&Connection| {
            !it.jobs.is_empty() || it.is_quitting || !it.is_ready || !it.is_waiting
        };
        let found = self.connections.iter().find(|(_, it)| has_to_do(it));
        let Some((&id, found)) = found else { return false };
        let (has_jobs, is_quitting) = (!found.jobs.is_empty(), found.is_quitting);
        let is_ready = found.is_ready;
        if has_jobs {
            self.finish(id, AttemptResult { answer: Answer::Accepted, ..nothing() });
        } else if is_quitting {
            self.close(id, Ending::from(Closed::Unremarkable));
        } else if is_ready {
            self.pull(id);
        } else {
            self.ready(id);
        }
        true
    }
}

/// Some jobs, each a few attempts and connections.
const MOST_ROUNDS: usize = 100_000;

const LESSONS: [Lesson; 10] = [
    Lesson::Nothing,
    Lesson::Nothing,
    Lesson::Nothing,
    Lesson::Nothing,
    Lesson::Overloaded,
    Lesson::Slowed,
    Lesson::RecipientCap,
    Lesson::PerhapsSessionCap,
    Lesson::SessionCap,
    Lesson::Ceiling,
];

fn nothing() -> AttemptResult {
    AttemptResult::done(Answer::Nothing)
}

fn result(dice: &mut Dice) -> AttemptResult {
    let answers = [
        Answer::Accepted,
        Answer::Accepted,
        Answer::Accepted,
        Answer::Nothing,
        Answer::Deferred,
        Answer::Refused,
        Answer::Throttled,
        Answer::Exhausted,
    ];
    let charges = [
        Charge::Unsent,
        Charge::Split,
        Charge::Interrupted(Part::Envelope),
        Charge::Interrupted(Part::Content),
        Charge::Throttled,
        Charge::Counted,
    ];
    let wait = |dice: &mut Dice| match dice.percent(20) {
        true => dice.millis(0..=400_000),
        false => Duration::ZERO,
    };
    let again = dice.percent(50).then(|| Again {
        charge: dice.pick(&charges),
        wait: wait(dice),
        asked: wait(dice),
        same_server: dice.percent(20),
    });
    AttemptResult {
        again,
        answer: dice.pick(&answers),
        recipients: dice.within(1..=5) as u32,
        recipient_cap: dice.percent(10).then(|| dice.within(1..=5) as u32),
        pause: wait(dice),
        lesson: dice.pick(&LESSONS),
    }
}

fn ending(dice: &mut Dice) -> Ending {
    let how = dice.pick(&[
        Closed::Unremarkable,
        Closed::Objected,
        Closed::Shutdown,
        Closed::Throttled,
        Closed::Broken,
        Closed::Absent(Weight::Single),
        Closed::Absent(Weight::Double),
        Closed::Failure(Weight::Single),
        Closed::Failure(Weight::Double),
        Closed::Violation,
        Closed::TooManyConnections,
        Closed::Unwelcome,
        Closed::Credentials,
        Closed::Requirement,
        Closed::Local,
    ]);
    let pause = if dice.percent(10) { dice.millis(0..=600_000) } else { Duration::ZERO };
    Ending { how, pause, lesson: dice.pick(&LESSONS) }
}

impl Account {
    fn mail(&mut self, now: Time, server: ServerId, new: &NewJob, recipients: u64) {
        let is_about = match self.scope {
            LimitScope::All => true,
            LimitScope::Destination(id) => id == new.destination,
            LimitScope::Server(id) => id == server,
            LimitScope::Tenant(id) => id == new.tenant,
        };
        let amount = match self.rate.unit {
            Unit::Mails => 1,
            Unit::Recipients => recipients,
            Unit::Octets => new.octets,
            Unit::Connections => return,
        };
        if is_about {
            self.admit(now, amount);
        }
    }

    fn connection(&mut self, now: Time, server: ServerId, destination: DestinationId) {
        let is_about = match self.scope {
            LimitScope::All => true,
            LimitScope::Destination(id) => id == destination,
            LimitScope::Server(id) => id == server,
            LimitScope::Tenant(_) => false,
        };
        if is_about && self.rate.unit == Unit::Connections {
            self.admit(now, 1);
        }
    }

    fn admit(&mut self, now: Time, amount: u64) {
        self.admitted.retain(|(then, _)| *then + self.rate.per > now);
        let before: u64 = self.admitted.iter().map(|(_, amount)| amount).sum();
        // What is more than there is left is paid for later.
        let fits = before < self.rate.count;
        assert!(fits, "{amount} on top of {before} of {:?}", self.rate);
        self.admitted.push((now, amount));
    }
}
