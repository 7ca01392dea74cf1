//! Enhanced status codes (RFC 2034, RFC 3463).

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::code::{ReplyCode, Severity};
use crate::grammar;

/// An enhanced status code such as `5.7.1`.
///
/// The class is 2, 4 or 5, subject and detail are 0 to 999. Which combinations mean something is
/// the business of the IANA registry and of whoever classifies replies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnhancedStatusCode(
    /// The three numbers as decimal digits, `5.7.1` as 5 007 001: one word, which replies are
    /// copied with.
    NonZeroU32,
);

impl EnhancedStatusCode {
    /// The code of numbers that are in range.
    #[inline]
    pub(crate) const fn new(class: u32, subject: u32, detail: u32) -> Option<Self> {
        match NonZeroU32::new(class * 1_000_000 + subject * 1000 + detail) {
            Some(digits) => Some(Self(digits)),
            None => None,
        }
    }

    /// 2 (success), 4 (persistent transient failure) or 5 (permanent failure).
    pub const fn class(self) -> u8 {
        (self.0.get() / 1_000_000) as u8
    }

    /// The second number: what the code is about, 0 to 999.
    pub const fn subject(self) -> u16 {
        (self.0.get() / 1000 % 1000) as u16
    }

    /// The third number: the condition itself, 0 to 999.
    pub const fn detail(self) -> u16 {
        (self.0.get() % 1000) as u16
    }

    /// Whether the class says the same as the code of the reply that carries it.
    ///
    /// Servers contradict themselves (`450 5.1.1`). The reply code wins, so decide by an enhanced
    /// code only where this holds (RFC 2034, 4).
    pub const fn agrees_with(self, code: ReplyCode) -> bool {
        match code.severity() {
            Severity::PositiveCompletion => self.class() == 2,
            Severity::PositiveIntermediate => false,
            Severity::TransientNegative => self.class() == 4,
            Severity::PermanentNegative => self.class() == 5,
        }
    }
}

impl TryFrom<(u8, u16, u16)> for EnhancedStatusCode {
    type Error = InvalidEnhancedStatusCode;

    fn try_from((class, subject, detail): (u8, u16, u16)) -> Result<Self, Self::Error> {
        if !matches!((class, subject, detail), (2 | 4 | 5, 0..1000, 0..1000)) {
            return Err(InvalidEnhancedStatusCode);
        }
        Self::new(class.into(), subject.into(), detail.into()).ok_or(InvalidEnhancedStatusCode)
    }
}

impl FromStr for EnhancedStatusCode {
    type Err = InvalidEnhancedStatusCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match grammar::status_code(text.as_bytes()) {
            Ok((b"", code)) => Ok(code),
            Ok(_) | Err(_) => Err(InvalidEnhancedStatusCode),
        }
    }
}

impl fmt::Debug for EnhancedStatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnhancedStatusCode({self})")
    }
}

impl fmt::Display for EnhancedStatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class(), self.subject(), self.detail())
    }
}

/// A text or numbers that are not an [`EnhancedStatusCode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidEnhancedStatusCode;

impl fmt::Display for InvalidEnhancedStatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected class 2, 4 or 5, then subject and detail of one to three digits")
    }
}

impl std::error::Error for InvalidEnhancedStatusCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_numbers_agree() {
        for (text, numbers) in
            [("2.0.0", (2, 0, 0)), ("4.7.28", (4, 7, 28)), ("5.999.999", (5, 999, 999))]
        {
            let code: EnhancedStatusCode = text.parse().unwrap();
            assert_eq!((code.class(), code.subject(), code.detail()), numbers);
            assert_eq!(EnhancedStatusCode::try_from(numbers), Ok(code));
            assert_eq!(code.to_string(), text);
        }
        for text in ["", "5.7", "5.7.1 ", " 5.7.1", "5.7.1.1", "3.0.0", "5.1000.0", "５.1.1"] {
            assert!(text.parse::<EnhancedStatusCode>().is_err(), "{text}");
        }
        for numbers in [(3, 0, 0), (0, 0, 0), (5, 1000, 0), (5, 0, 1000)] {
            assert!(EnhancedStatusCode::try_from(numbers).is_err(), "{numbers:?}");
        }
    }

    /// REP-24, RF-16, Q42.
    #[test]
    fn the_class_may_contradict_the_reply_code() {
        for (value, text, agrees) in [
            (250, "2.0.0", true),
            (550, "5.1.1", true),
            (450, "4.2.0", true),
            (450, "5.1.1", false),
            (250, "5.1.1", false),
            (550, "2.0.0", false),
            (354, "2.0.0", false),
        ] {
            let code = ReplyCode::try_from(value).unwrap();
            let enhanced: EnhancedStatusCode = text.parse().unwrap();
            assert_eq!(enhanced.agrees_with(code), agrees, "{value} {text}");
        }
    }
}
