//! Where a server is, what is spoken to it, and when TLS begins.

use std::fmt;
#[cfg(unix)]
use std::path::PathBuf;

use posthaste_session::Protocol;

/// The port where servers exchange mail by SMTP, and LMTP must not be spoken (RFC 2033 section 5).
const SMTP_PORT: u16 = 25;

/// A server: where it is, what is spoken to it, and when TLS begins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    address: ServerAddress,
    protocol: Protocol,
    security: Security,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerAddress {
    /// Somewhere on the network.
    Tcp {
        /// Host name or IP address, without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// On this machine, behind a Unix socket.
    #[cfg(unix)]
    Unix(PathBuf),
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Security {
    /// By STARTTLS, as the session's [`TlsPolicy`](posthaste_session::TlsPolicy) says.
    #[default]
    StartTls,
    /// With the first octet (RFC 8314).
    Implicit,
}

/// LMTP is not spoken on port 25 (RFC 2033 section 5): a queueing server there would take mail that
/// nobody answers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("LMTP must not be spoken on port {SMTP_PORT}")]
pub struct LmtpPortError;

impl Server {
    /// A server for SMTP, with TLS by STARTTLS. The host is a name or an IP address without
    /// brackets.
    pub fn smtp(host: impl Into<String>, port: u16) -> Self {
        Self::tcp(host, port, Protocol::Smtp, Security::StartTls)
    }

    /// A server for SMTP, with TLS from the first octet (RFC 8314).
    pub fn smtps(host: impl Into<String>, port: u16) -> Self {
        Self::tcp(host, port, Protocol::Smtp, Security::Implicit)
    }

    /// A server for LMTP (RFC 2033), with TLS by STARTTLS.
    ///
    /// # Errors
    ///
    /// Refuses port 25.
    pub fn lmtp(host: impl Into<String>, port: u16) -> Result<Self, LmtpPortError> {
        if port == SMTP_PORT {
            return Err(LmtpPortError);
        }
        Ok(Self::tcp(host, port, Protocol::Lmtp, Security::StartTls))
    }

    /// A server for LMTP behind a Unix socket.
    #[cfg(unix)]
    pub fn lmtp_unix(path: impl Into<PathBuf>) -> Self {
        let address = ServerAddress::Unix(path.into());
        Self { address, protocol: Protocol::Lmtp, security: Security::StartTls }
    }

    fn tcp(host: impl Into<String>, port: u16, protocol: Protocol, security: Security) -> Self {
        Self { address: ServerAddress::Tcp { host: host.into(), port }, protocol, security }
    }

    /// Where it is.
    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// What is spoken to it.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// When TLS begins.
    pub fn security(&self) -> Security {
        self.security
    }

    /// The host's name or IP address, without brackets; `localhost` behind a Unix socket.
    pub fn host(&self) -> &str {
        match &self.address {
            ServerAddress::Tcp { host, .. } => host,
            #[cfg(unix)]
            ServerAddress::Unix(_) => "localhost",
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            ServerAddress::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            ServerAddress::Tcp { host, port } => write!(f, "{host}:{port}"),
            #[cfg(unix)]
            ServerAddress::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}
