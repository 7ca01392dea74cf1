//! The planner alone, without sockets and clocks: `cargo bench -p benches --bench planner`.
//!
//! An element is a call of the planner, so *thrpt* is calls a second. It includes a model of
//! servers, which obeys the actions and decides what happens when.
//!
//! Targets, on one core: a million calls a second; a million mails to 100 000 destinations in five
//! seconds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use criterion::{
    BatchSize, Bencher, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use posthaste_scheduler::failure::{Charge, Closed};
use posthaste_scheduler::{
    Action, Again, Answer, AttemptResult, ConnectionId, DestinationId, DestinationLimits, Ending,
    JobId, NewJob, Place, Planner, PlannerConfig, Pull, Time,
};
use posthaste_session::Pipelining;

/// Between two mails that are submitted.
const GAP: Duration = Duration::from_micros(10);
const CONNECT: Duration = Duration::from_millis(50);
const TRANSACTION: Duration = Duration::from_millis(20);

/// Calls a mail that is submitted, pulled and delivered behind others.
const CALLS_IN_A_ROW: u64 = 3;

/// One mail after the other to one destination, with others queued before it.
fn one_destination(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one destination");
    group.throughput(Throughput::Elements(CALLS_IN_A_ROW));
    for queued in [1_000, 1_000_000] {
        let mut simulation = Simulation::new(1, Servers::Accept);
        (0..queued).for_each(|_| simulation.submit(0));
        group.bench_function(format!("{queued} queued"), |bencher| {
            bencher.iter(|| {
                simulation.submit(0);
                simulation.deliver_one();
            });
        });
    }
    group.finish();
}

/// A mail that is submitted and cancelled while a million others wait: little but timers.
fn cancel(criterion: &mut Criterion) {
    let mut simulation = Simulation::new(1, Servers::Accept);
    (0..1_000_000).for_each(|_| simulation.submit(0));
    let Simulation { planner, destinations, now, out, .. } = &mut simulation;
    let mut group = criterion.benchmark_group("submit, cancel");
    group.throughput(Throughput::Elements(2));
    group.bench_function("1000000 queued", |bencher| {
        bencher.iter(|| {
            let job = planner.submit(*now, NewJob::new(destinations[0]), out);
            out.clear();
            planner.cancel(*now, job, out)
        });
    });
    group.finish();
}

/// Everything from the first mail until the last connection is closed.
fn many_destinations(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("100000 destinations");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for (name, servers, mails) in [
        ("1000000 mails", Servers::Accept, 1_000_000),
        ("200000 mails, each deferred twice", Servers::Defer, 200_000),
    ] {
        let mut simulation = Simulation::new(100_000, servers);
        simulation.run(mails);
        group.throughput(Throughput::Elements(simulation.calls));
        group.bench_function(name, |bencher: &mut Bencher| {
            let simulation = || Simulation::new(100_000, servers);
            bencher.iter_batched_ref(simulation, |it| it.run(mails), BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// What all servers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Servers {
    Accept,
    /// They defer the mails of an attempt that is not their third.
    Defer,
}

/// A planner, and what happens around it.
struct Simulation {
    planner: Planner,
    destinations: Vec<DestinationId>,
    servers: Servers,
    now: Time,
    events: BinaryHeap<Reverse<(Time, Event)>>,
    /// By index.
    connections: Vec<Connection>,
    /// Attempts of each job, by index.
    attempts: Vec<u8>,
    out: Vec<Action>,
    calls: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ready(ConnectionId),
    Answered(ConnectionId, JobId),
    Closed(ConnectionId),
}

#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    busy: bool,
    quits: bool,
    /// The pipelining mode it is to try.
    tries: Option<Pipelining>,
}

impl Simulation {
    fn new(destinations: usize, servers: Servers) -> Self {
        let mut planner = Planner::new(PlannerConfig::default(), 1);
        let limits = DestinationLimits::default();
        let destinations =
            (0..destinations).map(|_| planner.add_destination(limits, &[Place::default()]));
        Self {
            destinations: destinations.collect(),
            planner,
            servers,
            now: Time::EPOCH,
            events: BinaryHeap::new(),
            connections: Vec::new(),
            attempts: Vec::new(),
            out: Vec::new(),
            calls: 0,
        }
    }

    /// Submits mails to all destinations in turn, and goes on until everything is at rest.
    fn run(&mut self, mails: usize) {
        for mail in 0..mails {
            let due = self.now + GAP;
            while self.next().is_some_and(|next| next <= due) {
                self.step();
            }
            self.now = due;
            self.submit(mail % self.destinations.len());
        }
        while self.next().is_some() {
            self.step();
        }
        assert_eq!((self.planner.jobs(), self.planner.connections()), (0, 0));
    }

    fn submit(&mut self, destination: usize) {
        let job = NewJob::new(self.destinations[destination]);
        let job = self.planner.submit(self.now, job, &mut self.out);
        *slot(&mut self.attempts, job.index()) = 0;
        self.calls += 1;
        self.obey();
    }

    /// Goes on until a mail is delivered.
    fn deliver_one(&mut self) {
        let jobs = self.planner.jobs();
        while self.planner.jobs() == jobs {
            self.step();
        }
    }

    fn next(&self) -> Option<Time> {
        let event = self.events.peek().map(|Reverse((at, _))| *at);
        event.into_iter().chain(self.planner.next_deadline()).min()
    }

    /// Lets the next thing happen.
    fn step(&mut self) {
        let deadline = self.planner.next_deadline().unwrap_or(Time::NEVER);
        match self.events.peek() {
            Some(&Reverse((at, event))) if at <= deadline => {
                self.events.pop();
                self.now = at;
                self.happens(event);
            }
            _ => {
                self.now = deadline;
                self.planner.advance(self.now, &mut self.out);
            }
        }
        self.calls += 1;
        self.obey();
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Ready(connection) => {
                self.planner.connection_ready(self.now, connection, &mut self.out);
                self.pull(connection);
            }
            Event::Answered(connection, job) => {
                let result = self.answer(job);
                self.planner.finished(self.now, connection, job, result, &mut self.out);
                let state = &mut self.connections[connection.index()];
                state.busy = false;
                if let Some(mode) = state.tries.take() {
                    self.calls += 1;
                    self.planner.pipelining_proven(self.now, connection, mode, &mut self.out);
                }
                if self.connections[connection.index()].quits {
                    self.later(CONNECT, Event::Closed(connection));
                } else {
                    self.pull(connection);
                }
            }
            Event::Closed(connection) => {
                let how = Ending::from(Closed::Unremarkable);
                self.planner.connection_closed(self.now, connection, how, &mut self.out);
            }
        }
    }

    fn answer(&mut self, job: JobId) -> AttemptResult {
        let attempts = &mut self.attempts[job.index()];
        *attempts += 1;
        if self.servers == Servers::Accept || *attempts > 2 {
            return AttemptResult::done(Answer::Accepted);
        }
        let again = Some(Again::at_once(Charge::Counted));
        AttemptResult { again, ..AttemptResult::done(Answer::Refused) }
    }

    fn pull(&mut self, connection: ConnectionId) {
        self.calls += 1;
        match self.planner.pull(self.now, connection, &mut self.out) {
            Pull::Job { job, .. } => {
                self.connections[connection.index()].busy = true;
                self.later(TRANSACTION, Event::Answered(connection, job));
            }
            Pull::Wait => {}
            Pull::Quit => self.quit(connection),
        }
    }

    fn obey(&mut self) {
        let mut actions = std::mem::take(&mut self.out);
        while !actions.is_empty() {
            for action in actions.drain(..) {
                match action {
                    Action::Open { connection, .. } => {
                        *slot(&mut self.connections, connection.index()) = Connection::default();
                        self.later(CONNECT, Event::Ready(connection));
                    }
                    Action::Wake { connection } => self.pull(connection),
                    Action::Quit { connection } => self.quit(connection),
                    Action::SetPipelining { connection, mode } => {
                        self.connections[connection.index()].tries = Some(mode);
                    }
                    Action::Record(_) => {}
                    Action::Abort { .. } | Action::GiveUp { .. } => unreachable!("{action:?}"),
                }
            }
            std::mem::swap(&mut actions, &mut self.out);
        }
        self.out = actions;
    }

    fn quit(&mut self, connection: ConnectionId) {
        let state = &mut self.connections[connection.index()];
        if !std::mem::replace(&mut state.quits, true) && !state.busy {
            self.later(CONNECT, Event::Closed(connection));
        }
    }

    fn later(&mut self, after: Duration, event: Event) {
        self.events.push(Reverse((self.now + after, event)));
    }
}

/// The element at an index; the table grows as needed.
fn slot<T: Default>(table: &mut Vec<T>, index: usize) -> &mut T {
    if index >= table.len() {
        table.resize_with(index + 1, T::default);
    }
    &mut table[index]
}

criterion_group!(benches, one_destination, cancel, many_destinations);
criterion_main!(benches);
