//! `posthaste send`: deliver mail.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use posthaste::scheduler::{
    BackOff, Exhausted, Fault, GiveUp, PlannerConfig, RetryPolicy, SchedulerConfig,
};
use posthaste::session::{Mail, Timeouts};
use posthaste::{
    Cause, Class, Mailer, MailerBuilder, Place, Rate, RecipientReport, Report, ServerUrl,
    Transcript,
};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::exit::Exit;
use crate::input::{InputArgs, InputError, InputMail, Inputs};
use crate::observe::{ObserveArgs, ObserveError, Observers, is_stdout};
use crate::outcome::{Sent, Tally};
use crate::progress::{Progress, ProgressKind, Standing, Stillness, totals};
use crate::requests::RequestArgs;
use crate::server::{ServerArgs, ServerError, Target, without_password};
use crate::standing::{Rates, ailing, rows, why};
use crate::stop::{GRACE, Stop};
use crate::summary::{self, ServerEnd};
use crate::units::{class, counted, duration, grouped, octets, positive, rate};
use crate::watch::{Seen, Watch, chain};

mod source;
mod values;

use source::Source;
use values::{backoff, exhausted};

/// Connections where nothing else is asked for.
const CONNECTIONS: u32 = 8;
/// Bad mails that are shown; a wrong file would fill the screen.
const MAX_SHOWN: usize = 20;
/// How often the log is flushed and progress shown.
const TICK: Duration = Duration::from_millis(200);

/// Delivers mail: one, many, or a merge of a template and a table.
#[derive(clap::Args)]
pub(crate) struct SendArgs {
    #[arg(value_name = "SERVER", help = crate::server::HELP)]
    server: String,

    /// Another server that takes the same mails (repeatable); they share the load
    #[arg(long, value_name = "SERVER", help_heading = "Server")]
    also: Vec<String>,
    /// A server for as long as no other one works (repeatable)
    #[arg(long, value_name = "SERVER", help_heading = "Server")]
    fallback: Vec<String>,

    #[command(flatten)]
    input: InputArgs,

    #[command(flatten)]
    requests: RequestArgs,

    /// How fast, at most: N/s, N/m or N/h, to all servers together, and no burst faster than that
    #[arg(short = 'R', long, value_name = "RATE", value_parser = rate, help_heading = "Delivery")]
    rate: Option<Rate>,
    /// How urgent the mails are, where a line of --jsonl does not say: interactive, normal or bulk;
    /// where mails of all three wait, they are served 8 to 3 to 1
    #[arg(long, value_name = "CLASS", default_value = "normal", value_parser = class, help_heading = "Delivery")]
    class: Class,
    /// How often a mail is tried, at most, that the server defers
    #[arg(long, value_name = "N", default_value = "5", value_parser = positive, help_heading = "Delivery")]
    retries: u32,
    /// The shortest and the longest wait before such a mail is tried again
    #[arg(long, value_name = "MIN..MAX", default_value = "1s..5m", value_parser = backoff, help_heading = "Delivery")]
    backoff: (Duration, Duration),
    /// How long a server that fails is left alone at first and at most
    #[arg(long, value_name = "MIN..MAX", default_value = "1s..30s", value_parser = backoff, help_heading = "Delivery")]
    server_backoff: (Duration, Duration),
    /// What becomes of mails for a server that fails 5 times in a row: fail (they are deferred) or
    /// wait (while it is tried again and again) [default: wait, but not where nobody ever answered]
    #[arg(long, value_name = "WHAT", value_parser = exhausted, help_heading = "Delivery")]
    exhausted: Option<Exhausted>,
    /// What is not done by then is reported as deferred
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Delivery")]
    max_time: Option<Duration>,
    /// Seeds the jitter of all waits, to repeat a run
    #[arg(long, value_name = "N", help_heading = "Delivery")]
    seed: Option<u64>,

    /// Write a line of JSON for each recipient's outcome; - for standard output
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    log: Option<PathBuf>,
    /// Read, render and check everything, print the plan, connect nowhere
    #[arg(long, help_heading = "Output")]
    dry_run: bool,
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

/// Why a command ended before it had anything to report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("{shown}\n{count} of {total} mails cannot be sent; nothing was sent")]
    BadMails { shown: String, count: usize, total: usize, exit: Exit },
    #[error("{} (mails before it were sent, none behind it)", chain(.0))]
    BadStream(InputError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("cannot write to {}", .0.display())]
    Log(PathBuf, #[source] io::Error),
    #[error(transparent)]
    Observe(#[from] ObserveError),
}

impl SendError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Input(error) => error.exit(),
            Self::BadMails { exit, .. } => *exit,
            Self::BadStream(error) => error.exit(),
            Self::Server(error) => error.exit(),
            Self::Log(..) => Exit::NoOutput,
            Self::Observe(error) => error.exit(),
        }
    }
}

/// What a look at all mails, before the first is sent, has shown.
#[derive(Debug, Default)]
struct Plan {
    mails: u64,
    recipients: u64,
    octets: u64,
    domains: BTreeMap<String, u64>,
}

pub(crate) async fn run(args: &SendArgs) -> Result<Exit, SendError> {
    Target::check(&args.server)?;
    let others = others(args)?;
    args.observe.check("--log", args.log.as_deref())?;
    let inputs = args.input.check()?;
    // What can be read twice is read once before anything is sent, so that a bad mail in the middle stops all.
    let plan = if inputs.is_one_shot() && !args.dry_run { None } else { Some(check_all(&inputs)?) };
    if args.dry_run {
        print_plan(&plan.unwrap_or_default(), &args.server);
        return Ok(Exit::Done);
    }
    let log = args.log.as_ref().map(open_log).transpose()?;
    let target = Target::open(&args.server).await?;
    let watch = Arc::new(Watch::new(args.verbose, None));
    let mailer = mailer(args, &target, others, &watch)?;
    let (mailer, mut observers) = args.observe.open(mailer).await?;
    let mailer = mailer.build().map_err(ServerError::from)?;
    observers.start(&mailer);
    let total = plan.map(|plan| plan.mails);
    let names: Vec<_> = mailer.servers().into_iter().map(|server| server.name).collect();
    let (tally, servers) = (Tally::default(), names.join(","));
    let sending = Sending { args, mailer, watch, target, log, tally, observers, servers };
    sending.run(&inputs, total).await
}

fn mailer(
    args: &SendArgs,
    target: &Target,
    others: Vec<(ServerUrl, Place)>,
    watch: &Arc<Watch>,
) -> Result<MailerBuilder, ServerError> {
    let (min, max) = args.backoff;
    let (base, cap) = args.server_backoff;
    let planner = PlannerConfig {
        retry: RetryPolicy { attempts: args.retries, min, max },
        back_off: BackOff { base, cap },
        exhausted: args.exhausted.unwrap_or(Exhausted::FailIfAbsent),
        greeting: Fault::Fail,
        ..PlannerConfig::default()
    };
    let seed = args.seed.unwrap_or_else(seed_of_the_day);
    let scheduler = SchedulerConfig { planner, seed, ..SchedulerConfig::default() };
    let transcript = if args.verbose > 0 { Transcript::On } else { Transcript::Off };
    let mut mailer = args.server_args.mailer(target, CONNECTIONS, Timeouts::default())?;
    for (url, place) in others {
        mailer = mailer.also(url, place);
    }
    if let Some(rate) = args.rate {
        mailer = mailer.rate(rate);
    }
    Ok(mailer.scheduler(scheduler).observer(watch.clone(), transcript))
}

/// The servers beside the first one. Not clap's to parse: it would repeat a value that cannot be used,
/// with the password in it.
fn others(args: &SendArgs) -> Result<Vec<(ServerUrl, Place)>, ServerError> {
    let place = |preference| Place { preference, ..Place::default() };
    let also = args.also.iter().map(|server| (server, place(0)));
    let fallback = args.fallback.iter().map(|server| (server, place(1)));
    also.chain(fallback).map(|(server, place)| Ok((Target::other(server)?, place))).collect()
}

/// Two runs at the same time must not wait in step.
fn seed_of_the_day() -> u64 {
    let time =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::from(time.subsec_nanos()) ^ time.as_secs() ^ u64::from(std::process::id()) << 32
}

fn check_all(inputs: &Inputs) -> Result<Plan, SendError> {
    let mut plan = Plan::default();
    let mut errors = Vec::new();
    let mut bad = 0;
    let mut exit = Exit::BadInput;
    for mail in inputs.open()? {
        match mail {
            Ok(InputMail { mail, .. }) => plan.add(&mail),
            Err(error) => {
                exit = if bad == 0 { error.exit() } else { exit };
                bad += 1;
                if errors.len() < MAX_SHOWN {
                    errors.push(chain(&error));
                }
            }
        }
    }
    if bad > 0 {
        if bad > errors.len() {
            errors.push(format!("… and {} more", bad - errors.len()));
        }
        let total = bad + usize::try_from(plan.mails).unwrap_or(usize::MAX);
        return Err(SendError::BadMails { shown: errors.join("\n"), count: bad, total, exit });
    }
    Ok(plan)
}

impl Plan {
    fn add(&mut self, mail: &Mail) {
        self.mails += 1;
        self.octets += mail.content.len() as u64;
        for path in mail.envelope.forward_paths() {
            self.recipients += 1;
            let domain =
                path.as_str().rsplit_once('@').map_or("(this server)", |(_, domain)| domain);
            if let Some(count) = self.domains.get_mut(domain) {
                *count += 1;
            } else {
                self.domains.insert(domain.to_ascii_lowercase(), 1);
            }
        }
    }
}

fn print_plan(plan: &Plan, server: &str) {
    let Plan { mails, recipients, octets: size, domains } = plan;
    summary::print(&format!(
        "Would send {} ({}) to {} in {} through {}\nNothing was sent.",
        counted(*mails, "mail"),
        octets(*size),
        counted(*recipients, "recipient"),
        counted(domains.len() as u64, "domain"),
        without_password(server),
    ));
}

fn open_log(path: &PathBuf) -> Result<Box<dyn Write + Send>, SendError> {
    if is_stdout(path) {
        return Ok(Box::new(BufWriter::new(io::stdout())));
    }
    let file = File::create(path).map_err(|error| SendError::Log(path.clone(), error))?;
    Ok(Box::new(BufWriter::new(file)))
}

/// A command that is sending.
struct Sending<'a> {
    args: &'a SendArgs,
    mailer: Mailer,
    watch: Arc<Watch>,
    target: Target,
    log: Option<Box<dyn Write + Send>>,
    tally: Tally,
    observers: Observers,
    /// What the servers are called, with commas between them.
    servers: String,
}

impl Sending<'_> {
    async fn run(mut self, inputs: &Inputs, total: Option<u64>) -> Result<Exit, SendError> {
        let started = Instant::now();
        let mut progress = Progress::new(self.args.progress, total, self.args.verbose);
        let source = Source::start(inputs)?;
        let bad = Arc::clone(&source.bad);
        let (end, ended) = watch::channel(false);
        let mailer = self.mailer.clone();
        let reports = source.send(&mailer, self.args.class, &self.args.requests, ended);
        let mut reports = std::pin::pin!(reports);
        let mut stop = Stop::new(self.args.max_time);
        let (mut output, mut rates) = (Ok(()), Rates::default());
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Reports can come without a pause; what is rare goes first.
                biased;
                () = stop.wait() => {
                    // A file is read on, since each of its mails has an outcome to be told.
                    end.send_replace(inputs.is_one_shot() || stop.is_urgent());
                    progress.stopping();
                    if let Some(notice) = stop.notice() {
                        progress.say(&notice);
                    }
                    self.drain(&stop);
                }
                _ = ticks.tick() => {
                    let mails = self.tally.mails;
                    progress.update(mails, |stillness| self.standing(&mut rates, stillness));
                    // Whoever follows the log sees what is done, and a crash takes little with it.
                    output = output.and(self.flush());
                }
                next = reports.next() => {
                    let Some((sent, report)) = next else { break };
                    let was_well = is_well(&output);
                    output = output.and(self.take(&sent, &report));
                    if was_well && !is_well(&output) {
                        // Nothing more is sent that nobody could tell the outcome of.
                        end.send_replace(true);
                        self.drain(&stop);
                    }
                }
            }
        }
        let elapsed = started.elapsed();
        progress.finish();
        output = output.and(self.flush());
        tokio::select! {
            () = self.mailer.shutdown_within(GRACE) => {}
            () = stop.wait() => self.mailer.shutdown_within(Duration::ZERO).await,
        }
        let bad = bad.lock().map(|mut bad| bad.take()).unwrap_or_default();
        self.finish(elapsed, bad, &stop, output).await
    }

    fn flush(&mut self) -> io::Result<()> {
        self.log.as_mut().map_or(Ok(()), |log| log.flush())
    }

    fn take(&mut self, sent: &Sent, report: &Report) -> io::Result<()> {
        let trouble = self.trouble(report);
        self.tally.count(report, sent.octets(), trouble.as_deref());
        let Some(log) = &mut self.log else { return Ok(()) };
        sent.log(log, &self.servers, report, trouble.as_deref())
    }

    /// What kept the server from taking the mail, where that is the cause.
    fn trouble(&self, report: &Report) -> Option<String> {
        let is_the_servers = |recipient: &RecipientReport| {
            let Some(Cause::GivenUp(cause)) = recipient.cause else { return false };
            matches!(cause, GiveUp::ServerExhausted | GiveUp::Requirement | GiveUp::Unwelcome)
        };
        match &report.trouble {
            Some(trouble) => Some(trouble.text.to_string()),
            None if report.recipients.iter().any(is_the_servers) => self.watch.seen().trouble,
            None => None,
        }
    }

    /// How things stand, for the display.
    fn standing(&self, rates: &mut Rates, stillness: Stillness) -> Standing {
        let seen = self.watch.seen();
        let servers = rows(&self.mailer, &seen, rates);
        let open = servers.iter().map(|row| u64::from(row.open)).sum();
        let mut note = format!(", {}", counted(open, "connection"));
        if self.tally.failed > 0 {
            note += &format!(", {} failed", grouped(self.tally.failed));
        }
        let is_still = stillness == Stillness::Still;
        let why = is_still.then(|| why(&self.mailer, &seen)).flatten();
        Standing { note, servers, why }
    }

    /// The table of the servers, where there are several.
    fn table(&self, seen: &Seen) -> Vec<String> {
        let rows = rows(&self.mailer, seen, &mut Rates::default());
        if rows.len() > 1 { totals(&rows) } else { Vec::new() }
    }

    /// Lets the mailer finish what it is sending; the reports of the rest come by themselves.
    fn drain(&self, stop: &Stop) {
        let mailer = self.mailer.clone();
        let grace = if stop.is_urgent() { Duration::ZERO } else { GRACE };
        tokio::spawn(async move { mailer.shutdown_within(grace).await });
    }

    async fn finish(
        self,
        elapsed: Duration,
        bad: Option<InputError>,
        stop: &Stop,
        output: io::Result<()>,
    ) -> Result<Exit, SendError> {
        let bad = match bad {
            Some(bad) if self.tally.mails == 0 => return Err(bad.into()),
            bad => bad,
        };
        let seen = self.watch.seen();
        let server = ServerEnd {
            status: self.mailer.status(),
            url: &self.target.url,
            proof: self.args.server_args.proof(&self.target),
            ailing: ailing(&self.mailer, &seen),
            table: self.table(&seen),
        };
        let text = summary::of_send(&self.tally, &seen, &server, elapsed, stop.reason());
        let is_taken = self.args.log.as_deref().is_some_and(is_stdout);
        if is_taken || self.args.observe.is_stdout() {
            summary::tell(text.trim_end());
        } else {
            summary::print(text.trim_end());
        }
        if let Some(sink) = self.target.sink {
            let stats = sink.shutdown().await;
            summary::tell(&summary::of_sink(&stats));
        }
        if let (Err(error), Some(path)) = (output, &self.args.log)
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(SendError::Log(path.clone(), error));
        }
        self.observers.finish().await?;
        if let Some(bad) = bad {
            return Err(SendError::BadStream(bad));
        }
        Ok(match (stop.exit(), self.tally.exit()) {
            (Some(exit), _) => exit,
            (None, Exit::Deferred | Exit::Failed)
                if seen.violations > 0 && self.tally.delivered == 0 =>
            {
                Exit::ProtocolViolation
            }
            (None, exit) => exit,
        })
    }
}

/// Whether what is written finds its place. A reader of standard output that has gone away needs no more.
fn is_well(output: &io::Result<()>) -> bool {
    match output {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::BrokenPipe,
    }
}
