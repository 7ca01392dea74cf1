//! Sessions one after another until every mail is done with.

use std::sync::Arc;
use std::time::Duration;

use posthaste_session::{Mail, NotSent, Outcome};
use posthaste_sink as sink;

use super::ledger::Ledger;
use super::{Fate, Report, Scenario};
use crate::clock::Clock;
use crate::dice::Dice;

/// Sessions of one campaign: a server in trouble may end each after a mail, or before any, and one
/// with limits may want many.
const MAX_SESSIONS: usize = 40;

impl Scenario {
    /// Sends again what was certainly not sent, in new sessions, as long as there is something.
    /// A mode that the server did not bear is not tried again.
    pub fn run_to_the_end(
        &self,
        mut clock: Clock,
        server: &Arc<sink::Server>,
        dice: &mut Dice,
    ) -> (Ledger, Vec<Report>) {
        let mut scenario = self.clone();
        let mut ledger = Ledger::default();
        let mut reports = Vec::new();
        while !scenario.application.mails.is_empty() && reports.len() < MAX_SESSIONS {
            let report = scenario.run(clock, server, dice.split());
            ledger.enter(&report.fates);
            clock.advance_to(clock.now() + report.elapsed + Duration::from_secs(1));
            if let Some(mode) = report.lowered {
                scenario.client.pipelining = mode;
            }
            scenario.application.mails = report.fates.iter().filter_map(again).collect();
            // What breaks a link breaks it once.
            scenario.link.up.breakage = None;
            scenario.link.down.breakage = None;
            reports.push(report);
        }
        (ledger, reports)
    }
}

/// The part of a mail that can be sent again without a doubt.
fn again(fate: &Fate) -> Option<Mail> {
    let finished = match fate {
        Fate::Kept(mail) => return Some(mail.clone()),
        Fate::Unsendable(..) => return None,
        Fate::Finished(finished) => finished,
    };
    let is_open = |outcome: &Outcome| match outcome {
        Outcome::NotSent(NotSent::AllOrNothing) => false,
        Outcome::NotSent(_) => true,
        Outcome::Delivered(_) | Outcome::Refused(_) | Outcome::InDoubt => false,
    };
    let mail = &finished.mail;
    let outcomes = finished.outcomes.iter().zip(0..);
    let open: Vec<u32> =
        outcomes.filter(|(outcome, _)| is_open(outcome)).map(|(_, place)| place).collect();
    let envelope = mail.envelope.subset(&open)?;
    Some(Mail { envelope, ..mail.clone() })
}
