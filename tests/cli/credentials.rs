//! Passwords: where they come from, and where they never show (LK-01).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::support::{Finished, Scene};

const PASSWORD: &str = "hunter2:s3cret";

/// The password in no form stands in any of the texts.
#[track_caller]
fn check_hidden(texts: &[&str]) {
    let forms = [
        PASSWORD.to_owned(),
        "s3cret".to_owned(),
        BASE64_STANDARD.encode(PASSWORD),
        BASE64_STANDARD.encode(format!("\0news\0{PASSWORD}")),
        "hunter2%3As3cret".to_owned(),
    ];
    for (text, form) in texts.iter().flat_map(|text| forms.iter().map(move |form| (text, form))) {
        assert!(!text.contains(form), "{form} is in {text}");
    }
}

fn secure_sink() -> Scene {
    let user = format!("news:{PASSWORD}");
    let scene = Scene::with_sink(&["--tls-self-signed", "localhost", "--user", &user]);
    scene.file("password", format!("{PASSWORD}\n"));
    scene
}

fn send(scene: &Scene, server: &str, flags: &[&str]) -> Finished {
    let log = scene.path("log.jsonl");
    let args = ["send", server, "{}/m.eml", "-k", "-vv", "--log", log.to_str().unwrap()];
    let mut command = scene.command(&[&args[..], flags].concat());
    command.env("POSTHASTE_TEST_PASSWORD", PASSWORD);
    let finished = crate::support::Running::start(command).wait();
    check_hidden(&[&finished.stdout, &finished.stderr, &scene.read("log.jsonl")]);
    finished
}

#[test]
fn each_source_works_and_shows_nothing() {
    let scene = secure_sink();
    let url = format!("smtp://news:{}@{{sink}}", PASSWORD.replace(':', "%3A"));
    let env = ["--user", "news", "--password-env", "POSTHASTE_TEST_PASSWORD"];
    for (server, flags) in [
        ("{sink}", &env[..]),
        ("{sink}", &[&env[..], &["--auth", "LOGIN"]].concat()),
        ("{sink}", &["--user", "news", "--password-file", "{}/password"]),
        ("{sink}", &["--user", "news", "--password-cmd", "cat {}/password"]),
        ("smtp://news@{sink}", &["--password-file", "{}/password"]),
        (&url, &[]),
    ] {
        send(&scene, server, flags).exits(0).says("[redacted]").says("<- 235 ");
    }
}

/// PLAIN-01, LOGIN-01, CRAM-01, SCRAM-01, OAUTH-01, EXT-SASL, by name; and the strongest without.
#[test]
fn each_mechanism_can_be_asked_for() {
    let user = format!("news:{PASSWORD}");
    let all = "AUTH=PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-256-PLUS \
               XOAUTH2 OAUTHBEARER EXTERNAL";
    let flags = ["--tls-self-signed", "localhost", "--user", &user, "--ehlo", all];
    let scene = Scene::with_sink(&flags);
    let env = ["--user", "news", "--password-env", "POSTHASTE_TEST_PASSWORD"];
    for mechanism in all.trim_start_matches("AUTH=").split_whitespace() {
        let finished = match mechanism {
            "EXTERNAL" => send(&scene, "{sink}", &["--auth", "external"]),
            _ => send(&scene, "{sink}", &[&env[..], &["--auth", mechanism]].concat()),
        };
        let line = match mechanism {
            // The server speaks first.
            "LOGIN" | "CRAM-MD5" => format!("-> AUTH {mechanism}\n"),
            _ => format!("-> AUTH {mechanism} [redacted]\n"),
        };
        finished.exits(0).says(&line);
    }
    send(&scene, "{sink}", &env).exits(0).says("-> AUTH SCRAM-SHA-256-PLUS ");
    let unknown = [&env[..], &["--auth", "GSSAPI"]].concat();
    send(&scene, "{sink}", &unknown).exits(64).says("expected PLAIN, LOGIN");
    let unsuitable = [&env[..], &["--auth", "EXTERNAL"]].concat();
    send(&scene, "{sink}", &unsuitable).exits(78).says("no mechanism is allowed that suits");
}

/// OAUTH-02, AU-13: why a token is refused.
#[test]
fn what_a_server_says_of_a_token_is_shown() {
    let offer = ["--ehlo", "AUTH=OAUTHBEARER"];
    let flags = [&["--tls-self-signed", "localhost", "--user", "news:other"][..], &offer].concat();
    let scene = Scene::with_sink(&flags);
    let flags = ["--user", "news", "--password-env", "POSTHASTE_TEST_PASSWORD"];
    let finished = send(&scene, "{sink}", &[&flags[..], &["--auth", "OAUTHBEARER"]].concat());
    finished.exits(77).says(r#"server refuses the token: {"status":"invalid_token""#);
}

#[test]
fn a_wrong_password_is_refused_and_nothing_sent() {
    let mut scene = Scene::with_sink(&["--tls-self-signed", "localhost", "--user", "news:other"]);
    scene.file("password", PASSWORD);
    let flags = ["--user", "news", "--password-file", "{}/password"];
    let finished = send(&scene, "{sink}", &flags).exits(77);
    finished.says("auth was refused: 535").says("1  failed");
    let line = &scene.lines("log.jsonl")[0];
    assert_eq!((&line["stage"], &line["code"]), (&"auth".into(), &535.into()));
    assert_eq!(line["cause"], "authentication");
    scene
        .run(&["bench", "{sink}", "-k", "-z", "9s", flags[0], flags[1], flags[2], flags[3]])
        .exits(77);
    scene.end_without_mail();
}

/// Nobody on the way reads credentials, unless the user says that they may.
#[test]
fn credentials_wait_for_tls() {
    let user = format!("news:{PASSWORD}");
    let mut scene = Scene::with_sink(&["--user", &user]);
    let env = ["--user", "news", "--password-env", "POSTHASTE_TEST_PASSWORD"];
    let finished = send(&scene, "{sink}", &env).exits(77);
    finished.says("server does not offer STARTTLS, which is required");
    send(&scene, "{sink}", &[&env[..], &["--tls", "off"]].concat()).exits(77).says("only over TLS");
    let allowed = [&env[..], &["--tls", "off", "--auth-plaintext"]].concat();
    send(&scene, "{sink}", &allowed).exits(0);
    let alone = [&env[..], &["--auth-plaintext"]].concat();
    send(&scene, "{sink}", &alone).exits(0).says("no TLS");
    // TLS that is meant stays demanded.
    let named = [&alone[..], &["--tls-name", "localhost"]].concat();
    send(&scene, "{sink}", &named).exits(77).says("STARTTLS, which is required");
    let (stats, _) = scene.end();
    assert_eq!((&stats["mails"], &stats["commands"]["AUTH"]), (&2.into(), &2.into()));
}

#[test]
fn credentials_that_are_not_all_there() {
    let scene = Scene::new();
    for (flags, code, expected) in [
        (&["--user", "u"][..], 64, r#"user "u" has no password"#),
        (&["--password-env", "HOME"], 64, "name one with --user"),
        (&["--user", "u", "--password-env", "POSTHASTE_NONE"], 78, "POSTHASTE_NONE"),
        (&["--user", "u", "--password-file", "{}/none"], 66, "cannot read the password from"),
        (&["--user", "u", "--password-cmd", "exit 3"], 78, "failed instead of printing a password"),
        (&["--user", "u", "--password-env", "A", "--password-cmd", "b"], 64, "cannot be used with"),
        (&["--user", "u", "--password-file", "{}/empty"], 65, "empty: its first line is empty"),
        // What has no end is not read to its end.
        (&["--user", "u", "--password-file", "/dev/zero"], 65, "it is too long for a password"),
        (&["--user", "u", "--password-cmd", "yes"], 78, "it is too long for a password"),
        (&["--user", "u", "--password-cmd", "true"], 78, "failed instead of printing a password"),
    ] {
        scene.file("empty", "");
        let args = [&["send", "127.0.0.1:1", "{}/m.eml"][..], flags].concat();
        scene.run(&args).exits(code).says(expected);
    }
    scene.run(&["send", "smtp://u@127.0.0.1:1", "{}/m.eml"]).exits(64).says("has no password");
}

#[test]
fn a_mistyped_url_does_not_show_its_password() {
    for url in [
        "smtp://news:hunter2:s3cret@x.test:99999",
        "smtp://news:hunter2:s3cret@a b",
        "news:hunter2:s3cret@x.test:no",
        "ftp://news:hunter2:s3cret@x.test",
        "smtp://news:hunter2:s3cret%00@x.test",
        "smtp://news:hunter2:s3cret",
        "news:hunter2:s3cret",
        "smtp://news@corp.test:hunter2:s3cret",
        "sink:?user=news:hunter2:s3cret&bogus=1",
    ] {
        let finished = Scene::new().run(&["send", url, "{}/m.eml"]).exits(64);
        check_hidden(&[&finished.stdout, &finished.stderr]);
        finished.says("cannot be used");
    }
    let url = "smtp://news:hunter2:s3cret@x.test";
    let finished = Scene::new().run(&["send", url, "{}/m.eml", "--dry-run"]).exits(0);
    check_hidden(&[&finished.stdout, &finished.stderr]);
    finished.says("through smtp://news@x.test:25");
    let sink = "sink:?user=news:hunter2:s3cret";
    let finished = Scene::new().run(&["send", sink, "{}/m.eml", "--dry-run"]).exits(0);
    check_hidden(&[&finished.stdout, &finished.stderr]);
}

/// A password may be there only once, as that of a pipe or of a command that counts.
#[test]
fn a_probe_asks_for_the_password_once() {
    let scene = secure_sink();
    let count = "echo once >> '{}/count'; cat '{}/password'";
    let args = ["probe", "{sink}", "-k", "--user", "news", "--password-cmd", count];
    scene.run(&args).exits(0).says("login         ok");
    assert_eq!(scene.read("count"), "once\n");
}
