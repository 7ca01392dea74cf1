//! The help pages.

use std::collections::BTreeSet;

use crate::support::{Finished, Scene};

const COMMANDS: [&str; 5] = ["send", "bench", "sink", "reply", "probe"];

fn help(args: &[&str]) -> Finished {
    let scene = Scene::new();
    scene.run(args).exits(0)
}

#[test]
fn every_page_fits_and_lists_the_exit_codes() {
    for args in [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["send", "--help"],
        &["send", "-h"],
        &["help", "send"],
        &["bench", "--help"],
        &["help", "bench"],
        &["sink", "--help"],
        &["help", "sink"],
        &["reply", "--help"],
        &["help", "reply"],
        &["probe", "-h"],
        &["help", "probe"],
    ] {
        let page = help(args).stdout;
        let longest = page.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= 100, "{args:?}: {longest} columns");
        assert!(page.contains("Usage: posthaste"), "{args:?}: {page}");
        assert!(page.contains("Exit codes:\n    0  everything asked for was done"), "{args:?}");
        assert!(page.contains("refused login, or TLS not as demanded"), "{args:?}");
        for code in [0, 1, 64, 65, 66, 69, 74, 75, 76, 77, 78, 99, 130, 143] {
            assert!(page.contains(&format!("\n  {code:>3}  ")), "{args:?}: {code}");
        }
    }
    assert!(help(&["--version"]).stdout.starts_with("posthaste "));
}

#[test]
fn without_a_command_there_is_help_and_an_error() {
    Scene::new().run(&[]).exits(64).says("Usage: posthaste <COMMAND>");
    let mistyped = Scene::new().run(&["send", "sink:", "--frm", "a@x"]).exits(64);
    mistyped.says("unexpected argument '--frm'").says("'--from'");
}

/// The flags of a page: `--name`, `-x` and the name of the value, if there is one.
fn flags(command: &str) -> Vec<(String, Option<char>, Option<String>)> {
    let page = help(&[command, "--help"]).stdout;
    let lines = page.lines().map(str::trim_start);
    let lines = lines.filter(|line| line.starts_with("--") || line.starts_with('-'));
    let flags = lines.filter_map(|line| {
        let short = line.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
        let short = short.and_then(|rest| rest.chars().next());
        let long = line.split_once("--")?.1;
        let name = long.split([' ', '.']).next()?;
        let value = long.strip_prefix(name)?.strip_prefix(" <");
        let value = value.and_then(|value| Some(value.split_once('>')?.0.to_owned()));
        let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        is_name.then(|| (name.to_owned(), short, value))
    });
    flags.collect()
}

/// A value of the kind that the help names.
fn sample(flag: &str, value: &str) -> &'static str {
    match (flag, value) {
        ("bind", _) => "127.0.0.1",
        ("log" | "json" | "stats" | "events", _) => "/dev/null",
        ("metrics-listen", _) => "0",
        ("exhausted", _) => "wait",
        ("seed", _) => "7",
        ("fault", _) => "at=quit close=fin",
        ("early-talk", _) => "ignore",
        ("pipelining-after-content", _) => "answer",
        ("refused-chunk", _) => "keep",
        ("store", _) => "none",
        ("ehlo", "CHANGES") => "-CHUNKING",
        ("user", "NAME:PASSWORD") => "a:b",
        ("ignore", _) => "CHUNKING",
        ("proxy-protocol", _) => "v2",
        ("socks5", _) => "u:p@[::1]:1080",
        ("xclient", _) => "LOGIN=ann, bob",
        ("notify", _) => "delay,failure",
        ("notify-return", _) => "hdrs",
        (_, "TIME[,notify]") => "5m,notify",
        (_, "ADDR" | "PATTERN") => "a@b.test",
        (_, "N") => "3",
        (_, "N/s" | "RATE") => "3/s",
        (_, "CLASS") => "bulk",
        (_, "TIME") => "3s",
        (_, "SIZE") => "3k",
        (_, "MIN..MAX") => "1s..2s",
        (_, "POLICY") => "may",
        (_, "MODE" | "KIND") => "auto",
        (_, "MECH") => "PLAIN",
        (_, "BOOL") => "true",
        (_, "STAGE") => "mail",
        (_, "NAME: VALUE") => "X-A: 1",
        (_, _) => "name.test",
    }
}

#[test]
fn every_flag_on_a_page_is_understood() {
    let scene = Scene::new();
    for command in COMMANDS {
        for (name, short, value) in flags(command) {
            let long = format!("--{name}");
            let short = short.map(|short| format!("-{short}"));
            for flag in [Some(long), short].into_iter().flatten() {
                let mut args = vec![command, flag.as_str()];
                args.extend(value.as_deref().map(|value| sample(&name, value)));
                match name.as_str() {
                    "help" => {}
                    "key" => args.extend(["--cert", "x", "--help"]),
                    _ => args.push("--help"),
                }
                scene.run(&args).exits(0);
            }
        }
    }
}

#[track_caller]
fn check_flags(command: &str, expected: &str) {
    let there: BTreeSet<_> = flags(command).into_iter().map(|(name, ..)| name).collect();
    let expected: BTreeSet<_> = expected.split_whitespace().map(str::to_owned).collect();
    assert_eq!(there, expected, "{command}");
}

/// What scripts rely on. A new flag is added here; one that goes missing breaks somebody.
#[test]
fn the_flags_of_each_command() {
    let server = "tls insecure cacert cert key tls-name user password-env password-file \
                  password-cmd auth auth-plaintext ehlo xclient pipeline window window-bytes chunking ignore \
                  dangerous-any-name dangerous-any-certificate connections per-conn bind ipv4 \
                  ipv6 socks5 proxy-protocol connect-timeout command-timeout data-timeout final-timeout";
    let send = "from to subject text html attach inline cc bcc reply-to header jsonl rows template \
                to-column notify notify-return envid deliver-by priority hold require-tls-beyond \
                authority also fallback retries backoff server-backoff exhausted rate class max-time seed log events \
                metrics-listen dry-run verbose progress help";
    let bench = "messages duration rate size rcpts from to new-conns seed i-own-this-server json events metrics-listen \
                 verbose progress help";
    let sink = "store max-size tls-self-signed ca-out cert key implicit-tls require-tls ehlo \
                hostname lmtp user rtt capacity max-conns max-per-conn max-rcpts greylist \
                pipelining-after-content early-talk refused-chunk proxy-protocol inspect fault faults seed stats \
                exit-after help";
    check_flags("send", &format!("{send} {server}"));
    check_flags("bench", &format!("{bench} {server}"));
    check_flags("sink", sink);
    check_flags("reply", "stage help");
    check_flags("probe", &format!("json verbose help {server}"));
}

#[test]
fn short_forms_are_those_that_people_type() {
    for (command, expected) in [("send", "ftHRvkc46h"), ("bench", "nzRvkc46h"), ("sink", "h")] {
        let there: BTreeSet<_> = flags(command).into_iter().filter_map(|flag| flag.1).collect();
        assert_eq!(there, expected.chars().collect(), "{command}");
    }
}
