//! `Name <local-part@domain>`: what people write for a mailbox (RFC 5322 section 3.4).

use std::convert::Infallible;
use std::fmt;
use std::iter::Peekable;
use std::mem;
use std::str::{CharIndices, FromStr};

use posthaste_session::{AddressError, Mailbox};

/// Why a text is not a list of mailboxes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamedMailboxError {
    /// A control character, which could end the header line.
    #[error("control character {0:?} is not allowed in a name or an address")]
    Control(char),
    /// What stands for the address is none.
    #[error("{text:?} is not an address")]
    Address {
        /// The text that was taken for the address.
        text: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// A quote, angle bracket, comment or group that is not closed.
    #[error("{0:?} is opened and never closed")]
    Unclosed(char),
    /// Something between the address and the next comma.
    #[error("expected a comma or the end, got {0:?}")]
    Unexpected(char),
    /// A list where one mailbox was expected. An unquoted comma in a name also makes a list.
    #[error("expected one mailbox, got {0} (a name with a comma must stand in quotes)")]
    NotOne(usize),
}

impl From<Infallible> for NamedMailboxError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// A mailbox with the name that mail readers show for it.
///
/// Neither contains a control character. The name is plain text: quoting and encoding for the
/// header section are done when a mail is built.
///
/// ```
/// use posthaste::compose::NamedMailbox;
///
/// let jörg: NamedMailbox = "Jörg Müller <joerg@example.com>".parse()?;
/// assert_eq!(jörg.name(), Some("Jörg Müller"));
/// assert_eq!(jörg.mailbox().as_str(), "joerg@example.com");
///
/// let both = NamedMailbox::parse_list(r#""Doe, Jane" <jane@example.com>, bob@example.com"#)?;
/// assert_eq!(both[0].name(), Some("Doe, Jane"));
/// assert_eq!(both[1].name(), None);
/// # Ok::<(), posthaste::compose::NamedMailboxError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedMailbox {
    name: Option<Box<str>>,
    mailbox: Mailbox,
}

impl NamedMailbox {
    /// Puts a name to a mailbox; an empty name is none.
    ///
    /// # Errors
    ///
    /// When the name has a control character in it.
    pub fn new(name: &str, mailbox: Mailbox) -> Result<Self, NamedMailboxError> {
        if let Some(c) = name.chars().find(|c| c.is_control()) {
            return Err(NamedMailboxError::Control(c));
        }
        let name = name.trim();
        Ok(Self { name: (!name.is_empty()).then(|| name.into()), mailbox })
    }

    /// Reads any number of mailboxes separated by commas, as they stand behind `To:`.
    ///
    /// Groups (`team: a@x, b@x;`) give their members, comments in parentheses are left out, and
    /// the text may be empty. Takes time in proportion to the text's length and does not recurse.
    ///
    /// # Errors
    ///
    /// When any part of the text is not understood: a mailbox is never guessed.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, NamedMailboxError> {
        if let Some(c) = text.chars().find(|c| c.is_control()) {
            return Err(NamedMailboxError::Control(c));
        }
        ListParser { rest: text.char_indices().peekable(), text, mailboxes: Vec::new() }.parse()
    }

    /// The name, where there is one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The mailbox itself.
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Drops the name.
    pub fn into_mailbox(self) -> Mailbox {
        self.mailbox
    }
}

impl FromStr for NamedMailbox {
    type Err = NamedMailboxError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut mailboxes = Self::parse_list(text)?;
        match (mailboxes.pop(), mailboxes.len()) {
            (Some(mailbox), 0) => Ok(mailbox),
            (Some(_), others) => Err(NamedMailboxError::NotOne(others + 1)),
            (None, _) => Err(NamedMailboxError::NotOne(0)),
        }
    }
}

impl TryFrom<&str> for NamedMailbox {
    type Error = NamedMailboxError;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Mailbox> for NamedMailbox {
    fn from(mailbox: Mailbox) -> Self {
        Self { name: None, mailbox }
    }
}

impl fmt::Display for NamedMailbox {
    /// Writes what [`FromStr`] reads: the name quoted, in plain UTF-8.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(name) = &self.name else { return write!(f, "<{}>", self.mailbox) };
        write!(f, "\"{}\" <{}>", name.replace('\\', r"\\").replace('"', "\\\""), self.mailbox)
    }
}

/// Goes over the text once, from delimiter to delimiter.
struct ListParser<'a> {
    text: &'a str,
    rest: Peekable<CharIndices<'a>>,
    mailboxes: Vec<NamedMailbox>,
}

/// What was read of one list element.
#[derive(Default)]
struct Element {
    /// Outside of angle brackets as written: the address, if there are no angle brackets.
    bare: String,
    /// The same without quotes and escapes: the name, if there are.
    name: String,
    /// Between the angle brackets.
    angle: Option<String>,
}

impl ListParser<'_> {
    fn parse(mut self) -> Result<Vec<NamedMailbox>, NamedMailboxError> {
        let mut element = Element::default();
        let mut in_group = false;
        while let Some((_, c)) = self.rest.next() {
            match c {
                ',' => self.finish(mem::take(&mut element))?,
                ';' if in_group => {
                    self.finish(mem::take(&mut element))?;
                    in_group = false;
                }
                ':' if !in_group && element.angle.is_none() => {
                    // What came before was the group's name.
                    element = Element::default();
                    in_group = true;
                }
                '(' => self.skip_comment()?,
                ' ' => element.push_space(),
                c if element.angle.is_some() => return Err(NamedMailboxError::Unexpected(c)),
                '<' => element.angle = Some(self.until_closed('<', '>')?),
                '"' => self.quoted(&mut element)?,
                '[' => element.push(&format!("[{}]", self.until_closed('[', ']')?)),
                c => element.push_char(c),
            }
        }
        if in_group {
            return Err(NamedMailboxError::Unclosed(':'));
        }
        self.finish(element)?;
        Ok(self.mailboxes)
    }

    /// Ends a list element; one with nothing in it is left out (RFC 5322 section 4.4).
    fn finish(&mut self, element: Element) -> Result<(), NamedMailboxError> {
        let (name, address) = match &element.angle {
            Some(address) => (element.name.as_str(), address.as_str()),
            None if element.bare.trim().is_empty() => return Ok(()),
            None => ("", element.bare.as_str()),
        };
        let address = address.trim();
        let mailbox = address
            .parse()
            .map_err(|source| NamedMailboxError::Address { text: address.to_owned(), source })?;
        self.mailboxes.push(NamedMailbox::new(name, mailbox)?);
        Ok(())
    }

    /// `comment = "(" *([FWS] ccontent) [FWS] ")"`, which nests (RFC 5322 section 3.2.2).
    fn skip_comment(&mut self) -> Result<(), NamedMailboxError> {
        let mut depth = 1_usize;
        while let Some((_, c)) = self.rest.next() {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                '\\' => drop(self.rest.next()),
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
        Err(NamedMailboxError::Unclosed('('))
    }

    /// What stands before `close`, quoted strings in it kept as they are.
    fn until_closed(&mut self, open: char, close: char) -> Result<String, NamedMailboxError> {
        let start = self.rest.peek().map_or(self.text.len(), |(index, _)| *index);
        let mut in_quotes = false;
        while let Some((index, c)) = self.rest.next() {
            match c {
                '"' => in_quotes = !in_quotes,
                '\\' if in_quotes => drop(self.rest.next()),
                c if c == close && !in_quotes => {
                    return Ok(self.text.get(start..index).unwrap_or_default().to_owned());
                }
                _ => {}
            }
        }
        Err(NamedMailboxError::Unclosed(open))
    }

    /// `quoted-string` behind its opening quote (RFC 5322 section 3.2.4).
    fn quoted(&mut self, element: &mut Element) -> Result<(), NamedMailboxError> {
        element.bare.push('"');
        while let Some((_, c)) = self.rest.next() {
            element.bare.push(c);
            match c {
                '"' => return Ok(()),
                '\\' => {
                    let Some((_, escaped)) = self.rest.next() else { break };
                    element.push_char(escaped);
                }
                c => element.name.push(c),
            }
        }
        Err(NamedMailboxError::Unclosed('"'))
    }
}

impl Element {
    fn push(&mut self, text: &str) {
        self.bare.push_str(text);
        self.name.push_str(text);
    }

    fn push_char(&mut self, c: char) {
        self.bare.push(c);
        self.name.push(c);
    }

    /// Any number of spaces is one; ideographic and unbreakable ones are letters of the name.
    fn push_space(&mut self) {
        if !self.bare.is_empty() && !self.bare.ends_with(' ') {
            self.push_char(' ');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let mailboxes = NamedMailbox::parse_list(text).unwrap();
        let got: Vec<_> = mailboxes
            .iter()
            .map(|mailbox| (mailbox.name().unwrap_or_default(), mailbox.mailbox().as_str()))
            .collect();
        assert_eq!(got, expected, "{text:?}");
        for mailbox in &mailboxes {
            assert_eq!(mailbox.to_string().parse::<NamedMailbox>().as_ref(), Ok(mailbox));
        }
    }

    #[track_caller]
    fn refuse(text: &str, expected: NamedMailboxError) {
        assert_eq!(NamedMailbox::parse_list(text), Err(expected), "{text:?}");
    }

    fn address(text: &str, source: AddressError) -> NamedMailboxError {
        NamedMailboxError::Address { text: text.to_owned(), source }
    }

    #[test]
    fn lists() {
        check("", &[]);
        check(" , ,", &[]);
        check("a@b", &[("", "a@b")]);
        check("<a@b>", &[("", "a@b")]);
        check("Jörg Müller <j@x>, 日本 <n@x>", &[("Jörg Müller", "j@x"), ("日本", "n@x")]);
        check(r#""Doe, \"J\\\" Jane" <j@x>"#, &[(r#"Doe, "J\" Jane"#, "j@x")]);
        check("Dr.   J. R. O'Neil <j@x>", &[("Dr. J. R. O'Neil", "j@x")]);
        check(r#""a b"@x, <"c>d"@x>"#, &[("", r#""a b"@x"#), ("", r#""c>d"@x"#)]);
        check("u@[IPv6:::1], <v@[127.0.0.1]>", &[("", "u@[IPv6:::1]"), ("", "v@[127.0.0.1]")]);
    }

    #[test]
    fn groups_and_comments() {
        check("undisclosed-recipients:;", &[]);
        check("team: a@x, Bob <b@x>;, c@x", &[("", "a@x"), ("Bob", "b@x"), ("", "c@x")]);
        check("a@x (Ann (the \\) first)), b@x", &[("", "a@x"), ("", "b@x")]);
        check("(hi) Ann (the first) <a@x> (bye)", &[("Ann", "a@x")]);
    }

    #[test]
    fn confusing_lists_are_refused() {
        // IN-07, IN-09
        refuse(
            "a@b> NOTIFY=NEVER",
            address("a@b> NOTIFY=NEVER", AddressError::DomainCharacter('>')),
        );
        refuse("<a@b> x", NamedMailboxError::Unexpected('x'));
        refuse("<a@b><c@d>", NamedMailboxError::Unexpected('<'));
        refuse("<a@b", NamedMailboxError::Unclosed('<'));
        refuse("\"a <a@b>", NamedMailboxError::Unclosed('"'));
        refuse("a@b (", NamedMailboxError::Unclosed('('));
        refuse("team: a@b", NamedMailboxError::Unclosed(':'));
        refuse("Doe, Jane <j@x>", address("Doe", AddressError::Shape));
        refuse("<>", address("", AddressError::Shape));
        refuse("<@a,@b:c@d>", address("@a,@b:c@d", AddressError::LocalCharacter('@')));
        refuse("a\r\nBcc: b@x", NamedMailboxError::Control('\r')); // IN-14
        refuse("\"a\r\n b\" <a@x>", NamedMailboxError::Control('\r')); // IN-02
        refuse("a\0 <a@x>", NamedMailboxError::Control('\0')); // IN-05
        assert_eq!("a@b, c@d".parse::<NamedMailbox>(), Err(NamedMailboxError::NotOne(2)));
        assert_eq!("".parse::<NamedMailbox>(), Err(NamedMailboxError::NotOne(0)));
    }

    #[test]
    fn names_that_nest_deeply_take_linear_time() {
        // IN-10
        refuse(&"(".repeat(100_000), NamedMailboxError::Unclosed('('));
        check(&("(".repeat(100_000) + &")".repeat(100_000) + "a@b"), &[("", "a@b")]);
        refuse(&"a:".repeat(100_000), NamedMailboxError::Unclosed(':'));
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_is_written_and_read_again(text in r#"[a-zü,;:<>()\[\]"\\@. \PC\r\n]{0,60}"#) {
            let Ok(mailboxes) = NamedMailbox::parse_list(&text) else { return Ok(()) };
            let written: Vec<_> = mailboxes.iter().map(ToString::to_string).collect();
            assert!(written.iter().all(|text| !text.contains(char::is_control)));
            assert_eq!(NamedMailbox::parse_list(&written.join(", ")).unwrap(), mailboxes);
        }
    }
}
