//! Any calls in any order, also those that no engine would make: the books stay whole.

use std::collections::BTreeSet;
use std::time::Duration;

use posthaste_session::Pipelining;

use super::super::connection::Phase;
use super::super::job::State;
use super::super::*;
use crate::failure::{Charge, Closed, Lesson, Part, Weight};

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
            let limits = DestinationLimits {
                max_connections: rng.u32(0..6),
                max_mails_per_connection: rng.bool().then(|| rng.u32(0..4)),
                idle: Duration::from_secs(rng.u64(0..10)),
                ..DestinationLimits::default()
            };
            let mut place = || Place { preference: rng.u16(..2), weight: rng.u16(..4) };
            let places: Vec<_> = (0..seed % 4).map(|_| place()).collect();
            planner.add_destination(limits, &places);
        }
        planner.add_tenant(rng.u16(..3));
        let scopes = [
            LimitScope::All,
            LimitScope::Destination(DestinationId(0)),
            LimitScope::Server(ServerId(0)),
            LimitScope::Tenant(TenantId(1)),
        ];
        let units = [Unit::Mails, Unit::Recipients, Unit::Octets, Unit::Connections];
        for scope in scopes {
            if rng.bool() {
                let (unit, count) = (units[rng.usize(..4)], rng.u64(..10));
                planner.add_limit(scope, Rate { unit, count, per: Duration::from_secs(1) });
            }
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
                let destination = DestinationId(self.rng.u32(..2));
                let expires =
                    self.rng.bool().then(|| now + Duration::from_secs(self.rng.u64(..60)));
                let job = NewJob {
                    class: Class::ALL[self.rng.usize(..3)],
                    tenant: TenantId(self.rng.u32(..2)),
                    recipients: self.rng.u32(..4),
                    octets: self.rng.u64(..4),
                    expires,
                    ..NewJob::new(destination)
                };
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
        self.planner.check_work(self.now);
    }

    fn pull(&mut self, connection: ConnectionId) {
        if let Pull::Job { job, .. } = self.planner.pull(self.now, connection, &mut self.out) {
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
        let asked = Duration::from_secs(self.rng.u64(..1000));
        let again = Again { charge, wait, asked, same_server: self.rng.bool() };
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
            recipients: 1,
            recipient_cap: self.rng.bool().then_some(2),
            pause: Duration::from_secs(self.rng.u64(..3)),
            lesson: LESSONS[self.rng.usize(..LESSONS.len())],
            ..AttemptResult::done(answers[self.rng.usize(..answers.len())])
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
        let ending = Ending {
            lesson: LESSONS[self.rng.usize(..LESSONS.len())],
            ..ends[self.rng.usize(..ends.len())].into()
        };
        self.planner.connection_closed(self.now, connection, ending, &mut self.out);
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

const LESSONS: [Lesson; 7] = [
    Lesson::Nothing,
    Lesson::Overloaded,
    Lesson::Slowed,
    Lesson::RecipientCap,
    Lesson::PerhapsSessionCap,
    Lesson::SessionCap,
    Lesson::Ceiling,
];

impl Planner {
    /// Counts everything again.
    fn check(&self) {
        for id in self.servers() {
            let server = self.server(id);
            let census = self.count_again(|it| it.server == id);
            assert_eq!(server.connections, census);
            let waiting = self.connections.iter().filter(|(_, it)| it.server == id);
            let waiting = waiting.filter(|(_, it)| it.phase == Phase::Waiting).count();
            assert_eq!(server.waiting.len() as usize, waiting);
            let here = |job: &Job| match job.state {
                State::InFlight(connection) => self.connections.get(connection.0),
                State::Ready | State::Apart | State::Waits(_) => None,
            };
            let in_flight = self.jobs.iter().filter_map(|(_, job)| here(job));
            let in_flight = in_flight.filter(|connection| connection.server == id).count();
            assert_eq!(server.in_flight as usize, in_flight);
        }
        for id in self.destinations() {
            let destination = self.destination(id);
            let census = self.count_again(|it| it.destination == id);
            assert_eq!(destination.connections, census);
            assert!(census.open <= destination.limits.max_connections);

            let jobs = self.jobs.iter().filter(|(_, job)| job.destination == id);
            let ready = jobs.filter(|(_, job)| job.state == State::Ready).count();
            assert_eq!(self.backlog(id) as usize, ready);
            let flows = self.flows.iter().filter(|(_, flow)| flow.name.destination == id);
            let waits = |flow: &Flow| flow.waits.is_for_limit();
            let runnable =
                flows.filter(|(_, flow)| !waits(flow)).map(|(_, flow)| match flow.is_limited {
                    true => flow.len().min(1),
                    false => flow.len(),
                });
            assert_eq!(self.runnable(id), runnable.sum::<u32>());
            // A job that can be sent has somebody who will ask for it, or a time to look again.
            let waits_idly =
                |it: &Connection| it.phase == Phase::Waiting && it.in_flight.is_empty();
            let mut connections = self.connections.iter().filter(|(_, it)| it.destination == id);
            let somebody = connections.any(|(_, it)| !waits_idly(it));
            let some_time = destination.timer.is_armed()
                || destination.waits.is_for_limit()
                || destination.opening_waits.is_some();
            assert!(
                self.runnable(id) == 0 || somebody || some_time,
                "jobs are stuck: {destination:#?}"
            );
        }
        for limit in &self.limits {
            assert_eq!(limit.waiters.is_empty(), !limit.timer.is_armed(), "{limit:?}");
        }
        for (key, connection) in self.connections.iter() {
            let here = |state| state == State::InFlight(ConnectionId(key));
            let in_flight = self.jobs.iter().filter(|(_, job)| here(job.state)).count();
            assert_eq!(connection.in_flight.len() as usize, in_flight);
        }
        self.check_explanations();
    }

    /// Work is conserved: no connection rests that could send a mail that waits, and if only time
    /// is in the way, somebody looks at that time.
    fn check_work(&self, now: Time) {
        for id in self.destinations() {
            let destination = self.destination(id);
            if destination.waits.is_for_limit() || self.drain.is_some() {
                continue;
            }
            let is_one_of_several = destination.servers().len() > 1;
            let shared = destination.admits(destination.queue.runnable());
            for id in destination.servers() {
                let server = self.server(id);
                let coming = server.connections.coming;
                let own = if is_one_of_several { server.own.runnable() } else { 0 };
                let has_mail = own > coming || shared > destination.connections.coming;
                if server.waiting.is_empty() || !has_mail {
                    continue;
                }
                assert!(!server.takes_one_more(now), "a connection rests: {server:#?}");
                let at = server.sends_at();
                let has_room = server.window.has_room(server.in_flight + coming);
                let is_awaited = self.next_deadline().is_some_and(|deadline| deadline <= at);
                assert!(now >= at || !has_room || is_awaited, "nobody looks at {at:?}");
            }
        }
    }

    fn count_again(&self, is_one: impl Fn(&Connection) -> bool) -> Census {
        let count = |is_in: &dyn Fn(Phase) -> bool| {
            let all = self.connections.iter().filter(|(_, it)| is_one(it));
            u32::try_from(all.filter(|(_, it)| is_in(it.phase)).count()).unwrap()
        };
        Census {
            open: count(&|_| true),
            connecting: count(&|phase| phase == Phase::Connecting),
            closing: count(&|phase| phase == Phase::Closing),
            coming: count(&|phase| phase == Phase::Coming),
        }
    }

    /// Whatever waits, there is a reason.
    fn check_explanations(&self) {
        for (key, _) in self.jobs.iter() {
            let explanation = self.explain(Time::EPOCH, Question::Job(JobId(key)));
            assert!(!explanation.reasons.is_empty(), "{:?}", self.jobs.get(key));
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
