//! The engine against a server that fails: over real sockets, with books that have to balance.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use posthaste::RecipientState::{Delivered, Failed};
use posthaste::scheduler::{
    BackOff, Exhausted, PipeliningPolicy, PlannerConfig, Record, RetryPolicy, SchedulerConfig, Time,
};
use posthaste::session::{Content, Mail, Pipelining, Timeouts};
use posthaste::{Mailer, MailerBuilder, Report};
use posthaste_sink::{FaultRule, Sink, SinkOptions, Stats, StoreKind};
use posthaste_tests::{skip, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::audit::{Stored, Tally, audit, audit_with_unreported, close, mail, read_json_lines};
use crate::interop::{is_slow_allowed, nothing_was_held_against_anybody};
use crate::watch::{Seen, Watch};
use crate::witness::Witness;

pub(crate) const POLICIES: [PipeliningPolicy; 4] = [
    PipeliningPolicy::Auto,
    PipeliningPolicy::Fixed(Pipelining::Off),
    PipeliningPolicy::Fixed(Pipelining::Envelope),
    PipeliningPolicy::Fixed(Pipelining::Cross),
];

/// A sink that keeps mails in memory, with these fault rules.
pub(crate) fn options(rules: &[&str]) -> SinkOptions {
    let options = SinkOptions::default().store(StoreKind::Memory);
    let rules = rules.iter().map(|rule| rule.parse::<FaultRule>().unwrap());
    rules.fold(options, SinkOptions::fault)
}

/// A sink, and a witness before it.
struct Watched {
    sink: Sink,
    witness: Witness,
}

impl Watched {
    async fn of(options: SinkOptions) -> Self {
        let sink = options.start().await.unwrap();
        Self { witness: Witness::before(sink.addr()).await, sink }
    }

    fn addr(&self) -> SocketAddr {
        self.witness.addr()
    }

    /// What was stored and counted by a client that broke no rule.
    async fn close(self) -> (Vec<Stored>, Stats) {
        let closed = close(self.sink).await;
        self.witness.check();
        closed
    }
}

async fn sink(rules: &[&str]) -> Watched {
    Watched::of(options(rules)).await
}

/// Settings for a server that fails often and is back soon.
pub(crate) fn quick() -> SchedulerConfig {
    let (base, cap) = (Duration::from_millis(5), Duration::from_millis(50));
    let planner = PlannerConfig {
        back_off: BackOff { base, cap },
        retry: RetryPolicy { attempts: 5, min: base, max: cap },
        exhausted: Exhausted::Wait,
        ..PlannerConfig::default()
    };
    SchedulerConfig { planner, ..SchedulerConfig::default() }
}

pub(crate) fn mailer(address: SocketAddr) -> MailerBuilder {
    Mailer::builder(&address.to_string()).unwrap().max_connections(4).scheduler(quick())
}

/// Sends mails 0 to `count` with so many recipients each.
pub(crate) async fn send(mailer: &Mailer, count: usize, recipients: usize) -> Vec<Report> {
    let mails = stream::iter((0..count).map(|number| mail(number, recipients)));
    let reports: Vec<_> = mailer.send_all(mails).map(|(_, report)| report).collect().await;
    assert_eq!(reports.len(), count, "each mail has one report");
    reports
}

/// A server that says 421 for the first seconds: every mail is delivered in the end, none is
/// charged an attempt, and the waits grow.
async fn waits_out(outage: Duration, back_off: BackOff, seed: u64) -> Seen {
    let rule = format!("at=greeting for={}ms reply=\"421 4.3.2 later\"", outage.as_millis());
    let sink = sink(&[&rule]).await;
    let planner = PlannerConfig { back_off, ..PlannerConfig::default() };
    let config = SchedulerConfig { planner, seed, ..SchedulerConfig::default() };
    let watch = Watch::new();
    let mailer = mailer(sink.addr()).scheduler(config);
    let mailer = mailer.observer(watch.clone(), Default::default()).build().unwrap();
    let reports = send(&mailer, 500, 1).await;
    mailer.shutdown().await;
    let (stored, stats) = sink.close().await;
    assert_eq!(audit(&reports, &stats, &stored).delivered, 500);
    let attempts = reports.iter().flat_map(|report| &report.recipients).map(|it| it.attempts);
    assert!(attempts.into_iter().all(|attempts| attempts == 1));
    watch.seen()
}

/// How long the server was left alone after each failure, at least half of a doubling wait. Jitter
/// may take the other half.
#[track_caller]
fn waits(seen: &Seen, back_off: BackOff) -> Vec<Duration> {
    let mut waits = Vec::new();
    let mut last = Time::EPOCH;
    for record in &seen.records {
        let Record::BackOff { failures, until, .. } = record else { continue };
        // A try is not earlier than the end of the wait before it.
        let wait = *until - last;
        let full = (back_off.base * (1 << (failures - 1))).min(back_off.cap);
        assert!(full / 2 <= wait, "{wait:?} after {failures} failures");
        last = *until;
        waits.push(wait);
        assert_eq!(*failures as usize, waits.len(), "failures in a row");
    }
    waits
}

#[tokio::test]
async fn a_server_that_is_not_ready_yet_is_waited_for() {
    let back_off = BackOff { base: Duration::from_millis(50), cap: Duration::from_secs(1) };
    let seen = waits_out(Duration::from_secs(2), back_off, 1).await;
    let waits = waits(&seen, back_off);
    // 50, 100, 200 … ms in full make 2 s in less than six; half of that, in less than eight.
    assert!((4..=8).contains(&waits.len()), "{waits:?}");
}

/// The same with the waits that users get.
#[tokio::test]
async fn a_server_that_is_not_ready_for_long_is_waited_for() {
    if !is_slow_allowed() {
        skip!("takes half a minute; POSTHASTE_SLOW=1 runs it");
    }
    let back_off = BackOff::default();
    let seen = waits_out(Duration::from_secs(30), back_off, 1).await;
    let waits = waits(&seen, back_off);
    println!("waits for a server that says 421 for 30 s: {waits:?}");
    assert!((5..=7).contains(&waits.len()), "{waits:?}");
}

/// A sink is killed in the middle of 20 000 mails and is back on the same port a moment later.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_comes_back_loses_and_doubles_nothing() {
    const MAILS: usize = 20_000;
    for policy in [PipeliningPolicy::Auto, PipeliningPolicy::Fixed(Pipelining::Envelope)] {
        let folder = tempfile::tempdir().unwrap();
        let [before, after] = ["before", "after"].map(|name| folder.path().join(name));
        let options = |file: &Path| SinkOptions::default().store(StoreKind::JsonLines(file.into()));
        let first = options(&before).start().await.unwrap();
        let address = first.addr();
        let mailer = mailer(address).pipelining(policy).build().unwrap();
        let sending = tokio::spawn({
            let mailer = mailer.clone();
            async move { send(&mailer, MAILS, 1).await }
        });
        first.wait_for(MAILS as u64 / 4).await;
        let stats = first.kill().await;
        assert!(stats.violations.is_empty(), "{:?}", stats.violations);
        // Long enough for connections to be refused.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let second = options(&after).address(address).start().await.unwrap();
        let reports = sending.await.unwrap();
        mailer.shutdown().await;
        let (_, stats) = close(second).await;

        let stored = [read_json_lines(&before), read_json_lines(&after)].concat();
        let tally = audit(&reports, &stats, &stored);
        assert_eq!(tally.delivered + tally.in_doubt, MAILS, "{tally:?}");
        // Four connections, each with two mails at the most.
        assert!(tally.in_doubt <= 8, "{tally:?}");
        assert!(tally.stored >= tally.delivered && tally.stored <= MAILS, "{tally:?}");
    }
}

/// A connection that breaks at any stage, however it breaks, in any mode. CL-01, TX-16, TX-17
#[tokio::test(flavor = "multi_thread")]
async fn connections_break_at_every_stage() {
    for stage in STAGES {
        for close_by in ["fin", "rst"] {
            for policy in POLICIES {
                let rule = format!("at={stage} every=7 close={close_by}");
                let tally = run(&[&rule], |mailer| mailer.pipelining(policy)).await;
                // A content this small has been written to its end when the server reads its
                // middle.
                let in_doubt = ["content", "final"].iter().any(|it| stage.starts_with(it));
                assert_eq!(tally.in_doubt > 0, in_doubt, "{rule} {policy:?}: {tally:?}");
                if !in_doubt {
                    assert_eq!(tally.delivered, MAILS, "{rule} {policy:?}: {tally:?}");
                }
            }
        }
    }
}

/// A server that falls silent.
#[tokio::test(flavor = "multi_thread")]
async fn silence_at_every_stage_is_not_waited_for_without_end() {
    let runs = STAGES.map(|stage| async move {
        let rule = format!("at={stage} every=20 stall=true");
        let timeouts = Timeouts::uniform(Duration::from_millis(300));
        let tally = run(&[&rule], |mailer| mailer.timeouts(timeouts.clone())).await;
        // On a busy machine others may have taken too long as well.
        assert_eq!(tally.delivered + tally.in_doubt, MAILS, "{rule}: {tally:?}");
        assert!(tally.in_doubt > 0 || !stage.starts_with("final"), "{rule}: {tally:?}");
    });
    futures_util::future::join_all(runs).await;
}

/// 10 MiB that break off in the middle: the mail is not in doubt, and the next attempt is free.
/// TX-17
#[tokio::test(flavor = "multi_thread")]
async fn a_large_content_that_breaks_off_is_sent_again() {
    for close_by in ["fin", "rst"] {
        let rule = format!("at=content first=1 bytes=100k close={close_by}");
        let sink = sink(&[&rule]).await;
        let mailer = mailer(sink.addr()).build().unwrap();
        let report = mailer.send(large_mail()).await;
        mailer.shutdown().await;
        assert!(report.is_delivered(), "{report:?}");
        assert_eq!(report.recipients[0].attempts, 1);
        let (_, stats) = sink.close().await;
        assert_eq!((stats.mails, stats.bytes), (1, LARGE as u64), "{stats:?}");
    }
}

/// Content may take longer than its timeout, as long as it makes progress.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_reads_slowly_gets_its_time() {
    let sink = sink(&[]).await;
    let timeout = Duration::from_millis(500);
    // 10 MiB in pieces of 64 KiB are 160 pauses.
    let line = slow_line(sink.addr(), 64 << 10, Duration::from_millis(10));
    let timeouts = Timeouts { content: timeout, ..Timeouts::default() };
    let mailer = mailer(line).timeouts(timeouts).build().unwrap();
    let report = mailer.send(large_mail()).await;
    mailer.shutdown().await;
    assert!(report.is_delivered(), "{report:?}");
    assert!(report.timing.total() > 2 * timeout, "{:?}", report.timing);
    let (_, stats) = sink.close().await;
    assert_eq!((stats.mails, stats.bytes), (1, LARGE as u64), "{stats:?}");
}

/// A relay to `server` that reads from the client one `piece` of octets in each `pause`. Ends with
/// the test.
fn slow_line(server: SocketAddr, piece: usize, pause: Duration) -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    // Little is on its way without having been read.
    socket.set_recv_buffer_size(64 << 10).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(16).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(server).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move {
                tokio::io::copy(&mut from_server, &mut to_client).await.unwrap();
            });
            tokio::spawn(async move {
                let mut octets = vec![0; piece];
                while let Ok(read @ 1..) = from_client.read(&mut octets).await {
                    to_server.write_all(&octets[..read]).await.unwrap();
                    tokio::time::sleep(pause).await;
                }
            });
        }
    });
    address
}

const LARGE: usize = 10 << 20;

fn large_mail() -> Mail {
    let line = format!(".{}\r\n", "x".repeat(61));
    let content = Content::new(line.repeat(LARGE / 64)).unwrap();
    Mail { content, ..mail(0, 1) }
}

/// Sends that are given up at any moment: the mail goes its way or is never sent, and the
/// connections stay usable. TX-30
#[tokio::test(flavor = "multi_thread")]
async fn sends_that_are_given_up_leave_nothing_broken() {
    const MAILS: usize = 3_000;
    for policy in POLICIES {
        let sink = sink(&[]).await;
        // Most have to wait for their share of the intake, and can be given up there.
        let config = SchedulerConfig { intake: 32 << 10, ..SchedulerConfig::default() };
        let mailer = mailer(sink.addr()).scheduler(config).pipelining(policy).build().unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        let sends = (0..MAILS).map(|number| {
            // However fast or slow this machine is at the moment, some are given up and some are not.
            let limit = match number % 8 {
                0 => Duration::MAX,
                1 => Duration::ZERO,
                _ => Duration::from_micros(rng.u64(0..40_000)),
            };
            let mailer = mailer.clone();
            async move {
                let mail = mail(number, 1);
                let send = mailer.send(mail.clone());
                tokio::time::timeout(limit, send).await.map_err(|_| mail)
            }
        });
        let results: Vec<_> = stream::iter(sends).buffer_unordered(64).collect().await;
        let (reports, unreported): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        let reports: Vec<_> = reports.into_iter().map(Result::unwrap).collect();
        let unreported: Vec<_> = unreported.into_iter().map(Result::unwrap_err).collect();
        assert!(reports.len() > 100 && unreported.len() > 100, "{}", reports.len());
        assert!(reports.iter().all(Report::is_delivered));

        let last = mailer.send(mail(MAILS, 1)).await;
        assert!(last.is_delivered(), "{last:?}");
        mailer.shutdown().await;
        let (stored, stats) = sink.close().await;
        assert!(stats.connections.opened <= 8, "connections are used again: {stats:?}");
        let reports = [reports, vec![last]].concat();
        audit_with_unreported(&reports, &unreported, &stats, &stored);
    }
}

/// Streams of mails that are dropped in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_given_up_leaves_nothing_broken() {
    for policy in POLICIES {
        let sink = sink(&[]).await;
        let mailer = mailer(sink.addr()).pipelining(policy).build().unwrap();
        let mails = stream::iter((0..5_000).map(|number| mail(number, 1)));
        let mut sending = mailer.send_all(mails);
        let mut reports = Vec::new();
        while reports.len() < 1_000 {
            reports.push(sending.next().await.unwrap());
        }
        drop(sending);
        let last = mailer.send(mail(5_000, 1)).await;
        assert!(last.is_delivered(), "{last:?}");
        mailer.shutdown().await;
        let (stored, stats) = sink.close().await;
        let places: HashSet<_> = reports.iter().map(|(place, _)| *place as usize).collect();
        let unreported = (0..5_000).filter(|number| !places.contains(number));
        let unreported: Vec<_> = unreported.map(|number| mail(number, 1)).collect();
        let reports: Vec<_> = reports.into_iter().map(|(_, report)| report).chain([last]).collect();
        audit_with_unreported(&reports, &unreported, &stats, &stored);
    }
}

/// QUIT-06: a shutdown in the middle: every mail has one report, and what is deferred was not sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_in_the_middle_reports_every_mail() {
    const MAILS: usize = 5_000;
    for policy in POLICIES {
        for time in [Duration::from_secs(30), Duration::ZERO] {
            let sink = sink(&[]).await;
            let mailer = mailer(sink.addr()).pipelining(policy).build().unwrap();
            let sending = tokio::spawn({
                let mailer = mailer.clone();
                async move { send(&mailer, MAILS, 2).await }
            });
            sink.sink.wait_for(500).await;
            mailer.shutdown_within(time).await;
            let reports = sending.await.unwrap();
            let (stored, stats) = sink.close().await;
            let tally = audit(&reports, &stats, &stored);
            assert_eq!(tally.failed, 0, "{tally:?}");
            assert!(tally.delivered >= 900 && tally.deferred > 0, "{tally:?}");
            let limit = if time.is_zero() { 16 } else { 0 };
            assert!(tally.in_doubt <= limit, "{policy:?} {time:?}: {tally:?}");
        }
    }
}

/// QUIT-06: a shutdown ends in its time wherever the server hangs, and every mail is reported.
#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_does_not_wait_for_a_server_that_hangs() {
    let time = Duration::from_millis(200);
    for stage in STAGES {
        let rule = format!("at={stage} stall=true");
        let sink = sink(&[&rule]).await;
        let mailer = mailer(sink.addr()).build().unwrap();
        let sending = tokio::spawn({
            let mailer = mailer.clone();
            async move { send(&mailer, MAILS, 1).await }
        });
        // RSET and QUIT are not said before the end.
        if !["rset", "quit"].contains(&stage) {
            let hangs = || (!sink.sink.stats().refusals.is_empty()).then_some(());
            wait_until(Duration::from_secs(10), &rule, hangs).await;
        }
        let started = Instant::now();
        mailer.shutdown_within(time).await;
        let took = started.elapsed();
        assert!(took < time + Duration::from_secs(2), "{rule}: {took:?}");
        let reports = sending.await.unwrap();
        let (stored, stats) = sink.close().await;
        audit(&reports, &stats, &stored);
    }
}

/// A server that closes a connection which has nothing to do, and one that refuses a mail before
/// its end: neither is left alone for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_within_its_rights_is_not_left_alone() {
    let watch = Watch::new();
    let sink = sink(&["at=content every=5 bytes=100k reply=\"552 5.3.4 too big\" close=fin"]).await;
    let mailer = mailer(sink.addr()).observer(watch.clone(), Default::default()).build().unwrap();
    for number in 1..=10 {
        let report = mailer.send(large_mail()).await;
        let recipient = &report.recipients[0];
        let state = if number % 5 == 0 { Failed } else { Delivered };
        assert_eq!(recipient.state, state, "{recipient:?}");
        let code = recipient.reply.as_ref().unwrap().code().value();
        assert_eq!(code, if state == Failed { 552 } else { 250 });
    }
    // An idle connection is told 421, and the next mail goes over a new one.
    let address = sink.sink.addr();
    sink.sink.shutdown().await;
    let again = options(&[]).address(address).start().await.unwrap();
    let sink = Watched { sink: again, witness: sink.witness };
    let report = mailer.send(mail(0, 1)).await;
    assert!(report.is_delivered(), "{report:?}");
    mailer.shutdown().await;
    let (stored, stats) = sink.close().await;
    audit(&[report], &stats, &stored);
    nothing_was_held_against_anybody(&watch.seen());
}

const MAILS: usize = 100;

/// Where a rule can apply on a connection without TLS.
const STAGES: [&str; 11] = [
    "connect",
    "greeting",
    "ehlo",
    "mail",
    "rcpt",
    "data",
    "content bytes=500",
    "final store=true",
    "final store=false",
    "rset",
    "quit",
];

/// Sends [`MAILS`] mails with one recipient each to a sink with fault rules, and balances the
/// books.
async fn run(rules: &[&str], adjust: impl Fn(MailerBuilder) -> MailerBuilder) -> Tally {
    let sink = sink(rules).await;
    let mailer = adjust(mailer(sink.addr())).build().unwrap();
    let reports = send(&mailer, MAILS, 1).await;
    mailer.shutdown().await;
    let (stored, stats) = sink.close().await;
    audit(&reports, &stats, &stored)
}
