//! Transcripts: what a client sends (`C:`), what it gets (`S:`), and what the driver is told (`*`).

mod auth;
mod cuts;
mod extensions;
mod faults;
mod limits;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Close, Event, Session};
use crate::config::{Config, EarlyTalk, PipeliningAfterContent, Protocol, RefusedChunk};
use crate::config::{TlsUse, User};
use crate::server::Server;
use crate::stats::Stats;
use crate::store::StoreKind;
use crate::units::parse_duration;

/// How a flight reaches the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Whole,
    Octets,
}

/// A session under test, and its clock.
struct Scene {
    server: Arc<Server>,
    session: Session,
    now: Instant,
    seen: String,
}

impl Scene {
    fn new(config: &Config) -> Self {
        let now = Instant::now();
        let server = Server::new(config.clone(), now).unwrap();
        Self::of(server, now)
    }

    fn of(server: Arc<Server>, now: Instant) -> Self {
        let session = Session::new(Arc::clone(&server), now);
        let mut scene = Self { server, session, now, seen: String::new() };
        scene.drain();
        scene
    }

    /// Notes what the session says and wants.
    fn drain(&mut self) {
        let output = String::from_utf8_lossy(self.session.output()).into_owned();
        self.session.transmitted(self.session.output().len());
        for line in output.split_inclusive('\n') {
            // Line ends other than CRLF show.
            let line = line
                .strip_suffix("\r\n")
                .map_or_else(|| line.escape_debug().to_string(), str::to_owned);
            writeln!(self.seen, "S: {line}").unwrap();
        }
        match self.session.poll_event() {
            None => {}
            Some(Event::StartTls) => self.seen.push_str("* starttls\n"),
            Some(Event::Close(Close::Fin)) => self.seen.push_str("* close fin\n"),
            Some(Event::Close(Close::Rst)) => self.seen.push_str("* close rst\n"),
        }
    }

    fn send(&mut self, flight: &[u8], cut: Cut) {
        match cut {
            Cut::Whole => self.session.handle_input(self.now, flight),
            Cut::Octets => {
                for octet in flight {
                    self.session.handle_input(self.now, std::slice::from_ref(octet));
                }
            }
        }
        self.drain();
    }

    /// Lets time pass, as far as the session asks for it.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self.session.poll_deadline().filter(|&at| at <= end) {
            self.now = deadline;
            self.session.handle_timeout(deadline);
            self.drain();
        }
        self.now = end;
    }

    fn play(&mut self, transcript: &str, cut: Cut) {
        let mut flight = Vec::new();
        for line in transcript.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(text) = line.strip_prefix("C:") {
                writeln!(self.seen, "C:{text}").unwrap();
                flight.extend_from_slice(text.strip_prefix(' ').unwrap_or(text).as_bytes());
                flight.extend_from_slice(b"\r\n");
                continue;
            }
            if !flight.is_empty() {
                self.send(&std::mem::take(&mut flight), cut);
            }
            if let Some(time) = line.strip_prefix("* wait ") {
                writeln!(self.seen, "{line}").unwrap();
                self.wait(parse_duration(time).unwrap());
            } else if line == "* tls" {
                self.seen.push_str("* tls\n");
                self.session.tls_established(self.now);
                self.drain();
            }
        }
        self.send(&flight, cut);
    }
}

/// Plays a transcript and compares. Flights come whole, and octet by octet.
#[track_caller]
fn check(config: &Config, transcript: &str) -> Stats {
    check_cut(config, transcript, Cut::Octets);
    check_cut(config, transcript, Cut::Whole)
}

#[track_caller]
fn check_cut(config: &Config, transcript: &str, cut: Cut) -> Stats {
    let mut scene = Scene::new(config);
    scene.play(transcript, cut);
    let expected: Vec<&str> =
        transcript.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(scene.seen.trim_end(), expected.join("\n"), "{cut:?}");
    scene.server.stats()
}

/// The replies to `commands`, each in its own flight behind EHLO, without the texts behind the codes.
fn codes(scene: &mut Scene, commands: &[&str]) -> String {
    scene.send(b"EHLO c\r\n", Cut::Whole);
    scene.seen.clear();
    for command in commands {
        scene.send(format!("{command}\r\n").as_bytes(), Cut::Whole);
    }
    let codes: Vec<&str> = scene
        .seen
        .lines()
        .map(|line| line.strip_prefix("S: ").map_or(line, |reply| &reply[..reply.len().min(3)]))
        .collect();
    codes.join(" ")
}

fn faults(rules: &[&str]) -> Config {
    let faults = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    Config { faults, ..plain() }
}

/// A configuration with a short reply to EHLO.
fn plain() -> Config {
    let offer = "-SIZE,-8BITMIME,-SMTPUTF8,-ENHANCEDSTATUSCODES,-BINARYMIME,-DSN";
    Config { hostname: "sink".to_owned(), offer: offer.parse().unwrap(), ..Config::default() }
}

const GREETING: &str = "
    S: 220 sink ESMTP posthaste sink
    C: EHLO client
    S: 250-sink
    S: 250-PIPELINING
    S: 250 CHUNKING
";

#[test]
fn a_mail_is_accepted() {
    let stats = check(
        &plain(),
        &format!(
            "{GREETING}
            C: MAIL FROM:<a@x>
            S: 250 Ok
            C: RCPT TO:<b@y>
            S: 250 Ok
            C: RCPT TO:<c@y>
            S: 250 Ok
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: Subject: test
            C:
            C: ..
            C: .
            S: 250 Ok: queued as 0-1
            C: QUIT
            S: 221 Bye
            * close fin"
        ),
    );
    assert_eq!((stats.mails, stats.recipients, stats.bytes), (1, 2, 20));
    assert_eq!(stats.violations.len(), 0);
    assert_eq!(stats.commands["RCPT"], 2);
}

/// PIPE-11: the content's end, and the next envelope behind it, in one flight.
#[test]
fn groups_are_answered_in_order() {
    let stats = check(
        &plain(),
        &format!(
            "{GREETING}
            C: MAIL FROM:<a@x>
            C: RCPT TO:<b@y>
            C: RCPT TO:<bad>
            C: DATA
            S: 250 Ok
            S: 250 Ok
            S: 501 Syntax error in arguments
            S: 354 End data with <CR><LF>.<CR><LF>
            C: one
            C: .
            C: MAIL FROM:<>
            C: RCPT TO:<b@y>
            C: DATA
            S: 250 Ok: queued as 0-1
            S: 250 Ok
            S: 250 Ok
            S: 354 End data with <CR><LF>.<CR><LF>
            C: .
            C: QUIT
            S: 250 Ok: queued as 0-2
            S: 221 Bye
            * close fin"
        ),
    );
    assert_eq!((stats.mails, stats.violations["syntax"]), (2, 1));
}

#[test]
fn chunks_are_exact_and_refused_ones_are_discarded() {
    let stats = check(
        &plain(),
        &format!(
            "{GREETING}
            C: MAIL FROM:<a@x>
            C: RCPT TO:<b@y>
            C: BDAT 3
            C: a
            C: BDAT 6 LAST
            C: .
            C: .
            C: RSET
            S: 250 Ok
            S: 250 Ok
            S: 250 Ok: chunk received
            S: 250 Ok: queued as 0-1
            S: 250 Ok
            C: MAIL FROM:<a@x>
            C: BDAT 15 LAST
            C: RCPT TO:<c@z>
            S: 250 Ok
            S: 503 Valid RCPT command must precede BDAT
            C: RCPT TO:<b@y>
            S: 503 Error: need MAIL command
            C: BDAT 0 LAST
            S: 503 Valid RCPT command must precede BDAT"
        ),
    );
    assert_eq!((stats.mails, stats.bytes), (1, 9));
}

/// Q25b: with Exim, a refused chunk leaves the transaction open.
#[test]
fn a_refused_chunk_may_leave_the_transaction_open() {
    let config = Config { refused_chunk: RefusedChunk::Keep, ..plain() };
    let mut scene = Scene::new(&config);
    let commands = ["MAIL FROM:<a@x>", "BDAT 3 LAST\r\na", "MAIL FROM:<b@x>", "RCPT TO:<c@y>"];
    assert_eq!(codes(&mut scene, &commands), "250 503 503 250");
}

#[test]
fn commands_out_of_order_are_refused() {
    for (commands, expected) in [
        (&["RCPT TO:<b@y>", "DATA", "MAIL FROM:<a@x>", "MAIL FROM:<b@x>"][..], "503 503 250 503"),
        (&["MAIL FROM:<a@x>", "DATA", "RSET", "DATA"], "250 554 250 503"),
        (&["NOOP", "VRFY a", "HELP", "EXPN a", "LHLO c"], "250 252 214 500 500"),
        (&["STARTTLS", "AUTH PLAIN", "MAIL FROM:<a@x> SIZE=1"], "502 504 555"),
        (&["MAIL FROM:<a@x>", "RCPT TO:<b@y> NOTIFY=NEVER", "RCPT TO:<b@y>"], "250 555 250"),
        (
            &["MAIL FROM:<a@x>", "RCPT TO:<b@y>", "BDAT 0", "RCPT TO:<c@y>", "DATA", "BDAT 0 LAST"],
            "250 250 250 503 503 250",
        ),
    ] {
        assert_eq!(codes(&mut Scene::new(&plain()), commands), expected, "{commands:?}");
    }
    let mut scene = Scene::new(&plain());
    scene.play("C: MAIL FROM:<a@x>\nC: HELO c\nC: MAIL FROM:<a@x>", Cut::Whole);
    assert!(scene.seen.contains("S: 503 Error: send EHLO first\nS: 250 sink\nS: 250 Ok"));
}

#[test]
fn long_lines_are_discarded() {
    let stats = {
        let mut scene = Scene::new(&plain());
        let long = format!("NOOP {}", "x".repeat(20_000));
        assert_eq!(codes(&mut scene, &[&long, "NOOP"]), "500 250");
        let accepted = format!("NOOP {}", "x".repeat(600));
        assert_eq!(codes(&mut scene, &[&accepted]), "250");
        scene.server.stats()
    };
    assert_eq!(stats.violations["long_command"], 2);
}

#[test]
fn lmtp_has_a_final_reply_for_each_recipient() {
    let config =
        Config { protocol: Protocol::Lmtp, ..faults(&[r#"at=final rcpt=c@y reply="452 full""#]) };
    let stats = check(
        &config,
        "
        S: 220 sink LMTP posthaste sink
        C: EHLO client
        S: 500 Error: command not recognized
        C: LHLO client
        S: 250-sink
        S: 250-PIPELINING
        S: 250 CHUNKING
        C: MAIL FROM:<a@x>
        C: RCPT TO:<b@y>
        C: RCPT TO:<c@y>
        C: DATA
        S: 250 Ok
        S: 250 Ok
        S: 250 Ok
        S: 354 End data with <CR><LF>.<CR><LF>
        C: .
        S: 250 Ok: queued as 0-1
        S: 452 full",
    );
    assert_eq!((stats.mails, stats.recipients), (1, 1));
}

#[test]
fn start_tls_begins_anew() {
    let config = Config { tls: TlsUse::Required, ..plain() };
    check(
        &config,
        "
        S: 220 sink ESMTP posthaste sink
        C: EHLO client
        S: 250-sink
        S: 250-PIPELINING
        S: 250-CHUNKING
        S: 250 STARTTLS
        C: MAIL FROM:<a@x>
        S: 530 Must issue a STARTTLS command first
        C: STARTTLS
        S: 220 Ready to start TLS
        * starttls
        * tls
        C: MAIL FROM:<a@x>
        S: 503 Error: send EHLO first
        C: EHLO client
        S: 250-sink
        S: 250-PIPELINING
        S: 250 CHUNKING
        C: STARTTLS
        S: 503 Error: TLS already active",
    );
}

/// What was sent in clear behind STARTTLS is dropped, and counted.
#[test]
fn commands_behind_start_tls_do_not_survive_it() {
    let config = Config { tls: TlsUse::Offered, ..plain() };
    let mut scene = Scene::new(&config);
    scene.send(b"EHLO c\r\n", Cut::Whole);
    scene.send(b"STARTTLS\r\nEHLO injected\r\nMAIL FROM:<a@x>\r\n", Cut::Whole);
    scene.session.tls_established(scene.now);
    scene.drain();
    assert!(scene.seen.ends_with("S: 220 Ready to start TLS\n* starttls\n"), "{}", scene.seen);
    assert_eq!(scene.server.stats().violations["behind_starttls"], 1);
}

#[test]
fn implicit_tls_comes_before_the_greeting() {
    let config = Config { tls: TlsUse::Implicit, ..plain() };
    let mut scene = Scene::new(&config);
    assert_eq!(scene.seen, "* starttls\n");
    scene.session.tls_established(scene.now);
    scene.drain();
    assert_eq!(scene.seen, "* starttls\nS: 220 sink ESMTP posthaste sink\n");
}

#[test]
fn users_authenticate_by_plain_and_login() {
    let user = User { name: "news".to_owned(), password: "secret".to_owned() };
    let config = Config { users: vec![user], ..plain() };
    for (commands, expected) in [
        (&["MAIL FROM:<a@x>"][..], "530"),
        (&["AUTH PLAIN AG5ld3MAc2VjcmV0", "MAIL FROM:<a@x>"], "235 250"),
        (&["AUTH PLAIN", "AG5ld3MAc2VjcmV0", "AUTH PLAIN"], "334 235 503"),
        (&["AUTH LOGIN", "bmV3cw==", "c2VjcmV0"], "334 334 235"),
        (&["AUTH login bmV3cw==", "c2VjcmV0"], "334 235"),
        (&["AUTH LOGIN", "bmV3cw==", "d3Jvbmc=", "MAIL FROM:<a@x>"], "334 334 535 530"),
        (&["AUTH PLAIN", "*", "AUTH PLAIN", "!!!"], "334 501 334 501"),
        (&["AUTH PLAIN =", "AUTH SCRAM-SHA-1", "AUTH PLAIN AG5ld3M="], "535 504 535"),
    ] {
        assert_eq!(codes(&mut Scene::new(&config), commands), expected, "{commands:?}");
    }
    let stats = {
        let mut scene = Scene::new(&config);
        codes(&mut scene, &["AUTH PLAIN AAA="]);
        scene.server.stats()
    };
    assert_eq!(stats.refusals["credentials"], 1);
}

/// Q20b, as Haraka: what is there when the reply to the content goes out is answered 503.
#[test]
fn commands_behind_content_may_be_rejected() {
    let config = Config { pipelining_after_content: PipeliningAfterContent::Reject503, ..plain() };
    let transcript = format!(
        "{GREETING}
        C: MAIL FROM:<a@x>
        C: RCPT TO:<b@y>
        C: DATA
        S: 250 Ok
        S: 250 Ok
        S: 354 End data with <CR><LF>.<CR><LF>
        C: .
        C: MAIL FROM:<a@x>
        C: RCPT TO:<b@y>
        S: 250 Ok: queued as 0-1
        S: 503 Bad sequence of commands - pipelined after end of DATA
        S: 503 Bad sequence of commands - pipelined after end of DATA
        C: MAIL FROM:<a@x>
        S: 250 Ok"
    );
    check_cut(&config, &transcript, Cut::Whole);
}

/// Q02, as Postfix.
#[test]
fn early_talk_may_end_the_session() {
    let config = Config { early_talk: EarlyTalk::Reject554, ..plain() };
    for flight in ["EHLO c\r\nNOOP\r\n", "NOOP\r\nN", "HELO c\r\nMAIL FROM:<a@x>\r\n"] {
        let mut scene = Scene::new(&config);
        scene.seen.clear();
        scene.send(flight.as_bytes(), Cut::Whole);
        let expected = "S: 554 Error: SMTP protocol synchronization\n* close fin\n";
        assert_eq!(scene.seen, expected, "{flight:?}");
    }
    // What Postfix lets through.
    let mut scene = Scene::new(&config);
    let group = "MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nRSET\r\nBDAT 0 LAST\r\nQUIT";
    assert_eq!(codes(&mut scene, &[group]), "250 250 250 503 221 * close fin");
}

#[test]
fn a_greeting_that_waits_finds_out_who_does_not() {
    let fault = r#"at=greeting delay=6s reply=usual"#;
    let mut scene = Scene::new(&faults(&[fault]));
    scene.send(b"EHLO c\r\n", Cut::Whole);
    assert_eq!(scene.seen, "");
    scene.wait(Duration::from_secs(6));
    assert!(scene.seen.starts_with("S: 220 sink ESMTP posthaste sink\nS: 250-sink\n"));
    assert_eq!(scene.server.stats().violations["before_greeting"], 1);

    let mut scene = Scene::new(&Config { early_talk: EarlyTalk::Reject554, ..faults(&[fault]) });
    scene.send(b"EHLO c\r\n", Cut::Whole);
    assert_eq!(scene.seen, "S: 554 Error: SMTP protocol synchronization\n* close fin\n");
}

#[test]
fn violations_are_counted_and_change_nothing() {
    let mut scene = Scene::new(&Config::default());
    scene.send(b"EHLO c\r\nMAIL FROM:<a@x>\nRCPT TO:<\xc3\xa9@y>\r\nDATA\r\n", Cut::Whole);
    scene.send(b"a\nb\rc\x00\xff\r\n.\r\nNOOP\r\nQUIT\r\nNOOP\r\n", Cut::Whole);
    assert!(scene.seen.contains("S: 354"), "{}", scene.seen);
    let violations: Vec<_> = scene.server.stats().violations.into_iter().collect();
    let expected = [
        ("bare_cr", 1),
        ("bare_lf", 2),
        ("behind_hello", 1),
        ("behind_noop", 1),
        ("behind_quit", 1),
        ("eight_bit", 1),
        ("nul", 1),
        ("utf8_address", 1),
    ];
    assert_eq!(violations, expected);

    // A group behind a MAIL that is refused breaks no rule (RFC 2920 3.1); RCPT out of nowhere does.
    for (commands, expected) in [
        (&["MAIL FROM:<a@x> X=1\r\nRCPT TO:<b@y>\r\nDATA"][..], 0),
        (&["RCPT TO:<b@y>", "DATA"], 2),
    ] {
        let mut scene = Scene::new(&plain());
        codes(&mut scene, commands);
        let sequence = scene.server.stats().violations.get("sequence").copied();
        assert_eq!(sequence.unwrap_or_default(), expected, "{commands:?}");
    }

    let mut scene = Scene::new(&Config { offer: "-PIPELINING".parse().unwrap(), ..plain() });
    codes(&mut scene, &["MAIL FROM:<a@x>\r\nRCPT TO:<b@y>"]);
    assert_eq!(scene.server.stats().violations["unoffered_pipelining"], 1);
}

#[test]
fn eight_bit_content_needs_its_parameter() {
    for (parameter, expected) in [("", 1), (" BODY=8BITMIME", 0), (" BODY=BINARYMIME", 0)] {
        let mut scene = Scene::new(&Config::default());
        let mail = format!("MAIL FROM:<a@x>{parameter}");
        codes(&mut scene, &[&mail, "RCPT TO:<b@y>", "BDAT 6 LAST\r\nA\n\u{e9}"]);
        let violations = scene.server.stats().violations;
        let count = |name| violations.get(name).copied().unwrap_or_default();
        assert_eq!(count("eight_bit"), expected, "{parameter}");
        assert_eq!(scene.server.stats().mails, 1);
    }
}

#[test]
fn stored_mails_have_their_envelope_and_content() {
    let config = Config { store: StoreKind::Memory, count_duplicates: true, ..plain() };
    for cut in [Cut::Whole, Cut::Octets] {
        let mut scene = Scene::new(&config);
        let mail = "
            C: EHLO c
            S:
            C: MAIL FROM:<a@x>
            C: RCPT TO:<b@y>
            C: DATA
            S:
            C: Message-ID: <1>
            C:
            C: ..dot
            C: .
            S:";
        scene.play(mail, cut);
        scene.play(mail, cut);
        let mails = scene.server.mails();
        assert_eq!(mails.len(), 2);
        assert_eq!(mails[0].queue_id, "0-1");
        assert_eq!(mails[0].reverse_path, "a@x");
        assert_eq!(mails[0].recipients, ["b@y"]);
        assert_eq!(&mails[0].content[..], b"Message-ID: <1>\r\n\r\n.dot\r\n");
        assert_eq!(scene.server.stats().duplicates, 1);
    }
}

#[test]
fn a_sink_that_shuts_down_says_so() {
    let mut scene = Scene::new(&plain());
    scene.session.handle_shutdown();
    scene.drain();
    assert!(
        scene
            .seen
            .ends_with("S: 421 Service shutting down, closing transmission channel\n* close fin\n")
    );
    let mut scene = Scene::new(&plain());
    codes(&mut scene, &["MAIL FROM:<a@x>", "RCPT TO:<b@y>", "DATA"]);
    scene.seen.clear();
    scene.session.handle_shutdown();
    scene.drain();
    assert_eq!(scene.seen, "* close fin\n");
}
