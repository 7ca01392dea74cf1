//! What the simulations share.

use std::time::Duration;

use fastrand::Rng;
use posthaste_scheduler::{
    Action, Class, DestinationLimits, InDoubtPolicy, PlannerConfig, RecipientState, Record, Time,
};
use posthaste_testkit::simulation::{Closed, Millis, ServerModel, Simulation, Trouble, Wave};

/// As a duration of the planner's world.
pub(crate) const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// As a duration or a time of the model's.
pub(crate) const fn seconds(count: u64) -> Millis {
    Millis::seconds(count)
}

pub(crate) fn at(count: u64) -> Time {
    Time::after_epoch(secs(count))
}

pub(crate) fn limits(max_connections: u32) -> DestinationLimits {
    DestinationLimits { max_connections, ..DestinationLimits::default() }
}

/// So many mails at once.
pub(crate) fn mails(mails: u32) -> Wave {
    Wave { mails, ..Wave::default() }
}

pub(crate) fn empty(seed: u64) -> Simulation {
    Simulation::new(PlannerConfig::default(), InDoubtPolicy::Report, seed)
}

/// A server, and mails that were all submitted at the start.
pub(crate) fn simulation(
    seed: u64,
    limits: DestinationLimits,
    model: ServerModel,
    mails: u32,
) -> Simulation {
    simulation_with(PlannerConfig::default(), seed, limits, model, mails)
}

pub(crate) fn simulation_with(
    config: PlannerConfig,
    seed: u64,
    limits: DestinationLimits,
    model: ServerModel,
    mails: u32,
) -> Simulation {
    let mut simulation = Simulation::new(config, InDoubtPolicy::Report, seed);
    simulation.add_server(limits, model);
    let mut rng = Rng::with_seed(seed);
    for _ in 0..mails {
        simulation.submit(Wave { recipients: rng.u32(1..4), ..Wave::default() });
    }
    simulation
}

pub(crate) fn flapping(seed: u64, trouble: Trouble, until: u64) -> ServerModel {
    let model = ServerModel { trouble, ..ServerModel::default() };
    model.flapping(seconds(2)..seconds(20), seconds(1)..seconds(15), seconds(until), seed)
}

pub(crate) fn states(closed: &[Closed]) -> [usize; 4] {
    let recipients = || closed.iter().flat_map(|mail| &mail.report.recipients);
    [
        RecipientState::Delivered,
        RecipientState::Failed,
        RecipientState::Deferred,
        RecipientState::InDoubt,
    ]
    .map(|state| recipients().filter(|recipient| recipient.state == state).count())
}

pub(crate) fn recipients(simulation: &Simulation) -> usize {
    simulation.totals().recipients()
}

pub(crate) fn opened(simulation: &Simulation) -> Vec<Time> {
    let open = |(at, action): &(Time, Action)| matches!(action, Action::Open { .. }).then_some(*at);
    simulation.trace().iter().filter_map(open).collect()
}

pub(crate) fn records(simulation: &Simulation) -> impl Iterator<Item = (Time, Record)> {
    simulation.trace().iter().filter_map(|&(at, action)| match action {
        Action::Record(record) => Some((at, record)),
        _ => None,
    })
}

/// What the server did wrong is not held against the mails.
#[track_caller]
pub(crate) fn assert_attempts_are_the_mails_own(closed: &[Closed]) {
    for mail in closed.iter().filter(|mail| mail.interruptions.before_end < 2) {
        for recipient in &mail.report.recipients {
            assert_eq!(recipient.attempts, 1, "{mail:?}");
        }
    }
}

/// Every mail arrived, and none of them was ever deferred.
#[track_caller]
pub(crate) fn assert_all_arrived_at_once(simulation: &Simulation) {
    let totals = simulation.totals();
    assert_eq!(totals.delivered, totals.recipients(), "{totals:?}");
    let is_deferral = |(_, record): &(Time, Record)| matches!(record, Record::Deferred { .. });
    assert_eq!(records(simulation).find(is_deferral), None);
    for mail in simulation.closed() {
        assert!(mail.report.recipients.iter().all(|recipient| recipient.attempts == 1), "{mail:?}");
    }
}

/// How long mails of a class took, from submission to arrival.
pub(crate) fn delays(simulation: &Simulation, class: Class) -> Vec<Duration> {
    let of_class = simulation.closed().iter().filter(|mail| mail.new.class == class);
    of_class.map(|mail| mail.report.timing.total()).collect()
}

/// Ten times as much where there is time for it.
pub(crate) fn scale() -> u32 {
    if std::env::var_os("POSTHASTE_SLOW").is_some() { 10 } else { 1 }
}
