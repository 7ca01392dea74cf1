//! What a server's certificate says, for people.

use serde::Serialize;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

/// Names of one certificate that are told; more of them help nobody.
const MAX_NAMES: usize = 100;

/// A certificate's contents. Nothing in it is checked: that is what
/// [`Proof`](posthaste::connection::Proof) tells.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Certificate {
    /// Its distinguished name.
    pub(super) subject: String,
    /// The host names, wildcards and addresses that it is for.
    pub(super) names: Vec<String>,
    /// Who made it.
    pub(super) issuer: String,
    /// RFC 3339.
    pub(super) not_before: String,
    /// RFC 3339.
    pub(super) not_after: String,
    /// Negative once it has expired.
    pub(super) days_left: i64,
    /// Hexadecimal.
    pub(super) serial: String,
}

impl Certificate {
    /// Reads a certificate (DER); `None` if it is none.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        let left = validity.not_after.timestamp().checked_sub(ASN1Time::now().timestamp())?;
        Some(Self {
            subject: printable(&certificate.subject().to_string()),
            names: names(&certificate),
            issuer: printable(&certificate.issuer().to_string()),
            not_before: rfc3339(validity.not_before),
            not_after: rfc3339(validity.not_after),
            days_left: left.div_euclid(DAY),
            serial: certificate.raw_serial_as_string(),
        })
    }
}

/// Seconds.
const DAY: i64 = 24 * 3600;

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(printable(name)),
        GeneralName::IPAddress(octets) => address(octets),
        _ => None,
    };
    alternatives.value.general_names.iter().filter_map(name).take(MAX_NAMES).collect()
}

fn address(octets: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| std::net::IpAddr::from(octets).to_string());
    let v6 = <[u8; 16]>::try_from(octets).map(|octets| std::net::IpAddr::from(octets).to_string());
    v4.or(v6).ok()
}

fn rfc3339(time: ASN1Time) -> String {
    let time = time.to_datetime();
    let (date, clock) = (time.date(), time.time());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    let (hour, minute, second) = (clock.hour(), clock.minute(), clock.second());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// What anybody may have put into a certificate must neither command a terminal nor turn its writing
/// direction.
fn printable(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || turns(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_none() {
        assert_eq!(Certificate::read(b""), None);
        assert_eq!(Certificate::read(b"0\x82\xff\xff"), None);
    }

    #[test]
    fn names_are_made_safe() {
        assert_eq!(printable("CN=a\x1b[2J\u{202e}b"), "CN=a\u{fffd}[2J\u{fffd}b");
        assert_eq!(printable("CN=jörg"), "CN=jörg");
    }

    #[test]
    fn addresses_have_their_form() {
        assert_eq!(address(&[127, 0, 0, 1]).as_deref(), Some("127.0.0.1"));
        assert_eq!(address(&[0; 16]).as_deref(), Some("::"));
        assert_eq!(address(&[1, 2, 3]), None);
    }
}
