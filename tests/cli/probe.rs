//! `posthaste probe`: what a server offers, without a mail.

use posthaste_tests::{Auth, Exim, HOSTNAME, Postfix, Tls, USER, or_skip};
use serde_json::{Value, json};

use crate::support::{Scene, Then, fake_server, scripted_server, server_with_unusable_certificate};

const WITH_TLS: [&str; 4] = ["--tls-self-signed", "localhost", "--ca-out", "{}/ca.pem"];

/// The report on a scene's sink, or on the server among the arguments.
#[track_caller]
fn probe(scene: &Scene, args: &[&str], code: i32) -> Value {
    let args: Vec<_> = ["probe", "--json"].iter().chain(args).copied().collect();
    let finished = scene.run(&args).exits(code);
    serde_json::from_str(&finished.stdout).unwrap()
}

fn status<'a>(report: &'a Value, stage: &str) -> &'a str {
    report["stages"][stage]["status"].as_str().unwrap()
}

#[test]
fn a_server_without_tls() {
    let ehlo =
        r#"at=ehlo reply="250-mx.test\n250-PIPELINING\n250-SIZE 1024\n250 LIMITS RCPTMAX=7""#;
    let mut scene = Scene::with_sink(&["--fault", ehlo]);
    let report = probe(&scene, &["{sink}"], 0);
    assert_eq!(report["conclusive"], true);
    for (stage, expected) in [
        ("connect", "ok"),
        ("greeting", "ok"),
        ("ehlo", "ok"),
        ("starttls", "not_offered"),
        ("tls", "not_reached"),
        ("ehlo_tls", "not_reached"),
        ("auth", "not_tried"),
    ] {
        assert_eq!(status(&report, stage), expected, "{stage}");
    }
    assert!(report["greeting"].as_str().unwrap().starts_with("220 "));
    let extensions = json!(["PIPELINING", "SIZE 1024", "LIMITS RCPTMAX=7"]);
    assert_eq!(
        report["ehlo"],
        json!({"identity": "mx.test", "extensions": extensions, "auth": []})
    );
    let limits = ["size", "recipients_per_mail", "mails_per_session"];
    assert_eq!(limits.map(|it| &report["limits"][it]), [&json!(1024), &json!(7), &Value::Null]);
    assert_eq!((&report["tls"], &report["ehlo_tls"]), (&Value::Null, &Value::Null));
    scene.end_without_mail();
}

/// What is offered before TLS and within it, and what the certificate proves.
#[test]
fn a_server_with_starttls() {
    let flags = [&WITH_TLS[..], &["--user", "ann:secret"]].concat();
    let mut scene = Scene::with_sink(&flags);
    let report = probe(&scene, &["{sink}"], 0);
    for stage in ["greeting", "ehlo", "starttls", "tls", "ehlo_tls"] {
        assert_eq!(status(&report, stage), "ok", "{stage}");
    }
    let clear = report["ehlo"]["extensions"].as_array().unwrap();
    let within = report["ehlo_tls"]["extensions"].as_array().unwrap();
    assert!(clear.contains(&json!("STARTTLS")) && !within.contains(&json!("STARTTLS")));
    let mechanisms = report["ehlo_tls"]["auth"].as_array().unwrap();
    assert!(mechanisms.contains(&json!("PLAIN")), "{mechanisms:?}");

    let tls = &report["tls"];
    assert_eq!((&tls["version"], &tls["verified"]), (&json!("1.3"), &json!(false)));
    assert_eq!(tls["fault"], "unknown-issuer");
    let certificate = &tls["certificate"];
    assert!(certificate["names"].as_array().unwrap().contains(&json!("localhost")));
    assert_eq!(certificate["issuer"], "CN=posthaste sink CA");
    assert_eq!(certificate["not_before"], "1975-01-01T00:00:00Z");
    assert!(certificate["days_left"].as_i64().unwrap() > 365);

    let trusting = ["{sink}", "--cacert", "{}/ca.pem", "--tls-name"];
    let report = probe(&scene, &[&trusting[..], &["localhost"]].concat(), 0);
    assert_eq!((&report["tls"]["verified"], &report["tls"]["fault"]), (&json!(true), &Value::Null));
    assert_eq!(report["tls"]["server_name"], "localhost");
    let report = probe(&scene, &[&trusting[..], &["other.test"]].concat(), 77);
    assert_eq!(
        (status(&report, "tls"), &report["tls"]["fault"]),
        ("refused", &json!("wrong-name"))
    );

    let report = probe(&scene, &["{sink}", "--tls", "off"], 0);
    assert_eq!(["starttls", "tls"].map(|stage| status(&report, stage)), ["not_tried"; 2]);
    scene.end_without_mail();
}

#[test]
fn servers_of_other_kinds() {
    let scene = Scene::new();
    let report = probe(&scene, &["sink:?implicit-tls=true"], 0);
    assert_eq!(["ehlo", "starttls"].map(|stage| status(&report, stage)), ["not_tried"; 2]);
    assert_eq!(["tls", "ehlo_tls"].map(|stage| status(&report, stage)), ["ok"; 2]);
    let report = probe(&scene, &["sink:?lmtp=true"], 0);
    assert_eq!((&report["protocol"], status(&report, "ehlo")), (&json!("lmtp"), "ok"));
    let text = scene.run(&["probe", "sink:?lmtp=true"]).exits(0);
    assert!(text.stdout.lines().any(|line| line.trim_start().starts_with("LHLO")), "{text:#?}");

    let no_ehlo = Scene::with_sink(&["--fault", r#"at=ehlo first=1 reply="502 5.5.1 what?""#]);
    let report = probe(&no_ehlo, &["{sink}"], 0);
    let ehlo = &report["stages"]["ehlo"];
    assert_eq!(ehlo, &json!({"status": "ok", "text": "only HELO"}));
    assert_eq!(status(&report, "starttls"), "not_offered");
}

/// A 421, a 450 or a drop says nothing about what a server has: it is inconclusive at that stage,
/// whatever the stage, and nothing behind it is "not offered".
#[test]
fn trouble_is_inconclusive() {
    for (at, stage) in [
        ("greeting", "greeting"),
        ("ehlo", "ehlo"),
        ("starttls", "starttls"),
        ("tls", "tls"),
        ("ehlo after=1", "ehlo_tls"),
    ] {
        for how in [
            r#"reply="421 4.3.2 later" close=fin"#,
            r#"reply="450 4.3.2 later""#,
            "close=fin",
            "close=rst",
        ] {
            if at == "tls" && how.starts_with("reply") {
                continue; // no replies within a handshake
            }
            let fault = format!("at={at} {how}");
            let flags = [&WITH_TLS[..], &["--fault", &fault]].concat();
            let mut scene = Scene::with_sink(&flags);
            let report = probe(&scene, &["{sink}"], 75);
            assert_eq!(report["conclusive"], false, "{fault}");
            // A reset that comes as early may be heard as one of the connect.
            let is_early = fault == "at=greeting close=rst" && status(&report, "connect") != "ok";
            let stage = if is_early { "connect" } else { stage };
            assert_eq!(status(&report, stage), "inconclusive", "{fault}: {report:#}");
            assert!(report["stages"][stage]["text"].is_string(), "{fault}: {report:#}");
            let stages = report["stages"].as_object().unwrap();
            let no_news = stages.values().all(|it| it["status"] != "not_offered");
            assert!(no_news, "{fault}: {report:#}");
            scene.end_without_mail();
        }
    }
}

#[test]
fn a_server_that_is_not_there_is_inconclusive() {
    let scene = Scene::new();
    let report = probe(&scene, &["127.0.0.1:1"], 75);
    assert_eq!(status(&report, "connect"), "inconclusive");
    let silent = fake_server("", Then::Wait);
    let report = probe(&scene, &[&silent, "--command-timeout", "100ms"], 75);
    assert_eq!(status(&report, "greeting"), "inconclusive");
    let gone = fake_server("", Then::Close);
    let report = probe(&scene, &[&gone], 75);
    assert_eq!(status(&report, "greeting"), "inconclusive");
}

#[test]
fn a_refusal_is_an_answer() {
    let scene = Scene::new();
    let refusing = fake_server("554 5.7.1 not you\r\n", Then::Wait);
    let report = probe(&scene, &[&refusing, "--command-timeout", "100ms"], 69);
    let greeting = &report["stages"]["greeting"];
    assert_eq!(greeting, &json!({"status": "refused", "text": "554 5.7.1 not you"}));
    let other = fake_server("HTTP/1.1 400 Bad Request\r\n", Then::Wait);
    let report = probe(&scene, &[&other], 76);
    assert_eq!(status(&report, "greeting"), "violation");
    let no_tls = fake_server("220 mx.test\r\n", Then::Wait);
    let report = probe(&scene, &[&format!("smtps://{no_tls}")], 69);
    assert_eq!(status(&report, "tls"), "refused");
    // Required and not there.
    let scene = Scene::with_sink(&[]);
    let report = probe(&scene, &["{sink}", "--tls", "require"], 77);
    assert_eq!(status(&report, "starttls"), "not_offered");
}

/// What the server breaks between two stages counts as well, and is no part of a reply.
#[test]
fn violations_between_the_stages() {
    let scene = Scene::new();
    // ST-05
    let injecting = scripted_server(&[
        "220 mx.test\r\n",
        "250-mx.test\r\n250 STARTTLS\r\n",
        "220 go\r\n250-evil\r\n",
    ]);
    let report = probe(&scene, &[&injecting], 76);
    assert_eq!(["starttls", "tls"].map(|stage| status(&report, stage)), ["ok", "violation"]);
    assert_eq!(report["ehlo"]["extensions"], json!(["STARTTLS"]));
    scene.run(&["probe", &injecting]).exits(76).says("TLS           protocol violation: server");

    let talkative = scripted_server(&["220 mx.test\r\n", "250-mx.test\r\n250 SIZE\r\n554 die\r\n"]);
    let report = probe(&scene, &[&talkative], 76);
    assert_eq!(["ehlo", "session"].map(|stage| status(&report, stage)), ["ok", "violation"]);
    assert_eq!(report["ehlo"]["extensions"], json!(["SIZE"]));
    scene.run(&["probe", &talkative]).exits(76).says("session       protocol violation: server");

    // What comes in time counts for nothing if its end does not.
    let halting = scripted_server(&["220 mx.test\r\n", "250-mx.test\r\n250-SIZE\r\n"]);
    let report = probe(&scene, &[&halting, "--command-timeout", "100ms"], 75);
    assert_eq!(
        ["ehlo", "starttls"].map(|stage| status(&report, stage)),
        ["inconclusive", "not_reached"]
    );
}

/// A server that does not answer QUIT has answered everything else.
#[test]
fn quit_is_no_question() {
    let curt = scripted_server(&["220 mx.test\r\n", "250 mx.test\r\n"]);
    let report = probe(&Scene::new(), &[&curt, "--command-timeout", "100ms"], 0);
    assert_eq!((status(&report, "session"), &report["conclusive"]), ("ok", &json!(true)));
}

/// TLS-27: where TLS is demanded, a certificate that proves nothing is refused, as `send`
/// would refuse it; but what the server offers is looked at all the same.
#[test]
fn an_untrusted_certificate_is_refused_where_tls_is_demanded() {
    let mut scene = Scene::with_sink(&WITH_TLS);
    let implicit = Scene::with_sink(&[&WITH_TLS[..], &["--implicit-tls"]].concat());
    let smtps = format!("smtps://127.0.0.1:{}", implicit.port());
    let trust = ["--cacert", "{}/ca.pem"];
    for (server, flags, expected) in [
        ("{sink}", &["--tls", "require"][..], "refused"),
        ("{sink}", &["--tls", "may"], "ok"),
        ("{sink}", &["--tls", "may", "--cacert", "{}/ca.pem", "--tls-name", "other.test"], "ok"),
        ("{sink}", &["--tls", "require", "-k"], "ok"),
        ("{sink}", &trust, "ok"),
        ("{sink}", &["--tls", "require", "--dangerous-any-name"], "refused"),
        ("{sink}", &["--dangerous-any-name", trust[0], trust[1], "--tls-name", "x.test"], "ok"),
        ("{sink}", &["--dangerous-any-certificate", "--tls-name", "localhost"], "ok"),
        (&smtps, &[], "refused"),
        (&smtps, &["-k"], "ok"),
    ] {
        let code = if expected == "ok" { 0 } else { 77 };
        let report = probe(&scene, &[&[server], flags].concat(), code);
        assert_eq!(status(&report, "tls"), expected, "{server} {flags:?}: {report:#}");
        assert_eq!(status(&report, "ehlo_tls"), "ok");
    }
    let text = scene.run(&["probe", "{sink}", "--tls", "require"]).exits(77);
    let text =
        text.says("refused: not trusted (--cacert FILE trusts its authority, -k trusts any)");
    assert!(text.stdout.lines().all(|line| line.chars().count() <= 100), "{text:#?}");
    scene.end_without_mail();
}

/// TLS-20: a certificate that no handshake can be finished with is the same tomorrow, and the
/// reason is told although other mail would go in the clear.
#[test]
fn an_unusable_certificate_is_refused() {
    let scene = Scene::new();
    let starttls: &[&str] = &["220 mx.test\r\n", "250-mx.test\r\n250 STARTTLS\r\n", "220 go\r\n"];
    let server = server_with_unusable_certificate(starttls);
    for (flags, code) in [(&[][..], 69), (&["-k"], 69), (&["--tls", "require"], 77)] {
        let report = probe(&scene, &[&[server.as_str()], flags].concat(), code);
        let tls = &report["stages"]["tls"];
        assert_eq!((&tls["status"], &report["conclusive"]), (&json!("refused"), &json!(true)));
        assert!(tls["text"].as_str().unwrap().starts_with("TLS handshake failed"), "{tls}");
        assert!(!tls["text"].as_str().unwrap().contains("-k"), "{tls}");
    }
}

/// The commonest mistake: a port that begins with TLS, or does not.
#[test]
fn the_wrong_kind_of_port_has_a_hint() {
    let scene = Scene::new();
    let silent = fake_server("", Then::Wait);
    let text = scene.run(&["probe", &silent, "--command-timeout", "100ms"]).exits(75);
    text.says("in time at greeting (smtps:// is for servers that begin with TLS)");
    let plain = fake_server("220 mx.test\r\n", Then::Wait);
    let text = scene.run(&["probe", &format!("smtps://{plain}")]).exits(69);
    text.says("smtp:// for those that do not)");
}

/// AUTH-09: credentials are tried on a connection of their own, whose server has proven who it is.
#[test]
fn credentials_are_tried_if_given() {
    let login = ["--user", "ann", "--password-file", "{}/password", "--tls-name", "localhost"];
    for (fault, password, trusts, expected, code) in [
        (None, "secret", true, "ok", 0),
        (None, "wrong", true, "refused", 77),
        (None, "secret", false, "refused", 77),
        (Some(r#"at=auth reply="454 4.7.0 later""#), "secret", true, "inconclusive", 75),
        (Some("at=auth close=fin"), "secret", true, "inconclusive", 75),
    ] {
        let fault: Vec<_> = fault.map(|fault| ["--fault", fault]).into_iter().flatten().collect();
        let flags = [&WITH_TLS[..], &["--user", "ann:secret"], &fault].concat();
        let mut scene = Scene::with_sink(&flags);
        scene.file("password", password);
        let trust: &[&str] = if trusts { &["--cacert", "{}/ca.pem"] } else { &[] };
        let args = [&["{sink}"], &login[..], trust].concat();
        let report = probe(&scene, &args, code);
        assert_eq!(status(&report, "auth"), expected, "{fault:?} {password} {trusts}: {report:#}");
        assert_eq!(status(&report, "ehlo_tls"), "ok");
        assert!(!report.to_string().contains("secret"));
        scene.end_without_mail();
    }
}

/// Q15: Postfix and Exim as they are.
#[tokio::test(flavor = "multi_thread")]
async fn real_servers() {
    let (tls, auth) = (Tls::Starttls, Auth::Offered);
    let postfix = or_skip!(Postfix { tls, auth, ..Postfix::default() }.start().await);
    let exim = or_skip!(Exim { tls, auth, ..Exim::default() }.start().await);
    for server in [postfix, exim] {
        let scene = Scene::new();
        scene.file("ca.pem", &server.ca_pem);
        scene.file("password", posthaste_tests::PASSWORD);
        let server = server.addr.to_string();
        let trust = ["--cacert", "{}/ca.pem", "--tls-name", HOSTNAME];
        let login = ["--user", USER, "--password-file", "{}/password"];
        let report = probe(&scene, &[&[server.as_str()][..], &trust, &login].concat(), 0);
        for stage in ["greeting", "ehlo", "starttls", "tls", "ehlo_tls", "auth"] {
            assert_eq!(status(&report, stage), "ok", "{stage}: {report:#}");
        }
        assert_eq!(report["tls"]["verified"], true, "{report:#}");
        let names = report["tls"]["certificate"]["names"].as_array().unwrap();
        assert!(names.contains(&json!(HOSTNAME)), "{names:?}");
        let extensions = report["ehlo_tls"]["extensions"].as_array().unwrap();
        assert!(extensions.contains(&json!("PIPELINING")), "{extensions:?}");
        assert!(report["limits"]["size"].as_u64() > Some(1_000_000), "{report:#}");
    }
}

#[test]
fn people_read_text() {
    let scene = Scene::with_sink(&WITH_TLS);
    let finished = scene.run(&["probe", "{sink}", "-v"]).exits(0);
    for (name, text) in [
        ("greeting", "220 "),
        ("EHLO", "PIPELINING, SIZE"),
        ("STARTTLS", "220 2.0.0"),
        ("TLS", "TLS 1.3, TLS_"),
        ("", "does not prove who it is: unknown-issuer"),
        ("for", "localhost"),
        ("issued by", "CN=posthaste sink CA"),
        ("valid", "1975-01-01T00:00:00Z to 4096-01-01T00:00:00Z"),
        ("EHLO in TLS", "PIPELINING, SIZE"),
        ("AUTH", "none in the clear, none in TLS"),
        ("limits", "256.0 MiB a mail"),
    ] {
        let is_row = |line: &str| {
            let (_, row) = line.split_at_checked(2).unwrap_or_default();
            row.trim_start().strip_prefix(name).is_some_and(|it| it.trim_start().starts_with(text))
        };
        assert!(finished.stdout.lines().any(is_row), "{name}: {text}: {finished:#?}");
    }
    assert!(finished.stderr.contains("-> STARTTLS"));
    let longest = finished.stdout.lines().map(|line| line.chars().count()).max();
    assert!(longest <= Some(100), "{finished:#?}");
    let text = Scene::new().run(&["probe", "127.0.0.1:1"]).exits(75);
    text.says("connect       inconclusive: nobody listens").says("inconclusive.");
}
