//! Every mechanism, the client's side of this project against the server's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthaste_session::reply::Mechanism;
use posthaste_session::{
    CloseReason, Config, Content, Credentials, Entropy, Envelope, ForwardPath, Mail, PlaintextAuth,
    ReversePath, Stage, TlsPolicy,
};
use posthaste_sink as sink;
use posthaste_testkit::pair::{Application, LinkModel, Report, Scenario, TraceLine};
use posthaste_testkit::{Clock, Dice};

const USER: &str = "ne=ws,x";
const SECRET: &str = "tan-staaf~19";

/// Whether there is TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    With,
    Without,
}

fn credentials(mechanism: Mechanism, secret: &str) -> Credentials {
    let credentials = match mechanism {
        Mechanism::XOAuth2 | Mechanism::OAuthBearer => Credentials::bearer(USER, secret),
        Mechanism::External => Credentials::external(Some(USER.to_owned())),
        _ => Credentials::new(USER, secret),
    };
    let credentials = credentials.unwrap().with_mechanisms(&[mechanism]).unwrap();
    credentials.with_plaintext(PlaintextAuth::Allowed)
}

/// One mail to a server that offers a mechanism, and what it counted against the client.
fn run(credentials: Credentials, offer: &str, tls: Tls) -> (Report, sink::Stats) {
    let mut client = Config::new("client.example".parse().unwrap());
    client.credentials = Some(credentials);
    client.entropy = Some(Entropy::new([9; Entropy::LENGTH]));
    client.transcript = true;
    let (policy, tls_use) = match tls {
        Tls::With => (TlsPolicy::Require, sink::TlsUse::Required),
        Tls::Without => (TlsPolicy::Off, sink::TlsUse::Absent),
    };
    client.tls = policy;
    let user = sink::User { name: USER.to_owned(), password: SECRET.to_owned() };
    let server = sink::Config {
        users: vec![user],
        offer: format!("AUTH={offer}").parse().unwrap(),
        tls: tls_use,
        store: sink::StoreKind::Memory,
        ..sink::Config::default()
    };
    let from: ReversePath = "a@client.example".parse().unwrap();
    let to: ForwardPath = "b@mx.example".parse().unwrap();
    let mail = Mail::new(Envelope::new(from, [to]).unwrap(), Content::new("hi\r\n").unwrap());
    let application = Application { mails: vec![mail].into(), ..Application::default() };
    let scenario = Scenario { client, server, link: LinkModel::default(), application };
    let clock = Clock::default();
    let server = scenario.sink(&clock);
    let report = scenario.run(clock, &server, Dice::from_seed(1));
    (report, server.stats())
}

/// What the session has reported, as text.
fn reported(report: &Report) -> String {
    let lines = report.trace.lines().iter().filter_map(|(_, line)| match line {
        TraceLine::Event(event) => Some(format!("{event}\n")),
        TraceLine::Said(_) | TraceLine::Heard(_) => None,
    });
    lines.collect::<String>() + &format!("{:?} {:?}", report.closed, report.fates)
}

#[test]
fn each_mechanism_is_spoken_on_both_sides() {
    // PLAIN-01, LOGIN-01, CRAM-01, SCRAM-01, SCRAM-04, OAUTH-01, EXT-SASL
    for &mechanism in Credentials::MECHANISMS {
        let (report, stats) = run(credentials(mechanism, SECRET), mechanism.name(), Tls::With);
        assert_eq!(report.closed, CloseReason::Quit, "{mechanism}");
        assert_eq!(stats.mails, 1, "{mechanism}");
        assert!(stats.violations.is_empty(), "{mechanism}: {:?}", stats.violations);
    }
}

#[test]
fn a_wrong_secret_is_refused_once() {
    // AUTH-09, AUTH-11, AUTH-12, AU-15, OAUTH-02, OAUTH-03
    for &mechanism in Credentials::MECHANISMS {
        if mechanism == Mechanism::External {
            continue;
        }
        let offer = format!("{mechanism} LOGIN PLAIN");
        let (report, stats) = run(credentials(mechanism, "wrong-secret"), &offer, Tls::With);
        let CloseReason::Refused { stage: Stage::Auth, reply } = &report.closed else {
            panic!("{mechanism}: {:?}", report.closed);
        };
        assert_eq!(reply.code().value(), 535, "{mechanism}");
        assert_eq!((stats.mails, stats.refusals["credentials"]), (0, 1), "{mechanism}");
        assert!(stats.violations.is_empty(), "{mechanism}: {:?}", stats.violations);
    }
}

#[test]
fn no_output_holds_a_secret() {
    // AUTH-19, LK-01, LK-02: events, transcripts, reasons and outcomes of each mechanism
    for &mechanism in Credentials::MECHANISMS {
        for (secret, tls) in [(SECRET, Tls::With), ("wr0ng-secret", Tls::Without)] {
            if mechanism.name().ends_with("-PLUS") && tls == Tls::Without {
                continue;
            }
            let (report, _) = run(credentials(mechanism, secret), mechanism.name(), tls);
            let reported = reported(&report);
            assert!(reported.contains(&format!("AUTH {mechanism}")), "{reported}");
            let plain = STANDARD.encode(format!("\0{USER}\0{secret}"));
            for hidden in [secret, &STANDARD.encode(secret), plain.as_str()] {
                assert!(!reported.contains(hidden), "{mechanism} shows {hidden}:\n{reported}");
            }
        }
    }
}

#[test]
fn the_strongest_that_can_be_used_is_used() {
    // AUTH-14, SCRAM-07, CB-01, AU-12
    let all = "LOGIN PLAIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-256-PLUS";
    let credentials = Credentials::new(USER, SECRET).unwrap();
    let credentials = credentials.with_plaintext(PlaintextAuth::Allowed);
    for (offer, tls, expected) in [
        (all, Tls::With, "SCRAM-SHA-256-PLUS"),
        (all, Tls::Without, "SCRAM-SHA-256"),
        ("PLAIN SCRAM-SHA-256 SCRAM-SHA-1-PLUS", Tls::With, "SCRAM-SHA-1-PLUS"),
        ("LOGIN CRAM-MD5 SCRAM-SHA-1", Tls::With, "SCRAM-SHA-1"),
        ("LOGIN CRAM-MD5 PLAIN", Tls::With, "PLAIN"),
        ("LOGIN CRAM-MD5", Tls::With, "LOGIN"),
    ] {
        let (report, stats) = run(credentials.clone(), offer, tls);
        let reported = reported(&report);
        assert!(reported.contains(&format!("AUTH {expected}")), "{offer}, {tls:?}: {reported}");
        assert_eq!(stats.mails, 1, "{offer}, {tls:?}: {reported}");
    }
}
