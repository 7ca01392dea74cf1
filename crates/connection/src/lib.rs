//! The tokio shell around one SMTP session: resolve, dial, TLS, drive.
//!
//! * [`Connector`] opens connections to one server and runs a session on each;
//! * [`Dispatch`] is what a session's driver asks for mails and tells what became of them;
//! * [`Connection`] is a handle for those who want one connection and nothing else.
//!
//! Policy (which server, when, how many) belongs to the scheduler, parsing to the session.
#![forbid(unsafe_code)]

mod connector;
mod dial;
mod dispatch;
mod driver;
mod error;
mod handle;
mod info;
mod proxy_protocol;
mod server;
#[cfg(feature = "socks5")]
mod socks;
mod tls;

pub use connector::Connector;
pub use dial::{DialSettings, Family};
pub use dispatch::{Command, Dispatch};
pub use driver::drive;
pub use error::{Error, ErrorKind};
pub use handle::{Connection, SendError};
pub use info::{Info, Peer};
pub use posthaste_session as session;
pub use proxy_protocol::{MixedFamilies, ProxyAddresses, ProxyHeader, ProxyVersion};
pub use rustls;
pub use server::{LmtpPortError, Security, Server, ServerAddress};
#[cfg(feature = "socks5")]
pub use socks::{Socks5, Socks5Error};
pub use tls::{
    CertificateFault, Identity, PemError, Proof, Roots, TlsClient, TlsInfo, TlsSettings,
    TlsSetupError, Verification,
};
