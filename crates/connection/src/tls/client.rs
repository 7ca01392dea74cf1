//! TLS towards one server.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use posthaste_session::{ChannelBinding, Domain, Entropy};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, NamedGroup, ProtocolVersion, RootCertStore,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[cfg(feature = "platform-verifier")]
use super::Verification;
use super::info::{Proof, TlsInfo};
use super::tickets::Tickets;
use super::verifier::Verifier;
use super::{Roots, TlsSettings, TlsSetupError};

/// Groups whose key shares leave ClientHello in one segment.
const SMALL_GROUPS: [NamedGroup; 2] = [NamedGroup::X25519, NamedGroup::secp256r1];
/// Groups whose key shares are not too large either, but are of no use where the small ones are
/// not.
const MEDIUM_GROUPS: [NamedGroup; 3] =
    [NamedGroup::secp384r1, NamedGroup::secp521r1, NamedGroup::X448];

/// TLS towards one server, with one store of resumable sessions for all its connections.
///
/// Nothing is shared between clients: what one of them has accepted, no other resumes.
#[derive(Clone)]
pub struct TlsClient {
    connector: TlsConnector,
    /// The same with a small ClientHello, where the other's is large.
    small: Option<TlsConnector>,
    server_name: Option<ServerName<'static>>,
    /// What looks at certificates, if it is known here.
    verifier: Option<Arc<Verifier>>,
    /// What is taken for proven where it is not.
    otherwise: Proof,
}

/// How large the first message of a handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    /// As large as it is, with all groups.
    Full,
    /// In one segment: some servers and boxes on the way choke on the second one, which a key share
    /// that withstands quantum computers makes necessary.
    Small,
}

impl TlsClient {
    /// Makes a client from settings.
    ///
    /// # Errors
    ///
    /// When certificates, key or name cannot be used, or there is no crypto provider.
    pub fn new(settings: &TlsSettings) -> Result<Self, TlsSetupError> {
        #[cfg(feature = "platform-verifier")]
        if settings.roots == Roots::Platform
            && settings.verification == Verification::DangerousAnyName
        {
            return Err(TlsSetupError::PlatformAnyName);
        }
        let provider = settings.provider()?;
        let verifier = Arc::new(Verifier::new(strict(settings, &provider)?, settings.verification));
        let small = with_small_groups(&provider)
            .map(|provider| config(settings, Arc::new(provider), &verifier))
            .transpose()?;
        let mut client = Self::with_config(config(settings, provider, &verifier)?);
        client.small = small.map(TlsConnector::from);
        client.verifier = Some(verifier);
        client.server_name = settings.server_name.as_deref().map(server_name).transpose()?;
        Ok(client)
    }

    /// Uses a configuration of the caller's, with any crypto provider and verifier. What its
    /// verifier accepts is [`Proof::Unknown`].
    pub fn with_config(config: Arc<ClientConfig>) -> Self {
        Self {
            connector: TlsConnector::from(config),
            small: None,
            server_name: None,
            verifier: None,
            otherwise: Proof::Unknown,
        }
    }

    /// Vouches that the verifier of a configuration of the caller's accepts no certificate that is
    /// not valid for the server's name: what it accepts is [`Proof::Verified`].
    #[must_use]
    pub fn vouched(mut self) -> Self {
        self.otherwise = Proof::Verified;
        self
    }

    /// Randomness for a session, from the generator that handshakes use.
    pub(crate) fn entropy(&self) -> Result<Entropy, rustls::Error> {
        let mut octets = [0; Entropy::LENGTH];
        self.connector.config().crypto_provider().secure_random.fill(&mut octets)?;
        Ok(Entropy::new(octets))
    }

    pub(crate) fn has_small_hello(&self) -> bool {
        self.small.is_some()
    }

    /// Whether there is a certificate for servers that ask who is there.
    pub(crate) fn has_identity(&self) -> bool {
        self.connector.config().client_auth_cert_resolver.has_certs()
    }

    /// Whether any certificate does that a handshake can be finished with.
    pub(crate) fn accepts_any(&self) -> bool {
        self.verifier.as_ref().is_some_and(|verifier| verifier.accepts_any())
    }

    /// The name that the certificate of this host must be valid for.
    pub(crate) fn name_of(&self, host: &str) -> Result<ServerName<'static>, TlsSetupError> {
        self.server_name.clone().map_or_else(|| server_name(host), Ok)
    }

    pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        hello: Hello,
        name: &ServerName<'static>,
        stream: S,
    ) -> io::Result<(TlsStream<S>, TlsInfo)> {
        let connector = match (hello, &self.small) {
            (Hello::Small, Some(small)) => small,
            (Hello::Small | Hello::Full, _) => &self.connector,
        };
        let stream = connector.connect(name.clone(), stream).await?;
        let info = self.info(stream.get_ref().1, name);
        Ok((stream, info))
    }

    fn info(&self, connection: &ClientConnection, name: &ServerName<'_>) -> TlsInfo {
        let version = connection.protocol_version().map(|version| format!("{version:?}"));
        let cipher =
            connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        let certificates = connection.peer_certificates().unwrap_or_default();
        let proof = self.verifier.as_ref();
        let proof = proof.map_or(self.otherwise, |verifier| verifier.proof(certificates, name));
        TlsInfo {
            version: version.unwrap_or_default(),
            cipher: cipher.unwrap_or_default(),
            proof,
            certificates: certificates.into(),
            server_name: match name {
                ServerName::DnsName(name) => Some(name.as_ref().to_owned()),
                _ => None,
            },
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
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

/// A name or an address, without the dot that may stand behind a name (RFC 6066 section 3).
fn server_name(host: &str) -> Result<ServerName<'static>, TlsSetupError> {
    let name = host.strip_suffix('.').unwrap_or(host);
    let a_labels = (!name.is_ascii()).then(|| name.parse::<Domain>().ok()).flatten();
    let name = a_labels.as_ref().map_or(name, Domain::as_str).to_owned();
    ServerName::try_from(name).map_err(|_| TlsSetupError::ServerName(host.to_owned()))
}

fn config(
    settings: &TlsSettings,
    provider: Arc<CryptoProvider>,
    verifier: &Arc<Verifier>,
) -> Result<Arc<ClientConfig>, TlsSetupError> {
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsSetupError::Provider)?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone());
    let mut config = match &settings.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder
            .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
            .map_err(TlsSetupError::Identity)?,
    };
    config.alpn_protocols.clone_from(&settings.alpn);
    config.resumption = Resumption::store(Arc::new(Tickets::default()));
    Ok(Arc::new(config))
}

/// The verifier that accepts nothing it should not.
fn strict(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsSetupError> {
    let mut roots = match settings.roots {
        Roots::Web => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        Roots::Extra => RootCertStore::empty(),
        #[cfg(feature = "platform-verifier")]
        Roots::Platform => return platform(settings, provider),
    };
    for root in &settings.extra_roots {
        roots.add(root.clone()).map_err(TlsSetupError::Root)?;
    }
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .with_crls(settings.revocation_lists.iter().cloned())
        // Nobody has a list of every authority.
        .allow_unknown_revocation_status();
    let verifier = builder.build().map_err(|error| match error {
        VerifierBuilderError::InvalidCrl(error) => TlsSetupError::RevocationList(error.into()),
        error => TlsSetupError::Root(rustls::Error::General(error.to_string())),
    });
    Ok(verifier?)
}

#[cfg(feature = "platform-verifier")]
fn platform(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsSetupError> {
    let extra = settings.extra_roots.iter().cloned();
    let verifier =
        rustls_platform_verifier::Verifier::new_with_extra_roots(extra, provider.clone());
    Ok(Arc::new(verifier.map_err(TlsSetupError::Root)?))
}

/// A provider that makes a small ClientHello, if this one makes a large one.
fn with_small_groups(provider: &CryptoProvider) -> Option<CryptoProvider> {
    let is_small = |name| SMALL_GROUPS.contains(&name);
    let is_large = |name| !is_small(name) && !MEDIUM_GROUPS.contains(&name);
    let mut groups = provider.kx_groups.clone();
    groups.retain(|group| is_small(group.name()));
    let has_large = provider.kx_groups.iter().any(|group| is_large(group.name()));
    (has_large && !groups.is_empty())
        .then(|| CryptoProvider { kx_groups: groups, ..provider.clone() })
}
