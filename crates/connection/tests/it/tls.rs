//! Certificates, names and what a handshake tells.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use posthaste_connection::session::{CloseReason, Config, Stage, TlsPolicy};
use posthaste_connection::{
    Connector, DialSettings, Error, Security, Server, TlsClient, TlsInfo, TlsSettings,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::{Notes, Peer, accept, listen, mail, mail_with, name, octets, recorder};

/// A certification authority of the test's own.
pub(crate) struct Authority(pub(crate) CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // One with the name of another and a key of its own would be a forger, not a stranger.
        let serial = KeyPair::generate().unwrap().public_key_raw().escape_ascii().to_string();
        params.distinguished_name.push(DnType::CommonName, &serial[..16]);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Settings that trust it.
    pub(crate) fn settings(&self) -> TlsSettings {
        TlsSettings { extra_roots: vec![self.0.der().clone()], ..TlsSettings::default() }
    }

    /// What a client of rustls needs to trust it.
    pub(crate) fn client(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth()).into()
    }

    pub(crate) fn issue(&self, params: CertificateParams) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().der().clone(), key)
    }

    pub(crate) fn config(
        &self,
        params: CertificateParams,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .allow_unauthenticated()
                .build()
                .unwrap();
        let (certificate, key) = self.issue(params);
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap()
    }

    /// A server with a certificate for these names.
    pub(crate) fn acceptor(&self, names: &[&str]) -> TlsAcceptor {
        self.acceptor_with(params(names))
    }

    pub(crate) fn acceptor_with(&self, params: CertificateParams) -> TlsAcceptor {
        TlsAcceptor::from(Arc::new(self.config(params, rustls::ALL_VERSIONS)))
    }
}

pub(crate) fn params(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

/// A connector to 127.0.0.1.
pub(crate) fn connector(
    port: u16,
    security: Security,
    settings: &TlsSettings,
    config: Config,
) -> Connector {
    let server = match security {
        Security::StartTls => Server::smtp("127.0.0.1", port),
        Security::Implicit => Server::smtps("127.0.0.1", port),
    };
    let tls = TlsClient::new(settings).unwrap();
    Connector::new(server, config, Some(name()), DialSettings::default(), tls).unwrap()
}

pub(crate) fn require() -> Config {
    Config { tls: TlsPolicy::Require, ..Config::new(name()) }
}

/// Takes a connection as far as the handshake.
pub(crate) async fn accept_tls(
    listener: &TcpListener,
    security: Security,
    acceptor: &TlsAcceptor,
) -> io::Result<Peer<TlsStream<TcpStream>>> {
    let mut peer = accept(listener).await;
    if security == Security::StartTls {
        peer.introduce(&["PIPELINING", "STARTTLS"]).await;
        peer.hear(&["STARTTLS"]).await; // TLS-02
        peer.say("220 go").await;
    }
    let stream = acceptor.accept(peer.stream.into_inner()).await?;
    let mut peer = Peer::new(stream);
    if security == Security::Implicit {
        peer.say("220 mx.example").await;
    }
    peer.hear(&["EHLO client.example"]).await; // TLS-05
    peer.offer(&["PIPELINING"]).await;
    Ok(peer)
}

/// One session with TLS and one mail; what the handshake told on either side.
pub(crate) async fn run(
    listener: &TcpListener,
    connector: &Connector,
    acceptor: &TlsAcceptor,
) -> Result<(TlsInfo, Peer<TlsStream<TcpStream>>), (Error, Notes)> {
    let mut recorder = recorder([mail(0)]);
    let notes = recorder.notes.clone();
    let serve = async {
        let mut peer = accept_tls(listener, connector.server().security(), acceptor).await?;
        peer.take_mail(0).await;
        peer.hear(&["QUIT"]).await;
        peer.say("221 bye").await;
        peer.stream.shutdown().await?;
        Ok::<_, io::Error>(peer)
    };
    match tokio::join!(connector.run(|_| {}, &mut recorder), serve) {
        (Ok(()), peer) => {
            assert_eq!(notes.closed(), CloseReason::Quit);
            assert!(notes.outcomes()[0].is_delivered());
            let info = notes.infos().pop().unwrap();
            Ok((info.tls.unwrap(), peer.unwrap()))
        }
        (Err(error), peer) => {
            // Nothing was said behind the failed handshake.
            assert!(peer.is_err());
            assert!(notes.submitted().is_empty());
            Err((error, notes))
        }
    }
}

/// TLS-17: the name that was given is the one the server is asked for, without the dot behind it.
#[tokio::test]
async fn the_server_is_asked_for_by_name() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["mx.example", "xn--bcher-kva.example"]);
    let named =
        |name: &str| TlsSettings { server_name: Some(name.to_owned()), ..authority.settings() };
    for (name, expected) in [
        ("mx.example", "mx.example"),
        ("MX.example.", "mx.example"),
        ("bücher.example", "xn--bcher-kva.example"),
    ] {
        let (listener, port) = listen().await;
        let connector = connector(port, Security::Implicit, &named(name), require());
        let (info, peer) = run(&listener, &connector, &acceptor).await.unwrap();
        let asked = peer.stream.get_ref().get_ref().1.server_name().unwrap();
        assert!(asked.eq_ignore_ascii_case(expected), "{asked}");
        assert!(info.server_name.unwrap().eq_ignore_ascii_case(expected));
    }
    assert!(TlsClient::new(&named("no name")).is_err());
}

/// TLS-16, TLS-26, TLS-29
#[tokio::test]
async fn the_newest_version_is_used_and_told() {
    let authority = Authority::new();
    let versions: [(&[&SupportedProtocolVersion], _); 2] =
        [(&[&rustls::version::TLS12], "TLSv1_2"), (rustls::ALL_VERSIONS, "TLSv1_3")];
    for (versions, expected) in versions {
        let mut config = authority.config(params(&["127.0.0.1"]), versions);
        config.alpn_protocols = vec![b"smtp".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (listener, port) = listen().await;
        let connector = connector(port, Security::StartTls, &authority.settings(), require());
        let (info, peer) = run(&listener, &connector, &acceptor).await.unwrap();
        assert_eq!(info.version, expected);
        assert!(info.cipher.starts_with("TLS"), "{}", info.cipher);
        assert!(!info.time.is_zero());
        let tls = peer.stream.get_ref().get_ref().1;
        // No name is asked for where there is only an address, and no protocol is.
        assert_eq!((tls.server_name(), tls.alpn_protocol()), (None, None));
        assert_eq!((info.server_name, info.alpn), (None, None));
        assert_eq!(info.certificates.len(), 1);
    }
}

/// TLS-29, ST-24: protocols are offered to servers that want to know what is spoken.
#[tokio::test]
async fn protocols_can_be_offered() {
    let authority = Authority::new();
    let mut config = authority.config(params(&["127.0.0.1"]), rustls::ALL_VERSIONS);
    config.alpn_protocols = vec![b"smtp".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    for (protocol, expected) in [("smtp", Ok(Some(b"smtp".to_vec()))), ("http/1.1", Err(()))] {
        let settings = TlsSettings { alpn: vec![protocol.into()], ..authority.settings() };
        let (listener, port) = listen().await;
        let connector = connector(port, Security::Implicit, &settings, require());
        let result = run(&listener, &connector, &acceptor).await;
        assert_eq!(result.map(|(info, _)| info.alpn).map_err(|_| ()), expected);
    }
}

/// TLS-23: the second connection of one client resumes the session of the first.
#[tokio::test]
async fn sessions_are_resumed() {
    let authority = Authority::new();
    for version in rustls::ALL_VERSIONS {
        let config = authority.config(params(&["127.0.0.1"]), &[version]);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (listener, port) = listen().await;
        let connector = connector(port, Security::StartTls, &authority.settings(), require());
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let (info, peer) = run(&listener, &connector.clone(), &acceptor).await.unwrap();
            let kind = peer.stream.get_ref().get_ref().1.handshake_kind().unwrap();
            kinds.push((kind, info.is_resumed));
            assert!(info.is_verified() && info.certificates.len() == 1);
        }
        let expected = [(HandshakeKind::Full, false), (HandshakeKind::Resumed, true)];
        assert_eq!(kinds, expected, "{version:?}");
    }
}

/// A file in the directory that cargo keeps for tests.
fn file(name: &str, content: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("connection-{name}"));
    std::fs::write(&path, content).unwrap();
    path
}

/// TLS-28: a certificate of the client's own is shown where it was given.
#[tokio::test]
async fn a_client_shows_its_certificate_if_it_has_one() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["127.0.0.1"]);
    let key = KeyPair::generate().unwrap();
    let certificate = params(&["client.example"]).signed_by(&key, &authority.0).unwrap();
    let mut settings = TlsSettings::default();
    settings.add_roots_from_pem(&file("root.pem", &authority.0.pem())).unwrap();
    for with_identity in [false, true] {
        if with_identity {
            let both = file("identity.pem", &(certificate.pem() + &key.serialize_pem()));
            settings.set_identity_from_pem(&both, &both).unwrap();
        }
        let (listener, port) = listen().await;
        let connector = connector(port, Security::StartTls, &settings, require());
        let (_, peer) = run(&listener, &connector, &acceptor).await.unwrap();
        let shown = peer.stream.get_ref().get_ref().1.peer_certificates();
        assert_eq!(shown.is_some(), with_identity);
    }
}

#[test]
fn unusable_files_are_named() {
    let authority = Authority::new();
    let root = file("only-root.pem", &authority.0.pem());
    let empty = file("empty.pem", "");
    let missing = PathBuf::from("/nonexistent.pem");
    let mut settings = TlsSettings::default();
    for path in [&empty, &missing] {
        let error = settings.add_roots_from_pem(path).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read a certificate from {}", path.display()));
        let error = settings.set_identity_from_pem(&root, path).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read a private key from {}", path.display()));
    }
    // A certificate with the key of another.
    let key = file("other-key.pem", &KeyPair::generate().unwrap().serialize_pem());
    settings.set_identity_from_pem(&root, &key).unwrap();
    assert!(TlsClient::new(&settings).is_err());
}

/// TLS-24: the end is announced.
#[tokio::test]
async fn the_end_of_tls_is_announced() {
    let authority = Authority::new();
    let (listener, port) = listen().await;
    let connector = connector(port, Security::Implicit, &authority.settings(), require());
    let acceptor = authority.acceptor(&["127.0.0.1"]);
    let (_, mut peer) = run(&listener, &connector, &acceptor).await.unwrap();
    // rustls takes an end without close_notify for an error.
    assert_eq!(peer.stream.read(&mut [0; 16]).await.unwrap(), 0);
}

/// TLS-24, ST-17, Q54: an end without announcement is nothing behind QUIT, and a loss within a
/// reply.
#[tokio::test]
async fn truncation_is_a_loss_only_where_something_is_awaited() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["127.0.0.1"]);
    let lost = CloseReason::Lost { stage: Stage::Final };
    for (awaited, expected) in [("QUIT", CloseReason::Quit), ("250", lost)] {
        let (listener, port) = listen().await;
        let connector = connector(port, Security::Implicit, &authority.settings(), require());
        let mut recorder = recorder([mail(0)]);
        let notes = recorder.notes.clone();
        let serve = async {
            let mut peer = accept_tls(&listener, Security::Implicit, &acceptor).await.unwrap();
            if awaited == "QUIT" {
                peer.take_mail(0).await;
                peer.hear(&["QUIT"]).await;
            } else {
                peer.hear_envelope(0).await;
                peer.say("250 ok\r\n250 ok\r\n354 go").await;
                peer.hear_content().await;
                peer.say_exactly("250-que").await;
            }
            // The socket is closed under the TLS.
            drop(peer);
        };
        let (result, ()) = tokio::join!(connector.run(|_| {}, &mut recorder), serve);
        result.unwrap();
        assert_eq!(notes.closed(), expected);
    }
}

/// PIPE-08 with TLS, whose own buffers lie between the driver and the socket.
#[tokio::test]
async fn big_content_goes_through_tls() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["127.0.0.1"]);
    let (listener, port) = listen().await;
    let connector = connector(port, Security::StartTls, &authority.settings(), require());
    let content = octets(8 << 20);
    let mut recorder = recorder([mail_with(0, content.clone()), mail(1)]);
    let notes = recorder.notes.clone();
    let serve = async {
        let mut peer = accept_tls(&listener, Security::StartTls, &acceptor).await.unwrap();
        assert!(peer.take_mail(0).await == content);
        peer.take_mail(1).await;
        peer.part().await;
    };
    let (result, ()) = tokio::join!(connector.run(|_| {}, &mut recorder), serve);
    result.unwrap();
    assert!(notes.outcomes().iter().all(|outcome| outcome.is_delivered()));
    assert_eq!(notes.closed(), CloseReason::Quit);
}
