//! What servers bear is learned from what they say, and the numbers that come of it.

use posthaste_scheduler::{Record, ServerId, Time};
use posthaste_session::Pipelining;
use posthaste_testkit::simulation::{
    Bucket, CapWords, Greylist, Latency, Millis, ServerModel, SessionCap, SessionLimit, Simulation,
    TooMany,
};

use crate::common::*;

fn first(simulation: &Simulation) -> ServerId {
    simulation.planner().servers().next().unwrap()
}

/// 2 s a mail, give or take a half.
fn slow() -> ServerModel {
    ServerModel { service: Latency::Between(seconds(1), seconds(3)), ..ServerModel::default() }
}

/// Of the sessions that a server would have borne in this time, how many it had mails in.
fn used(simulation: &mut Simulation, limit: u32, from: u64, to: u64) -> f64 {
    let server = first(simulation);
    simulation.run_until(at(from));
    let before = simulation.server_tally(server).busy_time;
    simulation.run_until(at(to));
    let busy = simulation.server_tally(server).busy_time - before;
    busy.as_secs_f64() / (f64::from(limit) * (to - from) as f64)
}

/// Mails to a server that takes five sessions, where we would have twenty: at most so many are refused,
/// and so much of the five is used. No mail waits or pays for it.
#[track_caller]
fn check_limit_of_five(refusal: TooMany, mails: u32, most: u32, least: f64) {
    let sessions = SessionLimit { refusal, ..SessionLimit::fixed(5) };
    let mut simulation = simulation(6, limits(20), ServerModel { sessions, ..slow() }, mails);
    simulation.run();
    let time = simulation.now() - Time::EPOCH;
    let server = first(&simulation);
    let tally = simulation.server_tally(server);
    let used = tally.busy_time.as_secs_f64() / (5.0 * time.as_secs_f64());
    let refused = tally.refused + tally.turned_away;
    println!("{refusal:?}: {refused} of {mails} refused, {used:.4} used in {time:?}");
    assert!(refused <= most, "{refusal:?}: {refused} refused");
    assert!(used >= least, "{refusal:?}: {used}");
    assert_all_arrived_at_once(&simulation);
}

/// SCHED-03: hardly one connection in a hundred mails is refused, and the five are kept busy.
#[test]
fn a_limit_of_sessions_is_learned() {
    check_limit_of_five(TooMany::Greeting421, 3000, 30, 0.99);
    check_limit_of_five(TooMany::Greeting554, 3000, 30, 0.99);
    // Who is refused only with its first mail has let others be opened in the meantime: slow start
    // goes on to all twenty before the first reply.
    check_limit_of_five(TooMany::Mail421, 3000, 65, 0.99);
}

/// A server that does not say what it has against one more connection.
#[test]
fn a_limit_of_sessions_is_learned_from_silence() {
    check_limit_of_five(TooMany::Drops, 1000, 35, 0.97);
    check_limit_of_five(TooMany::Refuses, 1000, 35, 0.97);
    check_limit_of_five(TooMany::Mail452, 1000, 50, 0.99);
}

/// The limit goes from 5 to 2 to 12, whether or not the server ends the sessions that are too many.
#[test]
fn a_limit_that_moves_is_followed() {
    for evicts in [false, true] {
        let steps = vec![(seconds(0), 5), (seconds(600), 2), (seconds(1200), 12)];
        let sessions = SessionLimit { steps, evicts, ..SessionLimit::default() };
        let model = ServerModel { sessions, ..slow() };
        let mut simulation = simulation(30, limits(20), model, 20_000);
        for (limit, from, to) in [(5, 60, 600), (2, 660, 1200), (12, 1260, 1800)] {
            let used = used(&mut simulation, limit, from, to);
            println!("evicts {evicts}, limit {limit}: {used:.3}");
            assert!(used >= 0.9, "evicts {evicts}, limit {limit}: {used}");
        }
        let server = first(&simulation);
        let tally = simulation.server_tally(server);
        assert!(tally.refused * 100 <= tally.taken, "{tally:?}");
    }
}

/// Ten mails a session, and three ways to say so: known after two connections, at no mail's cost.
#[test]
fn a_cap_of_mails_in_a_session_is_learned() {
    for said in [CapWords::Shutdown, CapWords::Deferral, CapWords::TooManyMessages] {
        let session_cap = Some(SessionCap { mails: 10, said });
        let model = ServerModel { session_cap, ..ServerModel::default() };
        let mut simulation = simulation(31, limits(1), model, 500);
        simulation.run();
        let learned: Vec<_> = records(&simulation)
            .filter_map(|(_, record)| match record {
                Record::SessionCapLearned { mails, .. } => Some(mails),
                _ => None,
            })
            .collect();
        assert_eq!(learned.first(), Some(&10), "{said:?}");
        let server = first(&simulation);
        let tally = simulation.server_tally(server);
        println!("{said:?}: {} turned away, {} dialed", tally.turned_away, tally.dialed);
        assert!(tally.turned_away <= 2, "{said:?}: {tally:?}");
        assert!(tally.dialed <= 52, "{said:?}: {tally:?}");
        assert_all_arrived_at_once(&simulation);
    }
}

/// Row 34: what no reason is given for is a cap if it goes away with a fresh connection.
#[test]
fn a_cap_without_a_reason_is_learned() {
    let session_cap = Some(SessionCap { mails: 10, said: CapWords::Silent });
    let model = ServerModel { session_cap, ..ServerModel::default() };
    let mut simulation = simulation(32, limits(2), model, 500);
    simulation.run();
    let server = first(&simulation);
    let tally = simulation.server_tally(server);
    println!("{tally:?}");
    assert!(tally.turned_away <= 10, "{tally:?}");
    let totals = simulation.totals();
    assert_eq!(totals.delivered, totals.recipients());
}

/// Exim's default, a thousand mails a session, with many connections that all reach it.
#[test]
fn a_cap_of_a_thousand_mails_is_learned() {
    let session_cap = Some(SessionCap { mails: 1000, said: CapWords::Shutdown });
    let model = ServerModel { session_cap, ..ServerModel::default() };
    let mut simulation = simulation(33, limits(5), model, 12_000);
    simulation.run();
    let server = first(&simulation);
    let tally = simulation.server_tally(server);
    assert!(tally.turned_away <= 5, "each connection of the first round at most: {tally:?}");
    assert_all_arrived_at_once(&simulation);
}

/// Row 22: a hundred recipients where the server takes thirty a mail; the rest goes at once.
#[test]
fn a_cap_of_recipients_is_learned() {
    let model = ServerModel { recipient_cap: Some(30), ..ServerModel::default() };
    let mut simulation = empty(34);
    let server = simulation.add_server(limits(1), model);
    simulation.submit(posthaste_testkit::simulation::Wave { recipients: 100, ..mails(50) });
    simulation.run();
    let learned = records(&simulation)
        .filter(|(_, record)| matches!(record, Record::RecipientCapLearned { recipients: 30, .. }))
        .count();
    assert_eq!(learned, 1);
    assert_all_arrived_at_once(&simulation);
    // Four transactions for each hundred, and the first one that was too big.
    let tally = simulation.server_tally(server);
    assert!(simulation.tally().attempts <= 50 * 4 + 3, "{:?} {tally:?}", simulation.tally());
}

/// SCHED-05: ten mails a second: nobody pays, and the server is asked for little more than it gives.
#[test]
fn a_rate_is_met() {
    let rate = Some(Bucket { mails: 100, per: seconds(10) });
    let model = ServerModel { rate, ..ServerModel::default() };
    let mut simulation = simulation(35, limits(10), model, 2000);
    simulation.run();
    let server = first(&simulation);
    let tally = simulation.server_tally(server);
    println!("{tally:?} in {:?}", simulation.now());
    let totals = simulation.totals();
    assert_eq!(totals.delivered, totals.recipients(), "{totals:?}");
    assert!(simulation.now() < at(210), "the rate is used up: {:?}", simulation.now());
    assert!(tally.turned_away * 20 <= tally.taken, "{tally:?}");
}

/// SCHED-06, Row 23: whoever is greylisted comes back when it was told, or when it is usual, and
/// to the same server.
#[test]
fn greylisted_mails_come_back_in_time() {
    for (says, delay, most) in [(true, seconds(30), 40), (false, seconds(60), 90)] {
        let greylist = Some(Greylist { delay, says });
        let model = ServerModel { greylist, ..ServerModel::default() };
        let mut simulation = empty(36);
        let place = posthaste_scheduler::planner::Place::default();
        let servers = [(place, model.clone()), (place, model)];
        simulation.add_destination(limits(4), servers);
        simulation.submit(mails(100));
        simulation.run();
        let totals = simulation.totals();
        assert_eq!(totals.delivered, 100, "{totals:?}");
        assert!(simulation.now() < at(most), "done at {:?}", simulation.now());
        for mail in simulation.closed() {
            assert_eq!(mail.report.recipients[0].attempts, 2, "{mail:?}");
        }
    }
}

/// AIMD: a server that could work at everything works at eight mails at a time from one minute on,
/// and slows down with more. It gets fewer, loses nothing, and gets more again when it can.
#[test]
fn a_server_that_slows_down_gets_less_at_a_time() {
    let model = ServerModel {
        service: Latency::Between(Millis(80), Millis(120)),
        capacity: vec![(seconds(60), 8), (seconds(180), 100)],
        ..ServerModel::default()
    };
    let mut simulation = simulation(37, limits(50), model, 100_000);
    let before = sessions(&mut simulation, 10, 60);
    let during = sessions(&mut simulation, 70, 180);
    let after = sessions(&mut simulation, 240, 260);
    println!("{before:.1}, {during:.1}, {after:.1} sessions at work");
    assert!(before > 45.0, "{before}");
    assert!((8.0..35.0).contains(&during), "{during}");
    assert!(after > 40.0, "{after}");
    let server = first(&simulation);
    let taken = simulation.server_tally(server).taken;
    assert!(taken > 30_000, "{taken}");
}

/// How many mails it worked at, on average.
fn sessions(simulation: &mut Simulation, from: u64, to: u64) -> f64 {
    used(simulation, 1, from, to)
}

/// All connections use the mode that one of them has tried, or none does.
#[test]
fn one_connection_tries_the_next_pipelining_mode() {
    use posthaste_scheduler::Action;
    for (bears, expected) in [(Pipelining::Cross, 20), (Pipelining::Envelope, 1)] {
        let model = ServerModel { bears, ..ServerModel::default() };
        let mut simulation = simulation(18, limits(20), model, 5000);
        simulation.run();
        let told = simulation.trace().iter().filter(|(_, action)| match action {
            Action::SetPipelining { mode, .. } | Action::Open { pipelining: mode, .. } => {
                *mode == Pipelining::Cross
            }
            _ => false,
        });
        assert_eq!(told.count(), expected, "{bears}");
        let server = first(&simulation);
        assert_eq!(simulation.planner().status(simulation.now(), server).pipelining, bears);
    }
}
