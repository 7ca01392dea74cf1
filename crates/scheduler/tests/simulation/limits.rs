//! Rates that the caller sets. That they are never exceeded is the simulation's to check; here, that
//! they are used up.

use std::time::Duration;

use posthaste_scheduler::planner::Unit;
use posthaste_scheduler::{LimitScope, Rate};
use posthaste_testkit::simulation::{Latency, Millis, ServerModel, Simulation, Wave};

use crate::common::*;

fn rate(unit: Unit, count: u64, per: Duration) -> Rate {
    Rate { unit, count, per }
}

/// Runs mails against a limit, and asserts that they take as long as it makes them, within 3 %.
#[track_caller]
fn check(unit: Unit, count: u64, per: Duration, wave: Wave, expected: Duration) {
    let mut simulation = empty(50);
    simulation.add_server(limits(20), ServerModel::default());
    simulation.add_limit(LimitScope::All, rate(unit, count, per));
    simulation.submit(wave);
    simulation.run();
    assert_all_arrived_at_once(&simulation);
    let took = simulation.now().since_epoch();
    let least = expected.mul_f64(0.97).saturating_sub(per);
    assert!(took >= least && took <= expected.mul_f64(1.03) + secs(1), "{unit:?}: {took:?}");
}

#[test]
fn every_unit_is_limited_and_used_up() {
    check(Unit::Mails, 50, secs(1), mails(3000), secs(60));
    check(Unit::Mails, 100, secs(60), mails(500), secs(300));
    check(Unit::Recipients, 100, secs(1), Wave { recipients: 10, ..mails(600) }, secs(60));
    check(Unit::Octets, 100_000, secs(1), Wave { octets: 10_000, ..mails(600) }, secs(60));
}

/// A mail that is more than the limit of a whole window goes, in a window of its own.
#[test]
fn a_mail_bigger_than_its_limit_goes_alone() {
    let wave = Wave { octets: 1_000_000, ..mails(10) };
    let mut simulation = empty(51);
    simulation.add_server(limits(20), ServerModel::default());
    simulation.add_limit(LimitScope::All, rate(Unit::Octets, 100_000, secs(1)));
    simulation.submit(wave);
    simulation.run();
    assert_all_arrived_at_once(&simulation);
}

/// Connections are opened at a rate, and used again.
#[test]
fn connections_are_opened_at_a_rate() {
    let mut simulation = empty(52);
    let model = ServerModel {
        service: posthaste_testkit::simulation::Latency::Between(seconds(5), seconds(5)),
        ..ServerModel::default()
    };
    let server = simulation.add_server(limits(20), model);
    let scope = LimitScope::Server(server);
    simulation.add_limit(scope, rate(Unit::Connections, 1, secs(3)));
    simulation.submit(mails(100));
    simulation.run_until(at(30));
    let opened = opened(&simulation).len();
    assert!((9..=11).contains(&opened), "{opened}");
}

/// One who is limited does not hold up those who are not.
#[test]
fn a_limited_tenant_stands_in_nobodys_way() {
    let mut simulation: Simulation = empty(53);
    simulation.add_server(limits(5), ServerModel::default());
    let [slow, quick] = [1, 1].map(|weight| simulation.add_tenant(weight));
    simulation.add_limit(LimitScope::Tenant(slow), rate(Unit::Mails, 1, secs(1)));
    for tenant in [slow, quick] {
        simulation.submit(Wave { tenant: tenant.index() as u32, ..mails(500) });
    }
    simulation.run_until(at(10));
    let count = |tenant| simulation.closed().iter().filter(|it| it.new.tenant == tenant).count();
    assert_eq!(count(quick), 500);
    assert!((9..=11).contains(&count(slow)), "{}", count(slow));
}

/// Several limits at once: each is kept, and the tightest one used up.
#[test]
fn the_tightest_of_several_limits_counts() {
    let mut simulation = empty(54);
    let server = simulation.add_server(limits(5), ServerModel::default());
    let tenant = simulation.add_tenant(1);
    simulation.add_limit(LimitScope::All, rate(Unit::Mails, 100, secs(1)));
    simulation.add_limit(LimitScope::Server(server), rate(Unit::Recipients, 60, secs(1)));
    simulation.add_limit(LimitScope::Tenant(tenant), rate(Unit::Mails, 1000, secs(40)));
    let tenant = tenant.index() as u32;
    simulation.submit(Wave { tenant, recipients: 3, every: Millis(1), ..mails(1000) });
    simulation.run();
    let took = simulation.now().since_epoch().as_secs_f64();
    assert!((48.0..55.0).contains(&took), "20 mails a second: {took}");
}

/// A rate is reached although each mail takes several times as long as there is between two.
#[test]
fn a_rate_is_reached_over_a_long_line() {
    for connections in [20, 100] {
        let model = ServerModel {
            round_trip: Latency::Between(Millis(30), Millis(31)),
            ..ServerModel::default()
        };
        let mut simulation = empty(70);
        simulation.add_server(limits(connections), model);
        let rate = Rate { unit: Unit::Mails, count: 100, per: secs(1) };
        simulation.add_limit(LimitScope::All, rate);
        simulation.submit(mails(2000));
        simulation.run();
        let took = simulation.now().since_epoch().as_secs_f64();
        println!("{took} s for 2000 mails at 100/s");
        assert!((19.9..21.0).contains(&took), "{took}");
    }
}
