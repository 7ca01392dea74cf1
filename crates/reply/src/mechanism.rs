//! SASL mechanisms as servers offer them (RFC 4954, 3).

use std::fmt;
use std::str::FromStr;

use crate::keyword::find_in_any_case;
use crate::parameters::tokens;

/// A SASL mechanism that this project knows.
///
/// Complete on purpose: whoever adds one decides in every layer what it means there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mechanism {
    /// PLAIN (RFC 4616).
    Plain,
    /// LOGIN (draft-murchison-sasl-login, obsolete and everywhere).
    Login,
    /// CRAM-MD5 (RFC 2195).
    CramMd5,
    /// SCRAM-SHA-1 (RFC 5802).
    ScramSha1,
    /// SCRAM-SHA-1-PLUS, with channel binding (RFC 5802).
    ScramSha1Plus,
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
    /// SCRAM-SHA-256-PLUS, with channel binding (RFC 7677).
    ScramSha256Plus,
    /// XOAUTH2 (Google, Microsoft).
    XOAuth2,
    /// OAUTHBEARER (RFC 7628).
    OAuthBearer,
    /// EXTERNAL: the TLS client certificate (RFC 4422, appendix A).
    External,
}

impl Mechanism {
    const ALL: [Self; 10] = [
        Self::Plain,
        Self::Login,
        Self::CramMd5,
        Self::ScramSha1,
        Self::ScramSha1Plus,
        Self::ScramSha256,
        Self::ScramSha256Plus,
        Self::XOAuth2,
        Self::OAuthBearer,
        Self::External,
    ];

    /// The registered name, in upper case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::CramMd5 => "CRAM-MD5",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::ScramSha1Plus => "SCRAM-SHA-1-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::XOAuth2 => "XOAUTH2",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::External => "EXTERNAL",
        }
    }

    fn named(name: &[u8]) -> Option<Self> {
        find_in_any_case(name, |name| {
            Self::ALL.into_iter().find(|known| known.name().as_bytes() == name)
        })
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl FromStr for Mechanism {
    type Err = UnknownMechanism;

    /// Reads a name without regard to case.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::named(name.as_bytes()).ok_or(UnknownMechanism)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is none of a [`Mechanism`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownMechanism;

impl fmt::Display for UnknownMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected the name of a known SASL mechanism, got another one")
    }
}

impl std::error::Error for UnknownMechanism {}

/// The SASL mechanisms that a server offers.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AuthMechanisms {
    known: u16,
    /// Names of the others, each followed by a space.
    others: String,
}

impl AuthMechanisms {
    /// Adds the names of a blank-separated list.
    pub(crate) fn add_list(&mut self, list: &[u8]) {
        for name in tokens(list) {
            if let Some(mechanism) = Mechanism::named(name) {
                self.known |= mechanism.bit();
            } else if let Ok(other) = str::from_utf8(name)
                && name.iter().all(u8::is_ascii_graphic)
            {
                self.others.push_str(other);
                self.others.push(' ');
            }
            // Anything else cannot be the name of a mechanism, so nobody can ask for it.
        }
    }

    /// Whether the server offers `mechanism`.
    pub const fn contains(&self, mechanism: Mechanism) -> bool {
        self.known & mechanism.bit() != 0
    }

    /// Whether the server offers none, known or not.
    pub fn is_empty(&self) -> bool {
        self.known == 0 && self.others.is_empty()
    }

    /// The known mechanisms, in the order of [`Mechanism`].
    pub fn iter(&self) -> impl Iterator<Item = Mechanism> + use<> {
        let known = self.known;
        Mechanism::ALL.into_iter().filter(move |mechanism| known & mechanism.bit() != 0)
    }

    /// The names of the other mechanisms, in the order and spelling of the server.
    pub fn others(&self) -> impl Iterator<Item = &str> {
        self.others.split_terminator(' ')
    }
}

impl fmt::Display for AuthMechanisms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = self.others();
        let names = self.iter().map(|known| known.name()).chain(others);
        for (at, name) in names.enumerate() {
            write!(f, "{}{name}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl fmt::Debug for AuthMechanisms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthMechanisms({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case() {
        for mechanism in Mechanism::ALL {
            assert_eq!(mechanism.name().parse(), Ok(mechanism));
            assert_eq!(mechanism.name().to_lowercase().parse(), Ok(mechanism));
            assert_eq!(mechanism.to_string(), mechanism.name());
        }
        for name in ["", "PLAI", "PLAIN2", "SCRAM-SHA-512", "A-NAME-LONGER-THAN-ANY-OTHER"] {
            assert_eq!(name.parse::<Mechanism>(), Err(UnknownMechanism));
        }
    }

    #[test]
    fn lists_are_sets() {
        let mut mechanisms = AuthMechanisms::default();
        assert!(mechanisms.is_empty());
        mechanisms.add_list(b"login  PLAIN\tNTLM PLAIN \xff\xfe a\0b");
        mechanisms.add_list(b"XOAUTH2");
        assert!(mechanisms.contains(Mechanism::Login));
        assert!(!mechanisms.contains(Mechanism::CramMd5));
        let known: Vec<_> = mechanisms.iter().collect();
        assert_eq!(known, [Mechanism::Plain, Mechanism::Login, Mechanism::XOAuth2]);
        assert_eq!(mechanisms.others().collect::<Vec<_>>(), ["NTLM"]);
        assert_eq!(mechanisms.to_string(), "PLAIN LOGIN XOAUTH2 NTLM");
    }
}
