//! What came of a handshake.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use posthaste_session::{ChannelBinding, TlsState};
use rustls::CertificateError;
use rustls::pki_types::CertificateDer;

/// What came of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// E.g. `TLSv1_3`.
    pub version: String,
    /// E.g. `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// Whether the server has proven who it is.
    pub proof: Proof,
    /// The server's certificate chain (DER), its own certificate first.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// The name that the server was asked for (SNI); none where it is an IP address.
    pub server_name: Option<String>,
    /// The protocol agreed on by ALPN; none unless protocols were offered.
    pub alpn: Option<Vec<u8>>,
    /// Whether an earlier session was resumed.
    pub is_resumed: bool,
    /// What ties a SASL exchange to this connection (RFC 9266), where TLS can say it.
    pub channel_binding: Option<ChannelBinding>,
    /// How long the handshake took.
    pub time: Duration,
}

/// Whether a server has proven who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// Its certificate is valid for its name.
    Verified,
    /// Its certificate was accepted although something is wrong with it: anybody may be at the
    /// other end.
    Unverified(CertificateFault),
    /// Its certificate was accepted by a configuration of the caller's, for reasons that are not
    /// known here.
    Unknown,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CertificateFault {
    /// It is no longer valid.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// It was issued by somebody who is not trusted.
    UnknownIssuer,
    /// It was issued by the server itself. One that says that it is an authority's is not accepted
    /// even where it is among the trusted ones.
    SelfSigned,
    /// It is for another name.
    WrongName,
    /// It is not for servers.
    WrongPurpose,
    /// It was revoked.
    Revoked,
    /// It is signed by an algorithm or a key that is too weak, or not known.
    Algorithm,
    /// No handshake can be finished with it, whatever is accepted: it cannot be read, or is not of
    /// version 3, or its key is too weak or not the server's.
    Unusable,
    /// Something else.
    Other,
}

impl TlsInfo {
    /// Whether the certificate is known to be valid for the server's name.
    pub fn is_verified(&self) -> bool {
        self.proof == Proof::Verified
    }

    /// What a session has to know of it.
    pub fn state(&self) -> TlsState {
        TlsState { is_verified: self.is_verified(), channel_binding: self.channel_binding }
    }
}

impl CertificateFault {
    pub(crate) fn of(error: &CertificateError) -> Self {
        use CertificateError as E;
        match error {
            E::Expired | E::ExpiredContext { .. } => Self::Expired,
            E::NotValidYet | E::NotValidYetContext { .. } => Self::NotYetValid,
            E::UnknownIssuer => Self::UnknownIssuer,
            E::NotValidForName | E::NotValidForNameContext { .. } => Self::WrongName,
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => Self::WrongPurpose,
            E::Revoked => Self::Revoked,
            E::UnsupportedSignatureAlgorithmContext { .. }
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Self::Algorithm,
            E::Other(other) if other.0.is::<SelfSigned>() => Self::SelfSigned,
            E::Other(other) if other.0.is::<Unusable>() => Self::Unusable,
            _ => Self::Other,
        }
    }

    /// Its name in records, e.g. `unknown-issuer`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::UnknownIssuer => "unknown-issuer",
            Self::SelfSigned => "self-signed",
            Self::WrongName => "wrong-name",
            Self::WrongPurpose => "wrong-purpose",
            Self::Revoked => "revoked",
            Self::Algorithm => "algorithm",
            Self::Unusable => "unusable",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An unknown issuer that is the certificate's own subject. rustls makes no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is self-signed, and not a trusted one for servers")]
pub(super) struct SelfSigned;

/// A certificate that no handshake can be finished with.
#[derive(Debug, thiserror::Error)]
#[error("no TLS is possible with such a certificate or key: {0}")]
pub(super) struct Unusable(pub(super) CertificateError);
