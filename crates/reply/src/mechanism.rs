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

/// Makes the list of all mechanisms, their names, and the search for one of them.
macro_rules! mechanisms {
    ($($name:literal => $mechanism:ident),+ $(,)?) => {
        impl Mechanism {
            const ALL: &[Self] = &[$(Self::$mechanism),+];

            /// The registered name, in upper case.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$mechanism => const {
                        match str::from_utf8($name) {
                            Ok(name) => name,
                            Err(_) => panic!(),
                        }
                    },)+
                }
            }

            /// The mechanism with exactly this name.
            // Measured: as patterns, names cost a fraction of what comparing with a list does.
            fn spelled(name: &[u8]) -> Option<Self> {
                match name {
                    $($name => Some(Self::$mechanism),)+
                    _ => None,
                }
            }
        }
    };
}

mechanisms! {
    b"PLAIN" => Plain,
    b"LOGIN" => Login,
    b"CRAM-MD5" => CramMd5,
    b"SCRAM-SHA-1" => ScramSha1,
    b"SCRAM-SHA-1-PLUS" => ScramSha1Plus,
    b"SCRAM-SHA-256" => ScramSha256,
    b"SCRAM-SHA-256-PLUS" => ScramSha256Plus,
    b"XOAUTH2" => XOAuth2,
    b"OAUTHBEARER" => OAuthBearer,
    b"EXTERNAL" => External,
}

impl Mechanism {
    fn named(name: &[u8]) -> Option<Self> {
        find_in_any_case(name, Self::spelled)
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
        Mechanism::ALL.iter().copied().filter(move |mechanism| known & mechanism.bit() != 0)
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
        for mechanism in Mechanism::ALL.iter().copied() {
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
