//! `-v` and `-vv`.

use crate::support::{Scene, Then, fake_server};

/// LK-04: and of content no more than its size.
#[test]
fn transcripts_show_both_sides() {
    let scene = Scene::with_sink(&[]);
    let quiet = scene.run(&["send", "{sink}", "{}/m.eml", "--progress", "none"]).exits(0);
    assert_eq!(quiet.stderr, "");
    let finished = scene.run(&["send", "{sink}", "{}/m.eml", "-v"]).exits(0);
    for line in [
        "[0] <- 220 ",
        "[0] -> EHLO ",
        "[0] -> MAIL FROM:<ann@a.test>",
        "[0] -> RCPT TO:<bob@b.test>",
        "[0] -> [61 octets of content]",
        "[0] <- 250 2.0.0 Ok: queued as ",
        "[0] -> QUIT",
    ] {
        assert!(finished.stderr.lines().any(|it| it.starts_with(line)), "{line}: {finished:#?}");
    }
    assert!(!finished.stdout.contains("->"));
    assert!(!finished.output().contains("hello"), "{finished:#?}");
}

/// LK-05: a server's words cannot do anything to the terminal, nor to the log.
#[test]
fn control_characters_are_shown_as_escapes() {
    let scene = Scene::new();
    let server = fake_server("554-\x1b]0;owned\x07\r\n554 \x1b[2J\u{9b}1m\x08gone\r\n", Then::Wait);
    let flags = ["--log", "{}/log.jsonl", "--command-timeout", "100ms", "-vv"];
    let finished = scene.run(&[&["send", &server, "{}/m.eml"], &flags[..]].concat()).exits(69);
    let shown = [finished.stdout.as_str(), &finished.stderr, &scene.read("log.jsonl")].concat();
    assert!(shown.contains("gone"), "{shown:?}");
    let is_control = |c: char| c.is_control() && c != '\n';
    assert!(!shown.contains(is_control), "{shown:?}");
}

/// LK-09: the name of this machine is not told where another one is given.
#[test]
fn the_name_in_ehlo_can_be_chosen() {
    let scene = Scene::with_sink(&[]);
    let args = ["send", "{sink}", "{}/m.eml", "-v", "--ehlo", "client.example"];
    scene.run(&args).exits(0).says("-> EHLO client.example\n");
}

#[test]
fn decisions_are_told_in_words() {
    let later = r#"at=rcpt first=1 reply="451 4.3.0 later""#;
    let down = r#"at=greeting first=2 reply="421 4.3.2 restarting" close=fin"#;
    let scene = Scene::with_sink(&["--fault", later, "--fault", down]);
    let args = ["send", "{sink}", "{}/m.eml", "-vv", "--backoff", "10ms..20ms"];
    let finished = scene.run(&args).exits(0);
    let finished = finished.says("mail 0: deferred after 1 attempt, next in ");
    let finished = finished.says("server: 1 failure in a row, next try in ");
    let finished = finished.says("server: 2 failures in a row, next try in ");
    let finished = finished.says("server: works again");
    for line in finished.stderr.lines() {
        assert!(!line.contains(" { "), "in the words of a program: {line}");
    }
}
