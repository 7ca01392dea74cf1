//! Delivery status notifications (RFC 3461).

use std::fmt::{self, Write as _};
use std::str::FromStr;

use super::OptionError;
use crate::address::ForwardPath;
use crate::xtext::xtext;

/// Longest `ENVID` in octets, encoded (RFC 3461 section 4.4).
const MAX_ENVELOPE_ID: usize = 100;
/// Longest `ORCPT` in octets, encoded (RFC 3461 section 4.2).
const MAX_ORIGINAL: usize = 500;

/// When the reverse-path is to be notified about a recipient: never, or on one or more occasions.
///
/// ```
/// use posthaste_session::Notify;
///
/// assert_eq!((Notify::SUCCESS | Notify::DELAY).to_string(), "SUCCESS,DELAY");
/// assert!("NEVER,DELAY".parse::<Notify>().is_err());
/// # Ok::<(), posthaste_session::OptionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Notify(u8);

impl Notify {
    /// Whatever happens, nobody is told.
    pub const NEVER: Self = Self(0);
    /// When it was delivered.
    pub const SUCCESS: Self = Self(1);
    /// When it cannot be delivered.
    pub const FAILURE: Self = Self(2);
    /// When it takes unusually long.
    pub const DELAY: Self = Self(4);

    const NAMED: [(Self, &str); 3] =
        [(Self::SUCCESS, "SUCCESS"), (Self::FAILURE, "FAILURE"), (Self::DELAY, "DELAY")];
}

impl std::ops::BitOr for Notify {
    type Output = Self;

    /// On either occasion; never is no occasion, and leaves the others as they are.
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            return f.write_str("NEVER");
        }
        let occasions = Self::NAMED.into_iter().filter(|(occasion, _)| self.0 & occasion.0 != 0);
        for (at, (_, name)) in occasions.enumerate() {
            write!(f, "{}{name}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for Notify {
    type Err = OptionError;

    /// Reads `NEVER`, or a list like `SUCCESS,FAILURE`, in any case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.eq_ignore_ascii_case("NEVER") {
            return Ok(Self::NEVER);
        }
        let occasion = |name: &str| {
            Self::NAMED.into_iter().find(|(_, known)| known.eq_ignore_ascii_case(name))
        };
        text.split(',').try_fold(Self::NEVER, |all, name| match occasion(name) {
            Some((one, _)) => Ok(all | one),
            None => Err(OptionError::Form("never, or a list of success, failure and delay")),
        })
    }
}

/// How much of a mail a notification of failure returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReturnContent {
    /// All of it.
    Full,
    /// The header section.
    Headers,
}

impl ReturnContent {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        }
    }
}

impl FromStr for ReturnContent {
    type Err = OptionError;

    /// Reads `FULL` or `HDRS`, in any case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Full, Self::Headers]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(text))
            .ok_or(OptionError::Form("full or hdrs"))
    }
}

/// What notifications call a mail, at most 100 octets encoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EnvelopeId(Box<str>);

impl EnvelopeId {
    /// Takes printable ASCII.
    ///
    /// # Errors
    ///
    /// For other characters, for nothing at all, and for more than 100 octets when encoded.
    pub fn new(id: &str) -> Result<Self, OptionError> {
        Ok(Self(printable_xtext(id, MAX_ENVELOPE_ID)?))
    }

    /// The encoded form.
    pub fn as_xtext(&self) -> &str {
        &self.0
    }
}

/// Whom a mail was first sent to, with the type of that address: `rfc822;joe@example.com`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OriginalRecipient(Box<str>);

impl OriginalRecipient {
    /// An Internet address; one beyond ASCII is of type `utf-8` (RFC 6533 section 3).
    ///
    /// # Errors
    ///
    /// When it has more than 500 octets encoded.
    pub fn new(path: &ForwardPath) -> Result<Self, OptionError> {
        let address = path.as_str();
        let text = if address.is_ascii() {
            format!("rfc822;{}", xtext(address.as_bytes()))
        } else {
            format!("utf-8;{}", utf8_xtext(address))
        };
        Ok(Self(at_most(text, MAX_ORIGINAL)?))
    }

    /// An address of another type, in printable ASCII, e.g. an X.400 one.
    ///
    /// # Errors
    ///
    /// When the type is not a word, or the address is empty, not printable ASCII or too long.
    pub fn with_type(kind: &str, address: &str) -> Result<Self, OptionError> {
        let is_word = !kind.is_empty()
            && kind.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
        if !is_word {
            return Err(OptionError::Form("an address type of letters, digits and hyphens"));
        }
        let address = printable_xtext(address, MAX_ORIGINAL)?;
        Ok(Self(at_most(format!("{kind};{address}"), MAX_ORIGINAL)?))
    }

    /// The encoded form, type and all.
    pub fn as_xtext(&self) -> &str {
        &self.0
    }
}

fn printable_xtext(text: &str, most: usize) -> Result<Box<str>, OptionError> {
    if text.is_empty() {
        return Err(OptionError::Empty);
    }
    // Also NUL, which no encoded form may smuggle in.
    if let Some(c) = text.chars().find(|c| !matches!(c, ' '..='~')) {
        return Err(OptionError::Character(c));
    }
    at_most(xtext(text.as_bytes()), most)
}

fn at_most(text: String, most: usize) -> Result<Box<str>, OptionError> {
    if text.len() > most {
        return Err(OptionError::Length { octets: text.len(), most });
    }
    Ok(text.into())
}

/// `utf-8-addr-xtext`: ASCII, and all else as `\x{10FFFF}` (RFC 6533 section 3).
fn utf8_xtext(address: &str) -> String {
    let mut out = String::with_capacity(address.len() * 2);
    for c in address.chars() {
        match c {
            '!'..='~' if !matches!(c, '+' | '=' | '\\') => out.push(c),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "\\x{{{:02X}}}", u32::from(c))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notify_is_never_or_a_list() {
        // DSN-01
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<Notify>().unwrap().to_string(), expected, "{text}");
        };
        check("never", "NEVER");
        check("DELAY", "DELAY");
        check("failure,success", "SUCCESS,FAILURE");
        check("success,success", "SUCCESS");
        for text in ["", "NEVER,DELAY", "DELAY,NEVER", "success,", "always", "success delay"] {
            assert!(text.parse::<Notify>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn envelope_ids() {
        // DSN-03, DSN-04, DSN-06, IN-04
        assert_eq!(EnvelopeId::new("a+b=c d").unwrap().as_xtext(), "a+2Bb+3Dc+20d");
        assert!(EnvelopeId::new(&"x".repeat(100)).is_ok());
        assert_eq!(
            EnvelopeId::new(&"x".repeat(101)),
            Err(OptionError::Length { octets: 101, most: 100 })
        );
        // 34 octets, 102 encoded.
        assert!(EnvelopeId::new(&"=".repeat(34)).is_err());
        assert_eq!(EnvelopeId::new(""), Err(OptionError::Empty));
        for c in ['\0', '\r', '\n', '\x7f', '\u{80}', 'ü', '\t'] {
            assert_eq!(EnvelopeId::new(&format!("a{c}b")), Err(OptionError::Character(c)));
        }
    }

    #[track_caller]
    fn check_original(path: &str, expected: &str) {
        let original = OriginalRecipient::new(&path.parse().unwrap()).unwrap();
        assert_eq!(original.as_xtext(), expected);
    }

    #[test]
    fn original_recipients() {
        // DSN-02, DSN-04
        check_original("joe+list@example.com", "rfc822;joe+2Blist@example.com");
        check_original("\"a b\"@example.com", "rfc822;\"a+20b\"@example.com");
        let x400 = OriginalRecipient::with_type("x400", "/C=DE/").unwrap();
        assert_eq!(x400.as_xtext(), "x400;/C+3DDE/");
        assert!(OriginalRecipient::with_type("x 400", "a").is_err());
        assert!(OriginalRecipient::with_type("x", "a\r\nb").is_err()); // CMD-08
        assert!(OriginalRecipient::with_type("x", &"a".repeat(498)).is_ok());
        assert!(OriginalRecipient::with_type("x", &"a".repeat(499)).is_err());
    }

    #[test]
    fn internationalised_original_recipients() {
        // UTF8-08
        check_original("jürgen+x@example.com", "utf-8;j\\x{FC}rgen\\x{2B}x@example.com");
    }
}
