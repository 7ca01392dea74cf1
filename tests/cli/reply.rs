//! `posthaste reply`: what a server's words mean.

use std::io::{BufRead as _, Write as _};

use serde_json::{Value, json};

use crate::support::{Scene, json_lines};

/// What the command says of one argument.
#[track_caller]
fn explained(stage: &str, text: &str) -> Value {
    let finished = Scene::new().run(&["reply", "--stage", stage, text]).exits(0);
    assert_eq!(finished.stderr, "");
    let [line] = &json_lines(&finished.stdout)[..] else { panic!("one line: {finished:#?}") };
    line.clone()
}

#[test]
fn a_reply_is_a_line_of_json() {
    let found = explained("rcpt", "550 5.1.1 <a@b.test>: no such user");
    let expected = json!({
        "code": 550,
        "enhanced": "5.1.1",
        "lines": 1,
        "severity": "permanent_negative",
        "class": "no_such_user",
        "scope": "recipient",
        "action": "fail",
    });
    assert_eq!(found, expected);
    let found = explained("rcpt", "250-first\r\n250 last\r\n");
    assert_eq!((&found["lines"], &found["enhanced"]), (&json!(2), &Value::Null));
    assert_eq!((&found["class"], &found["action"]), (&json!("ok"), &json!("proceed")));
}

/// REP-18, Q33, Q38, Q40, Q61, Q62, Q64, Q65, AUTH-09, AUTH-10: the same words mean something else
/// at another stage, and some contradict their code.
#[test]
fn stages_and_words_decide_what_is_done() {
    for (stage, text, class, scope, action) in [
        ("rcpt", "550 Ip frequency limited", "throttled", "source", "slow_down"),
        ("rcpt", "452 4.5.3 too many recipients", "too_many_recipients", "transaction", "split"),
        ("rcpt", "552", "too_many_recipients", "transaction", "split"),
        ("final", "552", "too_large", "mail", "fail"),
        ("rcpt", "450 4.2.0 Greylisted", "greylisted", "recipient", "greylist"),
        ("rcpt", "450 4.2.1 busy", "throttled", "recipient", "retry"),
        ("mail", "421 too many messages in this session", "throttled", "session", "reconnect"),
        ("mail", "451 4.4.2 Timeout - closing connection", "timeout", "connection", "reconnect"),
        ("greeting", "554 too many connections", "throttled", "connections", "limit_connections"),
        ("greeting", "554 5.7.1 listed at dnsbl.test", "policy_spam", "source", "hold_server"),
        ("auth", "432 4.7.12 transition needed", "auth_failed", "account", "hold_account"),
        ("auth", "432 4.3.2 slower", "throttled", "account", "back_off"),
        ("mail", "432 4.3.2 slower", "throttled", "account", "slow_down"),
        ("auth", "454 4.7.0 Too many login attempts", "throttled", "account", "back_off"),
        ("auth", "535 5.7.8 no", "auth_failed", "account", "hold_account"),
        ("final", "250 ok", "ok", "mail", "deliver"),
        ("ehlo", "250 mx.test", "ehlo", "source", "proceed"),
        ("quit", "221 bye", "closing_ok", "connection", "proceed"),
        ("starttls", "454 no", "tls_failed", "host", "back_off"),
        ("connect", "220 mx.test", "greeting", "source", "proceed"),
        ("data", "354 go on", "continue", "mail", "proceed"),
        ("content", "554 5.6.0 no", "content_rejected", "mail", "fail"),
        ("rset", "421 bye", "shutting_down", "host", "reconnect"),
    ] {
        let found = explained(stage, text);
        let found = ["class", "scope", "action"].map(|key| found[key].as_str().unwrap());
        assert_eq!(found, [class, scope, action], "{stage} {text}");
    }
}

/// Every labelled reply, in one stream: as many lines of output as there are entries, each with
/// the right code. Those that are no replies are named as such.
#[test]
fn a_stream_of_replies_is_explained_one_by_one() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../reply/tests/data/replies.jsonl");
    let corpus = json_lines(&std::fs::read_to_string(corpus).unwrap());
    let stream: String = corpus.iter().map(|entry| entry["raw"].as_str().unwrap()).collect();
    for args in [&["reply", "-"][..], &["reply"], &["reply", "--stage", "rcpt", "-"]] {
        let finished = Scene::new().run_with_input(args, &stream).exits(65);
        let lines = json_lines(&finished.stdout);
        assert_eq!(lines.len(), corpus.len());
        let mut right = 0;
        for (line, entry) in lines.iter().zip(&corpus) {
            assert_eq!(line.get("code").unwrap_or(&Value::Null), &entry["code"], "{entry}");
            assert_eq!(line.get("enhanced").unwrap_or(&Value::Null), &entry["enhanced"], "{entry}");
            assert_eq!(line.get("error").is_some(), entry["code"].is_null(), "{entry}");
            let class = line.get("class").and_then(Value::as_str).unwrap_or("malformed");
            right += usize::from(class == entry["class"]);
        }
        assert!(right * 100 >= 95 * corpus.len(), "{right} of {}", corpus.len());
    }
}

#[test]
fn what_is_no_reply_does_not_hide_the_next() {
    let finished = Scene::new().run_with_input(&["reply"], "220 a\r\nwhat?\r\n550 5.1.1 x\r\n250-");
    let lines = json_lines(&finished.exits(65).stdout);
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0]["code"], 220);
    let error = "expected a digit of a reply code at offset 7, got 'w'";
    assert_eq!(lines[1], json!({"error": error, "offset": 7}));
    assert_eq!(lines[2]["code"], 550);
    let error = "expected a whole reply, got only the start of one";
    assert_eq!(lines[3], json!({"error": error, "offset": 27}));

    let finished = Scene::new().run(&["reply", "220 a", "25 b", "250 c"]);
    let lines = json_lines(&finished.exits(65).stdout);
    let error = "expected a digit of a reply code at offset 2, got ' '";
    assert_eq!(lines[1], json!({"error": error, "offset": 2}));
    assert_eq!((&lines[0]["code"], &lines[2]["code"]), (&json!(220), &json!(250)));
    Scene::new().run_with_input(&["reply"], "").exits(0);
}

#[test]
fn stages_that_do_not_exist_are_a_mistake() {
    let finished = Scene::new().run(&["reply", "--stage", "rctp", "250 ok"]).exits(64);
    finished.says("'rctp'").says("greeting, ehlo, starttls, auth, mail, rcpt, data");
}

/// Lines come as soon as their reply is complete; a reader that goes away is a success.
#[test]
fn replies_are_explained_while_they_come() {
    let scene = Scene::new();
    let mut running = scene.start(&["reply"]);
    let mut stdout = running.stdout();
    for _ in 0..2 {
        running.stdin().write_all(b"450-4.7.1 a\r\n450 4.7.1 b\r\n").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(json_lines(&line)[0]["code"], 450);
    }
    drop(stdout);
    let replies = "250 ok\r\n".repeat(10_000);
    // The command may have ended by then.
    let _ = running.stdin().write_all(replies.as_bytes());
    let finished = running.wait().exits(0);
    assert_eq!(finished.stderr, "");
}
