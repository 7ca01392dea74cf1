//! What a session makes of content on its way: nothing but transparency happens to it.

use std::io::IoSlice;
use std::time::Instant;

use posthaste_session::{Config, Content, ContentError, Envelope, ForwardPath, Mail, Session};

/// What is written of a content when writes take this many octets each.
fn written(content: &Content, octets_a_write: usize) -> Vec<u8> {
    let now = Instant::now();
    let mut session = Session::new(now, Config::new("client.example".parse().unwrap()));
    session.handle_input(now, b"220 hi\r\n");
    write(&mut session, usize::MAX);
    session.handle_input(now, b"250-mx\r\n250-8BITMIME\r\n250 PIPELINING\r\n");
    let to: ForwardPath = "b@y".parse().unwrap();
    let envelope =
        Envelope::new("a@x".parse::<posthaste_session::Mailbox>().unwrap(), [to]).unwrap();
    session.submit(now, Mail::new(envelope, content.clone())).unwrap();
    write(&mut session, usize::MAX);
    session.handle_input(now, b"250 ok\r\n250 ok\r\n354 go\r\n");
    write(&mut session, octets_a_write)
}

/// Writes all there is, so many octets at a time.
fn write(session: &mut Session, octets_a_write: usize) -> Vec<u8> {
    let mut said = Vec::new();
    while session.has_transmit() {
        let mut slices = [IoSlice::new(&[]); 4];
        let used = session.poll_transmit(&mut slices);
        let octets: usize = slices[..used].iter().map(|slice| slice.len()).sum();
        let octets = octets.min(octets_a_write);
        let all = slices[..used].iter().flat_map(|slice| slice.iter());
        said.extend(all.take(octets));
        session.transmitted(Instant::now(), octets);
    }
    said
}

/// What RFC 5321 section 4.5.2 makes of a content, written down line by line.
fn transparent(content: &[u8]) -> Vec<u8> {
    let text = content.strip_suffix(b"\r\n").unwrap_or(content);
    let mut expected = Vec::new();
    if !content.is_empty() {
        for line in String::from_utf8(text.to_vec()).unwrap().split("\r\n") {
            if line.starts_with('.') {
                expected.push(b'.');
            }
            expected.extend_from_slice(line.as_bytes());
            expected.extend_from_slice(b"\r\n");
        }
    }
    expected.extend_from_slice(b".\r\n");
    expected
}

/// TX-08, TX-09, TX-11, SM-02, SM-03, SM-04, SM-05, SM-07, SM-11: dots and line ends at every place where
/// a write can end.
#[test]
fn no_cut_makes_a_difference() {
    let dots = [".\r\n..\r\n...\r\n", "\r\n\r\n.\r\n", "....", "x\r\n.", ". \r\n.\r\n\r\n.x", ""];
    let only_dots = ".\r\n".repeat(400);
    let long = format!("{}\r\n.{}\r\n", "x".repeat(900), "y".repeat(900)).repeat(9);
    for text in dots.into_iter().chain([only_dots.as_str(), long.as_str()]) {
        let content = Content::new(text.to_owned()).unwrap();
        for octets in (1..=9).chain([64, 1000, usize::MAX]) {
            let sent = written(&content, octets);
            assert_eq!(sent, transparent(text.as_bytes()), "{octets} octets a write of {text:?}");
        }
    }
}

/// SM-08: content is handed in as it is meant, so dots that are doubled already are doubled again.
#[test]
fn content_is_not_transparent_yet() {
    let content = Content::new("..a\r\n").unwrap();
    assert_eq!(written(&content, usize::MAX), b"...a\r\n.\r\n");
}

/// SM-10, TX-27: what looks like a line end to somebody else is an octet like others.
#[test]
fn octets_stay_octets() {
    for body in ["a\u{2028}.\u{2028}b\r\n", "a\u{85}.\u{85}b\r\n", "a\x0b.\x0c\x1c.\x1db\r\n"] {
        let text = format!("Subject: a\r\n\r\n{body}");
        let sent = written(&Content::new(text.to_owned()).unwrap(), usize::MAX);
        assert_eq!(sent, [text.as_bytes(), b".\r\n"].concat());
    }
    let latin = b"Gr\xfc\xdfe\r\n\xff\xfe\r\n".to_vec();
    let sent = written(&Content::new(latin.clone()).unwrap(), usize::MAX);
    assert_eq!(sent, [latin.as_slice(), b".\r\n"].concat());
}

/// TX-10, TX-14, SM-01, Q27: bare CR, bare LF and NUL never become content.
#[test]
fn what_is_no_text_is_refused() {
    for text in ["a\n.\nb", "a\r.\rb", "\n", "a\r\n.\r", "a\r\r\n.\r\r\n", "a\n\r", "a\r\n.\n"] {
        assert!(Content::new(text.to_owned()).is_err(), "{text:?}");
    }
    assert_eq!(Content::new("a\r\n\0.\r\n"), Err(ContentError::Nul { at: 3 }));
}

/// TX-12, Q29: 998 octets fit in a line, whether a dot is doubled or not.
#[test]
fn lines_that_are_too_long_are_refused() {
    for octets in [997, 998] {
        let line = format!(".{}\r\n", "x".repeat(octets - 1));
        let sent = written(&Content::new(line.clone()).unwrap(), usize::MAX);
        assert_eq!(sent, transparent(line.as_bytes()));
    }
    for octets in [999, 1000] {
        assert!(Content::new("x".repeat(octets) + "\r\n").is_err());
        assert!(Content::new("x\r\n".to_owned() + &"x".repeat(octets)).is_err());
    }
}
