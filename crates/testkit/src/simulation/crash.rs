//! A crash between two actions, and the start after it.

use std::cmp::Reverse;

use posthaste_scheduler::{Freshness, NewJob, Planner};
use posthaste_session::{NotSent, Outcome, Stage};

use super::connection::{Connections, Phase, Sending};
use super::mails::Fault;
use super::{Event, Simulation};

impl Simulation {
    /// Everything is lost but what was written down: mails with their books. Those that were
    /// on their way are found out about as a process finds out that starts again: behind their end
    /// they are in doubt.
    pub(super) fn crash(&mut self) {
        self.tally.crashes += 1;
        self.actions.clear();
        let of_connection = |event: &Event| match event {
            Event::Dialed(_)
            | Event::Silent(_)
            | Event::Wake(_)
            | Event::Answered(_)
            | Event::Gone(_)
            | Event::Aborted(_) => true,
            Event::Arrive { .. }
            | Event::OutageBegins(_)
            | Event::LimitMoves(_)
            | Event::Overdue(_) => false,
        };
        self.events.retain(|Reverse((_, _, event))| !of_connection(event));
        self.witness.forget();

        let lost = std::mem::take(&mut self.connections);
        self.count_lost(&lost);
        for connection in lost.iter() {
            let stage = connection.progress(self.now);
            for (at, sending) in connection.mails.iter().enumerate() {
                let outcome = match (at, stage) {
                    (0, Stage::Final) => Outcome::InDoubt,
                    (0, stage) => Outcome::NotSent(NotSent::Interrupted(stage)),
                    (1.., _) => Outcome::NotSent(NotSent::NeverStarted),
                };
                self.write_down(sending, &outcome);
            }
        }
        self.start_again();
    }

    fn count_lost(&mut self, lost: &Connections) {
        for connection in lost.iter() {
            let server = &mut self.servers[connection.server];
            if connection.is_served() {
                server.end(self.now);
            }
            if connection.phase == Phase::Session {
                server.leave(self.now);
            }
            server.connections -= 1;
            self.destinations[server.destination].connections -= 1;
        }
    }

    fn write_down(&mut self, sending: &Sending, outcome: &Outcome) {
        let in_doubt = *outcome == Outcome::InDoubt;
        let taken = in_doubt && self.rng.bool();
        // It may have been given up by an action that was not carried out.
        if self.mails.find_number(sending.job).is_none() {
            return;
        }
        self.mails.interrupt(sending.job, |trouble| trouble.behind_end += u32::from(in_doubt));
        let outcomes = vec![outcome.clone(); sending.recipients];
        let open = self.mails.find(sending.job);
        open.hear(&outcomes, Fault::Own, taken);
        let attempt = sending.over(self.now, outcomes, Freshness::Fresh);
        if open.ledger.attempted(&attempt).again.is_none() {
            self.close(sending.job, |ledger| ledger.into_report(attempt));
        }
    }

    fn start_again(&mut self) {
        // Another life, other numbers.
        self.setup.seed = self.setup.seed.wrapping_add(1);
        self.planner = Planner::new(self.setup.config.clone(), self.setup.seed);
        for destination in &self.destinations {
            let id = self.planner.add_destination(destination.limits, &destination.places);
            assert_eq!(id, destination.id);
        }
        for &(_, weight) in self.setup.tenants.iter().skip(1) {
            let _ = self.planner.add_tenant(weight);
        }
        for &(scope, rate) in &self.setup.limits {
            let _ = self.planner.add_limit(scope, rate);
        }
        self.mails.forget_jobs();
        let left: Vec<(usize, NewJob)> = self
            .mails
            .all_open()
            .map(|(number, open)| {
                let recipients = open.ledger.remaining().len() as u32;
                (number, NewJob { recipients, ..open.new })
            })
            .collect();
        for (number, new) in left {
            let job = self.call(|planner, now, out| planner.submit(now, new, out));
            self.mails.enter_again(number, job, new);
            // A job's place may be another's in the next call.
            for action in std::mem::take(&mut self.actions) {
                self.do_it(action);
            }
        }
    }
}
