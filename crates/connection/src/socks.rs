//! Connections by way of a SOCKS5 proxy (RFC 1928, RFC 1929).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_socks::tcp::Socks5Stream;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};

/// Longest user name or password in octets (RFC 1929 section 2).
const MAX_LOGIN: usize = 255;

/// A SOCKS5 proxy: `[USER:PASSWORD@]HOST:PORT`, with IPv6 addresses in brackets.
///
/// The password is wiped from memory when dropped and shows in no output.
///
/// ```
/// use posthaste_connection::Socks5;
///
/// let proxy: Socks5 = "news:secret@proxy.example:1080".parse()?;
/// assert_eq!(proxy.to_string(), "news@proxy.example:1080");
/// # Ok::<(), posthaste_connection::Socks5Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Socks5 {
    host: String,
    port: u16,
    login: Option<Login>,
}

#[derive(Clone, PartialEq, Eq)]
struct Login {
    user: String,
    password: Zeroizing<String>,
}

/// Why a text names no proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Socks5Error {
    /// It is not `HOST:PORT`.
    #[error("expected [USER:PASSWORD@]HOST:PORT, with a port from 1 to 65535")]
    Address,
    /// User or password is missing, empty or longer than 255 octets.
    #[error("user name and password must have 1 to {MAX_LOGIN} octets each")]
    Login,
}

impl Socks5 {
    /// A proxy that wants to know no name. The host is a name or an IP address without brackets.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, login: None }
    }

    /// Says who is there, in the clear, to a proxy that asks.
    ///
    /// # Errors
    ///
    /// Refuses what is empty or longer than 255 octets (RFC 1929 section 2).
    pub fn with_login(
        mut self,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Result<Self, Socks5Error> {
        let (user, password) = (user.into(), Zeroizing::new(password.into()));
        if ![user.len(), password.len()].iter().all(|length| (1..=MAX_LOGIN).contains(length)) {
            return Err(Socks5Error::Login);
        }
        self.login = Some(Login { user, password });
        Ok(self)
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Asks the proxy, to which there is a connection, for one to the server. The proxy resolves
    /// the name.
    pub(crate) async fn tunnel(
        &self,
        name: &str,
        stream: TcpStream,
        proxy: SocketAddr,
        target: (&str, u16),
        deadline: Instant,
    ) -> Result<TcpStream, Error> {
        let has_spoken = AtomicBool::new(false);
        let stream = Heard { stream, has_spoken: &has_spoken };
        let error = match timeout_at(deadline, self.ask(stream, target)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => Error::new(kind(&error), name).with_source(error),
            // Who has spoken is waiting for the server.
            Err(_) if has_spoken.load(Ordering::Relaxed) => {
                Error::new(ErrorKind::ConnectTimeout, name)
            }
            Err(late) => Error::new(ErrorKind::Proxy, name).with_source(late),
        };
        Err(error.with_peer(Some(proxy)))
    }

    async fn ask(
        &self,
        stream: Heard<'_>,
        target: (&str, u16),
    ) -> Result<TcpStream, tokio_socks::Error> {
        let tunnel = match &self.login {
            None => Socks5Stream::connect_with_socket(stream, target).await?,
            Some(Login { user, password }) => {
                Socks5Stream::connect_with_password_and_socket(stream, target, user, password)
                    .await?
            }
        };
        Ok(tunnel.into_inner().stream)
    }
}

/// A connection to a proxy, and whether that has said anything.
struct Heard<'a> {
    stream: TcpStream,
    has_spoken: &'a AtomicBool,
}

impl AsyncRead for Heard<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        self.has_spoken.fetch_or(into.filled().len() > before, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heard<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Whose fault it was: what the proxy says of the server is sorted as if it had been seen from
/// here.
fn kind(error: &tokio_socks::Error) -> ErrorKind {
    match error {
        tokio_socks::Error::ConnectionRefused => ErrorKind::Refused,
        tokio_socks::Error::NetworkUnreachable | tokio_socks::Error::HostUnreachable => {
            ErrorKind::Unreachable
        }
        tokio_socks::Error::TtlExpired => ErrorKind::ConnectTimeout,
        _ => ErrorKind::Proxy,
    }
}

impl FromStr for Socks5 {
    type Err = Socks5Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (login, address) = match text.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, text),
        };
        let (host, port) = address.rsplit_once(':').ok_or(Socks5Error::Address)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_plain = host.bytes().all(|o| o.is_ascii_alphanumeric() || matches!(o, b'.' | b'-'));
        let host = match bare {
            Some(bare) if bare.parse::<std::net::Ipv6Addr>().is_ok() => bare,
            None if is_plain && !host.is_empty() => host,
            _ => return Err(Socks5Error::Address),
        };
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(Socks5Error::Address)?;
        let proxy = Self::new(host, port);
        match login.map(|login| login.split_once(':').ok_or(Socks5Error::Login)).transpose()? {
            Some((user, password)) => proxy.with_login(user, password),
            None => Ok(proxy),
        }
    }
}

impl fmt::Display for Socks5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, login } = self;
        if let Some(login) = login {
            write!(f, "{}@", login.user)?;
        }
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl fmt::Debug for Socks5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socks5({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, Socks5Error>) {
        let proxy = text.parse::<Socks5>().map(|proxy| proxy.to_string());
        assert_eq!(proxy.as_deref().map_err(|error| *error), expected, "{text:?}");
    }

    #[test]
    fn forms() {
        check("proxy.example:1080", Ok("proxy.example:1080"));
        check("[::1]:1080", Ok("[::1]:1080"));
        check("a:b@127.0.0.1:1", Ok("a@127.0.0.1:1"));
        check("a:b:c@d@127.0.0.1:1", Ok("a@127.0.0.1:1"));
        for text in ["", "proxy", "proxy:0", "proxy:x", ":1", "::1:1080", "a b:1", "h\r\n:1"] {
            check(text, Err(Socks5Error::Address)); // IN-17
        }
        check("a@proxy:1", Err(Socks5Error::Login));
        check(":b@proxy:1", Err(Socks5Error::Login));
        check(&format!("a:{}@proxy:1", "x".repeat(256)), Err(Socks5Error::Login));
    }

    /// LK-01
    #[test]
    fn the_password_stays_hidden() {
        let proxy: Socks5 = "user:hunter2@proxy:1".parse().unwrap();
        assert!(!format!("{proxy} {proxy:?}").contains("hunter2"));
    }
}
