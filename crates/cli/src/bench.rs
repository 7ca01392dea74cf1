//! `posthaste bench`: measure a server.

mod load;
mod measure;
mod report;

use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use posthaste::connection::ServerAddress;
use posthaste::scheduler::{Exhausted, Fault, PlannerConfig, RetryPolicy, SchedulerConfig};
use posthaste::session::Timeouts;
use posthaste::{Mailer, MailerBuilder, Rate, ServerUrl, Transcript};

use crate::exit::Exit;
use crate::observe::{ObserveArgs, ObserveError, is_stdout};
use crate::open_files::shortage;
use crate::progress::{Progress, ProgressKind, Standing, Stillness};
use crate::server::{ServerArgs, ServerError, Target};
use crate::standing::{Rates, rows, why};
use crate::stop::{GRACE, Stop, until};
use crate::summary;
use crate::units::{count, counted, duration, positive, rate, size};
use crate::watch::Watch;
use load::{Load, LoadError};
use measure::{Measure, Serving};
use report::BenchReport;

/// Connections where nothing else is asked for.
const CONNECTIONS: u32 = 20;
/// Mails on their way for each that a session may have: it, and one that is ready when it is done.
const MAILS_PER_PLACE: usize = 2;
/// Most reports looked at at once, so that signals and the display are not kept waiting.
const CHUNK: usize = 256;
/// How long a reply may take where nothing else is asked for.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long it runs where nothing else is asked for.
const DURATION: Duration = Duration::from_secs(10);

/// Measures a server: as many mails as it takes, over as many connections as are asked for.
#[derive(clap::Args)]
pub(crate) struct BenchArgs {
    #[arg(value_name = "SERVER", help = crate::server::HELP)]
    server: String,

    /// How many mails [default: as many as go into --duration]
    #[arg(short = 'n', long, value_name = "N", value_parser = count, help_heading = "Load")]
    messages: Option<u64>,
    /// For how long [default: 10s, unless -n is given]
    #[arg(short = 'z', long, value_name = "TIME", value_parser = duration, help_heading = "Load")]
    duration: Option<Duration>,
    /// How fast, at most: N/s, N/m or N/h, over all connections together
    #[arg(short = 'R', long, value_name = "RATE", value_parser = rate, help_heading = "Load")]
    rate: Option<Rate>,
    /// Octets of content of each mail
    #[arg(long, value_name = "SIZE", default_value = "1k", value_parser = size, help_heading = "Load")]
    size: usize,
    /// Recipients of each mail
    #[arg(long, value_name = "N", default_value = "1", value_parser = positive, help_heading = "Load")]
    rcpts: u32,
    /// The reverse-path; {seq} is the number of the mail
    #[arg(
        long,
        value_name = "PATTERN",
        default_value = "bench@posthaste.example",
        help_heading = "Load"
    )]
    from: String,
    /// The forward-paths; {seq} is the number of the mail, {rcpt} that of the recipient
    #[arg(
        long,
        value_name = "PATTERN",
        default_value = "r{rcpt}@posthaste.example",
        help_heading = "Load"
    )]
    to: String,
    /// A fresh connection for each mail
    #[arg(long, conflicts_with = "per_conn", help_heading = "Load")]
    new_conns: bool,
    /// Seeds what is random
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Load")]
    seed: u64,
    /// Measure a server that is neither on this machine nor in a private network: it is mine, and may be loaded
    #[arg(long, help_heading = "Load")]
    i_own_this_server: bool,

    /// Write the results as JSON; - for standard output
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,
    /// Print transcripts on standard error, secrets redacted; twice: also what the scheduler decides
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = "Output")]
    verbose: u8,
    /// How progress is shown, on standard error
    #[arg(long, value_name = "KIND", default_value = "auto", help_heading = "Output")]
    progress: ProgressKind,

    #[command(flatten)]
    observe: ObserveArgs,

    #[command(flatten)]
    server_args: ServerArgs,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(
        "{0} is neither on this machine nor in a private network; if it is yours, say --i-own-this-server, and -n or -z"
    )]
    NotOurs(String),
    #[error("cannot find {0}")]
    Resolve(String, #[source] io::Error),
    #[error("cannot write to {}", .0.display())]
    Output(PathBuf, #[source] io::Error),
    #[error(transparent)]
    Observe(#[from] ObserveError),
}

impl BenchError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Server(error) => error.exit(),
            Self::Load(_) => Exit::Usage,
            Self::NotOurs(_) => Exit::Denied,
            Self::Resolve(..) => Exit::Deferred,
            Self::Output(..) => Exit::NoOutput,
            Self::Observe(error) => error.exit(),
        }
    }
}

pub(crate) async fn run(args: &BenchArgs) -> Result<Exit, BenchError> {
    args.observe.check("--json", args.json.as_deref())?;
    let load = Load::new(&args.from, &args.to, args.rcpts, args.size, args.messages)?;
    let target = Target::open(&args.server).await?;
    check_ours(args, &target.url).await?;
    // Of a server in this process each connection has two ends.
    let files = if target.sink.is_some() { 2 } else { 1 };
    if let Some(shortage) = shortage(args.server_args.connections(CONNECTIONS), files) {
        summary::tell(&shortage);
    }
    let mut output = args.json.as_ref().map(open).transpose()?;
    let measure = Arc::new(Measure::default());
    let watch = Arc::new(Watch::new(args.verbose, Some(Box::new(Arc::clone(&measure)))));
    let mailer = mailer(args, &target, &watch)?;
    let (mailer, mut observers) = args.observe.open(mailer).await?;
    let mailer = mailer.build().map_err(ServerError::from)?;
    observers.start(&mailer);
    let (elapsed, stop) = drive(args, &mailer, load, &measure, &watch).await;
    let report = BenchReport::new(args, &measure, &watch.seen(), elapsed, stop.exit().is_some());
    mailer.shutdown_within(GRACE).await;
    let observed = observers.finish().await;
    let text = report.text(&target.url);
    match (&mut output, &args.json) {
        (Some(out), Some(path)) => {
            let written = serde_json::to_writer_pretty(&mut *out, &report).map_err(io::Error::from);
            let written = written.and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
            summary::tell(text.trim_end());
            if let Err(error) = written
                && error.kind() != io::ErrorKind::BrokenPipe
            {
                return Err(BenchError::Output(path.clone(), error));
            }
        }
        _ if args.observe.is_stdout() => summary::tell(text.trim_end()),
        _ => summary::print(text.trim_end()),
    }
    if let Some(sink) = target.sink {
        summary::tell(&summary::of_sink(&sink.shutdown().await));
    }
    observed?;
    Ok(stop.exit().unwrap_or_else(|| report.exit()))
}

fn mailer(
    args: &BenchArgs,
    target: &Target,
    watch: &Arc<Watch>,
) -> Result<MailerBuilder, ServerError> {
    let connections = args.server_args.connections(CONNECTIONS) as usize;
    // What a server refuses is a result, not a reason to try again.
    let retry = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let scheduler = SchedulerConfig {
        planner: PlannerConfig {
            retry,
            exhausted: Exhausted::FailIfAbsent,
            greeting: Fault::Fail,
            ..PlannerConfig::default()
        },
        intake: connections
            .saturating_mul(MAILS_PER_PLACE)
            .saturating_mul(args.server_args.depth().max(2))
            .saturating_mul(args.size.max(1024)),
        seed: args.seed,
        ..SchedulerConfig::default()
    };
    let transcript = if args.verbose > 0 { Transcript::On } else { Transcript::Off };
    let mailer = args.server_args.mailer(target, CONNECTIONS, Timeouts::uniform(TIMEOUT))?;
    // It is to be seen how slow the server gets.
    let mut mailer = mailer.unyielding();
    if let Some(rate) = args.rate {
        mailer = mailer.rate(rate);
    }
    if args.new_conns {
        mailer = mailer.max_mails_per_connection(1);
    }
    Ok(mailer.scheduler(scheduler).observer(watch.clone(), transcript))
}

/// Sends until it is over, or somebody has had enough.
async fn drive(
    args: &BenchArgs,
    mailer: &Mailer,
    load: Load,
    measure: &Measure,
    watch: &Watch,
) -> (Duration, Stop) {
    let started = Instant::now();
    let time = args.duration.or(args.messages.is_none().then_some(DURATION));
    let mut progress = Progress::new(args.progress, args.messages, args.verbose);
    let mut stop = Stop::new(time);
    let mut elapsed = Duration::ZERO;
    let end = load.end();
    let mut chunks = mailer.send_all(load).ready_chunks(CHUNK);
    let mut done = 0_u64;
    // A server that does not answer would keep its mails waiting for ever.
    let (mut grace, mut is_cut_off) = (None, false);
    let mut rates = Rates::default();
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            biased;
            () = stop.wait() => {
                end.set();
                grace.get_or_insert(tokio::time::Instant::now() + GRACE);
                if let Some(notice) = stop.notice() {
                    progress.say(&notice);
                }
                if stop.is_urgent() {
                    mailer.shutdown_within(Duration::ZERO).await;
                }
            }
            () = until(grace), if !is_cut_off => {
                is_cut_off = true;
                mailer.shutdown_within(Duration::ZERO).await;
            }
            next = chunks.next() => {
                let Some(chunk) = next else { break };
                if measure.reports(chunk.iter().map(|(_, report)| report)) == Serving::No {
                    end.set();
                    grace = Some(tokio::time::Instant::now());
                }
                done += chunk.len() as u64;
                elapsed = started.elapsed();
            }
            _ = ticks.tick() => {
                progress.update(done, |stillness| standing(mailer, watch, &mut rates, stillness));
            }
        }
    }
    progress.finish();
    (elapsed, stop)
}

/// How things stand, for the display.
fn standing(mailer: &Mailer, watch: &Watch, rates: &mut Rates, stillness: Stillness) -> Standing {
    let seen = watch.seen();
    let servers = rows(mailer, &seen, rates);
    let open = servers.iter().map(|row| u64::from(row.open)).sum();
    let why = (stillness == Stillness::Still).then(|| why(mailer, &seen)).flatten();
    Standing { note: format!(", {}", counted(open, "connection")), servers, why }
}

/// A load test is only for servers of one's own.
async fn check_ours(args: &BenchArgs, url: &ServerUrl) -> Result<(), BenchError> {
    let server = url.server();
    let is_bounded = args.messages.is_some() || args.duration.is_some();
    if args.i_own_this_server && is_bounded {
        return Ok(());
    }
    // A Unix socket is on this machine.
    let ServerAddress::Tcp { host, port } = server.address() else { return Ok(()) };
    if args.server_args.is_proxied() {
        // What the name means, and which network that is in, only the proxy knows.
        return Err(BenchError::NotOurs(server.to_string()));
    }
    let addresses = tokio::net::lookup_host((host.as_str(), *port)).await;
    let mut addresses =
        addresses.map_err(|error| BenchError::Resolve(server.to_string(), error))?;
    match addresses.find(|address| !is_private(address.ip())) {
        Some(_) => Err(BenchError::NotOurs(server.to_string())),
        None => Ok(()),
    }
}

fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

fn open(path: &PathBuf) -> Result<Box<dyn Write + Send>, BenchError> {
    if is_stdout(path) {
        return Ok(Box::new(io::stdout()));
    }
    let file = File::create(path).map_err(|error| BenchError::Output(path.clone(), error))?;
    Ok(Box::new(io::BufWriter::new(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_need_a_word() {
        for (address, private) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("::1", true),
            ("::ffff:192.168.0.1", true),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_private(address.parse().unwrap()), private, "{address}");
        }
    }
}
