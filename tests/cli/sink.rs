//! `posthaste sink`.

use std::process::Command;

use nix::sys::signal::Signal;
use posthaste_sink::MessageIds;

use crate::support::{MAIL, Running, Scene};

/// Starts a sink of its own beside that of the scene, and gives its address.
fn start(scene: &Scene, flags: &[&str]) -> (Running, String) {
    start_at(scene, "127.0.0.1:0", flags)
}

fn start_at(scene: &Scene, endpoint: &str, flags: &[&str]) -> (Running, String) {
    use std::io::BufRead as _;
    let command: Command = scene.command(&[&["sink", endpoint][..], flags].concat());
    let mut running = Running::start(command);
    let mut line = String::new();
    running.stdout().read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("listening on ").unwrap().to_owned();
    (running, address)
}

#[test]
fn it_stops_after_its_mails() {
    let scene = Scene::new();
    scene.mails("in.jsonl", 5);
    let (running, address) = start(&scene, &["--exit-after", "5"]);
    assert!(address.starts_with("127.0.0.1:"));
    scene.run(&["send", &address, "--jsonl", "{}/in.jsonl"]).exits(0);
    let finished = running.wait().exits(0);
    assert!(finished.stderr.starts_with("5 mails, 5 recipients, "), "{finished:#?}");
}

/// LMTP-02: LMTP on a Unix socket; and what the mail asked for is kept with it.
#[test]
fn it_listens_on_a_unix_socket() {
    let scene = Scene::new();
    let flags = ["--lmtp", "--store", "jsonl:{}/kept.jsonl", "--exit-after", "1"];
    let (running, endpoint) = start_at(&scene, "unix:{}/lmtp", &flags);
    let path = scene.path("lmtp");
    assert_eq!(endpoint, format!("unix:{}", path.display()));
    let server = format!("lmtp+unix://{}", path.display());
    scene.run(&["send", &server, "{}/m.eml", "--envid", "a b", "--notify", "never"]).exits(0);
    running.wait().exits(0);
    let kept = &scene.lines("kept.jsonl")[0];
    assert!(kept["parameters"].as_str().unwrap().contains("ENVID=a+20b"), "{kept}");
    assert_eq!(kept["to_parameters"][0], "NOTIFY=NEVER");
    assert!(!path.exists());
}

#[test]
fn signals_end_it_with_its_statistics() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let scene = Scene::new();
        let (running, address) = start(&scene, &["--stats", "{}/stats.json"]);
        scene.run(&["send", &address, "{}/m.eml"]).exits(0);
        running.signal(signal);
        running.wait().exits(code);
        let stats: serde_json::Value = serde_json::from_str(&scene.read("stats.json")).unwrap();
        assert_eq!((&stats["mails"], &stats["recipients"]), (&1.into(), &1.into()));
        assert_eq!(stats["bytes"], MAIL.len());
        assert_eq!(stats["connections"]["opened"], 1);
    }
}

/// What shows that each mail came once and in order, whatever the client says.
#[test]
fn statistics_tell_what_came() {
    let numbers = ["1", "3", "2", "10", "10"];
    let content = |number| format!("Message-ID: <run.{number}@a.test>\\r\\n\\r\\nmail\\r\\n");
    let line =
        |number| format!(r#"{{"from":"a@a.test","to":"b@b.test","raw":"{}"}}"#, content(number));
    let mut scene = Scene::with_sink(&[]);
    scene.file("in.jsonl", numbers.map(line).join("\n"));
    scene.run(&["send", "{sink}", "--jsonl", "{}/in.jsonl", "-c", "1"]).exits(0);
    let (stats, _) = scene.end();
    assert_eq!((&stats["mails"], &stats["duplicates"]), (&5.into(), &1.into()));
    let ids = numbers.map(|number| format!("<run.{number}@a.test>"));
    let expected = serde_json::json!({
        "mails": 5,
        "digest": format!("{:016x}", MessageIds::digest_of(ids)),
        "out_of_order": 1,
        "unchecked": 0,
    });
    assert_eq!(stats["message_ids"], expected);
}

#[test]
fn it_keeps_mails_where_it_is_told() {
    let scene = Scene::new();
    for store in ["maildir:{}/box", "mbox:{}/m.mbox"] {
        let (running, address) = start(&scene, &["--store", store, "--exit-after", "1"]);
        scene.run(&["send", &address, "{}/m.eml"]).exits(0);
        running.wait().exits(0);
        let (_, path) = store.split_once(':').unwrap();
        // What a sink keeps can be sent on.
        let again = scene.run(&["send", "sink:", path, "-f", "a@a.test", "-t", "b@b.test"]);
        again.exits(0).says("1 mail to 1 recipient");
    }
}

#[test]
fn limits_and_faults_are_counted() {
    let fault = r#"at=data first=1 reply="451 4.3.0 busy""#;
    let mut scene = Scene::with_sink(&["--max-rcpts", "2", "--fault", fault]);
    let to = ["-t", "a@b.test", "-t", "b@b.test", "-t", "c@b.test"];
    let send = ["send", "{sink}", "{}/m.eml", "--backoff", "10ms..20ms"];
    scene.run(&[&send[..], &to].concat()).exits(0).says("3  delivered");
    let (stats, _) = scene.end();
    assert_eq!(stats["recipients"], 3);
    assert_eq!(stats["refusals"][fault], 1, "{stats}");
    assert!(stats["refusals"]["max-rcpts"].as_u64().unwrap() >= 1, "{stats}");
}

#[test]
fn rules_can_stand_in_a_file() {
    let scene = Scene::new();
    scene.file("faults.toml", "[[fault]]\nat = 'rcpt'\nreply = '550 5.1.1 no such user'\n");
    let (_running, address) = start(&scene, &["--faults", "{}/faults.toml"]);
    scene.run(&["send", &address, "{}/m.eml"]).exits(69).says("550 5.1.1 no such user");
}

#[test]
fn a_sink_that_cannot_start() {
    let scene = Scene::with_sink(&[]);
    for (args, code, expected) in [
        (&["{sink}"][..], 78, "cannot listen on 127.0.0.1:"),
        (&["mx.test:25"], 64, "expected an address such as 127.0.0.1:2525"),
        (&["127.0.0.1:0", "--ca-out", "{}/ca.pem"], 64, "--ca-out needs --tls-self-signed"),
        (&["127.0.0.1:0", "--store", "tape:x"], 64, "maildir:DIR, mbox:FILE or jsonl:FILE"),
        (&["127.0.0.1:0", "--rtt", "far"], 64, "--rtt: expected a duration"),
        (&["127.0.0.1:0", "--fault", "at=rcpt"], 64, "--fault"),
        (&["127.0.0.1:0", "--faults", "{}/none"], 66, "none"),
        (&["127.0.0.1:0", "--faults", "{}/m.eml"], 78, "m.eml"),
        (&["127.0.0.1:0", "--cert", "{}/none"], 78, "none"),
        (&["127.0.0.1:0", "--exit-after", "-1"], 64, "-1"),
    ] {
        let finished = scene.run(&[&["sink"][..], args].concat()).exits(code);
        assert_eq!(finished.stdout, "");
        finished.says(expected);
    }
}
