//! Scenarios that once failed, as they were printed.

use posthaste_scheduler::planner::Unit;
use posthaste_scheduler::{Class, InDoubtPolicy};
use posthaste_session::Pipelining;
use posthaste_testkit::simulation::{
    CapWords, DestinationPlan, Latency, LimitPlan, Limited, Millis, Poisoning, Scenario,
    ServerModel, ServerPlan, SessionCap, SessionLimit, TooMany, Trouble, Wave,
};

/// What a campaign prints can be pasted here.
#[test]
fn a_scenario_prints_itself_as_rust() {
    macro_rules! check {
        ($scenario:expr) => {{
            let scenario: Scenario = $scenario;
            scenario.run();
            assert_eq!(squeezed(&format!("{scenario:?}")), squeezed(stringify!($scenario)));
        }};
    }
    check!(Scenario {
        seed: 7,
        in_doubt: InDoubtPolicy::Retry,
        destinations: vec![DestinationPlan {
            max_connections: 3,
            max_mails_per_connection: None,
            servers: vec![ServerPlan {
                preference: 1,
                weight: 2,
                model: ServerModel {
                    connect: Latency::Between(Millis(40), Millis(80)),
                    round_trip: Latency::Between(Millis(10), Millis(20)),
                    service: Latency::Exponential { least: Millis(5), mean: Millis(100) },
                    capacity: vec![(Millis(400), 2)],
                    sessions: SessionLimit {
                        steps: vec![(Millis(0), 2), (Millis(500), 1)],
                        refusal: TooMany::Greeting421,
                        evicts: true,
                    },
                    session_cap: None,
                    recipient_cap: None,
                    rate: None,
                    greylist: None,
                    balancer: None,
                    deferred: 100,
                    refused: 10,
                    dropped_in_content: 0,
                    dropped_at_end: 50,
                    poison: 0..0,
                    poisoning: Poisoning::Breaks,
                    bears: Pipelining::Cross,
                    outages: vec![Millis(300)..Millis(900)],
                    trouble: Trouble::Refuses,
                },
            }],
        }],
        tenants: vec![3],
        limits: vec![LimitPlan {
            of: Limited::Tenant(1),
            unit: Unit::Mails,
            count: 10,
            per: Millis(100),
        }],
        waves: vec![Wave {
            at: Millis(0),
            every: Millis(3),
            mails: 100,
            destination: 0,
            spread: 1,
            tenant: 1,
            class: Class::Bulk,
            recipients: 2,
            octets: 1000,
            lifetime: None,
        }],
        cancelled: vec![(Millis(1000), 50)],
        drain: None,
        crash: Some(300),
    });
}

/// Nothing but these servers, limits and mails.
fn scenario(
    max_connections: u32,
    servers: Vec<ServerModel>,
    limits: Vec<LimitPlan>,
    waves: Vec<Wave>,
) -> Scenario {
    let server = |model| ServerPlan { preference: 0, weight: 1, model };
    let servers = servers.into_iter().map(server).collect();
    let destination = DestinationPlan { max_connections, max_mails_per_connection: None, servers };
    Scenario {
        seed: 1,
        in_doubt: InDoubtPolicy::Report,
        destinations: vec![destination],
        tenants: vec![],
        limits,
        waves,
        cancelled: vec![],
        drain: None,
        crash: None,
    }
}

/// So many mails in a time, over one server.
fn mails_over(server: usize, count: u64, per: Millis) -> LimitPlan {
    LimitPlan { of: Limited::Server(server), unit: Unit::Mails, count, per }
}

fn all_at_once(mails: u32) -> Wave {
    Wave { mails, ..Wave::default() }
}

/// A mail that a limit lets pass is started a moment later; what follows it has to wait from then on.
#[test]
fn a_limit_counts_from_when_a_mail_is_started() {
    for seed in 0..20 {
        let session_cap = Some(SessionCap { mails: 4, said: CapWords::Shutdown });
        let model = ServerModel { session_cap, ..ServerModel::default() };
        let limits = vec![mails_over(0, 3, Millis(700))];
        let wave = Wave { every: Millis(58), ..all_at_once(100) };
        Scenario { seed, ..scenario(2, vec![model], limits, vec![wave]) }.run();
    }
}

/// The rate of connections to one server does not keep mails from the other.
#[test]
fn a_limited_server_does_not_hold_up_another() {
    for seed in 0..50 {
        let quick = || Latency::Exponential { least: Millis(1), mean: Millis(1) };
        let model = ServerModel {
            connect: quick(),
            round_trip: quick(),
            service: quick(),
            ..ServerModel::default()
        };
        let (of, unit) = (Limited::Server(0), Unit::Connections);
        let limit = LimitPlan { of, unit, count: 1, per: Millis::seconds(10) };
        let servers = vec![model.clone(), model];
        let mut scenario = scenario(1, servers, vec![limit], vec![all_at_once(20)]);
        (scenario.seed, scenario.destinations[0].max_mails_per_connection) = (seed, Some(1));
        let simulation = scenario.run();
        let last = simulation.closed().last().unwrap().report.timing.ended;
        assert!(last < Millis::seconds(10).time(), "seed {seed}: {last:?}");
    }
}

/// Connections are not woken for a mail that a limit keeps from them.
#[test]
fn who_is_woken_may_send() {
    for per in [10, 100, 1000].map(Millis) {
        let servers = vec![ServerModel::default(), ServerModel::default()];
        let limits = vec![mails_over(1, 1, per)];
        let tally = scenario(8, servers, limits, vec![all_at_once(100)]).run().tally();
        assert!(tally.wakes_for_nothing * 5 <= tally.attempts, "{per:?}: {tally:?}");
    }
}

/// Without what formatting is free to add.
fn squeezed(text: &str) -> String {
    let text: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    [",}", ",]", ",)"].iter().fold(text, |text, end| text.replace(end, &end[1..]))
}
