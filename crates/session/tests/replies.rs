//! What is made of replies beyond their codes: limits, words that get kept, and times.

use std::io::IoSlice;
use std::time::{Duration, Instant};

use posthaste_session::{
    CloseReason, Config, Content, Envelope, Event, Finished, ForwardPath, Mail, Outcome,
    ReversePath, Session, Stage, Timeouts, Violation,
};

/// A session on a server that says all this, and what comes of it.
fn events(session: &mut Session, heard: &[&[u8]]) -> Vec<Event> {
    let mut events = Vec::new();
    for octets in heard {
        session.handle_input(Instant::now(), octets);
        events.extend(std::iter::from_fn(|| session.poll_event()));
        if session.room() > 0 && session.in_flight() == 0 {
            let _ = session.submit(Instant::now(), mail());
        }
        while session.has_transmit() {
            let mut slices = [IoSlice::new(&[]); 4];
            let used = session.poll_transmit(&mut slices);
            let octets = slices[..used].iter().map(|slice| slice.len()).sum();
            session.transmitted(Instant::now(), octets);
        }
    }
    events
}

fn session() -> Session {
    Session::new(Instant::now(), Config::new("client.example".parse().unwrap()))
}

fn mail() -> Mail {
    let to: ForwardPath = "b@y".parse().unwrap();
    let content = Content::new("Subject: a secret plan\r\n\r\nburn after reading\r\n").unwrap();
    Mail::new(Envelope::new(ReversePath::Null, [to]).unwrap(), content)
}

fn finished(events: &[Event]) -> &Finished {
    let finished = events.iter().find_map(|event| match event {
        Event::Finished(finished) => Some(finished),
        _ => None,
    });
    finished.expect("the mail has an outcome")
}

/// REP-09: lines of 512 octets with their CRLF, at every step, also in replies of several lines.
#[test]
fn lines_of_512_octets_are_read() {
    let line = |code: &str| format!("{code}{}\r\n", "x".repeat(512 - 2 - code.len()));
    assert_eq!(line("250 ").len(), 512);
    for more in [0, 1, 3] {
        let reply = |code| line(&format!("{code}-")).repeat(more) + &line(&format!("{code} "));
        let said = [220, 250, 250, 250, 354, 250].map(reply);
        let events = events(&mut session(), &said.each_ref().map(|reply| reply.as_bytes()));
        assert!(finished(&events).outcomes[0].is_delivered());
    }
}

/// ESC-01: enhanced codes are read alike where they are offered and where they are not.
#[test]
fn enhanced_codes_need_no_offer() {
    for offer in ["250 mx\r\n", "250-mx\r\n250 ENHANCEDSTATUSCODES\r\n"] {
        let heard = ["220 hi\r\n", offer, "250 2.1.0 ok\r\n", "550 5.1.1 no\r\n"];
        let events = events(&mut session(), &heard.map(str::as_bytes));
        let Outcome::Refused(refusal) = &finished(&events).outcomes[0] else {
            panic!("{events:?}");
        };
        assert_eq!(refusal.reply.enhanced().unwrap().to_string(), "5.1.1");
    }
}

/// LK-05: what is shown of a server's words has no control characters, wherever it is shown.
#[test]
fn words_are_escaped_when_they_are_shown() {
    let words = "\x1b[2J\x07\r250 ok\u{9b}31m\u{2028}x";
    let greeting = format!("220 {words}\r\n");
    let refusal = format!("550 {words}\r\n");
    let garbage = format!("{words}\r\n");
    let ends: [&[&[u8]]; 4] = [
        &[refusal.as_bytes(), b""],
        &[greeting.as_bytes(), b"250 mx\r\n", refusal.as_bytes(), b"554 \x1b[0m\r\n"],
        &[b"220 hi\r\n", b"250 mx\r\n", b"250 ok\r\n", refusal.as_bytes()],
        &[garbage.as_bytes()],
    ];
    for heard in ends {
        let mut config = Config::new("client.example".parse().unwrap());
        config.transcript = true;
        let mut session = Session::new(Instant::now(), config);
        for event in events(&mut session, heard) {
            let mut shown = vec![format!("{event:?}")];
            match &event {
                Event::Closed(CloseReason::Refused { reply, .. }) => {
                    shown.push(reply.to_string());
                    shown.push(reply.text().to_string());
                }
                Event::Closed(CloseReason::Violation {
                    violation: Violation::Malformed(error),
                    ..
                }) => shown.push(error.to_string()),
                Event::Finished(finished) => {
                    if let Outcome::Refused(refusal) = &finished.outcomes[0] {
                        shown.push(refusal.reply.to_string());
                        shown.push(refusal.reply.text().to_string());
                    }
                }
                Event::Transcript(line) => shown.push(line.text.clone()),
                _ => {}
            }
            for text in shown {
                assert!(!text.contains(|c: char| c.is_control() || c == '\u{2028}'), "{text:?}");
            }
        }
    }
}

/// LK-04: a mail's content is in no event, no error and no transcript but for its size.
#[test]
fn content_is_shown_nowhere() {
    let mut config = Config::new("client.example".parse().unwrap());
    config.transcript = true;
    let mut session = Session::new(Instant::now(), config);
    let unsent = session.submit(Instant::now(), mail()).unwrap_err();
    let heard =
        ["220 hi\r\n", "250 mx\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "554 no\r\n"];
    let [setup @ .., invitation, refusal] = heard.map(str::as_bytes);
    let mut events = self::events(&mut session, &setup);
    session.handle_input(Instant::now(), invitation);
    let under_way = format!("{session:?}");
    events.extend(self::events(&mut session, &[b"", refusal]));
    assert!(matches!(finished(&events).outcomes[0], Outcome::Refused(_)));
    let shown = format!("{events:?} {unsent:?} {unsent} {under_way} {session:?} {:?}", mail());
    for secret in ["secret plan", "burn after reading"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("octets of content"), "{shown}");
}

/// TIME-07: the times of RFC 5321 section 4.5.3.2 by default, and one short time for those who measure.
#[test]
fn there_are_patient_and_hasty_timeouts() {
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let Timeouts { greeting, mail, rcpt, data, content, finish, quit, .. } = Timeouts::default();
    assert_eq!([greeting, mail, rcpt, data], [5, 5, 5, 2].map(minutes));
    assert_eq!([content, finish], [3, 10].map(minutes));
    assert!(quit < Duration::from_secs(10));

    let hasty = Timeouts::uniform(Duration::from_secs(3));
    let Timeouts { greeting, command, tls, mail, rcpt, data, content, finish, quit, .. } = hasty;
    let all = [greeting, command, tls, mail, rcpt, data, content, finish];
    assert!(all.iter().all(|time| *time == Duration::from_secs(3)) && quit <= all[0]);
}

/// FL-11: deadlines go by a clock that only goes forward. A machine that slept wakes up to one timeout, and
/// a time from before, as two threads may see it, changes nothing.
#[test]
fn clocks_may_jump() {
    let begin = Instant::now() + Duration::from_secs(3600);
    let mut session = Session::new(begin, Config::new("client.example".parse().unwrap()));
    let deadline = session.poll_deadline().unwrap();
    session.handle_timeout(begin - Duration::from_secs(3600));
    session.handle_input(begin - Duration::from_secs(1), b"220-hi\r\n");
    assert_eq!(session.poll_deadline(), Some(deadline));
    assert!(!session.is_closed());

    session.handle_timeout(deadline + Duration::from_secs(8 * 3600));
    session.handle_timeout(deadline + Duration::from_secs(9 * 3600));
    let closings: Vec<Event> = std::iter::from_fn(|| session.poll_event()).collect();
    let [Event::Closed(CloseReason::Timeout { stage: Stage::Greeting })] = &closings[..] else {
        panic!("{closings:?}");
    };
}
