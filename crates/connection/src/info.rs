//! What is known of a connection once it is open.

use std::fmt;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::PathBuf;
use std::time::Duration;

use crate::error::ErrorKind;
use crate::tls::TlsInfo;

/// A connection that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The other end.
    pub peer: Peer,
    /// This side's address; none on a Unix socket.
    pub local: Option<SocketAddr>,
    /// How long it took to find the address and connect, by way of a proxy if there is one.
    pub connect_time: Duration,
    /// What came of the handshake, if there was one.
    pub tls: Option<TlsInfo>,
    /// Why TLS was given up on the connection before this one, which is therefore in the clear.
    /// Only where TLS is opportunistic.
    pub tls_given_up: Option<ErrorKind>,
}

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// The server, at this address.
    Tcp(SocketAddr),
    /// The server, behind this Unix socket.
    #[cfg(unix)]
    Unix(PathBuf),
    /// A SOCKS proxy at this address, which alone knows the server's.
    Proxy(SocketAddr),
}

impl Peer {
    /// The address of the server or of the proxy; none behind a Unix socket.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) | Self::Proxy(address) => Some(*address),
            #[cfg(unix)]
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            #[cfg(unix)]
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Proxy(address) => write!(f, "by way of {address}"),
        }
    }
}
