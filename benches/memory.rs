//! What is held in memory: `cargo bench -p benches --bench memory`.
//!
//! *A connection*: ten thousand of them, open and idle through the whole engine, plain and with TLS.
//! *A queued mail*: a million, each with a forward-path of its own and all with one content, for a
//! server that is not there. The heap is what is allocated and not freed, exactly; the resident set is what the kernel counts, and includes what the allocator keeps for later. What is in
//! the kernel's buffers is in neither.
//!
//! Targets: 4 KiB a plain connection, 25 KiB one with TLS, 200 octets a queued mail.

use std::alloc::System;
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use benches::helper::Helper;
use benches::load::{FROM, TO};
use futures_util::{StreamExt, stream};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use posthaste::connection::{TlsSettings, Verification};
use posthaste::scheduler::{Exhausted, PipeliningPolicy, SchedulerConfig};
use posthaste::session::{Pipelining, TlsPolicy};
use posthaste::{Content, Envelope, ForwardPath, Mail, Mailbox, Mailer, MailerBuilder};
use posthaste_sink::{Identity, SinkOptions};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Octets in use.
#[derive(Debug, Clone, Copy)]
struct Memory {
    heap: usize,
    resident: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        // `cargo test --benches` only wants to know that it starts.
        ["--test", ..] => {}
        ["sink", tls] => Runtime::new().unwrap().block_on(serve(tls == "tls")),
        ["connections", tls] => Runtime::new().unwrap().block_on(connections(tls == "tls")),
        ["mails"] => Runtime::new().unwrap().block_on(mails()),
        // Each in a process of its own, so that none begins with what another left behind.
        _ => {
            raise_limit();
            for what in [&["connections", "plain"][..], &["connections", "tls"], &["mails"]] {
                let status = Command::new(std::env::current_exe().unwrap()).args(what).status();
                assert!(status.unwrap().success(), "{what:?} failed");
            }
        }
    }
}

/// Opens all connections by giving each a mail that takes long, and lets them idle.
async fn connections(tls: bool) {
    let mut sink = Command::new(std::env::current_exe().unwrap());
    sink.args(["sink", if tls { "tls" } else { "plain" }]);
    let sink = Helper::start(sink);
    let mailer = mailer(sink.addr())
        .tls(if tls { TlsPolicy::Require } else { TlsPolicy::Off })
        .build()
        .unwrap();
    // One mail first, so that what is made once does not count.
    send(&mailer, 1).await;
    let before = Memory::now();
    let start = Instant::now();
    // Each takes two at a time, and so what is submitted needs more connections than there are.
    while open(&mailer) < CONNECTIONS {
        assert!(start.elapsed() < PATIENCE, "only {} connections are open", open(&mailer));
        send(&mailer, 3 * CONNECTIONS).await;
    }
    let opened = Memory::now();
    let count = open(&mailer);
    // What they have in common, such as the books of all those mails, stays when they are gone.
    drop(sink);
    while open(&mailer) > 0 {
        assert!(start.elapsed() < PATIENCE, "{} connections do not close", open(&mailer));
        sleep(POLL).await;
    }
    let heap = opened.heap - Memory::now().heap;
    let resident = opened.resident - before.resident;
    print(if tls { "connection with TLS" } else { "plain connection" }, heap, resident, count);
    // Mails that nobody gets any more are not what is measured.
    std::process::exit(0);
}

/// Submits a million mails that nobody takes.
async fn mails() {
    // Nobody listens where somebody did a moment ago.
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mailer = mailer(nobody).exhausted(Exhausted::Wait).build().unwrap();
    let content = Content::new("Subject: memory\r\n\r\nOne for all.\r\n").unwrap();
    let before = Memory::now();
    let submitted = Cell::new(0);
    let mails = stream::iter((0..MAILS).inspect(|_| submitted.set(submitted.get() + 1)));
    let mut reports = mailer.send_all(mails.map(|number| mail(number, &content)));
    let start = Instant::now();
    while submitted.get() < MAILS {
        assert!(start.elapsed() < PATIENCE, "only {} mails are queued", submitted.get());
        // It submits what there is before it waits for a report, which does not come.
        assert!(timeout(POLL, reports.next()).await.is_err());
    }
    let after = Memory::now();
    print("queued mail", after.heap - before.heap, after.resident - before.resident, MAILS);
    std::process::exit(0);
}

fn mailer(server: SocketAddr) -> MailerBuilder {
    let connections = u32::try_from(CONNECTIONS).unwrap();
    // No queue is full before all is queued: a mail counts with 1 KiB at least.
    let scheduler = SchedulerConfig { intake: MAILS * 2048, ..SchedulerConfig::default() };
    let settings = TlsSettings { verification: Verification::Optional, ..TlsSettings::default() };
    Mailer::builder(&server.to_string())
        .unwrap()
        .scheduler(scheduler)
        .tls_settings(settings)
        .max_connections(connections)
        .pipelining(PipeliningPolicy::Fixed(Pipelining::Cross))
        .unyielding()
        .idle(PATIENCE)
}

fn mail(number: usize, content: &Content) -> Mail {
    let from: Mailbox = FROM.parse().unwrap();
    let to: ForwardPath = format!("{number}.{TO}").parse().unwrap();
    Mail::new(Envelope::new(from, [to]).unwrap(), content.clone())
}

async fn send(mailer: &Mailer, count: usize) {
    let content = Content::new("Subject: memory\r\n\r\nHello!\r\n").unwrap();
    let mails = (0..count).map(|number| mail(number, &content));
    let mut reports = mailer.send_all(stream::iter(mails));
    while let Some((_, report)) = reports.next().await {
        assert!(report.is_delivered(), "{report:?}");
    }
}

fn open(mailer: &Mailer) -> usize {
    mailer.servers().iter().map(|server| server.status.established as usize).sum()
}

/// Our sink, which takes its time over each mail, so that the next one needs another connection.
async fn serve(tls: bool) {
    let mut options = SinkOptions::default();
    options.set("fault", "at=final delay=3s").unwrap();
    if tls {
        options = options.tls(Identity::SelfSigned("localhost".to_owned()));
    }
    let sink = options.start().await.unwrap();
    Helper::serve_until_told(sink.addr()).await;
}

impl Memory {
    fn now() -> Self {
        let stats = ALLOCATOR.stats();
        Self { heap: stats.bytes_allocated - stats.bytes_deallocated, resident: resident() }
    }
}

/// Prints one's share.
fn print(name: &str, heap: usize, resident: usize, count: usize) {
    let (heap, resident) = (heap / count, resident / count);
    println!("{name}: {heap} octets of heap, {resident} resident ({count} of them)");
}

/// Octets that the kernel counts as resident.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
}

fn raise_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

const CONNECTIONS: usize = 10_000;

const MAILS: usize = 1_000_000;

/// How long it may take until all connections are open; they idle for as long.
const PATIENCE: Duration = Duration::from_secs(120);

const POLL: Duration = Duration::from_millis(100);
