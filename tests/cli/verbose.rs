//! `-v` and `-vv`.

use crate::support::Scene;

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
