//! `--rate`, classes and tenants: how fast mails go, and which go first.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::Scene;

/// Never faster than was asked for, whatever the number of connections.
#[test]
fn mails_come_no_faster_than_asked_for() {
    for command in ["send", "bench"] {
        let mut scene = Scene::with_sink(&[]);
        scene.mails("in.jsonl", 20);
        let what: &[&str] =
            if command == "send" { &["--jsonl", "{}/in.jsonl"] } else { &["-n", "20"] };
        let rate = ["-R", "40/s", "-c", "8", "--events", "{}/events.jsonl"];
        scene.run(&[&[command, "{sink}"], what, &rate[..]].concat()).exits(0);
        let (stats, _) = scene.end();
        assert_eq!(stats["mails"], 20);
        let events = scene.lines("events.jsonl");
        let at = |name: &str| -> Vec<f64> {
            let of = events.iter().filter(|event| event["event"] == name);
            of.map(|event| seconds(event["at"].as_str().unwrap())).collect()
        };
        let attempts = at("attempt");
        let took = attempts.last().unwrap() - at("connection_opened")[0];
        // Nineteen pauses of 25 ms; a mail takes a moment, too.
        assert!(took > 0.45, "{command}: {took}");
    }
}

/// Seconds since midnight; the test is wrong if it runs across it.
fn seconds(at: &str) -> f64 {
    let parts: Vec<f64> = at[11..23].split(':').map(|part| part.parse().unwrap()).collect();
    parts[0] * 3600.0 + parts[1] * 60.0 + parts[2]
}

#[test]
fn a_mail_can_be_more_urgent_than_others() {
    let mut scene = Scene::with_sink(&["--fault", "at=final delay=5ms"]);
    let line = |number: usize| {
        let how = match number {
            190.. => r#""class":"interactive","#,
            _ if number.is_multiple_of(2) => r#""tenant":"shop","#,
            _ => r#""tenant":7,"#,
        };
        format!(r#"{{{how}"from":"a@x.test","to":"r{number}@y.test","text":"hi"}}"#)
    };
    scene.file("in.jsonl", (0..200).map(line).collect::<Vec<_>>().join("\n"));
    let args = ["send", "{sink}", "--jsonl", "{}/in.jsonl", "--class", "bulk", "-c", "1"];
    scene.run(&[&args[..], &["--events", "{}/events.jsonl"]].concat()).exits(0);
    let (stats, _) = scene.end();
    assert_eq!(stats["mails"], 200);
    let events = scene.lines("events.jsonl");
    let delivered: Vec<_> = events.iter().filter(|event| event["event"] == "delivered").collect();
    let mut kinds = BTreeMap::<(String, u64), u32>::new();
    for event in &delivered {
        let class = event["class"].as_str().unwrap().to_owned();
        *kinds.entry((class, event["tenant"].as_u64().unwrap())).or_default() += 1;
    }
    let expected = [(("bulk", 1), 95), (("bulk", 2), 95), (("interactive", 0), 10)];
    let expected = expected.map(|((class, tenant), count)| ((class.to_owned(), tenant), count));
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
    let is_urgent = |event: &&Value| event["class"] == "interactive";
    let last = delivered.iter().rposition(is_urgent).unwrap();
    assert!(last < 150, "the last urgent mail came as number {last} of 200, submitted at the end");
}

#[test]
fn values_that_make_no_sense() {
    let scene = Scene::new();
    for (args, expected) in [
        (["--rate", "fast"], "expected N/s, N/m or N/h, e.g. 100/s"),
        (["--rate", "0/s"], "expected N/s, N/m or N/h, e.g. 100/s"),
        (["--class", "express"], "expected interactive, normal or bulk"),
        (["--exhausted", "never"], "expected fail or wait"),
        (["--server-backoff", "5s"], "expected MIN..MAX, e.g. 1s..5m"),
        (["--server-backoff", "5s..1s"], "the shortest wait is longer than the longest"),
    ] {
        scene.run(&["send", "sink:", "{}/m.eml", args[0], args[1]]).exits(64).says(expected);
    }
    scene.run(&["bench", "sink:", "-R", "1/d"]).exits(64).says("expected N/s, N/m or N/h");
    scene.file("in.jsonl", r#"{"from":"a@x","to":"b@y","text":"t","class":"express"}"#);
    let send = scene.run(&["send", "sink:", "--jsonl", "{}/in.jsonl"]).exits(65);
    send.says("expected interactive, normal or bulk").says("in.jsonl:1");
}

#[test]
fn several_servers_share_the_load() {
    // Slow enough that one connection does not suffice.
    let slow = || Scene::with_sink(&["--fault", "at=final delay=10ms"]);
    let (mut one, mut other, mut spare) = (slow(), slow(), slow());
    one.mails("in.jsonl", 200);
    let address = |scene: &Scene| format!("127.0.0.1:{}", scene.port());
    let (also, fallback) = (address(&other), address(&spare));
    let args = ["send", "{sink}", "--jsonl", "{}/in.jsonl", "--also", &also, "-c", "4"];
    let finished = one.run(&[&args[..], &["--fallback", &fallback]].concat()).exits(0);
    finished.says("Servers\n  server").says(&fallback);
    let mails = |scene: &mut Scene| scene.end().0["mails"].as_u64().unwrap();
    let counts = [mails(&mut one), mails(&mut other), mails(&mut spare)];
    assert_eq!((counts.iter().sum::<u64>(), counts[2]), (200, 0), "{counts:?}");
    assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
}

#[test]
fn a_fallback_serves_where_nobody_else_does() {
    let mut spare = Scene::with_sink(&[]);
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    spare.run(&["send", &nobody, "{}/m.eml", "--fallback", "{sink}"]).exits(0);
    assert_eq!(spare.end().0["mails"], 1);
    // LK-01
    let bad =
        spare.run(&["send", "sink:", "{}/m.eml", "--also", "news:hunter2@mx.test:x"]).exits(64);
    assert!(!bad.output().contains("hunter2"), "{bad:#?}");
}
