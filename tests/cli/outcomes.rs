//! What servers refuse, defer and leave open: exit codes, log and summary.

use serde_json::Value;

use crate::support::{Finished, Scene};

/// Sends a mail to three recipients through a server with a fault. How it ended, and the log.
fn send(fault: &str, flags: &[&str]) -> (Finished, Vec<Value>) {
    let mut scene = Scene::with_sink(&["--fault", fault]);
    let args = [
        "send",
        "{sink}",
        "{}/m.eml",
        "-t",
        "a@b.test",
        "-t",
        "b@b.test",
        "-t",
        "c@b.test",
        "--log",
        "{}/log.jsonl",
    ];
    let finished = scene.run(&[&args[..], flags].concat());
    let log = scene.lines("log.jsonl");
    assert_eq!(log.len(), 3, "a line for each recipient: {log:?}");
    let delivered = log.iter().filter(|line| line["state"] == "delivered").count();
    let (stats, _) = scene.end();
    assert!(stats["recipients"].as_u64().unwrap() >= delivered as u64);
    (finished, log)
}

fn line<'a>(log: &'a [Value], rcpt: &str) -> &'a Value {
    log.iter().find(|line| line["rcpt"] == rcpt).unwrap()
}

#[test]
fn a_deferred_recipient_is_tried_again() {
    let fault = r#"at=rcpt rcpt=b@* first=2 reply="451 4.3.0 try later""#;
    let (finished, log) = send(fault, &["--retries", "3", "--backoff", "10ms..20ms"]);
    finished.exits(0);
    assert_eq!(line(&log, "b@b.test")["attempts"], 3);
    assert_eq!(line(&log, "a@b.test")["attempts"], 1, "the others are not sent again");
}

#[test]
fn retries_are_used_up() {
    let fault = r#"at=rcpt rcpt=b@* reply="451 4.3.0 try later""#;
    let (finished, log) = send(fault, &["--retries", "2", "--backoff", "10ms..20ms"]);
    finished.exits(69).says("451 4.3.0 try later");
    let failed = line(&log, "b@b.test");
    assert_eq!((&failed["state"], &failed["attempts"]), (&"failed".into(), &2.into()));
    assert_eq!(failed["cause"], "attempts_used_up");
    assert_eq!((&failed["stage"], &failed["code"]), (&"rcpt".into(), &451.into()));
}

#[test]
fn a_refused_recipient_fails_alone() {
    let (finished, log) = send(r#"at=rcpt rcpt=b@* reply="550 5.1.1 no such user""#, &[]);
    let finished = finished.exits(69).says("1  550 5.1.1 no such user");
    assert!(finished.stdout.contains("2  delivered\n  1  failed\n"), "{finished:#?}");
    let failed = line(&log, "b@b.test");
    assert_eq!((&failed["state"], &failed["cause"]), (&"failed".into(), &"refused".into()));
    assert_eq!((&failed["stage"], &failed["code"]), (&"rcpt".into(), &550.into()));
    assert_eq!((&failed["enhanced"], &failed["text"]), (&"5.1.1".into(), &"no such user".into()));
    assert_eq!(failed["queue_id"], Value::Null);
    assert_eq!(line(&log, "c@b.test")["state"], "delivered");
}

#[test]
fn what_is_not_done_in_time_is_deferred() {
    let fault = r#"at=mail reply="451 4.3.0 try later""#;
    let (finished, log) = send(fault, &["--backoff", "1h..2h", "--max-time", "300ms"]);
    finished.exits(75).says("time is up").says("3  deferred");
    assert!(log.iter().all(|line| line["state"] == "deferred"), "{log:?}");
}

#[test]
fn content_without_a_final_reply_is_in_doubt() {
    for fault in ["at=final store=true close=rst", "at=final store=false close=fin"] {
        let (finished, log) = send(fault, &[]);
        finished.exits(75).says("3  in doubt");
        assert!(log.iter().all(|line| line["state"] == "in_doubt"), "{log:?}");
        assert_eq!(log[0]["stage"], "final");
        assert_eq!(log[0]["cause"], "no_final_reply");
    }
}

#[test]
fn refused_content_fails_for_all() {
    let (finished, log) = send(r#"at=final reply="554 5.7.1 looks like spam""#, &[]);
    finished.exits(69).says("3  554 5.7.1 looks like spam");
    assert!(log.iter().all(|line| line["stage"] == "final" && line["code"] == 554), "{log:?}");
}

#[test]
fn more_mails_than_the_server_has_room_for() {
    let mut scene = Scene::with_sink(&["--max-conns", "2", "--max-per-conn", "7"]);
    scene.mails("in.jsonl", 300);
    let args = ["send", "{sink}", "--jsonl", "{}/in.jsonl", "-c", "8", "--log", "{}/log.jsonl"];
    scene.run(&args).exits(0);
    let (stats, mails) = scene.end();
    assert_eq!((&stats["mails"], &stats["duplicates"]), (&300.into(), &0.into()));
    assert_eq!((mails.len(), scene.lines("log.jsonl").len()), (300, 300));
    assert!(stats["connections"]["open_max"].as_u64().unwrap() <= 2, "{stats}");
}

#[test]
fn connections_are_a_hard_bound() {
    let mut scene = Scene::with_sink(&["--rtt", "5ms"]);
    scene.mails("in.jsonl", 200);
    scene.run(&["send", "{sink}", "--jsonl", "{}/in.jsonl", "-c", "3"]).exits(0);
    let (stats, _) = scene.end();
    assert_eq!((&stats["mails"], &stats["connections"]["open_max"]), (&200.into(), &3.into()));
}

#[test]
fn connections_are_replaced() {
    let mut scene = Scene::with_sink(&[]);
    scene.mails("in.jsonl", 200);
    scene.run(&["send", "{sink}", "--jsonl", "{}/in.jsonl", "-c", "3", "--per-conn", "5"]).exits(0);
    let (stats, _) = scene.end();
    assert_eq!((&stats["mails"], &stats["duplicates"]), (&200.into(), &0.into()));
    assert!(stats["connections"]["opened"].as_u64().unwrap() >= 40, "{stats}");
}
