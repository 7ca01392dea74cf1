//! Handshakes that are too large, too slow or never over, and floods behind them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use posthaste_connection::drive;
use posthaste_connection::session::{CloseReason, Config, Session, Stage, Timeouts};
use posthaste_connection::{ErrorKind, Security, TlsSettings, Verification};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::coop::poll_proceed;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::support::{accept, listen, now, plain, recorder};
use crate::tls::{Authority, connector, params, require};

/// What is far too long for anything here.
const LONG: Duration = Duration::from_secs(10);

/// A server with this chain that asks for no certificate.
pub(crate) fn serving(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> ServerConfig {
    let provider = rustls::crypto::ring::default_provider();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = provider.key_provider.load_private_key(key).unwrap();
    // The server does not look at it: it may be one that no client bears.
    let resolver = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver))
}

/// The kind of the error with which a handshake soon ends.
async fn fail(settings: &TlsSettings, config: ServerConfig) -> ErrorKind {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (listener, port) = listen().await;
    let connector = connector(port, Security::Implicit, settings, require());
    let since = now();
    let serve = async {
        let peer = accept(&listener).await;
        let _ = acceptor.accept(peer.stream.into_inner()).await;
    };
    let mut recorder = recorder([]);
    let (result, ()) = tokio::join!(connector.run(|_| {}, &mut recorder), serve);
    assert!(now() - since < LONG);
    result.unwrap_err().kind()
}

/// ST-16, TLS-30: a chain of 10 MiB is not read to its end.
#[tokio::test]
async fn a_huge_chain_is_refused() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let leaf = params(&["127.0.0.1"]).signed_by(&key, &authority.0).unwrap().der().clone();
    let count = (10 << 20) / leaf.len();
    let config = serving(vec![leaf; count], &key);
    assert_eq!(fail(&authority.settings(), config).await, ErrorKind::Handshake);
}

/// ST-16: nor is a certificate with ten thousand names; with those that fit in, it is only for
/// somebody else.
#[tokio::test]
async fn names_without_number_are_no_burden() {
    let authority = Authority::new();
    for (count, expected) in [(1_500, ErrorKind::Certificate), (10_000, ErrorKind::Handshake)] {
        let names: Vec<_> = (0..count).map(|number| format!("host{number}.mx.example")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let key = KeyPair::generate().unwrap();
        let leaf = params(&names).signed_by(&key, &authority.0).unwrap().der().clone();
        assert_eq!(fail(&authority.settings(), serving(vec![leaf], &key)).await, expected);
    }
}

/// ST-16: intermediates that could all have issued each other.
#[tokio::test]
async fn a_maze_of_intermediates_is_given_up() {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "maze");
    let issuers: Vec<_> = (0..80)
        .map(|_| CertifiedIssuer::self_signed(ca.clone(), KeyPair::generate().unwrap()).unwrap())
        .collect();
    let key = KeyPair::generate().unwrap();
    let leaf = params(&["127.0.0.1"]).signed_by(&key, &issuers[0]).unwrap().der().clone();
    let mut chain = vec![leaf];
    for subject in &issuers {
        for issuer in &issuers[..2] {
            chain.push(ca.signed_by(subject.key(), issuer).unwrap().der().clone());
        }
    }
    let config = serving(chain, &key);
    assert_eq!(fail(&Authority::new().settings(), config).await, ErrorKind::Certificate);
}

/// ST-19: close_notify within the handshake, and silence or more of it behind that.
#[tokio::test]
async fn a_close_within_the_handshake_is_an_end() {
    for goes_on in [false, true] {
        let (listener, port) = listen().await;
        let timeouts = Timeouts { tls: Duration::from_millis(200), ..Timeouts::default() };
        let config = Config { timeouts, ..require() };
        let connector = connector(port, Security::Implicit, &TlsSettings::default(), config);
        let since = now();
        let serve = async {
            let mut peer = accept(&listener).await;
            assert_eq!(peer.stream.read_u8().await.unwrap(), 22); // TLS-12
            loop {
                let sent = peer.stream.write_all(b"\x15\x03\x03\0\x02\x01\0").await;
                if sent.and(peer.stream.flush().await).is_err() || !goes_on {
                    break;
                }
            }
            let _ = peer.stream.read_to_end(&mut Vec::new()).await;
        };
        let mut recorder = recorder([]);
        let (result, ()) = tokio::join!(connector.run(|_| {}, &mut recorder), serve);
        let kind = result.unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::Handshake | ErrorKind::HandshakeTimeout), "{kind:?}");
        assert!(now() - since < LONG);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flood {
    KeyUpdates,
    Tickets,
}

/// A server that floods its client with TLS instead of greeting it; how the session ends.
async fn flood(acceptor: TlsAcceptor, kind: Flood) -> CloseReason {
    let (listener, port) = listen().await;
    let settings = TlsSettings { verification: Verification::Optional, ..TlsSettings::default() };
    let connector = connector(port, Security::Implicit, &settings, require());
    let serve = tokio::spawn(async move {
        let peer = accept(&listener).await;
        let Ok(mut stream) = acceptor.accept(peer.stream.into_inner()).await else { return };
        while kind == Flood::KeyUpdates && stream.get_mut().1.refresh_traffic_keys().is_ok() {
            if stream.flush().await.is_err() {
                return;
            }
        }
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let mut recorder = recorder([]);
    let notes = recorder.notes.clone();
    let since = now();
    connector.run(|_| {}, &mut recorder).await.unwrap();
    assert!(now() - since < LONG);
    serve.await.unwrap();
    notes.closed()
}

/// ST-27: more than rustls bears of what is no use to the session ends the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_records_end_the_connection() {
    let acceptor = Authority::new().acceptor(&["127.0.0.1"]);
    let lost = CloseReason::Lost { stage: Stage::Greeting };
    assert_eq!(flood(acceptor, Flood::KeyUpdates).await, lost);
    let mut config = Authority::new().config(params(&["127.0.0.1"]), rustls::ALL_VERSIONS);
    config.send_tls13_tickets = 10_000;
    assert_eq!(flood(Arc::new(config).into(), Flood::Tickets).await, lost);
}

/// A stream that always has something to be read, which is nothing for the session: what TLS is
/// where a server sends one ticket after another.
struct Endless;

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            // As a socket does for each read; it goes on until others have their turn.
            std::task::ready!(poll_proceed(cx)).made_progress();
        }
    }
}

impl AsyncWrite for Endless {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// ST-27: and what rustls does bear keeps nobody from their deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_records_meet_the_deadline() {
    let timeouts = Timeouts { greeting: Duration::from_millis(50), ..Timeouts::default() };
    let session = Session::new(now(), Config { timeouts, ..plain() });
    let recorder = recorder([]);
    let notes = recorder.notes.clone();
    let driver = tokio::spawn(drive(session, Endless, recorder));
    timeout(LONG, driver).await.expect("the deadline was kept from it").unwrap();
    assert_eq!(notes.closed(), CloseReason::Timeout { stage: Stage::Greeting });
}
