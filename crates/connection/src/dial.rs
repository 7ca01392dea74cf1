//! From a server's address to an open connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::error::{Error, ErrorKind};
use crate::info::Peer;
use crate::proxy_protocol::ProxyHeader;
use crate::server::{Server, ServerAddress};
#[cfg(feature = "socks5")]
use crate::socks::Socks5;

/// Most addresses of one name that are tried; more are a misconfiguration or an attack (RFC 5321
/// section 5.1).
const MAX_ADDRESSES: usize = 16;

/// How connections are opened.
#[derive(Clone, Debug)]
pub struct DialSettings {
    /// How long one step may take: resolving the name, each address, the SOCKS proxy's part.
    /// Default 30 s.
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
    match server.address() {
        ServerAddress::Tcp { host, port } => {
            let (mut stream, peer) = dial_tcp(settings, name, host, *port).await?;
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
            let connect = timeout(settings.connect_timeout, UnixStream::connect(path)).await;
            let connect = connect.map_err(|_| Error::new(ErrorKind::ConnectTimeout, name))?;
            let mut stream = connect.map_err(failed)?;
            announce(settings, &mut stream, None).await.map_err(failed)?;
            Ok((Stream::Unix(stream), Ends { local: None, peer: Peer::Unix(path.clone()) }))
        }
    }
}

#[cfg(feature = "socks5")]
async fn dial_tcp(
    settings: &DialSettings,
    name: &str,
    host: &str,
    port: u16,
) -> Result<(TcpStream, Peer), Error> {
    let Some(proxy) = &settings.socks5 else {
        return dial_directly(settings, name, host, port).await;
    };
    let addresses = resolve(settings, name, proxy.host(), proxy.port()).await;
    let connect = async { connect_any(settings, name, &addresses?).await };
    let (stream, address) = connect.await.map_err(Error::at_proxy)?;
    let tunnel = proxy.tunnel(name, stream, address, (host, port));
    match timeout(settings.connect_timeout, tunnel).await {
        Ok(stream) => Ok((stream?, Peer::Proxy(address))),
        Err(_) => Err(Error::new(ErrorKind::ConnectTimeout, name).with_peer(Some(address))),
    }
}

#[cfg(not(feature = "socks5"))]
use dial_directly as dial_tcp;

async fn dial_directly(
    settings: &DialSettings,
    name: &str,
    host: &str,
    port: u16,
) -> Result<(TcpStream, Peer), Error> {
    let addresses = resolve(settings, name, host, port).await?;
    let (stream, address) = connect_any(settings, name, &addresses).await?;
    Ok((stream, Peer::Tcp(address)))
}

/// Connects to the first of these addresses that answers; the error is that of the last.
async fn connect_any(
    settings: &DialSettings,
    name: &str,
    addresses: &[SocketAddr],
) -> Result<(TcpStream, SocketAddr), Error> {
    let mut failure = Error::new(ErrorKind::Resolve, name);
    for &address in addresses {
        match timeout(settings.connect_timeout, connect(settings, address)).await {
            Ok(Ok(stream)) => return Ok((stream, address)),
            Ok(Err(error)) => failure = Error::connect(name, Some(address), error),
            Err(_) => {
                failure = Error::new(ErrorKind::ConnectTimeout, name).with_peer(Some(address))
            }
        }
    }
    Err(failure)
}

async fn resolve(
    settings: &DialSettings,
    name: &str,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, Error> {
    let lookup = timeout(settings.connect_timeout, tokio::net::lookup_host((host, port))).await;
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
        let (stream, address) =
            connect_any(&settings, "mx.example", &[refusing.0, good.0]).await.unwrap();
        assert_eq!((address, stream.peer_addr().unwrap()), (good.0, good.0));
        assert!(stream.nodelay().unwrap(), "CONN-11");

        let error = connect_any(&settings, "mx.example", &[refusing.0; 2]).await.unwrap_err();
        assert_eq!((error.kind(), error.peer()), (ErrorKind::Refused, Some(refusing.0)));
    }
}
