//! A planner on which a test plays the engine, one call at a time.

use std::time::Duration;

use super::super::*;
use crate::failure::{Charge, Closed};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn at(milliseconds: u64) -> Time {
    Time::after_epoch(Duration::from_millis(milliseconds))
}

pub(super) struct World {
    pub(super) planner: Planner,
    pub(super) now: Time,
    pub(super) out: Vec<Action>,
}

impl Default for World {
    fn default() -> Self {
        Self::new(PlannerConfig::default())
    }
}

impl World {
    /// One second after the epoch.
    pub(super) fn new(config: PlannerConfig) -> Self {
        Self { planner: Planner::new(config, 1), now: at(1000), out: Vec::new() }
    }

    /// At most so many connections in all, to this many servers.
    pub(super) fn destination(&mut self, max_connections: u32, servers: usize) -> DestinationId {
        self.places(max_connections, &vec![Place::default(); servers])
    }

    /// A server of preference 0, and one of preference 10.
    pub(super) fn primary_and_secondary(&mut self, max_connections: u32) -> DestinationId {
        let place = |preference| Place { preference, weight: 1 };
        self.places(max_connections, &[place(0), place(10)])
    }

    fn places(&mut self, max_connections: u32, places: &[Place]) -> DestinationId {
        let limits = DestinationLimits { max_connections, ..DestinationLimits::default() };
        self.planner.add_destination(limits, places)
    }

    pub(super) fn limit(&mut self, scope: LimitScope, unit: Unit, count: u64, per: Duration) {
        self.planner.add_limit(scope, Rate { unit, count, per });
    }

    pub(super) fn submit(&mut self, job: impl Into<NewJob>) -> JobId {
        self.planner.submit(self.now, job.into(), &mut self.out)
    }

    pub(super) fn submit_many(&mut self, count: usize, job: impl Into<NewJob> + Copy) {
        for _ in 0..count {
            self.submit(job);
        }
    }

    /// Lets time pass, and does what is due.
    pub(super) fn advance(&mut self, now: Time) {
        self.now = now;
        self.planner.advance(now, &mut self.out);
    }

    /// The connections that were asked for. All other actions are forgotten.
    pub(super) fn opened(&mut self) -> Vec<(ServerId, ConnectionId)> {
        let connection = |action| match action {
            Action::Open { server, connection, .. } => Some((server, connection)),
            _ => None,
        };
        self.out.drain(..).filter_map(connection).collect()
    }

    /// The connections that were woken. All other actions are forgotten.
    pub(super) fn woken(&mut self) -> Vec<ConnectionId> {
        let connection = |action| match action {
            Action::Wake { connection } => Some(connection),
            _ => None,
        };
        self.out.drain(..).filter_map(connection).collect()
    }

    pub(super) fn is_told_to_quit(&self, connection: ConnectionId) -> bool {
        self.out.contains(&Action::Quit { connection })
    }

    /// The one connection that was asked for, not ready yet.
    #[track_caller]
    pub(super) fn opening(&mut self) -> ConnectionId {
        let opened = self.opened();
        let [(_, connection)] = opened[..] else { panic!("opened {opened:?}") };
        connection
    }

    /// The one connection that was asked for, ready.
    #[track_caller]
    pub(super) fn connect(&mut self) -> ConnectionId {
        let connection = self.opening();
        self.ready(connection);
        connection
    }

    /// All that are asked for become ready, and so do those that are asked for then.
    pub(super) fn connect_all(&mut self) -> Vec<(ServerId, ConnectionId)> {
        let mut all = Vec::new();
        loop {
            let opened = self.opened();
            if opened.is_empty() {
                return all;
            }
            for &(_, connection) in &opened {
                self.ready(connection);
            }
            all.extend(opened);
        }
    }

    pub(super) fn ready(&mut self, connection: ConnectionId) {
        self.planner.connection_ready(self.now, connection, &mut self.out);
    }

    pub(super) fn pull(&mut self, connection: ConnectionId) -> Option<JobId> {
        match self.planner.pull(self.now, connection, &mut self.out) {
            Pull::Job { job, .. } => Some(job),
            Pull::Wait | Pull::Quit => None,
        }
    }

    pub(super) fn finish(&mut self, on: ConnectionId, job: JobId, result: AttemptResult) {
        self.planner.finished(self.now, on, job, result, &mut self.out);
    }

    /// Pulls a mail and finishes it like that.
    #[track_caller]
    pub(super) fn send(&mut self, on: ConnectionId, result: AttemptResult) -> JobId {
        let job = self.pull(on).expect("a mail");
        self.finish(on, job, result);
        job
    }

    /// The connection asks for the next mail, and there is none.
    #[track_caller]
    pub(super) fn rest(&mut self, connection: ConnectionId) {
        assert_eq!(self.pull(connection), None);
    }

    pub(super) fn cancel(&mut self, job: JobId) {
        assert_eq!(self.planner.cancel(self.now, job, &mut self.out), Cancelled::Removed);
    }

    pub(super) fn close(&mut self, connection: ConnectionId, ending: impl Into<Ending>) {
        self.planner.connection_closed(self.now, connection, ending, &mut self.out);
    }

    /// An idle connection to each of the two servers of a destination, in their order.
    pub(super) fn connect_to_both(&mut self, destination: DestinationId) -> [ConnectionId; 2] {
        let jobs = [(); 2].map(|()| self.submit(destination));
        let connections = self.connect_all();
        for job in jobs {
            self.cancel(job);
        }
        for &(_, connection) in &connections {
            self.rest(connection);
        }
        self.out.clear();
        let servers = self.planner.destination(destination).servers();
        let to = |server| connections.iter().find(|(its, _)| *its == server).map(|&(_, id)| id);
        let [Some(one), Some(other)] = servers.map(to).collect::<Vec<_>>()[..] else {
            panic!("connected to {connections:?}")
        };
        [one, other]
    }

    /// How many connections a server has.
    pub(super) fn open(&self, server: ServerId) -> u32 {
        self.planner.status(self.now, server).open
    }
}

impl From<DestinationId> for NewJob {
    fn from(destination: DestinationId) -> Self {
        Self::new(destination)
    }
}

pub(super) fn accepted() -> AttemptResult {
    AttemptResult::done(Answer::Accepted)
}

/// There is one recipient left.
pub(super) fn again(charge: Charge, answer: Answer) -> AttemptResult {
    let again = Some(Again::at_once(charge));
    AttemptResult { again, recipients: 1, ..AttemptResult::done(answer) }
}

pub(super) fn throttled() -> AttemptResult {
    again(Charge::Throttled, Answer::Throttled)
}

pub(super) fn greylisted() -> AttemptResult {
    let again = Again { same_server: true, ..Again::at_once(Charge::Counted) };
    let result = AttemptResult::done(Answer::Refused);
    AttemptResult { again: Some(again), recipients: 1, ..result }
}

/// The server wants to be left alone for an hour.
pub(super) fn closed_for_an_hour(how: Closed) -> Ending {
    Ending { pause: HOUR, ..how.into() }
}
