//! Scenarios that once failed, as they were printed.

use posthaste_scheduler::planner::Unit;
use posthaste_scheduler::{Class, InDoubtPolicy};
use posthaste_session::Pipelining;
use posthaste_testkit::simulation::{
    DestinationPlan, Latency, LimitPlan, Limited, Millis, Poisoning, Scenario, ServerModel,
    ServerPlan, SessionLimit, TooMany, Trouble, Wave,
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

/// Without what formatting is free to add.
fn squeezed(text: &str) -> String {
    let text: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    [",}", ",]", ",)"].iter().fold(text, |text, end| text.replace(end, &end[1..]))
}
