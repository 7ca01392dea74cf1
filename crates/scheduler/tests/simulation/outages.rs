//! Servers that are not there, and come back.

use std::time::Duration;

use posthaste_scheduler::Record;
use posthaste_testkit::simulation::{
    Detail, Latency, Millis, ServerModel, SessionLimit, Simulation, Trouble, Wave,
};

use crate::common::*;

/// SCHED-02, SCHED-13, FL-10: an hour without a server under a hundred thousand mails. One probe an
/// interval, nothing else happens; then full rate within three rounds of slow start, and never more
/// than is allowed.
#[test]
fn an_hour_without_a_server_costs_nothing_but_the_hour() {
    let model = ServerModel {
        outages: vec![seconds(0)..seconds(3600)],
        service: Latency::Between(seconds(1), seconds(1)),
        ..ServerModel::default()
    };
    let mut simulation = empty(80).with_detail(Detail::Lean);
    let server = simulation.add_server(limits(8), model);
    simulation.submit(mails(100_000));
    simulation.run_until(at(0));
    let before = simulation.tally();
    simulation.run_until(at(3600));
    let (tally, dialed) = (simulation.tally(), simulation.server_tally(server).dialed);
    assert!((120..=250).contains(&dialed), "one each 15 to 30 s: {dialed}");
    let calls = tally.calls - before.calls;
    assert!(calls <= 4 * u64::from(dialed), "{calls} calls for {dialed} probes");

    // The next probe is no more than a wait away, and finds it.
    let established =
        |simulation: &Simulation| simulation.planner().status(simulation.now(), server).established;
    while established(&simulation) == 0 {
        assert!(simulation.now() < at(3600 + 31), "found again within a wait");
        simulation.run_until(simulation.now() + Duration::from_millis(10));
    }
    // From 1 to 8: three rounds, each a handshake and a mail at most.
    simulation.run_until(simulation.now() + 3 * Duration::from_millis(1100));
    assert_eq!(established(&simulation), 8);
    simulation.run_until(at(3600 + 120));
    assert_eq!(simulation.tally().most_connections, 8);
    let rate = simulation.server_tally(server).taken / 8;
    assert!((70..=120).contains(&rate), "one a second over each: {rate}");
}

/// The same with twenty connections that worked before: what is known to work is got back to in three
/// rounds, from 1 to 4 to 16 to 20.
#[test]
fn what_worked_before_an_hours_outage_is_got_back_to_in_three_rounds() {
    let model = ServerModel {
        outages: vec![seconds(60)..seconds(3660)],
        service: Latency::Between(seconds(1), seconds(1)),
        ..ServerModel::default()
    };
    let mut simulation = empty(81).with_detail(Detail::Lean);
    let server = simulation.add_server(limits(20), model);
    simulation.submit(mails(100_000));
    let established =
        |simulation: &Simulation| simulation.planner().status(simulation.now(), server).established;
    simulation.run_until(at(50));
    assert_eq!(established(&simulation), 20);
    simulation.run_until(at(3660));
    while established(&simulation) == 0 {
        assert!(simulation.now() < at(3660 + 31), "found again within a wait");
        simulation.run_until(simulation.now() + Duration::from_millis(10));
    }
    simulation.run_until(simulation.now() + 3 * Duration::from_millis(1100));
    assert_eq!(established(&simulation), 20);
    assert_eq!(simulation.tally().most_connections, 20);
}

/// Full rate is back within three rounds of slow start after the first success, and the server's
/// limit, known from before, is not run into.
#[test]
fn a_server_that_comes_back_is_not_overrun() {
    let model = ServerModel {
        outages: vec![seconds(100)..seconds(700)],
        service: Latency::Between(seconds(1), seconds(3)),
        sessions: SessionLimit::fixed(8),
        ..ServerModel::default()
    };
    let mut simulation = simulation(81, limits(20), model, 20_000);
    let server = simulation.planner().servers().next().unwrap();
    simulation.run_until(at(700));
    let refused = simulation.server_tally(server).refused;
    simulation.run_until(at(700 + 30));
    let recovered = records(&simulation)
        .find(|(now, record)| *now >= at(700) && matches!(record, Record::Recovered { .. }));
    let (recovered, _) = recovered.expect("it is found again within a wait");
    // Each as long as a handshake and the longest mail.
    simulation.run_until(recovered + 3 * Duration::from_millis(3100));
    let sessions = simulation.planner().status(simulation.now(), server).established;
    assert!(sessions >= 7, "{sessions} sessions");
    let again = simulation.server_tally(server).refused - refused;
    assert!(again <= 2, "{again} were refused when it came back");
    assert_attempts_are_the_mails_own(simulation.closed());
}

/// Every trouble there is ends, and then the mails arrive.
#[test]
fn every_trouble_passes() {
    for trouble in Trouble::ALL {
        // Nobody gets past those but with other settings.
        if matches!(trouble, Trouble::RefusesLogin | Trouble::WrongCertificate) {
            continue;
        }
        let model = ServerModel { trouble, ..ServerModel::default() };
        let model = ServerModel { outages: vec![seconds(5)..seconds(300)], ..model };
        let mut simulation = empty(82);
        simulation.add_server(limits(5), model);
        simulation.submit(Wave { every: Millis(100), ..mails(1000) });
        simulation.run();
        let totals = simulation.totals();
        assert!(totals.failed <= 20, "{trouble:?}: {totals:?}");
        assert!(totals.in_doubt <= 5, "{trouble:?}: {totals:?}");
        // Held for long at most once more.
        assert!(simulation.now() < at(3000), "{trouble:?}: {:?}", simulation.now());
    }
}
