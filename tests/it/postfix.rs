//! The engine against Postfix.

use posthaste_tests::{Postfix, or_skip};

use crate::interop::{self, AUTO, CROSS, mailer};

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_mails_arrive_whole_and_once_in_mode_cross() {
    let count = interop::count(
        "postfix::ten_thousand_mails_arrive_whole_and_once_in_mode_cross",
        "mails",
        2_000,
        10_000,
    );
    let server = or_skip!(Postfix::default().start().await);
    let mailer = mailer(&server).pipelining(CROSS).build().unwrap();
    interop::whole_and_once(&server, mailer, count, filed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_mails_arrive_whole_and_once_in_mode_auto() {
    let count = interop::count(
        "postfix::ten_thousand_mails_arrive_whole_and_once_in_mode_auto",
        "mails",
        2_000,
        10_000,
    );
    let server = or_skip!(Postfix::default().start().await);
    let mailer = mailer(&server).pipelining(AUTO).build().unwrap();
    interop::whole_and_once(&server, mailer, count, filed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_mails_arrive_whole_and_once() {
    for policy in [CROSS, AUTO] {
        let server = or_skip!(Postfix::default().start().await);
        interop::large_mails_whole_and_once(&server, policy, filed).await;
    }
}

#[tokio::test]
async fn a_refused_recipient_has_the_servers_words() {
    let refuse = "check_recipient_access inline:{{gone@a.test = 550 5.1.1 gone}}";
    let main_cf = format!("smtpd_recipient_restrictions = {refuse}");
    let server = or_skip!(Postfix { main_cf, ..Postfix::default() }.start().await);
    interop::refused_recipient_has_the_servers_words(&server, delivery).await;
}

/// Postfix says 421 after twenty errors. Its pauses before that are off.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_without_end_are_told_apart() {
    let refuse = "check_recipient_access inline:{{gone@a.test = 550 5.1.1 gone}}";
    let main_cf = format!("smtpd_recipient_restrictions = {refuse}\nsmtpd_error_sleep_time = 0\n");
    let server = or_skip!(Postfix { main_cf, ..Postfix::default() }.start().await);
    interop::refusals_without_end_are_told_apart(&server).await;
}

/// What Postfix makes of a content: a body without a header gets the blank line in between.
fn filed(content: &[u8]) -> Vec<u8> {
    let separator: &[u8] = if content.starts_with(b".") { b"\r\n" } else { b"" };
    [separator, content].concat()
}

/// `Nov 22 13:17:28 mail postfix/virtual[706]: 3A5C3A88018: to=<m9988@a.test>, …, status=sent …`
fn delivery(line: &str) -> Option<&str> {
    let (before, behind) = line.split_once(": to=<")?;
    behind.contains("status=sent").then(|| before.rsplit(' ').next().unwrap())
}
