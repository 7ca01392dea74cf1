//! A second opinion on the planner's decisions, from what it was told and what it said.
//!
//! It knows nothing of the planner's state. Where a mail does not move, the planner's explanation
//! is taken at its word, and the word is checked.

mod rates;
mod rest;

use std::time::Duration;

use posthaste_scheduler::planner::Hold;
use posthaste_scheduler::{DestinationId, LimitScope, NewJob, Rate, Record, ServerId, Time};

use self::rates::Rates;
use super::Simulation;
use super::mails::Place;
use super::server::Server;

/// How late a mail may be given up whose time is over.
pub(super) const TICK: Duration = Duration::from_millis(16);

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Witness {
    rates: Rates,
    /// By server.
    servers: Vec<Seen>,
    /// Mails whose time is over, and that were on their way when it was.
    late: Vec<usize>,
    /// Where the next look at waiting mails begins.
    cursor: usize,
}

/// What the planner said of a server.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// It is left alone after failures until then.
    backs_off: Time,
    /// It is left alone for another reason until then.
    holds: Vec<(Hold, Time)>,
}

impl Witness {
    pub(super) fn watch(&mut self, scope: LimitScope, rate: Rate) {
        self.rates.add(scope, rate);
    }

    /// A mail is given to a connection.
    pub(super) fn admitted(&mut self, now: Time, server: &Server, job: &NewJob, recipients: usize) {
        self.rates.mail(now, server.id, job, recipients as u64);
    }

    /// A connection is opened.
    pub(super) fn opened(&mut self, now: Time, server: ServerId, destination: DestinationId) {
        self.rates.connection(now, server, destination);
        let seen = self.seen(server);
        assert!(now >= seen.backs_off, "{server:?} is left alone until {:?}", seen.backs_off);
    }

    pub(super) fn overdue(&mut self, number: usize) {
        self.late.push(number);
    }

    /// Another planner, which knows nothing.
    pub(super) fn forget(&mut self) {
        self.rates.forget();
        self.servers.clear();
    }

    fn seen(&mut self, server: ServerId) -> &mut Seen {
        if self.servers.len() <= server.index() {
            self.servers.resize_with(server.index() + 1, Seen::default);
        }
        &mut self.servers[server.index()]
    }
}

impl Simulation {
    /// The planner says something.
    pub(super) fn hear(&mut self, record: Record) {
        match record {
            Record::BackOff { server, until, .. } => self.witness.seen(server).backs_off = until,
            Record::Held { server, hold, until } => {
                let holds = &mut self.witness.seen(server).holds;
                holds.retain(|(known, _)| *known != hold);
                holds.push((hold, until));
            }
            Record::Deferred { job, until, .. } => self.wait(job, until),
            _ => {}
        }
    }

    fn wait(&mut self, job: posthaste_scheduler::JobId, until: Time) {
        let open = self.mails.find(job);
        if let Place::Waits { due } = &mut open.place {
            *due = until;
        }
    }

    /// Two wake-ups for each attempt at most, those of timers not counted.
    pub(super) fn check_wakes(&self) {
        let tally = self.tally;
        assert!(tally.wakes <= 2 * tally.attempts + tally.timers, "{tally:?}");
    }
}
