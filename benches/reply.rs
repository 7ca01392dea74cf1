//! Reading replies: Posthaste beside the parsers of smtp-proto and lettre.
//!
//! Every parser gets one whole reply that is already in memory. Posthaste's framer is kept from one
//! reply to the next, as sessions keep it, and finds the end of the reply, its code and its
//! enhanced status code; smtp-proto and lettre also copy the text, which is their interface.
//! `extensions` is what each makes of a reply to EHLO, from its octets on; lettre keeps its reading
//! of it private.
//!
//! Targets: 15 ns for a single line, 150 ns for twelve, 200 ns for the extensions behind them.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use lettre::transport::smtp::response::Response;
use posthaste_reply::{Extensions, Framer, Limits};
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

fn replies(criterion: &mut Criterion) {
    for (name, reply) in REPLIES {
        let mut group = criterion.benchmark_group(name);
        group.bench_function("posthaste", |bencher| {
            let mut framer = Framer::new(Limits::default());
            bencher.iter(|| {
                let reply = framer.read(black_box(reply.as_bytes())).unwrap().unwrap();
                (reply.code(), reply.enhanced())
            });
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
        let mut framer = Framer::new(Limits::default());
        bencher
            .iter(|| Extensions::parse(framer.read(black_box(EHLO.as_bytes())).unwrap().unwrap()));
    });
    group.bench_function("smtp-proto", |bencher| {
        bencher.iter(|| EhloResponse::parse(&mut black_box(EHLO.as_bytes()).iter()).unwrap());
    });
}

criterion_group!(benches, replies, extensions);
criterion_main!(benches);
