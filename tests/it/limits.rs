//! Servers with limits: what they refuse costs no mail anything, and is not asked for again.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use posthaste::scheduler::SchedulerConfig;
use posthaste::{Mailer, MailerBuilder, Report};
use posthaste_sink::{Limits, Sink, Stats};
use posthaste_tests::wait_until;
use tokio::sync::oneshot;

use crate::audit::{audit, close, mail};
use crate::faults::{options, send};
use crate::interop::{count, is_slow_allowed, nothing_was_held_against_anybody};
use crate::watch::Watch;

/// Longest wait for what a scheduler does by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// A sink that takes so long for each mail.
pub(crate) async fn sink(limits: Limits, per_mail: Duration) -> Sink {
    let rule = format!("at=final delay={}ms", per_mail.as_millis());
    let rules = if per_mail.is_zero() { vec![] } else { vec![rule.as_str()] };
    let mut options = options(&rules);
    options.config_mut().limits = limits;
    options.start().await.unwrap()
}

fn mailer(sink: &Sink) -> MailerBuilder {
    Mailer::builder(&sink.addr().to_string()).unwrap()
}

/// Every recipient has the mail once, and that took this many attempts.
#[track_caller]
pub(crate) fn all_delivered(reports: &[Report], attempts: u32) {
    for recipient in reports.iter().flat_map(|report| &report.recipients) {
        assert_eq!(recipient.state, posthaste::RecipientState::Delivered, "{recipient:?}");
        assert_eq!(recipient.attempts, attempts, "{recipient:?}");
    }
}

#[track_caller]
fn refusals(stats: &Stats, limit: &str) -> u64 {
    stats.refusals.get(limit).copied().unwrap_or(0)
}

/// The mean number of open sessions from now until so many mails have come.
async fn mean_sessions(sink: &Sink, mails: u64) -> f64 {
    let (mut looks, mut sessions) = (0, 0);
    wait_until(PATIENCE * 4, "the mails", || {
        let stats = sink.stats();
        (looks, sessions) = (looks + 1, sessions + stats.connections.open);
        (stats.mails >= mails).then_some(())
    })
    .await;
    sessions as f64 / f64::from(looks)
}

/// SCHED-03, Row 7: a server takes five connections, and twenty are allowed.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_connections_is_found_and_used() {
    let sessions = five_of_twenty(u32::MAX, 600).await;
    assert!(sessions >= 4.75, "{sessions}");
}

/// The same where a connection carries ten mails, so that some are opened while others are being closed: the
/// server counts those a moment longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_connections_is_used_where_connections_are_replaced() {
    let test = "limits::a_limit_of_connections_is_used_where_connections_are_replaced";
    let sessions = five_of_twenty(10, count(test, "mails", 600, 3_000)).await;
    // A connection that is replaced takes its time to be closed and opened.
    assert!(sessions >= 4.0, "{sessions}");
}

/// The mean number of sessions, where the server takes five.
async fn five_of_twenty(per_connection: u32, mails: usize) -> f64 {
    let limits = Limits { max_conns: Some(5), ..Limits::default() };
    let sink = sink(limits, Duration::from_millis(20)).await;
    let watch = Watch::new();
    let mailer = mailer(&sink).max_connections(20).max_mails_per_connection(per_connection);
    let mailer = mailer.observer(watch.clone(), Default::default()).build().unwrap();
    let all = send(&mailer, mails, 1);
    let looking = async {
        sink.wait_for(mails as u64 / 10).await;
        mean_sessions(&sink, mails as u64).await
    };
    let (reports, sessions) = tokio::join!(all, looking);
    let ceiling = mailer.status().ceiling;
    mailer.shutdown().await;
    let (stored, stats) = close(sink).await;
    let refused = refusals(&stats, "max-conns");
    println!("{refused} refused, {sessions:.2} sessions, ceiling {ceiling:?}");
    audit(&reports, &stats, &stored);
    all_delivered(&reports, 1);
    nothing_was_held_against_anybody(&watch.seen());
    assert_eq!((ceiling, stats.connections.open_max), (Some(5), 5));
    // One mail in a hundred, beside those with which the limit is found out.
    assert!(refused >= 1 && refused <= 10 + mails as u64 / 100, "{:?}", stats.connections);
    sessions
}

/// Row 7: the limit shrinks, and grows later: it is followed.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_connections_that_moves_is_followed() {
    let last = if is_slow_allowed() { 12 } else { 3 };
    let with = |limit| Limits { max_conns: Some(limit), ..Limits::default() };
    let sink = sink(with(5), Duration::from_millis(10)).await;
    let watch = Watch::new();
    let mailer = mailer(&sink).max_connections(20).max_mails_per_connection(20);
    // A few hundred mails, so that there is always one to be sent.
    let mailer = mailer.scheduler(SchedulerConfig { intake: 256 << 10, ..Default::default() });
    let mailer = mailer.observer(watch.clone(), Default::default()).build().unwrap();
    let (end, ended) = oneshot::channel::<()>();
    let source = stream::iter((0..).map(|number| mail(number, 1))).take_until(ended);
    let sending = mailer.send_all(source).map(|(_, report)| report).collect::<Vec<_>>();
    let moving = async {
        let started = Instant::now();
        for limit in [5, 2, last] {
            sink.set_limits(with(limit));
            let what = format!("{limit} sessions");
            let reached = || (sink.stats().connections.open == limit).then_some(());
            wait_until(PATIENCE * 2, &what, reached).await;
            let refused = refusals(&sink.stats(), "max-conns");
            println!("{limit} sessions after {:?}, {refused} refused", started.elapsed());
            // So many that the first refusals are few among them.
            sink.wait_for(sink.stats().mails + 800).await;
        }
        end.send(()).unwrap();
    };
    let (reports, ()) = tokio::join!(sending, moving);
    mailer.shutdown().await;
    let (stored, stats) = close(sink).await;
    audit(&reports, &stats, &stored);
    all_delivered(&reports, 1);
    nothing_was_held_against_anybody(&watch.seen());
    let (mails, refused) = (reports.len() as u64, refusals(&stats, "max-conns"));
    println!("{refused} refused of {} sessions, {mails} mails", stats.connections.opened);
    // One mail in a hundred, beside those with which each limit is found out.
    assert!(refused <= 10 + mails / 100, "{refused} refused for {mails} mails");
}

/// SCHED-08, Row 34: a server takes ten mails over a connection, and says so with the eleventh.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_mails_on_a_connection_is_learned_from_the_first() {
    let limits = Limits { max_per_conn: Some(10), ..Limits::default() };
    let sink = sink(limits, Duration::ZERO).await;
    let mailer = mailer(&sink).max_connections(1).build().unwrap();
    let reports = send(&mailer, 300, 1).await;
    assert_eq!(mailer.status().session_cap, Some(10));
    mailer.shutdown().await;
    let (stored, stats) = close(sink).await;
    audit(&reports, &stats, &stored);
    all_delivered(&reports, 1);
    assert!(refusals(&stats, "max-per-conn") <= 2, "{:?}", stats.refusals);
    assert_eq!(stats.connections.opened, 30);
}

/// Row 22: a server takes ten recipients with a mail: those who are left are sent the mail next,
/// and the next mail is split before it is sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_recipients_is_learned_from_the_first() {
    let limits = Limits { max_rcpts: Some(10), ..Limits::default() };
    let sink = sink(limits, Duration::ZERO).await;
    let mailer = mailer(&sink).max_connections(1).build().unwrap();
    let first = mailer.send(mail(0, 100)).await;
    assert_eq!(mailer.status().recipient_cap, Some(10));
    let refused = refusals(&sink.stats(), "max-rcpts");
    let second = mailer.send(mail(1, 100)).await;
    mailer.shutdown().await;
    let (stored, stats) = close(sink).await;
    let reports = [first, second];
    audit(&reports, &stats, &stored);
    all_delivered(&reports, 1);
    assert_eq!((stats.mails, stats.recipients), (20, 200));
    assert_eq!((refused, refusals(&stats, "max-rcpts")), (90, 90));
}

/// Row 23: a server that greylists for two seconds has the mail after two seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_greylisted_mail_comes_when_it_was_asked_to() {
    let limits = Limits { greylist: Some(Duration::from_secs(2)), ..Limits::default() };
    let sink = sink(limits, Duration::ZERO).await;
    let mailer = mailer(&sink).build().unwrap();
    let started = Instant::now();
    let first = mailer.send(mail(0, 1)).await;
    let took = started.elapsed();
    let known = mailer.status().greylisting;
    println!("{took:?}; greylisting {known:?}");
    // Waits are longer or shorter by a fifth.
    let range = Duration::from_secs(2)..Duration::from_secs(4);
    assert!(range.contains(&took), "{took:?}");
    assert!(known.is_some_and(|known| range.contains(&known)), "{known:?}");
    // The same pair, another mail.
    let second = mailer.send(mail(0, 1)).await;
    mailer.shutdown().await;
    let stats = sink.shutdown().await;
    all_delivered(&[first], 2);
    all_delivered(&[second], 1);
    assert_eq!((stats.mails, refusals(&stats, "greylist")), (2, 1));
}

/// SCHED-04, Row 17: a server that takes 500 mails a second is sent about that many.
#[tokio::test(flavor = "multi_thread")]
async fn a_rate_that_a_server_bears_is_not_fought() {
    const MAILS: usize = 1_500;
    let limits = Limits { capacity: "500/s".parse().ok(), ..Limits::default() };
    let sink = sink(limits, Duration::ZERO).await;
    let mailer = mailer(&sink).build().unwrap();
    let started = Instant::now();
    let reports = send(&mailer, MAILS, 1).await;
    let took = started.elapsed();
    mailer.shutdown().await;
    let (stored, stats) = close(sink).await;
    audit(&reports, &stats, &stored);
    let refused = refusals(&stats, "capacity");
    println!("{MAILS} mails in {took:?}, {refused} refused");
    all_delivered(&reports, 1);
    // Three seconds at its rate.
    assert!(took <= Duration::from_secs(15), "{took:?}");
    assert!(refused <= MAILS as u64 / 10, "{refused} refused");
}
