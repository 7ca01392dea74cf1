//! Mailboxes and paths: what may stand between the angle brackets of MAIL and RCPT.

use std::fmt;
use std::str::FromStr;

use crate::address_error::AddressError;
use crate::domain::Domain;
use crate::text::Text;

/// Longest local-part in octets (RFC 5321 section 4.5.3.1.1).
pub const MAX_LOCAL_PART: usize = 64;
/// Longest path in octets, angle brackets included (RFC 5321 section 4.5.3.1.3).
pub const MAX_PATH: usize = 256;

/// A mailbox, `local-part@domain`, in the form that is written on the wire (RFC 5321 section 4.1.2).
///
/// A value of this type never contains CR, LF, NUL or another control character, whatever it was made from.
/// A local-part that is not a dot-string is quoted; case is kept. A short one needs no memory of its own, and
/// clones of a long one share it.
///
/// ```
/// use posthaste_session::Mailbox;
///
/// let mailbox: Mailbox = "jane.doe@example.com".parse()?;
/// assert_eq!(mailbox.local_part(), "jane.doe");
/// assert_eq!(mailbox.domain(), "example.com");
///
/// assert!("jane@example.com\r\nRCPT TO:<x@y>".parse::<Mailbox>().is_err());
/// # Ok::<(), posthaste_session::AddressError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Mailbox(Text);

impl Mailbox {
    /// Makes a mailbox from the bare local-part (without quotes or escapes) and a domain.
    ///
    /// # Errors
    ///
    /// When the local-part is empty, too long or has a control character.
    pub fn new(local_part: &str, domain: &Domain) -> Result<Self, AddressError> {
        if local_part.is_empty() {
            return Err(AddressError::Shape);
        }
        if let Some(c) = local_part.chars().find(|c| c.is_control()) {
            return Err(AddressError::Control(c));
        }
        if local_part.len() > MAX_LOCAL_PART {
            return Err(AddressError::LocalTooLong);
        }
        let mut text = String::with_capacity(local_part.len() + 1 + domain.as_str().len());
        if is_dot_string(local_part) {
            text.push_str(local_part);
        } else {
            push_quoted(&mut text, local_part);
        }
        text.push('@');
        text.push_str(domain.as_str());
        if text.len() + 2 > MAX_PATH {
            return Err(AddressError::TooLong);
        }
        Ok(Self(text.as_str().into()))
    }

    /// The whole mailbox as it stands between the angle brackets.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The same as octets, which costs less.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The local-part as written, quotes included.
    pub fn local_part(&self) -> &str {
        self.parts().0
    }

    /// The domain, or the address literal.
    pub fn domain(&self) -> &str {
        self.parts().1
    }

    /// No domain has an `@` in it, so the last one is the one between the two.
    fn parts(&self) -> (&str, &str) {
        self.as_str().rsplit_once('@').unwrap_or((self.as_str(), ""))
    }

    /// Whether a server must support SMTPUTF8 to take this mailbox (RFC 6531 section 3.4).
    pub fn needs_smtputf8(&self) -> bool {
        !self.0.is_ascii()
    }
}

impl FromStr for Mailbox {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(c) = text.chars().find(|c| c.is_control()) {
            return Err(AddressError::Control(c));
        }
        let (local_part, domain) = if text.starts_with('"') {
            split_quoted(text)?
        } else {
            let (local_part, domain) = text.rsplit_once('@').ok_or(AddressError::Shape)?;
            if let Some(c) = local_part.chars().find(|c| !is_atext(*c) && *c != '.') {
                return Err(AddressError::LocalCharacter(c));
            }
            if !is_dot_string(local_part) {
                return Err(AddressError::Shape);
            }
            (local_part.to_owned(), domain)
        };
        Self::new(&local_part, &domain.parse()?)
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({})", self.as_str())
    }
}

/// Where a mail comes from: a mailbox, or nobody (RFC 5321 section 4.5.5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: no notification may be sent about this mail.
    #[default]
    Null,
    /// The mailbox that gets to hear of failures.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// What stands between the angle brackets; empty for the null reverse-path.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Null => "",
            Self::Mailbox(mailbox) => mailbox.as_str(),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Null => b"",
            Self::Mailbox(mailbox) => mailbox.as_bytes(),
        }
    }

    pub(crate) fn needs_smtputf8(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Mailbox(mailbox) => mailbox.needs_smtputf8(),
        }
    }
}

impl FromStr for ReversePath {
    type Err = AddressError;

    /// Reads a mailbox; the empty text and `<>` are the null reverse-path.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" | "<>" => Ok(Self::Null),
            text => text.parse().map(Self::Mailbox),
        }
    }
}

impl From<Mailbox> for ReversePath {
    fn from(mailbox: Mailbox) -> Self {
        Self::Mailbox(mailbox)
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.as_str())
    }
}

/// Where a mail goes: a mailbox, or the server's own postmaster (RFC 5321 section 4.1.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ForwardPath {
    /// `<Postmaster>`, without a domain.
    Postmaster,
    /// An ordinary recipient.
    Mailbox(Mailbox),
}

impl ForwardPath {
    /// What stands between the angle brackets.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Postmaster => "Postmaster",
            Self::Mailbox(mailbox) => mailbox.as_str(),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Postmaster => b"Postmaster",
            Self::Mailbox(mailbox) => mailbox.as_bytes(),
        }
    }

    pub(crate) fn needs_smtputf8(&self) -> bool {
        match self {
            Self::Postmaster => false,
            Self::Mailbox(mailbox) => mailbox.needs_smtputf8(),
        }
    }
}

impl FromStr for ForwardPath {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.eq_ignore_ascii_case("postmaster") {
            return Ok(Self::Postmaster);
        }
        text.parse().map(Self::Mailbox)
    }
}

impl From<Mailbox> for ForwardPath {
    fn from(mailbox: Mailbox) -> Self {
        Self::Mailbox(mailbox)
    }
}

impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `atext` of RFC 5322 section 3.2.3, with the non-ASCII characters of RFC 6531 section 3.3.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(c)
        || (!c.is_ascii() && !c.is_control())
}

/// `Dot-string = Atom *("." Atom)` (RFC 5321 section 4.1.2).
fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// `Quoted-string` (RFC 5321 section 4.1.2): only `"` and `\` need a backslash.
fn push_quoted(out: &mut String, local_part: &str) {
    out.push('"');
    for c in local_part.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// Splits `"local part"@domain` into the bare local-part and the domain.
fn split_quoted(text: &str) -> Result<(String, &str), AddressError> {
    let mut local_part = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => {
                let domain = text[index + 1..].strip_prefix('@').ok_or(AddressError::Quote)?;
                return Ok((local_part, domain));
            }
            '\\' => local_part.push(chars.next().ok_or(AddressError::Quote)?.1),
            c => local_part.push(c),
        }
    }
    Err(AddressError::Quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expected: &str) {
        let mailbox: Mailbox = input.parse().unwrap_or_else(|error| panic!("{input:?}: {error}"));
        assert_eq!(mailbox.as_str(), expected);
        assert_eq!(mailbox.as_str().parse::<Mailbox>().unwrap(), mailbox, "reads itself");
    }

    #[track_caller]
    fn refuse(input: &str, expected: AddressError) {
        assert_eq!(input.parse::<Mailbox>(), Err(expected), "{input:?}");
    }

    #[test]
    fn mailboxes() {
        check("JoE@EX.com", "JoE@EX.com"); // CMD-10
        check("a+b.c@x.example", "a+b.c@x.example");
        check("\"a b\"@x", "\"a b\"@x"); // CMD-09
        check("\"a.b\"@x", "a.b@x"); // CMD-09
        check("\"a.\"@x", "\"a.\"@x"); // CMD-09
        check(r#""a\"\\b@c"@x"#, r#""a\"\\b@c"@x"#);
        check("ü@bücher.example", "ü@xn--bcher-kva.example");
        check("u@[127.0.0.1]", "u@[127.0.0.1]"); // CMD-12
    }

    #[test]
    fn not_mailboxes() {
        refuse("", AddressError::Shape);
        refuse("a", AddressError::Shape);
        refuse("@x", AddressError::Shape);
        refuse("a.@x", AddressError::Shape);
        refuse("a@b@x", AddressError::LocalCharacter('@'));
        refuse("a b@x", AddressError::LocalCharacter(' '));
        refuse("a@b>,<c@d", AddressError::LocalCharacter('@')); // IN-07
        refuse("a@b> NOTIFY=NEVER", AddressError::DomainCharacter('>')); // IN-07
        refuse("@a,@b:c@d", AddressError::LocalCharacter('@')); // CMD-11
        refuse("a@b>\r\nRCPT TO:<evil@x", AddressError::Control('\r')); // IN-01
        refuse("\"a\r\nDATA\"@b", AddressError::Control('\r')); // IN-02
        refuse("a\0@b", AddressError::Control('\0')); // IN-05
        refuse("a\u{7f}@b", AddressError::Control('\u{7f}')); // IN-05
        refuse("a\u{85}@b", AddressError::Control('\u{85}')); // IN-05, C1
        refuse("\"a@b", AddressError::Quote);
        refuse("\"a\"b@c", AddressError::Quote);
        refuse("u@example.com.", AddressError::Label); // CMD-15
    }

    #[test]
    fn lengths() {
        let local = "l".repeat(MAX_LOCAL_PART);
        assert!(format!("{local}@x").parse::<Mailbox>().is_ok()); // CMD-06
        refuse(&format!("l{local}@x"), AddressError::LocalTooLong);
        let domain = format!("{}.{}.{}", "d".repeat(63), "d".repeat(63), "d".repeat(61));
        assert!(format!("{local}@{domain}").parse::<Mailbox>().is_ok());
        refuse(&format!("{local}@{domain}d"), AddressError::TooLong);
    }

    #[test]
    fn paths() {
        assert_eq!("".parse(), Ok(ReversePath::Null)); // CMD-04
        assert_eq!("<>".parse(), Ok(ReversePath::Null));
        assert_eq!("Postmaster".parse(), Ok(ForwardPath::Postmaster)); // CMD-13
        assert!("a@b".parse::<ForwardPath>().is_ok());
    }

    #[test]
    fn code_points_that_end_in_cr_and_lf_are_not_narrowed() {
        // CMD-16, IN-06: the low octets of these are CR and LF.
        let mailbox: Mailbox = "a\u{760d}\u{760a}b@x".parse().unwrap();
        assert!(!mailbox.as_str().bytes().any(|b| b == b'\r' || b == b'\n'));
        assert!(mailbox.needs_smtputf8());
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_parses_can_break_a_line(text in "[\\PC\r\n\t\0<>@\" .a-z]{0,40}") {
            if let Ok(mailbox) = text.parse::<Mailbox>() {
                assert!(!mailbox.as_str().chars().any(char::is_control));
                assert_eq!(mailbox.as_str().parse::<Mailbox>().unwrap(), mailbox);
            }
        }
    }
}
