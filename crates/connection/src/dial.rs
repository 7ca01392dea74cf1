//! From a server's address to an open connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
#[cfg(unix)]
use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpSocket, TcpStream};
#[cfg(unix)]
use tokio::time::sleep;
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::{Error, ErrorKind};
use crate::info::Peer;
use crate::proxy_protocol::ProxyHeader;
use crate::server::{Server, ServerAddress};
#[cfg(feature = "socks5")]
use crate::socks::Socks5;

/// Most addresses of one name that are tried; more are a misconfiguration or an attack (RFC 5321
/// section 5.1).
const MAX_ADDRESSES: usize = 16;
/// How long to wait before a Unix socket is tried again whose queue is full: no more than a busy
/// server takes for one connection, and no less than costs nothing.
#[cfg(unix)]
const QUEUE_FULL: Duration = Duration::from_millis(10);
/// A deadline for those who want none, as far ahead as every clock can say.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// How connections are opened.
#[derive(Clone, Debug)]
pub struct DialSettings {
    /// How long all of it may take: resolving the name, the SOCKS proxy's part, and its addresses,
    /// which share what is left of it. Default 30 s.
    pub connect_timeout: Duration,
    /// Source addresses; the first of the family that a server address has is used. Default: the
    /// system's choice.
    pub bind: Vec<IpAddr>,
    /// Which addresses are tried.
    pub family: Family,
    /// The proxy that connects to the server, and resolves its name. Default: none. Unix sockets
    /// need none.
    #[cfg(feature = "socks5")]
    pub socks5: Option<Socks5>,
    /// What the server is told of the ends of the connection before all else. Default: nothing.
    pub proxy_header: Option<ProxyHeader>,
}

/// Address families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// Whatever the resolver gives, in its order.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Default for DialSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            bind: Vec::new(),
            family: Family::default(),
            #[cfg(feature = "socks5")]
            socks5: None,
            proxy_header: None,
        }
    }
}

/// An open connection.
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// Who is at its ends.
pub(crate) struct Ends {
    pub(crate) local: Option<SocketAddr>,
    pub(crate) peer: Peer,
}

/// Connects to a server, which errors call `name`. Where it has several addresses, to the first
/// that answers.
pub(crate) async fn dial(
    settings: &DialSettings,
    name: &str,
    server: &Server,
) -> Result<(Stream, Ends), Error> {
    // So far ahead that it cannot be said, there is none.
    let far = || Instant::now() + FAR;
    let deadline = Instant::now().checked_add(settings.connect_timeout).unwrap_or_else(far);
    match server.address() {
        ServerAddress::Tcp { host, port } => {
            let (mut stream, peer) = dial_tcp(settings, name, (host, *port), deadline).await?;
            let failed = |error| Error::connect(name, peer.socket_addr(), error);
            let local = stream.local_addr().map_err(failed)?;
            let ends = match &peer {
                Peer::Tcp(peer) => Some((local, *peer)),
                _ => None,
            };
            announce(settings, &mut stream, ends).await.map_err(failed)?;
            Ok((Stream::Tcp(stream), Ends { local: Some(local), peer }))
        }
        #[cfg(unix)]
        ServerAddress::Unix(path) => {
            let failed = |error| Error::connect(name, None, error);
            let connect = timeout_at(deadline, connect_unix(path)).await;
            let connect = connect.map_err(|_| Error::new(ErrorKind::ConnectTimeout, name))?;
            let mut stream = connect.map_err(failed)?;
            announce(settings, &mut stream, None).await.map_err(failed)?;
            Ok((Stream::Unix(stream), Ends { local: None, peer: Peer::Unix(path.clone()) }))
        }
    }
}

/// Where nobody accepts fast enough, the queue of a Unix socket is full, and connecting fails at once
/// instead of waiting.
#[cfg(unix)]
async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_FULL).await,
            result => return result,
        }
    }
}

#[cfg(feature = "socks5")]
async fn dial_tcp(
    settings: &DialSettings,
    name: &str,
    target: (&str, u16),
    deadline: Instant,
) -> Result<(TcpStream, Peer), Error> {
    let Some(proxy) = &settings.socks5 else {
        return dial_directly(settings, name, target, deadline).await;
    };
    let addresses = resolve(settings, name, (proxy.host(), proxy.port()), deadline).await;
    let connect = async { connect_any(settings, name, &addresses?, deadline).await };
    let (stream, address) = connect.await.map_err(Error::at_proxy)?;
    let stream = proxy.tunnel(name, stream, address, target, deadline).await?;
    Ok((stream, Peer::Proxy(address)))
}

#[cfg(not(feature = "socks5"))]
use dial_directly as dial_tcp;

async fn dial_directly(
    settings: &DialSettings,
    name: &str,
    target: (&str, u16),
    deadline: Instant,
) -> Result<(TcpStream, Peer), Error> {
    let addresses = resolve(settings, name, target, deadline).await?;
    let (stream, address) = connect_any(settings, name, &addresses, deadline).await?;
    Ok((stream, Peer::Tcp(address)))
}

/// Connects to the first of these addresses that answers; the error is that of the last. Each has an
/// equal share of the time that is left, so that one where nobody answers leaves some for the next.
async fn connect_any(
    settings: &DialSettings,
    name: &str,
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<(TcpStream, SocketAddr), Error> {
    let mut failure = Error::new(ErrorKind::Resolve, name);
    for (at, &address) in addresses.iter().enumerate() {
        let share = share(deadline, addresses.len().saturating_sub(at));
        match timeout(share, connect(settings, address)).await {
            Ok(Ok(stream)) => return Ok((stream, address)),
            Ok(Err(error)) => failure = Error::connect(name, Some(address), error),
            Err(_) => {
                failure = Error::new(ErrorKind::ConnectTimeout, name).with_peer(Some(address))
            }
        }
    }
    Err(failure)
}

/// An equal share of the time until then.
fn share(deadline: Instant, shares: usize) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now());
    left / u32::try_from(shares).unwrap_or(u32::MAX).max(1)
}

async fn resolve(
    settings: &DialSettings,
    name: &str,
    host: (&str, u16),
    deadline: Instant,
) -> Result<Vec<SocketAddr>, Error> {
    let lookup = timeout_at(deadline, tokio::net::lookup_host(host)).await;
    let addresses = match lookup {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Err(Error::new(ErrorKind::Resolve, name).with_source(error)),
        Err(error) => return Err(Error::new(ErrorKind::Resolve, name).with_source(error)),
    };
    let wanted = |address: &SocketAddr| match settings.family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    };
    Ok(addresses.filter(wanted).take(MAX_ADDRESSES).collect())
}

async fn connect(settings: &DialSettings, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = settings.bind.iter().find(|source| source.is_ipv4() == address.is_ipv4())
    {
        socket.bind(SocketAddr::new(*source, 0))?;
    }
    // Every group leaves in one write, so holding a small one back could only cost time.
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

/// Writes the header of the PROXY protocol, where one is wanted. A connection that was just opened
/// has room for it.
async fn announce<S: AsyncWriteExt + Unpin>(
    settings: &DialSettings,
    stream: &mut S,
    ends: Option<(SocketAddr, SocketAddr)>,
) -> io::Result<()> {
    match &settings.proxy_header {
        Some(header) => stream.write_all(&header.to_octets(ends)).await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// CONN-13: an address where nobody answers is passed over.
    #[tokio::test]
    async fn the_next_address_is_tried() {
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = (good.local_addr().unwrap(), good);
        // Bound, so that nobody else gets the port, and not listening.
        let refusing = TcpSocket::new_v4().unwrap();
        refusing.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let refusing = (refusing.local_addr().unwrap(), refusing);

        let settings = DialSettings::default();
        let deadline = Instant::now() + Duration::from_secs(30);
        let connect = async |addresses: &[SocketAddr]| {
            connect_any(&settings, "mx.example", addresses, deadline).await
        };
        let (stream, address) = connect(&[refusing.0, good.0]).await.unwrap();
        assert_eq!((address, stream.peer_addr().unwrap()), (good.0, good.0));
        assert!(stream.nodelay().unwrap(), "CONN-11");

        let error = connect(&[refusing.0; 2]).await.unwrap_err();
        assert_eq!((error.kind(), error.peer()), (ErrorKind::Refused, Some(refusing.0)));
    }

    /// A port where connections are neither accepted nor refused, and what keeps it so.
    async fn silent() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = timeout(Duration::from_secs(1), TcpStream::connect(address)).await {
            waiting.push(stream.unwrap());
            assert!(waiting.len() < 100, "the queue never fills");
        }
        (address, listener, waiting)
    }

    /// CONN-13, FL-09: all addresses together have the time that one would have, and none takes
    /// that of the next.
    #[tokio::test(start_paused = true)]
    async fn addresses_share_the_time() {
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = (good.local_addr().unwrap(), good);
        let (silent, _listener, _waiting) = silent().await;

        let settings = DialSettings::default();
        let started = Instant::now();
        let deadline = started + Duration::from_secs(30);
        let connect = async |addresses: &[SocketAddr]| {
            connect_any(&settings, "mx.example", addresses, deadline).await
        };
        let (_, address) = connect(&[silent, silent, good.0]).await.unwrap();
        assert_eq!((address, started.elapsed().as_secs()), (good.0, 20));
        let error = connect(&[silent; 5]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectTimeout);
        assert_eq!(started.elapsed().as_secs(), 30);
    }
}
