//! Content: what goes out is what was handed in, and nobody sees it end before its end.

use std::io::IoSlice;
use std::time::Instant;

use posthaste_session::{Chunking, Config, Content, Envelope, Mail, ReversePath, Session};

use crate::cuts;

/// Sends the input as content through a session, in pieces of any size.
///
/// Accepted is what RFC 5321 allows and nothing else. The wire form decodes to it, has no CR without
/// LF and no LF without CR, and none of the ends of content that lenient servers take comes before
/// the real one (SM-01 to SM-05, TX-07 to TX-14). Chunks of BDAT hold it as it is, even if it is
/// binary (CHUNK-09, SM-06).
pub fn run(input: &[u8]) {
    let (cuts, octets) = cuts::split(input);
    match Content::new(octets.to_vec()) {
        Ok(content) => {
            assert!(is_allowed(octets), "accepted: {}", octets.escape_ascii());
            check(content, octets, &cuts);
        }
        Err(error) => assert!(!is_allowed(octets), "{error}: {}", octets.escape_ascii()),
    }
    check_chunks(Content::binary(octets.to_vec()), octets, &cuts);
    let normal = normalized(octets);
    match Content::normalized(octets.to_vec()) {
        Ok(content) => check(content, &normal, &cuts),
        Err(error) => assert!(!is_allowed(&normal), "{error}: {}", normal.escape_ascii()),
    }
}

fn check(content: Content, octets: &[u8], cuts: &[u8]) {
    assert_eq!(content.to_bytes(), octets);
    let mut expected = octets.to_vec();
    if !octets.is_empty() && !octets.ends_with(b"\r\n") {
        expected.extend_from_slice(b"\r\n");
    }
    assert_eq!(content.len(), expected.len());
    check_chunks(content.clone(), &expected, cuts);
    let wire = sent(content, cuts);
    assert_eq!(decoded(&wire).escape_ascii().to_string(), expected.escape_ascii().to_string());
    check_line_ends(&wire);
    check_no_early_end(&wire);
}

/// The octets that a session writes behind 354.
fn sent(content: Content, cuts: &[u8]) -> Vec<u8> {
    let now = Instant::now();
    let mut session = with_mail(now, content, Chunking::Off);
    write(now, &mut session, &[]);
    session.handle_input(now, b"250 ok\r\n250 ok\r\n354 go\r\n");
    write(now, &mut session, cuts)
}

/// The same by BDAT: the chunks together are the content, and the last one is marked.
fn check_chunks(content: Content, expected: &[u8], cuts: &[u8]) {
    let now = Instant::now();
    let mut session = with_mail(now, content, Chunking::Always);
    let mut received = Vec::new();
    let mut is_last = false;
    let mut written = write(now, &mut session, cuts);
    while !written.is_empty() {
        let mut rest = &written[..];
        while !rest.is_empty() {
            let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("a command");
            let command = str::from_utf8(&rest[..end]).expect("a command");
            rest = &rest[end + 2..];
            if let Some(chunk) = command.strip_prefix("BDAT ") {
                assert!(!is_last, "a chunk behind the last one");
                is_last = chunk.ends_with(" LAST");
                let length = chunk.trim_end_matches(" LAST").parse().expect("a number");
                let (octets, behind) = rest.split_at(length);
                received.extend_from_slice(octets);
                rest = behind;
            }
            session.handle_input(now, b"250 ok\r\n");
        }
        written = write(now, &mut session, cuts);
    }
    assert!(is_last, "no last chunk");
    assert_eq!(received.escape_ascii().to_string(), expected.escape_ascii().to_string());
}

/// A session that has taken a mail with this content, and has said nothing of it yet.
fn with_mail(now: Instant, content: Content, chunking: Chunking) -> Session {
    let config = Config::new("client.example".parse().expect("a name"));
    let mut session = Session::new(now, Config { chunking, ..config });
    let to = "b@mx.example".parse::<posthaste_session::ForwardPath>().expect("an address");
    let envelope = Envelope::new(ReversePath::Null, [to]).expect("a recipient");
    session.handle_input(now, b"220 mx\r\n");
    write(now, &mut session, &[]);
    session.handle_input(
        now,
        b"250-mx\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250 BINARYMIME\r\n",
    );
    session.submit(now, Mail::new(envelope, content)).expect("there is room");
    session
}

/// Takes what the session has to say, in pieces of these sizes, over and over.
fn write(now: Instant, session: &mut Session, sizes: &[u8]) -> Vec<u8> {
    let mut written = Vec::new();
    let mut sizes = sizes.iter().cycle();
    while session.has_transmit() {
        let size = sizes.next().map_or(usize::MAX, |&size| usize::from(size) + 1);
        let mut slices = [IoSlice::new(&[]); 3];
        let used = session.poll_transmit(&mut slices);
        let piece: Vec<u8> =
            slices[..used].iter().flat_map(|slice| slice.iter().copied()).take(size).collect();
        assert!(!piece.is_empty(), "something to say, and nothing said");
        session.transmitted(now, piece.len());
        written.extend(piece);
    }
    written
}

/// Lines of at most 998 octets, each ended by CRLF, the last one perhaps not; no other CR or LF.
fn is_allowed(octets: &[u8]) -> bool {
    // Octets above 127 are text like any other.
    let plain = |&octet: &u8| if octet.is_ascii() { char::from(octet) } else { 'x' };
    let text: String = octets.iter().map(plain).collect();
    let is_line = |line: &str| line.len() <= 998 && !line.contains(['\r', '\n', '\0']);
    text.split("\r\n").all(is_line)
}

fn normalized(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = octets;
    while let Some((&octet, behind)) = rest.split_first() {
        rest = behind;
        match octet {
            b'\r' => {
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
                out.extend_from_slice(b"\r\n");
            }
            b'\n' => out.extend_from_slice(b"\r\n"),
            octet => out.push(octet),
        }
    }
    out
}

/// What a strict server makes of it (RFC 5321 section 4.5.2).
fn decoded(wire: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    let mut rest = wire;
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("a line end");
        let (line, behind) = rest.split_at(end + 2);
        rest = behind;
        if line == b".\r\n" {
            assert!(rest.is_empty(), "octets behind the end");
            return content;
        }
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
}

/// Each CR has its LF, and each LF its CR.
fn check_line_ends(wire: &[u8]) {
    let pairs = wire.windows(2).filter(|pair| *pair == b"\r\n").count();
    let alone = wire.iter().filter(|octet| matches!(octet, b'\r' | b'\n')).count() - 2 * pairs;
    assert_eq!(alone, 0, "half of a line end: {}", wire.escape_ascii());
}

/// No line end of any kind, a dot, and a line end of any kind, but for the last one.
fn check_no_early_end(wire: &[u8]) {
    let is_end = |octet: u8| matches!(octet, b'\r' | b'\n' | 0);
    let body = &wire[..wire.len() - 1];
    for (at, window) in body.windows(3).enumerate() {
        let is_real = at + 4 == wire.len();
        let looks_like_end = is_end(window[0]) && window[1] == b'.' && is_end(window[2]);
        assert!(!looks_like_end || is_real, "an early end at {at}: {}", wire.escape_ascii());
    }
    assert!(wire == b".\r\n" || !(wire[0] == b'.' && is_end(wire[1])), "an end at the start");
}
