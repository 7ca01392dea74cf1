//! `posthaste bench`.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Finished, Scene};

const KEYS: [&str; 14] = [
    "/rate/accepted_per_s",
    "/elapsed_us",
    "/load/model",
    "/load/offered_rate",
    "/load/achieved_rate",
    "/load/limited_by",
    "/connections/opened",
    "/connections/reused",
    "/connections/failed",
    "/generator/cpu_us_per_message",
    "/generator/rss_max_bytes",
    "/replies",
    "/errors",
    "/interrupted",
];

/// Runs `bench --json -`; standard output is the report and nothing else.
#[track_caller]
fn bench(scene: &Scene, flags: &[&str], code: i32) -> Value {
    let finished = scene.run(&[&["bench", "{sink}", "--json", "-"][..], flags].concat());
    report(finished.exits(code))
}

#[track_caller]
fn report(finished: Finished) -> Value {
    assert!(finished.stderr.contains(" mails/s: "), "for people, on standard error: {finished:#?}");
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    check_consistent(&report);
    report
}

#[track_caller]
fn check_consistent(report: &Value) {
    for key in KEYS {
        assert!(report.pointer(key).is_some(), "{key}: {report}");
    }
    let number =
        |key: &str| report.pointer(key).and_then(Value::as_u64).unwrap_or_else(|| panic!("{key}"));
    let outcomes = ["accepted", "deferred", "rejected", "failed", "in_doubt"];
    let sum: u64 = outcomes.iter().map(|name| number(&format!("/counts/{name}"))).sum();
    assert_eq!(number("/counts/offered"), sum, "{report}");
    for kind in ["response", "service"] {
        let of = |name| number(&format!("/latency_us/{kind}/{name}"));
        let percentiles = ["p50", "p90", "p95", "p99", "p99_9", "max"].map(of);
        assert!(percentiles.is_sorted(), "{kind}: {percentiles:?}");
        assert_eq!(of("count") == 0, percentiles[5] == 0, "{kind}");
    }
    for stage in ["connect", "tls", "greeting", "ehlo", "auth", "envelope", "data", "final", "wait"]
    {
        let of = |name| number(&format!("/latency_us/stages/{stage}/{name}"));
        assert!(of("p50") <= of("p99"), "{stage}");
    }
    let rate = report["rate"]["accepted_per_s"].as_f64().unwrap();
    let seconds = number("/elapsed_us") as f64 / 1e6;
    let recipients = report["settings"]["recipients"].as_f64().unwrap();
    let expected = number("/counts/accepted") as f64 / recipients;
    assert!((rate * seconds - expected).abs() <= 1.0, "{rate} * {seconds} = {expected}");
}

#[test]
fn so_many_mails() {
    for mode in ["auto", "off", "envelope", "cross", "stream"] {
        let mut scene = Scene::with_sink(&[]);
        let report = bench(&scene, &["-n", "500", "-c", "3", "--pipeline", mode], 0);
        assert_eq!(report["counts"]["accepted"], 500, "{mode}");
        assert_eq!(report["latency_us"]["response"]["count"], 500);
        assert_eq!(report["interrupted"], false);
        let opened = report["connections"]["opened"].as_u64().unwrap();
        assert_eq!(report["connections"]["reused"], 500 - opened);
        let (stats, _) = scene.end();
        assert_eq!((&stats["mails"], &stats["duplicates"]), (&500.into(), &0.into()), "{mode}");
        assert_eq!(stats["connections"]["opened"], opened);
        assert!(stats["connections"]["open_max"].as_u64().unwrap() <= 3, "{mode}: {stats}");
        assert_eq!(stats["violations"], serde_json::json!({}), "{mode}");
    }
}

#[test]
fn for_some_time() {
    let mut scene = Scene::with_sink(&[]);
    let report = bench(&scene, &["-z", "300ms", "-c", "2"], 0);
    assert!(report["elapsed_us"].as_u64().unwrap() >= 290_000, "{report}");
    let (stats, _) = scene.end();
    assert_eq!(stats["mails"], report["counts"]["accepted"], "none is lost at the end");
}

#[test]
fn what_the_mails_are_like() {
    let mut scene = Scene::with_sink(&[]);
    let flags = [
        "-n",
        "4",
        "-c",
        "1",
        "--size",
        "3k",
        "--rcpts",
        "2",
        "--from",
        "f{seq}@a.test",
        "--to",
        "t{rcpt}-{seq}@b.test",
    ];
    let report = bench(&scene, &flags, 0);
    assert_eq!(
        (&report["counts"]["offered"], &report["settings"]["size"]),
        (&8.into(), &3072.into())
    );
    let (_, mails) = scene.end();
    assert_eq!(mails[3]["from"], "f3@a.test");
    assert_eq!(mails[3]["to"], serde_json::json!(["t0-3@b.test", "t1-3@b.test"]));
    assert!(mails.iter().all(|mail| mail["bytes"].as_u64().unwrap().abs_diff(3072) <= 2));
}

#[test]
fn each_mail_on_a_fresh_connection() {
    let mut scene = Scene::with_sink(&[]);
    let report = bench(&scene, &["-n", "20", "-c", "2", "--new-conns"], 0);
    assert_eq!(
        (&report["connections"]["opened"], &report["connections"]["reused"]),
        (&20.into(), &0.into())
    );
    let (stats, _) = scene.end();
    assert_eq!(stats["connections"]["opened"], 20);
}

#[test]
fn refusals_are_results() {
    let rejects = r#"at=rcpt rcpt=r0-1@* reply="550 5.1.1 no such user""#;
    let defers = r#"at=rcpt rcpt=r0-2@* reply="451 4.3.0 try later""#;
    let drops = "at=final from=f3@* close=rst";
    let mut scene = Scene::with_sink(&["--fault", rejects, "--fault", defers, "--fault", drops]);
    let flags = ["-n", "10", "-c", "1", "--from", "f{seq}@a.test", "--to", "r{rcpt}-{seq}@b.test"];
    let report = bench(&scene, &[&flags[..], &["--pipeline", "off"]].concat(), 69);
    let counts = &report["counts"];
    assert_eq!((&counts["offered"], &counts["accepted"]), (&10.into(), &7.into()), "{report}");
    assert_eq!((&counts["rejected"], &counts["deferred"]), (&1.into(), &1.into()));
    assert_eq!((&counts["in_doubt"], &counts["failed"]), (&1.into(), &0.into()));
    let replies = report["replies"].to_string();
    assert!(replies.contains("550 5.1.1 no such user"), "{replies}");
    assert!(replies.contains("451 4.3.0 try later"), "{replies}");
    let (stats, _) = scene.end();
    assert_eq!(stats["refusals"][rejects], 1, "one attempt each: {stats}");
    assert_eq!(stats["refusals"][defers], 1);
}

#[test]
fn a_report_in_a_file() {
    let scene = Scene::with_sink(&[]);
    let finished = scene.run(&["bench", "{sink}", "-n", "5", "--json", "{}/out.json"]).exits(0);
    finished.says("closed loop");
    check_consistent(&serde_json::from_str(&scene.read("out.json")).unwrap());
    let finished = scene.run(&["bench", "sink:", "-n", "5"]).exits(0);
    assert!(finished.stdout.contains("5  accepted"), "{finished:#?}");
    assert!(finished.stderr.contains("sink: 5 mails"), "{finished:#?}");
}

/// 192.0.2.1 is for documentation (RFC 5737): nobody is there, and nobody is asked.
#[test]
fn other_peoples_servers_are_left_alone() {
    let scene = Scene::new();
    for args in [
        &["bench", "192.0.2.1", "-n", "10", "-v"][..],
        &["bench", "smtps://[2001:db8::1]", "-z", "1s"],
        &["bench", "192.0.2.1", "--i-own-this-server"],
        &["bench", "127.0.0.1", "-n1", "--socks5", "127.0.0.1:1"],
    ] {
        let finished = scene.run(args).exits(77);
        assert_eq!(finished.stdout, "");
        finished
            .says("neither on this machine nor in a private network")
            .says("--i-own-this-server");
    }
}

#[test]
fn an_interrupted_run_has_its_report() {
    let mut scene = Scene::with_sink(&["--fault", "at=final delay=50ms"]);
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let args = ["bench", "{sink}", "-z", "10m", "-c", "2", "--json", "-", "-v"];
        let mut running = scene.start(&args);
        running.wait_for("Ok: queued");
        running.signal(signal);
        let report = report(running.wait().exits(code));
        assert_eq!(report["interrupted"], true);
        assert!(report["counts"]["accepted"].as_u64().unwrap() > 0);
        assert_eq!(report["counts"]["offered"], report["counts"]["accepted"], "mails may finish");
    }
    scene.end();
}

#[test]
fn command_lines_that_make_no_sense() {
    let scene = Scene::new();
    for (flags, expected) in [
        (&["-n", "some"][..], "some"),
        (&["-z", "5"], "250ms, 30s"),
        (&["--size", "big"], "big"),
        (&["--rcpts", "0"], "from 1"),
        (&["--from", "a b"], "\"a b\" is not an address"),
        (&["--to", "x{seq}"], "is not an address"),
        (&["--new-conns", "--per-conn", "5"], "cannot be used with"),
    ] {
        scene.run(&[&["bench", "sink:"][..], flags].concat()).exits(64).says(expected);
    }
}

/// The soft limit of open files is no limit of connections, and the hard one is named before anything fails.
#[test]
fn open_files() {
    let bench = |limit: &str| {
        let run =
            format!("{limit} && exec \"$0\" bench sink: -n 2000 -c 100 --json - --progress none");
        let command = ["-c", &run, env!("CARGO_BIN_EXE_posthaste")];
        let output = std::process::Command::new("sh").args(command).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).expect(&stderr);
        (report["connections"]["failed"].as_u64().unwrap(), stderr)
    };
    let (failed, stderr) = bench("ulimit -S -n 64");
    assert_eq!(failed, 0, "{stderr}");
    assert!(!stderr.contains("ulimit"), "{stderr}");
    let (_, stderr) = bench("ulimit -n 64");
    let expected = "100 connections need 232 open files, and 64 are allowed; `ulimit -n 232` before allows more";
    assert!(stderr.contains(expected), "{stderr}");
}
