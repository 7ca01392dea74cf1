//! Listening sockets of both kinds.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

use crate::options::Endpoint;

/// A listening socket. A Unix socket is removed from its folder when this is dropped.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix { listener: UnixListener, path: PathBuf },
}

/// An accepted connection.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    pub(crate) fn bind(endpoint: &Endpoint) -> io::Result<Self> {
        match endpoint {
            Endpoint::Tcp(address) => Held::bind(*address)?.listen(),
            Endpoint::Unix(path) => bind_unix(path),
        }
    }

    /// Where it listens; with the port that it has.
    pub(crate) fn endpoint(&self) -> io::Result<Endpoint> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Endpoint::Tcp),
            Self::Unix { path, .. } => Ok(Endpoint::Unix(path.clone())),
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(socket, _)| Stream::Tcp(socket)),
            Self::Unix { listener, .. } => {
                listener.accept().await.map(|(socket, _)| Stream::Unix(socket))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix { path, .. } = self {
            // Somebody else may have removed it.
            let _ = fs::remove_file(path);
        }
    }
}

/// An address that is bound and not listened on: connecting is refused, and the kernel gives the
/// port to nobody who wants any.
#[derive(Debug)]
pub(crate) struct Held(TcpSocket);

impl Held {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A port can be had again while connections of an earlier sink linger in the kernel.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self(socket))
    }

    pub(crate) fn listen(self) -> io::Result<Listener> {
        self.0.listen(BACKLOG).map(Listener::Tcp)
    }
}

fn bind_unix(path: &Path) -> io::Result<Listener> {
    let bound = UnixListener::bind(path).or_else(|error| {
        // A sink that was killed leaves its socket behind, on which nobody listens.
        let refused = io::ErrorKind::ConnectionRefused;
        let is_left = std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == refused);
        if !is_left {
            return Err(error);
        }
        fs::remove_file(path)?;
        UnixListener::bind(path)
    });
    Ok(Listener::Unix { listener: bound?, path: path.to_owned() })
}

/// Connections that the kernel holds ready: a burst of clients is not to be refused.
const BACKLOG: u32 = 4096;
