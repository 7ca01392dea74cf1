//! What becomes of mails, whatever the server does.

use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;
use posthaste_scheduler::{
    Cause, DestinationLimits, Exhausted, Fault, GiveUp, InDoubtPolicy, PlannerConfig, Record,
    RetryPolicy, Time,
};
use posthaste_session::Pipelining;
use posthaste_testkit::simulation::{
    CapWords, Latency, Millis, Poisoning, ServerModel, SessionCap, SessionLimit, Simulation,
    Trouble, Wave,
};

use crate::common::*;

/// SCHED-02, SCHED-11: a server goes up and down under ten thousand mails.
#[test]
fn ten_thousand_mails_outlast_a_flapping_server() {
    let model = ServerModel {
        service: Latency::Between(Millis(50), Millis(150)),
        ..flapping(1, Trouble::Refuses, 3600)
    };
    let mut simulation = simulation(1, limits(20), model, 10_000);
    simulation.run_to_the_end();

    let closed = simulation.closed();
    let [delivered, failed, deferred, in_doubt] = states(closed);
    assert_eq!(closed.len(), 10_000);
    assert_eq!((failed, deferred), (0, 0));
    assert!(in_doubt < delivered / 50, "{in_doubt} of {delivered} were lost behind their end");
    assert_attempts_are_the_mails_own(closed);
    assert_eq!(simulation.tally().most_connections, 20);
}

/// Every kind of trouble, and faults of the line and of mailboxes on top, over many seeds.
#[test]
fn every_recipient_has_one_outcome_whatever_the_server_does() {
    let troubles = [
        Trouble::Refuses,
        Trouble::Hangs,
        Trouble::ShutsDown,
        Trouble::Breaks,
        Trouble::Dismisses,
        Trouble::RefusesMore,
        Trouble::DefersMail,
    ];
    for seed in 0..200 {
        let trouble = troubles[seed as usize % troubles.len()];
        let mut rng = Rng::with_seed(seed);
        let model = ServerModel {
            sessions: if rng.bool() {
                SessionLimit::fixed(rng.u32(1..8))
            } else {
                SessionLimit::default()
            },
            session_cap: rng
                .bool()
                .then(|| SessionCap { mails: rng.u32(1..8), said: CapWords::Shutdown }),
            deferred: rng.u32(0..200),
            refused: rng.u32(0..200),
            dropped_in_content: rng.u32(0..50),
            dropped_at_end: rng.u32(0..50),
            bears: if rng.bool() { Pipelining::Cross } else { Pipelining::Envelope },
            ..flapping(seed, trouble, 300)
        };
        let limits = DestinationLimits {
            max_mails_per_connection: rng.bool().then(|| rng.u32(1..10)),
            ..limits(rng.u32(1..10))
        };
        let mut simulation = simulation(seed, limits, model, 200);
        simulation.run_to_the_end();
        assert_eq!(simulation.closed().len(), 200, "seed {seed}");
    }
}

/// The wish to be done by a time is kept, with any trouble: in every state but while being sent.
#[test]
fn mails_expire_wherever_they_wait() {
    let troubles = [Trouble::Refuses, Trouble::Hangs, Trouble::ShutsDown];
    for seed in 0..50 {
        let trouble = troubles[seed as usize % troubles.len()];
        let model = ServerModel { deferred: 500, ..flapping(seed, trouble, 300) };
        let mut simulation = empty(seed);
        simulation.add_server(limits(2), model);
        simulation.submit(Wave { recipients: 2, lifetime: Some(seconds(8)), ..mails(300) });
        simulation.run_until(at(8) + Trouble::TIMEOUT + secs(1));
        assert_eq!(simulation.closed().len(), 300, "seed {seed}");
        for mail in simulation.closed() {
            let total = mail.report.timing.total();
            let was_under_way = mail.report.timing.started.is_some();
            assert!(total <= secs(8) || was_under_way, "seed {seed}: {mail:?}");
        }
    }
}

/// SCHED-02, SCHED-13, FL-10: an hour without a server costs one connection every now and then, no mail
/// an attempt, and is over soon after.
#[test]
fn an_outage_of_an_hour_is_probed_and_recovered_from() {
    let model = ServerModel { outages: vec![seconds(0)..seconds(3600)], ..ServerModel::default() };
    let mut simulation = simulation(3, limits(20), model, 1000);
    simulation.run_until(at(3600));

    let probes = opened(&simulation);
    let minute = |range: Range<u64>| {
        probes.iter().filter(|&&probe| (at(range.start)..at(range.end)).contains(&probe)).count()
    };
    assert!((5..=8).contains(&minute(0..60)), "{probes:?}");
    assert!((100..=240).contains(&minute(60..3600)), "15 to 30 s between two: {probes:?}");
    assert!(probes.windows(2).skip(5).all(|pair| pair[1] - pair[0] >= secs(15)));
    assert!(simulation.tally().calls < 10_000, "nothing is busy while nothing can be done");

    simulation.run();
    assert!(simulation.now() < at(3600 + 30 + 5), "done at {:?}", simulation.now());
    assert_eq!(states(simulation.closed())[0], recipients(&simulation));
    assert_attempts_are_the_mails_own(simulation.closed());
    assert_eq!(simulation.tally().most_connections, 20, "slow start has reached the limit");
}

/// FL-10: the wait doubles from 1 s to 30 s, at least half of it certain, the rest jitter.
#[test]
fn the_back_off_of_a_server_grows_with_jitter() {
    let waits = |seed| -> Vec<Duration> {
        let model =
            ServerModel { outages: vec![seconds(0)..seconds(600)], ..ServerModel::default() };
        let mut simulation = simulation(seed, limits(20), model, 100);
        simulation.run_until(at(600));
        let wait = |(now, record)| match record {
            Record::BackOff { until, .. } => Some(until - now),
            _ => None,
        };
        records(&simulation).filter_map(wait).collect()
    };
    let bounds = [1, 2, 4, 8, 16, 30, 30, 30];
    for seed in 0..20 {
        for (wait, most) in waits(seed).into_iter().zip(bounds.map(secs)) {
            assert!(wait >= most / 2 && wait <= most, "{wait:?} of {most:?}");
        }
    }
    assert_ne!(waits(1), waits(2), "jitter differs");
}

/// One success does not make a server that fails again and again as good as new.
#[test]
fn a_flapping_server_keeps_a_part_of_its_record() {
    let outages = (0..20).map(|round| seconds(20 * round)..seconds(20 * round + 19)).collect();
    let model = ServerModel { outages, ..ServerModel::default() };
    let mut simulation = simulation(4, limits(2), model, 1000);
    simulation.run();
    let mut forgiven = records(&simulation).filter_map(|(_, record)| match record {
        Record::Recovered { failures, .. } => Some(failures),
        _ => None,
    });
    assert!(forgiven.any(|failures| failures > 0));
}

/// CONN-05: 421 in the greeting for the first 30 s: no mail pays for it, and nothing hurries.
#[test]
fn a_server_that_is_not_ready_yet_costs_nothing() {
    let outages = vec![seconds(0)..seconds(30)];
    let model = ServerModel { outages, trouble: Trouble::ShutsDown, ..ServerModel::default() };
    let mut simulation = simulation(5, limits(20), model, 500);
    simulation.run();
    assert!(opened(&simulation).iter().filter(|&&opened| opened < at(30)).count() <= 8);
    assert!(simulation.now() < at(30 + 16 + 5), "done at {:?}", simulation.now());
    assert_eq!(states(simulation.closed())[0], recipients(&simulation));
    assert_attempts_are_the_mails_own(simulation.closed());
}

/// Slow start: one connection, then never more than twice as many as work.
#[test]
fn connections_double_at_most() {
    let model =
        ServerModel { service: Latency::Between(seconds(1), seconds(1)), ..ServerModel::default() };
    let mut simulation = simulation(7, limits(50), model, 1000);
    simulation.run();
    let opened = opened(&simulation);
    let round_trips = Duration::from_millis(3 * 15);
    assert!(opened[1] - opened[0] >= round_trips, "the first one is alone until it is ready");
    let (mut before, mut round_ends) = (0, Time::EPOCH);
    for (count, &opened) in (1..).zip(&opened) {
        if opened >= round_ends {
            (before, round_ends) = (count - 1, opened + round_trips);
        }
        assert!(count <= 2 * before.max(1), "{count} after {before} at {opened:?}");
    }
    assert_eq!(opened.len(), 50, "each is used again and again");
}

/// TIME-12: few mails have no more connections than mails, and as few as will do; those that have nothing
/// to do for 30 s are closed.
#[test]
fn connections_are_used_again() {
    let mut simulation = empty(8);
    simulation.add_server(limits(50), ServerModel::default());
    for second in 0..100 {
        simulation.submit(Wave { at: seconds(second), ..Wave::default() });
    }
    simulation.run();
    assert_eq!(opened(&simulation).len(), 1);

    simulation.run_to_the_end();
    let idle = DestinationLimits::default().idle;
    assert!(simulation.now() - at(99) >= idle && simulation.now() - at(99) < idle + secs(1));
}

/// SCHED-10: one mail that takes for ever does not hold up the next one.
#[test]
fn a_mail_behind_a_slow_one_gets_its_own_connection() {
    let model = ServerModel {
        service: Latency::Between(seconds(60), seconds(60)),
        ..ServerModel::default()
    };
    let mut simulation = empty(9);
    simulation.add_server(limits(50), model);
    simulation.submit(Wave::default());
    simulation.submit(Wave { at: seconds(1), ..Wave::default() });
    simulation.run();
    assert!(simulation.now() < at(65), "done at {:?}", simulation.now());
}

/// SCHED-08: a connection carries so many mails, and then another one takes its place.
#[test]
fn connections_are_replaced_after_so_many_mails() {
    let limits = DestinationLimits { max_mails_per_connection: Some(20), ..limits(5) };
    let mut simulation = simulation(10, limits, ServerModel::default(), 1000);
    simulation.run_to_the_end();
    assert!((50..60).contains(&opened(&simulation).len()), "{}", opened(&simulation).len());
}

/// SCHED-12: a connection is used for 300 s.
#[test]
fn connections_are_replaced_after_a_time() {
    let model =
        ServerModel { service: Latency::Between(seconds(1), seconds(1)), ..ServerModel::default() };
    let mut simulation = simulation(11, limits(1), model, 1000);
    simulation.run();
    assert!((4..=5).contains(&opened(&simulation).len()));
}

/// RX-08: a mail that kills its connections fails alone, and its neighbours arrive.
#[test]
fn a_poison_mail_ends() {
    let model = ServerModel { poison: 50..52, ..ServerModel::default() };
    let mut simulation = simulation(12, limits(5), model, 100);
    simulation.run();
    for mail in simulation.closed() {
        let is_poison = (50..52).contains(&mail.number);
        let [delivered, failed, ..] = states(std::slice::from_ref(mail));
        assert_eq!((delivered == 0, failed > 0), (is_poison, is_poison), "{mail:?}");
    }
    let poison = simulation.closed().iter().find(|mail| mail.number == 50).unwrap();
    assert_eq!(poison.report.recipients[0].cause, Some(Cause::GivenUp(GiveUp::AttemptsUsedUp)));
    assert_eq!(poison.interruptions.before_end, 6, "one is free, five are attempts");
}

/// RX-08: nor does a mail that the server always dismisses keep the others from their turn.
#[test]
fn a_mail_that_is_dismissed_again_and_again_lets_others_go_first() {
    let poisoning = Poisoning::Dismisses;
    let model = ServerModel { poison: 0..1, poisoning, ..ServerModel::default() };
    let mut simulation = simulation(21, limits(1), model, 100);
    simulation.run_until(at(60));
    assert_eq!(simulation.closed().len(), 99);
    assert!(simulation.planner().jobs() == 1, "421 costs no attempt");
    // Ten times; then it is the mail, whatever the server says.
    simulation.run();
    let last = simulation.closed().last().unwrap();
    let recipient = &last.report.recipients[0];
    assert_eq!((last.number, recipient.cause), (0, Some(Cause::GivenUp(GiveUp::AttemptsUsedUp))));
    assert_eq!(last.interruptions.before_end, 15, "ten are free, five are attempts");
}

/// RX-05: 421 after every EHLO.
#[test]
fn a_server_that_ends_every_session_is_not_hammered() {
    for trouble in [Trouble::Dismisses, Trouble::Breaks] {
        let model = ServerModel {
            outages: vec![seconds(0)..seconds(600)],
            trouble,
            ..ServerModel::default()
        };
        let mut simulation = simulation(22, limits(20), model, 1000);
        simulation.run_until(at(600));
        assert!(opened(&simulation).len() < 100, "{trouble:?}: {}", opened(&simulation).len());
        simulation.run();
        assert_eq!(states(simulation.closed())[0], recipients(&simulation), "{trouble:?}");
        assert_attempts_are_the_mails_own(simulation.closed());
    }
}

/// Row 18: several mails deferred at MAIL in a row are the server's doing. It is asked more and more
/// rarely, and most mails keep their attempts.
#[test]
fn a_server_that_defers_every_mail_is_left_alone() {
    let outages = vec![seconds(0)..seconds(600)];
    let model = ServerModel { outages, trouble: Trouble::DefersMail, ..ServerModel::default() };
    let mut simulation = simulation(23, limits(5), model, 1000);
    simulation.run_until(at(600));
    assert!(simulation.tally().attempts < 200, "{:?}", simulation.tally());
    simulation.run();
    let [delivered, failed, ..] = states(simulation.closed());
    assert!(failed < delivered / 20, "{failed} failed, {delivered} were delivered");
}

/// A server that takes no more connections, without saying why, goes on with those it has.
#[test]
fn connections_that_work_go_on_while_others_fail() {
    let outages = vec![Millis(200)..seconds(100)];
    let model = ServerModel {
        outages,
        trouble: Trouble::RefusesMore,
        service: Latency::Between(seconds(1), seconds(2)),
        ..ServerModel::default()
    };
    let mut simulation = simulation(24, limits(20), model, 2000);
    simulation.run_until(at(100));
    let server = simulation.planner().servers().next().unwrap();
    let failed: Vec<_> = records(&simulation)
        .filter_map(|(_, record)| match record {
            Record::BackOff { failures, .. } => Some(failures),
            _ => None,
        })
        .collect();
    assert!((5..10).contains(&failed.len()), "{failed:?}");
    assert!(failed.iter().zip(1..).all(|(failures, count)| *failures == count), "{failed:?}");
    let before = simulation.planner().status(simulation.now(), server).established;
    assert!((2..20).contains(&before), "{before}");
    assert!(simulation.closed().len() > 100, "{}", simulation.closed().len());
    simulation.run_until(at(135));
    assert_eq!(simulation.planner().status(simulation.now(), server).established, 20);
}

/// RX-06, CL-06: a server that takes every content and never says so.
#[test]
fn a_server_that_drops_every_mail_at_its_end_is_not_hammered() {
    let model = ServerModel { dropped_at_end: 1000, ..ServerModel::default() };
    let mut simulation = simulation(13, limits(20), model, 1000);
    simulation.run_until(at(600));
    assert!(opened(&simulation).len() < 100, "{}", opened(&simulation).len());
    let [delivered, failed, deferred, _] = states(simulation.closed());
    assert_eq!((delivered, failed, deferred), (0, 0, 0));
}

/// SCHED-06: who has the mail or will never have it is not in the next attempt; checked by the
/// simulation, which counts what the server took.
#[test]
fn deferred_recipients_are_tried_five_times() {
    let model = ServerModel { deferred: 400, refused: 100, ..ServerModel::default() };
    let mut simulation = simulation(14, limits(5), model, 500);
    simulation.run();
    let recipients = simulation.closed().iter().flat_map(|mail| &mail.report.recipients);
    for recipient in recipients {
        assert!((1..=5).contains(&recipient.attempts));
        if recipient.cause == Some(Cause::GivenUp(GiveUp::AttemptsUsedUp)) {
            assert_eq!(recipient.attempts, 5);
            assert_eq!(recipient.reply.as_ref().unwrap().code().value(), 450);
        }
    }
    assert!(simulation.now() < at(25), "1, 2, 4 and 8 s, each at most a fifth longer");
}

/// SCHED-07, CL-09: `Retry` never loses a mail, and may deliver it twice, which is counted.
#[test]
fn mails_in_doubt_are_sent_again_where_the_caller_wants_that() {
    let model = ServerModel { dropped_at_end: 100, ..ServerModel::default() };
    let mut simulation = Simulation::new(PlannerConfig::default(), InDoubtPolicy::Retry, 15);
    simulation.add_server(limits(5), model);
    simulation.submit(mails(500));
    simulation.run();
    let closed = simulation.closed();
    assert!(states(closed)[0] >= 499);
    assert!(closed.iter().any(|mail| mail.taken[0] > 1), "duplicates are the price");
    for mail in closed {
        let counted = mail.report.recipients[0].possible_duplicates;
        assert_eq!(counted, mail.interruptions.behind_end, "{mail:?}");
        assert!(u32::from(mail.taken[0]) <= 1 + counted, "{mail:?}");
    }
    let again = closed.iter().filter(|mail| mail.interruptions.behind_end > 0);
    assert!(again.clone().count() > 30);
    assert!(again.into_iter().all(|mail| mail.report.timing.total() >= secs(600)));
}

/// CONN-06, Q68: a greeting of 550 is held against the server and not against the mails, unless the
/// caller wants to hear of it at once.
#[test]
fn a_server_that_refuses_sessions_is_asked_again_later() {
    for (greeting, delivered) in [(Fault::Hold, true), (Fault::Fail, false)] {
        let config = PlannerConfig { greeting, ..PlannerConfig::default() };
        let trouble = Trouble::RefusesSession;
        let outages = vec![seconds(0)..seconds(3600)];
        let model = ServerModel { outages, trouble, ..ServerModel::default() };
        let mut simulation = simulation_with(config, 25, limits(20), model, 100);
        simulation.run();
        assert!(opened(&simulation).iter().filter(|&&opened| opened < at(3600)).count() < 20);
        let expected = if delivered { recipients(&simulation) } else { 0 };
        assert_eq!(states(simulation.closed())[0], expected, "{greeting:?}");
        for recipient in simulation.closed().iter().flat_map(|mail| &mail.report.recipients) {
            let cause = (!delivered).then_some(Cause::GivenUp(GiveUp::Unwelcome));
            assert_eq!((recipient.cause, recipient.attempts), (cause, u32::from(delivered)));
        }
    }
}

/// SCHED-01: the patience of RFC 5321 section 4.5.4.1, half an hour between two attempts and days of them.
#[test]
fn deferred_mails_wait_as_they_are_told_to() {
    let half_an_hour = secs(30 * 60);
    let retry = RetryPolicy { attempts: 1000, min: half_an_hour, max: 4 * half_an_hour };
    let lifetime = secs(5 * 24 * 3600);
    let config = PlannerConfig { retry, lifetime, ..PlannerConfig::default() };
    let model = ServerModel { deferred: 1000, ..ServerModel::default() };
    let mut simulation = simulation_with(config, 26, limits(1), model, 1);
    simulation.run_to_the_end();
    let waits: Vec<Duration> = records(&simulation)
        .filter_map(|(now, record)| match record {
            Record::Deferred { until, .. } => Some(until - now),
            _ => None,
        })
        .collect();
    assert!((24..100).contains(&waits.len()), "{waits:?}");
    for (wait, expected) in waits.iter().zip([1, 2, 4, 4, 4].map(|steps| steps * half_an_hour)) {
        assert!(wait.as_secs().abs_diff(expected.as_secs()) <= expected.as_secs() / 5, "{wait:?}");
    }
    let report = &simulation.closed()[0].report;
    assert_eq!(report.recipients[0].cause, Some(Cause::GivenUp(GiveUp::Expired)));
    assert!(report.timing.total() <= lifetime);
    assert!(report.timing.total() >= lifetime - 5 * half_an_hour);
}

/// RX-11: what fails leaves nothing behind, however much fails.
#[test]
fn mails_that_fail_are_forgotten() {
    let model = ServerModel { refused: 900, dropped_in_content: 100, ..ServerModel::default() };
    let mut simulation = simulation(27, limits(50), model, 20_000);
    simulation.run_to_the_end();
    assert_eq!(simulation.closed().len(), 20_000);
    assert_eq!((simulation.planner().jobs(), simulation.planner().connections()), (0, 0));
}

/// SCHED-14, AUTH-11: wrong credentials end all mails at once, and are not tried again and again.
#[test]
fn wrong_credentials_fail_all_mails_at_once() {
    let outages = vec![seconds(0)..seconds(3600)];
    let model = ServerModel { outages, trouble: Trouble::RefusesLogin, ..ServerModel::default() };
    let mut simulation = simulation(16, limits(20), model, 100);
    for second in 1..100 {
        simulation.submit(Wave { at: seconds(second), ..Wave::default() });
    }
    simulation.run();
    assert_eq!(opened(&simulation).len(), 1);
    assert!(simulation.now() < at(100));
    let recipients = simulation.closed().iter().flat_map(|mail| &mail.report.recipients);
    for recipient in recipients {
        assert_eq!(recipient.cause, Some(Cause::GivenUp(GiveUp::Authentication)));
        assert_eq!(recipient.attempts, 0);
    }
}

/// The other settings: five failures in a row, and the mails are given up, of all servers or only of
/// those that never answered.
#[test]
fn an_exhausted_server_gives_its_mails_back_where_the_caller_wants_that() {
    for exhausted in [Exhausted::Fail, Exhausted::FailIfAbsent] {
        let config = PlannerConfig { exhausted, ..PlannerConfig::default() };
        let model =
            ServerModel { outages: vec![seconds(0)..seconds(3600)], ..ServerModel::default() };
        let mut simulation = simulation_with(config, 17, limits(20), model, 100);
        simulation.run_to_the_end();
        assert_eq!(opened(&simulation).len(), 5);
        assert!(simulation.now() < at(16));
        let [_, _, deferred, _] = states(simulation.closed());
        assert_eq!(deferred, recipients(&simulation));
    }
}

/// A server that was there is waited for, and so is one that says that it is busy.
#[test]
fn a_server_that_has_answered_is_waited_for() {
    for (outage, trouble) in [
        (seconds(1)..seconds(600), Trouble::Refuses),
        (seconds(0)..seconds(600), Trouble::ShutsDown),
    ] {
        let config =
            PlannerConfig { exhausted: Exhausted::FailIfAbsent, ..PlannerConfig::default() };
        let model = ServerModel { outages: vec![outage], trouble, ..ServerModel::default() };
        let mut simulation = simulation_with(config, 18, limits(2), model, 1000);
        simulation.run_to_the_end();
        assert!(simulation.now() > at(600));
        let [delivered, failed, deferred, in_doubt] = states(simulation.closed());
        assert_eq!((failed, deferred), (0, 0), "{delivered} were delivered");
        assert!(in_doubt <= 6, "those of two mails at most were on their way: {in_doubt}");
    }
}

/// QUIT-06: what is under way may finish, for a while; everything else ends at once.
#[test]
fn a_drained_planner_ends() {
    for seed in 0..50 {
        let model = ServerModel {
            service: Latency::Between(seconds(1), seconds(20)),
            deferred: 200,
            ..flapping(seed, Trouble::Refuses, 60)
        };
        let mut simulation = simulation(seed, limits(10), model, 200);
        simulation.run_until(at(15));
        simulation.drain(secs(10));
        simulation.run_until(at(25));
        assert_eq!(simulation.planner().connections(), 0, "seed {seed}");
        simulation.run_to_the_end();
        assert_eq!(simulation.closed().len(), 200, "seed {seed}");
    }
}

/// The same seed gives the same trace, and another one another.
#[test]
fn the_trace_depends_on_nothing_but_the_seed() {
    let trace = |seed| {
        let model = ServerModel {
            sessions: SessionLimit::fixed(3),
            deferred: 100,
            dropped_in_content: 20,
            ..flapping(1, Trouble::Refuses, 600)
        };
        let mut simulation = simulation(seed, limits(10), model, 500);
        simulation.run_to_the_end();
        simulation.trace().to_vec()
    };
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}

/// Wake-ups are for work: two for each attempt at most, nearly none of them in vain.
#[test]
fn connections_are_woken_for_work_only() {
    let mut simulation = empty(19);
    simulation.add_server(limits(10), ServerModel::default());
    let mut rng = Rng::with_seed(19);
    for _ in 0..5000 {
        simulation.submit(Wave { at: Millis(rng.u64(..20_000)), ..Wave::default() });
    }
    simulation.run();
    let tally = simulation.tally();
    assert!(tally.wakes <= 2 * tally.attempts, "{tally:?}");
    assert!(tally.wakes_for_nothing * 10 <= tally.wakes, "{tally:?}");
}

/// RX-03, RX-07, SCHED-10: trouble of one server is no trouble of another.
#[test]
fn servers_do_not_wait_for_each_other() {
    let mut simulation = empty(20);
    let hangs = ServerModel {
        outages: vec![seconds(0)..seconds(3600)],
        trouble: Trouble::Hangs,
        ..ServerModel::default()
    };
    simulation.add_server(limits(10), hangs);
    simulation.add_server(limits(10), ServerModel::default());
    for _ in 0..500 {
        simulation.submit(Wave { destination: 0, ..Wave::default() });
        simulation.submit(Wave { destination: 1, ..Wave::default() });
    }
    simulation.run_until(at(5));
    assert_eq!(simulation.closed().len(), 500);
    assert!(simulation.closed().iter().all(|mail| mail.number % 2 == 1));
}
