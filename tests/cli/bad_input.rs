//! Input that cannot be sent: what, where, what to do; and nothing is sent.

use crate::support::{Finished, MAIL, Scene};

/// Runs `send` with files in place; nothing may be sent.
#[track_caller]
fn refuse(files: &[(&str, &str)], args: &[&str], code: i32) -> Finished {
    let mut scene = Scene::with_sink(&[]);
    for (name, content) in files {
        scene.file(name, content);
    }
    let finished = scene.run(&[&["send", "{sink}"][..], args].concat()).exits(code);
    assert!(finished.stderr.starts_with("posthaste: ") || code == 64, "{finished:#?}");
    assert_eq!(finished.stdout, "");
    scene.end_without_mail();
    finished
}

const GOOD: &str = r#"{"from":"a@x.test","to":"b@x.test","text":"t"}"#;
const PEOPLE: &str = "email,name\na@x.test,Ann\nb@x.test,Bob\n";
const TEMPLATE: &str = "From: n@x.test\nSubject: Hello {{ name }}\n\nHi {{ name }}\n";

fn merge<'a>(rows: &'a str, template: &'a str) -> [(&'a str, &'a str); 2] {
    [("people.csv", rows), ("t.txt", template)]
}

const MERGE: [&str; 4] = ["--rows", "{}/people.csv", "--template", "{}/t.txt"];

#[test]
fn addresses() {
    refuse(&[], &["{}/m.eml", "-t", "bob at b.test"], 64)
        .says(r#"cannot use --to "bob at b.test""#);
    refuse(&[], &["{}/m.eml", "-f", "@b.test"], 64).says(r#"cannot use --from "@b.test""#);
    let eml = MAIL.replace("bob@b.test", "bob@@b.test");
    refuse(&[("bad.eml", &eml)], &["{}/m.eml", "{}/bad.eml"], 65).says("bad.eml: ").says("To");
    let rows = PEOPLE.replace("b@x.test", "b@x..test");
    let bad = refuse(&merge(&rows, TEMPLATE), &MERGE, 65);
    bad.says("people.csv:3: column email: cannot use").says("1 of 2 mails cannot be sent");
    let line = GOOD.replace("b@x.test", "b");
    let bad = refuse(&[("m.jsonl", &format!("{GOOD}\n{line}"))], &["--jsonl", "{}/m.jsonl"], 65);
    bad.says(r#"m.jsonl:2: cannot use to "b""#);
}

/// IN-11: no line end gets into a command or a header field.
#[test]
fn line_ends_in_values() {
    let attack = "b@x.test>\r\nRCPT TO:<evil@x.test";
    refuse(&[], &["{}/m.eml", "-t", attack], 64).says("cannot use --to");
    refuse(&[], &["{}/m.eml", "-f", attack], 64).says("cannot use --from");
    for value in ["s\r\nBcc: evil@x.test", "s\nBcc: evil@x.test", "s\rBcc: evil@x.test"] {
        let text = ["--text", "{}/m.eml", "-f", "a@x.test", "-t", "b@x.test", "--subject", value];
        refuse(&[], &text, 64).says("Subject");
        let header = format!("X-A: {value}");
        let args = ["--text", "{}/m.eml", "-f", "a@x.test", "-t", "b@x.test", "-H", &header];
        refuse(&[], &args, 64).says("X-A");
        let rows = format!("email,name\na@x.test,Ann\nb@x.test,\"{value}\"\n");
        let bad = refuse(&merge(&rows, TEMPLATE), &MERGE, 65);
        bad.says("people.csv:3: column name: cannot use").says("control character");
        let (rows, template) = (rows.replace("name", "title"), TEMPLATE.replace("name", "title"));
        let bad = refuse(&merge(&rows, &template), &MERGE, 65);
        bad.says("people.csv:3: control character").says("in column title").says("Subject");
        let line = serde_json::json!({
            "from": "a@x.test", "to": "b@x.test", "subject": value, "text": "t",
        });
        let files = [("m.jsonl", format!("{GOOD}\n{line}"))];
        let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
        refuse(&files, &["--jsonl", "{}/m.jsonl"], 65).says("m.jsonl:2: ").says("Subject");
    }
    let rows = format!("email,name\n\"{attack}\",Ann\n");
    refuse(&merge(&rows, TEMPLATE), &MERGE, 65).says("people.csv:2: column email");
    refuse(&[], &["{}/m.eml", "--ehlo", "x.test\r\nRSET"], 64);
}

#[test]
fn columns_that_are_not_there() {
    let template = TEMPLATE.replace("Hi {{ name }}", "Hi {{ title }} {{ name }}");
    let bad = refuse(&merge(PEOPLE, &template), &MERGE, 65);
    let bad = bad.says("people.csv:2: cannot fill the template").says("title");
    bad.says("2 of 2 mails cannot be sent; nothing was sent");
    let args = [&MERGE[..], &["--to-column", "mail"]].concat();
    let bad = refuse(&merge(PEOPLE, TEMPLATE), &args, 65);
    bad.says(r#"there is no column "mail" with the recipient, only email, name"#);
    let bad = refuse(&merge("email,name\na@x.test\n", TEMPLATE), &MERGE, 65);
    bad.says("people.csv:2: row has 1 cells, but the first row names 2 columns");
}

#[test]
fn files() {
    let missing = refuse(&[], &["{}/m.eml", "{}/none.eml"], 66);
    missing.says("cannot read ").says("none.eml: No such file or directory");
    refuse(&[("d/x.eml", MAIL)], &["{}/d"], 65).says("is a directory, but no Maildir");
    refuse(&[("empty.eml", "")], &["{}/empty.eml"], 65).says("empty.eml: is empty");
    refuse(&[], &["-"], 65).complains("standard input: is empty");
    refuse(&[("text", "just text\n")], &["{}/text"], 65).says("line 1 of the mail");
    refuse(&[], &["--jsonl", "{}/none"], 66).says("cannot read ");
    refuse(&[], &["--rows", "{}/none", "--template", "{}/m.eml"], 66).says("cannot read ");
    let attach = ["--text", "{}/m.eml", "--attach", "{}/none", "-f", "a@x.test", "-t", "b@x.test"];
    refuse(&[], &attach, 66).says("none: No such file");
    refuse(&merge("", TEMPLATE), &MERGE, 65);
    let list = refuse(&[("m.jsonl", "{}\n[]\n")], &["--jsonl", "{}/m.jsonl"], 65);
    list.says("m.jsonl:1: ").says("m.jsonl:2: ");
}

/// A pipe cannot be read twice: what came before the bad mail is gone, and the message says so.
#[test]
fn a_bad_mail_in_a_pipe() {
    let mut scene = Scene::with_sink(&[]);
    let input = format!("{GOOD}\nnonsense\n{GOOD}\n");
    let finished = scene.run_with_input(&["send", "{sink}", "--jsonl", "-"], input).exits(65);
    finished.says("standard input:2: ").says("(mails before it were sent, none behind it)");
    let (stats, _) = scene.end();
    assert_eq!(stats["mails"], 1);
}

#[test]
fn only_some_bad_mails_are_shown() {
    let lines = "nonsense\n".repeat(30);
    let bad = refuse(&[("m.jsonl", &lines)], &["--jsonl", "{}/m.jsonl"], 65);
    let bad = bad.says("m.jsonl:20: ").says("… and 10 more").says("30 of 30 mails");
    assert!(!bad.output().contains("m.jsonl:21"));
}

#[test]
fn command_lines_that_make_no_sense() {
    refuse(&[], &[], 64).says("nothing to send: name a MESSAGE file");
    refuse(&[], &["{}/m.eml", "--jsonl", "x"], 64).says("two kinds of input");
    refuse(&[], &["--rows", "x"], 64).complains("--rows needs --template");
    refuse(&[], &["--text", "{}/m.eml", "-t", "b@x.test"], 64).says("needs --from");
    refuse(&[], &["--text", "{}/m.eml", "-f", "b@x.test"], 64).says("needs --to");
    refuse(&[], &["--jsonl", "x", "-t", "b@x.test"], 64).complains("--to does not go with --jsonl");
    for (flag, value, expected) in [
        ("--max-time", "5", "250ms, 30s, 5m"),
        ("--max-time", "fast", "250ms, 30s, 5m"),
        ("--backoff", "5s", "MIN..MAX"),
        ("--backoff", "5s..1s", "the shortest wait is longer"),
        ("--retries", "0", "from 1"),
        ("-c", "0", "from 1"),
        ("-c", "many", "count"),
        ("--per-conn", "-1", "'-1'"),
        ("--tls", "maybe", "expected off, may or require"),
        ("--pipeline", "warp", "expected auto, off, envelope, cross or stream"),
        ("--window", "8", "--window and --window-bytes need --pipeline stream"),
        ("--window", "0", "from 1"),
        ("--window", "1025", "expected 1 to 1024 mails"),
        ("--window-bytes", "1m", "--window and --window-bytes need --pipeline stream"),
        ("--window-bytes", "0", "expected 1 to 67108864 octets"),
        ("--window-bytes", "65m", "expected 1 to 67108864 octets"),
        ("--auth", "NTLM", "expected PLAIN, LOGIN"),
        ("--ehlo", "a b", "a b"),
        ("--chunking", "some", "expected auto, off or always"),
        ("--ignore", "A B", "expected a keyword"),
        ("--proxy-protocol", "v3", "expected v1 or v2"),
        ("--proxy-protocol", "v1,192.0.2.1:1", "expected v1 or v2"),
        ("--proxy-protocol", "v1,192.0.2.1:1,[::1]:1", "two addresses of the same family"),
        ("--proxy-protocol", "v1,a\nb:1,192.0.2.1:1", "expected v1 or v2"), // PROXY-03, IN-12
        ("--socks5", "proxy.test", r#"proxy "proxy.test" cannot be used"#),
        ("--socks5", "u:hunter2@", r#"proxy "…@" cannot be used"#), // LK-01
        ("--socks5", "news:hunter2", r#"proxy "news:…" cannot be used"#), // LK-01
        ("--tls-name", "a b", "'--tls-name <NAME>': expected a host name or an IP address"),
        ("--tls-name", "[::1]", "'--tls-name <NAME>': expected a host name or an IP address"),
        ("--bind", "192.0.2.1", "--bind 192.0.2.1 cannot be used: "),
        ("--xclient", "ADDR=here", "invalid IP address"),
        ("--xclient", "HELO=a\nb", "not allowed"), // IN-12
        ("--xclient", "COLOUR=red", "no such attribute"),
        ("--bind", "here", "here"),
        ("--progress", "loud", "auto, tui, line, none"),
    ] {
        refuse(&[], &["{}/m.eml", flag, value], 64).says(expected);
    }
}

#[test]
fn servers_that_are_none() {
    let socket = format!("lmtp+unix:///{}", "s".repeat(108));
    for (server, expected) in [
        ("http://x.test", r#"scheme "http" is not supported; use smtp://, smtps://, lmtp://"#),
        ("lmtp://x.test", "LMTP needs a port"),
        ("lmtp://x.test:25", "LMTP must not be spoken on port 25"), // LMTP-02
        ("lmtp+unix://run/lmtp", "is not the absolute path of a socket"),
        ("", "is not a host name or an IP address"),
        ("x.test:0", "is not a port number from 1 to 65535"),
        ("x.test:smtp", "is not a port number"),
        ("smtp://[::1", "IPv6 addresses stand in brackets"),
        ("a b", "is not a host name"),
        ("sink:?rt=5ms", r#"unknown sink option "rt""#),
        ("sink:?rtt=fast", "rtt"),
        ("127.1", "name the one it is for with --tls-name, or say --tls off"),
        (&socket, "its path is too long for a socket"),
    ] {
        for command in [&["send", server, "{}/m.eml"][..], &["bench", server, "-n", "1"]] {
            let finished = Scene::new().run(command).exits(64);
            assert_eq!(finished.stdout, "");
            finished.says(expected);
        }
    }
}

#[test]
fn addresses_of_the_other_family() {
    for (server, flag, expected) in [
        ("[::1]:1", "-4", "-4 leaves no way to ::1"),
        ("127.0.0.1:1", "-6", "-6 leaves no way to 127.0.0.1"),
    ] {
        let finished = Scene::new().run(&["send", server, "{}/m.eml", flag]).exits(64);
        finished.complains(expected);
    }
}

/// A file that cannot be read is another thing than one that does not hold what it should; either
/// way the flag is named.
#[test]
fn files_for_tls() {
    let scene = Scene::with_sink(&["--tls-self-signed", "localhost", "--ca-out", "{}/ca.pem"]);
    for (flags, code, expected) in [
        (&["--cacert", "{}/none"][..], 66, "--cacert cannot be used: cannot read a certificate"),
        (&["--cacert", "{}/m.eml"], 65, "--cacert cannot be used: cannot read a certificate"),
        (&["--cert", "{}/none"], 66, "--cert cannot be used"),
        (&["--cert", "{}/ca.pem"], 65, "(--key names the file of its private key"),
        (&["--cert", "{}/ca.pem", "--key", "{}/none"], 66, "--cert and --key cannot be used"),
        (&["--cert", "{}/ca.pem", "--key", "{}/m.eml"], 65, "cannot read a private key"),
    ] {
        let args = [&["send", "{sink}", "{}/m.eml"][..], flags].concat();
        scene.run(&args).exits(code).says(expected);
    }
}
