//! What is known of a connection once it is open.

use std::net::SocketAddr;
use std::time::Duration;

use crate::tls::TlsInfo;

/// A connection that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The server's address.
    pub peer: SocketAddr,
    /// This side's address.
    pub local: SocketAddr,
    /// How long it took to find the address and connect.
    pub connect_time: Duration,
    /// What came of the handshake, if there was one.
    pub tls: Option<TlsInfo>,
}
