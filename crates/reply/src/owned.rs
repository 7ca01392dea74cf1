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
