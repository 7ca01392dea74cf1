//! TLS by rustls: whom to trust, what to show, and what came of a handshake.
//!
//! What rustls bounds by itself: a message of a handshake is at most 64 KiB, and so is a
//! certificate chain; certificates are looked at with a budget; empty records, warnings and key
//! updates are counted. It knows nothing older than TLS 1.2, and neither renegotiation nor, as it
//! is set up here, early data.

mod client;
mod info;
mod tickets;
mod verifier;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

pub(crate) use client::Hello;
pub use client::TlsClient;
pub use info::{CertificateFault, Proof, TlsInfo};

/// Whether the server has to prove who it is.
///
/// Whatever is accepted, [`TlsInfo::proof`] tells what was wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// Its certificate must be valid for its name, or there is no connection.
    #[default]
    Required,
    /// Any certificate does, as where TLS is only opportunistic (RFC 7435). Whoever is on the way
    /// can pass for the server.
    Optional,
    /// Dangerous: the certificate must be valid, but may be anybody's. Whoever has one can pass for
    /// the server. Not with the platform's verifier.
    DangerousAnyName,
    /// Dangerous: the certificate must be for the server's name, but may be expired or made by
    /// anybody. Whoever can make one can pass for the server.
    DangerousAnyCertificate,
}

/// Which certification authorities are trusted, beside [`TlsSettings::extra_roots`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Roots {
    /// Those of the web, as Mozilla has them.
    #[default]
    Web,
    /// None.
    Extra,
    /// Those of the operating system, whose own verifier is used where it has one.
    #[cfg(feature = "platform-verifier")]
    Platform,
}

/// Whom to trust and what to show. The default trusts the web's certification authorities.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// Which certification authorities are trusted.
    pub roots: Roots,
    /// Certification authorities beside those.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// Certificates that are no longer to be trusted. The platform's verifier looks for itself.
    pub revocation_lists: Vec<CertificateRevocationListDer<'static>>,
    /// The client's own certificate chain and key, for servers that ask. With them, a handshake that
    /// fails is never followed by a connection without TLS.
    pub identity: Option<Arc<Identity>>,
    /// The name the certificate must be valid for and the server is asked for, if it is not the
    /// host's.
    pub server_name: Option<String>,
    /// Whether the certificate has to be valid.
    pub verification: Verification,
    /// Protocols to offer by ALPN, the preferred one first. Default: none, for some servers object
    /// to any.
    pub alpn: Vec<Vec<u8>>,
    /// The cryptography. Default: the process's default provider, or else the one that this crate
    /// was built with.
    pub provider: Option<Arc<CryptoProvider>>,
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

impl PemError {
    /// Why the file could not be read; `None`: it could, but does not hold what it should.
    pub fn io_error(&self) -> Option<&io::Error> {
        match &self.source {
            pem::Error::Io(error) => Some(error),
            _ => None,
        }
    }
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
    #[error("{0:?} is not a host name or an IP address that a certificate could be for")]
    ServerName(String),
    /// Whether the name is all that the platform's verifier objects to cannot be told.
    #[cfg(feature = "platform-verifier")]
    #[error("the platform's verifier cannot accept a certificate for any name")]
    PlatformAnyName,
    /// A revocation list is not one.
    #[error("certificate revocation list cannot be used")]
    RevocationList(#[source] rustls::Error),
    /// The crypto provider lacks what TLS 1.2 and 1.3 need.
    #[error("crypto provider cannot be used")]
    Provider(#[source] rustls::Error),
    /// There is no crypto provider: none is given, the process has none, and this crate was built
    /// without.
    #[error("there is no crypto provider")]
    NoProvider,
}

impl Identity {
    /// A certificate chain, the client's own certificate first, and the key of that one.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self { chain, key }
    }
}

impl TlsSettings {
    fn provider(&self) -> Result<Arc<CryptoProvider>, TlsSetupError> {
        let given = self.provider.clone().or_else(|| CryptoProvider::get_default().cloned());
        given.or_else(built_in_provider).ok_or(TlsSetupError::NoProvider)
    }

    /// Trusts the authorities in a PEM file as well.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or holds no certificate.
    pub fn add_roots_from_pem(&mut self, path: &Path) -> Result<(), PemError> {
        self.extra_roots.extend(read_certificates(path)?);
        Ok(())
    }

    /// Shows the certificate in one PEM file, with the key in another (or the same), to servers
    /// that ask.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or does not hold what it should.
    pub fn set_identity_from_pem(&mut self, chain: &Path, key: &Path) -> Result<(), PemError> {
        let pem_error = |source| PemError { what: "a private key", path: key.to_owned(), source };
        let chain = read_certificates(chain)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(pem_error)?;
        self.identity = Some(Arc::new(Identity::new(chain, key)));
        Ok(())
    }
}

/// The provider that this crate was built with. With both, ring, so that no other crate's features
/// change it.
fn built_in_provider() -> Option<Arc<CryptoProvider>> {
    #[cfg(feature = "ring")]
    let provider = Some(rustls::crypto::ring::default_provider());
    #[cfg(all(feature = "aws-lc-rs", not(feature = "ring")))]
    let provider = Some(rustls::crypto::aws_lc_rs::default_provider());
    #[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
    let provider = None;
    provider.map(Arc::new)
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
