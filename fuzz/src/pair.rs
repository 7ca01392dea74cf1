//! A session against the sink's session, on a link that does what the input says.

use posthaste_testkit::pair::{Faults, Ledger, Scenario};
use posthaste_testkit::{Clock, Dice};

/// Lets the input decide a scenario and its run: see the pair tests of the testkit, whose seeds
/// these octets stand for.
pub fn run(input: &[u8]) {
    let mut dice = Dice::from_octets(input);
    let faults = dice.pick(&[Faults::Honest, Faults::Steady, Faults::Lying, Faults::None]);
    let scenario = Scenario::new(&mut dice, faults);
    let clock = Clock::default();
    if dice.percent(20) {
        scenario.run_hostile(clock, dice);
        return;
    }
    let sink = scenario.sink(&clock);
    if faults == Faults::Lying {
        scenario.run(clock, &sink, dice);
        return;
    }
    let mut ledger = Ledger::default();
    ledger.enter(&scenario.run(clock, &sink, dice).fates);
    ledger.check(&sink.mails());
}
