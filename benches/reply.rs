//! Reading replies: Posthaste beside the parsers of smtp-proto and lettre.
//!
//! Every parser gets one whole reply that is already in memory. Posthaste frames and parses it,
//! including the enhanced status code; smtp-proto and lettre also copy the text, which is their
//! interface. The extensions are what each makes of a reply to EHLO; lettre keeps its reading of
//! it private.
//!
//! Targets: 15 ns for a single line, 150 ns for 12 lines, 200 ns for the extensions.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use lettre::transport::smtp::response::Response;
use posthaste_reply::{Extensions, Framer, Limits, Reply};
use smtp_proto::EhloResponse;
use smtp_proto::response::parser::ResponseReceiver;

const REPLIES: [(&str, &str); 3] = [
    ("short", "250 2.1.0 Ok\r\n"),
    ("queued", "250 2.0.0 Ok: 10123 bytes queued as 4XyZ123AbCzQ7\r\n"),
    ("ehlo", EHLO),
];

/// Twelve lines, as Postfix with SASL sends them.
const EHLO: &str = "250-mx1.example.org\r\n\
    250-PIPELINING\r\n\
    250-SIZE 10240000\r\n\
    250-VRFY\r\n\
    250-ETRN\r\n\
    250-STARTTLS\r\n\
    250-AUTH PLAIN LOGIN\r\n\
    250-ENHANCEDSTATUSCODES\r\n\
    250-8BITMIME\r\n\
    250-DSN\r\n\
    250-SMTPUTF8\r\n\
    250 CHUNKING\r\n";

fn read(bytes: &[u8]) -> Reply<'_> {
    let length = Framer::new(Limits::default()).frame(bytes).unwrap().unwrap();
    Reply::parse(&bytes[..length]).unwrap()
}

fn replies(criterion: &mut Criterion) {
    for (name, reply) in REPLIES {
        let mut group = criterion.benchmark_group(name);
        group.bench_function("posthaste", |bencher| {
            bencher.iter(|| read(black_box(reply.as_bytes())));
        });
        group.bench_function("smtp-proto", |bencher| {
            bencher.iter(|| {
                let mut octets = black_box(reply.as_bytes()).iter();
                ResponseReceiver::default().parse(&mut octets).unwrap()
            });
        });
        group.bench_function("lettre", |bencher| {
            bencher.iter(|| black_box(reply).parse::<Response>().unwrap());
        });
    }
}

fn extensions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("extensions");
    group.bench_function("posthaste", |bencher| {
        let reply = read(EHLO.as_bytes());
        bencher.iter(|| Extensions::parse(black_box(reply)));
    });
    group.bench_function("smtp-proto", |bencher| {
        bencher.iter(|| EhloResponse::parse(&mut black_box(EHLO.as_bytes()).iter()).unwrap());
    });
}

criterion_group!(benches, replies, extensions);
criterion_main!(benches);
