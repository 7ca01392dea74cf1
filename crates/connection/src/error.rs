//! Why a connection could not be opened or secured.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use posthaste_session::Stage;

/// A failure below SMTP: name resolution, TCP or TLS.
///
/// What a *server* says, or fails to say, is no error: it is a
/// [`CloseReason`](posthaste_session::CloseReason).
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    server: String,
    peer: Option<SocketAddr>,
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
    /// The certificate was not accepted.
    Certificate,
    /// The handshake failed for another reason.
    Handshake,
    /// The handshake did not finish in time.
    HandshakeTimeout,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, server: &str) -> Self {
        Self { kind, server: server.to_owned(), peer: None, source: None }
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
    pub(crate) fn connect(server: &str, peer: SocketAddr, error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => ErrorKind::Refused,
            io::ErrorKind::TimedOut => ErrorKind::ConnectTimeout,
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => ErrorKind::Local,
            _ if is_out_of_descriptors(&error) => ErrorKind::Local,
            _ => ErrorKind::Unreachable,
        };
        Self::new(kind, server).with_peer(Some(peer)).with_source(error)
    }

    /// A failed handshake, sorted by whether the certificate was at fault.
    pub(crate) fn handshake(server: &str, peer: Option<SocketAddr>, error: io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let kind = match tls {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
                ErrorKind::Certificate
            }
            _ => ErrorKind::Handshake,
        };
        Self::new(kind, server).with_peer(peer).with_source(error)
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
            | ErrorKind::Local => Stage::Connect,
            ErrorKind::Certificate | ErrorKind::Handshake | ErrorKind::HandshakeTimeout => {
                Stage::Tls
            }
        }
    }

    /// The address that was tried last, if it came to that.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
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

/// EMFILE and ENFILE, which have no [`io::ErrorKind`] of their own. The numbers are the same on all Unix systems.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}
