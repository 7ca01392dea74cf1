//! Authentication over real TLS, against the sink.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use posthaste::reply::Mechanism;
use posthaste::scheduler::{GiveUp, Observation, Observer};
use posthaste::session::{Credentials, Speaker, TlsPolicy};
use posthaste::{Cause, Mailer, Report, Transcript};
use posthaste_sink::{Config, Identity, Sink, SinkOptions, TlsUse, User};

use crate::interop::send;
use crate::samples::samples;
use crate::tls::trusting;

const USER: &str = "news";
const SECRET: &str = "tan-staaf~19";

/// Everything that is said about a session, as text.
#[derive(Debug, Default)]
struct Talk(Mutex<String>);

impl Observer for Talk {
    fn observe(&self, observation: Observation<'_>) {
        let line = match observation {
            Observation::Transcript(_, line) => {
                let mark = if line.speaker == Speaker::Client { "->" } else { "<-" };
                format!("{mark} {}\n", line.text)
            }
            Observation::Closed(_, _, reason) => format!("{reason:?}\n"),
            Observation::Failed(_, _, error) => format!("{error:?}\n"),
            Observation::Record(record) => format!("{record:?}\n"),
            _ => return,
        };
        self.0.lock().unwrap().push_str(&line);
    }
}

async fn sink(offer: &str) -> Sink {
    let user = User { name: USER.to_owned(), password: SECRET.to_owned() };
    let config = Config {
        users: vec![user],
        offer: format!("AUTH={offer}").parse().unwrap(),
        tls: TlsUse::Required,
        ..Config::default()
    };
    let identity = Identity::SelfSigned("localhost".to_owned());
    SinkOptions::default().config(config).tls(identity).start().await.unwrap()
}

fn by(mechanism: Mechanism, secret: &str) -> Credentials {
    let credentials = match mechanism {
        Mechanism::XOAuth2 | Mechanism::OAuthBearer => Credentials::bearer(USER, secret),
        Mechanism::External => Credentials::external(None),
        _ => Credentials::new(USER, secret),
    };
    credentials.unwrap().with_mechanisms(&[mechanism]).unwrap()
}

/// Sends mails; what became of them, and what was said.
async fn deliver(sink: &Sink, credentials: Credentials) -> (Vec<Report>, String) {
    let talk = Arc::new(Talk::default());
    let mailer = Mailer::builder(&format!("smtp://{}", sink.addr()))
        .unwrap()
        .tls(TlsPolicy::Require)
        .tls_settings(trusting(sink.ca_pem().unwrap(), None))
        .credentials(credentials)
        .max_connections(3)
        .observer(Arc::clone(&talk) as _, Transcript::On);
    let mailer = mailer.build().unwrap();
    let reports = send(&mailer, 5, &samples()).await;
    mailer.shutdown().await;
    let said = talk.0.lock().unwrap().clone();
    (reports, said)
}

/// CB-01, SCRAM-07: both exporters give the same, or the server would take nobody; and it offers
/// nothing else.
#[tokio::test]
async fn scram_is_bound_to_the_tls_connection() {
    for mechanism in [Mechanism::ScramSha1Plus, Mechanism::ScramSha256Plus] {
        let sink = sink(mechanism.name()).await;
        let (reports, said) = deliver(&sink, Credentials::new(USER, SECRET).unwrap()).await;
        assert!(reports.iter().all(Report::is_delivered), "{said}");
        assert!(said.contains(&format!("-> AUTH {mechanism} ")), "{said}");
    }
}

/// AUTH-19, LK-01, LK-02: whatever the mechanism, and whether the secret is right.
#[tokio::test]
async fn nothing_that_is_said_shows_a_secret() {
    for &mechanism in Credentials::MECHANISMS {
        let sink = sink(mechanism.name()).await;
        for (secret, is_right) in [(SECRET, true), ("wr0ng~secret", false)] {
            let is_right = is_right || mechanism == Mechanism::External;
            let (reports, said) = deliver(&sink, by(mechanism, secret)).await;
            assert!(reports.iter().all(|report| report.is_delivered() == is_right), "{said}");
            let said = format!("{said}{reports:?}");
            let digits = BASE64_STANDARD.encode(secret);
            let plain = BASE64_STANDARD.encode(format!("\0{USER}\0{secret}"));
            for hidden in [secret, &digits, &plain] {
                assert!(!said.contains(hidden), "{mechanism} shows {hidden}:\n{said}");
            }
            if !is_right {
                let recipients = reports.iter().flat_map(|report| &report.recipients);
                // AUTH-11, AU-15
                let refused = Some(Cause::GivenUp(GiveUp::Authentication));
                assert!(recipients.into_iter().all(|recipient| recipient.cause == refused));
                assert_eq!(said.matches(&format!("-> AUTH {mechanism}")).count(), 1, "{said}");
            }
        }
    }
}

/// AU-16: neither a name in the greeting nor an address in a refusal leads credentials elsewhere.
#[tokio::test]
async fn credentials_stay_with_their_server() {
    let other = sink("PLAIN").await;
    let elsewhere = other.addr();
    let user = User { name: USER.to_owned(), password: SECRET.to_owned() };
    let config = Config {
        hostname: elsewhere.to_string(),
        users: vec![user],
        tls: TlsUse::Required,
        ..Config::default()
    };
    let identity = Identity::SelfSigned("localhost".to_owned());
    let refusal = format!(r#"at=rcpt reply="551 5.7.1 try <m0@[{elsewhere}]>""#);
    let options = SinkOptions::default().config(config).tls(identity);
    let sink = options.fault(refusal.parse().unwrap()).start().await.unwrap();
    let (reports, said) = deliver(&sink, Credentials::new(USER, SECRET).unwrap()).await;
    assert!(said.contains("551 5.7.1 try"), "{said}");
    assert!(!reports.iter().any(Report::is_delivered));
    assert_eq!(other.stats().connections.opened, 0);
}

/// AU-17: whoever sends as somebody else has other connections.
#[tokio::test]
async fn connections_belong_to_one_account() {
    let users =
        ["one", "two"].map(|name| User { name: name.to_owned(), password: SECRET.to_owned() });
    let config = Config { users: users.to_vec(), tls: TlsUse::Required, ..Config::default() };
    let identity = Identity::SelfSigned("localhost".to_owned());
    let sink = SinkOptions::default().config(config).tls(identity).start().await.unwrap();
    let sends = ["one", "two"].map(|name| deliver(&sink, Credentials::new(name, SECRET).unwrap()));
    let [one, two] = futures_util::future::join_all(sends).await.try_into().unwrap();
    let said = [one.1, two.1].join("");
    let opened = sink.stats().connections.opened;
    assert!(one.0.iter().chain(&two.0).all(Report::is_delivered), "{said}");
    assert!(opened >= 2, "{said}");
    // Each has authenticated, once.
    assert_eq!(said.matches("-> AUTH ").count() as u64, opened, "{said}");
}
