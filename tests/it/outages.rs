//! A server that is gone for a while, or one of several that is gone for good.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use posthaste::scheduler::{BackOff, Place, PlannerConfig, Record, SchedulerConfig, ServerStatus};
use posthaste::{Mailer, MailerBuilder};
use posthaste_sink::{Limits, Sink};
use posthaste_tests::wait_until;
use tokio::net::TcpListener;

use crate::audit::{audit, close, mail};
use crate::faults::send;
use crate::limits::{all_delivered, sink};
use crate::watch::Watch;

const PATIENCE: Duration = Duration::from_secs(30);

/// SCHED-02, SCHED-13: mails wait while their server is gone, one connection at a time looks whether it is
/// back, and then all connections are used again.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_loses_nothing_and_is_probed_by_one() {
    const MAILS: usize = 2_000;
    let back_off = BackOff { base: Duration::from_millis(50), cap: Duration::from_millis(400) };
    let planner = PlannerConfig { back_off, ..PlannerConfig::default() };
    let sink = sink(Limits::default(), Duration::from_millis(5)).await;
    let watch = Watch::new();
    let mailer = Mailer::builder(&sink.addr().to_string()).unwrap().max_connections(8);
    let mailer = mailer.scheduler(SchedulerConfig { planner, ..SchedulerConfig::default() });
    let mailer = mailer.observer(watch.clone(), Default::default()).build().unwrap();
    let outage = async {
        sink.wait_for(MAILS as u64 / 4).await;
        let before = sink.stats().connections.open;
        sink.suspend().await;
        let failed = || watch.seen().records.iter().filter(|it| is_back_off(it)).count();
        // 50, 100, 200, 400, 400, 400 ms, less up to a half.
        wait_until(PATIENCE, "six failures", || (failed() >= 6).then_some(())).await;
        sink.resume().await.unwrap();
        let resumed = Instant::now();
        let back = || (sink.stats().connections.open >= before).then_some(());
        wait_until(PATIENCE, "as many connections as before", back).await;
        (before, resumed.elapsed())
    };
    let (reports, (before, recovered)) = tokio::join!(send(&mailer, MAILS, 1), outage);
    mailer.shutdown().await;
    let (stored, stats) = close(sink).await;
    let tally = audit(&reports, &stats, &stored);
    println!("{before} connections are back after {recovered:?}; {tally:?}");
    assert_eq!(tally.delivered + tally.in_doubt, MAILS, "{tally:?}");
    // Two mails on each of the connections that broke.
    assert!(tally.in_doubt <= 2 * 8, "{tally:?}");
    let attempts = reports.iter().flat_map(|report| &report.recipients).map(|it| it.attempts);
    assert!(attempts.max() <= Some(2), "a mail may pay for a connection that breaks under it");
    let records = watch.seen().records;
    assert!(records.iter().any(|it| matches!(it, Record::Recovered { .. })), "{records:?}");
    // What was refused is one connection for each wait, and those that were on their way at first.
    let waits = records.iter().filter(|it| is_back_off(it)).count();
    let refused = watch.seen().failed.len();
    assert!(refused <= waits + 8, "{refused} connections failed in {waits} waits");
    assert!(recovered <= Duration::from_secs(3), "{recovered:?}");
}

fn is_back_off(record: &Record) -> bool {
    matches!(record, Record::BackOff { .. })
}

/// How long 600 mails took over four servers, of which the last may be another's.
async fn four_servers(bad: Option<SocketAddr>) -> (Vec<ServerStatus>, Duration) {
    let mut sinks = Vec::new();
    for _ in 0..4 - usize::from(bad.is_some()) {
        sinks.push(sink(Limits::default(), Duration::from_millis(20)).await);
    }
    let addresses: Vec<_> = sinks.iter().map(Sink::addr).chain(bad).collect();
    let mailer = mailer_for(&addresses).max_connections(8).build().unwrap();
    let started = Instant::now();
    let reports = send(&mailer, 600, 1).await;
    let took = started.elapsed();
    let servers = mailer.servers().into_iter().map(|view| view.status).collect();
    mailer.shutdown_within(Duration::from_secs(1)).await;
    all_delivered(&reports, 1);
    let (mut stored, mut all) = (Vec::new(), posthaste_sink::Stats::default());
    for sink in sinks {
        let (more, stats) = close(sink).await;
        assert!(stats.mails >= 60, "each has its share: {}", stats.mails);
        stored.extend(more);
        all = stats;
    }
    audit(&reports, &all, &stored);
    (servers, took)
}

fn mailer_for(addresses: &[SocketAddr]) -> MailerBuilder {
    let [first, others @ ..] = addresses else { panic!("no server") };
    let mailer = Mailer::builder(&first.to_string()).unwrap();
    let also = |mailer: MailerBuilder, address: &SocketAddr| {
        mailer.also(address.to_string().parse().unwrap(), Place::default())
    };
    others.iter().fold(mailer, also)
}

/// One of four servers where nobody listens, or who says nothing, costs less than a third of the rate.
#[tokio::test(flavor = "multi_thread")]
async fn three_servers_make_up_for_the_fourth() {
    let (_, full) = four_servers(None).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let absent = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for bad in [absent, silent.local_addr().unwrap()] {
        let (servers, took) = four_servers(Some(bad)).await;
        let rate = full.as_secs_f64() / took.as_secs_f64();
        let open: Vec<_> = servers.iter().map(|server| server.open).collect();
        let state = servers[3].state;
        println!("{:.0} % of the rate of four, {open:?} connections, {state:?}", rate * 100.0);
        assert!(rate >= 0.7, "{rate}");
    }
}

/// One of two servers goes while it is used, and comes back: what it was sent goes to the other one.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_drops_another_takes() {
    const MAILS: usize = 1_000;
    let mut sinks = Vec::new();
    for _ in 0..2 {
        sinks.push(sink(Limits::default(), Duration::from_millis(5)).await);
    }
    let addresses: Vec<_> = sinks.iter().map(Sink::addr).collect();
    let mailer = mailer_for(&addresses).max_connections(4).build().unwrap();
    let outage = async {
        sinks[0].wait_for(100).await;
        sinks[0].suspend().await;
        let gone = sinks[1].stats().mails;
        sinks[1].wait_for(gone + 300).await;
        sinks[0].resume().await.unwrap();
    };
    let mails = stream::iter((0..MAILS).map(|number| mail(number, 1)));
    let sending = mailer.send_all(mails).map(|(_, report)| report).collect::<Vec<_>>();
    let (reports, ()) = tokio::join!(sending, outage);
    mailer.shutdown().await;
    let mut stored = Vec::new();
    let mut all = posthaste_sink::Stats::default();
    for sink in sinks {
        let (more, stats) = close(sink).await;
        stored.extend(more);
        all = stats;
    }
    let tally = audit(&reports, &all, &stored);
    println!("{tally:?}");
    assert_eq!(tally.delivered + tally.in_doubt, MAILS, "{tally:?}");
    assert!(tally.in_doubt <= 2 * 4, "{tally:?}");
}
