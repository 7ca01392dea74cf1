//! What we cost within TLS: `cargo bench -p benches --bench tls`, with the number of mails as an
//! argument, if another is wanted.
//!
//! Our connector, driver and session beside a bare loop on tokio-rustls that sends the same flights
//! and counts the lines that come back, both in one thread, over one connection and over several, to
//! our sink, which has the other processor. Over one connection each waits for the other in turn, so
//! that all work shows; over several whoever has more to do is the limit. Target: at least 0.9 of the
//! bare loop's rate. Rounds alternate, the best counts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use benches::bare::{Flights, Load, Way};
use futures_util::future::join_all;
use posthaste_connection::rustls::client::Resumption;
use posthaste_connection::rustls::crypto::ring::default_provider;
use posthaste_connection::rustls::pki_types::pem::PemObject;
use posthaste_connection::rustls::pki_types::{CertificateDer, ServerName};
use posthaste_connection::rustls::{ClientConfig, RootCertStore};
use posthaste_connection::session::{
    Config, Content, Envelope, Event, ForwardPath, Mail, Mailbox, Pipelining, Session, SubmitError,
    TransactionId,
};
use posthaste_connection::{Command, Connector, DialSettings, Dispatch, Info, Server, TlsClient};
use posthaste_sink::{Identity, Sink};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Rounds of which the best counts: as many as make the ratio repeatable to a few percent.
const ROUNDS: usize = 5;
/// Connections of one round of handshakes.
const CONNECTIONS: usize = 300;
/// Mails of one flight in `stream`: the window of a session.
const FLIGHT: usize = 64;
/// Octets of each content.
const SIZE: usize = 1024;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    // `cargo test --benches` only wants to know that it starts.
    if arguments.first().is_some_and(|argument| argument == "--test") {
        return;
    }
    let mails = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(100_000);

    let service = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let identity = Identity::SelfSigned("localhost".to_owned());
    let sink = Sink::builder().tls(identity).implicit_tls().address(([127, 0, 0, 1], 0).into());
    let sink = service.block_on(sink.start()).unwrap();
    let server = sink.addr();
    let ca = CertificateDer::from_pem_slice(sink.ca_pem().unwrap().as_bytes()).unwrap();

    let client = Builder::new_current_thread().enable_all().build().unwrap();
    println!("| what | ours/s | bare/s | ratio |\n|---|---:|---:|---:|");
    for (what, way, connections) in [
        ("`cross`, 1 connection", Way::Data, 1),
        ("`cross`, 4 connections", Way::Data, 4),
        ("`stream`, 1 connection", Way::Bdat, 1),
        ("`stream`, 4 connections", Way::Bdat, 4),
    ] {
        let tls = tls(&ca, Resumption::default());
        let load = Load { way, mails, flight: FLIGHT, connections, size: SIZE };
        let ours = || client.block_on(send(server, &tls, load));
        let bare = || client.block_on(send_bare(server, &tls, load)).unwrap();
        compare(what, mails, ours, bare);
    }
    for (what, resumption) in
        [("full handshakes", Resumption::disabled()), ("resumed handshakes", Resumption::default())]
    {
        let tls = tls(&ca, resumption);
        let ours = || client.block_on(greet(server, &tls));
        let bare = || client.block_on(greet_bare(server, &tls)).unwrap();
        compare(what, CONNECTIONS, ours, bare);
    }
}

fn compare(
    what: &str,
    count: usize,
    mut ours: impl FnMut() -> Duration,
    mut bare: impl FnMut() -> Duration,
) {
    let rounds: Vec<_> = (0..ROUNDS).map(|_| (ours(), bare())).collect();
    let rate = |time: Option<Duration>| count as f64 / time.unwrap_or_default().as_secs_f64();
    let ours = rate(rounds.iter().map(|(ours, _)| *ours).min());
    let bare = rate(rounds.iter().map(|(_, bare)| *bare).min());
    println!("| {what} | {ours:.0} | {bare:.0} | {:.2} |", ours / bare);
}

fn tls(ca: &CertificateDer<'static>, resumption: Resumption) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = resumption;
    Arc::new(config)
}

fn connector(server: SocketAddr, tls: &Arc<ClientConfig>, mode: Pipelining) -> Connector {
    let server = Server::smtps(server.ip().to_string(), server.port());
    let mut config = Config::new("client.example".parse().unwrap());
    config.pipelining = mode;
    let tls = TlsClient::with_config(Arc::clone(tls));
    Connector::new(server, config, None, DialSettings::default(), tls).unwrap()
}

/// Gives one mail again and again, then QUIT.
struct Mails {
    mail: Mail,
    left: usize,
    quits: bool,
    delivered: usize,
    begun: Option<Instant>,
    last: Option<Instant>,
    resumed: bool,
}

impl Mails {
    fn new(count: usize) -> Self {
        let from: Mailbox = "a@posthaste.example".parse().unwrap();
        let to: ForwardPath = "b@posthaste.example".parse().unwrap();
        let line = [b"x".repeat(62).as_slice(), b"\r\n"].concat();
        let content = Content::new(line.repeat(SIZE / line.len())).unwrap();
        Self {
            mail: Mail::new(Envelope::new(from, [to]).unwrap(), content),
            left: count,
            quits: false,
            delivered: 0,
            begun: None,
            last: None,
            resumed: false,
        }
    }
}

impl Dispatch for Mails {
    fn poll_command(&mut self, _: &mut Context<'_>, room: usize) -> Poll<Command> {
        if room > 0 && self.left > 0 {
            self.left -= 1;
            self.begun.get_or_insert_with(Instant::now);
            return Poll::Ready(Command::Submit(self.mail.clone()));
        }
        if self.left == 0 && !std::mem::replace(&mut self.quits, true) {
            return Poll::Ready(Command::Quit);
        }
        Poll::Pending
    }

    fn handle_submitted(&mut self, result: Result<TransactionId, SubmitError>) {
        result.unwrap();
    }

    fn handle_event(&mut self, event: Event, _: &Session) {
        if let Event::Finished(finished) = event {
            assert!(finished.outcomes.iter().all(|outcome| outcome.is_delivered()));
            self.delivered += 1;
            if self.left == 0 {
                self.last = Some(Instant::now());
            }
        }
    }

    fn handle_connected(&mut self, info: &Info) {
        self.resumed = info.tls.as_ref().is_some_and(|tls| tls.is_resumed);
    }
}

/// From the first mail to the last reply.
async fn send(server: SocketAddr, tls: &Arc<ClientConfig>, load: Load) -> Duration {
    let mode = match load.way {
        Way::Data => Pipelining::Cross,
        Way::Bdat => Pipelining::Stream,
    };
    let connector = connector(server, tls, mode);
    let send = async |_| {
        let mut mails = Mails::new(load.mails / load.connections);
        connector.run(|_| {}, &mut mails).await.unwrap();
        assert_eq!(mails.delivered, load.mails / load.connections);
        (mails.begun.unwrap(), mails.last.unwrap())
    };
    span(join_all((0..load.connections).map(send)).await)
}

async fn send_bare(
    server: SocketAddr,
    tls: &Arc<ClientConfig>,
    load: Load,
) -> io::Result<Duration> {
    let per_flight = if load.way == Way::Bdat { load.flight } else { 1 };
    let send = async |connection| {
        let mut flights = Flights::new(load, connection);
        let mut stream = open_bare(server, tls).await?;
        for command in flights.opening() {
            stream.write_all(command.as_bytes()).await?;
            await_reply(&mut stream).await?;
        }
        let begun = Instant::now();
        for _ in 0..load.mails / load.connections / per_flight {
            stream.write_all(flights.fill_next()).await?;
            stream.flush().await?;
            await_lines(&mut stream, 4 * per_flight).await?;
        }
        Ok((begun, Instant::now()))
    };
    let times = join_all((0..load.connections).map(send)).await;
    times.into_iter().collect::<io::Result<Vec<_>>>().map(span)
}

/// From the first beginning to the last end.
fn span(times: Vec<(Instant, Instant)>) -> Duration {
    let first = times.iter().map(|(begun, _)| *begun).min();
    let last = times.iter().map(|(_, ended)| *ended).max();
    last.zip(first).map(|(last, first)| last - first).unwrap_or_default()
}

async fn open_bare(
    server: SocketAddr,
    tls: &Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::from(server.ip());
    let mut stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
    await_lines(&mut stream, 1).await?;
    Ok(stream)
}

async fn await_lines(stream: &mut TlsStream<TcpStream>, mut lines: usize) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    while lines > 0 {
        let octets = stream.read(&mut buffer).await?;
        if octets == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        lines -= buffer[..octets].iter().filter(|octet| **octet == b'\n').count();
    }
    Ok(())
}

/// A reply that comes in one record, as our sink writes it.
async fn await_reply(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    stream.read(&mut buffer).await.map(drop)
}

/// Connections one behind the other, each with greeting, EHLO and QUIT.
async fn greet(server: SocketAddr, tls: &Arc<ClientConfig>) -> Duration {
    let connector = connector(server, tls, Pipelining::Cross);
    let begun = Instant::now();
    let mut resumed = 0;
    for _ in 0..CONNECTIONS {
        let mut mails = Mails::new(0);
        connector.run(|_| {}, &mut mails).await.unwrap();
        resumed += usize::from(mails.resumed);
    }
    assert!([0, CONNECTIONS - 1, CONNECTIONS].contains(&resumed), "{resumed} resumed");
    begun.elapsed()
}

async fn greet_bare(server: SocketAddr, tls: &Arc<ClientConfig>) -> io::Result<Duration> {
    let begun = Instant::now();
    for _ in 0..CONNECTIONS {
        let mut stream = open_bare(server, tls).await?;
        for command in ["EHLO posthaste.example\r\n", "QUIT\r\n"] {
            stream.write_all(command.as_bytes()).await?;
            await_reply(&mut stream).await?;
        }
        stream.shutdown().await?;
        // As we do, so that the server does not count one too many.
        while stream.read(&mut [0; 64]).await? > 0 {}
    }
    Ok(begun.elapsed())
}
