//! Destinations with several servers, tenants, and rates, over real sockets.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use posthaste::connection::Connector;
use posthaste::scheduler::{
    DestinationLimits, LimitScope, Place, Question, Rate, Scheduler, SchedulerConfig, Submission,
    Unit,
};
use posthaste::{Mailer, Report};
use posthaste_sink::{SinkOptions, most_within};
use tokio::net::TcpListener;

use crate::engine::{mail, sink};

fn connector(address: &str) -> Connector {
    Mailer::builder(address).unwrap().connector().unwrap()
}

async fn send(scheduler: &Scheduler, to: Submission, mails: usize) -> Vec<Report> {
    let source = stream::iter((0..mails).map(|number| mail(number, 1)));
    scheduler.send_all(to, source).map(|(_, report)| report).collect().await
}

/// Both servers of a destination get their share.
#[tokio::test]
async fn servers_share_the_mails_of_their_destination() {
    let (one, other) = (sink("rtt=5ms").await, sink("rtt=5ms").await);
    let servers =
        [&one, &other].map(|sink| (connector(&sink.addr().to_string()), Place::default()));
    let scheduler = Scheduler::new(SchedulerConfig::default(), None);
    let limits = DestinationLimits { max_connections: 4, ..DestinationLimits::default() };
    let to = Submission::new(scheduler.add_destination(limits, servers));
    assert!(send(&scheduler, to, 200).await.iter().all(Report::is_delivered));
    scheduler.shutdown(Duration::from_secs(10)).await;
    let (one, other) = (one.shutdown().await.mails, other.shutdown().await.mails);
    assert_eq!(one + other, 200);
    assert!(one >= 20 && other >= 20, "{one} and {other}");
}

/// Where nobody listens at the first server, the second one gets the mails.
#[tokio::test]
async fn a_server_that_is_down_is_passed_over() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let sink = sink("").await;
    let place = |preference| Place { preference, ..Place::default() };
    let servers = [(connector(&dead), place(10)), (connector(&sink.addr().to_string()), place(20))];
    let scheduler = Scheduler::new(SchedulerConfig::default(), None);
    let to = scheduler.add_destination(DestinationLimits::default(), servers);
    let reports = send(&scheduler, Submission::new(to), 20).await;
    assert!(reports.iter().all(Report::is_delivered), "{:?}", reports[0]);
    assert!(reports.iter().all(|report| report.recipients[0].attempts == 1));
    let [first, second] = scheduler.servers_of(to)[..] else { panic!("two servers") };
    assert!(scheduler.status(first).failures > 0 && scheduler.status(second).failures == 0);
    assert!(!scheduler.explain(Question::Server(first)).reasons.is_empty());
    scheduler.forget(first);
    assert_eq!(scheduler.status(first).failures, 0);
    scheduler.shutdown(Duration::from_secs(10)).await;
    sink.shutdown().await;
}

/// A rate is kept in any stretch of time, and reached, as far as the machine has time for it. In a release build,
/// with nothing else to do: 499/s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_is_kept_and_reached() {
    let sink = SinkOptions::from_query("store=memory").unwrap().start().await.unwrap();
    let scheduler = Scheduler::new(SchedulerConfig::default(), None);
    let limits = DestinationLimits { max_connections: 2, ..DestinationLimits::default() };
    let to = scheduler.add_server(connector(&sink.addr().to_string()), limits);
    let rate = Rate { unit: Unit::Mails, count: 500, per: Duration::from_secs(1) };
    scheduler.add_limit(LimitScope::Destination(to), rate);
    // The first mails wait for the connection.
    send(&scheduler, Submission::new(to), 5).await;
    let started = Instant::now();
    send(&scheduler, Submission::new(to), 500).await;
    let rate = 500.0 / started.elapsed().as_secs_f64();
    scheduler.shutdown(Duration::from_secs(10)).await;
    let most = most_within(&sink.mails(), Duration::from_millis(100));
    println!("{rate:.1}/s, at most {most} in 100 ms");
    // A machine that is busy may let the sink wait, and read several at once.
    assert!(most <= 60, "{most} in 100 ms");
    assert!((300.0..=501.0).contains(&rate), "{rate}/s");
    sink.shutdown().await;
}
