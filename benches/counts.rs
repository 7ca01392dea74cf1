//! What a mail costs the client, counted: allocations, system calls and instructions, through the
//! whole engine: `cargo bench -p benches --bench counts`, with modes as arguments if not all of
//! them are wanted.
//!
//! Counts are the same whatever else the machine does, but for how much happens to be done in one
//! go. Each is the difference of two runs, one with more mails than the other, so that setting up
//! does not count. Mails are of 1 KiB, over four connections to our sink. What the bench itself adds
//! is the making of each content: an allocation, and its copy.

use std::alloc::System;
use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use benches::engine;
use benches::helper::Helper;
use benches::load::Load;
use posthaste::session::Pipelining;
use posthaste_sink::SinkOptions;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How something is counted.
#[derive(Debug, Clone, Copy)]
enum Counter {
    Allocations,
    SystemCalls,
    Instructions,
}

/// What is counted, by name.
type Counts = BTreeMap<String, f64>;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        // `cargo test --benches` only wants to know that it starts.
        ["--test", ..] => {}
        ["client", mode, ref load @ ..] => send(mode, Load::parse(load)),
        ["sink"] => serve(),
        [] => count(&["envelope", "cross", "stream"]),
        ref modes => count(modes),
    }
}

fn count(modes: &[&str]) {
    println!("A mail of {SIZE} octets, {CONNECTIONS} connections, our sink.");
    for &mode in modes {
        println!("\n{mode}");
        for counter in [Counter::Allocations, Counter::SystemCalls, Counter::Instructions] {
            match counter.count(mode) {
                Ok(counts) => print(counts),
                Err(missing) => println!("  NOT RUN: {missing}"),
            }
        }
    }
}

fn print(counts: Counts) {
    let mut counts: Vec<_> = counts.into_iter().filter(|(_, count)| *count >= LEAST).collect();
    counts.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    for (what, count) in counts {
        println!("  {count:>12.3}  {what}");
    }
}

impl Counter {
    /// Counts a mail's share.
    fn count(self, mode: &str) -> Result<Counts, String> {
        let [fewer, more] = self.mails();
        let (mut counts, before) = (self.run(mode, more)?, self.run(mode, fewer)?);
        for (what, count) in &mut counts {
            *count = (*count - before.get(what).unwrap_or(&0.0)) / (more - fewer) as f64;
        }
        Ok(counts)
    }

    /// Counts a run.
    fn run(self, mode: &str, mails: usize) -> Result<Counts, String> {
        let program = std::env::current_exe().unwrap();
        let mut sink = Command::new(&program);
        sink.arg("sink");
        let sink = Helper::start(sink);
        let load =
            Load { server: sink.addr(), mails, connections: CONNECTIONS, size: SIZE, run: 1 };
        let mut command = match self {
            Self::Allocations => Command::new(&program),
            Self::SystemCalls => {
                let mut command = Command::new("strace");
                command.args(["-c", "-f", "-S", "calls"]).arg(&program);
                command
            }
            Self::Instructions => {
                let mut command = Command::new("valgrind");
                command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(&program);
                command
            }
        };
        command.args(["client", mode]).args(load.arguments()).stdin(Stdio::null());
        let output = command.output().map_err(|error| {
            format!("{self:?}: {}: {error}", command.get_program().to_string_lossy())
        })?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            return Err(format!("{self:?}: {errors}"));
        }
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(self.parse(&printed, &errors))
    }

    /// Reads what a tool says: our own client on standard output, others on standard error.
    fn parse(self, printed: &str, errors: &str) -> Counts {
        let lines = match self {
            Self::Allocations => printed.lines(),
            Self::SystemCalls | Self::Instructions => errors.lines(),
        };
        let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
        let count = |words: Vec<&str>| {
            let (count, what) = match (self, &words[..]) {
                (Self::Allocations, [count, what]) => (count, (*what).to_owned()),
                // % time, seconds, usecs/call, calls, perhaps errors, syscall.
                (Self::SystemCalls, [_, _, _, calls, .., what]) => (calls, (*what).to_owned()),
                (Self::Instructions, [_, "Collected", ":", count]) => {
                    (count, "instructions".to_owned())
                }
                _ => return None,
            };
            Some((what, count.parse().ok()?))
        };
        words.filter_map(count).collect()
    }

    /// Mails of the two runs.
    fn mails(self) -> [usize; 2] {
        match self {
            Self::Allocations | Self::SystemCalls => [20_000, 120_000],
            Self::Instructions => [2_000, 22_000],
        }
    }
}

fn send(mode: &str, load: Load) {
    let mode = match mode {
        "off" => Pipelining::Off,
        "envelope" => Pipelining::Envelope,
        "cross" => Pipelining::Cross,
        "stream" => Pipelining::Stream,
        _ => panic!("expected a mode of pipelining, got {mode:?}"),
    };
    Runtime::new().unwrap().block_on(engine::send(load, mode));
    let stats = ALLOCATOR.stats();
    println!("{} allocations", stats.allocations);
    println!("{} reallocations", stats.reallocations);
    println!("{} octets-allocated", stats.bytes_allocated);
}

fn serve() {
    Runtime::new().unwrap().block_on(async {
        let sink = SinkOptions::default().start().await.unwrap();
        Helper::serve_until_told(sink.addr()).await;
    });
}

const CONNECTIONS: usize = 4;

/// Octets of a content.
const SIZE: usize = 1024;

/// What happens less often than that in a mail is not worth a line.
const LEAST: f64 = 0.005;
