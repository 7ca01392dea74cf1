//! Those that take the mails, and what they say became of them.

use std::collections::HashSet;
use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

use benches::bare;
use posthaste_sink::{MessageIds, SinkOptions};
use posthaste_tests::{Delivery, Postfix, Server, SmtpSink};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::rival::{Offer, Rival};
use benches::helper::Helper;
use benches::load::Load;

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Postfix's `smtp-sink`: throws everything away, and counts.
    SmtpSink,
    /// Our sink.
    Sink,
    /// A whole Postfix, which discards what it has queued.
    Postfix,
}

/// A server that runs.
#[derive(Debug)]
pub(crate) enum Running {
    /// One for each run.
    SmtpSink(Server),
    /// One for each run.
    Sink(Helper),
    /// One for all runs, which are told apart in its log.
    Postfix {
        /// It.
        server: Server,
        /// Mails that it has taken.
        mails: usize,
    },
}

impl Kind {
    /// What it offers beyond what every client needs.
    pub(crate) fn offer(self) -> Offer {
        match self {
            Self::SmtpSink => Offer::Pipelining,
            Self::Sink | Self::Postfix => Offer::Chunking,
        }
    }

    /// Starts it for so many mails.
    ///
    /// # Errors
    ///
    /// What is missing on this machine.
    pub(crate) fn start(self, mails: usize) -> Result<Running, String> {
        let missing = |missing: posthaste_tests::Missing| missing.to_string();
        match self {
            Self::SmtpSink => {
                // It ends with the mail behind the last, which is how it says what it counted.
                let count = (mails + 1).to_string();
                let options = ["-m", SESSIONS_MAX, "-M", &count].map(str::to_owned).to_vec();
                let sink = runtime().block_on(SmtpSink { options }.start()).map_err(missing)?;
                Ok(Running::SmtpSink(sink))
            }
            Self::Sink => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.arg("sink");
                Ok(Running::Sink(Helper::start(command)))
            }
            Self::Postfix => {
                let postfix = Postfix { delivery: Delivery::Discard, ..Postfix::default() };
                let server = runtime().block_on(postfix.start()).map_err(missing)?;
                Ok(Running::Postfix { server, mails: 0 })
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SmtpSink => "smtp-sink",
            Self::Sink => "posthaste sink",
            Self::Postfix => "Postfix",
        })
    }
}

impl Running {
    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        match self {
            Self::SmtpSink(server) | Self::Postfix { server, .. } => server.addr,
            Self::Sink(helper) => helper.addr(),
        }
    }

    /// Checks that a load came, as a whole, once, and in order; returns the server if it can take
    /// another.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub(crate) fn check(self, rival: Rival, load: &Load) -> Result<Option<Self>, String> {
        match self {
            Self::SmtpSink(server) => check_count(&server).map(|()| None),
            Self::Sink(helper) => check_stats(&helper.end(), rival, load).map(|()| None),
            Self::Postfix { server, mails } => {
                let mails = mails + load.mails;
                check_log(&server, mails, rival, load)?;
                Ok(Some(Self::Postfix { server, mails }))
            }
        }
    }
}

/// smtp-sink was told to end with one mail more than there should be: it must still run, and end
/// with that mail.
fn check_count(server: &Server) -> Result<(), String> {
    if TcpStream::connect(server.addr).is_err() {
        return Err("smtp-sink got more mails than were sent".to_owned());
    }
    let last = bare::Load { way: bare::Way::Data, mails: 1, flight: 1, connections: 1, size: 1024 };
    // It may end without a reply.
    let _ = last.send(server.addr);
    let start = Instant::now();
    while TcpStream::connect(server.addr).is_ok() {
        if start.elapsed() > PATIENCE {
            return Err("smtp-sink got fewer mails than were reported as delivered".to_owned());
        }
        thread::sleep(POLL);
    }
    Ok(())
}

fn check_stats(stats: &str, rival: Rival, load: &Load) -> Result<(), String> {
    let stats: Value = serde_json::from_str(stats).map_err(|error| error.to_string())?;
    let ids = &stats["message_ids"];
    let mut expected = vec![
        ("mails", &stats["mails"], json!(load.mails)),
        ("duplicates", &stats["duplicates"], json!(0)),
        ("mails not checked for duplicates", &ids["unchecked"], json!(0)),
    ];
    if rival.is_numbered() {
        let digest = format!("{:016x}", MessageIds::digest_of(load.message_ids()));
        expected.push(("digest of the Message-IDs", &ids["digest"], json!(digest)));
    }
    if rival.is_in_order() {
        expected.push(("mails out of order", &ids["out_of_order"], json!(0)));
    }
    if rival.is_posthaste() {
        expected.push(("violations", &stats["violations"], json!({})));
    }
    for (what, got, expected) in expected {
        if *got != expected {
            return Err(format!("{what}: the sink says {got}, not {expected}"));
        }
    }
    Ok(())
}

/// Postfix logs each Message-ID when it has the whole mail, and each mail when it is done with it.
/// By then there must be so many mails of all runs, and those of this one.
fn check_log(server: &Server, mails: usize, rival: Rival, load: &Load) -> Result<(), String> {
    let start = Instant::now();
    let mut log = server.log();
    while log.matches(REMOVED).count() < mails && start.elapsed() < PATIENCE {
        thread::sleep(POLL);
        log = server.log();
    }
    let got = [MESSAGE_ID, REMOVED].map(|text| log.matches(text).count());
    if got != [mails, mails] {
        let [got, done] = got;
        return Err(format!("Postfix got {got} mails, and is done with {done}, of {mails}"));
    }
    if !rival.is_numbered() {
        return Ok(());
    }
    let run = format!("{MESSAGE_ID}{}.", load.run);
    let mut numbers =
        log.split(&run).skip(1).filter_map(|rest| rest.split('@').next()?.parse().ok());
    let numbers: Vec<usize> = numbers.by_ref().collect();
    let distinct: HashSet<_> = numbers.iter().collect();
    if numbers.len() != load.mails || distinct.len() != load.mails {
        let (all, distinct) = (numbers.len(), distinct.len());
        return Err(format!("Postfix got {all} mails, {distinct} distinct, of {}", load.mails));
    }
    if load.connections == 1 && rival.is_in_order() && !numbers.is_sorted() {
        return Err("Postfix got the mails in another order".to_owned());
    }
    Ok(())
}

/// Is our sink: listens, says where, serves until standard input ends, and says what it counted. Half
/// of the cores are the client's: threads beyond the others only hand connections to each other.
pub(crate) fn serve_sink() {
    let threads = available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
    let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut options = SinkOptions::default();
        options.set("duplicates", "true").unwrap();
        let sink = options.start().await.unwrap();
        Helper::serve_until_told(sink.addr()).await;
        println!("{}", serde_json::to_string(&sink.shutdown().await).unwrap());
    });
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// What Postfix logs of a mail that it has, up to the Message-ID.
const MESSAGE_ID: &str = "message-id=<";

/// What Postfix logs of a mail that it is done with.
const REMOVED: &str = ": removed";

/// How long a server may take to say what it has.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sessions that smtp-sink has at a time; it stops at 256 unless told otherwise.
const SESSIONS_MAX: &str = "20000";

const POLL: Duration = Duration::from_millis(20);
