//! Parameters of extensions that this crate does not know.

use super::OptionError;

/// Longest parameter in octets, so that a command with one stays within its 512 (RFC 5321 section 4.5.3.1.4).
const MAX_PARAMETER: usize = 200;

/// `keyword[=value]` on MAIL or RCPT, sent only to servers that offer its extension.
///
/// ```
/// use posthaste_session::Parameter;
///
/// let parameter = Parameter::new("RRVS", "RRVS", Some("2014-04-03T23:01:00Z"))?;
/// assert_eq!(parameter.to_string(), "RRVS=2014-04-03T23:01:00Z");
/// assert!(Parameter::new("X", "X", Some("1\r\nRCPT TO:<x@y>")).is_err());
/// # Ok::<(), posthaste_session::OptionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Parameter {
    extension: Box<str>,
    text: Box<str>,
    keyword: usize,
}

impl Parameter {
    /// A parameter for servers whose EHLO reply has the keyword `extension`.
    ///
    /// # Errors
    ///
    /// When a keyword is not a letter or digit with letters, digits and hyphens behind it, when the value has a
    /// blank, `=` or a character that is not printable ASCII, and when it is too long (RFC 5321 section 4.1.2).
    pub fn new(extension: &str, keyword: &str, value: Option<&str>) -> Result<Self, OptionError> {
        for word in [extension, keyword] {
            check_keyword(word)?;
        }
        let mut text = keyword.to_owned();
        if let Some(value) = value {
            if value.is_empty() {
                return Err(OptionError::Empty);
            }
            if let Some(c) = value.chars().find(|c| !matches!(c, '!'..='<' | '>'..='~')) {
                return Err(OptionError::Character(c));
            }
            text.push('=');
            text.push_str(value);
        }
        if text.len() > MAX_PARAMETER {
            return Err(OptionError::Length { octets: text.len(), most: MAX_PARAMETER });
        }
        Ok(Self { extension: extension.into(), text: text.into(), keyword: keyword.len() })
    }

    /// The EHLO keyword that a server must offer.
    pub fn extension(&self) -> &str {
        &self.extension
    }

    /// The parameter's own keyword.
    pub fn keyword(&self) -> &str {
        &self.text[..self.keyword]
    }
}

impl std::fmt::Display for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn check_keyword(word: &str) -> Result<(), OptionError> {
    let starts_well = word.starts_with(|c: char| c.is_ascii_alphanumeric());
    let is_keyword =
        starts_well && word.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    if is_keyword {
        Ok(())
    } else {
        Err(OptionError::Form("a keyword of letters, digits, hyphens"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_and_values() {
        // CMD-14, CMD-08, IN-04
        assert_eq!(Parameter::new("X-A", "X-A", None).unwrap().to_string(), "X-A");
        assert_eq!(Parameter::new("X", "Y", Some("a+b")).unwrap().to_string(), "Y=a+b");
        for keyword in ["", "-a", "a b", "a=b", "a_b", "ä", "a\r\n"] {
            assert!(Parameter::new("X", keyword, None).is_err(), "{keyword:?}");
            assert!(Parameter::new(keyword, "X", None).is_err(), "{keyword:?}");
        }
        for value in ["", "a b", "a=b", "a\r\nb", "a\0", "\x7f", "ü", "\u{760D}"] {
            assert!(Parameter::new("X", "X", Some(value)).is_err(), "{value:?}");
        }
        assert!(Parameter::new("X", "X", Some(&"v".repeat(198))).is_ok());
        assert!(Parameter::new("X", "X", Some(&"v".repeat(199))).is_err());
    }
}
