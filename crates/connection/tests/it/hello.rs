//! What a client offers when a handshake begins.

use std::sync::Arc;

use posthaste_connection::session::{Config, TlsPolicy};
use posthaste_connection::{ErrorKind, Security, TlsSettings};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, SharedSecret, SupportedKxGroup, ring::default_provider,
};
use rustls::{NamedGroup, ProtocolVersion, ServerConfig};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::{Peer, accept, listen, mail, recorder};
use crate::tls::{Authority, connector, params, require, run};

/// Types of extensions (RFC 8446 section 4.2).
const ALPN: u16 = 16;
const PRE_SHARED_KEY: u16 = 41;
const EARLY_DATA: u16 = 42;

/// ClientHello, which stays to be read.
async fn hello(stream: &TcpStream) -> Vec<u8> {
    let mut octets = vec![0; 8192];
    loop {
        stream.readable().await.unwrap();
        let length = stream.peek(&mut octets).await.unwrap();
        // The header of a record and its length.
        if length > 5 && length >= 5 + usize::from(u16::from_be_bytes([octets[3], octets[4]])) {
            octets.truncate(length);
            return octets;
        }
        tokio::task::yield_now().await;
    }
}

/// The types of the extensions in a ClientHello (RFC 8446 section 4.1.2).
fn extensions(hello: &[u8]) -> Vec<u16> {
    let number = |at: usize| usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
    // Record and message headers, version, and random.
    let mut at = 5 + 4 + 2 + 32;
    at += 1 + usize::from(hello[at]); // session id
    at += 2 + number(at); // cipher suites
    at += 1 + usize::from(hello[at]); // compression
    at += 2;
    let mut types = Vec::new();
    while at < hello.len() {
        types.push(number(at) as u16);
        at += 4 + number(at + 2);
    }
    types
}

/// TLS-25, ST-26, TLS-29, TLS-23: the first connection and one that resumes its session ask for no
/// early data, and for no protocol. (Renegotiation is unknown to rustls.)
#[tokio::test]
async fn no_early_data_and_no_protocols_are_offered() {
    let authority = Authority::new();
    for version in rustls::ALL_VERSIONS {
        let is_newest = version.version == ProtocolVersion::TLSv1_3;
        let mut config = authority.config(params(&["127.0.0.1"]), &[version]);
        config.max_early_data_size = u32::MAX;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (listener, port) = listen().await;
        let connector = connector(port, Security::Implicit, &authority.settings(), require());
        for resumes in [false, true] {
            let mut recorder = recorder([]);
            let notes = recorder.notes.clone();
            let serve = async {
                let peer = accept(&listener).await;
                let types = extensions(&hello(peer.stream.get_ref()).await);
                assert!(!types.contains(&EARLY_DATA) && !types.contains(&ALPN), "{types:?}");
                assert_eq!(types.contains(&PRE_SHARED_KEY), resumes && is_newest);
                let stream = acceptor.accept(peer.stream.into_inner()).await.unwrap();
                let mut peer = Peer::new(stream);
                peer.introduce(&[]).await;
                peer.hear(&["QUIT"]).await;
                peer.say("221 bye").await;
            };
            tokio::join!(connector.run(|_| {}, &mut recorder), serve).0.unwrap();
            assert_eq!(notes.infos()[0].tls.as_ref().unwrap().is_resumed, resumes);
        }
    }
}

/// TLS-23, Q53: another server of the farm does not know the session; the handshake is a full one
/// then.
#[tokio::test]
async fn a_refused_resumption_costs_a_full_handshake() {
    let authority = Authority::new();
    let farm: Vec<ServerConfig> =
        (0..2).map(|_| authority.config(params(&["127.0.0.1"]), rustls::ALL_VERSIONS)).collect();
    let farm: Vec<_> = farm.into_iter().map(|config| TlsAcceptor::from(Arc::new(config))).collect();
    let (listener, port) = listen().await;
    let connector = connector(port, Security::StartTls, &authority.settings(), require());
    for (server, is_resumed) in [(0, false), (0, true), (1, false), (1, true)] {
        let (info, _) = run(&listener, &connector, &farm[server]).await.unwrap();
        assert!(info.is_verified());
        assert_eq!(info.is_resumed, is_resumed);
    }
}

/// TLS-23: as many sessions are kept as connections may be opened at once.
#[tokio::test]
async fn many_sessions_can_be_resumed_at_once() {
    const MANY: usize = 40;
    let authority = Authority::new();
    // It gives two tickets a connection, of which the next one takes one.
    let generous = authority.config(params(&["127.0.0.1"]), rustls::ALL_VERSIONS);
    let mut stingy = generous.clone();
    stingy.send_tls13_tickets = 0;
    let (generous, stingy): (TlsAcceptor, TlsAcceptor) =
        (Arc::new(generous).into(), Arc::new(stingy).into());
    let (listener, port) = listen().await;
    let connector = connector(port, Security::StartTls, &authority.settings(), require());
    for _ in 0..MANY {
        run(&listener, &connector, &generous).await.unwrap();
    }
    for connection in 0..MANY {
        let (info, _) = run(&listener, &connector, &stingy).await.unwrap();
        assert!(info.is_resumed, "connection {connection}");
    }
}

/// A group whose key share is too large for one segment, as those are that withstand quantum
/// computers.
#[derive(Debug)]
struct Large;

impl SupportedKxGroup for Large {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, rustls::Error> {
        Ok(Box::new(Started))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }
}

struct Started;

impl ActiveKeyExchange for Started {
    fn complete(self: Box<Self>, _share: &[u8]) -> Result<SharedSecret, rustls::Error> {
        Err(rustls::Error::General("no server agrees to it".into()))
    }

    fn pub_key(&self) -> &[u8] {
        &[7; 1216]
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }
}

/// Settings with such a group in the first place.
fn large(authority: &Authority) -> TlsSettings {
    let mut provider: CryptoProvider = default_provider();
    provider.kx_groups.insert(0, &Large);
    TlsSettings { provider: Some(Arc::new(provider)), ..authority.settings() }
}

/// Chokes on a ClientHello of more than one segment, and hangs up; gives back one that is smaller.
async fn accept_small(listener: &TcpListener) -> Option<Peer<TcpStream>> {
    let mut peer = accept(listener).await;
    peer.introduce(&["STARTTLS"]).await;
    peer.hear(&["STARTTLS"]).await;
    peer.say("220 go").await;
    let length = hello(peer.stream.get_ref()).await.len();
    (length < 700).then_some(peer)
}

/// Q52: a server that chokes on a large ClientHello gets a small one, before anything else is given
/// up.
#[tokio::test]
async fn a_large_hello_is_followed_by_a_small_one() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["127.0.0.1"]);
    for policy in [TlsPolicy::Require, TlsPolicy::May] {
        let (listener, port) = listen().await;
        let config = Config { tls: policy, ..require() };
        let connector = connector(port, Security::StartTls, &large(&authority), config);
        let mut recorder = recorder([mail(0)]);
        let notes = recorder.notes.clone();
        let serve = async {
            assert!(accept_small(&listener).await.is_none());
            let peer = accept_small(&listener).await.unwrap();
            let mut peer = Peer::new(acceptor.accept(peer.stream.into_inner()).await.unwrap());
            peer.hear(&["EHLO client.example"]).await;
            peer.offer(&["PIPELINING"]).await;
            peer.take_mail(0).await;
            peer.part().await;
        };
        tokio::join!(connector.run(|_| {}, &mut recorder), serve).0.unwrap();
        assert!(notes.outcomes()[0].is_delivered());
        assert!(notes.infos().last().unwrap().tls.as_ref().unwrap().is_verified());
    }
}

/// Q52: and where that does not help either, it is over, or goes on without TLS as the policy says.
#[tokio::test]
async fn a_small_hello_is_the_last_one() {
    let authority = Authority::new();
    for policy in [TlsPolicy::Require, TlsPolicy::May] {
        let (listener, port) = listen().await;
        let config = Config { tls: policy, ..require() };
        let connector = connector(port, Security::StartTls, &large(&authority), config);
        let mut recorder = recorder([mail(0)]);
        let notes = recorder.notes.clone();
        let serve = async {
            drop(accept_small(&listener).await);
            drop(accept_small(&listener).await);
            if policy == TlsPolicy::May {
                let mut peer = accept(&listener).await;
                peer.introduce(&["PIPELINING", "STARTTLS"]).await;
                peer.take_mail(0).await;
                peer.part().await;
            }
        };
        let (result, ()) = tokio::join!(connector.run(|_| {}, &mut recorder), serve);
        match policy {
            TlsPolicy::Require => assert_eq!(result.unwrap_err().kind(), ErrorKind::Handshake),
            _ => {
                result.unwrap();
                assert!(notes.outcomes()[0].is_delivered());
                let info = notes.infos().pop().unwrap();
                assert_eq!(info.tls_given_up, Some(ErrorKind::Handshake));
            }
        }
    }
}

/// Q52: a server that says what it objects to does not choke.
#[tokio::test]
async fn an_objection_is_no_choking() {
    let authority = Authority::new();
    let (listener, port) = listen().await;
    let connector = connector(port, Security::Implicit, &large(&authority), require());
    let mut recorder = recorder([]);
    let serve = async {
        // A fatal alert: protocol version.
        let mut peer = accept(&listener).await;
        peer.stream.read_u8().await.unwrap();
        peer.say_exactly("\x15\x03\x03\0\x02\x02\x46").await;
        let _ = peer.stream.read_to_end(&mut Vec::new()).await;
    };
    let (result, ()) = tokio::join!(connector.run(|_| {}, &mut recorder), serve);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Handshake);
}
