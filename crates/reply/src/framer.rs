//! Where a reply ends: one pass over the octets, resumable at any of them.

use std::fmt;

use crate::code::ReplyCode;
use crate::scan;

/// Bounds of one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of one line with its line end.
    pub line: usize,
    /// Octets of all lines.
    pub reply: usize,
    /// Lines; a reply of one line always passes.
    pub lines: usize,
}

impl Default for Limits {
    /// 4096 octets a line, 64 KiB and 512 lines a reply.
    ///
    /// RFC 5321, 4.5.3.1.5 asks for 512 octets a line; real servers send some more, and the
    /// longest greetings known have 60 lines. The rest is arbitrary room that no attacker can
    /// turn into memory. The AUTH exchange needs longer lines: RFC 4954, 4 has challenges of
    /// 12288 octets.
    fn default() -> Self {
        Self { line: 4096, reply: 64 * 1024, lines: 512 }
    }
}

/// Finds the end of a reply in a buffer that grows.
///
/// Checks the shape of each line on the way: three digits, the first one from 2 to 5, then a
/// space, a hyphen or the end of the line, and the same code on all lines. LF ends a line, with
/// or without CR before it; a lone CR never does. The result does not depend on how the octets
/// were split into reads. An error is final: the stream behind it cannot be read any further.
#[derive(Clone, Debug)]
pub struct Framer {
    limits: Limits,
    line_start: usize,
    /// There is no end of the current line before this offset.
    scanned: usize,
    /// Whole lines before the current one.
    lines: usize,
    /// Digits of the first line's code, zeros until it was read.
    code: [u8; CODE_LENGTH],
}

impl Framer {
    /// A framer at the start of a reply.
    pub const fn new(limits: Limits) -> Self {
        Self { limits, line_start: 0, scanned: 0, lines: 0, code: [0; CODE_LENGTH] }
    }

    /// Looks for the end of the reply that starts with the first octet of `buffer`.
    ///
    /// Between two calls the buffer may only grow; each octet is looked at once. `Ok(Some(n))`:
    /// `buffer[..n]` is one whole reply, and the framer is ready for the next one, which starts
    /// at offset `n`. `Ok(None)`: more octets are needed.
    ///
    /// # Errors
    ///
    /// The octets are not a reply, or not one within the [`Limits`].
    #[inline]
    pub fn frame(&mut self, buffer: &[u8]) -> Result<Option<usize>, FrameError> {
        debug_assert!(buffer.len() >= self.scanned, "the buffer shrank within a reply");
        loop {
            // What a line may not reach: at this octet a limit is hit, in whatever pieces it comes.
            let bound = self.line_start.saturating_add(self.limits.line).min(self.limits.reply);
            let unread = buffer.get(self.line_start..).unwrap_or_default();
            let start = self.check_start(unread, bound)?;
            // No LF in the code either.
            let unseen = self.scanned.max(self.line_start + CODE_LENGTH);
            let line_feed = buffer.get(unseen..).and_then(scan::line_feed);
            let Some(end) = line_feed.map(|at| unseen + at + 1).filter(|end| *end <= bound) else {
                if buffer.len() >= bound {
                    return Err(self.limit_error(bound));
                }
                self.scanned = buffer.len();
                return Ok(None);
            };
            if start != Start::Continues {
                self.reset();
                return Ok(Some(end));
            }
            self.line_start = end;
            self.lines += 1;
            if self.lines >= self.limits.lines {
                return Err(FrameError::TooManyLines { offset: end, limit: self.limits.lines });
            }
        }
    }

    /// Forgets the reply in progress.
    pub fn reset(&mut self) {
        *self = Self::new(self.limits);
    }

    #[cold]
    fn limit_error(&self, offset: usize) -> FrameError {
        if offset == self.limits.reply {
            FrameError::ReplyTooLong { offset, limit: self.limits.reply }
        } else {
            FrameError::LineTooLong { offset, limit: self.limits.line }
        }
    }

    /// Checks code and separator, as far as they are there.
    #[inline]
    fn check_start(&mut self, line: &[u8], bound: usize) -> Result<Start, FrameError> {
        if let [a, b, c, separator @ (b' ' | b'-'), ..] = *line {
            let code = [a, b, c];
            if code == self.code {
                return Ok(Start::of(separator));
            }
            if self.lines == 0 && ReplyCode::from_digits(code).is_some() {
                self.code = code;
                return Ok(Start::of(separator));
            }
        }
        self.check_odd_start(line.get(..bound - self.line_start).unwrap_or(line))
    }

    /// The same for a code alone, for a line that is not all there and for what is wrong.
    #[cold]
    fn check_odd_start(&mut self, line: &[u8]) -> Result<Start, FrameError> {
        if let Some(at) = line.iter().take(CODE_LENGTH).position(|octet| !octet.is_ascii_digit()) {
            return self.judge_foreign(line, at);
        }
        let Some((&digits, rest)) = line.split_first_chunk() else {
            return Ok(Start::Partial);
        };
        let offset = self.line_start;
        let Some(found) = ReplyCode::from_digits(digits) else {
            return Err(FrameError::CodeOutOfRange { offset, found: digits });
        };
        match ReplyCode::from_digits(self.code) {
            Some(first) if first != found => {
                return Err(FrameError::CodeChanged { offset, first, found });
            }
            Some(_) => {}
            None => self.code = digits,
        }
        match *rest {
            [separator @ (b' ' | b'-'), ..] => Ok(Start::of(separator)),
            // A code alone is a whole last line. CR CR LF is one line end.
            [b'\n', ..] | [b'\r', b'\n', ..] | [b'\r', b'\r', b'\n', ..] => Ok(Start::Ends),
            [] | [b'\r'] | [b'\r', b'\r'] => Ok(Start::Partial),
            [found, ..] => Err(FrameError::BadSeparator { offset: offset + CODE_LENGTH, found }),
        }
    }

    /// Tells another protocol from plain garbage; waits while the octets may be either.
    #[cold]
    fn judge_foreign(&self, line: &[u8], at: usize) -> Result<Start, FrameError> {
        if self.lines == 0 {
            for &(signature, protocol) in SIGNATURES {
                if line.starts_with(signature) {
                    return Err(FrameError::NotSmtp { protocol });
                }
                if signature.starts_with(line) {
                    return Ok(Start::Partial);
                }
            }
        }
        let found = line.get(at).copied().unwrap_or_default();
        Err(FrameError::NotACode { offset: self.line_start + at, found })
    }
}

/// What the start of a line says about the line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Too short to say, and nothing is wrong so far.
    Partial,
    /// More lines follow.
    Continues,
    /// This is the last line.
    Ends,
}

impl Start {
    fn of(separator: u8) -> Self {
        if separator == b'-' { Self::Continues } else { Self::Ends }
    }
}

/// Why octets are not a reply. The offsets count from the first octet of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The peer speaks another protocol.
    NotSmtp {
        /// The protocol.
        protocol: Protocol,
    },
    /// A line does not start with three ASCII digits.
    NotACode {
        /// Where the octet is.
        offset: usize,
        /// The octet that is not a digit.
        found: u8,
    },
    /// A code outside 200 to 599.
    CodeOutOfRange {
        /// Where the code is.
        offset: usize,
        /// Its digits.
        found: [u8; 3],
    },
    /// A line has another code than the first line of its reply.
    CodeChanged {
        /// Where the other code is.
        offset: usize,
        /// The first line's code.
        first: ReplyCode,
        /// The other code.
        found: ReplyCode,
    },
    /// Neither space nor hyphen nor the end of the line behind the code.
    BadSeparator {
        /// Where the octet is.
        offset: usize,
        /// The octet.
        found: u8,
    },
    /// A line is longer than [`Limits::line`].
    LineTooLong {
        /// The first octet beyond the limit.
        offset: usize,
        /// The limit in octets.
        limit: usize,
    },
    /// A reply is longer than [`Limits::reply`].
    ReplyTooLong {
        /// The first octet beyond the limit.
        offset: usize,
        /// The limit in octets.
        limit: usize,
    },
    /// A reply has more than [`Limits::lines`] lines.
    TooManyLines {
        /// The start of the first line beyond the limit.
        offset: usize,
        /// The limit in lines.
        limit: usize,
    },
}

impl FrameError {
    /// Where in the reply the violation is.
    pub const fn offset(&self) -> usize {
        match *self {
            Self::NotSmtp { .. } => 0,
            Self::NotACode { offset, .. }
            | Self::CodeOutOfRange { offset, .. }
            | Self::CodeChanged { offset, .. }
            | Self::BadSeparator { offset, .. }
            | Self::LineTooLong { offset, .. }
            | Self::ReplyTooLong { offset, .. }
            | Self::TooManyLines { offset, .. } => offset,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotSmtp { protocol } => write!(f, "expected an SMTP reply, got {protocol}"),
            Self::NotACode { offset, found } => write!(
                f,
                "expected a digit of a reply code at offset {offset}, got '{}'",
                found.escape_ascii()
            ),
            Self::CodeOutOfRange { offset, found } => write!(
                f,
                "expected a reply code from 200 to 599 at offset {offset}, got {}",
                found.escape_ascii()
            ),
            Self::CodeChanged { offset, first, found } => write!(
                f,
                "expected reply code {first} on all lines, got {found} at offset {offset}"
            ),
            Self::BadSeparator { offset, found } => write!(
                f,
                "expected space, hyphen or line end behind the reply code at offset {offset}, \
                 got '{}'",
                found.escape_ascii()
            ),
            Self::LineTooLong { limit, .. } => {
                write!(f, "expected a reply line of at most {limit} octets, got a longer one")
            }
            Self::ReplyTooLong { limit, .. } => {
                write!(f, "expected a reply of at most {limit} octets, got a longer one")
            }
            Self::TooManyLines { limit, .. } => {
                write!(f, "expected a reply of at most {limit} lines, got more")
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// A protocol that the peer speaks instead of SMTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// A TLS record: the port wants TLS from the first octet.
    Tls,
    /// A web server.
    Http,
    /// A secure shell server.
    Ssh,
    /// An IMAP server.
    Imap,
    /// A POP3 server.
    Pop3,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "a TLS record",
            Self::Http => "HTTP",
            Self::Ssh => "SSH",
            Self::Imap => "IMAP",
            Self::Pop3 => "POP3",
        })
    }
}

/// Digits of a reply code.
const CODE_LENGTH: usize = 3;

/// First octets of what answers on a wrong port. None is the start of another.
const SIGNATURES: &[(&[u8], Protocol)] = &[
    (b"\x15\x03", Protocol::Tls),
    (b"\x16\x03", Protocol::Tls),
    (b"HTTP/", Protocol::Http),
    (b"SSH-", Protocol::Ssh),
    (b"* ", Protocol::Imap),
    (b"+OK", Protocol::Pop3),
    (b"-ERR", Protocol::Pop3),
];
