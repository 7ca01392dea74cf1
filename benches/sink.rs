//! The sink's session alone: octets that are in memory already, replies that nobody reads. What is
//! left is what the sink itself costs a mail of 1 KiB, without the kernel, with all that it looks at
//! by default; `counted` adds what `--stats` adds.
//!
//! Targets: 350 ns a mail by BDAT, 350 ns by DATA, and 100 ns for the statistics.

use std::time::{Duration, Instant};

use benches::bare::{Flights, Load, Way};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use posthaste_sink::{Config, Server, Session};

fn session(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sink's session alone");
    for (name, way, flight) in [("bdat", Way::Bdat, 32), ("data", Way::Data, 1)] {
        for (what, count_duplicates) in [("", false), (" counted", true)] {
            group.throughput(Throughput::Elements(flight as u64));
            group.bench_function(format!("{name}{what}"), |bencher| {
                let config = Config { count_duplicates, ..Config::default() };
                bencher.iter_custom(|flights| feed(&config, way, flight, flights));
            });
        }
    }
}

/// How long a new session takes for so many flights.
fn feed(config: &Config, way: Way, flight: usize, flights: u64) -> Duration {
    let now = Instant::now();
    let load = Load { way, mails: 0, flight, connections: 1, size: 1024 };
    let mut input = Flights::new(load, 0);
    let server = Server::new(config.clone(), now).unwrap();
    let mut session = Session::new(server.clone(), now);
    session.transmitted(session.output().len());
    for command in input.opening() {
        session.handle_input(now, command.as_bytes());
        session.transmitted(session.output().len());
    }
    let start = Instant::now();
    for _ in 0..flights {
        session.handle_input(now, input.fill_next());
        session.transmitted(session.output().len());
    }
    let elapsed = start.elapsed();
    assert_eq!(server.stats().mails, flights * flight as u64);
    elapsed
}

criterion_group!(benches, session);
criterion_main!(benches);
