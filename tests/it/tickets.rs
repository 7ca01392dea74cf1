//! Mails that are stopped, that run out of time, and that go in batches: whatever happens, each recipient has
//! one outcome.

use std::time::Duration;

use futures_util::FutureExt;
use posthaste::scheduler::{
    Cause, GiveUp, PlannerConfig, RetryPolicy, Scheduler, SchedulerConfig, Submission,
};
use posthaste::session::PartialRefusal;
use posthaste::{Mailer, RecipientState, Report};
use posthaste_tests::wait_until;
use tokio::net::TcpListener;

use crate::engine::{mail, sink};
use crate::scripted::Scripted;

/// More than any of these tests takes.
const LONG: Duration = Duration::from_secs(3600);
/// How long a mail may take that is to run out of time.
const SHORT: Duration = Duration::from_millis(100);

/// A scheduler with one server, to which it has one connection.
fn scheduler(address: &str, retry: Duration) -> (Scheduler, Submission) {
    let connector = Mailer::builder(address).unwrap().connector().unwrap();
    let limits =
        posthaste::scheduler::DestinationLimits { max_connections: 1, ..Default::default() };
    let retry = RetryPolicy { min: retry, max: LONG, ..RetryPolicy::default() };
    let planner = PlannerConfig { retry, ..PlannerConfig::default() };
    let scheduler = Scheduler::new(SchedulerConfig { planner, ..Default::default() }, None);
    let server = scheduler.add_server(connector, limits);
    (scheduler, Submission::new(server))
}

/// A server that a test speaks for.
async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[track_caller]
fn check(report: &Report, state: RecipientState, cause: Option<GiveUp>, attempts: u32) {
    let [recipient] = &report.recipients[..] else { panic!("one recipient: {report:?}") };
    let expected = (state, cause.map(Cause::GivenUp), attempts);
    assert_eq!((recipient.state, recipient.cause, recipient.attempts), expected);
}

#[tokio::test]
async fn a_mail_that_waits_can_be_cancelled() {
    let (_listener, address) = listener().await;
    let (scheduler, to) = scheduler(&address, LONG);
    let (first, second) =
        (scheduler.submit(to, mail(1, 1)).await, scheduler.submit(to, mail(2, 1)).await);
    second.cancel();
    check(&second.await, RecipientState::Deferred, Some(GiveUp::Cancelled), 0);
    first.cancel();
    first.cancel();
    check(&first.await, RecipientState::Deferred, Some(GiveUp::Cancelled), 0);
    scheduler.shutdown(Duration::ZERO).await;
}

/// What is under way when a mail is cancelled may still succeed, and is not tried again.
#[tokio::test]
async fn a_mail_that_is_being_sent_has_its_last_attempt() {
    for (reply, state, cause) in [
        ("250 2.0.0 ok", RecipientState::Delivered, None),
        ("451 4.3.0 later", RecipientState::Deferred, Some(GiveUp::Cancelled)),
    ] {
        let (listener, address) = listener().await;
        let (scheduler, to) = scheduler(&address, LONG);
        let ticket = scheduler.submit(to, mail(1, 1)).await;
        let mut server = Scripted::accept(&listener, &["PIPELINING"]).await;
        while server.line().await != "DATA" {}
        server.say("250 ok\r\n250 ok\r\n354 go").await;
        while server.line().await != "." {}
        ticket.cancel();
        server.say(reply).await;
        check(&ticket.await, state, cause, 1);
        scheduler.shutdown(Duration::ZERO).await;
    }
}

/// A mail that was deferred and waits for its next attempt has had one.
#[tokio::test]
async fn a_deferred_mail_can_be_cancelled() {
    let (listener, address) = listener().await;
    let (scheduler, to) = scheduler(&address, LONG);
    let ticket = scheduler.submit(to, mail(1, 1)).await;
    let mut server = Scripted::accept(&listener, &[]).await;
    server.answer_alone("MAIL ", "450 4.2.1 later").await;
    // What comes next shows that the outcome has been entered.
    let next = scheduler.submit(to, mail(2, 1)).await;
    while !server.line().await.starts_with("MAIL ") {
        server.say("250 ok").await;
    }
    ticket.cancel();
    check(&ticket.await, RecipientState::Deferred, Some(GiveUp::Cancelled), 1);
    scheduler.shutdown(Duration::ZERO).await;
    assert!(!next.await.is_delivered());
}

/// A ticket that is dropped stops nothing.
#[tokio::test]
async fn nobody_needs_to_wait() {
    let sink = sink("").await;
    let (scheduler, to) = scheduler(&sink.addr().to_string(), LONG);
    drop(scheduler.submit(to, mail(1, 1)).await);
    wait_until(Duration::from_secs(10), "the mail", || (sink.stats().mails == 1).then_some(()))
        .await;
    scheduler.shutdown(LONG).await;
    sink.shutdown().await;
}

/// Row 45, SCHED-09: time runs out while a mail waits for a connection, or for its next attempt, but not while it
/// is being sent.
#[tokio::test]
async fn time_runs_out_wherever_a_mail_waits() {
    let (listener, address) = listener().await;
    let (queued, to) = scheduler(&address, LONG);
    let report = queued.send(to.lifetime(SHORT), mail(1, 1)).await;
    check(&report, RecipientState::Deferred, Some(GiveUp::Expired), 0);
    queued.shutdown(Duration::ZERO).await;

    let (sent, to) = scheduler(&address, LONG);
    let ticket = sent.submit(to.lifetime(SHORT), mail(1, 1)).await;
    // The connection of the first scheduler has not been greeted, and is gone.
    let mut server = accept_live(&listener).await;
    while server.line().await != "DATA" {}
    server.say("250 ok\r\n250 ok\r\n354 go").await;
    while server.line().await != "." {}
    // Another mail runs out of time meanwhile.
    let other = sent.send(to.lifetime(SHORT), mail(2, 1)).await;
    check(&other, RecipientState::Deferred, Some(GiveUp::Expired), 0);
    server.say("250 ok").await;
    check(&ticket.await, RecipientState::Delivered, None, 1);
    sent.shutdown(Duration::ZERO).await;
}

/// The first connection whose client is still there.
async fn accept_live(listener: &TcpListener) -> Scripted {
    let (gone, _) = listener.accept().await.unwrap();
    drop(gone);
    Scripted::accept(listener, &["PIPELINING"]).await
}

/// A mail for many goes in batches, and its report is one, in the order of the envelope.
#[tokio::test]
async fn a_mail_for_many_goes_in_batches() {
    let sink = sink("").await;
    let (scheduler, to) = scheduler(&sink.addr().to_string(), LONG);
    let report = scheduler.send(to, mail(1, 250)).await;
    assert!(report.is_delivered());
    let paths: Vec<_> = report.recipients.iter().map(|it| it.forward_path.as_str()).collect();
    let expected: Vec<_> = (0..250).map(|number| format!("r{number}@mx.example")).collect();
    assert_eq!(paths, expected);

    let mut whole = mail(2, 250);
    whole.partial_refusal = PartialRefusal::AllOrNothing;
    assert!(scheduler.send(to, whole).await.is_delivered());
    scheduler.shutdown(LONG).await;
    let stats = sink.shutdown().await;
    assert_eq!((stats.mails, stats.recipients), (3 + 1, 250 + 250));
}

/// ... and is cancelled as one.
#[tokio::test]
async fn batches_are_cancelled_together() {
    let (_listener, address) = listener().await;
    let (scheduler, to) = scheduler(&address, LONG);
    let mut ticket = scheduler.submit(to, mail(1, 250)).await;
    assert!((&mut ticket).now_or_never().is_none());
    ticket.cancel();
    let report = ticket.await;
    assert_eq!(report.recipients.len(), 250);
    assert!(report.recipients.iter().all(|it| it.cause == Some(Cause::GivenUp(GiveUp::Cancelled))));
    scheduler.shutdown(Duration::ZERO).await;
}

/// After a shutdown a mail is reported at once.
#[tokio::test]
async fn who_comes_late_is_told() {
    let (_listener, address) = listener().await;
    let (scheduler, to) = scheduler(&address, LONG);
    let waiting = scheduler.submit(to, mail(1, 1)).await;
    scheduler.shutdown(Duration::ZERO).await;
    check(&waiting.await, RecipientState::Deferred, Some(GiveUp::Drained), 0);
    let late = scheduler.submit(to, mail(2, 1)).await;
    late.cancel();
    check(&late.await, RecipientState::Deferred, Some(GiveUp::Drained), 0);
}
