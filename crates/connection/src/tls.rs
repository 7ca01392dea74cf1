//! TLS by rustls: whom to trust, and what came of a handshake.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use posthaste_session::{ChannelBinding, TlsState};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ProtocolVersion, RootCertStore,
    SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::Error;

/// Whether the server has to prove who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// Its certificate must be valid for its name, or there is no connection.
    #[default]
    Required,
    /// Any certificate does; [`TlsInfo::is_verified`] tells whether it would have been valid.
    Optional,
}

/// Whom to trust and what to show. The default trusts the web's certification authorities.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// Certification authorities beside those of the web.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// The client's own certificate chain and key, for servers that ask.
    pub identity: Option<Arc<Identity>>,
    /// The name the certificate must be valid for, if it is not the host's.
    pub server_name: Option<String>,
    /// Whether the certificate has to be valid.
    pub verification: Verification,
}

/// A certificate chain and its private key.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Why a PEM file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what} from {}", path.display())]
pub struct PemError {
    what: &'static str,
    path: PathBuf,
    source: pem::Error,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsSetupError {
    /// A certification authority's certificate is not one.
    #[error("extra certification authority is not a usable certificate")]
    Root(#[source] rustls::Error),
    /// The client's certificate and key do not fit.
    #[error("client certificate and key cannot be used together")]
    Identity(#[source] rustls::Error),
    /// The name a certificate is to be valid for is no name.
    #[error("{0:?} is not a host name or an IP address")]
    ServerName(String),
    /// The crypto provider lacks what TLS 1.2 and 1.3 need.
    #[error("crypto provider cannot be used")]
    Provider(#[source] rustls::Error),
}

impl TlsSettings {
    /// Trusts the authorities in a PEM file as well.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or holds no certificate.
    pub fn add_roots_from_pem(&mut self, path: &Path) -> Result<(), PemError> {
        self.extra_roots.extend(read_certificates(path)?);
        Ok(())
    }

    /// Shows the certificate in one PEM file, with the key in another (or the same), to servers that ask.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or does not hold what it should.
    pub fn set_identity_from_pem(&mut self, chain: &Path, key: &Path) -> Result<(), PemError> {
        let pem_error = |source| PemError { what: "a private key", path: key.to_owned(), source };
        let chain = read_certificates(chain)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(pem_error)?;
        self.identity = Some(Arc::new(Identity { chain, key }));
        Ok(())
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let pem_error = |source| PemError { what: "a certificate", path: path.to_owned(), source };
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates = certificates.map_err(pem_error)?;
    if certificates.is_empty() {
        return Err(pem_error(pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

/// TLS towards one server, with one store of resumable sessions for all its connections.
#[derive(Clone)]
pub struct TlsClient {
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
    /// Looks at certificates that were accepted unseen.
    checker: Option<Arc<WebPkiServerVerifier>>,
}

/// What came of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// E.g. `TLSv1_3`.
    pub version: String,
    /// E.g. `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// Whether the certificate was valid for the server's name.
    pub is_verified: bool,
    /// What ties a SASL exchange to this connection (RFC 9266), where TLS can say it.
    pub channel_binding: Option<ChannelBinding>,
    /// How long the handshake took.
    pub time: Duration,
}

impl TlsInfo {
    /// What a session has to know of it.
    pub fn state(&self) -> TlsState {
        TlsState { is_verified: self.is_verified, channel_binding: self.channel_binding }
    }
}

impl TlsClient {
    /// Makes a client from settings.
    ///
    /// # Errors
    ///
    /// When certificates, key or name cannot be used.
    pub fn new(settings: &TlsSettings) -> Result<Self, TlsSetupError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for root in &settings.extra_roots {
            roots.add(root.clone()).map_err(TlsSetupError::Root)?;
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        let verifier = verifier
            .map_err(|error| TlsSetupError::Root(rustls::Error::General(error.to_string())))?;
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsSetupError::Provider)?
            .dangerous();
        let (builder, checker) = match settings.verification {
            Verification::Required => (builder.with_custom_certificate_verifier(verifier), None),
            Verification::Optional => {
                let anybody = Arc::new(Anybody { provider });
                (builder.with_custom_certificate_verifier(anybody), Some(verifier))
            }
        };
        let config = match &settings.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                .map_err(TlsSetupError::Identity)?,
        };
        let mut client = Self::with_config(Arc::new(config));
        client.checker = checker;
        client.server_name = settings.server_name.as_deref().map(server_name).transpose()?;
        Ok(client)
    }

    /// Uses a configuration of the caller's, with any crypto provider and verifier.
    pub fn with_config(config: Arc<ClientConfig>) -> Self {
        Self { connector: TlsConnector::from(config), server_name: None, checker: None }
    }

    pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        server: &str,
        host: &str,
        peer: Option<SocketAddr>,
        stream: S,
    ) -> Result<(TlsStream<S>, TlsInfo), Error> {
        let invalid =
            |error: TlsSetupError| Error::handshake(server, peer, std::io::Error::other(error));
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => server_name(host).map_err(invalid)?,
        };
        let handshake = self.connector.connect(name.clone(), stream).await;
        let stream = handshake.map_err(|error| Error::handshake(server, peer, error))?;
        let info = self.info(&stream, &name);
        Ok((stream, info))
    }

    fn info<S>(&self, stream: &TlsStream<S>, name: &ServerName<'_>) -> TlsInfo {
        let connection = stream.get_ref().1;
        let version = connection.protocol_version().map(|version| format!("{version:?}"));
        let cipher =
            connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        let is_verified = match (&self.checker, connection.peer_certificates()) {
            (None, _) => true,
            (Some(checker), Some([end_entity, intermediates @ ..])) => checker
                .verify_server_cert(end_entity, intermediates, name, &[], UnixTime::now())
                .is_ok(),
            (Some(_), _) => false,
        };
        TlsInfo {
            version: version.unwrap_or_default(),
            cipher: cipher.unwrap_or_default(),
            is_verified,
            channel_binding: self.channel_binding(connection),
            time: Duration::ZERO,
        }
    }

    /// RFC 9266 section 4.2: only with TLS 1.3, or with 1.2 and the extended master secret. Whether
    /// a connection has that rustls does not tell, but where it is required every connection has.
    fn channel_binding(&self, connection: &ClientConnection) -> Option<ChannelBinding> {
        match connection.protocol_version()? {
            ProtocolVersion::TLSv1_3 => {}
            ProtocolVersion::TLSv1_2 if self.connector.config().require_ems => {}
            _ => return None,
        }
        let octets = [0; ChannelBinding::LENGTH];
        let octets = connection.export_keying_material(octets, ChannelBinding::LABEL, Some(&[]));
        octets.ok().map(ChannelBinding::from_exporter)
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, TlsSetupError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsSetupError::ServerName(host.to_owned()))
}

/// Accepts every certificate, but no forged signature of the handshake.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
