//! Signals, closed pipes, outputs that cannot be written.

use std::collections::BTreeSet;
use std::io::BufRead as _;
use std::io::Write as _;

use nix::sys::signal::Signal;

use crate::support::Scene;

const SLOW: &str = "at=final delay=300ms";
const STUCK: &str = "at=final delay=1h";

fn scene(fault: &str) -> Scene {
    let scene = Scene::with_sink(&["--fault", fault]);
    scene.mails("in.jsonl", 1000);
    scene
}

const SEND: [&str; 9] =
    ["send", "{sink}", "--jsonl", "{}/in.jsonl", "--log", "{}/log.jsonl", "-c", "2", "-v"];

/// QUIT-06
#[test]
fn the_first_signal_lets_mails_finish() {
    for (signal, code, word) in
        [(Signal::SIGINT, 130, "interrupted"), (Signal::SIGTERM, 143, "terminated")]
    {
        let mut scene = scene(SLOW);
        let mut running = scene.start(&SEND);
        running.wait_for("octets of content");
        running.signal(signal);
        let finished = running.wait().exits(code).says(word);
        let finished = finished.says("not sent before the command ended");
        let log = scene.lines("log.jsonl");
        let recipients: BTreeSet<_> = log.iter().map(|line| line["rcpt"].as_str()).collect();
        assert_eq!((log.len(), recipients.len()), (1000, 1000), "a line for each recipient");
        let count = |state: &str| log.iter().filter(|line| line["state"] == state).count();
        assert_eq!(count("delivered") + count("deferred"), 1000);
        assert!(count("delivered") > 0 && count("deferred") > 0, "{finished:#?}");
        let (stats, _) = scene.end();
        assert_eq!(stats["mails"], count("delivered"));
    }
}

#[test]
fn the_second_signal_ends_at_once() {
    // Content is told of a moment before it is written, and on a busy machine the end may come in between.
    for _ in 0..20 {
        let scene = scene(STUCK);
        let mut running = scene.start(&SEND);
        running.wait_for("octets of content");
        running.signal(Signal::SIGINT);
        running.wait_for("press again");
        running.signal(Signal::SIGINT);
        let finished = running.wait().exits(130);
        let log = scene.lines("log.jsonl");
        let count = |state: &str| log.iter().filter(|line| line["state"] == state).count();
        assert_eq!(count("in_doubt") + count("deferred"), log.len());
        if count("in_doubt") > 0 {
            finished.says("in doubt");
            return;
        }
    }
    panic!("nothing was ever in doubt");
}

#[test]
fn an_input_that_never_ends_can_be_interrupted() {
    let scene = Scene::with_sink(&[]);
    let mut running = scene.start(&["send", "{sink}", "--jsonl", "-", "-v"]);
    writeln!(running.stdin(), r#"{{"from":"a@x.test","to":"b@y.test","text":"hi"}}"#).unwrap();
    running.wait_for("<- 250 2.0.0 Ok: queued");
    running.signal(Signal::SIGINT);
    // Its standard input is still open.
    running.wait_for("session ended");
    running.wait().exits(130).says("1 mail to 1 recipient");
}

#[test]
fn a_reader_that_goes_away_is_a_success() {
    let mut scene = Scene::with_sink(&[]);
    scene.mails("in.jsonl", 2000);
    let mut running = scene.start(&["send", "{sink}", "--jsonl", "{}/in.jsonl", "--log", "-"]);
    let mut line = String::new();
    running.stdout().read_line(&mut line).unwrap();
    assert!(line.contains("delivered"));
    running.wait().exits(0);
    let (stats, _) = scene.end();
    assert_eq!(stats["mails"], 2000, "the mails are sent all the same");
    for args in [&["send", "--help"][..], &["send", "sink:", "{}/m.eml"]] {
        let mut running = scene.start(args);
        drop(running.stdout());
        running.wait().exits(0);
    }
}

#[test]
fn outputs_that_cannot_be_written() {
    let mut scene = Scene::with_sink(&[]);
    let args = ["send", "{sink}", "{}/m.eml", "--log", "{}/none/log.jsonl"];
    scene.run(&args).exits(74).says("none/log.jsonl: No such file or directory");
    scene.end_without_mail();
    let full = scene.run(&["send", "sink:", "{}/m.eml", "--log", "/dev/full"]).exits(74);
    let full = full.says("cannot write to /dev/full: No space left on device");
    full.says("1  delivered");
    let args = ["bench", "sink:", "-n", "1", "--json", "{}/none/out.json"];
    scene.run(&args).exits(74).says("none/out.json");
}
