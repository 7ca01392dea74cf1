//! The sink's side of TLS: a certificate made on the spot, or one from files.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// Where a sink has its certificate from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// A certificate for this name (a domain or an IP address), by a certificate authority that
    /// exists as long as the sink does. Localhost and its addresses are always in it.
    SelfSigned(String),
    /// A chain and its private key in PEM files.
    Files {
        /// The certificate chain, the server's own first.
        chain: PathBuf,
        /// The private key.
        key: PathBuf,
    },
}

/// A certificate ready for handshakes.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    /// The certificate of the authority, if it was made here.
    pub(crate) ca_pem: Option<String>,
}

impl Tls {
    pub(crate) fn new(identity: &Identity) -> io::Result<Self> {
        match identity {
            Identity::SelfSigned(name) => Self::self_signed(name),
            Identity::Files { chain, key } => {
                let chain = certificates(chain)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|e| at_path(key, e))?;
                Self::with(chain, key, None)
            }
        }
    }

    fn self_signed(name: &str) -> io::Result<Self> {
        let ca_key = KeyPair::generate().map_err(io::Error::other)?;
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        ca.distinguished_name.push(DnType::CommonName, "posthaste sink CA");
        let ca_certificate = ca.self_signed(&ca_key).map_err(io::Error::other)?;
        let issuer = Issuer::new(ca, ca_key);

        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        let name = name.trim_matches(['[', ']']);
        if !names.iter().any(|known| known == name) {
            names.insert(0, name.to_owned());
        }
        if name.parse::<IpAddr>().is_err() && !name.is_ascii() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "expected an ASCII name"));
        }
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let leaf = CertificateParams::new(names).map_err(io::Error::other)?;
        let leaf = leaf.signed_by(&key, &issuer).map_err(io::Error::other)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        Self::with(vec![leaf.der().clone()], key, Some(ca_certificate.pem()))
    }

    fn with(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        ca_pem: Option<String>,
    ) -> io::Result<Self> {
        // The provider is named: an application may have installed another one, or none.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(io::Error::other)?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), ca_pem })
    }
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| at_path(path, error))
}

fn at_path(path: &Path, error: rustls::pki_types::pem::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
}
