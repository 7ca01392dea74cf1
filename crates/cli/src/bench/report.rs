//! The results of a measurement, for programs and for people.

use std::fmt::Write as _;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use posthaste::ServerUrl;
use serde::Serialize;

use super::BenchArgs;
use super::measure::{Counts, Measure, Times};
use crate::exit::Exit;
use crate::server::without_password;
use crate::units::{elapsed, grouped, octets};
use crate::watch::Seen;

/// What `--json` writes. Keys are stable; times are in microseconds.
#[derive(Debug, Serialize)]
pub(super) struct BenchReport {
    settings: Settings,
    counts: Counts,
    rate: Rate,
    elapsed_us: u64,
    latency_us: Latency,
    load: LoadModel,
    connections: Connections,
    generator: Generator,
    replies: Vec<Counted>,
    errors: Vec<Counted>,
    interrupted: bool,
    #[serde(skip)]
    exit: Exit,
}

#[derive(Debug, Serialize)]
struct Settings {
    server: String,
    connections: u32,
    size: usize,
    recipients: u32,
    seed: u64,
}

#[derive(Debug, Serialize)]
struct Rate {
    accepted_per_s: f64,
}

#[derive(Debug, Serialize)]
struct Latency {
    response: Percentiles,
    service: Percentiles,
    stages: Stages,
}

#[derive(Debug, Serialize)]
struct Percentiles {
    p50: u64,
    p90: u64,
    p95: u64,
    p99: u64,
    p99_9: u64,
    max: u64,
    count: u64,
}

#[derive(Debug, Serialize)]
struct Stages {
    connect: Median,
    tls: Median,
    greeting: Median,
    ehlo: Median,
    auth: Median,
    envelope: Median,
    data: Median,
    #[serde(rename = "final")]
    finish: Median,
    wait: Median,
}

#[derive(Debug, Serialize)]
struct Median {
    p50: u64,
    p99: u64,
}

#[derive(Debug, Serialize)]
struct LoadModel {
    model: &'static str,
    offered_rate: Option<f64>,
    achieved_rate: f64,
    limited_by: &'static str,
}

#[derive(Debug, Serialize)]
struct Connections {
    opened: u64,
    reused: u64,
    failed: u64,
}

#[derive(Debug, Serialize)]
struct Generator {
    cpu_us_per_message: f64,
    rss_max_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Counted {
    text: String,
    count: u64,
}

impl BenchReport {
    pub(super) fn new(
        args: &BenchArgs,
        measure: &Measure,
        seen: &Seen,
        elapsed: Duration,
        interrupted: bool,
    ) -> Self {
        let (told, shown) = (measure.told(), measure.shown());
        let counts = told.counts;
        let exit = match counts {
            _ if told.is_denied => Exit::Denied,
            Counts { accepted: 0, .. } if seen.violations > 0 => Exit::ProtocolViolation,
            Counts { failed: 1.., .. } | Counts { rejected: 1.., .. } => Exit::Failed,
            Counts { deferred: 1.., .. } | Counts { in_doubt: 1.., .. } => Exit::Deferred,
            Counts { .. } => Exit::Done,
        };
        let mails = told.response.count();
        let offered = args.rate.map(|rate| rate.count as f64 / rate.per.as_secs_f64());
        let seconds = elapsed.as_secs_f64().max(1e-6);
        let accepted_mails = counts.accepted as f64 / f64::from(args.rcpts);
        let stages = &shown.stages;
        let (cpu_us, rss_max_bytes) = usage();
        let median =
            |times: &Times| Median { p50: times.percentile(50.0), p99: times.percentile(99.0) };
        let counted = |entries: std::collections::BTreeMap<String, u64>| {
            let mut entries: Vec<_> =
                entries.into_iter().map(|(text, count)| Counted { text, count }).collect();
            entries.sort_by_key(|entry| std::cmp::Reverse(entry.count));
            entries
        };
        Self {
            settings: Settings {
                server: without_password(&args.server),
                connections: args.server_args.connections(super::CONNECTIONS),
                size: args.size,
                recipients: args.rcpts,
                seed: args.seed,
            },
            counts,
            rate: Rate { accepted_per_s: accepted_mails / seconds },
            elapsed_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            latency_us: Latency {
                response: Percentiles::of(&told.response),
                service: Percentiles::of(&shown.service),
                stages: Stages {
                    connect: median(&stages.connect),
                    tls: median(&stages.tls),
                    greeting: median(&stages.greeting),
                    ehlo: median(&stages.ehlo),
                    auth: median(&stages.auth),
                    envelope: median(&stages.envelope),
                    data: median(&stages.data),
                    finish: median(&stages.finish),
                    wait: median(&told.wait),
                },
            },
            load: LoadModel::new(offered, mails as f64 / seconds),
            connections: Connections {
                opened: seen.opened,
                reused: mails.saturating_sub(seen.opened),
                failed: seen.failed,
            },
            generator: Generator {
                cpu_us_per_message: cpu_us as f64 / mails.max(1) as f64,
                rss_max_bytes,
            },
            replies: counted(told.replies),
            errors: counted(seen.troubles.clone()),
            interrupted,
            exit,
        }
    }

    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    /// For people.
    pub(super) fn text(&self, url: &ServerUrl) -> String {
        let mut text = String::new();
        let time = Duration::from_micros(self.elapsed_us);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{} mails/s: {} mails of {} to {} in {} over {} connections, {}",
            grouped(self.rate.accepted_per_s as u64),
            grouped(self.latency_us.response.count),
            octets(self.settings.size as u64),
            url.server(),
            elapsed(time),
            grouped(self.connections.opened),
            self.load.in_words(),
        );
        let Counts { accepted, deferred, rejected, failed, in_doubt, .. } = self.counts;
        let counts = [
            ("accepted", accepted),
            ("deferred", deferred),
            ("rejected", rejected),
            ("failed", failed),
            ("in doubt", in_doubt),
        ];
        for (name, count) in
            counts.into_iter().filter(|&(name, count)| count > 0 || name == "accepted")
        {
            let _ = writeln!(text, "  {:>9}  {name}", grouped(count));
        }
        let _ = writeln!(text, "\nLatency        p50       p90       p99     p99.9       max");
        for (name, times) in
            [("response", &self.latency_us.response), ("service", &self.latency_us.service)]
        {
            let columns = [times.p50, times.p90, times.p99, times.p99_9, times.max].map(short);
            let _ = writeln!(
                text,
                "  {name:<8} {}",
                columns.map(|column| format!("{column:>9}")).join(" ")
            );
        }
        let stages = &self.latency_us.stages;
        let connection = [
            ("connect", &stages.connect),
            ("tls", &stages.tls),
            ("greeting", &stages.greeting),
            ("ehlo", &stages.ehlo),
            ("auth", &stages.auth),
        ];
        let mail = [
            ("wait", &stages.wait),
            ("envelope", &stages.envelope),
            ("data", &stages.data),
            ("final", &stages.finish),
        ];
        let _ = writeln!(text, "\nMedians");
        for (name, stages) in [("connection", &connection[..]), ("mail", &mail)] {
            let stages = stages.iter().filter(|(_, median)| median.p99 > 1);
            let stages: Vec<_> =
                stages.map(|(name, median)| format!("{name} {}", short(median.p50))).collect();
            let _ = writeln!(text, "  {name:<10}  {}", stages.join(", "));
        }
        let _ = writeln!(
            text,
            "\nThis side: {:.1} µs of processor time a mail, {} of memory at most",
            self.generator.cpu_us_per_message,
            octets(self.generator.rss_max_bytes)
        );
        for (title, entries) in [("Replies", &self.replies), ("Trouble", &self.errors)] {
            if !entries.is_empty() {
                let _ = writeln!(text, "\n{title}");
            }
            for entry in entries.iter().take(5) {
                let _ = writeln!(text, "  {:>9}  {}", grouped(entry.count), entry.text);
            }
        }
        text
    }
}

impl LoadModel {
    /// In mails per second: what was asked for, if anything, and what came of it.
    fn new(offered: Option<f64>, achieved: f64) -> Self {
        /// What is as good as the rate that was asked for: the ends of a run cost a little.
        const REACHED: f64 = 0.95;
        let is_reached = offered.is_some_and(|offered| achieved >= offered * REACHED);
        Self {
            model: if offered.is_some() { "paced" } else { "closed" },
            offered_rate: offered,
            achieved_rate: achieved,
            limited_by: if is_reached { "rate" } else { "server and connections" },
        }
    }

    fn in_words(&self) -> String {
        match self.offered_rate {
            Some(rate) => format!("paced at {rate:.1} mails/s"),
            None => "closed loop".to_owned(),
        }
    }
}

impl Percentiles {
    fn of(times: &Times) -> Self {
        Self {
            p50: times.percentile(50.0),
            p90: times.percentile(90.0),
            p95: times.percentile(95.0),
            p99: times.percentile(99.0),
            p99_9: times.percentile(99.9),
            max: times.max(),
            count: times.count(),
        }
    }
}

/// Processor time of this process in microseconds, and the most memory it had in octets.
fn usage() -> (i64, u64) {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return (0, 0) };
    let cpu = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    (cpu, u64::try_from(usage.max_rss()).unwrap_or(0) * 1024)
}

fn short(microseconds: u64) -> String {
    match microseconds {
        0..1_000 => format!("{microseconds} µs"),
        1_000..1_000_000 => format!("{:.1} ms", microseconds as f64 / 1e3),
        _ => format!("{:.1} s", microseconds as f64 / 1e6),
    }
}
