//! Message-IDs: found in content as it comes, and what they say about the mails of a client.

use memchr::{memchr, memrchr};
use twox_hash::XxHash3_64;

/// What is known of a Message-ID: as much as tells it from all others, and puts it in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageId {
    /// A hash of all of it.
    pub(crate) digest: u64,
    /// A hash of all but the number.
    pub(crate) stem: u64,
    /// The digits before the `@`: 17 in `<run.17@client.example>`.
    pub(crate) number: Option<u64>,
}

impl MessageId {
    pub(crate) fn new(text: &[u8]) -> Self {
        let digest = XxHash3_64::oneshot(text);
        let at = memrchr(b'@', text).unwrap_or(text.len());
        let (left, right) = text.split_at(at);
        let digits = left.iter().rev().take_while(|octet| octet.is_ascii_digit()).count();
        let (left, digits) = left.split_at(at - digits);
        match number(digits) {
            None => Self { digest, stem: digest, number: None },
            number => {
                let stem = XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(right), left);
                Self { digest, stem, number }
            }
        }
    }
}

/// A number that is written in one way only, so that two Message-IDs never share one.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > MAX_DIGITS || digits.len() > 1 && digits[0] == b'0' {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// Looks for the Message-ID in the header of content that comes in pieces, and keeps nothing of it
/// but the start of a line whose end has not come.
#[derive(Debug, Default)]
pub(crate) struct Finder {
    is_looking: bool,
    line: Vec<u8>,
    found: Option<MessageId>,
}

impl Finder {
    /// Content begins.
    pub(crate) fn begin(&mut self) {
        self.is_looking = true;
        self.line.clear();
        self.found = None;
    }

    /// Takes the next octets of the content.
    pub(crate) fn receive(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while self.is_looking {
            let Some(end) = memchr(b'\n', rest) else { return self.keep(rest) };
            let (line, after) = rest.split_at(end);
            if self.line.is_empty() {
                self.look_at(line);
            } else {
                self.keep(line);
                let kept = std::mem::take(&mut self.line);
                self.look_at(&kept);
                self.line = kept;
                self.line.clear();
            }
            rest = &after[1..];
        }
    }

    /// The Message-ID, without surrounding blanks; `None` too if it is empty.
    pub(crate) fn found(&self) -> Option<MessageId> {
        self.found
    }

    fn keep(&mut self, part: &[u8]) {
        let room = MAX_LINE.saturating_sub(self.line.len());
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    /// Looks at a line without its LF.
    fn look_at(&mut self, line: &[u8]) {
        if matches!(line, [] | b"\r") {
            self.is_looking = false;
            return;
        }
        let Some((name, text)) = line.split_at_checked(NAME.len()) else { return };
        if name.eq_ignore_ascii_case(NAME) {
            self.is_looking = false;
            let text = text.trim_ascii();
            let is_whole = !text.is_empty() && line.len() < MAX_LINE;
            self.found = is_whole.then(|| MessageId::new(text));
        }
    }
}

const NAME: &[u8] = b"message-id:";

/// Octets of a line that are kept until its end comes: a longer one is longer than any mail may have
/// (RFC 5322 2.1.1), and is not taken for a Message-ID.
const MAX_LINE: usize = 1000;

/// Digits that fit into 64 bits, whatever they are.
const MAX_DIGITS: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;

    fn find(content: &[u8], pieces: usize) -> Option<MessageId> {
        let mut finder = Finder::default();
        finder.begin();
        content.chunks(pieces).for_each(|piece| finder.receive(piece));
        finder.found()
    }

    #[test]
    fn it_is_found_in_the_header_only() {
        let long = |digits: usize| format!("Message-ID: <{}>\r\n\r\n", "7".repeat(digits));
        for (content, expected) in [
            ("Message-ID: <1@x>\r\n\r\nbody", Some("<1@x>")),
            ("Subject: a\r\nMESSAGE-ID:<2@x> \r\n\r\n", Some("<2@x>")),
            ("Subject: a\r\n\r\nMessage-ID: <3@x>\r\n", None),
            ("Message-ID: \r\n\r\n", None),
            ("Message-ID: <4@x>", None),
            ("Message: a\r\nMessage-ID: <5@x>\r\n\r\n", Some("<5@x>")),
            (&long(980), Some(&format!("<{}>", "7".repeat(980)))),
            (&long(990), None),
            ("", None),
        ] {
            for pieces in 1..=content.len().max(1) {
                let found = find(content.as_bytes(), pieces);
                let expected = expected.map(|text| MessageId::new(text.as_bytes()));
                assert_eq!(found, expected, "{content:?} {pieces}");
            }
        }
    }

    #[test]
    fn each_content_has_its_own() {
        let mut finder = Finder::default();
        finder.begin();
        finder.receive(b"Message-ID: <1@x>\r\n\r\nSub");
        assert!(finder.found().is_some());
        finder.begin();
        finder.receive(b"Subj");
        finder.begin();
        finder.receive(b"Message-ID: <2@x>\r\n");
        assert_eq!(finder.found(), Some(MessageId::new(b"<2@x>")));
    }

    #[test]
    fn numbers_stand_before_the_at_sign() {
        for (text, number) in [
            ("<run.17@x>", Some(17)),
            ("<0@x>", Some(0)),
            ("<a@b.5@x>", Some(5)),
            ("17", Some(17)),
            ("<9999999999999999999@x>", Some(9_999_999_999_999_999_999)),
            // Not written in one way only, not a number, too long.
            ("<017@x>", None),
            ("<a17b@x>", None),
            ("<@17>", None),
            ("<10000000000000000000@x>", None),
        ] {
            assert_eq!(MessageId::new(text.as_bytes()).number, number, "{text}");
        }
    }

    #[test]
    fn those_that_differ_in_their_number_share_a_stem() {
        let stem = |text: &str| MessageId::new(text.as_bytes()).stem;
        assert_eq!(stem("<a.1@x>"), stem("<a.22@x>"));
        for other in ["<b.1@x>", "<a.1@y>", "<a.01@x>", "<a.@1x>"] {
            assert_ne!(stem("<a.1@x>"), stem(other), "{other}");
        }
    }
}
