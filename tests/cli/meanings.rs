//! What `send` does about replies that mean something else than their first digit says.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::Scene;

/// Sends a mail to these recipients while the sink has these faults. The log, by recipient.
#[track_caller]
fn send(faults: &[&str], recipients: &[&str], retries: &str, code: i32) -> (Vec<Value>, Value) {
    let flags: Vec<_> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
    let mut scene = Scene::with_sink(&flags);
    let to: Vec<_> = recipients.iter().flat_map(|recipient| ["-t", recipient]).collect();
    let args = ["send", "{sink}", "{}/m.eml", "-f", "ann@a.test", "--log", "{}/log.jsonl"];
    let patience = ["--retries", retries, "--backoff", "10ms..50ms", "--progress", "none"];
    scene.run(&[&args[..], &patience, &to].concat()).exits(code);
    let log = scene.lines("log.jsonl");
    (log, scene.end().0)
}

#[track_caller]
fn all_delivered(log: &[Value], attempts: u64) {
    for line in log {
        let found = (line["state"].as_str(), line["attempts"].as_u64());
        assert_eq!(found, (Some("delivered"), Some(attempts)), "{log:#?}");
    }
}

/// REP-19, REP-20, Q33: those left over go at once, and free of charge.
#[test]
fn recipients_too_many_follow_in_another_transaction() {
    for reply in ["552", "552 5.5.3 too many recipients", "452 4.5.3 too many", "452 full"] {
        let fault = format!(r#"at=rcpt rcpt=c@* first=1 reply="{reply}""#);
        let (log, stats) = send(&[&fault], &["a@b.test", "b@b.test", "c@b.test"], "2", 0);
        all_delivered(&log, 1);
        assert_eq!((&stats["mails"], &stats["recipients"]), (&Value::from(2), &Value::from(3)));
    }
    // Alone it is the mailbox that is full.
    let (log, _) = send(&[r#"at=rcpt reply="552""#], &["a@b.test"], "3", 69);
    let line = &log[0];
    assert_eq!((line["attempts"].as_u64(), line["code"].as_u64()), (Some(1), Some(552)));
}

/// Q40, Row 17: the server gets its pause, the mail waits for it, and what is reported is what was
/// said.
#[test]
fn throttles_in_the_words_of_a_refusal_are_no_refusals() {
    let mut scene = Scene::with_sink(&["--fault", r#"at=rcpt reply="550 Ip frequency limited""#]);
    let args = ["send", "{sink}", "{}/m.eml", "--log", "{}/log.jsonl", "--max-time", "1s"];
    let finished = scene.run(&[&args[..], &["--backoff", "10ms..50ms"]].concat()).exits(75);
    finished.says("slowed until ").says("; 550 Ip frequency limited");
    let log = scene.lines("log.jsonl");
    let found = (log[0]["state"].as_str(), log[0]["code"].as_u64());
    assert_eq!(found, (Some("deferred"), Some(550)));
    let (stats, _) = scene.end();
    assert_eq!(stats["commands"]["RCPT"], 1, "{stats}");
}

/// Q64, Q65: the next connection takes the mail, and no attempt is used up.
#[test]
fn connections_that_have_had_enough_cost_the_mail_nothing() {
    for reply in [
        "421 too many messages in this connection",
        "451 4.7.0 exceeded maximum number of messages per connection",
        "421 4.4.2 timeout exceeded",
        "451 4.4.2 Timeout - closing connection",
    ] {
        let fault = format!(r#"at=mail first=1 reply="{reply}""#);
        let (log, stats) = send(&[&fault], &["a@b.test"], "1", 0);
        all_delivered(&log, 1);
        assert_eq!(stats["connections"]["opened"], 2, "{reply}: {stats}");
    }
}

/// SCHED-05: a recipient that gets too much holds up nobody else.
#[test]
fn one_slow_recipient_stalls_nobody() {
    let scene =
        Scene::with_sink(&["--fault", r#"at=rcpt rcpt=r0@* reply="450 4.2.1 too quickly""#]);
    scene.mails("in.jsonl", 200);
    let started = Instant::now();
    let args = ["send", "{sink}", "--jsonl", "{}/in.jsonl", "--log", "{}/log.jsonl"];
    let args = [&args[..], &["--retries", "3", "--backoff", "10ms..20ms", "-c", "2"]].concat();
    scene.run(&args).exits(69);
    assert!(started.elapsed() < Duration::from_secs(10), "nobody waits for that one");
    let log = scene.lines("log.jsonl");
    let (slow, others): (Vec<_>, Vec<_>) =
        log.into_iter().partition(|line| line["rcpt"] == "r0@b.test");
    assert_eq!((slow[0]["state"].as_str(), slow[0]["code"].as_u64()), (Some("failed"), Some(450)));
    all_delivered(&others, 1);
}
