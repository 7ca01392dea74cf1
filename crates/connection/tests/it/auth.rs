//! What AUTH needs of the shell: a thread for keys, randomness, and the TLS exporter.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use posthaste_connection::session::{
    ChannelBinding, CloseReason, Config, Credentials, Entropy, PlaintextAuth, Session, Stage,
};
use posthaste_connection::{Connector, DialSettings, Security, Server, TlsClient, drive};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, duplex};
use tokio::task::yield_now;
use tokio_rustls::TlsAcceptor;

use crate::support::{Notes, Peer, accept, listen, mail, name, now, plain, recorder};
use crate::tls::{Authority, accept_tls, params, require};

/// A challenge with so many iterations for a session without entropy worth the name.
fn server_first(iterations: u32) -> String {
    let nonce = format!("{}5", BASE64_STANDARD.encode([0; Entropy::LENGTH]));
    BASE64_STANDARD.encode(format!("r={nonce}server,s=c2FsdA==,i={iterations}"))
}

fn scram() -> Config {
    let credentials = Credentials::new("user", "pencil").unwrap();
    Config {
        credentials: Some(credentials.with_plaintext(PlaintextAuth::Allowed)),
        entropy: Some(Entropy::new([0; Entropy::LENGTH])),
        ..plain()
    }
}

/// So many iterations that deriving a key takes long beside anything else here.
const MANY: u32 = 20_000;

/// SCRAM-05, AU-10: while a key is derived, the one thread that there is does everything else.
#[tokio::test]
async fn keys_are_derived_elsewhere() {
    let (near, far) = duplex(4096);
    let recorder = recorder([mail(0)]);
    let notes = recorder.notes.clone();
    let serve = async {
        let mut peer = Peer::new(far);
        peer.introduce(&["AUTH SCRAM-SHA-256"]).await;
        assert!(peer.line().await.starts_with("AUTH SCRAM-SHA-256 "));
        peer.say(&format!("334 {}", server_first(MANY))).await;
        let mut turns = 0_u32;
        let answer = tokio::select! {
            biased;
            answer = peer.line() => answer,
            () = async { loop { turns += 1; yield_now().await } } => unreachable!(),
        };
        assert!(!answer.is_empty());
        // Had the key been derived here, the answer would have come within a few.
        assert!(turns > 100, "only {turns} turns");
        peer.say("535 5.7.8 no").await;
        peer.part().await;
    };
    tokio::join!(drive(Session::new(now(), scram()), near, recorder), serve);
    assert_eq!(notes.closed().stage(), Stage::Auth);
}

/// AU-10, AU-18: a session that ends meanwhile does not wait for its key.
#[tokio::test]
async fn a_derivation_can_be_left_alone() {
    let (near, far) = duplex(4096);
    let recorder = recorder([mail(0)]);
    let notes = recorder.notes.clone();
    let serve = async {
        let mut peer = Peer::new(far);
        peer.introduce(&["AUTH SCRAM-SHA-256"]).await;
        peer.line().await;
        peer.say(&format!("334 {}", server_first(MANY))).await;
        for _ in 0..10 {
            yield_now().await;
        }
    };
    tokio::select! {
        () = drive(Session::new(now(), scram()), near, recorder) => panic!("ended by itself"),
        () = serve => {}
    }
    // The driver is dropped, and has said so at once.
    assert_eq!(notes.closed(), CloseReason::Aborted { stage: Stage::Auth });
}

fn client(authority: &Authority, version: &'static SupportedProtocolVersion) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// The binding that a client finds, and what the server's exporter says.
async fn bindings(authority: &Authority, config: ClientConfig) -> [Option<ChannelBinding>; 2] {
    let (listener, port) = listen().await;
    let server = Server::smtp("127.0.0.1", port);
    let tls = TlsClient::with_config(Arc::new(config));
    let connector =
        Connector::new(server, require(), Some(name()), DialSettings::default(), tls).unwrap();
    let acceptor = authority.config(params(&["127.0.0.1"]), rustls::ALL_VERSIONS);
    let acceptor = TlsAcceptor::from(Arc::new(acceptor));
    let mut recorder = recorder([]);
    let notes: Notes = recorder.notes.clone();
    let serve = async {
        let mut peer = accept_tls(&listener, Security::StartTls, &acceptor).await.unwrap();
        let connection = peer.stream.get_ref().get_ref().1;
        let label = b"EXPORTER-Channel-Binding";
        let octets = connection.export_keying_material([0; 32], label, Some(&[])).unwrap();
        peer.part().await;
        ChannelBinding::from_exporter(octets)
    };
    let (result, exported) = tokio::join!(connector.run(|_| {}, &mut recorder), serve);
    result.unwrap();
    let tls = notes.infos().into_iter().find_map(|info| info.tls).unwrap();
    [tls.channel_binding, Some(exported)]
}

/// CB-01: label, context and length as in RFC 9266.
#[tokio::test]
async fn both_ends_of_tls_export_the_same() {
    let authority = Authority::new();
    let [ours, theirs] = bindings(&authority, client(&authority, &TLS13)).await;
    assert_eq!(ours, theirs);
    let [another, _] = bindings(&authority, client(&authority, &TLS13)).await;
    assert!(another.is_some() && another != ours, "each connection has its own");
}

/// CB-02: TLS 1.2 only where it cannot be without the extended master secret; `tls-unique` never.
#[tokio::test]
async fn older_tls_binds_only_with_the_extended_master_secret() {
    let authority = Authority::new();
    let mut config = client(&authority, &TLS12);
    let [ours, _] = bindings(&authority, config.clone()).await;
    assert_eq!(ours, None);
    config.require_ems = true;
    let [ours, theirs] = bindings(&authority, config).await;
    assert_eq!(ours, theirs);
}

/// SCRAM-01, OAUTH-01: each connection has a nonce of its own, and the server is named as the user
/// did.
#[tokio::test]
async fn a_connector_says_what_mechanisms_want_to_know() {
    let (listener, port) = listen().await;
    let first_of = async |credentials: Credentials| {
        let credentials = Some(credentials.with_plaintext(PlaintextAuth::Allowed));
        let config = Config { credentials, ..plain() };
        let tls = TlsClient::new(&Default::default()).unwrap();
        let server = Server::smtp("localhost", port);
        let connector = Connector::new(server, config, None, DialSettings::default(), tls).unwrap();
        let serve = async {
            let mut peer = accept(&listener).await;
            peer.introduce(&["AUTH SCRAM-SHA-256 OAUTHBEARER"]).await;
            let line = peer.line().await;
            let response = line.rsplit(' ').next().unwrap();
            peer.say("421 bye").await;
            let _ = peer.stream.read_to_end(&mut Vec::new()).await;
            String::from_utf8(BASE64_STANDARD.decode(response).unwrap()).unwrap()
        };
        let mut recorder = recorder([]);
        let (result, response) = tokio::join!(connector.run(|_| {}, &mut recorder), serve);
        result.unwrap();
        response
    };
    let password = Credentials::new("user", "pencil").unwrap();
    let first = first_of(password.clone()).await;
    let second = first_of(password).await;
    for response in [&first, &second] {
        let nonce = response.strip_prefix("n,,n=user,r=").expect("a client's first message");
        assert!(BASE64_STANDARD.decode(&nonce[..32]).is_ok(), "{nonce}");
    }
    assert_ne!(first, second);
    let bearer = first_of(Credentials::bearer("user", "token").unwrap()).await;
    let expected =
        format!("n,a=user,\u{1}host=localhost\u{1}port={port}\u{1}auth=Bearer token\u{1}\u{1}");
    assert_eq!(bearer, expected);
}
