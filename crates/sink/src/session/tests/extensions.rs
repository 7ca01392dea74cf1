//! Extensions that are offered on request: what is taken, what is refused, what is kept.

use super::{Cut, Scene, check, codes, faults, plain};
use crate::config::{Config, Limits, Protocol, TlsUse};
use crate::store::StoreKind;

/// A server that offers this beside PIPELINING and CHUNKING, and keeps mails.
fn offering(offer: &str) -> Config {
    let base = "-SIZE,-8BITMIME,-SMTPUTF8,-ENHANCEDSTATUSCODES,-BINARYMIME,-DSN";
    let offer = format!("{base},{offer}").parse().unwrap();
    Config { offer, store: StoreKind::Memory, ..plain() }
}

/// Plays commands, each in its own flight, and compares the codes and the one violation.
#[track_caller]
fn check_codes(config: &Config, commands: &[&str], expected: &str, violation: Option<&str>) {
    let mut scene = Scene::new(config);
    assert_eq!(codes(&mut scene, commands), expected, "{commands:?}");
    let violations: Vec<_> = scene.server.stats().violations.into_keys().collect();
    assert_eq!(violations, Vec::from_iter(violation), "{commands:?}");
}

/// DSN-01 to DSN-05, DLVBY-01, MTPRI-01, FUTREL-01: parameters are kept as they came, and answered
/// 555 where they are not offered, 501 where they are not what they should be.
#[test]
fn parameters_are_checked_and_kept() {
    let offer = "DSN,DELIVERBY=240,MT-PRIORITY,FUTURERELEASE=600 2030-01-01T00:00:00Z";
    let mut scene = Scene::new(&offering(offer));
    let mail = "RET=HDRS ENVID=a+20b BY=240;R MT-PRIORITY=-3 HOLDFOR=600";
    let commands = [
        &format!("MAIL FROM:<a@x> {mail}"),
        "RCPT TO:<b@y> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c@z",
        "RCPT TO:<c@y>",
        "BDAT 0 LAST",
    ];
    assert_eq!(codes(&mut scene, &commands), "250 250 250 250");
    let kept = scene.server.mails().remove(0);
    assert_eq!(kept.parameters, mail);
    assert_eq!(kept.recipient_parameters, ["NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c@z", ""]);

    for (parameter, code, violation) in [
        ("SIZE=1", "555", "unoffered_extension"),
        ("REQUIRETLS", "555", "unoffered_extension"),
        ("MT-PRIORITY=10", "501", "syntax"),
        ("RET=HDRS RET=HDRS", "501", "syntax"),
        ("BY=239;R", "501", "beyond_offer"),
        ("HOLDFOR=601", "501", "beyond_offer"),
    ] {
        let command = format!("MAIL FROM:<a@x> {parameter}");
        check_codes(&offering(offer), &[&command], code, Some(violation));
    }
    let commands = ["MAIL FROM:<a@x>", "RCPT TO:<b@y> NOTIFY=NEVER"];
    check_codes(&offering("X"), &commands, "250 555", Some("unoffered_extension"));
}

/// RTLS-01: offered inside TLS, and taken there.
#[test]
fn requiretls_is_for_inside_tls() {
    let config = Config { tls: TlsUse::Implicit, ..offering("REQUIRETLS") };
    let mut scene = Scene::new(&config);
    scene.session.tls_established(scene.now);
    assert_eq!(codes(&mut scene, &["MAIL FROM:<a@x> REQUIRETLS"]), "250");
}

/// LIM-01 to LIM-03: what LIMITS states is what is taken, and going beyond it is the client's fault.
#[test]
fn stated_limits_are_kept() {
    let limited = |limit: &str| offering(&format!("LIMITS={limit}"));
    let beyond = Some("beyond_offer");
    let mail = "MAIL FROM:<a@x>";
    let commands = [mail, "RSET", mail, "RSET", mail];
    check_codes(&limited("MAILMAX=3"), &commands, "250 250 250 250 250", None);
    // Those that were refused count, too.
    let commands = ["MAIL FROM:<a@x> SIZE=1", mail, "RSET", mail];
    let mut scene = Scene::new(&limited("MAILMAX=2"));
    assert_eq!(codes(&mut scene, &commands), "555 250 250 421 * close fin");
    assert_eq!(scene.server.stats().violations["beyond_offer"], 1);

    let three = [mail, "RCPT TO:<a@y>", "RCPT TO:<b@y>", "RCPT TO:<c@y>"];
    check_codes(&limited("RCPTMAX=3"), &three, "250 250 250 250", None);
    check_codes(&limited("RCPTMAX=2"), &three, "250 250 250 452", beyond);
    let domains = [mail, "RCPT TO:<a@y>", "RCPT TO:<b@Y>", "RSET", mail, "RCPT TO:<c@z>"];
    check_codes(&limited("RCPTDOMAINMAX=2"), &domains, "250 250 250 250 250 250", None);
    check_codes(&limited("RCPTDOMAINMAX=1"), &domains, "250 250 250 250 250 452", beyond);
}

/// EHLO-20: whoever says HELO is offered nothing, and held to no limit they were not told.
#[test]
fn helo_offers_nothing() {
    let config = offering("DSN,LIMITS=RCPTMAX=1");
    let mail = "MAIL FROM:<a@x>";
    let commands = ["HELO c", mail, "RCPT TO:<a@y>", "RCPT TO:<b@y>"];
    check_codes(&config, &commands, "250 250 250 250", None);
    let unoffered = Some("unoffered_extension");
    let offer = "XCLIENT=NAME,AUTH=PLAIN".parse().unwrap();
    let everything = Config { offer, tls: TlsUse::Offered, ..Config::default() };
    for parameter in ["SIZE=1", "BODY=8BITMIME", "BODY=BINARYMIME", "SMTPUTF8", "RET=HDRS"] {
        let command = format!("MAIL FROM:<a@x> {parameter}");
        check_codes(&everything, &["HELO c", &command], "250 555", unoffered);
    }
    let commands = ["HELO c", mail, "RCPT TO:<a@y> NOTIFY=NEVER"];
    check_codes(&everything, &commands, "250 250 555", unoffered);
    let commands = ["HELO c", mail, "RCPT TO:<a@y>", "BDAT 0 LAST"];
    check_codes(&everything, &commands, "250 250 250 502", unoffered);
    check_codes(&everything, &["HELO c", "AUTH PLAIN AGEAYg=="], "250 504", unoffered);
    check_codes(&everything, &["HELO c", "STARTTLS"], "250 502", unoffered);
    check_codes(&everything, &["HELO c", "XCLIENT NAME=a"], "250 502", unoffered);
    let commands = ["HELO c", "MAIL FROM:<\u{fc}@x>"];
    check_codes(&everything, &commands, "250 250", Some("utf8_address"));
}

/// CHUNK-03, CHUNK-05, CHUNK-10: what may follow what.
#[test]
fn chunks_keep_their_order() {
    let (mail, rcpt) = ("MAIL FROM:<a@x>", "RCPT TO:<b@y>");
    let sequence = Some("sequence");
    for (commands, expected, violation) in [
        (&[mail, rcpt, "BDAT 0 LAST", "BDAT 0 LAST"][..], "250 250 250 503", sequence),
        (&["BDAT 0"], "503", sequence),
        (&[mail, rcpt, "BDAT 0", "DATA"], "250 250 250 503", sequence),
        (&[mail, rcpt, "DATA", ".", "BDAT 0 LAST"], "250 250 354 250 503", sequence),
        (&["MAIL FROM:<a@x> BODY=BINARYMIME", rcpt, "DATA"], "250 250 503", sequence),
        // Sent ahead, before the refusal could be known.
        (&["MAIL FROM:<refused@x>", rcpt, "BDAT 0", "BDAT 0 LAST"], "550 503 503 503", None),
        (&[mail, "BDAT 0", "BDAT 0", "BDAT 0 LAST"], "250 503 503 503", None),
    ] {
        let rule = r#"at=mail from=refused@x reply="550 no""#.parse().unwrap();
        let config = Config { faults: vec![rule], ..offering("BINARYMIME") };
        check_codes(&config, commands, expected, violation);
    }
    let binary = "MAIL FROM:<a@x> BODY=BINARYMIME";
    let offered_alone = offering("BINARYMIME,-CHUNKING");
    check_codes(&offered_alone, &[binary], "555", Some("unoffered_extension"));
}

/// CHUNK-06: a chunk may be refused by a rule of its own, or because the content is too big by then;
/// what is on its way behind it is discarded and refused.
#[test]
fn a_chunk_may_be_refused() {
    let commands =
        ["MAIL FROM:<a@x>", "RCPT TO:<b@y>", "BDAT 3\r\na", "BDAT 3\r\nb", "BDAT 0 LAST"];
    let mut scene = Scene::new(&faults(&[r#"at=chunk after=1 reply="451 later""#]));
    assert_eq!(codes(&mut scene, &commands), "250 250 250 451 503");
    let limits = Limits { max_size: 5, ..Limits::default() };
    let mut scene = Scene::new(&Config { limits, ..plain() });
    assert_eq!(codes(&mut scene, &commands), "250 250 250 552 503");
    let stats = scene.server.stats();
    assert_eq!((stats.mails, stats.refusals["max-size"]), (0, 1));
    assert!(stats.violations.is_empty(), "{:?}", stats.violations);
}

/// LMTP-03, LMTP-05, LMTP-07: one reply a recipient for the last chunk, one for each other chunk.
#[test]
fn lmtp_answers_the_last_chunk_for_each_recipient() {
    let rules = [r#"at=final rcpt=c@y reply="452 full""#];
    let config = Config { protocol: Protocol::Lmtp, ..faults(&rules) };
    let stats = check(
        &config,
        "
        S: 220 sink LMTP posthaste sink
        C: LHLO client
        S: 250-sink
        S: 250-PIPELINING
        S: 250 CHUNKING
        C: MAIL FROM:<a@x>
        C: RCPT TO:<b@y>
        C: RCPT TO:<c@y>
        C: RCPT TO:<b@y>
        C: BDAT 3
        C: a
        C: BDAT 3 LAST
        C: b
        C: BDAT 0 LAST
        S: 250 Ok
        S: 250 Ok
        S: 250 Ok
        S: 250 Ok
        S: 250 Ok: chunk received
        S: 250 Ok: queued as 0-1
        S: 452 full
        S: 250 Ok: queued as 0-1
        S: 503 Valid RCPT command must precede BDAT",
    );
    assert_eq!((stats.mails, stats.recipients, stats.bytes), (1, 2, 6));
}

/// LMTP-06, LMTP-08: the connection may end among the final replies.
#[test]
fn lmtp_may_break_among_the_final_replies() {
    let rules = [r#"at=final rcpt=c@y reply="421 bye" close=fin"#];
    let mut scene = Scene::new(&Config { protocol: Protocol::Lmtp, ..faults(&rules) });
    let flight = "LHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nRCPT TO:<c@y>\r\nRCPT TO:<d@y>\r\n\
                  BDAT 0 LAST\r\n";
    scene.send(flight.as_bytes(), Cut::Whole);
    let ends = "S: 250 Ok: queued as 0-1\nS: 421 bye\n* close fin\n";
    assert!(scene.seen.ends_with(ends), "{}", scene.seen);
}

/// XCLIENT-01, XCLIENT-02: another client is taken for the one on the connection, and begins anew.
#[test]
fn xclient_begins_anew() {
    let config = offering("XCLIENT=NAME ADDR LOGIN");
    let commands = [
        "XCLIENT NAME=spike.example LOGIN=a+40b",
        "MAIL FROM:<a@x>",
        "EHLO c",
        "XCLIENT ADDR=192.0.2.1",
        "EHLO c",
        "MAIL FROM:<a@x>",
        "RCPT TO:<b@y>",
        "BDAT 0 LAST",
    ];
    let mut scene = Scene::new(&config);
    let hello = "250 250 250 250";
    let expected = format!("220 503 {hello} 220 {hello} 250 250 250");
    assert_eq!(codes(&mut scene, &commands), expected);
    let kept = scene.server.mails().remove(0);
    let attributes = "NAME=spike.example LOGIN=a+40b ADDR=192.0.2.1";
    assert_eq!(kept.on_behalf_of.xclient, attributes);

    let name = "XCLIENT NAME=a";
    check_codes(&config, &["MAIL FROM:<a@x>", name], "250 503", Some("sequence"));
    check_codes(&config, &["XCLIENT HELO=a"], "501", Some("unoffered_extension"));
    check_codes(&config, &["XCLIENT NAME=a+b"], "501", Some("syntax"));
    check_codes(&offering("X"), &[name], "502", Some("unoffered_extension"));
    check_codes(&config, &["XCLIENT NAME=a\r\nNOOP"], "220 250", Some("behind_xclient"));
}

/// CMD-05: a line may be as long as what is offered makes it, and no longer.
#[test]
fn lines_are_as_long_as_extensions_allow() {
    let line = |octets: usize| {
        let start = "RCPT TO:<b@y> NOTIFY=NEVER ORCPT=rfc822;";
        format!("{start}{}", "x".repeat(octets - 2 - start.len()))
    };
    for (command, code, violation) in [
        (line(512), "250", None),
        (line(521), "250", None),
        // The value is too long before the line is.
        (line(600), "501", Some("syntax")),
        (
            format!("{} {}", line(500), "X=".to_owned() + &"y".repeat(600)),
            "250",
            Some("long_command"),
        ),
    ] {
        let commands = ["MAIL FROM:<a@x>", &command];
        check_codes(&offering("DSN,X"), &commands, &format!("250 {code}"), violation);
    }
}
