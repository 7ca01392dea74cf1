//! From a host name to an open TCP connection.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::error::{Error, ErrorKind};

/// Most addresses of one name that are tried; more are a misconfiguration or an attack (RFC 5321 section 5.1).
const MAX_ADDRESSES: usize = 16;

/// How connections are opened.
#[derive(Clone, Debug)]
pub struct DialSettings {
    /// How long one address may take. Default 30 s.
    pub connect_timeout: Duration,
    /// Source addresses; the first of the family that a server address has is used. Default: the system's choice.
    pub bind: Vec<IpAddr>,
    /// Which addresses are tried.
    pub family: Family,
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
        }
    }
}

/// Connects to the first address of `host` that answers. `name` is what errors call the server.
pub(crate) async fn dial(
    settings: &DialSettings,
    name: &str,
    host: &str,
    port: u16,
) -> Result<(TcpStream, SocketAddr), Error> {
    let addresses = resolve(settings, name, host, port).await?;
    connect_any(settings, name, &addresses).await
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
            Ok(Err(error)) => failure = Error::connect(name, address, error),
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

async fn connect(settings: &DialSettings, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = settings.bind.iter().find(|source| source.is_ipv4() == address.is_ipv4())
    {
        socket.bind(SocketAddr::new(*source, 0))?;
    }
    // Every group leaves in one write, so holding a small one back could only cost time.
    socket.set_nodelay(true)?;
    socket.connect(address).await
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

        let error = connect_any(&settings, "mx.example", &[refusing.0; 2]).await.unwrap_err();
        assert_eq!((error.kind(), error.peer()), (ErrorKind::Refused, Some(refusing.0)));
    }
}
