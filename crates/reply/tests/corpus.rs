//! Replies of real servers, each with its labels, in `data/replies.jsonl`.

use posthaste_reply::{Extensions, Framer, Limits, Reply};
use serde_json::Value;

/// One entry of the corpus.
struct Labelled {
    raw: Vec<u8>,
    /// `None` where the octets are no reply.
    code: Option<u16>,
    enhanced: Option<String>,
    lines: usize,
    class: String,
}

fn corpus() -> Vec<Labelled> {
    let entries = include_str!("data/replies.jsonl").lines().map(|line| {
        let entry: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| entry[name].as_str().map(str::to_owned);
        let number = |name: &str| entry[name].as_u64().map(|number| number.try_into().unwrap());
        Labelled {
            raw: text("raw").unwrap().into_bytes(),
            code: number("code").map(|code: usize| code.try_into().unwrap()),
            enhanced: text("enhanced"),
            lines: number("lines").unwrap(),
            class: text("class").unwrap(),
        }
    });
    entries.collect()
}

/// What the framer says last when it is shown one prefix after another.
fn frame(octets: &[u8], ends: impl IntoIterator<Item = usize>) -> Option<usize> {
    let mut framer = Framer::new(Limits::default());
    for end in ends {
        match framer.read(&octets[..end]) {
            Ok(Some(reply)) => return Some(reply.as_bytes().len()),
            Ok(None) => {}
            Err(_) => return None,
        }
    }
    panic!("still waiting: {}", octets.escape_ascii());
}

/// REP-11, RF-14: each reply is framed and read as labelled, whole, cut in two at each index and
/// octet by octet.
#[test]
fn replies_are_read_as_labelled() {
    let corpus = corpus();
    assert_eq!(corpus.len(), 396);
    for Labelled { raw, code, enhanced, lines, .. } in &corpus {
        let shown = raw.escape_ascii();
        let expected = code.map(|_| raw.len());
        for cut in 0..=raw.len() {
            assert_eq!(frame(raw, [cut, raw.len()]), expected, "cut at {cut}: {shown}");
        }
        assert_eq!(frame(raw, 0..=raw.len()), expected, "octet by octet: {shown}");

        let reply = Reply::parse(raw).ok();
        assert_eq!(reply.map(|reply| reply.code().value()), *code, "{shown}");
        let Some(reply) = reply else { continue };
        let found = reply.enhanced().map(|code| code.to_string());
        assert_eq!(found, *enhanced, "{shown}");
        assert_eq!(reply.lines().count(), *lines, "{shown}");
        assert_eq!(reply.to_owned().as_reply(), reply, "{shown}");
        assert!(!reply.to_string().contains(char::is_control), "{shown}");
    }
}

/// RF-14: a stream of replies is cut into the same replies wherever reads end.
#[test]
fn a_stream_of_replies_is_cut_into_its_replies() {
    let replies: Vec<_> = corpus().into_iter().filter(|reply| reply.code.is_some()).collect();
    let stream: Vec<u8> = replies.iter().flat_map(|reply| reply.raw.clone()).collect();
    for read in [1, 2, 3, 7, 100, 4096] {
        let mut framer = Framer::new(Limits::default());
        let mut expected = replies.iter();
        let mut start = 0;
        for end in (0..stream.len()).step_by(read).chain([stream.len()]) {
            while let Some(reply) = framer.read(&stream[start..end]).unwrap() {
                assert_eq!(reply.as_bytes(), expected.next().unwrap().raw, "{read} octets a read");
                start += reply.as_bytes().len();
            }
        }
        assert_eq!((start, expected.count()), (stream.len(), 0));
    }
}

#[test]
fn replies_to_ehlo_offer_what_they_name() {
    let replies = corpus().into_iter().filter(|reply| reply.class == "ehlo");
    let mut seen = 0;
    for Labelled { raw, .. } in replies {
        let extensions = Extensions::parse(Reply::parse(&raw).unwrap());
        let raw = String::from_utf8(raw).unwrap();
        let names = |keyword: &str| {
            let words = raw.lines().skip(1).map(|line| line[4..].trim());
            words.filter_map(|line| line.split([' ', '=']).next()).any(|word| word == keyword)
        };
        for (keyword, offered) in [
            ("PIPELINING", extensions.pipelining()),
            ("8BITMIME", extensions.eight_bit_mime()),
            ("STARTTLS", extensions.starttls()),
            ("CHUNKING", extensions.chunking()),
            ("BINARYMIME", extensions.binarymime()),
            ("SMTPUTF8", extensions.smtputf8()),
            ("DSN", extensions.dsn()),
            ("ENHANCEDSTATUSCODES", extensions.enhanced_status_codes()),
            ("SIZE", extensions.size().is_some()),
            ("AUTH", !extensions.auth().is_empty()),
            ("DELIVERBY", extensions.deliver_by().is_some()),
            ("LIMITS", extensions.limits().mail_max.is_some()),
        ] {
            assert_eq!(offered, names(keyword), "{keyword}: {raw}");
        }
        seen += 1;
    }
    assert_eq!(seen, 9);
}
