//! The sink itself: a listener and its connections.

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use crate::driver::{self, Stop, Surroundings};
use crate::link;
use crate::mail::Mail;
use crate::options::SinkOptions;
use crate::server::Server;
use crate::session::{Close, Session};
use crate::stats::Stats;
use crate::tls::Tls;

/// A running sink. Dropping it closes its connections and its port.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use posthaste_sink::{Sink, StoreKind};
///
/// let sink = Sink::builder()
///     .store(StoreKind::Memory)
///     .fault(r#"at=rcpt rcpt=*@slow.test first=2 reply="451 4.7.1 later""#.parse()?)
///     .start()
///     .await?;
/// println!("smtp://{}", sink.addr());
/// assert_eq!(sink.stats().mails, 0);
/// sink.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<Stop>,
    acceptor: JoinHandle<()>,
    ca_pem: Option<String>,
}

struct Shared {
    server: Arc<Server>,
    surroundings: Surroundings,
    round_trip: Option<Duration>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Sink {
    /// A sink with default options, to be changed and started.
    pub fn builder() -> SinkOptions {
        SinkOptions::default()
    }

    /// Binds, and serves from then on in tasks of the current runtime.
    pub(crate) async fn start(options: SinkOptions) -> io::Result<Self> {
        let listener = bind(options.address)?;
        let (rtt, now) = (options.rtt, Instant::now().into_std());
        // Keys are made and files are opened, which takes its time.
        let open = move || -> io::Result<_> {
            let tls = options.identity().map(|identity| Tls::new(&identity)).transpose()?;
            Ok((Server::new(options.config, now)?, tls))
        };
        let (server, tls) = tokio::task::spawn_blocking(open).await.map_err(io::Error::other)??;
        let surroundings = Surroundings {
            acceptor: tls.as_ref().map(|tls| tls.acceptor.clone()),
            progress: Notify::new(),
        };
        let shared = Arc::new(Shared { server, surroundings, round_trip: rtt });
        let (stop, stopped) = watch::channel(Stop::Not);
        Ok(Self {
            address: listener.local_addr()?,
            acceptor: tokio::spawn(accept(listener, Arc::clone(&shared), stopped)),
            shared,
            stop,
            ca_pem: tls.and_then(|tls| tls.ca_pem),
        })
    }

    /// The bound address.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        self.shared.server.stats()
    }

    /// The mails kept in memory, in the order they came; none with another store.
    pub fn mails(&self) -> Vec<Mail> {
        self.shared.server.mails()
    }

    /// The certificate of the authority behind a self-signed identity, in PEM, for a client to trust.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Waits until so many mails were accepted in all.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping the future.
    pub async fn wait_for(&self, mails: u64) {
        self.wait_until(|server| server.accepted() >= mails).await;
    }

    /// Waits until no connection is open.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping the future.
    pub async fn wait_idle(&self) {
        self.wait_until(Server::is_idle).await;
    }

    async fn wait_until(&self, is_true: impl Fn(&Server) -> bool) {
        loop {
            let progress = self.shared.surroundings.progress.notified();
            tokio::pin!(progress);
            // Registered before the look, so that nothing between the two is missed.
            progress.as_mut().enable();
            if is_true(&self.shared.server) {
                return;
            }
            progress.await;
        }
    }

    /// Stops listening, tells the clients (421), and waits until all connections are closed. The
    /// statistics are final then.
    ///
    /// # Cancel safety
    ///
    /// The sink stops all the same if the future is dropped.
    pub async fn shutdown(self) -> Stats {
        self.stop(Stop::InOrder).await
    }

    /// Stops at once: the port is free and each connection was reset when this returns.
    pub async fn kill(self) -> Stats {
        self.stop(Stop::AtOnce).await
    }

    async fn stop(self, stop: Stop) -> Stats {
        self.stop.send_replace(stop);
        // A panic in the task is a bug that has shown itself already.
        let _ = self.acceptor.await;
        self.shared.server.stats()
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A port can be had again while connections of an earlier sink linger in the kernel.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections until told to stop, then sees all of them off.
async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: watch::Receiver<Stop>) {
    let mut stopped = stop.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                match accepted {
                    Ok((socket, _)) => {
                        connections.spawn(serve(socket, Arc::clone(&shared), stop.clone()));
                    }
                    // Out of descriptors, most likely: closing connections give some back.
                    Err(_) => sleep(ACCEPT_PAUSE).await,
                }
            }
        }
    }
    drop(listener);
    let grace = if *stop.borrow() == Stop::AtOnce { Duration::ZERO } else { GRACE };
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(grace, ended).await.is_err() {
        connections.shutdown().await;
    }
}

async fn serve(socket: TcpStream, shared: Arc<Shared>, stop: watch::Receiver<Stop>) {
    // Replies are written in whole batches: there is nothing for Nagle's algorithm to gather.
    let _ = socket.set_nodelay(true);
    let mut socket = Socket { stream: socket, stop: stop.clone() };
    let session = Session::new(Arc::clone(&shared.server), Instant::now().into_std());
    let surroundings = &shared.surroundings;
    let how = match shared.round_trip {
        None => driver::run(&mut socket.stream, session, surroundings, stop).await,
        Some(round_trip) => {
            let (near_end, far_end) = link::ends();
            let carried = link::carry(&mut socket.stream, far_end, round_trip);
            let run = driver::run(near_end, session, surroundings, stop);
            Box::pin(async { tokio::join!(run, carried).0 }).await
        }
    };
    if how == Close::Rst {
        socket.reset();
    }
    drop(socket);
    surroundings.progress.notify_waiters();
}

/// A socket that is reset when it is dropped by a sink being killed.
struct Socket {
    stream: TcpStream,
    stop: watch::Receiver<Stop>,
}

impl Socket {
    fn reset(&self) {
        // If this fails the connection is gone already.
        let _ = self.stream.set_zero_linger();
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if *self.stop.borrow() == Stop::AtOnce {
            self.reset();
        }
    }
}

/// Connections that the kernel holds ready: a burst of clients is not to be refused.
const BACKLOG: u32 = 4096;

/// Connections served at once; further ones wait to be accepted. The range of ports of one client
/// address ends before.
const MAX_CONNECTIONS: usize = 1 << 16;

/// How long a sink that shuts down waits for clients that are in a handshake, or do not read.
const GRACE: Duration = Duration::from_secs(2);

/// How long to leave it when accepting fails.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
