//! The sink itself: a listener and its connections.

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use crate::config::Limits;
use crate::driver::{self, Stop, Surroundings};
use crate::link;
use crate::mail::Mail;
use crate::options::{Endpoint, SinkOptions};
use crate::progress::Progress;
use crate::proxy_protocol::{self, ProxyHeader};
use crate::server::Server;
use crate::session::{Close, Session};
use crate::socket::{Held, Listener, Stream};
use crate::stats::{Stats, Violation};
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
    endpoint: Endpoint,
    shared: Arc<Shared>,
    service: Mutex<Service>,
    ca_pem: Option<String>,
}

/// Whether a sink listens.
#[derive(Debug)]
enum Service {
    Up {
        stop: watch::Sender<Stop>,
        acceptor: JoinHandle<()>,
    },
    /// With the address that it had, if that can be held.
    Suspended(Option<Held>),
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
        let listener = Listener::bind(&options.endpoint)?;
        let (rtt, now) = (options.rtt, Instant::now().into_std());
        // Keys are made and files are opened, which takes its time.
        let open = move || -> io::Result<_> {
            let tls = options.identity().map(|identity| Tls::new(&identity)).transpose()?;
            Ok((Server::new(options.config, now)?, tls))
        };
        let (server, tls) = tokio::task::spawn_blocking(open).await.map_err(io::Error::other)??;
        let surroundings = Surroundings {
            acceptor: tls.as_ref().map(|tls| tls.acceptor.clone()),
            progress: Progress::new(),
        };
        let shared = Arc::new(Shared { server, surroundings, round_trip: rtt });
        Ok(Self {
            endpoint: listener.endpoint()?,
            service: Mutex::new(Service::start(listener, &shared)),
            shared,
            ca_pem: tls.and_then(|tls| tls.ca_pem),
        })
    }

    /// The bound address.
    ///
    /// # Panics
    ///
    /// If it is a [Unix socket](SinkOptions::unix_socket).
    pub fn addr(&self) -> SocketAddr {
        match &self.endpoint {
            Endpoint::Tcp(address) => *address,
            Endpoint::Unix(path) => panic!("{} has no address", path.display()),
        }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
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
        let server = &self.shared.server;
        self.shared.surroundings.progress.wait_for(mails, || server.accepted()).await;
    }

    /// Waits until no connection is open.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping the future.
    pub async fn wait_idle(&self) {
        let server = &self.shared.server;
        self.shared.surroundings.progress.wait_until(|| server.is_idle()).await;
    }

    /// Other limits from now on, as [`Server::set_limits`].
    ///
    /// ```
    /// # async fn shrink(sink: &posthaste_sink::Sink) {
    /// use posthaste_sink::Limits;
    ///
    /// sink.set_limits(Limits { max_conns: Some(2), ..Limits::default() });
    /// # }
    /// ```
    pub fn set_limits(&self, limits: Limits) {
        self.shared.server.set_limits(limits);
    }

    /// Begins an outage: each connection was reset, and connecting is refused, when this returns.
    /// Mails, counters and what the limits remember stay.
    ///
    /// # Cancel safety
    ///
    /// The outage begins all the same if the future is dropped.
    pub async fn suspend(&self) {
        self.suspend_service(&mut *self.service.lock().await).await;
    }

    /// Ends an outage: the sink listens again where it did.
    ///
    /// # Errors
    ///
    /// If the address cannot be had again. The sink stays suspended.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped the sink stays suspended.
    pub async fn resume(&self) -> io::Result<()> {
        let mut service = self.service.lock().await;
        if service.is_up() {
            return Ok(());
        }
        self.suspend_service(&mut service).await;
        let held = match &mut *service {
            Service::Suspended(held) => held.take(),
            Service::Up { .. } => None,
        };
        let listener = match held {
            Some(held) => held.listen()?,
            None => Listener::bind(&self.endpoint)?,
        };
        *service = Service::start(listener, &self.shared);
        Ok(())
    }

    async fn suspend_service(&self, service: &mut Service) {
        let Service::Up { stop, acceptor } = service else { return };
        stop.send_replace(Stop::AtOnce);
        // A panic in the task is a bug that has shown itself already.
        let _ = acceptor.await;
        let held = match &self.endpoint {
            Endpoint::Tcp(address) => Held::bind(*address).ok(),
            Endpoint::Unix(_) => None,
        };
        *service = Service::Suspended(held);
        self.shared.surroundings.progress.ended();
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
        if let Service::Up { stop: sender, acceptor } = self.service.into_inner() {
            sender.send_replace(stop);
            // A panic in the task is a bug that has shown itself already.
            let _ = acceptor.await;
        }
        self.shared.server.stats()
    }
}

impl Service {
    fn start(listener: Listener, shared: &Arc<Shared>) -> Self {
        let (stop, stopped) = watch::channel(Stop::Not);
        let acceptor = tokio::spawn(accept(listener, Arc::clone(shared), stopped));
        Self::Up { stop, acceptor }
    }

    fn is_up(&self) -> bool {
        match self {
            Self::Up { stop, .. } => *stop.borrow() == Stop::Not,
            Self::Suspended(_) => false,
        }
    }
}

/// Accepts connections until told to stop, then sees all of them off.
async fn accept(listener: Listener, shared: Arc<Shared>, stop: watch::Receiver<Stop>) {
    let mut stopped = stop.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                match accepted {
                    Ok(Stream::Tcp(socket)) => {
                        connections.spawn(serve_tcp(socket, Arc::clone(&shared), stop.clone()));
                    }
                    Ok(Stream::Unix(mut socket)) => {
                        let (shared, stop) = (Arc::clone(&shared), stop.clone());
                        connections.spawn(async move {
                            serve(&mut socket, &shared, stop).await;
                            drop(socket);
                            shared.surroundings.progress.ended();
                        });
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

async fn serve_tcp(socket: TcpStream, shared: Arc<Shared>, stop: watch::Receiver<Stop>) {
    // Replies are written in whole batches: there is nothing for Nagle's algorithm to gather.
    let _ = socket.set_nodelay(true);
    let mut socket = Socket { stream: socket, stop: stop.clone() };
    if serve(&mut socket.stream, &shared, stop).await == Close::Rst {
        socket.reset();
    }
    drop(socket);
    shared.surroundings.progress.ended();
}

/// Serves a connection to its end, and says how it is to be closed.
async fn serve<S>(stream: &mut S, shared: &Shared, stop: watch::Receiver<Stop>) -> Close
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let header = match shared.server.config.proxy_protocol {
        false => None,
        true => match proxy_header(stream, &shared.server, stop.clone()).await {
            Some(header) => Some(header),
            None => return Close::Fin,
        },
    };
    let mut session = Session::new(Arc::clone(&shared.server), Instant::now().into_std());
    header.into_iter().for_each(|header| session.set_proxy(header));
    let surroundings = &shared.surroundings;
    match shared.round_trip {
        None => driver::run(stream, session, surroundings, stop).await,
        Some(round_trip) => {
            let (near_end, far_end) = link::ends();
            let carried = link::carry(stream, far_end, round_trip);
            let run = driver::run(near_end, session, surroundings, stop);
            Box::pin(async { tokio::join!(run, carried).0 }).await
        }
    }
}

/// The PROXY header at the start of a connection; `None` if none comes, or not in time.
async fn proxy_header<S>(
    stream: &mut S,
    server: &Server,
    mut stop: watch::Receiver<Stop>,
) -> Option<ProxyHeader>
where
    S: AsyncRead + Unpin,
{
    let header = tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop != Stop::Not) => return None,
        header = timeout(PROXY_HEADER, proxy_protocol::read(stream)) => header.ok()?,
    };
    if header.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::InvalidData) {
        server.note(Violation::ProxyHeader);
    }
    header.ok()
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

/// Connections served at once; further ones wait to be accepted. The range of ports of one client
/// address ends before.
const MAX_CONNECTIONS: usize = 1 << 16;

/// How long a sink that shuts down waits for clients that are in a handshake, or do not read.
const GRACE: Duration = Duration::from_secs(2);

/// How long a PROXY header may take. Proxies send it before anything else.
const PROXY_HEADER: Duration = Duration::from_secs(10);

/// How long to leave it when accepting fails.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
