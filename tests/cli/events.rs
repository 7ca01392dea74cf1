//! `--events`: what happens, as lines of JSON.

use std::io::BufRead as _;

use serde_json::Value;

use crate::support::{Scene, json_lines};

fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

#[test]
fn a_mail_leaves_a_trace() {
    let scene = Scene::with_sink(&["--fault", r#"at=rcpt rcpt=no@* reply="550 5.1.1 nobody""#]);
    let args =
        ["send", "{sink}", "{}/m.eml", "-f", "a@b.test", "-t", "no@b.test", "-t", "yes@b.test"];
    scene.run(&[&args[..], &["--events", "{}/events.jsonl"]].concat()).exits(69);
    let events = scene.lines("events.jsonl");
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names.first(), Some(&"connection_opened"), "{events:#?}");
    assert_eq!(names.last(), Some(&"connection_closed"), "{events:#?}");
    let [attempt] = named(&events, "attempt")[..] else { panic!("{events:#?}") };
    assert_eq!((&attempt["accepted"], &attempt["refused"]), (&1.into(), &1.into()));
    assert_eq!((&attempt["stage"], &attempt["code"]), (&"rcpt".into(), &550.into()));
    assert_eq!((&attempt["enhanced"], &attempt["text"]), (&"5.1.1".into(), &"nobody".into()));
    assert_eq!(attempt["server"], format!("127.0.0.1:{}", scene.port()));
    let [failed] = named(&events, "failed")[..] else { panic!("{events:#?}") };
    assert_eq!((&failed["rcpt"], &failed["cause"]), (&"no@b.test".into(), &"refused".into()));
    let [delivered] = named(&events, "delivered")[..] else { panic!("{events:#?}") };
    assert_eq!((&delivered["rcpt"], &delivered["code"]), (&"yes@b.test".into(), &250.into()));
    for event in [attempt, failed, delivered] {
        assert_eq!(event["mail"], 1, "{event}");
    }
    for event in &events {
        let at = event["at"].as_str().unwrap();
        assert!(at.len() == 24 && at.starts_with("20") && at.ends_with('Z'), "{at}");
    }
}

#[test]
fn what_a_server_does_is_told() {
    let scene = Scene::with_sink(&["--fault", r#"at=greeting first=2 reply="421 4.3.2 later""#]);
    let args = ["send", "{sink}", "{}/m.eml", "--server-backoff", "10ms..20ms"];
    scene.run(&[&args[..], &["--events", "{}/events.jsonl"]].concat()).exits(0);
    let events = scene.lines("events.jsonl");
    let states: Vec<_> = named(&events, "server_state_changed")
        .iter()
        .map(|event| (event["state"].as_str().unwrap(), event["failures"].as_u64().unwrap()))
        .collect();
    assert_eq!(states[..2], [("backing_off", 1), ("backing_off", 2)], "{events:#?}");
    assert_eq!(states[2].0, "normal", "{events:#?}");
    let closed = named(&events, "connection_closed");
    assert_eq!((&closed[0]["how"], &closed[0]["code"]), (&"shutdown".into(), &421.into()));
    assert!(named(&events, "server_state_changed")[0]["until"].is_string());
}

#[test]
fn they_can_be_read_while_they_happen() {
    let scene = Scene::with_sink(&["--fault", "at=final delay=1h"]);
    let mut running = scene.start(&["send", "{sink}", "{}/m.eml", "--events", "-"]);
    let mut line = String::new();
    running.stdout().read_line(&mut line).unwrap();
    let event = &json_lines(&line)[0];
    assert_eq!(event["event"], "connection_opened");
    assert_eq!(event["server"], event["peer"]);
}

#[test]
fn standard_output_is_for_one_kind_of_lines() {
    let scene = Scene::new();
    let send = ["send", "sink:", "{}/m.eml", "--events", "-"];
    let finished = scene.run(&send).exits(0);
    assert!(json_lines(&finished.stdout).len() >= 3, "{finished:#?}");
    assert!(finished.stderr.contains("1 mail to 1 recipient"), "{finished:#?}");
    let both = scene.run(&[&send[..], &["--log", "-"]].concat()).exits(64);
    both.complains("--events and --log cannot both be standard output");
    let bench = ["bench", "sink:", "-n", "1", "--events", "-", "--json", "-"];
    scene.run(&bench).exits(64).complains("--events and --json cannot both be standard output");
}

#[test]
fn a_file_that_cannot_be_written() {
    let mut scene = Scene::with_sink(&[]);
    let args = ["send", "{sink}", "{}/m.eml", "--events", "{}/none/events.jsonl"];
    scene.run(&args).exits(74).says("none/events.jsonl: No such file or directory");
    scene.end_without_mail();
    let full = scene.run(&["send", "sink:", "{}/m.eml", "--events", "/dev/full"]).exits(74);
    full.says("cannot write to /dev/full: No space left on device").says("1  delivered");
}
