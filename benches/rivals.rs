//! How fast mails go to Postfix's `smtp-sink`, beside others: `cargo bench -p benches --bench rivals`.
//!
//! The rivals take turns against one and the same server, several rounds, and the medians are printed; ratios
//! hold where absolute figures drift with the machine. Processor time is that of the sending side alone. *floor* is a bare loop
//! that sends ready-made octets and checks nothing: what any client in mode `cross` could reach.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use posthaste::scheduler::{PipeliningPolicy, SchedulerConfig};
use posthaste::session::Pipelining;
use posthaste::{Content, Envelope, ForwardPath, Mail, Mailbox, Mailer};
use posthaste_tests::{Missing, SmtpSink, smtp_source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONNECTIONS: usize = 20;
const SIZE: usize = 1024;
const MAILS: usize = 60_000;
const ROUNDS: usize = 5;

/// One turn of one rival.
#[derive(Clone, Copy)]
struct Turn {
    /// Mails a second.
    rate: f64,
    /// Microseconds of processor time a mail.
    cpu: f64,
}

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Err(missing) = runtime.block_on(async { tokio::spawn(run()).await.unwrap() }) {
        eprintln!("NOT RUN: {missing}");
    }
}

async fn run() -> Result<(), Missing> {
    let server = SmtpSink::default().start().await?;
    let mut turns: [Vec<Turn>; 4] = Default::default();
    for round in 0..=ROUNDS {
        let results = [
            measure(UsageWho::RUSAGE_SELF, floor(server.addr)).await,
            measure(UsageWho::RUSAGE_SELF, posthaste(server.addr, Pipelining::Cross)).await,
            measure(UsageWho::RUSAGE_SELF, posthaste(server.addr, Pipelining::Envelope)).await,
            measure(UsageWho::RUSAGE_CHILDREN, source(server.addr)).await,
        ];
        // The first round only warms up.
        if round > 0 {
            turns.iter_mut().zip(results).for_each(|(turns, turn)| turns.push(turn));
        }
    }
    let names = ["floor", "posthaste cross", "posthaste envelope", "smtp-source -d"];
    let medians = turns.map(|turns| Turn {
        rate: median(turns.iter().map(|turn| turn.rate)),
        cpu: median(turns.iter().map(|turn| turn.cpu)),
    });
    println!(
        "{MAILS} mails of {SIZE} octets over {CONNECTIONS} connections to smtp-sink, medians of {ROUNDS} rounds\n"
    );
    println!("| client | mails/s | CPU µs a mail | rate / smtp-source | CPU / smtp-source |");
    println!("|---|---:|---:|---:|---:|");
    let base = medians[3];
    for (name, Turn { rate, cpu }) in names.into_iter().zip(medians) {
        println!(
            "| {name} | {rate:.0} | {cpu:.1} | {:.2} | {:.2} |",
            rate / base.rate,
            cpu / base.cpu
        );
    }
    Ok(())
}

async fn measure(who: UsageWho, turn: impl Future<Output = ()>) -> Turn {
    let (cpu, started) = (cpu_time(who), Instant::now());
    turn.await;
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_time(who) - cpu);
    Turn { rate: MAILS as f64 / seconds, cpu: cpu.as_secs_f64() * 1e6 / MAILS as f64 }
}

fn cpu_time(who: UsageWho) -> Duration {
    let usage = getrusage(who).unwrap();
    let microseconds =
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(microseconds.try_into().unwrap())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn content(number: usize) -> Vec<u8> {
    let mut content = format!("Message-ID: <{number}@client.example>\r\n\r\n").into_bytes();
    while content.len() + 72 < SIZE {
        content.extend_from_slice(&[b'x'; 70]);
        content.extend_from_slice(b"\r\n");
    }
    content.extend(std::iter::repeat_n(b'x', SIZE - 2 - content.len()));
    content.extend_from_slice(b"\r\n");
    content
}

/// The engine, whole: scheduler, connections, sessions.
async fn posthaste(server: SocketAddr, mode: Pipelining) {
    let from: Mailbox = "sender@client.example".parse().unwrap();
    let to: ForwardPath = "recipient@mx.example".parse().unwrap();
    let mails = stream::iter((0..MAILS).map(move |number| {
        let envelope = Envelope::new(from.clone(), [to.clone()]).unwrap();
        Mail::new(envelope, Content::new(content(number)).unwrap())
    }));
    let scheduler =
        SchedulerConfig { intake: CONNECTIONS * 4 * SIZE, ..SchedulerConfig::default() };
    let mailer = Mailer::builder(&server.to_string()).unwrap().scheduler(scheduler);
    let mailer =
        mailer.max_connections(CONNECTIONS as u32).pipelining(PipeliningPolicy::Fixed(mode));
    let mailer = mailer.build().unwrap();
    let mut reports = mailer.send_all(mails);
    let mut delivered = 0;
    while let Some((_, report)) = reports.next().await {
        delivered += usize::from(report.is_delivered());
    }
    assert_eq!(delivered, MAILS);
    mailer.shutdown().await;
}

/// Postfix's own generator, keeping its connections.
async fn source(server: SocketAddr) {
    let status = tokio::task::spawn_blocking(move || {
        let mut command = smtp_source().unwrap();
        let (connections, size, mails) =
            (CONNECTIONS.to_string(), SIZE.to_string(), MAILS.to_string());
        command
            .args(["-d", "-s", &connections, "-l", &size, "-m", &mails])
            .arg(server.to_string())
            .status()
    });
    assert!(status.await.unwrap().unwrap().success());
}

async fn floor(server: SocketAddr) {
    let connections =
        (0..CONNECTIONS).map(|_| tokio::spawn(bare_loop(server, MAILS / CONNECTIONS)));
    for connection in connections.collect::<Vec<_>>() {
        connection.await.unwrap().unwrap();
    }
}

async fn bare_loop(server: SocketAddr, mails: usize) -> io::Result<()> {
    let envelope =
        b"MAIL FROM:<sender@client.example>\r\nRCPT TO:<recipient@mx.example>\r\nDATA\r\n";
    let flight: Vec<u8> = content(0).into_iter().chain(*b".\r\n").chain(*envelope).collect();
    let last = flight.len() - envelope.len();
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    await_lines(&mut stream, 1).await?;
    stream.write_all(b"EHLO client.example\r\n").await?;
    let mut buffer = [0; 4096];
    let _ = stream.read(&mut buffer).await?;
    stream.write_all(envelope).await?;
    await_lines(&mut stream, 3).await?;
    for mail in 1..=mails {
        let is_last = mail == mails;
        stream.write_all(if is_last { &flight[..last] } else { &flight }).await?;
        await_lines(&mut stream, if is_last { 1 } else { 4 }).await?;
    }
    stream.write_all(b"QUIT\r\n").await
}

async fn await_lines(stream: &mut TcpStream, mut lines: usize) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while lines > 0 {
        let octets = stream.read(&mut buffer).await?;
        if octets == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        lines =
            lines.saturating_sub(buffer[..octets].iter().filter(|&&octet| octet == b'\n').count());
    }
    Ok(())
}
