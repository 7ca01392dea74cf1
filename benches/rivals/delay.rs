//! A line that takes its time: a proxy that hands on every octet half a round trip after it came.
//!
//! It delays and does not slow down: what came together leaves together, nothing looks at an octet,
//! and how much may be under way is bounded by [`CHUNKS`] alone. To the server its segments are those of a long
//! line, too: by their size Postfix decides how much it reads before it answers. It runs in a process of its own, and
//! is [measured](Line::measure) before anything is measured through it.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpMaxSeg;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::AsyncWriteExt as _;
use tokio::io::unix::AsyncFd;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream as Stream};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use benches::helper::Helper;

/// A proxy before a server.
#[derive(Debug)]
pub(crate) struct Line {
    helper: Helper,
}

/// What a line does to those who use it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measurement {
    /// Median of the round trips of one octet.
    pub(crate) round_trip: Duration,
    /// Octets a second, one way.
    pub(crate) rate: f64,
}

impl Line {
    /// Starts one.
    pub(crate) fn start(server: SocketAddr, round_trip: Duration) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["delay", &server.to_string(), &round_trip.as_micros().to_string()]);
        Self { helper: Helper::start(command) }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.helper.addr()
    }

    /// Measures a line of that round trip, and checks that it is what it should be.
    ///
    /// # Errors
    ///
    /// When it is off by more than [`TOLERANCE`], or slower than [`RATE_MIN`].
    pub(crate) fn measure(round_trip: Duration) -> Result<Measurement, String> {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let line = Self::start(server.local_addr().unwrap(), round_trip);
        let peer = thread::spawn(move || answer(server.accept().unwrap().0).unwrap());
        let mut client = TcpStream::connect(line.addr()).unwrap();
        client.set_nodelay(true).unwrap();
        let mut round_trips: Vec<_> = (0..PINGS).map(|_| ping(&mut client)).collect();
        round_trips.sort();
        let start = Instant::now();
        let chunk = vec![b'x'; CHUNK];
        for _ in 0..VOLUME / CHUNK {
            client.write_all(&chunk).unwrap();
        }
        client.read_exact(&mut [0]).unwrap();
        let elapsed = start.elapsed().saturating_sub(round_trip);
        drop(client);
        peer.join().unwrap();
        let median = round_trips[PINGS / 2];
        let rate = VOLUME as f64 / elapsed.as_secs_f64();
        if median.abs_diff(round_trip) > TOLERANCE {
            return Err(format!("a line of {round_trip:?} takes {median:?}"));
        }
        if rate < RATE_MIN {
            return Err(format!("a line of {round_trip:?} moves {:.0} MB/s only", rate / 1e6));
        }
        Ok(Measurement { round_trip: median, rate })
    }
}

fn ping(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    stream.write_all(&[0]).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    start.elapsed()
}

/// Gives each ping back, then takes the volume, and says when it is there.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; CHUNK];
    for _ in 0..PINGS {
        stream.read_exact(&mut buffer[..1])?;
        stream.write_all(&buffer[..1])?;
    }
    let mut missing = VOLUME / CHUNK * CHUNK;
    while missing > 0 {
        missing -= stream.read(&mut buffer)?;
    }
    stream.write_all(&[0])
}

/// Is such a line: listens, says where, and serves until standard input ends.
pub(crate) fn serve(server: SocketAddr, round_trip: Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = socket.listen(BACKLOG).unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(join(client, server, round_trip));
            }
        });
        Helper::serve_until_told(addr).await;
    });
}

async fn join(client: Stream, server: SocketAddr, round_trip: Duration) {
    let socket = TcpSocket::new_v4().unwrap();
    setsockopt(&socket, TcpMaxSeg, &SEGMENT).unwrap();
    let Ok(server) = socket.connect(server).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let delay = round_trip / 2;
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    for (from, to) in [(from_client, to_server), (from_server, to_client)] {
        let (sender, receiver) = channel(CHUNKS);
        tokio::spawn(take(from, sender, delay));
        tokio::spawn(hand_on(receiver, to));
    }
}

/// Octets, and when they are due.
type Chunk = (Instant, Vec<u8>);

async fn take(from: OwnedReadHalf, chunks: Sender<Chunk>, delay: Duration) {
    while from.readable().await.is_ok() {
        let mut chunk = Vec::with_capacity(CHUNK);
        match from.try_read_buf(&mut chunk) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        }
        // A command is not worth the room of a chunk.
        if chunk.len() < CHUNK / 16 {
            chunk.shrink_to_fit();
        }
        if chunks.send((Instant::now() + delay, chunk)).await.is_err() {
            return;
        }
    }
}

async fn hand_on(mut chunks: Receiver<Chunk>, mut to: OwnedWriteHalf) {
    let timer = Timer::new();
    while let Some((due, chunk)) = chunks.recv().await {
        timer.sleep_until(due).await;
        if to.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

/// Octets of a segment on every line that is no loopback.
const SEGMENT: u32 = 1448;

/// Octets in one read.
const CHUNK: usize = 64 << 10;

/// Chunks under way in one direction: 64 MiB, of which 1 GB/s needs 25 MiB at 25 ms.
const CHUNKS: usize = 1024;

/// A timer of the kernel's: those of the runtime go by whole milliseconds, and are late by up to
/// one.
struct Timer(AsyncFd<Descriptor>);

impl Timer {
    #[expect(deprecated, reason = "what replaces AsyncFd::new is unsafe")]
    fn new() -> Self {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK).unwrap();
        Self(AsyncFd::new(Descriptor(timer)).unwrap())
    }

    async fn sleep_until(&self, due: Instant) {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let left = Expiration::OneShot(TimeSpec::from_duration(left));
        self.0.get_ref().0.set(left, TimerSetTimeFlags::empty()).unwrap();
        self.0.readable().await.unwrap().clear_ready();
    }
}

struct Descriptor(TimerFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// All connections at once.
const BACKLOG: u32 = 4096;

/// What a line may differ from what it should be.
const TOLERANCE: Duration = Duration::from_millis(1);

/// What it must move, in octets a second: ten times what any client sends through it.
const RATE_MIN: f64 = 250e6;

const PINGS: usize = 21;

/// Octets sent through it to measure its rate.
const VOLUME: usize = 256 << 20;
