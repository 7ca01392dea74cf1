//! The engine against Exim.

use posthaste::scheduler::Record;
use posthaste_tests::{Exim, or_skip};

use crate::interop::{self, AUTO, CROSS, mailer};
use crate::watch::Watch;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_mails_arrive_whole_and_once_in_mode_cross() {
    let server = or_skip!(Exim::default().start().await);
    let mailer = mailer(&server).pipelining(CROSS).build().unwrap();
    interop::whole_and_once(&server, mailer, 1_000, filed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_mails_arrive_whole_and_once_in_mode_auto() {
    let server = or_skip!(Exim::default().start().await);
    let mailer = mailer(&server).pipelining(AUTO).build().unwrap();
    interop::whole_and_once(&server, mailer, 1_000, filed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_mails_arrive_whole_and_once() {
    let server = or_skip!(Exim::default().start().await);
    interop::large_mails_whole_and_once(&server, CROSS, filed).await;
}

#[tokio::test]
async fn a_refused_recipient_has_the_servers_words() {
    let acl_rcpt = "deny local_parts = gone\n message = gone".to_owned();
    let server = or_skip!(Exim { acl_rcpt, ..Exim::default() }.start().await);
    interop::refused_recipient_has_the_servers_words(&server, delivery).await;
}

/// Exim takes ten RSETs on a connection, and then no more.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_without_end_are_told_apart() {
    let acl_rcpt = "deny local_parts = gone\n message = gone".to_owned();
    let server = or_skip!(Exim { acl_rcpt, ..Exim::default() }.start().await);
    interop::refusals_without_end_are_told_apart(&server).await;
}

/// What Exim makes of a content: there is a blank line between header and body though one of them
/// is missing.
fn filed(content: &[u8]) -> Vec<u8> {
    let has_header = !content.starts_with(b".");
    let has_blank_line = content.windows(4).any(|octets| octets == b"\r\n\r\n");
    match (has_header, has_blank_line) {
        (false, _) => [b"\r\n", content].concat(),
        (true, false) => [content, b"\r\n"].concat(),
        (true, true) => content.to_vec(),
    }
}

/// `2026-11-22 13:19:47 1vMpXz-000000000TJ-2Vlz => m5 <m5@a.test> R=all T=maildir`
fn delivery(line: &str) -> Option<&str> {
    let (before, _) = line.split_once(" => ").or_else(|| line.split_once(" -> "))?;
    before.rsplit(' ').next()
}

/// Exim's own limits: mails that meet them cost no attempt, and none is lost or doubled.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_mails_on_a_connection_costs_no_mail_an_attempt() {
    for policy in [CROSS, AUTO] {
        let main = "smtp_accept_max_per_connection = 20".to_owned();
        let server = or_skip!(Exim { main, ..Exim::default() }.start().await);
        let watch = Watch::new();
        let mailer = mailer(&server).pipelining(policy);
        let mailer = mailer.observer(watch.clone(), Default::default()).build().unwrap();
        interop::whole_and_once(&server, mailer, 300, filed).await;
        let seen = watch.seen();
        interop::nothing_was_held_against_anybody(&seen);
        assert!(seen.ready.len() >= 15, "{seen:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_connections_becomes_the_ceiling() {
    let main = "smtp_accept_max = 3".to_owned();
    let server = or_skip!(Exim { main, ..Exim::default() }.start().await);
    let watch = Watch::new();
    let mailer = mailer(&server).max_connections(10);
    let mailer = mailer.observer(watch.clone(), Default::default()).build().unwrap();
    interop::whole_and_once(&server, mailer, 500, filed).await;
    let seen = watch.seen();
    interop::nothing_was_held_against_anybody(&seen);
    let ceiling = |record: &Record| match record {
        Record::CeilingLearned { connections, .. } => Some(*connections),
        _ => None,
    };
    let ceilings: Vec<_> = seen.records.iter().filter_map(ceiling).collect();
    // At first those count as well that were on their way.
    assert!(ceilings.last().is_some_and(|&ceiling| ceiling <= 3), "{ceilings:?}");
}
