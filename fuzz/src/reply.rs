//! Replies, cut anywhere, against a reader that sees all octets at once and takes its time, and
//! against that of smtp-proto.

use posthaste_reply::{Framer, Limits, Reply};
use smtp_proto::response::parser::{MAX_RESPONSE_LENGTH, ResponseReceiver};

use crate::cuts;

/// One reply, or why there is none.
#[derive(Debug, PartialEq, Eq)]
enum Framed {
    Reply(usize),
    Partial,
    Malformed,
}

/// Frames and reads replies until there are no more.
///
/// Any cuts give the same replies. They are the ones that the naive reader finds, and what smtp-proto
/// makes of them. What is read can be written and read again, and what is displayed holds no control
/// character (RF-04 to RF-14, REP-11).
pub fn run(input: &[u8]) {
    let (cuts, mut octets) = cuts::split(input);
    for _ in 0..64 {
        let framed = frame(&cuts, octets);
        let expected = frame_naively(octets);
        match (&framed, &expected) {
            // The framer need not wait for the end of the line.
            (Framed::Malformed, Framed::Partial) => {
                let ended = [octets, b"\n"].concat();
                assert_eq!(frame_naively(&ended), Framed::Malformed, "{}", ended.escape_ascii());
            }
            _ => assert_eq!(framed, expected, "{}", octets.escape_ascii()),
        }
        let Framed::Reply(length) = framed else { return };
        let (reply, rest) = octets.split_at(length);
        check_reply(reply);
        octets = rest;
    }
}

/// Frames the first reply of a buffer that grows from cut to cut.
fn frame(cuts: &[u8], octets: &[u8]) -> Framed {
    let mut framer = Framer::new(Limits::default());
    for end in cuts::ends(cuts, octets.len()) {
        match framer.read(&octets[..end]) {
            Ok(None) => {}
            Ok(Some(reply)) => {
                let length = reply.as_bytes().len();
                assert_eq!(Reply::parse(&octets[..length]), Ok(reply), "read in pieces");
                return Framed::Reply(length);
            }
            Err(error) => {
                assert!(error.offset() <= octets.len(), "an error behind the input");
                return Framed::Malformed;
            }
        }
    }
    Framed::Partial
}

/// The same by the letter: line after line, each looked at as a whole.
fn frame_naively(octets: &[u8]) -> Framed {
    let limits = Limits::default();
    let mut length = 0;
    let mut code = None;
    for (index, line) in octets.split_inclusive(|&octet| octet == b'\n').enumerate() {
        let is_too_long = line.len() > limits.line || length + line.len() > limits.reply;
        let is_whole = line.ends_with(b"\n");
        let may_be_whole_in_time = line.len() < limits.line && length + line.len() < limits.reply;
        if !is_whole {
            return if may_be_whole_in_time { Framed::Partial } else { Framed::Malformed };
        }
        let [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] = line else {
            return Framed::Malformed;
        };
        if is_too_long || code.is_some_and(|code| code != (*a, *b, *c)) {
            return Framed::Malformed;
        }
        code = Some((*a, *b, *c));
        length += line.len();
        match rest {
            [b'-', ..] if index + 1 < limits.lines => {}
            [b' ', ..] | b"\n" | b"\r\n" | b"\r\r\n" => return Framed::Reply(length),
            _ => return Framed::Malformed,
        }
    }
    Framed::Partial
}

fn check_reply(octets: &[u8]) {
    let reply = Reply::parse(octets).expect("what is framed can be read");
    check_other_reader(&reply);
    let lines: Vec<&[u8]> = reply.lines().collect();
    assert_eq!(lines.len(), octets.iter().filter(|&&octet| octet == b'\n').count());
    assert_eq!(&octets[..3], reply.code().to_string().as_bytes());
    let shown = format!("{reply}{reply:?}{}", reply.to_owned());
    assert!(!shown.contains(char::is_control), "{shown:?}");
    for most in [0, 10, 1024] {
        let copy = reply.to_owned_bounded(most);
        assert!(copy.as_reply().as_bytes().len() <= most.max(5));
        assert_eq!((copy.code(), copy.enhanced()), (reply.code(), reply.enhanced()));
    }
    if lines.iter().all(|line| !line.ends_with(b"\r")) {
        let written = write(&reply, &lines);
        let again = Reply::parse(&written).expect("what is written can be read");
        assert!(again.lines().eq(lines), "{}", written.escape_ascii());
        assert_eq!((again.code(), again.enhanced()), (reply.code(), reply.enhanced()));
    }
}

/// smtp-proto accepts more than we do, so it has to accept this, and find the same end and code.
///
/// It cuts numbers of an enhanced status code at 255 and takes `5.7.` for one, so it is only asked
/// about codes that are there, of replies of one line: of others it takes the last code there is.
fn check_other_reader(reply: &Reply<'_>) {
    let octets = reply.as_bytes();
    if octets.len() >= MAX_RESPONSE_LENGTH {
        return;
    }
    let mut rest = octets.iter();
    let response = ResponseReceiver::default().parse(&mut rest).expect("it is more lenient");
    assert_eq!(rest.len(), 0, "it sees the end at {}", octets.len() - rest.len());
    assert_eq!(response.code, reply.code().value());
    if let Some(code) = reply.enhanced()
        && code.subject() <= 255
        && code.detail() <= 255
        && reply.lines().count() == 1
        && reply.lines().all(|line| !line.starts_with(b" ") && !line.contains(&b'\t'))
    {
        let [class, subject, detail] = response.esc;
        let found = (class, u16::from(subject), u16::from(detail));
        assert_eq!(found, (code.class(), code.subject(), code.detail()), "{reply:?}");
    }
}

fn write(reply: &Reply<'_>, lines: &[&[u8]]) -> Vec<u8> {
    let mut octets = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let separator = if index + 1 == lines.len() { b' ' } else { b'-' };
        octets.extend(reply.code().to_string().into_bytes());
        octets.push(separator);
        octets.extend_from_slice(line);
        octets.extend(b"\r\n");
    }
    octets
}
