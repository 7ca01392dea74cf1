//! Clients that speak for others, and a Postfix that believes them, or does not.

use std::time::Duration;

use posthaste::connection::{DialSettings, ProxyAddresses, ProxyHeader, ProxyVersion};
use posthaste::scheduler::SchedulerConfig;
use posthaste::session::{TlsPolicy, Xclient, XclientName, XclientProtocol, XclientText};
use posthaste::{Content, MailerBuilder, RecipientState, Report};
use posthaste_tests::{Postfix, Server, Tls, or_skip};
use tokio::time::timeout;

use crate::interop::{mail_to, mailer};

fn content() -> Content {
    Content::new("Subject: hi\r\n\r\nhi\r\n").unwrap()
}

/// Others than this machine may send mail, too.
const OPEN: &str = "inet_protocols = all\nsmtpd_relay_restrictions = reject_unauth_destination\n";

/// One try is enough.
fn impatient() -> SchedulerConfig {
    let mut scheduler = SchedulerConfig::default();
    scheduler.planner.retry.attempts = 1;
    scheduler
}

/// Everything that can be told, much of it too long for one command with the rest.
fn client() -> Xclient {
    let long = XclientText::new(&"x+y".repeat(45)).unwrap();
    Xclient {
        name: Some(XclientName::Known("spike.example".parse().unwrap())),
        address: Some("2001:db8::7".parse().unwrap()),
        port: Some(4000),
        protocol: Some(XclientProtocol::Esmtp),
        helo: Some(long.clone()),
        login: Some(long),
        destination_address: Some("2001:db8::25".parse().unwrap()),
        destination_port: Some(25),
    }
}

fn trusting(tls: Tls) -> Postfix {
    let main_cf = format!("smtpd_authorized_xclient_hosts = 127.0.0.0/8\n{OPEN}");
    Postfix { tls, main_cf, ..Postfix::default() }
}

/// Sends a mail, which one connection is enough for.
async fn send(mailer: MailerBuilder) -> Report {
    let mailer = mailer.scheduler(impatient()).build().unwrap();
    let send = mailer.send(mail_to(&["m0"], content()));
    let report = timeout(Duration::from_secs(10), send).await.expect("a report soon");
    mailer.shutdown().await;
    report
}

async fn is_believed(server: &Server, tls: TlsPolicy, client: Xclient, log: &str) {
    let report = send(mailer(server).tls(tls).xclient(client)).await;
    assert_eq!(report.recipients[0].state, RecipientState::Delivered, "{report:?}");
    server.wait_for_log(log).await;
}

/// XCLIENT-01, XCLIENT-02
#[tokio::test(flavor = "multi_thread")]
async fn postfix_takes_a_session_for_somebody_elses() {
    let server = or_skip!(trusting(Tls::Starttls).start().await);
    let log = "client=spike.example[2001:db8::7]";
    for tls in [TlsPolicy::Off, TlsPolicy::May] {
        is_believed(&server, tls, client(), log).await;
    }
    let nameless = Xclient {
        name: Some(XclientName::Unavailable),
        address: Some("192.0.2.7".parse().unwrap()),
        ..Xclient::default()
    };
    is_believed(&server, TlsPolicy::Off, nameless, "client=unknown[192.0.2.7]").await;
}

/// XCLIENT-02: a Postfix that does not trust this client does not offer it, and gets no mail.
#[tokio::test(flavor = "multi_thread")]
async fn postfix_gets_no_mail_that_it_would_take_for_this_clients() {
    let server = or_skip!(Postfix::default().start().await);
    let report = send(mailer(&server).xclient(client())).await;
    assert_ne!(report.recipients[0].state, RecipientState::Delivered, "{report:?}");
    assert!(!server.log().contains("from=<"), "{}", server.log());
}

/// PROXY-01, PROXY-02
#[tokio::test(flavor = "multi_thread")]
async fn postfix_believes_a_header_of_the_proxy_protocol() {
    let main_cf = format!("smtpd_upstream_proxy_protocol = haproxy\n{OPEN}");
    let server = or_skip!(Postfix { main_cf, ..Postfix::default() }.start().await);
    let v4 = ProxyAddresses::new("192.0.2.7:1".parse().unwrap(), "192.0.2.8:25".parse().unwrap());
    let v6 = ProxyAddresses::new(
        "[2001:db8::7]:1".parse().unwrap(),
        "[2001:db8::8]:25".parse().unwrap(),
    );
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        for (addresses, log) in [
            (v4.unwrap(), "client=unknown[192.0.2.7]"),
            (v6.unwrap(), "client=unknown[2001:db8::7]"),
            (ProxyAddresses::Connection, "[127.0.0.1]"),
        ] {
            let proxy_header = Some(ProxyHeader { version, addresses });
            let dial = DialSettings { proxy_header, ..DialSettings::default() };
            let report = send(mailer(&server).dial(dial)).await;
            assert_eq!(report.recipients[0].state, RecipientState::Delivered, "{report:?}");
            server.wait_for_log(log).await;
        }
    }
}
