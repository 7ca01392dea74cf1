//! Postfix and Exim with limits of their own: what they refuse is learned, and costs no mail anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use posthaste::scheduler::failure::Closed;
use posthaste::scheduler::{Record, ServerStatus};
use posthaste::{Mailer, MailerBuilder, Report};
use posthaste_tests::{Exim, Postfix, Server, or_skip};

use crate::interop::{self, mail_to, nothing_was_held_against_anybody};
use crate::limits::all_delivered;
use crate::samples::{Sample, samples};
use crate::watch::{Seen, Watch};

/// Limits for clients on the same machine, too, over so many seconds.
fn postfix(lines: &str) -> Postfix {
    let more = "smtpd_client_event_limit_exceptions =\nanvil_rate_time_unit = 2s\n";
    Postfix { main_cf: format!("{more}{lines}"), ..Postfix::default() }
}

fn exim(lines: &str) -> Exim {
    Exim { main: lines.to_owned(), ..Exim::default() }
}

/// What a run has shown.
struct Run {
    status: ServerStatus,
    seen: Seen,
    took: Duration,
    /// The most that a mail had.
    attempts: u32,
}

/// Sends so many mails, each to a user of its own: each has it once.
async fn run(server: &Server, mails: usize, how: fn(MailerBuilder) -> MailerBuilder) -> Run {
    let watch = Watch::new();
    let mailer = how(interop::mailer(server).max_connections(20));
    let mailer = mailer.observer(Arc::clone(&watch) as _, Default::default()).build().unwrap();
    let started = Instant::now();
    let reports = interop::send(&mailer, mails, &plain()).await;
    let took = started.elapsed();
    let status = mailer.status();
    mailer.shutdown().await;
    assert!(reports.iter().all(Report::is_delivered), "{reports:?}");
    let attempts = reports.iter().flat_map(|report| &report.recipients).map(|it| it.attempts);
    let filed = server.maildir.wait_for(mails).await;
    let mut users: Vec<_> = filed.iter().map(|mail| mail.recipient.clone()).collect();
    users.sort_unstable();
    users.dedup();
    assert_eq!((filed.len(), users.len()), (mails, mails), "each once");
    let seen = watch.seen();
    println!("{took:?}, {} sessions, {} refused", seen.ready.len(), refused(&seen));
    Run { status, seen, took, attempts: attempts.max().unwrap_or(0) }
}

/// Connections that the server said were too many.
fn refused(seen: &Seen) -> usize {
    let is_refusal =
        |record: &&Record| matches!(record, Record::Closed { how: Closed::TooManyConnections, .. });
    seen.records.iter().filter(is_refusal).count()
}

fn plain() -> Vec<Sample> {
    samples().into_iter().filter(|sample| sample.name == "leading dots").collect()
}

/// One mail to 100 users.
async fn to_a_hundred(mailer: &Mailer, first: usize) -> Report {
    let users: Vec<_> = (first..first + 100).map(|number| format!("m{number}")).collect();
    let users: Vec<_> = users.iter().map(String::as_str).collect();
    mailer.send(mail_to(&users, plain()[0].content())).await
}

/// Row 7: `421 4.7.0 mail.example.test Error: too many connections from 127.0.0.1`
#[tokio::test(flavor = "multi_thread")]
async fn postfix_with_five_connections_for_each_client() {
    let lines = "smtpd_client_connection_count_limit = 5";
    let server = or_skip!(postfix(lines).start().await);
    let Run { status, seen, attempts, .. } = run(&server, 500, |mailer| mailer).await;
    nothing_was_held_against_anybody(&seen);
    assert_eq!(attempts, 1);
    assert_eq!(status.ceiling, Some(5));
    // It never bore more than eight at a time, each once.
    assert!((1..=8).contains(&refused(&seen)), "{seen:?}");
}

/// Row 17: `450 4.7.1 Error: too much mail from 127.0.0.1`
#[tokio::test(flavor = "multi_thread")]
async fn postfix_with_a_rate_of_mails() {
    let lines = "smtpd_client_message_rate_limit = 100";
    let server = or_skip!(postfix(lines).start().await);
    let Run { took, attempts, .. } = run(&server, 150, |mailer| mailer).await;
    assert_eq!(attempts, 1);
    assert!(took <= Duration::from_secs(60), "{took:?}");
}

/// Row 7: the words are those of too many connections at a time.
#[tokio::test(flavor = "multi_thread")]
async fn postfix_with_a_rate_of_connections() {
    let lines = "smtpd_client_connection_rate_limit = 10";
    let server = or_skip!(postfix(lines).start().await);
    let Run { seen, took, attempts, .. } =
        run(&server, 60, |it| it.max_mails_per_connection(4)).await;
    nothing_was_held_against_anybody(&seen);
    assert_eq!(attempts, 1);
    assert!(took <= Duration::from_secs(60), "{took:?}");
}

/// Row 24: `450 4.7.1 Error: too many recipients from 127.0.0.1`. Said of a recipient it costs an attempt, but the
/// server is left alone as well.
#[tokio::test(flavor = "multi_thread")]
async fn postfix_with_a_rate_of_recipients() {
    let lines = "smtpd_client_recipient_rate_limit = 100";
    let server = or_skip!(postfix(lines).start().await);
    let Run { took, attempts, .. } = run(&server, 150, |mailer| mailer).await;
    assert!(attempts <= 3, "{attempts}");
    assert!(took <= Duration::from_secs(60), "{took:?}");
}

/// Row 22: `452 4.5.3 Error: too many recipients`
#[tokio::test(flavor = "multi_thread")]
async fn postfix_with_ten_recipients_for_a_mail() {
    let server = or_skip!(postfix("smtpd_recipient_limit = 10").start().await);
    ten_recipients_a_mail(&server).await;
}

/// Row 22: `452 too many recipients`
#[tokio::test(flavor = "multi_thread")]
async fn exim_with_ten_recipients_for_a_mail() {
    let lines = "recipients_max = 10\nrecipients_max_reject = false";
    let server = or_skip!(exim(lines).start().await);
    ten_recipients_a_mail(&server).await;
}

async fn ten_recipients_a_mail(server: &Server) {
    let watch = Watch::new();
    let mailer = interop::mailer(server).observer(watch.clone(), Default::default());
    let mailer = mailer.build().unwrap();
    let reports = [to_a_hundred(&mailer, 0).await, to_a_hundred(&mailer, 100).await];
    assert_eq!(mailer.status().recipient_cap, Some(10));
    mailer.shutdown().await;
    all_delivered(&reports, 1);
    nothing_was_held_against_anybody(&watch.seen());
    let filed = server.maildir.wait_for(200).await;
    assert_eq!(filed.len(), 200);
}

/// Row 7: `421 Too many concurrent SMTP connections from this IP address; please try again later`
#[tokio::test(flavor = "multi_thread")]
async fn exim_with_five_connections_for_each_client() {
    let server =
        or_skip!(exim("smtp_accept_max = 100\nsmtp_accept_max_per_host = 5").start().await);
    let Run { status, seen, attempts, .. } = run(&server, 300, |mailer| mailer).await;
    nothing_was_held_against_anybody(&seen);
    assert_eq!(attempts, 1);
    assert_eq!(status.ceiling, Some(5));
}

/// Row 34: `421 mail.example.test too many messages in this connection`
#[tokio::test(flavor = "multi_thread")]
async fn exim_with_ten_mails_for_each_connection() {
    let server = or_skip!(exim("smtp_accept_max_per_connection = 10").start().await);
    let Run { status, seen, attempts, .. } = run(&server, 200, |it| it.max_connections(2)).await;
    nothing_was_held_against_anybody(&seen);
    assert_eq!(attempts, 1);
    assert_eq!(status.session_cap, Some(10));
    // Two connections find out at the same time.
    assert!(seen.ready.len() <= 20 + 2, "{} sessions", seen.ready.len());
}

/// Replies to MAIL and RCPT that come later and later are no reason to send less, let alone to give up.
#[tokio::test(flavor = "multi_thread")]
async fn exim_that_slows_down() {
    let lines = "\
smtp_ratelimit_hosts = *
smtp_ratelimit_mail = 2,0.05s,1.05,1s
smtp_ratelimit_rcpt = 4,0.05s,1.015,1s";
    let server = or_skip!(exim(lines).start().await);
    let Run { seen, attempts, .. } = run(&server, 100, |it| it.max_connections(4)).await;
    nothing_was_held_against_anybody(&seen);
    assert_eq!(attempts, 1);
}
