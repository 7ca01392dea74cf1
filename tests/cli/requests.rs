//! What `send` asks of the server beyond delivery.

use crate::support::Scene;

#[test]
fn requests_go_to_a_server_that_offers_them() {
    // DSN-01, DSN-03, AUTH-16
    let scene = Scene::with_sink(&["--ehlo", "+DSN,AUTH=PLAIN"]);
    let args = ["send", "{sink}", "{}/m.eml", "-v", "--progress", "none"];
    let asking = ["--notify", "failure,delay", "--notify-return", "hdrs", "--envid", "a b"];
    let more = ["--authority", "boss@a.test", "--priority", "-3"];
    let args: Vec<_> = args.into_iter().chain(asking).chain(more).collect();
    let finished = scene.run(&args).exits(0);
    let has = |text: &str| finished.stderr.lines().any(|line| line.contains(text));
    assert!(has(" RET=HDRS ENVID=a+20b"), "{finished:#?}");
    assert!(has(" AUTH=boss@a.test"), "{finished:#?}");
    assert!(has("RCPT TO:<bob@b.test> NOTIFY=FAILURE,DELAY"), "{finished:#?}");
    // DSN-05: a wish is no condition.
    assert!(!has("PRIORITY="), "{finished:#?}");
}

#[test]
fn conditions_that_cannot_be_met_fail_the_mail() {
    let scene = Scene::with_sink(&[]);
    for (asking, words) in [
        (&["--hold", "5m"][..], "mail is to be held"),
        (&["--deliver-by", "5m"], "mail must be delivered in time"),
        (&["--require-tls-beyond"], "mail requires TLS all the way"),
    ] {
        let args: Vec<_> = ["send", "{sink}", "{}/m.eml"].iter().chain(asking).copied().collect();
        scene.run(&args).exits(69).says(words);
    }
    // Late mail is welcome here, so nothing has to be promised.
    scene.run(&["send", "{sink}", "{}/m.eml", "--deliver-by", "5m,notify"]).exits(0);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let scene = Scene::new();
    for (flag, value) in [
        ("--notify", "never,delay"),
        ("--notify-return", "half"),
        ("--envid", "a\nb"),
        ("--deliver-by", "0s"),
        ("--deliver-by", "5m,late"),
        ("--priority", "10"),
        ("--hold", "2026-13-24T18:00:00Z"),
        ("--authority", "a@b>"),
    ] {
        scene.run(&["send", "sink:", "{}/m.eml", flag, value]).exits(64).says(flag);
    }
}
