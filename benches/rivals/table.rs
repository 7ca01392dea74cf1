//! The table: all clients in all scenarios, as Markdown and as JSON.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::delay::Line;
use crate::measure::Run;
use crate::rival::Rival;
use crate::scenario::{SIZE, Scenario};
use crate::servers::Running;
use crate::settings::Settings;

/// Medians of a client's runs.
#[derive(Debug, Clone, Copy)]
struct Figures {
    /// Mails a second.
    rate: f64,
    /// Microseconds of processor time a mail.
    cpu: f64,
    /// MiB at most.
    peak: f64,
    /// Mails of one run.
    mails: usize,
}

/// The figures of one scenario, in the order of the clients.
type Results = Vec<(Rival, Figures)>;

/// Measures everything that was asked for, and prints it.
///
/// # Errors
///
/// When mails were lost, doubled or reordered, or a client failed.
pub(crate) fn make(settings: &Settings) -> Result<(), String> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| error.to_string())?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(|error| error.to_string())?;
    print_versions(settings);
    let mut lines = BTreeMap::new();
    let mut all = Vec::new();
    for scenario in &settings.scenarios {
        let round_trip = scenario.round_trip;
        if !round_trip.is_zero() && !lines.contains_key(&round_trip) {
            let line = Line::measure(round_trip)?;
            let (millis, rate) = (line.round_trip.as_secs_f64() * 1e3, line.rate / 1e9);
            println!("\nThe line: round trip {millis:.1} ms, {rate:.1} GB/s one way.");
            lines.insert(round_trip, line);
        }
        println!("\n## {scenario}\n");
        let results = measure(scenario, settings)?;
        print(&results);
        all.push(to_json(scenario, &results));
    }
    let document = json!({ "size": SIZE, "rounds": settings.rounds, "scenarios": all });
    write(&settings.json, &format!("{document:#}\n"))
        .map_err(|error| format!("{}: {error}", settings.json.display()))?;
    println!("\n{}", settings.json.display());
    Ok(())
}

fn print_versions(settings: &Settings) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("Mails of {SIZE} octets, {cores} cores, medians of {} rounds.\n", settings.rounds);
    for &rival in &settings.rivals {
        if let Some(version) = rival.version() {
            println!("* {}: {version}", rival.description());
        }
    }
}

fn measure(scenario: &Scenario, settings: &Settings) -> Result<Results, String> {
    let (run, rounds) = scenario.turns(settings.run, settings.rounds);
    let mut server: Option<Running> = None;
    let mut entries: Vec<(Rival, usize, Vec<Run>)> = Vec::new();
    for &rival in &settings.rivals {
        let name = rival.name();
        if let Some(excuse) = rival.excuse(scenario.server.offer(), scenario.connections) {
            println!("{name} is left out: {excuse}\n");
            continue;
        }
        if let Err(missing) = rival.find() {
            println!("NOT RUN: {name} ({missing})\n");
            continue;
        }
        let mails = scenario.mails_in(run, rival, &mut server);
        let mails = mails.map_err(|error| format!("{name}, {scenario}: {error}"))?;
        entries.push((rival, mails, Vec::new()));
    }
    for _ in 0..rounds {
        for (rival, mails, runs) in &mut entries {
            let run = scenario.run(*rival, *mails, &mut server);
            runs.push(run.map_err(|error| format!("{}, {scenario}: {error}", rival.name()))?);
        }
    }
    Ok(entries.iter().map(|(rival, mails, runs)| (*rival, Figures::of(*mails, runs))).collect())
}

impl Figures {
    fn of(mails: usize, runs: &[Run]) -> Self {
        let count = mails as f64;
        Self {
            rate: median(runs.iter().map(|run| count / run.elapsed.as_secs_f64())),
            cpu: median(runs.iter().map(|run| run.cpu.as_secs_f64() * 1e6 / count)),
            peak: median(runs.iter().map(|run| run.peak as f64 / f64::from(1 << 20))),
            mails,
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The figures that a client's are compared with: those of the bare loop that sends in its way.
fn floor(rival: Rival, results: &Results) -> Option<Figures> {
    results.iter().find(|(other, _)| *other == rival.floor()).map(|(_, figures)| *figures)
}

/// The rival that is best at something.
fn best(results: &Results, cost: impl Fn(Figures) -> f64) -> Option<(Rival, Figures)> {
    let rivals = results.iter().filter(|(rival, _)| !rival.is_ours());
    rivals.min_by(|(_, one), (_, other)| cost(*one).total_cmp(&cost(*other))).copied()
}

fn print(results: &Results) {
    println!(
        "| client | mails/s | of floor | of best rival | CPU µs a mail | of floor | of best rival | peak MiB |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    let fastest = best(results, |figures| -figures.rate).map(|(_, figures)| figures.rate);
    let cheapest = best(results, |figures| figures.cpu).map(|(_, figures)| figures.cpu);
    for &(rival, Figures { rate, cpu, peak, .. }) in results {
        let floor = floor(rival, results);
        let rates = [floor.map(|floor| floor.rate), fastest].map(|base| ratio(rate, base));
        let cpus = [floor.map(|floor| floor.cpu), cheapest].map(|base| ratio(cpu, base));
        println!(
            "| {} | {} | {} | {} | {cpu:.2} | {} | {} | {peak:.0} |",
            rival.description(),
            grouped(rate),
            rates[0],
            rates[1],
            cpus[0],
            cpus[1]
        );
    }
    print_losses(results);
}

/// Where a rival is better than ours, whichever mode that is.
fn print_losses(results: &Results) {
    println!();
    for &(rival, figures) in results.iter().filter(|(rival, _)| rival.is_posthaste()) {
        for (what, cost) in COSTS {
            let Some((winner, theirs)) = best(results, cost) else { continue };
            let times = cost(figures) / cost(theirs);
            if times > 1.0 {
                let (ours, theirs) = (rival.name(), winner.name());
                println!("* `{ours}` loses in {what}: {times:.2} times what {theirs} takes.");
            }
        }
    }
}

/// What a client can be better or worse in: the less, the better.
const COSTS: [(&str, Cost); 3] = [
    ("rate", |figures| 1e6 / figures.rate),
    ("processor time", |figures| figures.cpu),
    ("memory", |figures| figures.peak),
];

type Cost = fn(Figures) -> f64;

fn ratio(value: f64, base: Option<f64>) -> String {
    base.map_or_else(|| "–".to_owned(), |base| format!("{:.2}", value / base))
}

/// A number with its thousands set apart.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Writes a file, in a folder that is made where it is missing.
fn write(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, text)
}

fn to_json(scenario: &Scenario, results: &Results) -> Value {
    let clients = results.iter().map(|(rival, figures)| {
        json!({
            "client": rival.name(),
            "version": rival.version(),
            "mails": figures.mails,
            "mails_per_second": figures.rate,
            "cpu_us_per_mail": figures.cpu,
            "peak_mib": figures.peak,
        })
    });
    json!({
        "scenario": scenario.name,
        "server": scenario.server.to_string(),
        "connections": scenario.connections,
        "round_trip_ms": scenario.round_trip.as_millis() as u64,
        "clients": clients.collect::<Vec<_>>(),
    })
}
