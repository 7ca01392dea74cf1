//! Servers with limits, and limits of one's own, as users of `send` meet them.

use std::time::Duration;

use posthaste_tests::skip;
use serde_json::Value;

use crate::support::{Running, Scene};

/// Sends so many mails to a sink with these flags; what the sink has counted. Every recipient has the mail
/// once, and it took one attempt.
#[track_caller]
fn all_at_once(sink: &[&str], mails: usize, send: &[&str]) -> Value {
    let mut scene = Scene::with_sink(sink);
    scene.mails("in.jsonl", mails);
    let args = ["send", "{sink}", "--jsonl", "{}/in.jsonl", "--log", "{}/log.jsonl"];
    scene.run(&[&args[..], send].concat()).exits(0);
    let lines = scene.lines("log.jsonl");
    assert_eq!(lines.len(), mails);
    for line in &lines {
        assert_eq!((&line["state"], &line["attempts"]), (&"delivered".into(), &1.into()), "{line}");
    }
    let (stats, stored) = scene.end();
    let mut recipients: Vec<_> = stored.iter().map(|mail| mail["to"][0].to_string()).collect();
    recipients.sort_unstable();
    recipients.dedup();
    assert_eq!((stored.len(), recipients.len()), (mails, mails), "each once");
    assert_eq!(stats["violations"], serde_json::json!({}));
    stats
}

fn refused(stats: &Value, limit: &str) -> u64 {
    stats["refusals"].get(limit).and_then(Value::as_u64).unwrap_or(0)
}

/// SCHED-03, Row 7
#[test]
fn a_limit_of_connections() {
    let sink = ["--max-conns", "5", "--fault", "at=final delay=5ms"];
    let stats = all_at_once(&sink, 1_000, &["-c", "20"]);
    assert_eq!(stats["connections"]["open_max"], 5);
    let refused = refused(&stats, "max-conns");
    assert!((1..=10).contains(&refused), "{stats}");
}

/// SCHED-08, Row 34
#[test]
fn a_limit_of_mails_on_a_connection() {
    let stats = all_at_once(&["--max-per-conn", "10"], 500, &["-c", "2"]);
    // Two connections find out at the same time.
    assert!(refused(&stats, "max-per-conn") <= 4, "{stats}");
}

/// Row 22
#[test]
fn a_limit_of_recipients() {
    let mut scene = Scene::with_sink(&["--max-rcpts", "10"]);
    let to: Vec<_> = (0..100).flat_map(|n| ["-t".to_owned(), format!("r{n}@b.test")]).collect();
    let to = to.iter().map(String::as_str);
    let args = ["send", "{sink}", "{}/m.eml", "--log", "{}/log.jsonl"];
    scene.run(&args.into_iter().chain(to).collect::<Vec<_>>()).exits(0);
    let lines = scene.lines("log.jsonl");
    assert_eq!(lines.len(), 100);
    for line in &lines {
        assert_eq!((&line["state"], &line["attempts"]), (&"delivered".into(), &1.into()), "{line}");
    }
    let (stats, _) = scene.end();
    assert_eq!((&stats["recipients"], &stats["mails"]), (&100.into(), &10.into()));
    assert_eq!(refused(&stats, "max-rcpts"), 90, "{stats}");
}

/// Row 23
#[test]
fn a_greylist() {
    let mut scene = Scene::with_sink(&["--greylist", "2s"]);
    let args = ["send", "{sink}", "{}/m.eml", "--log", "{}/log.jsonl"];
    for attempts in [2, 1] {
        scene.run(&args).exits(0);
        let line = &scene.lines("log.jsonl")[0];
        let got = (&line["state"], &line["attempts"]);
        assert_eq!(got, (&"delivered".into(), &attempts.into()), "{line}");
    }
    assert_eq!(refused(&scene.end().0, "greylist"), 1);
}

/// SCHED-04, Row 17
#[test]
fn a_capacity() {
    let stats = all_at_once(&["--capacity", "500/s"], 1_500, &[]);
    assert!(refused(&stats, "capacity") <= 150, "{stats}");
}

/// `--rate`: 500/s to within a percent, over one connection or many, and no five within 10 ms.
#[test]
fn a_rate_of_ones_own() {
    let seconds = match std::env::var_os("POSTHASTE_SLOW") {
        Some(value) if value == "1" => 20,
        _ => {
            let what = "for 20 seconds; for 3 it did. POSTHASTE_SLOW=1 has all";
            skip::left_out("limits::a_rate_of_ones_own", what);
            3
        }
    };
    for connections in ["1", "200"] {
        let mut scene = Scene::with_sink(&[]);
        let mails = seconds * 500;
        scene.mails("in.jsonl", mails);
        let args = ["send", "{sink}", "--jsonl", "{}/in.jsonl", "--rate", "500/s", "-c"];
        let command = scene.command(&[&args[..], &[connections]].concat());
        Running::start(command).wait().exits(0);
        let (_, stored) = scene.end();
        let pace = Pace::of(&stored);
        println!("{connections} connections: {pace:?}");
        assert_eq!(stored.len(), mails);
        assert!((pace.per_second - 500.0).abs() <= 5.0, "{pace:?}");
        assert!(pace.most_within_10_ms <= 5, "{pace:?}");
    }
}

/// How mails came.
#[derive(Debug)]
struct Pace {
    per_second: f64,
    /// The most that came in any 10 ms, their ends left out.
    most_within_10_ms: usize,
    /// How many mails were one too many, or more, in the 10 ms before them.
    beyond: usize,
    /// The longest time between two.
    longest: Duration,
}

impl Pace {
    fn of(mails: &[Value]) -> Self {
        let micros = |mail: &Value| mail["received_us"].as_u64().unwrap();
        let mut times: Vec<_> = mails.iter().map(micros).collect();
        times.sort_unstable();
        let took = Duration::from_micros(times[times.len() - 1] - times[0]);
        let within = |last: usize| {
            let first = times.partition_point(|&at| at + 10_000 <= times[last]);
            last + 1 - first
        };
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        Self {
            per_second: (times.len() - 1) as f64 / took.as_secs_f64(),
            most_within_10_ms: (0..times.len()).map(within).max().unwrap(),
            beyond: (0..times.len()).filter(|&last| within(last) > 5).count(),
            longest: Duration::from_micros(longest),
        }
    }
}
