//! One reply, borrowed from the buffer it was read into.

use std::fmt;

use crate::code::ReplyCode;
use crate::enhanced::EnhancedStatusCode;
use crate::framer::{FrameError, Framer, Limits};
use crate::grammar::{self, Line};
use crate::owned::ReplyBuf;
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

/// What parsing finds out besides the octets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) code: ReplyCode,
    pub(crate) enhanced: Option<EnhancedStatusCode>,
    pub(crate) has_bare_lf: bool,
}

impl<'a> Reply<'a> {
    /// Reads one framed reply: exactly the octets that [`Framer::frame`] delimits.
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
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReplyError> {
        match Self::read(bytes) {
            Some(reply) => Ok(reply),
            None => Err(ReplyError::of(bytes)),
        }
    }

    #[inline]
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let digits = *bytes.first_chunk()?;
        let (mut rest, (code, mut line)) = grammar::first_line(bytes).ok()?;
        let mut enhanced = status_code(&line);
        let mut has_bare_lf = line.has_bare_lf;
        while !line.is_last {
            (rest, line) = grammar::next_line(digits, rest).ok()?;
            has_bare_lf |= line.has_bare_lf;
            // The last line's, or else the first there is.
            if line.is_last || enhanced.is_none() {
                enhanced = status_code(&line).or(enhanced);
            }
        }
        let summary = Summary { code, enhanced, has_bare_lf };
        rest.is_empty().then_some(Self { bytes, summary })
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

fn status_code(line: &Line<'_>) -> Option<EnhancedStatusCode> {
    let (_, code) = grammar::leading_status_code(line.text).ok()?;
    Some(code)
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

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (rest, line) = grammar::known_line(self.rest).ok()?;
        self.rest = rest;
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

impl ReplyError {
    /// The framer knows the same grammar with offsets and reasons; only failure pays for it.
    #[cold]
    fn of(bytes: &[u8]) -> Self {
        let unlimited = Limits { line: usize::MAX, reply: usize::MAX, lines: usize::MAX };
        match Framer::new(unlimited).frame(bytes) {
            Ok(None) => Self::Incomplete,
            Ok(Some(offset)) => Self::Surplus { offset },
            Err(error) => Self::Malformed(error),
        }
    }
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
