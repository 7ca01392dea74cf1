//! Destinations of several servers.

use posthaste_scheduler::Time;
use posthaste_scheduler::planner::Place;
use posthaste_testkit::simulation::{Balancer, Latency, Millis, ServerModel, Simulation, Trouble};

use crate::common::*;

fn steady() -> ServerModel {
    ServerModel { service: Latency::Between(Millis(80), Millis(120)), ..ServerModel::default() }
}

fn dead(hangs: bool) -> ServerModel {
    let trouble = if hangs { Trouble::Hangs } else { Trouble::Refuses };
    ServerModel { outages: vec![seconds(0)..seconds(100_000)], trouble, ..steady() }
}

fn place(preference: u16) -> Place {
    Place { preference, ..Place::default() }
}

/// How long 20 000 mails take over 20 connections to these servers.
fn time(servers: impl IntoIterator<Item = (Place, ServerModel)>) -> f64 {
    let mut simulation = empty(60);
    simulation.add_destination(limits(20), servers);
    simulation.submit(mails(20_000));
    simulation.run();
    assert_all_arrived_at_once(&simulation);
    simulation.now().since_epoch().as_secs_f64()
}

/// One of four addresses is dead: as a server of its own, and behind a balancer that does not know.
#[test]
fn a_dead_one_of_four_costs_less_than_a_third() {
    let whole = time((0..4).map(|_| (place(0), steady())));
    for hangs in [false, true] {
        let mut servers: Vec<_> = (0..3).map(|_| (place(0), steady())).collect();
        servers.insert(1, (place(0), dead(hangs)));
        let of_four = time(servers);
        let balancer = Some(Balancer { servers: 4, dead: 1, hangs });
        let balanced = time([(place(0), ServerModel { balancer, ..steady() })]);
        println!("hangs {hangs}: {whole:.1} s, {of_four:.1} s, {balanced:.1} s");
        assert!(whole / of_four >= 0.7, "hangs {hangs}: {of_four} s for {whole} s");
        assert!(whole / balanced >= 0.7, "hangs {hangs}: {balanced} s for {whole} s");
    }
}

/// The fatal attractor: who is slow keeps connections for longer, and must not collect them.
#[test]
fn the_slowest_of_four_does_not_collect_the_sessions() {
    let slow = ServerModel {
        service: Latency::Between(Millis(1600), Millis(2400)),
        ..ServerModel::default()
    };
    let mut simulation = empty(61);
    let mut servers: Vec<_> = (0..3).map(|_| (place(0), steady())).collect();
    servers.push((place(0), slow));
    let destination = simulation.add_destination(limits(20), servers);
    simulation.submit(mails(30_000));
    simulation.run_until(at(120));
    let servers: Vec<_> = simulation.planner().servers_of(destination).collect();
    let times: Vec<f64> = servers
        .iter()
        .map(|&server| simulation.server_tally(server).session_time.as_secs_f64())
        .collect();
    let share = times[3] / times.iter().sum::<f64>();
    println!("{share:.2} of {times:?}");
    assert!(share <= 0.4, "{share} of {times:?}");
}

/// A limit reached is no reason to spill: the second choice is for when the first is not there.
#[test]
fn a_worse_preference_is_used_only_in_need() {
    let mut simulation = empty(62);
    let better = ServerModel { outages: vec![seconds(60)..seconds(120)], ..steady() };
    let servers = [(place(10), better), (place(20), steady())];
    let destination = simulation.add_destination(limits(5), servers);
    simulation.submit(mails(20_000));
    let [first, second] = two(&simulation, destination);
    simulation.run_until(at(60));
    assert_eq!(simulation.server_tally(second).dialed, 0);
    simulation.run_until(at(115));
    let taken = simulation.server_tally(second).taken;
    assert!(taken > 1000, "{taken} while the first was not there");
    simulation.run_until(at(180));
    let before = simulation.server_tally(first).taken;
    simulation.run_until(at(240));
    let after = simulation.server_tally(first).taken;
    assert!(after - before > 1000, "{}: the first is used again", after - before);
}

fn two(
    simulation: &Simulation,
    destination: posthaste_scheduler::DestinationId,
) -> [posthaste_scheduler::ServerId; 2] {
    let servers: Vec<_> = simulation.planner().servers_of(destination).collect();
    servers.try_into().unwrap()
}

/// Servers of one preference share by weight.
#[test]
fn servers_share_by_weight() {
    let mut simulation = empty(63);
    let servers = [1, 3].map(|weight| (Place { preference: 0, weight }, steady()));
    let destination = simulation.add_destination(limits(20), servers);
    simulation.submit(mails(20_000));
    simulation.run();
    let [light, heavy] = two(&simulation, destination).map(|id| simulation.server_tally(id).taken);
    let ratio = f64::from(heavy) / f64::from(light);
    println!("{ratio}");
    assert!((1.5..5.0).contains(&ratio), "{light} and {heavy}");
}

/// All are dead, one after the other: whoever is left has the mails.
#[test]
fn the_last_server_gets_everything() {
    let outage =
        |from: u64| ServerModel { outages: vec![seconds(from)..seconds(100_000)], ..steady() };
    let mut simulation = empty(64);
    let servers = [10, 20, 30, 100_000].map(|from| (place(0), outage(from)));
    simulation.add_destination(limits(8), servers);
    simulation.submit(mails(5000));
    simulation.run();
    let totals = simulation.totals();
    assert!(totals.delivered >= totals.recipients() - 40, "{totals:?}");
    assert!(simulation.now() - Time::EPOCH < secs(120), "{:?}", simulation.now());
}

/// One of two equals that was not there is used again, although the other one has all the connections.
#[test]
fn an_equal_that_comes_back_has_its_share_again() {
    let mut simulation = empty(65);
    let away = ServerModel { outages: vec![seconds(0)..seconds(60)], ..steady() };
    let servers = [(place(0), away), (place(0), steady())];
    let destination = simulation.add_destination(limits(8), servers);
    simulation.submit(mails(20_000));
    let [first, _] = two(&simulation, destination);
    simulation.run_until(at(60));
    assert_eq!(simulation.server_tally(first).taken, 0);
    simulation.run_until(at(120));
    let before = simulation.server_tally(first).taken;
    simulation.run_until(at(180));
    assert!(simulation.server_tally(first).taken > before, "it is asked again");
}
