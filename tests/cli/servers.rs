//! Servers that are not there, are something else, or do not prove who they are.

use crate::support::{Running, Scene, Then, fake_server};

/// Whoever speaks no SMTP is given up after five tries, which take about ten seconds: all at once.
#[test]
fn servers_that_are_no_mail_servers() {
    let scene = Scene::with_sink(&[]);
    let http = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    let plaintext = format!("smtps://127.0.0.1:{}", scene.port());
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let cases = [
        (nobody.clone(), 75, "nobody listens at 127.0.0.1:"),
        (fake_server(http, Then::Close), 76, "expected an SMTP reply, got HTTP"),
        (fake_server("SSH-2.0-OpenSSH_9.6\r\n", Then::Wait), 76, "expected an SMTP reply, got SSH"),
        (fake_server("ready\r\n", Then::Wait), 76, "server broke the protocol at greeting: "),
        (fake_server("", Then::Close), 75, "smtps:// is for servers that begin with TLS"),
        (plaintext, 75, "no TLS is spoken by"),
    ];
    let start = |command: &str, server: &str| {
        let input = if command == "send" { "{}/m.eml" } else { "-n5" };
        Running::start(scene.command(&[command, server, input]))
    };
    let sends: Vec<_> = cases.iter().map(|(server, ..)| start("send", server)).collect();
    let bench = start("bench", &nobody);
    for (running, (server, code, expected)) in sends.into_iter().zip(&cases) {
        let finished = running.wait().exits(*code).says(expected);
        assert!(finished.stdout.contains("1  deferred"), "{server}: {finished:#?}");
        // What is shown when nothing moves.
        let waiting = ", waiting: the server failed ";
        assert!(finished.stderr.contains(waiting), "{server}: {finished:#?}");
    }
    bench.wait().exits(75).says("nobody listens at").says("5  deferred");
}

#[test]
fn a_server_that_wants_no_mail() {
    let scene = Scene::new();
    let server = fake_server("554 5.7.1 You are on a list\r\n", Then::Wait);
    let args = ["send", &server, "{}/m.eml", "--log", "{}/log.jsonl", "--command-timeout", "100ms"];
    let finished = scene.run(&args).exits(69);
    finished.says("greeting was refused: 554 You are on a list");
    let line = &scene.lines("log.jsonl")[0];
    assert_eq!((&line["state"], &line["stage"]), (&"failed".into(), &"greeting".into()));
    assert_eq!((&line["code"], &line["enhanced"]), (&554.into(), &"5.7.1".into()));
}

#[test]
fn tls_that_is_required_and_not_offered() {
    let mut scene = Scene::with_sink(&[]);
    let finished = scene.run(&["send", "{sink}", "{}/m.eml", "--tls", "require"]).exits(77);
    finished.says("server does not offer STARTTLS, which is required");
    scene.end_without_mail();
}

#[test]
fn certificates_are_verified_where_tls_is_required() {
    let ca = "{}/ca.pem";
    let mut scene = Scene::with_sink(&["--tls-self-signed", "localhost", "--ca-out", ca]);
    let send = ["send", "{sink}", "{}/m.eml", "--tls", "require"];
    let run = |flags: &[&str]| scene.run(&[&send[..], flags].concat());
    let untrusted = run(&[]).exits(77).says("certificate is not trusted");
    untrusted.says("--cacert FILE trusts its authority, -k trusts any").says("1  failed");
    run(&["--cacert", ca, "--tls-name", "other.test"]).exits(77).says("certificate");
    run(&["--cacert", "{}/none"]).exits(66).says("none");
    run(&["--cacert", "{}/m.eml"]).exits(65).says("--cacert cannot be used").says("m.eml");
    let unverified = scene.run(&["send", "{sink}", "{}/m.eml"]).exits(0);
    unverified.says("its certificate was not verified; --tls require would have");
    run(&["--cacert", ca]).exits(0);
    let trusting = run(&["--cacert", ca, "--tls-name", "localhost"]).exits(0).says("TLS 1.3");
    assert!(!trusting.output().contains("verified"));
    let by_name = format!("localhost:{}", scene.port());
    scene.run(&["send", &by_name, "{}/m.eml", "--tls", "require", "--cacert", ca]).exits(0);
    let insecure = run(&["-k"]).exits(0);
    assert!(!insecure.output().contains("verified"), "the user said so");
    let (stats, _) = scene.end();
    assert_eq!(stats["mails"], 5, "one for each success");
}

#[test]
fn tls_from_the_first_octet() {
    let mut scene = Scene::with_sink(&["--tls-self-signed", "localhost", "--implicit-tls"]);
    scene.run(&["send", "smtps://{sink}", "{}/m.eml"]).exits(77).says("not trusted");
    scene.run(&["send", "smtps://{sink}", "{}/m.eml", "-k"]).exits(0).says("TLS 1.3");
    let (stats, _) = scene.end();
    assert_eq!(stats["mails"], 1);
}

#[test]
fn tls_off_means_off() {
    let mut scene = Scene::with_sink(&["--tls-self-signed", "localhost"]);
    scene.run(&["send", "{sink}", "{}/m.eml", "--tls", "off"]).exits(0).says("no TLS");
    let (stats, _) = scene.end();
    assert_eq!(stats["commands"].get("STARTTLS").unwrap_or(&0.into()), 0);
}

/// LMTP-02: a server for LMTP, inside of this process and behind an address.
#[test]
fn servers_for_lmtp() {
    let mut scene = Scene::with_sink(&["--lmtp"]);
    scene.run(&["send", "lmtp://{sink}", "{}/m.eml", "-vv"]).exits(0).says("-> LHLO ");
    scene.run(&["send", "sink:?lmtp", "{}/m.eml"]).exits(0);
    scene.run(&["bench", "sink:?lmtp", "-n5"]).exits(0).says("5  accepted");
    assert_eq!(scene.end().0["mails"], 1);
}

/// PROXY-01, PROXY-02
#[test]
fn a_header_of_the_proxy_protocol_comes_first() {
    let mut scene = Scene::with_sink(&["--proxy-protocol"]);
    for version in ["v1", "v2", "v1,unknown", "v2,192.0.2.1:4000,192.0.2.2:25"] {
        scene.run(&["send", "{sink}", "{}/m.eml", "--proxy-protocol", version]).exits(0);
    }
    assert_eq!(scene.end().0["mails"], 4);
}

/// Values may hold anything, so that each has a flag of its own.
#[test]
fn whom_sessions_are_made_for() {
    let scene = Scene::with_sink(&["--ehlo", "XCLIENT=NAME LOGIN PORT"]);
    let attributes = ["--xclient", "LOGIN=ann,bob", "--xclient", "PORT=7"];
    let finished = scene.run(&[&["send", "{sink}", "{}/m.eml", "-v"][..], &attributes].concat());
    finished.exits(0).says("-> XCLIENT LOGIN=ann,bob PORT=7");
}
