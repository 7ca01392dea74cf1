//! Why octets are not a reply.

use std::fmt;

use crate::code::ReplyCode;

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
    /// A line is longer than [`Limits::line`](crate::Limits::line).
    LineTooLong {
        /// The first octet beyond the limit.
        offset: usize,
        /// The limit in octets.
        limit: usize,
    },
    /// A reply is longer than [`Limits::reply`](crate::Limits::reply).
    ReplyTooLong {
        /// The first octet beyond the limit.
        offset: usize,
        /// The limit in octets.
        limit: usize,
    },
    /// A reply has more than [`Limits::lines`](crate::Limits::lines) lines.
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

impl FrameError {
    /// The same, with offsets that count from where the stream began: the reply in question starts
    /// behind this many octets.
    #[must_use]
    pub fn behind(mut self, octets: usize) -> Self {
        match &mut self {
            Self::NotSmtp { .. } => {}
            Self::NotACode { offset, .. }
            | Self::CodeOutOfRange { offset, .. }
            | Self::CodeChanged { offset, .. }
            | Self::BadSeparator { offset, .. }
            | Self::LineTooLong { offset, .. }
            | Self::ReplyTooLong { offset, .. }
            | Self::TooManyLines { offset, .. } => *offset = offset.saturating_add(octets),
        }
        self
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

#[cfg(test)]
mod tests {
    use crate::{Framer, Limits};

    #[test]
    fn errors_say_what_was_expected_and_what_came() {
        for (octets, text) in [
            (&b"\x1b[2J"[..], "expected a digit of a reply code at offset 0, got '\\x1b'"),
            (b"999 x", "expected a reply code from 200 to 599 at offset 0, got 999"),
            (b"250-\n550 ", "expected reply code 250 on all lines, got 550 at offset 5"),
            (
                b"250_",
                "expected space, hyphen or line end behind the reply code at offset 3, got '_'",
            ),
            (b"\x15\x03\x01", "expected an SMTP reply, got a TLS record"),
        ] {
            let error = Framer::new(Limits::default()).read(octets).unwrap_err();
            assert_eq!(error.to_string(), text);
        }
    }
}
