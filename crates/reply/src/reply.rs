//! One reply, borrowed from the buffer it was read into.

use std::fmt;

use crate::class;
use crate::code::ReplyCode;
use crate::enhanced::EnhancedStatusCode;
use crate::frame_error::FrameError;
use crate::framer::{Framer, Limits};
use crate::grammar;
use crate::owned::ReplyBuf;
use crate::scan;
use crate::text::Text;

/// One whole reply.
///
/// The octets stay as they came. Decide by the [`code`](Self::code); the text is for people.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// At least one line; all lines have the shape that the grammar accepts.
    pub(crate) bytes: &'a [u8],
    pub(crate) summary: Summary,
}

/// What reading finds out besides the octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) code: ReplyCode,
    pub(crate) enhanced: Option<EnhancedStatusCode>,
    pub(crate) has_bare_lf: bool,
}

impl<'a> Reply<'a> {
    /// Reads one reply from its octets and no others, as [`Reply::as_bytes`] gives them.
    ///
    /// # Errors
    ///
    /// The octets are less than one reply, more than one, or not a reply at all.
    ///
    /// # Examples
    ///
    /// ```
    /// # use posthaste_reply::Reply;
    /// let reply = Reply::parse(b"550-5.7.26 not authenticated\r\n550 5.7.26 see RFC 7489\r\n")?;
    /// assert_eq!(reply.code().value(), 550);
    /// assert_eq!(reply.enhanced().unwrap().to_string(), "5.7.26");
    /// assert_eq!(reply.text().to_string(), "not authenticated see RFC 7489");
    /// # Ok::<(), posthaste_reply::ReplyError>(())
    /// ```
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReplyError> {
        match Framer::new(Limits::NONE).read(bytes) {
            Ok(Some(reply)) if reply.bytes.len() == bytes.len() => Ok(reply),
            Ok(Some(reply)) => Err(ReplyError::Surplus { offset: reply.bytes.len() }),
            Ok(None) => Err(ReplyError::Incomplete),
            Err(error) => Err(ReplyError::Malformed(error)),
        }
    }

    /// The reply code, the same on all lines.
    pub const fn code(&self) -> ReplyCode {
        self.summary.code
    }

    /// The enhanced status code at the start of the last line's text, else of the first line
    /// that has one.
    ///
    /// It may contradict the reply code, see [`EnhancedStatusCode::agrees_with`].
    pub const fn enhanced(&self) -> Option<EnhancedStatusCode> {
        self.summary.enhanced
    }

    /// The enhanced status code, else the first token anywhere in the text that reads like one and
    /// [agrees](EnhancedStatusCode::agrees_with) with the reply code: `#5.1.1`, `(5.7.1)`,
    /// `[4.7.0]`, `host 5.1.1`.
    ///
    /// A guess, to classify replies of servers that put the code in odd places. One in a mail
    /// address, or behind `said:`, is not the server's.
    pub fn enhanced_anywhere(&self) -> Option<EnhancedStatusCode> {
        self.enhanced().or_else(|| class::status_code_in_text(*self))
    }

    /// The text of each line: without code, separator and line end, otherwise untouched.
    pub const fn lines(&self) -> Lines<'a> {
        Lines { rest: self.bytes }
    }

    /// The text for people: see [`Text`].
    pub const fn text(&self) -> Text<'a> {
        Text::new(self.lines())
    }

    /// The octets as they came, line ends included.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether a line ends in LF without CR, which RFC 5321, 2.3.8 forbids.
    pub const fn has_bare_lf(&self) -> bool {
        self.summary.has_bare_lf
    }

    /// An owned copy.
    pub fn to_owned(&self) -> ReplyBuf {
        ReplyBuf::new(self.bytes, self.summary)
    }

    /// An owned copy of at most `max_octets` octets: whole lines from the first one on, of which
    /// the last becomes the reply's last line.
    ///
    /// Where not even the first line fits, its text is cut. The smallest copy is the code and a
    /// line end, five octets, even if `max_octets` is less. Code and enhanced status code are
    /// kept.
    pub fn to_owned_bounded(&self, max_octets: usize) -> ReplyBuf {
        ReplyBuf::bounded(*self, max_octets)
    }
}

impl fmt::Display for Reply<'_> {
    /// Code, enhanced status code and text, as on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code())?;
        if let Some(enhanced) = self.enhanced() {
            write!(f, " {enhanced}")?;
        }
        let text = self.text();
        if text.is_empty() { Ok(()) } else { write!(f, " {text}") }
    }
}

impl fmt::Debug for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply(\"{}\")", self.bytes.escape_ascii())
    }
}

impl<'a> TryFrom<&'a [u8]> for Reply<'a> {
    type Error = ReplyError;

    fn try_from(bytes: &'a [u8]) -> Result<Self, Self::Error> {
        Self::parse(bytes)
    }
}

/// The text of each line of a [`Reply`], from [`Reply::lines`].
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let (line, rest) = self.rest.split_at_checked(scan::line_end(self.rest, 0)?)?;
        self.rest = rest;
        let (_, line) = grammar::known_line(line).ok()?;
        Some(line.text)
    }
}

impl std::iter::FusedIterator for Lines<'_> {}

/// Why octets are not one whole reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplyError {
    /// The octets end before the reply does.
    Incomplete,
    /// Octets follow the reply.
    Surplus {
        /// Where the reply ends.
        offset: usize,
    },
    /// A line does not have the shape of a reply line.
    Malformed(FrameError),
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete => f.write_str("expected a whole reply, got only the start of one"),
            Self::Surplus { offset } => {
                write!(f, "expected one reply, got more octets at offset {offset}")
            }
            Self::Malformed(_) => f.write_str("expected a reply, got a malformed line"),
        }
    }
}

impl std::error::Error for ReplyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Incomplete | Self::Surplus { .. } => None,
            Self::Malformed(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], code: u16, enhanced: Option<&str>, lines: &[&str]) {
        let reply = Reply::parse(bytes).unwrap();
        assert_eq!(reply.code().value(), code);
        let found = reply.enhanced().map(|enhanced| enhanced.to_string());
        assert_eq!(found.as_deref(), enhanced, "{reply:?}");
        let found: Vec<_> = reply.lines().map(String::from_utf8_lossy).collect();
        assert_eq!(found, lines, "{reply:?}");
        assert_eq!(reply.as_bytes(), bytes);
    }

    #[test]
    fn replies_are_code_and_lines() {
        check(b"250 2.1.0 Ok\r\n", 250, Some("2.1.0"), &["2.1.0 Ok"]);
        check(b"250-a\r\n250-\r\n250  b \r\n", 250, None, &["a", "", " b "]);
        // REP-02, RF-06.
        check(b"250\r\n", 250, None, &[""]);
        check(b"334 \r\n", 334, None, &[""]);
        check(b"250-a\n250\n", 250, None, &["a", ""]);
        // REP-12, RF-08: a stray CR of the line end is not text, any other one is.
        check(b"250 a\rb\r\r\n", 250, None, &["a\rb"]);
        check(b"250\r\r\n", 250, None, &[""]);
        // REP-08: whatever the text says.
        check(b"250 failed!\r\n", 250, None, &["failed!"]);
    }

    /// REP-25: the last line's, else the first there is.
    #[test]
    fn one_status_code_stands_for_all_lines() {
        check(b"550-5.7.1 a\r\n550 5.7.2 b\r\n", 550, Some("5.7.2"), &["5.7.1 a", "5.7.2 b"]);
        check(
            b"550-a\r\n550-5.7.1 b\r\n550-5.7.2 c\r\n550 d\r\n",
            550,
            Some("5.7.1"),
            &["a", "5.7.1 b", "5.7.2 c", "d"],
        );
        check(b"550-a\r\n550- 5.7.1 b\r\n550 c\r\n", 550, Some("5.7.1"), &["a", " 5.7.1 b", "c"]);
        // REP-24: kept although it contradicts.
        check(b"450 5.1.1 x\r\n", 450, Some("5.1.1"), &["5.1.1 x"]);
    }

    /// REP-29: a bare code does not make the next line its text.
    #[test]
    fn a_code_alone_has_no_status_code() {
        let bytes = b"250\r\n 4.4.4 x\r\n";
        assert_eq!(Reply::parse(bytes), Err(ReplyError::Surplus { offset: 5 }));
        check(&bytes[..5], 250, None, &[""]);
    }

    #[test]
    fn bare_line_feeds_are_noticed() {
        for (bytes, has_bare_lf) in [
            (&b"250-a\r\n250 b\r\n"[..], false),
            (b"250-a\n250 b\r\n", true),
            (b"250-a\r\n250 b\n", true),
            (b"250-a\r\n250-word\n250 c\r\n", true),
            (b"250\n", true),
            (b"250\r\r\n", false),
        ] {
            assert_eq!(Reply::parse(bytes).unwrap().has_bare_lf(), has_bare_lf);
        }
    }

    #[test]
    fn only_one_whole_reply_is_accepted() {
        use FrameError::{BadSeparator, CodeChanged, NotACode};
        let (ok, failed) = (ReplyCode::OK, ReplyCode::MAILBOX_UNAVAILABLE);
        for (bytes, error) in [
            (&b""[..], ReplyError::Incomplete),
            (b"250", ReplyError::Incomplete),
            (b"250 ok\r", ReplyError::Incomplete),
            (b"250-ok\r\n", ReplyError::Incomplete),
            (b"250 a\r\n250 b\r\n", ReplyError::Surplus { offset: 7 }),
            (b"250 a\n\r", ReplyError::Surplus { offset: 6 }),
            (b"25 a\r\n", ReplyError::Malformed(NotACode { offset: 2, found: b' ' })),
            (b"250\tOK\r\n", ReplyError::Malformed(BadSeparator { offset: 3, found: b'\t' })),
            (
                b"250-a\r\n550 b\r\n",
                ReplyError::Malformed(CodeChanged { offset: 7, first: ok, found: failed }),
            ),
        ] {
            assert_eq!(Reply::parse(bytes), Err(error), "{}", bytes.escape_ascii());
        }
    }

    /// REP-28, Q43.
    #[test]
    fn status_codes_in_odd_places_can_be_guessed() {
        for (bytes, guess) in [
            (&b"550 5.1.1 x\r\n"[..], Some("5.1.1")),
            (b"450 5.1.1 x\r\n", Some("5.1.1")),
            (b"550 #5.1.0 Address rejected\r\n", Some("5.1.0")),
            (b"553 sorry (#5.7.1)\r\n", Some("5.7.1")),
            (b"550 [5.7.1] no\r\n", Some("5.7.1")),
            (b"421-a\r\n421 mx.example.org 4.7.0.\r\n", Some("4.7.0")),
            (b"550 Error 5.1.1\r\n", Some("5.1.1")),
            (b"550 blocked 5.1.1.1 at v5.7.1 or 5.7.1b\r\n", None),
            (b"250 version 5.1.1\r\n", None),
            (b"550 no\r\n", None),
        ] {
            let reply = Reply::parse(bytes).unwrap();
            let found = reply.enhanced_anywhere().map(|code| code.to_string());
            assert_eq!(found.as_deref(), guess, "{reply:?}");
        }
    }
}
