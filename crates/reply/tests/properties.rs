//! What holds for any octets.

use posthaste_reply::{Extensions, FrameError, Framer, Limits, Reply, ReplyError};
use proptest::prelude::*;

/// The text of a line.
fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[ -~]{0,12}".prop_map(String::into_bytes),
        2 => "[245]\\.[0-9]{1,4}\\.[0-9]{1,4}[ .]?[a-z]{0,3}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..12),
    ]
}

/// Octets that are close to a reply.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    let code = prop::sample::select(vec!["250", "250", "250", "250", "550", "99", "600", "2501"]);
    let separator = prop::sample::select(vec!["-", "-", "-", " ", " ", "", "\t"]);
    let line_end = prop::sample::select(vec!["\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n", ""]);
    let line = (code, separator, text(), line_end).prop_map(|(code, separator, text, line_end)| {
        [code.as_bytes(), separator.as_bytes(), &text, line_end.as_bytes()].concat()
    });
    prop_oneof![
        4 => prop::collection::vec(line, 0..6).prop_map(|lines| lines.concat()),
        4 => reply(),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

/// The octets of one reply.
fn reply() -> impl Strategy<Value = Vec<u8>> {
    let line_end = prop::sample::select(vec!["\r\n", "\r\n", "\n", "\r\r\n"]);
    let line = (text(), line_end).prop_map(|(mut text, line_end)| {
        text.retain(|&octet| octet != b'\n');
        text.extend(line_end.as_bytes());
        text
    });
    prop::collection::vec(line, 1..6).prop_map(|lines| {
        let (last, others) = lines.split_last().unwrap();
        let others = others.iter().flat_map(|line| [b"550-", &line[..]].concat());
        others.chain([b"550 ", &last[..]].concat()).collect()
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    let small = (0..40usize, 0..80usize, 0..5usize);
    prop_oneof![
        Just(Limits::default()),
        small.prop_map(|(line, reply, lines)| Limits { line, reply, lines }),
    ]
}

proptest! {
    /// REP-11: how reads split the octets changes nothing, neither where a reply ends nor what it
    /// says.
    #[test]
    fn any_split_gives_the_same_reply(
        octets in octets(),
        limits in limits(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let whole = Framer::new(limits).read(&octets);
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(octets.len() + 1)).collect();
        ends.push(octets.len());
        ends.sort_unstable();
        let mut framer = Framer::new(limits);
        let mut decided = ends.into_iter().map(|end| framer.read(&octets[..end]));
        let split = decided.find(|framed| *framed != Ok(None)).unwrap_or(Ok(None));
        prop_assert_eq!(split, whole);
    }

    /// The framer and the grammar know the same language, and errors point into it.
    #[test]
    fn what_is_framed_can_be_read(octets in octets()) {
        match Framer::new(Limits::default()).read(&octets) {
            Ok(Some(reply)) => {
                let length = reply.as_bytes().len();
                let (framed, surplus) = octets.split_at(length);
                prop_assert_eq!(Reply::parse(framed), Ok(reply));
                let line_feeds = framed.iter().filter(|&&octet| octet == b'\n').count();
                prop_assert_eq!(reply.lines().count(), line_feeds);
                prop_assert!(reply.lines().all(|line| !line.contains(&b'\n')));
                if !surplus.is_empty() {
                    let error = ReplyError::Surplus { offset: length };
                    prop_assert_eq!(Reply::parse(&octets), Err(error));
                }
            }
            Ok(None) => prop_assert_eq!(Reply::parse(&octets), Err(ReplyError::Incomplete)),
            Err(error) => {
                prop_assert!(error.offset() < octets.len());
                prop_assert_eq!(Reply::parse(&octets), Err(ReplyError::Malformed(error)));
                let expected_octet = match error {
                    FrameError::NotACode { offset, found } => Some((offset, found)),
                    FrameError::BadSeparator { offset, found } => Some((offset, found)),
                    _ => None,
                };
                if let Some((offset, found)) = expected_octet {
                    prop_assert_eq!(octets[offset], found);
                }
            }
        }
    }

    /// REP-13: nothing that is displayed holds a control character.
    #[test]
    fn what_is_displayed_is_one_line_of_text(octets in octets()) {
        let shown = match Reply::parse(&octets) {
            Ok(reply) => format!(
                "{reply}{reply:?}{}{}",
                reply.to_owned(),
                Extensions::parse(reply),
            ),
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                format!("{error}{}", source.unwrap_or_default())
            }
        };
        prop_assert!(!shown.contains(char::is_control), "{shown:?}");
    }

    /// A bounded copy is a reply, keeps the code and holds the bound.
    #[test]
    fn a_bounded_copy_is_a_reply(octets in reply(), max_octets in 0..80usize) {
        let reply = Reply::parse(&octets).unwrap();
        let copy = reply.to_owned_bounded(max_octets);
        let bytes = copy.as_reply().as_bytes();
        prop_assert!(bytes.len() <= max_octets.max(5));
        prop_assert_eq!(Reply::parse(bytes).unwrap().code(), reply.code());
        prop_assert_eq!((copy.code(), copy.enhanced()), (reply.code(), reply.enhanced()));
    }

    /// Reading extensions never fails, and a keyword that was ignored is gone.
    #[test]
    fn ignored_keywords_are_gone(octets in reply()) {
        let reply = Reply::parse(&octets).unwrap();
        let mut extensions = Extensions::parse(reply);
        for line in reply.lines().skip(1) {
            extensions.ignore(&String::from_utf8_lossy(line.trim_ascii()));
            for word in line.split(|octet| b" \t=".contains(octet)) {
                extensions.ignore(&String::from_utf8_lossy(word).to_lowercase());
            }
        }
        let left = extensions.unknown().filter(|line| line.is_ascii() && !line.starts_with(b"="));
        prop_assert_eq!(left.count(), 0, "{}", extensions);
    }
}
