//! Scenarios out of nothing but a seed. One that fails shrinks, and prints itself as a test.

use posthaste_scheduler::planner::Unit;
use posthaste_scheduler::{Class, InDoubtPolicy};
use posthaste_session::Pipelining;
use posthaste_testkit::simulation::{
    Balancer, Bucket, CapWords, DestinationPlan, Greylist, Latency, LimitPlan, Limited, Millis,
    Poisoning, Scenario, ServerModel, ServerPlan, SessionCap, SessionLimit, TooMany, Trouble, Wave,
};
use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::select;

/// Runs in the gate; more of them with `POSTHASTE_SEEDS`.
const SEEDS: u32 = 300;

fn config() -> ProptestConfig {
    let seeds = std::env::var("POSTHASTE_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(seeds.unwrap_or(SEEDS))
    }
}

proptest! {
    #![proptest_config(config())]

    /// Whatever servers do and callers want: everything that the simulation checks holds.
    #[test]
    fn nothing_is_lost_or_sent_twice_or_over_a_limit(scenario in scenario()) {
        let simulation = scenario.run();
        let submitted: u32 = scenario.waves.iter().map(|wave| wave.mails).sum();
        prop_assert_eq!(simulation.totals().mails, submitted as usize);
    }

    /// The same scenario, the same trace.
    #[test]
    fn chance_comes_from_the_seed_alone(scenario in scenario()) {
        let [first, second] = [scenario.run(), scenario.run()];
        prop_assert!(first.trace() == second.trace());
    }

    /// Between any two actions the process dies, and starts again with the mails' books.
    #[test]
    fn a_crash_loses_nothing(scenario in scenario(), actions in 0..2000_u64) {
        let scenario = Scenario { crash: Some(actions), drain: None, ..scenario };
        let simulation = scenario.run();
        let submitted: u32 = scenario.waves.iter().map(|wave| wave.mails).sum();
        prop_assert_eq!(simulation.totals().mails, submitted as usize);
    }
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let what = (
        vec(destination(), 1..4),
        vec(1..5_u16, 0..3),
        vec(limit(), 0..3),
        vec(wave(), 1..6),
        vec((millis(0..60_000), 0..200_usize), 0..4),
        weighted(0.1, (millis(0..60_000), millis(0..20_000))),
    );
    let in_doubt = select(&[InDoubtPolicy::Report, InDoubtPolicy::Retry][..]);
    (any::<u64>(), in_doubt, what).prop_map(|(seed, in_doubt, what)| {
        let (destinations, tenants, limits, waves, cancelled, drain) = what;
        let (places, owners) = (destinations.len() as u32, tenants.len() as u32 + 1);
        let waves = waves.into_iter().map(|wave: Wave| {
            let destination = wave.destination % places;
            let spread = wave.spread.min(places - destination);
            Wave { destination, spread, tenant: wave.tenant % owners, ..wave }
        });
        let waves = waves.collect();
        let crash = None;
        Scenario { seed, in_doubt, destinations, tenants, limits, waves, cancelled, drain, crash }
    })
}

fn millis(range: std::ops::Range<u64>) -> impl Strategy<Value = Millis> {
    range.prop_map(Millis)
}

fn destination() -> impl Strategy<Value = DestinationPlan> {
    (1..10_u32, of(1..10_u32), vec(server(), 1..4)).prop_map(
        |(max_connections, max_mails_per_connection, servers)| DestinationPlan {
            max_connections,
            max_mails_per_connection,
            servers,
        },
    )
}

fn server() -> impl Strategy<Value = ServerPlan> {
    (0..2_u16, 1..4_u16, model()).prop_map(|(preference, weight, model)| ServerPlan {
        preference,
        weight,
        model,
    })
}

fn model() -> impl Strategy<Value = ServerModel> {
    let speed = (
        latency(1..300),
        latency(1..100),
        latency(1..3000),
        weighted(0.2, (millis(0..60_000), 1..5_u32)),
    );
    let caps = (
        sessions(),
        weighted(0.3, session_cap()),
        weighted(0.2, 1..5_u32),
        weighted(0.2, (1..20_u32, millis(100..10_000))),
        weighted(0.1, (millis(1000..200_000), any::<bool>())),
        weighted(0.1, (2..5_u32, any::<bool>())),
    );
    let rare = || prop_oneof![3 => Just(0), 1 => 0..200_u32];
    let faults = (rare(), rare(), rare(), rare());
    let poison = (0..100_usize, 0..2_usize, select(&[Poisoning::Breaks, Poisoning::Dismisses][..]));
    let bears = select(&[Pipelining::Off, Pipelining::Envelope, Pipelining::Cross][..]);
    let trouble = (vec((100..30_000_u64, 100..60_000_u64), 0..4), select(&Trouble::ALL[..]));
    (speed, caps, faults, poison, bears, trouble).prop_map(
        |(speed, caps, faults, poison, bears, (outages, trouble))| {
            let (connect, round_trip, service, capacity) = speed;
            let (sessions, session_cap, recipient_cap, rate, greylist, balancer) = caps;
            let (deferred, refused, dropped_in_content, dropped_at_end) = faults;
            let (first, count, poisoning) = poison;
            let mut end = 0;
            let outage = |(up, down): (u64, u64)| {
                let start = end + up;
                end = start + down;
                Millis(start)..Millis(end)
            };
            ServerModel {
                connect,
                round_trip,
                service,
                capacity: capacity.into_iter().collect(),
                sessions,
                session_cap,
                recipient_cap,
                rate: rate.map(|(mails, per)| Bucket { mails, per }),
                greylist: greylist.map(|(delay, says)| Greylist { delay, says }),
                balancer: balancer.map(|(servers, hangs)| Balancer { servers, dead: 1, hangs }),
                deferred,
                refused,
                dropped_in_content,
                dropped_at_end,
                poison: first..first + count,
                poisoning,
                bears,
                outages: outages.into_iter().map(outage).collect(),
                trouble,
            }
        },
    )
}

fn latency(range: std::ops::Range<u64>) -> impl Strategy<Value = Latency> {
    (range.clone(), range, any::<bool>()).prop_map(|(one, other, is_even)| match is_even {
        true => Latency::Between(Millis(one.min(other)), Millis(one.max(other))),
        false => Latency::Exponential { least: Millis(one.min(other)), mean: Millis(one) },
    })
}

fn sessions() -> impl Strategy<Value = SessionLimit> {
    let refusals = [
        TooMany::Greeting421,
        TooMany::Greeting554,
        TooMany::Mail421,
        TooMany::Mail452,
        TooMany::Drops,
        TooMany::Refuses,
    ];
    let steps = vec((millis(0..60_000), 1..8_u32), 0..3);
    (steps, select(refusals.to_vec()), any::<bool>()).prop_map(|(mut steps, refusal, evicts)| {
        steps.sort_by_key(|(from, _)| *from);
        SessionLimit { steps, refusal, evicts }
    })
}

fn session_cap() -> impl Strategy<Value = SessionCap> {
    let words =
        [CapWords::Shutdown, CapWords::Deferral, CapWords::TooManyMessages, CapWords::Silent];
    (1..10_u32, select(words.to_vec())).prop_map(|(mails, said)| SessionCap { mails, said })
}

fn limit() -> impl Strategy<Value = LimitPlan> {
    let of = prop_oneof![
        Just(Limited::All),
        (0..4_usize).prop_map(Limited::Destination),
        (0..8_usize).prop_map(Limited::Server),
        (0..4_usize).prop_map(Limited::Tenant),
    ];
    let unit = select(&[Unit::Mails, Unit::Recipients, Unit::Octets, Unit::Connections][..]);
    (of, unit, 1..50_u64, millis(10..5000)).prop_map(|(of, unit, count, per)| {
        let count = if unit == Unit::Octets { count * 1000 } else { count };
        LimitPlan { of, unit, count, per }
    })
}

fn wave() -> impl Strategy<Value = Wave> {
    let when = (millis(0..60_000), prop_oneof![Just(Millis(0)), millis(0..1000)], 1..60_u32);
    let class = select(&[Class::Interactive, Class::Normal, Class::Bulk][..]);
    let where_to = (0..4_u32, 1..4_u32, 0..4_u32);
    let size = (prop_oneof![Just(1), 1..8_u32], 100..20_000_u64);
    let lifetime = weighted(0.3, millis(100..120_000));
    (when, where_to, class, size, lifetime).prop_map(|(when, where_to, class, size, lifetime)| {
        let (at, every, mails) = when;
        let (destination, spread, tenant) = where_to;
        let (recipients, octets) = size;
        Wave { at, every, mails, destination, spread, tenant, class, recipients, octets, lifetime }
    })
}
