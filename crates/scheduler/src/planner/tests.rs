//! Any calls in any order, also those that no engine would make: the books stay whole.

use std::collections::BTreeSet;
use std::time::Duration;

use super::connection::Phase;
use super::job::State;
use super::server::Census;
use super::*;
use crate::failure::{Charge, Closed, Part, Weight};

/// What a planner was told and asked for.
struct Engine {
    now: Time,
    planner: Planner,
    rng: Rng,
    out: Vec<Action>,
    /// Never forgotten, so that calls come for what is gone as well.
    connections: Vec<ConnectionId>,
    jobs: Vec<JobId>,
    /// Jobs that are not done with.
    open: BTreeSet<JobId>,
    in_flight: Vec<(ConnectionId, JobId)>,
}

impl Engine {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let config = PlannerConfig {
            lifetime: Duration::from_secs(rng.u64(1..100)),
            exhausted: if rng.bool() { Exhausted::Wait } else { Exhausted::Fail },
            credentials: if rng.bool() { Fault::Fail } else { Fault::Hold },
            greeting: if rng.bool() { Fault::Fail } else { Fault::Hold },
            ..PlannerConfig::default()
        };
        let mut planner = Planner::new(config, seed);
        for _ in 0..2 {
            planner.add_server(ServerLimits {
                max_connections: rng.u32(0..6),
                max_mails_per_connection: rng.bool().then(|| rng.u32(0..4)),
                idle: Duration::from_secs(rng.u64(0..10)),
                ..ServerLimits::default()
            });
        }
        Self {
            now: Time::EPOCH,
            planner,
            rng,
            out: Vec::new(),
            connections: Vec::new(),
            jobs: Vec::new(),
            open: BTreeSet::new(),
            in_flight: Vec::new(),
        }
    }

    fn step(&mut self) {
        let connection = self.rng.choice(self.connections.clone());
        let (now, out) = (self.now, &mut self.out);
        match (self.rng.u8(..20), connection) {
            (0..4, _) => {
                let server = ServerId(self.rng.u32(..2));
                let expires =
                    self.rng.bool().then(|| now + Duration::from_secs(self.rng.u64(..60)));
                let job = NewJob { server, expires };
                let job = self.planner.submit(now, job, out);
                self.jobs.push(job);
                self.open.insert(job);
            }
            (4..6, _) => {
                self.now = now + Duration::from_millis(self.rng.u64(..5000));
                self.planner.advance(self.now, out);
                assert!(self.planner.next_deadline().is_none_or(|at| at > self.now));
            }
            (6..11, Some(connection)) => self.pull(connection),
            (11..14, Some(connection)) => self.planner.connection_ready(now, connection, out),
            (14..16, _) => self.finish(),
            (16, Some(connection)) => self.close(connection),
            (17, Some(connection)) => {
                let modes = [Pipelining::Off, Pipelining::Envelope, Pipelining::Cross];
                let mode = modes[self.rng.usize(..3)];
                if self.rng.bool() {
                    self.planner.pipelining_proven(now, connection, mode, out);
                } else {
                    self.planner.pipelining_lowered(now, connection, mode, out);
                }
            }
            (18, _) => {
                let Some(job) = self.rng.choice(self.jobs.clone()) else { return };
                if self.planner.cancel(now, job, out) == Cancelled::Removed {
                    assert!(self.open.remove(&job));
                }
            }
            (19, _) if self.rng.u8(..100) == 0 => {
                self.planner.drain(now, now + Duration::from_secs(5), out);
            }
            _ => {}
        }
        self.obey();
        self.planner.check();
    }

    fn pull(&mut self, connection: ConnectionId) {
        if let Pull::Job(job) = self.planner.pull(self.now, connection, &mut self.out) {
            assert!(self.open.contains(&job), "a job that is done with is not sent");
            assert!(self.in_flight.iter().all(|(_, other)| *other != job), "sent twice");
            self.in_flight.push((connection, job));
        }
    }

    fn finish(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let (connection, job) = self.in_flight.swap_remove(self.rng.usize(..self.in_flight.len()));
        let charges = [
            Charge::Unsent,
            Charge::Split,
            Charge::Interrupted(Part::Envelope),
            Charge::Interrupted(Part::Content),
            Charge::Throttled,
            Charge::Counted,
        ];
        let charge = charges[self.rng.usize(..charges.len())];
        let wait = Duration::from_secs(self.rng.u64(..10));
        let again = Again { charge, wait, asked: Duration::from_secs(self.rng.u64(..1000)) };
        let answers = [
            Answer::Nothing,
            Answer::Deferred,
            Answer::Refused,
            Answer::Throttled,
            Answer::Exhausted,
            Answer::Accepted,
        ];
        let result = AttemptResult {
            again: self.rng.bool().then_some(again),
            answer: answers[self.rng.usize(..answers.len())],
        };
        self.planner.finished(self.now, connection, job, result, &mut self.out);
        if result.again.is_none() {
            assert!(self.open.remove(&job));
        }
    }

    fn close(&mut self, connection: ConnectionId) {
        let ends = [
            Closed::Unremarkable,
            Closed::Objected,
            Closed::Shutdown,
            Closed::Throttled,
            Closed::Broken,
            Closed::Failure(Weight::Single),
            Closed::Failure(Weight::Double),
            Closed::Violation,
            Closed::TooManyConnections,
            Closed::Unwelcome,
            Closed::Credentials,
            Closed::Requirement,
            Closed::Local,
        ];
        let how = ends[self.rng.usize(..ends.len())];
        self.planner.connection_closed(self.now, connection, how, &mut self.out);
        self.in_flight.retain(|(other, _)| *other != connection);
    }

    fn obey(&mut self) {
        for action in std::mem::take(&mut self.out) {
            match action {
                Action::Open { connection, .. } => self.connections.push(connection),
                Action::GiveUp { job, .. } => {
                    assert!(self.open.remove(&job), "a job ends once");
                    self.in_flight.retain(|(_, other)| *other != job);
                }
                Action::Wake { .. }
                | Action::SetPipelining { .. }
                | Action::Quit { .. }
                | Action::Abort { .. }
                | Action::Record(_) => {}
            }
        }
        assert_eq!(self.open.len(), self.planner.jobs(), "no job is lost");
    }
}

impl Planner {
    /// Counts everything again.
    fn check(&self) {
        for (index, server) in self.servers.iter().enumerate() {
            let connections =
                || self.connections.iter().filter(move |(_, it)| it.server.index() == index);
            let count = |phase| {
                let found = connections().filter(|(_, it)| it.phase == phase).count();
                u32::try_from(found).unwrap()
            };
            let census = Census {
                open: u32::try_from(connections().count()).unwrap(),
                connecting: count(Phase::Connecting),
                closing: count(Phase::Closing),
                coming: count(Phase::Coming),
            };
            assert_eq!(server.connections, census);
            assert_eq!(server.waiting.len(), count(Phase::Waiting));
            assert!(census.open <= server.limits.max_connections);

            let jobs = self.jobs.iter().filter(|(_, job)| job.server.index() == index);
            let ready = jobs.filter(|(_, job)| job.state == State::Ready).count();
            assert_eq!(server.ready.len() as usize, ready);
            // A job that can be sent has somebody who will ask for it, or a time to look again.
            let waits_idly =
                |it: &Connection| it.phase == Phase::Waiting && it.in_flight.is_empty();
            let somebody = connections().any(|(_, it)| !waits_idly(it)) || server.timer.is_armed();
            assert!(ready == 0 || somebody, "jobs are stuck: {server:#?}");
        }
        for (key, connection) in self.connections.iter() {
            let here = |state| state == State::InFlight(ConnectionId(key));
            let in_flight = self.jobs.iter().filter(|(_, job)| here(job.state)).count();
            assert_eq!(connection.in_flight.len() as usize, in_flight);
        }
    }
}

/// SCHED-11: no job is lost or done with twice, no bound is broken, nothing is stuck.
#[test]
fn any_calls_in_any_order_leave_the_books_whole() {
    for seed in 0..300 {
        let mut engine = Engine::new(seed);
        for _ in 0..400 {
            engine.step();
        }
        for index in 0..engine.connections.len() {
            engine.close(engine.connections[index]);
            engine.obey();
        }
        engine.planner.drain(engine.now, engine.now, &mut engine.out);
        engine.obey();
        assert!(engine.open.is_empty(), "seed {seed}: {:?}", engine.open);
    }
}

/// A connection that became ready while its server was throttled is woken when that is over.
#[test]
fn jobs_are_not_stuck_behind_a_throttled_server() {
    let (mut planner, mut out) = (Planner::new(PlannerConfig::default(), 1), Vec::new());
    let server = planner.add_server(ServerLimits::default());
    let now = Time::EPOCH;
    let job = NewJob { server, expires: None };
    let jobs = [(); 3].map(|()| planner.submit(now, job, &mut out));
    let opened = |out: &mut Vec<Action>| {
        let connection = |action| match action {
            Action::Open { connection, .. } => Some(connection),
            _ => None,
        };
        out.drain(..).find_map(connection).unwrap()
    };
    let first = opened(&mut out);
    planner.connection_ready(now, first, &mut out);
    let second = opened(&mut out);
    let Pull::Job(throttled) = planner.pull(now, first, &mut out) else { panic!("there are jobs") };
    planner.connection_ready(now, second, &mut out);
    for job in jobs.into_iter().filter(|job| *job != throttled) {
        let _ = planner.cancel(now, job, &mut out);
    }
    let (wait, asked) = (Duration::ZERO, Duration::ZERO);
    let again = Again { charge: Charge::Throttled, wait, asked };
    let result = AttemptResult { again: Some(again), answer: Answer::Refused };
    planner.finished(now, first, throttled, result, &mut out);
    assert_eq!(planner.next_deadline(), Some(Time::EPOCH + PlannerConfig::default().lifetime));
    assert_eq!(planner.pull(now, second, &mut out), Pull::Wait);

    out.clear();
    let until = planner.next_deadline().unwrap();
    assert!(until < now + Duration::from_secs(2));
    planner.advance(until, &mut out);
    assert_eq!(out, [Action::Wake { connection: second }]);
}

/// CHUNK-17, Q23: a server that does not know BDAT is not asked for it again, for a day.
#[test]
fn a_server_that_knows_no_bdat_is_remembered() {
    let (mut planner, mut out) = (Planner::new(PlannerConfig::default(), 1), Vec::new());
    let server = planner.add_server(ServerLimits { max_connections: 1, ..ServerLimits::default() });
    let opened = |out: &mut Vec<Action>| {
        let connection = |action| match action {
            Action::Open { connection, bdat, .. } => Some((connection, bdat)),
            _ => None,
        };
        out.drain(..).find_map(connection).unwrap()
    };
    let mut open_at = |now: Time, is_refused: bool| {
        let job = planner.submit(now, NewJob { server, expires: None }, &mut out);
        let (connection, bdat) = opened(&mut out);
        planner.connection_ready(now, connection, &mut out);
        if is_refused {
            planner.bdat_refused(now, connection);
        }
        let _ = planner.cancel(now, job, &mut out);
        planner.connection_closed(now, connection, Closed::Unremarkable, &mut out);
        bdat
    };
    let memory = PlannerConfig::default().pipelining_memory;
    assert_eq!(open_at(Time::EPOCH, true), Bdat::AsConfigured);
    assert_eq!(open_at(Time::EPOCH, false), Bdat::Never);
    assert_eq!(open_at(Time::EPOCH + memory, false), Bdat::AsConfigured);
}

/// Q65: a connection that has had its share of mails is replaced, at no cost to the mail that was
/// one too many; a server that says so of the first mail already is throttled.
#[test]
fn exhausted_connections_are_replaced() {
    let (mut planner, mut out) = (Planner::new(PlannerConfig::default(), 1), Vec::new());
    let server = planner.add_server(ServerLimits { max_connections: 1, ..ServerLimits::default() });
    let now = Time::EPOCH;
    for _ in 0..2 {
        planner.submit(now, NewJob { server, expires: None }, &mut out);
    }
    let opened = |out: &mut Vec<Action>| {
        let connection = |action| match action {
            Action::Open { connection, .. } => Some(connection),
            _ => None,
        };
        out.drain(..).find_map(connection).unwrap()
    };
    let (wait, asked) = (Duration::ZERO, Duration::ZERO);
    let charge = Charge::Interrupted(Part::Envelope);
    let exhausted =
        AttemptResult { again: Some(Again { charge, wait, asked }), answer: Answer::Exhausted };
    let accepted = AttemptResult { again: None, answer: Answer::Accepted };

    let first = opened(&mut out);
    planner.connection_ready(now, first, &mut out);
    let Pull::Job(job) = planner.pull(now, first, &mut out) else { panic!("there are jobs") };
    planner.finished(now, first, job, accepted, &mut out);
    let Pull::Job(job) = planner.pull(now, first, &mut out) else { panic!("there is a job") };
    planner.finished(now, first, job, exhausted, &mut out);
    assert!(out.contains(&Action::Quit { connection: first }));
    assert_eq!(planner.pull(now, first, &mut out), Pull::Quit);
    planner.connection_closed(now, first, Closed::Unremarkable, &mut out);

    let second = opened(&mut out);
    planner.connection_ready(now, second, &mut out);
    assert_eq!(planner.pull(now, second, &mut out), Pull::Job(job), "at once");
    planner.finished(now, second, job, exhausted, &mut out);
    planner.connection_closed(now, second, Closed::Unremarkable, &mut out);
    assert!(planner.status(server).opens_at > now, "it would say the same");
}
