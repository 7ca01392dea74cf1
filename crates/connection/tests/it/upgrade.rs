//! The moment in which TLS begins, and what attackers and broken servers do to it.

use std::io::{IoSlice, Write as _};
use std::sync::Arc;
use std::time::Duration;

use posthaste_connection::session::reply::{FrameError, Protocol};
use posthaste_connection::session::{
    CloseReason, Config, Credentials, Requirement, Session, Stage, Timeouts, TlsPolicy, TlsState,
    Violation,
};
use posthaste_connection::{
    Command, Connector, DialSettings, ErrorKind, Identity, Security, Server, TlsClient,
    TlsSettings, TlsSetupError, Verification,
};
use rcgen::KeyPair;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::floods::serving;
use crate::support::{Notes, Peer, accept, listen, mail, name, now, ordered, recorder};
use crate::tls::{Authority, accept_tls, connector, params, require};

fn may() -> Config {
    Config { tls: TlsPolicy::May, ..Config::new(name()) }
}

fn with_credentials(config: Config) -> Config {
    Config { credentials: Some(Credentials::new("user", "secret").unwrap()), ..config }
}

/// A server up to the moment in which the client has asked for TLS.
async fn until_starttls(listener: &TcpListener) -> Peer<TcpStream> {
    let mut peer = accept(listener).await;
    peer.introduce(&["STARTTLS", "AUTH PLAIN LOGIN"]).await;
    peer.hear(&["STARTTLS"]).await;
    peer
}

/// Expects the end without another octet of SMTP.
async fn hear_no_smtp(mut peer: Peer<TcpStream>) {
    let mut octets = Vec::new();
    let _ = peer.stream.read_to_end(&mut octets).await;
    let said = String::from_utf8_lossy(&octets);
    assert!(!["EHLO", "AUTH", "MAIL", "QUIT"].iter().any(|verb| said.contains(verb)), "{said}");
}

/// Nobody has connected, and nobody is going to.
async fn assert_untouched(listener: &TcpListener) {
    tokio::select! {
        biased;
        peer = listener.accept() => panic!("another connection: {peer:?}"),
        () = tokio::task::yield_now() => {}
    }
}

/// Runs a session with one mail against a script; what came of it.
async fn run(
    security: Security,
    config: Config,
    script: impl AsyncFnOnce(&TcpListener),
) -> (Result<(), ErrorKind>, Notes) {
    run_with(&TlsSettings::default(), security, config, script).await
}

/// The same with settings of TLS.
async fn run_with(
    settings: &TlsSettings,
    security: Security,
    config: Config,
    script: impl AsyncFnOnce(&TcpListener),
) -> (Result<(), ErrorKind>, Notes) {
    let (listener, port) = listen().await;
    let mut recorder = recorder([mail(0)]);
    let notes = recorder.notes.clone();
    let connector = connector(port, security, settings, config);
    let (result, ()) = tokio::join!(connector.run(|_| {}, &mut recorder), script(&listener));
    assert_untouched(&listener).await;
    (result.map_err(|error| error.kind()), notes)
}

/// ST-05, ST-06, TLS-06, AU-03: octets behind the reply that were there before TLS.
#[tokio::test]
async fn octets_injected_before_tls_end_the_connection() {
    for injected in ["250-evil\r\n250 AUTH LOGIN\r\n", "250-AUTH PLA", "\r\n"] {
        for config in [may(), with_credentials(may()), with_credentials(require())] {
            let (result, notes) = run(Security::StartTls, config, async |listener| {
                let mut peer = until_starttls(listener).await;
                peer.say_exactly(&format!("220 go\r\n{injected}")).await;
                hear_no_smtp(peer).await;
            })
            .await;
            assert_eq!(result, Ok(()), "what the server did is told by the session");
            let violation = Violation::BeforeTls;
            assert_eq!(notes.closed(), CloseReason::Violation { stage: Stage::Tls, violation });
        }
    }
}

/// ST-07: the same a moment later, when it meets the handshake.
#[tokio::test]
async fn octets_injected_into_the_handshake_end_the_connection() {
    let config = with_credentials(require());
    let (result, notes) = run(Security::StartTls, config, async |listener| {
        let mut peer = until_starttls(listener).await;
        peer.say("220 go").await;
        // ClientHello has come, so the reply has been read.
        assert_eq!(peer.stream.read_u8().await.unwrap(), 22);
        peer.say("250-evil\r\n250 AUTH LOGIN").await;
        hear_no_smtp(peer).await;
    })
    .await;
    assert_eq!(result, Err(ErrorKind::NotTls));
    assert_eq!(notes.closed(), CloseReason::Aborted { stage: Stage::Tls });
}

/// TLS-11, ST-21, ST-22: where TLS is only opportunistic, a broken handshake is followed by a new
/// connection without it.
#[tokio::test]
async fn a_broken_handshake_is_followed_by_a_new_connection_without_tls() {
    let (result, notes) = run(Security::StartTls, may(), async |listener| {
        let mut peer = until_starttls(listener).await;
        peer.say("220 go").await;
        assert_eq!(peer.stream.read_u8().await.unwrap(), 22);
        peer.say("501 what is this").await;
        hear_no_smtp(peer).await;
        let mut peer = accept(listener).await;
        peer.introduce(&["PIPELINING", "STARTTLS"]).await;
        peer.take_mail(0).await;
        peer.part().await;
    })
    .await;
    assert_eq!(result, Ok(()));
    assert!(notes.outcomes()[0].is_delivered());
    // The result shows that there was no TLS, and why, and each session had its end.
    assert!(notes.infos().iter().all(|info| info.tls.is_none()));
    let given_up: Vec<_> = notes.infos().iter().map(|info| info.tls_given_up).collect();
    assert_eq!(given_up, [None, Some(ErrorKind::NotTls)]);
    let aborted = CloseReason::Aborted { stage: Stage::Tls };
    assert_eq!(notes.closings(), [aborted, CloseReason::Quit]);
}

/// TLS-11, TLS-14, ST-21: never where TLS was demanded, or there are credentials.
#[tokio::test]
async fn demanded_tls_is_never_done_without() {
    for config in [require(), with_credentials(may()), with_credentials(require())] {
        let (result, notes) = run(Security::StartTls, config, async |listener| {
            let mut peer = until_starttls(listener).await;
            peer.say("220 go").await;
            assert_eq!(peer.stream.read_u8().await.unwrap(), 22); // TLS-01
            // A fatal alert: handshake failure.
            peer.say_exactly("\x15\x03\x03\0\x02\x02\x28").await;
            hear_no_smtp(peer).await;
        })
        .await;
        assert_eq!(result, Err(ErrorKind::Handshake));
        assert_eq!(notes.closed(), CloseReason::Aborted { stage: Stage::Tls });
        assert!(notes.submitted().is_empty());
    }
}

/// ST-21: a certificate that is not accepted is no reason to do without TLS.
#[tokio::test]
async fn a_bad_certificate_is_never_followed_by_plaintext() {
    let acceptor = Authority::new().acceptor(&["127.0.0.1"]);
    let (result, notes) = run(Security::StartTls, may(), async |listener| {
        assert!(accept_tls(listener, Security::StartTls, &acceptor).await.is_err());
    })
    .await;
    assert_eq!(result, Err(ErrorKind::Certificate));
    assert!(notes.submitted().is_empty());
}

/// ST-21, TLS-27, Q55: where any certificate does, one that TLS is impossible with is as good a
/// reason to do without as any other; but not for who demands TLS.
#[tokio::test]
async fn an_unusable_certificate_is_a_broken_handshake() {
    let any = TlsSettings { verification: Verification::Optional, ..TlsSettings::default() };
    let config = serving(vec![b"no certificate".to_vec().into()], &KeyPair::generate().unwrap());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    for config in [may(), require()] {
        let policy = config.tls;
        let (result, notes) = run_with(&any, Security::StartTls, config, async |listener| {
            assert!(accept_tls(listener, Security::StartTls, &acceptor).await.is_err());
            if policy == TlsPolicy::Require {
                return;
            }
            let mut peer = accept(listener).await;
            peer.introduce(&["PIPELINING", "STARTTLS"]).await;
            peer.take_mail(0).await;
            peer.part().await;
        })
        .await;
        if policy == TlsPolicy::Require {
            assert_eq!(result, Err(ErrorKind::Handshake));
            assert!(notes.submitted().is_empty());
        } else {
            assert_eq!(result, Ok(()));
            assert!(notes.outcomes()[0].is_delivered());
            let given_up = notes.infos().last().unwrap().tls_given_up;
            assert_eq!(given_up, Some(ErrorKind::Handshake));
        }
    }
}

/// ST-21: who shows a certificate means one server, and nobody gets the mail in its place.
#[tokio::test]
async fn an_identity_is_never_followed_by_plaintext() {
    let (certificate, key) = Authority::new().issue(params(&["client.example"]));
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let identity = Some(Arc::new(Identity::new(vec![certificate], key)));
    let settings = TlsSettings { identity, ..TlsSettings::default() };
    let (result, notes) = run_with(&settings, Security::StartTls, may(), async |listener| {
        let mut peer = until_starttls(listener).await;
        peer.say("220 go").await;
        assert_eq!(peer.stream.read_u8().await.unwrap(), 22);
        peer.say("501 what is this").await;
        hear_no_smtp(peer).await;
    })
    .await;
    assert_eq!(result, Err(ErrorKind::NotTls));
    assert!(notes.submitted().is_empty());
}

/// ST-21, CONN-13: a host that no certificate could be for is an error before anything is said,
/// unless there is no TLS anyway.
#[tokio::test]
async fn a_host_without_a_name_for_tls_is_refused() {
    let new = |server, tls, settings: &TlsSettings| {
        let config = Config { tls, ..Config::new(name()) };
        let client = TlsClient::new(settings).unwrap();
        Connector::new(server, config, None, DialSettings::default(), client)
    };
    let (none, named) = (
        TlsSettings::default(),
        TlsSettings { server_name: Some("mx.example".into()), ..TlsSettings::default() },
    );
    for host in ["127.1", "fe80::1%2", "", "a b"] {
        for tls in [TlsPolicy::May, TlsPolicy::Require] {
            let error = new(Server::smtp(host, 25), tls, &none).unwrap_err();
            assert!(matches!(error, TlsSetupError::ServerName(name) if name == host));
            assert!(new(Server::smtp(host, 25), tls, &named).is_ok());
        }
        assert!(new(Server::smtps(host, 465), TlsPolicy::Off, &none).is_err());
        assert!(new(Server::smtp(host, 25), TlsPolicy::Off, &none).is_ok());
    }
}

/// Nor is anything done in the clear where TLS is asked for only later.
#[tokio::test]
async fn tls_without_a_name_is_a_local_failure() {
    let (listener, port) = listen().await;
    let client = TlsClient::new(&TlsSettings::default()).unwrap();
    let config = Config { tls: TlsPolicy::Off, ..may() };
    let server = Server::smtp("127.1", port);
    let connector = Connector::new(server, config, Some(name()), DialSettings::default(), client);
    let connector = connector.unwrap();
    let mut recorder = recorder([mail(0)]);
    let notes = recorder.notes.clone();
    let serve = async {
        let mut peer = until_starttls(&listener).await;
        peer.say("220 go").await;
        hear_no_smtp(peer).await;
    };
    let run = connector.run(|config| config.tls = TlsPolicy::May, &mut recorder);
    let (result, ()) = tokio::join!(run, serve);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Local);
    assert!(notes.submitted().is_empty());
    assert_untouched(&listener).await;
}

/// ST-25, TLS-13: plaintext on a port for TLS is told at once, and not answered.
#[tokio::test]
async fn a_plaintext_greeting_on_a_tls_port_is_an_error() {
    for config in [may(), require()] {
        let since = now();
        let (result, notes) = run(Security::Implicit, config, async |listener| {
            let mut peer = accept(listener).await;
            peer.say("220 mx.example ESMTP").await;
            hear_no_smtp(peer).await;
        })
        .await;
        assert_eq!(result, Err(ErrorKind::NotTls));
        assert!(notes.infos().is_empty() && notes.closings().is_empty());
        assert!(now() - since < Duration::from_secs(5));
    }
}

/// TLS-13: so is TLS on a port for plaintext.
#[tokio::test]
async fn tls_on_a_plaintext_port_is_a_violation() {
    let (result, notes) = run(Security::StartTls, may(), async |listener| {
        let mut peer = accept(listener).await;
        // An alert, as from a server that got tired of waiting for ClientHello.
        peer.say_exactly("\x15\x03\x03\0\x02\x02\x28").await;
        timeout(Duration::from_secs(5), peer.hear_end()).await.unwrap();
    })
    .await;
    assert_eq!(result, Ok(()));
    let violation = Violation::Malformed(FrameError::NotSmtp { protocol: Protocol::Tls });
    assert_eq!(notes.closed(), CloseReason::Violation { stage: Stage::Greeting, violation });
}

/// ST-18, TLS-30: a handshake that does not come to an end has a deadline of its own, octets or
/// not.
#[tokio::test]
async fn a_stalled_handshake_ends_at_its_deadline() {
    for security in [Security::StartTls, Security::Implicit] {
        let since = now();
        let tls = Duration::from_millis(50);
        let config = Config { timeouts: Timeouts { tls, ..Timeouts::default() }, ..require() };
        let (result, _) = run(security, config, async |listener| {
            let mut peer = match security {
                Security::StartTls => {
                    let mut peer = until_starttls(listener).await;
                    peer.say("220 go").await;
                    peer
                }
                Security::Implicit => accept(listener).await,
            };
            // The beginning of a handshake record that promises more, much slower than it would
            // have to be.
            for octet in b"\x16\x03\x03\x3f\xff\x02\x00".iter().cycle() {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if peer.stream.write_all(&[*octet]).await.is_err() {
                    break;
                }
                peer.stream.flush().await.unwrap_or_default();
            }
        })
        .await;
        assert_eq!(result, Err(ErrorKind::HandshakeTimeout), "{security:?}");
        assert!((tls..Duration::from_secs(5)).contains(&(now() - since)));
    }
}

/// ST-20, TLS-15: rustls knows nothing older than TLS 1.2, so a server that does not either ends
/// the handshake.
#[tokio::test]
async fn old_versions_are_impossible() {
    for minor in [0, 1, 2] {
        let (result, _) = run(Security::Implicit, require(), async |listener| {
            let mut peer = accept(listener).await;
            // ServerHello with TLS_RSA_WITH_AES_128_CBC_SHA, no session and no compression.
            let version = [3, minor];
            let body = [&version[..], &[7; 32], &[0, 0, 0x2f, 0]].concat();
            let message = [&[2, 0, 0, body.len() as u8][..], &body].concat();
            let record = [&[22][..], &version, &[0, message.len() as u8], &message].concat();
            peer.stream.write_all(&record).await.unwrap();
            peer.stream.flush().await.unwrap();
            hear_no_smtp(peer).await;
        })
        .await;
        assert_eq!(result, Err(ErrorKind::Handshake), "3.{minor}");
    }
}

/// CL-01, ST-19: a connection that ends in the handshake.
#[tokio::test]
async fn an_end_within_the_handshake_is_an_error() {
    for security in [Security::StartTls, Security::Implicit] {
        let (result, _) = run(security, require(), async |listener| match security {
            Security::StartTls => until_starttls(listener).await.say("220 go").await,
            Security::Implicit => drop(accept(listener).await),
        })
        .await;
        assert_eq!(result, Err(ErrorKind::Handshake), "{security:?}");
    }
}

/// ST-10: octets within TLS that are there before EHLO is said answer nothing, whatever they say.
#[tokio::test]
async fn words_within_tls_before_the_first_command_end_the_connection() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue(params(&["127.0.0.1"]));
    let mut config = serving(vec![certificate], &key);
    // They come with the server's part of the handshake.
    config.send_half_rtt_data = true;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    for words in ["421 busy\r\n", "554 no\r\n", "250-evil\r\n250 AUTH PLAIN\r\n"] {
        let (listener, port) = listen().await;
        let config = with_credentials(require());
        let connector = connector(port, Security::StartTls, &authority.settings(), config);
        let mut recorder = recorder([mail(0)]);
        let notes = recorder.notes.clone();
        let serve = async {
            let mut peer = until_starttls(&listener).await;
            peer.say("220 go").await;
            let stream = peer.stream.into_inner();
            let accept = acceptor.accept_with(stream, |server| {
                server.writer().write_all(words.as_bytes()).unwrap();
            });
            let mut rest = Vec::new();
            let _ = accept.await.unwrap().read_to_end(&mut rest).await;
            assert_eq!(String::from_utf8_lossy(&rest), "");
        };
        tokio::join!(connector.run(|_| {}, &mut recorder), serve).0.unwrap();
        let CloseReason::Violation { violation: Violation::Surplus, .. } = notes.closed() else {
            panic!("{notes:?}")
        };
    }
}

/// ST-11, TLS-22: a connection without TLS is no use to who demands it, and neither is what is
/// known of it.
#[tokio::test]
async fn a_plain_connection_is_not_used_again_where_tls_is_demanded() {
    let (listener, port) = listen().await;
    let settings = TlsSettings::default();
    let lax = connector(port, Security::StartTls, &settings, may());
    let strict = connector(port, Security::StartTls, &settings, require());
    let serve = async {
        let mut peer = accept(&listener).await;
        peer.introduce(&["PIPELINING"]).await;
        peer.take_mail(0).await;
        // It is open still, and has nothing to do.
        let mut other = accept(&listener).await;
        other.introduce(&["PIPELINING"]).await;
        other.part().await;
        peer.part().await;
    };
    let (mut open, orders) = ordered([mail(0)]);
    let mut demanding = recorder([mail(1)]);
    let demanding_notes = demanding.notes.clone();
    let notes = open.notes.clone();
    let lax = lax.run(|_| {}, &mut open);
    let strict = async {
        while notes.outcomes().is_empty() {
            tokio::task::yield_now().await;
        }
        strict.run(|_| {}, &mut demanding).await.unwrap();
        orders.send(Command::Quit).unwrap();
    };
    tokio::join!(lax, strict, serve).0.unwrap();
    assert_eq!(demanding_notes.closed(), CloseReason::Unavailable(Requirement::Tls));
    assert!(demanding_notes.submitted().is_empty());
}

/// A clock that ran before the handshake runs behind it, too.
#[tokio::test]
async fn silence_within_tls_ends_at_its_deadline() {
    let authority = Authority::new();
    for security in [Security::StartTls, Security::Implicit] {
        let timeouts = Timeouts::uniform(Duration::from_secs(1));
        let (result, notes) = run_with(
            &authority.settings(),
            security,
            Config { timeouts, ..require() },
            async |listener| {
                let acceptor = authority.acceptor(&["127.0.0.1"]);
                let mut peer = accept_tls(listener, security, &acceptor).await.unwrap();
                peer.hear_envelope(0).await;
                peer.hear_end().await;
            },
        )
        .await;
        assert_eq!(result, Ok(()));
        assert_eq!(notes.closed(), CloseReason::Timeout { stage: Stage::Mail }, "{security:?}");
    }
}

/// ST-21: a handshake that takes too long is given up as one that fails, and told apart from it.
#[tokio::test]
async fn a_stalled_handshake_is_followed_by_a_new_connection_without_tls() {
    let tls = Duration::from_millis(50);
    let config = Config { timeouts: Timeouts { tls, ..Timeouts::default() }, ..may() };
    let (result, notes) = run(Security::StartTls, config, async |listener| {
        let mut peer = until_starttls(listener).await;
        peer.say("220 go").await;
        hear_no_smtp(peer).await;
        let mut peer = accept(listener).await;
        peer.introduce(&["PIPELINING", "STARTTLS"]).await;
        peer.take_mail(0).await;
        peer.part().await;
    })
    .await;
    assert_eq!(result, Ok(()));
    assert!(notes.outcomes()[0].is_delivered());
    let given_up: Vec<_> = notes.infos().iter().map(|info| info.tls_given_up).collect();
    assert_eq!(given_up, [None, Some(ErrorKind::HandshakeTimeout)]);
}

/// TLS-12: with implicit TLS the client begins, and with the handshake.
#[tokio::test]
async fn implicit_tls_begins_before_the_greeting() {
    let (result, _) = run(Security::Implicit, require(), async |listener| {
        let mut peer = accept(listener).await;
        assert_eq!(peer.stream.read_u8().await.unwrap(), 22);
    })
    .await;
    assert_eq!(result, Err(ErrorKind::Handshake));
}

/// TLS-07: wherever the octets around the reply to STARTTLS are cut, none of them survives the
/// upgrade.
#[test]
fn nothing_survives_the_upgrade() {
    let said = b"250-mx.example\r\n250 STARTTLS\r\n220 go\r\n";
    let injected = b"250-evil\r\n250 AUTH PLAIN\r\n";
    for length in 0..=injected.len() {
        let octets = [&said[..], &injected[..length]].concat();
        for cut in said.len() - 8..octets.len() {
            let mut session = Session::new(now(), require());
            session.handle_input(now(), b"220 mx.example\r\n");
            let mut hear = |octets: &[u8]| {
                let mut slices = [IoSlice::new(&[]); 4];
                let used = session.poll_transmit(&mut slices);
                let written = slices[..used].iter().map(|slice| slice.len()).sum();
                session.transmitted(now(), written);
                session.handle_input(now(), octets);
            };
            hear(&octets[..said.len() - 8]);
            hear(&octets[said.len() - 8..cut]);
            hear(&octets[cut..]);
            if length > 0 {
                assert!(session.is_closed(), "{length} injected, cut at {cut}");
                continue;
            }
            session.tls_established(now(), TlsState::default());
            assert!(!session.extensions().starttls());
            session.handle_input(now(), b"x");
            assert!(session.is_closed(), "EHLO has not been written, so nothing answers it");
        }
    }
}
