//! What fault rules do to sessions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Cut, GREETING, Scene, check, check_cut, codes, faults};
use crate::config::{Config, PipeliningAfterContent, TlsUse};
use crate::server::Server;

#[test]
fn faults_change_replies_and_the_state_follows() {
    let config = faults(&[
        r#"at=mail from=bad@* reply="550 no""#,
        r#"at=rcpt rcpt=*@slow.test first=1 per=rcpt reply="451 greylisted""#,
        r#"at=data first=1 reply="250 ok""#,
        r#"at=rset reply=none"#,
    ]);
    let commands = [
        "MAIL FROM:<bad@x>",
        "RCPT TO:<b@y>",
        "MAIL FROM:<a@x>",
        "RCPT TO:<b@slow.test>",
        "RCPT TO:<c@slow.test>",
        "RCPT TO:<b@slow.test>",
        "DATA",
        "NOOP",
        "DATA",
        ".",
        "RSET",
    ];
    let mut scene = Scene::new(&config);
    assert_eq!(codes(&mut scene, &commands), "550 503 250 451 451 250 250 250 354 250");
    let refusals = scene.server.stats().refusals;
    assert_eq!(refusals[r#"at=rcpt rcpt=*@slow.test first=1 per=rcpt reply="451 greylisted""#], 2);
}

#[test]
fn faults_are_counted_for_what_they_say() {
    let accepted = |rule: &str, connections: usize| -> Vec<String> {
        let server = Server::new(faults(&[rule]), Instant::now()).unwrap();
        let codes_of = |_| {
            let mut scene = Scene::of(Arc::clone(&server), Instant::now());
            codes(&mut scene, &["RSET", "RSET", "RSET", "RSET", "RSET", "RSET"])
        };
        (0..connections).map(codes_of).collect()
    };
    let rule = |when| format!("at=rset {when} reply=\"500 x\"");
    assert_eq!(
        accepted(&rule("first=2"), 2),
        ["500 500 250 250 250 250", "250 250 250 250 250 250"]
    );
    assert_eq!(
        accepted(&rule("first=1 per=conn"), 2),
        ["500 250 250 250 250 250", "500 250 250 250 250 250"]
    );
    assert_eq!(accepted(&rule("after=4"), 1), ["250 250 250 250 500 500"]);
    assert_eq!(accepted(&rule("after=1 first=2"), 1), ["250 500 500 250 250 250"]);
    assert_eq!(accepted(&rule("every=3"), 1), ["250 250 500 250 250 500"]);
}

#[test]
fn chance_follows_the_seed() {
    let run = |seed| {
        let config = Config { seed, ..faults(&[r#"at=rset prob=0.5 reply="500 x""#]) };
        let mut scene = Scene::new(&config);
        codes(&mut scene, &["RSET"; 100])
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
    let refused = run(7).matches("500").count();
    assert!((30..70).contains(&refused), "{refused}");
}

#[test]
fn a_rule_may_end_with_time() {
    let mut scene = Scene::new(&faults(&[r#"at=rset for=30s reply="421 busy""#]));
    assert_eq!(codes(&mut scene, &["RSET"]), "421");
    scene.wait(Duration::from_secs(29));
    assert_eq!(codes(&mut scene, &["RSET"]), "421");
    scene.wait(Duration::from_secs(1));
    assert_eq!(codes(&mut scene, &["RSET"]), "250");
}

#[test]
fn delays_hold_back_all_that_follows() {
    check(
        &faults(&[r#"at=rcpt delay=5s"#, r#"at=quit trickle=1s reply="221""#]),
        &format!(
            "{GREETING}
            C: MAIL FROM:<a@x>
            C: RCPT TO:<b@y>
            C: RCPT TO:<c@y>
            C: RSET
            S: 250 Ok
            * wait 4s
            * wait 1s
            S: 250 Ok
            * wait 5s
            S: 250 Ok
            S: 250 Ok
            C: QUIT
            S: 2
            * wait 1s
            S: 2
            * wait 1s
            S: 1
            * wait 2s
            S: \\r
            S: \\n
            * close fin"
        ),
    );
}

#[test]
fn connections_break_where_rules_say() {
    for (rule, expected) in [
        (r#"at=connect close=rst"#, "* close rst"),
        (r#"at=connect stall=true"#, ""),
        (r#"at=greeting reply="554 no""#, "S: 554 no"),
        (r#"at=greeting reply="421 busy" close=fin"#, "S: 421 busy\n* close fin"),
        (r#"at=greeting raw="220-\n""#, "S: 220-\\n"),
        (r#"at=greeting reply="220 a" surplus="250 b\r\n""#, "S: 220 a\nS: 250 b"),
        (
            r#"at=greeting garbage="\x00\r\n" reply=usual"#,
            "S: \0\nS: 220 sink ESMTP posthaste sink",
        ),
    ] {
        let scene = Scene::new(&faults(&[rule]));
        assert_eq!(scene.seen.trim_end(), expected, "{rule}");
    }
    // After a refusal for a greeting there is nothing but QUIT (RFC 5321 3.1).
    let mut scene = Scene::new(&faults(&[r#"at=greeting reply="554 no""#]));
    assert_eq!(codes(&mut scene, &["EHLO c", "QUIT"]), "503 221 * close fin");
}

/// TX-16: the mail is kept or not, whatever the client is told.
#[test]
fn a_final_reply_may_lie() {
    for (rule, expected, kept) in [
        (r#"at=final close=rst"#, "250 250 354 * close rst", 0),
        (r#"at=final store=true close=rst"#, "250 250 354 * close rst", 1),
        (r#"at=final reply=usual close=fin"#, "250 250 354 250 * close fin", 1),
        (r#"at=final reply="451 later""#, "250 250 354 451", 0),
        (r#"at=final reply="451 later" store=true"#, "250 250 354 451", 1),
        (r#"at=final store=false"#, "250 250 354 250", 0),
        (r#"at=final stall=true"#, "250 250 354", 0),
    ] {
        let mut scene = Scene::new(&faults(&[rule]));
        let commands = ["MAIL FROM:<a@x>", "RCPT TO:<b@y>", "DATA", "."];
        assert_eq!(codes(&mut scene, &commands), expected, "{rule}");
        assert_eq!(scene.server.stats().mails, kept, "{rule}");
    }
}

/// TX-19: a reply comes while the content is still being sent.
#[test]
fn content_may_be_interrupted() {
    let config = faults(&[r#"at=content bytes=4 reply="552 too big" close=fin"#]);
    for cut in [Cut::Whole, Cut::Octets] {
        let mut scene = Scene::new(&config);
        codes(&mut scene, &["MAIL FROM:<a@x>", "RCPT TO:<b@y>", "DATA"]);
        scene.seen.clear();
        scene.send(b"abc", cut);
        assert_eq!(scene.seen, "");
        scene.send(b"def\r\n.\r\n", cut);
        assert_eq!(scene.seen, "S: 552 too big\n* close fin\n");
        assert_eq!(scene.server.stats().mails, 0);
    }
    // Without an end, the content goes on, and so does the session.
    let config = faults(&[r#"at=content reply="451 later""#]);
    let mut scene = Scene::new(&config);
    let commands = ["MAIL FROM:<a@x>", "RCPT TO:<b@y>", "DATA", "abc\r\n.\r\nNOOP"];
    assert_eq!(codes(&mut scene, &commands), "250 250 354 451 250 250");
}

/// ST-05: octets in clear behind the reply to STARTTLS.
#[test]
fn replies_may_be_injected_before_tls() {
    let rule = r#"at=starttls reply="220 go" surplus="250 AUTH LOGIN\r\n""#;
    let mut scene = Scene::new(&Config { tls: TlsUse::Offered, ..faults(&[rule]) });
    assert_eq!(codes(&mut scene, &["STARTTLS"]), "220 250 * starttls");
    let rule = r#"at=starttls reply="454 not now""#;
    let mut scene = Scene::new(&Config { tls: TlsUse::Offered, ..faults(&[rule]) });
    assert_eq!(codes(&mut scene, &["STARTTLS", "NOOP"]), "454 250");
}

#[test]
fn a_stalled_session_ends_with_its_sink() {
    let mut scene = Scene::new(&faults(&["at=rset stall=true"]));
    assert_eq!(codes(&mut scene, &["RSET", "NOOP"]), "");
    assert!(!scene.session.wants_input());
    scene.session.handle_shutdown();
    scene.drain();
    assert_eq!(scene.seen, "* close fin\n");
}

/// What waits for its reply is no early talk once the reply is there.
#[test]
fn a_rule_that_takes_time_turns_nothing_against_the_client() {
    let config = Config {
        pipelining_after_content: PipeliningAfterContent::Reject503,
        ..faults(&[r#"at=greeting trickle=1s reply="220""#, r#"at=final delay=5s"#])
    };
    let stats = check_cut(
        &config,
        "S: 2
        * wait 1s
        S: 2
        * wait 3s
        S: 0
        S: \\r
        S: \\n
        C: EHLO client
        S: 250-sink
        S: 250-PIPELINING
        S: 250 CHUNKING
        C: MAIL FROM:<a@x>
        C: RCPT TO:<b@y>
        C: DATA
        S: 250 Ok
        S: 250 Ok
        S: 354 End data with <CR><LF>.<CR><LF>
        C: .
        * wait 5s
        S: 250 Ok: queued as 0-1
        C: MAIL FROM:<a@x>
        S: 250 Ok",
        Cut::Whole,
    );
    assert_eq!(stats.violations.len(), 0, "{:?}", stats.violations);
}

#[test]
fn a_client_that_is_gone_is_not_asked_again() {
    let mut scene = Scene::new(&faults(&[r#"at=greeting delay=5s"#]));
    assert!(scene.session.wants_input());
    scene.session.handle_eof();
    assert!(!scene.session.wants_input());
    scene.wait(Duration::from_secs(5));
    assert_eq!(scene.seen, "S: 220 sink ESMTP posthaste sink\n* close fin\n");
}

#[test]
fn content_outside_a_transaction_is_nobodys() {
    let mut scene = Scene::new(&faults(&[r#"at=data reply="354 go""#]));
    let commands = ["MAIL FROM:<a@x>", "RCPT TO:<b@y>", "DATA", ".", "DATA", "."];
    assert_eq!(codes(&mut scene, &commands), "250 250 354 250 354 250");
    assert_eq!(scene.server.stats().mails, 1);
}
