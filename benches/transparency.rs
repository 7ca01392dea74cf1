//! Contents: the check that each octet passes once, and the dots that are found meanwhile.
//!
//! *clean* is text without a dot at a line start, *dots* has one at the start of each line of the usual
//! length, and *all dots* is nothing but lines of one dot, the worst that there is. `memchr` is what
//! reading the same octets once costs, for a letter that is not there.
//!
//! Targets: 10 GB/s clean, 1 GB/s all dots.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use posthaste_session::Content;

fn contents(criterion: &mut Criterion) {
    for (size, name) in [(1 << 10, "1 KiB"), (64 << 10, "64 KiB"), (4 << 20, "4 MiB")] {
        let mut group = criterion.benchmark_group(name);
        for (what, line) in [("clean", LINE), ("dots", DOTTED), ("all dots", ".\r\n")] {
            let content = Bytes::from(line.repeat(size / line.len()));
            group.throughput(Throughput::Bytes(content.len() as u64));
            group.bench_function(what, |bencher| {
                bencher.iter(|| Content::new(black_box(content.clone())).unwrap());
            });
        }
        let content = LINE.repeat(size / LINE.len());
        group.throughput(Throughput::Bytes(content.len() as u64));
        group.bench_function("memchr", |bencher| {
            bencher.iter(|| memchr::memchr(b'~', black_box(content.as_bytes())));
        });
    }
}

const LINE: &str =
    "All work and no play makes Jack a dull boy, said the postman, and rang twice.\r\n";

const DOTTED: &str =
    ".ll work and no play makes Jack a dull boy, said the postman, and rang twice.\r\n";

criterion_group!(benches, contents);
criterion_main!(benches);
