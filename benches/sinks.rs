//! What a test server can take: `cargo bench -p benches --bench sinks`, with the number of mails and
//! that of the threads that send as arguments, if others are wanted.
//!
//! A bare client sends to our sink in a process of its own, as it is and with everything counted
//! that `--stats` counts, and to Postfix's `smtp-sink`, which has one thread and no BDAT. Processor
//! time is that of the server, kernel included; by DATA nearly all of it is one read and one write
//! a mail.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use benches::bare::{Load, Way};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use posthaste_sink::SinkOptions;
use posthaste_tests::SmtpSink;
use tokio::runtime::Runtime;

/// A server under load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rival {
    Ours,
    OursCounted,
    SmtpSink,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |index: usize| arguments.get(index).and_then(|text| text.parse().ok());
    match arguments[..] {
        // `cargo test --benches` only wants to know that it starts.
        ["--test", ..] => {}
        ["serve", duplicates] => serve(duplicates),
        _ => compare(number(0).unwrap_or(1_000_000), number(1).unwrap_or(1)),
    }
}

fn compare(mails: usize, threads: usize) {
    println!(
        "{mails} mails of 1 KiB (by DATA a tenth) from {threads} thread(s), best of {ROUNDS} rounds\n"
    );
    println!("| way | connections | server | mails/s | CPU µs a mail |");
    println!("|---|---:|---|---:|---:|");
    for way in [Way::Bdat, Way::Data] {
        for connections in [1, 4, 20] {
            for rival in [Rival::Ours, Rival::OursCounted, Rival::SmtpSink] {
                // smtp-sink knows no BDAT.
                if rival == Rival::SmtpSink && way == Way::Bdat {
                    continue;
                }
                let mails = if way == Way::Data { mails / SLOWER } else { mails };
                let load = Load { way, mails, flight: FLIGHT, connections, size: 1024 };
                let turns = (0..ROUNDS).filter_map(|_| rival.take(load, threads.min(connections)));
                let best = turns.min_by_key(|(elapsed, _)| *elapsed);
                let Some((elapsed, cpu)) = best else { continue };
                let rate = mails as f64 / elapsed.as_secs_f64();
                let cpu = cpu.as_secs_f64() * 1e6 / mails as f64;
                println!("| {way:?} | {connections} | {rival:?} | {rate:.0} | {cpu:.2} |");
            }
        }
    }
}

impl Rival {
    /// Takes a load; returns how long that took, and the processor time of the server, its start
    /// and end included. `None` if it is not on this machine.
    fn take(self, load: Load, threads: usize) -> Option<(Duration, Duration)> {
        let before = children_time();
        let send = |server| load.send_from(threads, server).unwrap();
        let elapsed = match self {
            Self::Ours => Ours::start("false").take(send),
            Self::OursCounted => Ours::start("true").take(send),
            Self::SmtpSink => {
                let runtime = Runtime::new().unwrap();
                let server = runtime.block_on(SmtpSink::default().start()).ok()?;
                send(server.addr)
            }
        };
        Some((elapsed, children_time() - before))
    }
}

/// Our sink in a process of its own.
struct Ours {
    process: Child,
    server: SocketAddr,
}

impl Ours {
    fn start(duplicates: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["serve", duplicates]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { process, server: line.trim_end().parse().unwrap() }
    }

    fn take(mut self, send: impl FnOnce(SocketAddr) -> Duration) -> Duration {
        let elapsed = send(self.server);
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
        elapsed
    }
}

/// Serves until standard input ends.
fn serve(duplicates: &str) {
    Runtime::new().unwrap().block_on(async {
        let mut options = SinkOptions::default();
        options.set("duplicates", duplicates).unwrap();
        let sink = options.start().await.unwrap();
        println!("{}", sink.addr());
        let end = || io::stdin().read(&mut [0]);
        tokio::task::spawn_blocking(end).await.unwrap().unwrap();
        let stats = sink.shutdown().await;
        assert_eq!((stats.duplicates, stats.violations.len()), (0, 0), "{stats:#?}");
    });
}

/// The processor time of the processes that have ended.
fn children_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(micros.unsigned_abs())
}

/// Mails in one write by BDAT.
const FLIGHT: usize = 32;

/// By DATA, how many mails fewer: each takes system calls of its own.
const SLOWER: usize = 10;

const ROUNDS: usize = 3;
