//! `posthaste sink`: a test server.

mod faults;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use clap::Args;
use posthaste_sink::units::parse_count;
use posthaste_sink::{Sink, SinkOptions, Stats};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use crate::exit::Exit;
use crate::summary::tell;

/// Stands in for a mail server: takes mail fast, and goes wrong where told to.
#[derive(Args, Debug)]
pub(crate) struct SinkArgs {
    /// Where to listen; port 0 takes a free port and prints it; unix:/PATH is a Unix socket
    #[arg(value_name = "ADDR", default_value = "127.0.0.1:2525")]
    addr: String,

    /// What is kept: none, count, maildir:DIR, mbox:FILE or jsonl:FILE
    #[arg(long, value_name = "WHAT")]
    store: Option<String>,
    /// The largest content, offered as SIZE and answered 552 beyond it
    #[arg(long, value_name = "SIZE")]
    max_size: Option<String>,

    /// Offer TLS with a certificate made for this name
    #[arg(long, value_name = "NAME", conflicts_with = "cert")]
    tls_self_signed: Option<String>,
    /// Write the authority behind that certificate to a file, for clients to trust
    #[arg(long, value_name = "FILE")]
    ca_out: Option<PathBuf>,
    /// Offer TLS with this certificate chain (PEM)
    #[arg(long, value_name = "FILE")]
    cert: Option<String>,
    /// The private key of the certificate (PEM), if not in the same file
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<String>,
    /// TLS from the first octet, without STARTTLS
    #[arg(long)]
    implicit_tls: bool,
    /// Refuse mail before STARTTLS
    #[arg(long, conflicts_with = "implicit_tls")]
    require_tls: bool,

    /// Change what EHLO offers: '+CHUNKING,-PIPELINING,SIZE=10m,AUTH=PLAIN'
    #[arg(long, value_name = "CHANGES", allow_hyphen_values = true)]
    ehlo: Option<String>,
    /// The server's own name
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Speak LMTP: LHLO, and a final reply for each recipient
    #[arg(long)]
    lmtp: bool,
    /// Someone who may authenticate; AUTH is then required before MAIL (repeatable)
    #[arg(long, value_name = "NAME:PASSWORD")]
    user: Vec<String>,

    /// Add a round trip of latency, as on a long link
    #[arg(long, value_name = "TIME")]
    rtt: Option<String>,
    /// Mails over time; MAIL beyond it is answered 450
    #[arg(long, value_name = "N/s")]
    capacity: Option<String>,
    /// Connections open at once; one more is greeted 421
    #[arg(long, value_name = "N")]
    max_conns: Option<String>,
    /// Mails on a connection; one more is answered 421
    #[arg(long, value_name = "N")]
    max_per_conn: Option<String>,
    /// Recipients of a mail; one more is answered 452
    #[arg(long, value_name = "N")]
    max_rcpts: Option<String>,
    /// Answer a new pair of sender and recipient 450 for this long
    #[arg(long, value_name = "TIME")]
    greylist: Option<String>,
    /// Commands behind the end of content: answer, or reject503 as Haraka does
    #[arg(long, value_name = "HOW")]
    pipelining_after_content: Option<String>,
    /// Clients that speak out of turn: ignore, or reject554 as Postfix does
    #[arg(long, value_name = "HOW")]
    early_talk: Option<String>,
    /// The transaction of a refused chunk: reset, or keep as Exim does
    #[arg(long, value_name = "HOW")]
    refused_chunk: Option<String>,
    /// Expect a header of the PROXY protocol (version 1 or 2) on each connection
    #[arg(long)]
    proxy_protocol: bool,
    /// Whether to look into content for violations (true), or only count it (false)
    #[arg(long, value_name = "BOOL")]
    inspect: Option<String>,

    /// What goes wrong: 'at=rcpt rcpt=*@slow.test first=2 reply="451 4.7.1 later"' (repeatable)
    #[arg(long, value_name = "RULE")]
    fault: Vec<String>,
    /// Fault rules from a file, a [[fault]] table each
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// The seed of what goes wrong by chance
    #[arg(long, value_name = "N")]
    seed: Option<String>,

    /// Write statistics as JSON at exit and on SIGUSR1; - is standard output
    #[arg(long, value_name = "FILE")]
    stats: Option<PathBuf>,
    /// Stop after so many mails
    #[arg(long, value_name = "N", value_parser = parse_count)]
    exit_after: Option<u64>,
}

/// Why a sink cannot start or report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SinkError {
    #[error("expected an address such as 127.0.0.1:2525, [::1]:0 or unix:/path, got {0:?}")]
    Address(String),
    #[error("--{0}")]
    Option(#[from] posthaste_sink::OptionError),
    #[error("--faults {}: {source}", .path.display())]
    Faults { path: PathBuf, source: faults::FileError },
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: io::Error },
    #[error("--ca-out needs --tls-self-signed")]
    NoAuthority,
    #[error("cannot write {}: {source}", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot handle signals: {0}")]
    Signals(#[source] io::Error),
}

impl SinkError {
    fn exit(&self) -> Exit {
        match self {
            Self::Address(_) | Self::Option(_) | Self::NoAuthority => Exit::Usage,
            Self::Faults { source, .. } if source.is_unreadable() => Exit::NoInput,
            Self::Faults { .. } | Self::Listen { .. } => Exit::BadConfig,
            Self::Write { .. } => Exit::NoOutput,
            Self::Signals(_) => Exit::Internal,
        }
    }
}

/// Runs a sink until it has its mails, or is told to stop.
pub(crate) async fn run(args: &SinkArgs) -> Exit {
    match serve(args).await {
        Ok(exit) => exit,
        Err(error) => {
            tell(&format!("posthaste: {error}"));
            error.exit()
        }
    }
}

async fn serve(args: &SinkArgs) -> Result<Exit, SinkError> {
    let options = args.options()?;
    let mut signals = Signals::new().map_err(SinkError::Signals)?;
    let listen = |source| SinkError::Listen { address: args.addr.clone(), source };
    let sink = options.start().await.map_err(listen)?;
    if let Some(path) = &args.ca_out {
        let ca = sink.ca_pem().ok_or(SinkError::NoAuthority)?;
        write(path, ca.as_bytes())?;
    }
    announce(&format!("listening on {}", sink.endpoint()));
    let exit = loop {
        let exit = tokio::select! {
            () = enough(&sink, args.exit_after) => Some(Exit::Done),
            exit = signals.next() => exit,
        };
        match exit {
            Some(exit) => break exit,
            None => args.report(&sink.stats())?,
        }
    };
    if exit == Exit::Done {
        // Who has sent its last mail may want to say QUIT.
        let _ = timeout(LEAVE, sink.wait_idle()).await;
    }
    args.report(&sink.shutdown().await)?;
    Ok(exit)
}

impl SinkArgs {
    /// The options of the sink. Flags and options share their names, so each flag is handed on as it
    /// is.
    fn options(&self) -> Result<SinkOptions, SinkError> {
        let options = SinkOptions::default();
        let mut options = match self.addr.strip_prefix("unix:") {
            Some(path) => options.unix_socket(path),
            None => {
                let address = address(&self.addr);
                options.address(address.ok_or_else(|| SinkError::Address(self.addr.clone()))?)
            }
        };
        let values = [
            ("store", &self.store),
            ("max-size", &self.max_size),
            ("tls-self-signed", &self.tls_self_signed),
            ("cert", &self.cert),
            ("key", &self.key),
            ("ehlo", &self.ehlo),
            ("hostname", &self.hostname),
            ("rtt", &self.rtt),
            ("capacity", &self.capacity),
            ("max-conns", &self.max_conns),
            ("max-per-conn", &self.max_per_conn),
            ("max-rcpts", &self.max_rcpts),
            ("greylist", &self.greylist),
            ("pipelining-after-content", &self.pipelining_after_content),
            ("early-talk", &self.early_talk),
            ("refused-chunk", &self.refused_chunk),
            ("inspect", &self.inspect),
            ("seed", &self.seed),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                options.set(name, value)?;
            }
        }
        let flags = [
            ("implicit-tls", self.implicit_tls),
            ("require-tls", self.require_tls),
            ("lmtp", self.lmtp),
            ("proxy-protocol", self.proxy_protocol),
            // They cost a tenth of a microsecond a mail: only who asks for statistics pays.
            ("duplicates", self.stats.is_some()),
        ];
        for (name, _) in flags.into_iter().filter(|(_, set)| *set) {
            options.set(name, "true")?;
        }
        for user in &self.user {
            options.set("user", user)?;
        }
        for rule in &self.fault {
            options.set("fault", rule)?;
        }
        if let Some(path) = &self.faults {
            let rules = faults::read(path);
            let rules = rules.map_err(|source| SinkError::Faults { path: path.clone(), source })?;
            options = rules.into_iter().fold(options, SinkOptions::fault);
        }
        Ok(options)
    }

    /// Writes the statistics where they are wanted; for people if nowhere.
    fn report(&self, stats: &Stats) -> Result<(), SinkError> {
        let Some(path) = &self.stats else {
            let (mails, recipients) = (stats.mails, stats.recipients);
            let (bytes, opened) = (stats.bytes, stats.connections.opened);
            tell(&format!(
                "{mails} mails, {recipients} recipients, {bytes} octets, {opened} connections"
            ));
            return Ok(());
        };
        // Numbers and names: there is nothing that JSON could not hold.
        let mut json = serde_json::to_string_pretty(stats).unwrap_or_default();
        if path == Path::new("-") {
            announce(&json);
            return Ok(());
        }
        json.push('\n');
        write(path, json.as_bytes())
    }
}

/// An address, or a port on loopback: `[::1]:0`, `localhost:2525`, `:2525` or `2525`.
fn address(text: &str) -> Option<SocketAddr> {
    let port = text.strip_prefix("localhost").unwrap_or(text);
    let port = port.strip_prefix(':').unwrap_or(port).parse();
    let on_loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    text.parse().ok().or_else(|| port.ok().map(on_loopback))
}

/// Ends when so many mails have come; never, if there is no such number.
async fn enough(sink: &Sink, mails: Option<u64>) {
    match mails {
        Some(mails) => sink.wait_for(mails).await,
        None => std::future::pending().await,
    }
}

/// Prints a line. A closed pipe is no reason to stop serving.
fn announce(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Writes a file whole: who reads it on SIGUSR1 never sees half of it.
fn write(path: &Path, content: &[u8]) -> Result<(), SinkError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let written = match fs::metadata(path) {
        // Not for /dev/stderr and its like: those are written to, not replaced.
        Ok(metadata) if !metadata.is_file() => fs::write(path, content),
        Ok(_) | Err(_) => fs::write(&name, content).and_then(|()| fs::rename(&name, path)),
    };
    written.map_err(|source| SinkError::Write { path: path.to_owned(), source })
}

/// The signals that a sink obeys.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    report: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            report: signal(SignalKind::user_defined1())?,
        })
    }

    /// The exit that the next signal asks for; `None` if it asks for a report.
    async fn next(&mut self) -> Option<Exit> {
        tokio::select! {
            _ = self.interrupt.recv() => Some(Exit::Interrupted),
            _ = self.terminate.recv() => Some(Exit::Terminated),
            _ = self.report.recv() => None,
        }
    }
}

/// How long connections may stay once the sink has its mails: clients reuse them for no more.
const LEAVE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    fn parse(line: &str) -> SinkArgs {
        let command = SinkArgs::augment_args(Command::new("sink").no_binary_name(true));
        let matches = command.try_get_matches_from(line.split(' ').filter(|word| !word.is_empty()));
        SinkArgs::from_arg_matches(&matches.unwrap()).unwrap()
    }

    #[track_caller]
    fn check_error(line: &str, exit: Exit, expected: &str) {
        let error = parse(line).options().unwrap_err();
        assert_eq!((error.exit(), error.to_string().as_str()), (exit, expected), "{line}");
    }

    #[test]
    fn the_command_is_consistent() {
        SinkArgs::augment_args(Command::new("sink")).debug_assert();
    }

    #[test]
    fn each_flag_reaches_its_option() {
        let line = "[::1]:0 --store maildir:/nowhere --max-size 10m --tls-self-signed mx.test \
                    --require-tls --ehlo -CHUNKING --hostname mx.test --lmtp --user a:b --user c:d \
                    --rtt 50ms --capacity 3000/s --max-conns 5 --max-per-conn 1k --max-rcpts 100 \
                    --greylist 1m --pipelining-after-content reject503 --early-talk reject554 \
                    --refused-chunk keep --proxy-protocol --inspect false --seed 7 --stats - \
                    --exit-after 20k";
        let args = parse(line);
        assert_eq!(args.exit_after, Some(20_000));
        let mut options = args.options().unwrap();
        let config = options.config_mut();
        assert_eq!(config.limits.max_size, 10 << 20);
        assert_eq!(config.limits.max_per_conn, Some(1000));
        assert_eq!((config.users.len(), config.seed), (2, 7));
        assert!(config.count_duplicates && !config.inspect_content && config.proxy_protocol);
    }

    #[test]
    fn an_address_is_on_loopback_unless_it_says_otherwise() {
        for (text, expected) in [
            ("127.0.0.1:2525", Some("127.0.0.1:2525")),
            ("0.0.0.0:25", Some("0.0.0.0:25")),
            ("[::1]:0", Some("[::1]:0")),
            ("localhost:2525", Some("127.0.0.1:2525")),
            (":2525", Some("127.0.0.1:2525")),
            ("2525", Some("127.0.0.1:2525")),
            ("mx.example:25", None),
            ("65536", None),
            ("", None),
        ] {
            assert_eq!(address(text), expected.map(|text| text.parse().unwrap()), "{text:?}");
        }
    }

    #[test]
    fn errors_name_the_flag() {
        check_error(
            "--rtt fast",
            Exit::Usage,
            "--rtt: expected a duration such as 250ms, 30s, 5m or 2h, got \"fast\"",
        );
        check_error("--user x", Exit::Usage, "--user: expected NAME:PASSWORD");
        check_error(
            "somewhere",
            Exit::Usage,
            "expected an address such as 127.0.0.1:2525, [::1]:0 or unix:/path, got \"somewhere\"",
        );
        let error = parse("--faults /nowhere/faults.toml").options().unwrap_err();
        assert_eq!(error.exit(), Exit::NoInput);
    }

    #[tokio::test]
    async fn statistics_are_written_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stats.json");
        let line = format!("127.0.0.1:0 --exit-after 0 --stats {}", path.display());
        assert_eq!(run(&parse(&line)).await, Exit::Done);
        let stats: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(stats["mails"], 0);
        assert_eq!(stats["connections"]["open_max"], 0);
        assert!(stats["duplicates"].is_number() && stats["refusals"].is_object());
    }
}
