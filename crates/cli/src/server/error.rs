//! Why a server cannot be used.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use posthaste::connection::{PemError, Socks5Error, TlsSetupError};
use posthaste::session::CredentialsError;
use posthaste::{SetupError, UrlError};
use posthaste_sink::OptionError;

use super::target::quoted;
use crate::exit::Exit;

/// Why a server cannot be used. What the user wrote is repeated without what may be a password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("server {0} cannot be used")]
    Url(String, #[source] UrlError),
    #[error("server {0} cannot be used: its path is too long for a socket")]
    SocketPath(String, #[source] io::Error),
    #[error("proxy {} cannot be used", quoted(.0))]
    Socks5(String, #[source] Socks5Error),
    #[error("the options of sink: cannot be used")]
    SinkOptions(#[source] OptionError),
    #[error("the sink cannot be started")]
    Sink(#[source] io::Error),
    #[error("--cacert cannot be used")]
    Roots(#[source] PemError),
    #[error("--cert and --key cannot be used")]
    Identity(#[source] PemError),
    #[error("--cert cannot be used (--key names the file of its private key, if that is another)")]
    WholeIdentity(#[source] PemError),
    #[error("credentials cannot be used")]
    Credentials(#[from] CredentialsError),
    #[error("a password is given, but no user; name one with --user")]
    NoUser,
    #[error("user {0:?} has no password; use --password-env, --password-file or --password-cmd")]
    NoPassword(String),
    #[error("environment variable {0} does not hold a password")]
    PasswordEnv(String),
    #[error("cannot read the password from {}", .0.display())]
    PasswordFile(PathBuf, #[source] io::Error),
    #[error("cannot get the password from {0:?}")]
    PasswordCommand(String, #[source] io::Error),
    #[error("{0:?} failed instead of printing a password")]
    PasswordCommandFailed(String),
    #[error("--window and --window-bytes need --pipeline stream")]
    Window,
    #[error("--bind {0} cannot be used")]
    Bind(IpAddr, #[source] io::Error),
    #[error("{flag} leaves no way to {host}")]
    Family { flag: &'static str, host: IpAddr },
    #[error(
        "no certificate could be for {0:?}; name the one it is for with --tls-name, or say --tls off"
    )]
    TlsName(String),
    #[error("server and TLS settings do not fit")]
    Setup(#[source] SetupError),
}

impl From<SetupError> for ServerError {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::Tls(TlsSetupError::ServerName(name)) => Self::TlsName(name),
            error => Self::Setup(error),
        }
    }
}

impl ServerError {
    /// How a command that met it ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Url(..)
            | Self::SocketPath(..)
            | Self::Socks5(..)
            | Self::SinkOptions(_)
            | Self::NoUser
            | Self::NoPassword(_)
            | Self::Window
            | Self::Bind(..)
            | Self::Family { .. }
            | Self::TlsName(_) => Exit::Usage,
            Self::Sink(_) => Exit::Internal,
            Self::Roots(error) | Self::Identity(error) | Self::WholeIdentity(error) => {
                if error.io_error().is_some() { Exit::NoInput } else { Exit::BadInput }
            }
            Self::PasswordFile(_, error) if error.kind() == io::ErrorKind::InvalidData => {
                Exit::BadInput
            }
            Self::PasswordFile(..) => Exit::NoInput,
            Self::Credentials(_)
            | Self::PasswordEnv(_)
            | Self::PasswordCommand(..)
            | Self::PasswordCommandFailed(_)
            | Self::Setup(_) => Exit::BadConfig,
        }
    }
}
