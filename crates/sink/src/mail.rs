//! A mail as a session receives it.

use bytes::Bytes;

/// A mail that a sink kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mail {
    /// The name that the final reply gave it.
    pub queue_id: String,
    /// The reverse-path; empty for the null one.
    pub reverse_path: String,
    /// The accepted forward-paths, in order.
    pub recipients: Vec<String>,
    /// The content, without transparency.
    pub content: Bytes,
}

/// The envelope of the mail transaction at hand: one buffer, used again for each, so that a mail
/// costs no allocation.
#[derive(Debug, Default)]
pub(crate) struct Envelope {
    text: String,
    reverse_path: usize,
    /// Where each forward-path ends in `text`.
    ends: Vec<usize>,
}

impl Envelope {
    pub(crate) fn begin(&mut self, reverse_path: &str) {
        self.text.clear();
        self.ends.clear();
        self.text.push_str(reverse_path);
        self.reverse_path = reverse_path.len();
    }

    pub(crate) fn push(&mut self, forward_path: &str) {
        self.text.push_str(forward_path);
        self.ends.push(self.text.len());
    }

    pub(crate) fn reverse_path(&self) -> &str {
        &self.text[..self.reverse_path]
    }

    pub(crate) fn recipients(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(self.reverse_path).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.text[start..end])
    }

    /// The number of recipients.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// The value of the Message-ID field in the header of `content`, without surrounding blanks.
pub(crate) fn message_id(content: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"message-id:";
    let mut rest = content;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let line = rest[..end].trim_ascii_end();
        if line.is_empty() {
            return None;
        }
        if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
            return Some(line[NAME.len()..].trim_ascii()).filter(|id| !id.is_empty());
        }
        rest = &rest[end + 1..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_used_again() {
        let mut envelope = Envelope::default();
        for _ in 0..2 {
            envelope.begin("a@b");
            assert!(envelope.is_empty());
            envelope.push("c@d");
            envelope.push("e@f");
            assert_eq!(envelope.reverse_path(), "a@b");
            assert_eq!(envelope.recipients().collect::<Vec<_>>(), ["c@d", "e@f"]);
            assert_eq!(envelope.len(), 2);
        }
    }

    #[test]
    fn a_message_id_is_found_in_the_header_only() {
        for (content, expected) in [
            ("Message-ID: <1@x>\r\n\r\nbody", Some("<1@x>")),
            ("Subject: a\r\nMESSAGE-ID:<2@x> \r\n\r\n", Some("<2@x>")),
            ("Subject: a\r\n\r\nMessage-ID: <3@x>\r\n", None),
            ("Message-ID: \r\n\r\n", None),
            ("Message-ID: <4@x>", None),
            ("", None),
        ] {
            assert_eq!(message_id(content.as_bytes()), expected.map(str::as_bytes), "{content:?}");
        }
    }
}
