//! Why a connection could not be opened or secured.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use posthaste_session::Stage;
use rustls::{CertificateError, OtherError};

use crate::tls::CertificateFault;

/// A failure below SMTP: name resolution, TCP or TLS.
///
/// What a *server* says, or fails to say, is no error: it is a
/// [`CloseReason`](posthaste_session::CloseReason).
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    server: String,
    peer: Option<SocketAddr>,
    fault: Option<CertificateFault>,
    /// A handshake was broken off without a word of TLS.
    is_cut_off: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The name has no address, or the resolver does not answer.
    Resolve,
    /// Nobody listens there.
    Refused,
    /// The connection did not come about in time.
    ConnectTimeout,
    /// There is no way to the address, or another failure on the way.
    Unreachable,
    /// This machine lacks what it takes: file descriptors, ports, the source address.
    Local,
    /// The proxy cannot be reached, or does not do what it is asked for.
    Proxy,
    /// The certificate was not accepted; [`Error::certificate_fault`] says why.
    Certificate,
    /// The server speaks no TLS where it should: a port for plaintext, or somebody in between.
    NotTls,
    /// The handshake failed for another reason.
    Handshake,
    /// The handshake did not finish in time.
    HandshakeTimeout,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, server: &str) -> Self {
        Self {
            kind,
            server: server.to_owned(),
            peer: None,
            fault: None,
            is_cut_off: false,
            source: None,
        }
    }

    pub(crate) fn with_peer(mut self, peer: Option<SocketAddr>) -> Self {
        self.peer = peer;
        self
    }

    pub(crate) fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// A failed connect, sorted by what the system says.
    pub(crate) fn connect(server: &str, peer: Option<SocketAddr>, error: io::Error) -> Self {
        let kind = match error.kind() {
            // A Unix socket that is not there.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ErrorKind::Refused,
            io::ErrorKind::TimedOut => ErrorKind::ConnectTimeout,
            io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::AddrInUse
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidInput => ErrorKind::Local,
            _ if is_out_of_descriptors(&error) => ErrorKind::Local,
            _ => ErrorKind::Unreachable,
        };
        Self::new(kind, server).with_peer(peer).with_source(error)
    }

    /// The same failure, of the proxy: it says nothing about the server. What this machine lacks,
    /// it lacks.
    #[cfg(feature = "socks5")]
    pub(crate) fn at_proxy(mut self) -> Self {
        if self.kind != ErrorKind::Local {
            self.kind = ErrorKind::Proxy;
        }
        self
    }

    /// A failed handshake, sorted by what was at fault.
    pub(crate) fn handshake(server: &str, peer: Option<SocketAddr>, error: io::Error) -> Self {
        use rustls::Error::{InvalidCertificate, InvalidMessage, NoCertificatesPresented};
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let (kind, fault) = match tls {
            Some(InvalidCertificate(error)) => {
                (ErrorKind::Certificate, Some(CertificateFault::of(error)))
            }
            Some(NoCertificatesPresented) => {
                (ErrorKind::Certificate, Some(CertificateFault::Other))
            }
            Some(InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
                (ErrorKind::NotTls, None)
            }
            _ => (ErrorKind::Handshake, None),
        };
        let is_cut_off = tls.is_none();
        let this = Self::new(kind, server).with_peer(peer);
        // Where the verifier's own words are wrapped, rustls shows them as a program would.
        let this = match tls {
            Some(InvalidCertificate(CertificateError::Other(OtherError(words)))) => {
                this.with_source(Arc::clone(words))
            }
            _ => this.with_source(error),
        };
        Self { fault, is_cut_off, ..this }
    }

    /// The same failure where any certificate would have done: it was no lack of trust.
    pub(crate) fn without_distrust(mut self) -> Self {
        if self.kind == ErrorKind::Certificate {
            self.kind = ErrorKind::Handshake;
        }
        self
    }

    /// Whether the server, or something on the way to it, may have choked on ClientHello: it fell
    /// silent or hung up instead of saying what it objects to.
    pub(crate) fn may_be_choking(&self) -> bool {
        self.is_cut_off || self.kind == ErrorKind::HandshakeTimeout
    }

    /// What failed.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// At which step.
    pub fn stage(&self) -> Stage {
        match self.kind {
            ErrorKind::Resolve
            | ErrorKind::Refused
            | ErrorKind::ConnectTimeout
            | ErrorKind::Unreachable
            | ErrorKind::Local
            | ErrorKind::Proxy => Stage::Connect,
            ErrorKind::Certificate
            | ErrorKind::NotTls
            | ErrorKind::Handshake
            | ErrorKind::HandshakeTimeout => Stage::Tls,
        }
    }

    /// The address that was tried last, if it came to that: the server's, or its proxy's.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// What is wrong with the certificate, where that was the reason: always with
    /// [`ErrorKind::Certificate`], and with [`ErrorKind::Handshake`] where any certificate does that
    /// TLS is possible with.
    pub fn certificate_fault(&self) -> Option<CertificateFault> {
        self.fault
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            ErrorKind::Resolve => "no address found for",
            ErrorKind::Refused => "nobody listens at",
            ErrorKind::ConnectTimeout => "connecting took too long to",
            ErrorKind::Unreachable => "no connection to",
            ErrorKind::Local => "this machine cannot connect to",
            ErrorKind::Proxy => "no way by the proxy to",
            ErrorKind::NotTls => "no TLS is spoken by",
            ErrorKind::Certificate => "certificate is not trusted of",
            ErrorKind::Handshake => "TLS handshake failed with",
            ErrorKind::HandshakeTimeout => "TLS handshake took too long with",
        };
        write!(f, "{what} {}", self.server)?;
        match self.peer {
            Some(peer) if peer.to_string() != self.server => write!(f, " ({peer})"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// EMFILE and ENFILE, which have no [`io::ErrorKind`] of their own. The numbers are the same on all
/// Unix systems.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_words_are_shown_as_they_are() {
        let words = io::Error::other("it is self-signed");
        let certificate = CertificateError::Other(OtherError(Arc::new(words)));
        let error = io::Error::other(rustls::Error::InvalidCertificate(certificate));
        let error = Error::handshake("mx.example", None, error);
        assert_eq!(error.kind(), ErrorKind::Certificate);
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "it is self-signed");
    }
}
