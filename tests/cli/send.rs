//! `posthaste send` where all is well.

use std::collections::BTreeSet;
use std::io::Write as _;

use serde_json::Value;

use crate::support::{MAIL, Scene, json_lines, newsletter};

#[test]
fn files_arrive_as_they_are() {
    let lf = MAIL.replace("\r\n", "\n");
    for (name, content) in [("crlf.eml", MAIL), ("lf.eml", lf.as_str())] {
        let mut scene = Scene::with_sink(&[]);
        scene.file(name, content);
        let finished = scene.run(&["send", "{sink}", &format!("{{}}/{name}")]).exits(0);
        assert!(finished.stdout.starts_with("1 mail to 1 recipient, 61 B delivered in "));
        let (stats, mails) = scene.end();
        assert_eq!(mails[0]["content"], MAIL);
        assert_eq!(
            (&mails[0]["from"], &mails[0]["to"][0]),
            (&"ann@a.test".into(), &"bob@b.test".into())
        );
        assert_eq!(stats["violations"], serde_json::json!({}));
    }
}

#[test]
fn standard_input_is_a_mail() {
    let mut scene = Scene::with_sink(&[]);
    scene.run_with_input(&["send", "{sink}", "-"], MAIL).exits(0);
    let (_, mails) = scene.end();
    assert_eq!(mails[0]["content"], MAIL);
}

#[test]
fn several_inputs_at_once() {
    let mut scene = Scene::with_sink(&[]);
    scene.file("box/new/1", MAIL);
    scene.file("box/cur/2:2,S", MAIL);
    let mail = MAIL.replace("\r\n", "\n");
    scene.file("m.mbox", format!("From a@x\n{mail}\nFrom a@x\n{mail}"));
    scene.run(&["send", "{sink}", "{}/m.eml", "{}/box", "{}/m.mbox"]).exits(0);
    let (stats, mails) = scene.end();
    assert_eq!((&stats["mails"], mails.len()), (&5.into(), 5));
}

#[test]
fn flags_make_the_envelope() {
    let mut scene = Scene::with_sink(&[]);
    let base = ["send", "{sink}", "{}/m.eml"];
    let check = |flags: &[&str]| scene.run(&[&base[..], flags].concat()).exits(0);
    check(&["-f", "n@a.test", "-t", "x@b.test", "-t", "Yan <y@b.test>"]);
    check(&["-f", ""]);
    check(&["-f", "<>"]);
    let (_, mails) = scene.end();
    assert_eq!(mails[0]["from"], "n@a.test");
    assert_eq!(mails[0]["to"], serde_json::json!(["x@b.test", "y@b.test"]));
    // CMD-04
    assert_eq!((&mails[1]["from"], &mails[2]["from"]), (&"".into(), &"".into()));
}

#[test]
fn a_composed_mail_has_its_files() {
    let mut scene = Scene::with_sink(&[]);
    scene.file("text.txt", "Grüße");
    scene.file("page.html", "<img src='cid:logo.png'>");
    scene.file("logo.png", b"\x89PNG\r\n\x1a\n");
    scene.file("books.pdf", "%PDF-1.7");
    let finished = scene.run(&[
        "send",
        "{sink}",
        "--subject",
        "Bücher",
        "--text",
        "{}/text.txt",
        "--html",
        "{}/page.html",
        "--inline",
        "{}/logo.png",
        "--attach",
        "{}/books.pdf",
        "-f",
        "Ann <ann@a.test>",
        "-t",
        "Bob <bob@b.test>",
        "--bcc",
        "carl@c.test",
        "-H",
        "X-Campaign: june",
    ]);
    finished.exits(0).says("1 mail to 2 recipients");
    let (stats, mails) = scene.end();
    let content = mails[0]["content"].as_str().unwrap();
    for expected in [
        "From: \"Ann\" <ann@a.test>",
        "Subject: =?utf-8?",
        "X-Campaign: june",
        "filename=\"books.pdf\"",
        "Content-ID: <logo.png>",
        "multipart/alternative",
    ] {
        assert!(content.to_lowercase().contains(&expected.to_lowercase()), "{expected}: {content}");
    }
    assert!(!content.contains("carl"), "a blind copy stays blind");
    assert_eq!(mails[0]["to"], serde_json::json!(["bob@b.test", "carl@c.test"]));
    assert_eq!(stats["violations"], serde_json::json!({}));
}

#[test]
fn json_lines_make_mails() {
    let mut scene = Scene::with_sink(&[]);
    scene.file(
        "in.jsonl",
        r#"{"id":"one","from":"a@x.test","to":["b@y.test","c@y.test"],"eml":"m.eml"}
           {"id":2,"from":"a@x.test","to":"d@y.test","text":"hi","subject":"s"}"#,
    );
    let args = ["send", "{sink}", "--jsonl", "{}/in.jsonl", "--log", "{}/log.jsonl"];
    scene.run(&args).exits(0).says("2 mails to 3 recipients");
    let mut told: Vec<_> = scene.lines("log.jsonl").iter().map(place).collect();
    told.sort();
    let expected = [("2", "d@y.test"), ("one", "b@y.test"), ("one", "c@y.test")];
    assert_eq!(told, expected.map(|(id, rcpt)| (id.to_owned(), rcpt.to_owned())));
    let input = scene.read("in.jsonl").replace("m.eml", scene.path("m.eml").to_str().unwrap());
    scene.run_with_input(&["send", "{sink}", "--jsonl", "-"], input).exits(0);
    let (stats, _) = scene.end();
    assert_eq!(stats["recipients"], 6);
}

fn place(line: &Value) -> (String, String) {
    let text = |key: &str| line[key].as_str().unwrap().to_owned();
    (text("id"), text("rcpt"))
}

#[test]
fn the_newsletter_reaches_everybody_once() {
    let mut scene = Scene::with_sink(&[]);
    let sample = newsletter();
    let (rows, template) = (sample.join("people.csv"), sample.join(""));
    let (rows, template) = (rows.to_str().unwrap(), template.to_str().unwrap());
    let args = ["send", "{sink}", "--rows", rows, "--template", template, "--log", "{}/log.jsonl"];
    let finished = scene.run(&args).exits(0);
    let summary = finished.stdout.replace('\u{202f}', " ");
    assert!(summary.starts_with("1 200 mails to 1 200 recipients"), "{summary}");
    let (stats, _) = scene.end();
    assert_eq!((&stats["mails"], &stats["duplicates"]), (&1200.into(), &0.into()));
    let log = scene.lines("log.jsonl");
    let recipients: BTreeSet<_> = log.iter().map(|line| line["rcpt"].as_str().unwrap()).collect();
    assert_eq!((log.len(), recipients.len()), (1200, 1200));
    assert!(log.iter().all(|line| line["state"] == "delivered"));
    // The rows' places: the first row is line 2.
    assert!(log.iter().any(|line| line["id"].as_str().unwrap().ends_with("people.csv:2")));
}

#[test]
fn the_log_says_all_about_each_recipient() {
    let scene = Scene::with_sink(&[]);
    let args = ["send", "{sink}", "{}/m.eml", "-t", "b@b.test", "-t", "c@b.test", "--log", "-"];
    let finished = scene.run(&args).exits(0);
    let log = json_lines(&finished.stdout);
    assert_eq!(log.len(), 2);
    let line = log[0].as_object().unwrap();
    let keys: BTreeSet<_> = line.keys().map(String::as_str).collect();
    let expected = "id from rcpt state attempts server stage code enhanced text queue_id bytes \
                    queued_ms sent_ms";
    assert_eq!(keys, expected.split_whitespace().collect());
    assert_eq!(line["from"], "ann@a.test");
    assert_eq!(line["rcpt"], "b@b.test");
    assert_eq!(line["attempts"], 1);
    assert_eq!((&line["stage"], &line["code"]), (&"final".into(), &250.into()));
    assert_eq!(line["enhanced"], "2.0.0");
    assert_eq!(line["bytes"], 61);
    let text = line["text"].as_str().unwrap();
    assert_eq!(text.strip_prefix("Ok: queued as "), line["queue_id"].as_str());
    assert!(finished.stderr.contains("1 mail to 2 recipients"), "the summary steps aside");
}

#[test]
fn a_rehearsal_connects_nowhere() {
    let mut scene = Scene::with_sink(&[]);
    scene.mails("in.jsonl", 1100);
    let args = ["send", "{sink}", "--jsonl", "{}/in.jsonl", "--dry-run"];
    let finished = scene.run(&args).exits(0);
    let plan = finished.stdout.replace('\u{202f}', " ");
    assert!(plan.starts_with("Would send 1 100 mails ("), "{plan}");
    assert!(plan.contains("to 1 100 recipients in 1 domain through smtp://127.0.0.1:"), "{plan}");
    scene.run_with_input(&["send", "{sink}", "-", "--dry-run"], MAIL).exits(0);
    let (stats, _) = scene.end();
    assert_eq!(stats["connections"]["opened"], 0);
}

#[test]
fn a_sink_can_be_inside() {
    let scene = Scene::new();
    for server in ["sink:", "sink:?require-tls", "sink:?implicit-tls", "sink:?rtt=1ms&max-conns=1"]
    {
        let finished = scene.run(&["send", server, "{}/m.eml"]).exits(0);
        let finished = finished.says("sink: 1 mail for 1 recipient");
        assert!(!finished.output().contains("verified"), "nobody doubts it: {finished:#?}");
    }
}

/// The log can be followed while a slow input is still coming.
#[test]
fn the_log_is_written_while_mails_are_sent() {
    use std::io::BufRead as _;
    let scene = Scene::with_sink(&[]);
    let mut running = scene.start(&["send", "{sink}", "--jsonl", "-", "--log", "-"]);
    let mut log = running.stdout();
    for number in 1..=2 {
        let mail = r#"{"from":"a@x.test","to":"b@y.test","text":"hi"}"#;
        writeln!(running.stdin(), "{mail}").unwrap();
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        assert!(line.contains(&format!(":{number}\"")), "{line}");
    }
    running.wait().exits(0);
}
