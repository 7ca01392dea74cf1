//! Domains and the client's own name, checked so that they are safe to write on the wire.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::address_error::AddressError;

/// Longest domain in octets (RFC 5321 section 4.5.3.1.2).
pub const MAX_DOMAIN: usize = 255;
/// Longest label of a domain name in octets (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;

/// A domain as it stands behind the `@` of a mailbox: a name in its ASCII form, or an address literal.
///
/// A name with non-ASCII letters is converted to A-labels (RFC 5890), which every server understands.
///
/// ```
/// use posthaste_session::Domain;
///
/// assert_eq!("bücher.example".parse::<Domain>()?.as_str(), "xn--bcher-kva.example");
/// assert_eq!("[127.0.0.1]".parse::<Domain>()?.as_str(), "[127.0.0.1]");
/// assert!("a b".parse::<Domain>().is_err());
/// # Ok::<(), posthaste_session::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Domain(Box<str>);

impl Domain {
    /// The domain as it is written on the wire, always ASCII.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is an address literal such as `[192.0.2.1]`.
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }
}

impl FromStr for Domain {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(literal) = text.strip_prefix('[') {
            let literal = literal.strip_suffix(']').ok_or(AddressError::Literal)?;
            return Ok(Self(address_literal(parse_literal(literal)?).into()));
        }
        if text.is_ascii() {
            check_name(text)?;
            return Ok(Self(text.into()));
        }
        let ascii = idna::domain_to_ascii_strict(text).map_err(|_| AddressError::Idna)?;
        check_name(&ascii)?;
        Ok(Self(ascii.into()))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the client calls itself in EHLO and HELO: a host name or an address literal (RFC 5321 section 4.1.1.1).
///
/// Stricter than [`Domain`]: only letters, digits and hyphens, since many servers refuse anything else here. A bare
/// address becomes a literal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientName(Domain);

impl ClientName {
    /// The name as it is written behind EHLO.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for ClientName {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        let domain: Domain = text.parse()?;
        if !domain.is_literal() && domain.as_str().contains('_') {
            return Err(AddressError::DomainCharacter('_'));
        }
        Ok(Self(domain))
    }
}

impl From<IpAddr> for ClientName {
    fn from(address: IpAddr) -> Self {
        Self(Domain(address_literal(address).into()))
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `Domain = sub-domain *("." sub-domain)` (RFC 5321 section 4.1.2), with `_` let through because
/// mailboxes below such names exist.
fn check_name(name: &str) -> Result<(), AddressError> {
    if name.len() > MAX_DOMAIN {
        return Err(AddressError::DomainTooLong);
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > MAX_LABEL {
            return Err(AddressError::Label);
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(AddressError::Label);
        }
        let odd = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        if let Some(c) = label.chars().find(odd) {
            return Err(AddressError::DomainCharacter(c));
        }
    }
    Ok(())
}

fn parse_literal(literal: &str) -> Result<IpAddr, AddressError> {
    let is_v6 = literal.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    let address = if is_v6 {
        literal[5..].parse::<Ipv6Addr>().map(IpAddr::V6)
    } else {
        literal.parse::<Ipv4Addr>().map(IpAddr::V4)
    };
    address.map_err(|_| AddressError::Literal)
}

/// `address-literal = "[" ( IPv4-address-literal / IPv6-address-literal ) "]"` (RFC 5321 section 4.1.3).
fn address_literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expected: Result<&str, AddressError>) {
        let got = input.parse::<Domain>();
        assert_eq!(got.as_ref().map(Domain::as_str), expected.as_ref().copied());
    }

    #[test]
    fn names() {
        check("example.com", Ok("example.com"));
        check("EX.com", Ok("EX.com"));
        check("localhost", Ok("localhost"));
        check("a_b.example", Ok("a_b.example"));
        check("", Err(AddressError::Label));
        check("a..b", Err(AddressError::Label));
        check("example.com.", Err(AddressError::Label)); // CMD-15
        check("-a.example", Err(AddressError::Label));
        check("a b", Err(AddressError::DomainCharacter(' ')));
        check("a\r\nMAIL", Err(AddressError::DomainCharacter('\r'))); // IN-03
        check(&"a".repeat(64), Err(AddressError::Label)); // IN-15
        check(&vec!["a".repeat(63); 5].join("."), Err(AddressError::DomainTooLong));
    }

    #[test]
    fn idn_becomes_a_labels() {
        check("bücher.example", Ok("xn--bcher-kva.example")); // UTF8-03
        check("a\u{760d}\u{760a}.example", Ok("xn--a-qe3ci.example")); // IN-06
    }

    #[test]
    fn literals() {
        check("[127.0.0.1]", Ok("[127.0.0.1]")); // CMD-12
        check("[IPv6:::1]", Ok("[IPv6:::1]"));
        check("[ipv6:2001:db8::1]", Ok("[IPv6:2001:db8::1]"));
        check("[::1]", Err(AddressError::Literal));
        check("[127.0.0.1", Err(AddressError::Literal));
        check("[x]", Err(AddressError::Literal));
    }

    #[test]
    fn client_names() {
        assert_eq!("mail.example".parse::<ClientName>().unwrap().as_str(), "mail.example");
        assert_eq!(
            "bücher.example".parse::<ClientName>().unwrap().as_str(),
            "xn--bcher-kva.example"
        ); // EHLO-08
        for bad in ["a_b", "a b", "x\r\nMAIL FROM:<e@e>", ""] {
            assert!(bad.parse::<ClientName>().is_err(), "{bad:?}"); // EHLO-07, IN-03
        }
        assert_eq!(ClientName::from(IpAddr::from([192, 0, 2, 1])).as_str(), "[192.0.2.1]");
        assert_eq!(ClientName::from(IpAddr::from(Ipv6Addr::LOCALHOST)).as_str(), "[IPv6:::1]"); // EHLO-06
    }
}
