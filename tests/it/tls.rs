//! TLS and authentication against real servers.

use std::sync::Arc;
use std::time::Duration;

use posthaste::connection::{ErrorKind, TlsSettings};
use posthaste::reply::Mechanism;
use posthaste::scheduler::GiveUp;
use posthaste::session::{Credentials, TlsPolicy};
use posthaste::{Cause, Mailer, MailerBuilder, RecipientState, Report};
use posthaste_tests::{
    Auth, Exim, HOSTNAME, PASSWORD, Postfix, Server, Tls, USER, or_skip, wait_until,
};

use crate::interop::send;
use crate::samples::samples;
use crate::watch::{Seen, Watch};

const MAILS: usize = 100;

/// Trusts an authority, and expects a certificate for `name` or else for the host.
pub(crate) fn trusting(ca_pem: &str, name: Option<&str>) -> TlsSettings {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, ca_pem).unwrap();
    let mut settings = TlsSettings::default();
    settings.add_roots_from_pem(file.path()).unwrap();
    settings.server_name = name.map(str::to_owned);
    settings
}

/// Sends with TLS demanded, and tells what was reported and seen.
async fn deliver(mailer: MailerBuilder) -> (Vec<Report>, Seen) {
    let watch = Watch::new();
    let mailer = mailer.observer(Arc::clone(&watch) as _, Default::default()).build().unwrap();
    let reports = send(&mailer, MAILS, &samples()).await;
    mailer.shutdown().await;
    (reports, watch.seen())
}

fn starttls(server: &Server) -> MailerBuilder {
    Mailer::builder(&format!("smtp://{}", server.addr)).unwrap().tls(TlsPolicy::Require)
}

#[track_caller]
fn all_delivered(reports: &[Report], seen: &Seen, is_verified: bool) {
    assert_eq!(reports.iter().find(|report| !report.is_delivered()), None);
    assert!(!seen.ready.is_empty());
    for tls in &seen.ready {
        let tls = tls.as_ref().expect("TLS on every connection");
        assert_eq!((tls.version.as_str(), tls.is_verified()), ("TLSv1_3", is_verified)); // TLS-16
    }
}

/// Every mail fails for this cause, and none of it has reached the server.
#[track_caller]
fn all_failed(server: &Server, reports: &[Report], cause: GiveUp) {
    for report in reports {
        let recipient = &report.recipients[0];
        assert_eq!(recipient.state, RecipientState::Failed, "{recipient:?}");
        assert_eq!(recipient.cause, Some(Cause::GivenUp(cause)));
    }
    assert_eq!(server.maildir.mails(), []);
    assert!(!server.log().contains("sender@client.example"));
}

async fn postfix(tls: Tls, auth: Auth) -> Result<Server, posthaste_tests::Missing> {
    Postfix { tls, auth, ..Postfix::default() }.start().await
}

async fn exim(tls: Tls, auth: Auth) -> Result<Server, posthaste_tests::Missing> {
    // Without a second log of failures.
    let main = "write_rejectlog = false".to_owned();
    Exim { tls, auth, main, ..Exim::default() }.start().await
}

#[tokio::test]
async fn postfix_with_starttls() {
    with_starttls(&or_skip!(postfix(Tls::Starttls, Auth::Off).await)).await;
}

#[tokio::test]
async fn exim_with_starttls() {
    with_starttls(&or_skip!(exim(Tls::Starttls, Auth::Off).await)).await;
}

async fn with_starttls(server: &Server) {
    // TLS-18: a certificate has to be for this host; TLS-20: and from somebody who is trusted.
    let wrong_name =
        starttls(server).tls_settings(trusting(&server.ca_pem, Some("other.example.test")));
    let (reports, seen) = deliver(wrong_name).await;
    all_failed(server, &reports, GiveUp::Requirement);
    assert_eq!(seen.failed, [ErrorKind::Certificate]);

    let (reports, seen) = deliver(starttls(server)).await;
    all_failed(server, &reports, GiveUp::Requirement);
    assert_eq!(seen.failed, [ErrorKind::Certificate]);

    // By its address, and by one of its names.
    for name in [None, Some(HOSTNAME)] {
        let mailer = starttls(server).tls_settings(trusting(&server.ca_pem, name));
        let (reports, seen) = deliver(mailer).await;
        all_delivered(&reports, &seen, true);
    }
    // TLS-27: with anybody's certificate if TLS is only opportunistic, and then it says so.
    let (reports, seen) = deliver(starttls(server).tls(TlsPolicy::May)).await;
    all_delivered(&reports, &seen, false);
    server.maildir.wait_for(3 * MAILS).await;
}

#[tokio::test]
async fn postfix_with_implicit_tls() {
    with_implicit_tls(&or_skip!(postfix(Tls::Implicit, Auth::Off).await)).await;
}

#[tokio::test]
async fn exim_with_implicit_tls() {
    with_implicit_tls(&or_skip!(exim(Tls::Implicit, Auth::Off).await)).await;
}

/// TLS-12
async fn with_implicit_tls(server: &Server) {
    let url = format!("smtps://{}", server.addr);
    let (reports, seen) = deliver(Mailer::builder(&url).unwrap()).await;
    all_failed(server, &reports, GiveUp::Requirement);
    assert_eq!(seen.failed, [ErrorKind::Certificate]);

    let mailer = Mailer::builder(&url).unwrap().tls_settings(trusting(&server.ca_pem, None));
    let (reports, seen) = deliver(mailer).await;
    all_delivered(&reports, &seen, true);
    server.maildir.wait_for(MAILS).await;
}

#[tokio::test]
async fn postfix_without_tls_gets_nothing_where_tls_is_demanded() {
    without_tls(&or_skip!(postfix(Tls::Off, Auth::Off).await)).await;
}

#[tokio::test]
async fn exim_without_tls_gets_nothing_where_tls_is_demanded() {
    without_tls(&or_skip!(exim(Tls::Off, Auth::Off).await)).await;
}

async fn without_tls(server: &Server) {
    let (reports, _) = deliver(starttls(server)).await;
    all_failed(server, &reports, GiveUp::Requirement);
}

#[tokio::test]
async fn postfix_with_passwords() {
    let server = or_skip!(postfix(Tls::Starttls, Auth::Required).await);
    // CRAM-01, SCRAM-01, SCRAM-03: Cyrus SASL speaks them as we do.
    let mechanisms = [
        Mechanism::Plain,
        Mechanism::Login,
        Mechanism::CramMd5,
        Mechanism::ScramSha1,
        Mechanism::ScramSha256,
    ];
    with_passwords(&server, &mechanisms, "authentication failed").await;
}

#[tokio::test]
async fn exim_with_passwords() {
    let server = or_skip!(exim(Tls::Starttls, Auth::Required).await);
    let mechanisms = [Mechanism::Plain, Mechanism::Login, Mechanism::CramMd5];
    with_passwords(&server, &mechanisms, "535 Incorrect authentication data").await;
}

/// `failure` is in the server's log once for each wrong password.
async fn with_passwords(server: &Server, mechanisms: &[Mechanism], failure: &str) {
    let mailer = |password: &str, mechanisms: &[Mechanism]| {
        let credentials = Credentials::new(USER, password).unwrap();
        let credentials = credentials.with_mechanisms(mechanisms).unwrap();
        starttls(server).tls_settings(trusting(&server.ca_pem, None)).credentials(credentials)
    };
    for mechanism in mechanisms {
        let (reports, seen) = deliver(mailer(PASSWORD, &[*mechanism])).await;
        all_delivered(&reports, &seen, true);
    }
    server.maildir.wait_for(mechanisms.len() * MAILS).await;

    // AUTH-11: a hundred mails do not lock the account; AUTH-12: nor does one try every mechanism.
    let (reports, _) = deliver(mailer("wrong", mechanisms)).await;
    for report in &reports {
        let recipient = &report.recipients[0];
        assert_eq!(recipient.state, RecipientState::Failed);
        assert_eq!(recipient.cause, Some(Cause::GivenUp(GiveUp::Authentication)));
        let reply = recipient.reply.as_ref().expect("the server's words");
        assert_eq!(reply.code().value(), 535);
    }
    // Postfix logs through a process of its own.
    let attempts = || server.log().matches(failure).count();
    let logged = || (attempts() > 0).then_some(());
    wait_until(Duration::from_secs(10), "the failure to be logged", logged).await;
    assert_eq!(attempts(), 1, "one attempt at logging in");
}
