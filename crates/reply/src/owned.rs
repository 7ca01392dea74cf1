//! One reply, owned.

use std::fmt;
use std::sync::Arc;

use memchr::memrchr;

use crate::code::ReplyCode;
use crate::enhanced::EnhancedStatusCode;
use crate::reply::{Reply, Summary};
use crate::text::Text;

/// An owned [`Reply`], cheap to clone, for outcomes that outlive the read buffer.
///
/// See [`Reply::to_owned`] and [`Reply::to_owned_bounded`].
#[derive(Clone, PartialEq, Eq)]
pub struct ReplyBuf {
    bytes: Arc<[u8]>,
    summary: Summary,
}

impl ReplyBuf {
    pub(crate) fn new(bytes: impl Into<Arc<[u8]>>, summary: Summary) -> Self {
        Self { bytes: bytes.into(), summary }
    }

    pub(crate) fn bounded(reply: Reply<'_>, max_octets: usize) -> Self {
        let whole = reply.as_bytes();
        if whole.len() <= max_octets {
            return Self::new(whole, reply.summary);
        }
        let fitting = whole.get(..max_octets).unwrap_or(whole);
        let bytes = whole_lines(fitting).unwrap_or_else(|| first_line_cut(reply, max_octets));
        Self::new(bytes, reply.summary)
    }

    /// The reply, borrowed.
    pub fn as_reply(&self) -> Reply<'_> {
        Reply { bytes: &self.bytes, summary: self.summary }
    }

    /// See [`Reply::code`].
    pub const fn code(&self) -> ReplyCode {
        self.summary.code
    }

    /// See [`Reply::enhanced`].
    pub const fn enhanced(&self) -> Option<EnhancedStatusCode> {
        self.summary.enhanced
    }

    /// See [`Reply::text`].
    pub fn text(&self) -> Text<'_> {
        self.as_reply().text()
    }
}

/// The whole lines among the octets, the last of them made the last one of the reply.
fn whole_lines(cut: &[u8]) -> Option<Vec<u8>> {
    /// Digits of a code, before the separator.
    const CODE: usize = 3;
    let (lines, _) = cut.split_at_checked(memrchr(b'\n', cut)? + 1)?;
    let (_, without_line_end) = lines.split_last()?;
    let last_line = memrchr(b'\n', without_line_end).map_or(0, |line_feed| line_feed + 1);
    let mut lines = lines.to_vec();
    if let Some(separator @ b'-') = lines.get_mut(last_line + CODE) {
        *separator = b' ';
    }
    Some(lines)
}

/// The first line with as much of its text as fits, and nothing half of a character.
fn first_line_cut(reply: Reply<'_>, max_octets: usize) -> Vec<u8> {
    /// Code, space and line end.
    const AROUND_TEXT: usize = 6;
    let mut bytes = reply.code().to_string().into_bytes();
    let text = reply.lines().next().unwrap_or_default();
    let mut room = max_octets.saturating_sub(AROUND_TEXT).min(text.len());
    while text.get(room).is_some_and(|octet| octet & 0xc0 == 0x80) && room > 0 {
        room -= 1;
    }
    if room > 0 {
        bytes.push(b' ');
        bytes.extend_from_slice(text.get(..room).unwrap_or_default());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

impl From<Reply<'_>> for ReplyBuf {
    fn from(reply: Reply<'_>) -> Self {
        reply.to_owned()
    }
}

impl fmt::Display for ReplyBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_reply().fmt(f)
    }
}

impl fmt::Debug for ReplyBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplyBuf(\"{}\")", self.bytes.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &[u8] = b"550-5.7.26 first\r\n550-5.7.26 second\r\n550 5.7.27 third\r\n";

    #[test]
    fn an_owned_reply_says_the_same() {
        let reply = Reply::parse(REPLY).unwrap();
        let owned = reply.to_owned();
        assert_eq!(owned.as_reply(), reply);
        assert_eq!(ReplyBuf::from(reply), owned);
        assert_eq!(owned.code(), ReplyCode::MAILBOX_UNAVAILABLE);
        assert_eq!(owned.to_string(), "550 5.7.27 first second third");
        assert_eq!(
            format!("{:?}", Reply::parse(b"250 ok\r\n").unwrap().to_owned()),
            r#"ReplyBuf("250 ok\r\n")"#
        );
    }

    #[track_caller]
    fn check(reply: &[u8], max_octets: usize, expected: &[u8]) {
        let reply = Reply::parse(reply).unwrap();
        let bounded = reply.to_owned_bounded(max_octets);
        let bytes = bounded.as_reply().as_bytes();
        assert_eq!(bytes.escape_ascii().to_string(), expected.escape_ascii().to_string());
        assert_eq!(Reply::parse(bytes).map(|cut| cut.code()), Ok(reply.code()));
        assert_eq!(bounded.enhanced(), reply.enhanced());
    }

    #[test]
    fn a_bounded_copy_keeps_whole_lines() {
        check(REPLY, REPLY.len() + 1, REPLY);
        check(REPLY, REPLY.len(), REPLY);
        let two_lines = b"550-5.7.26 first\r\n550 5.7.26 second\r\n";
        check(REPLY, REPLY.len() - 1, two_lines);
        check(REPLY, two_lines.len(), two_lines);
        check(REPLY, two_lines.len() - 1, b"550 5.7.26 first\r\n");
        check(b"250-a\n250 b\n", 7, b"250 a\n");
        check(b"250-a\n250\n", 9, b"250 a\n");
    }

    #[test]
    fn a_bounded_copy_cuts_a_first_line_that_does_not_fit() {
        check(REPLY, 17, b"550 5.7.26 firs\r\n");
        check(REPLY, 7, b"550 5\r\n");
        check(REPLY, 6, b"550\r\n");
        check(REPLY, 0, b"550\r\n");
        // No half of a character is left.
        check("250 a\u{5bfe}b\r\n".as_bytes(), 10, "250 a\u{5bfe}\r\n".as_bytes());
        check("250 a\u{5bfe}b\r\n".as_bytes(), 9, b"250 a\r\n");
        check("250 a\u{5bfe}b\r\n".as_bytes(), 8, b"250 a\r\n");
        check("250 \u{5bfe}b\r\n".as_bytes(), 8, b"250\r\n");
        check(b"250 \x80\x80\x80\x80\r\n", 8, b"250\r\n");
    }
}
