//! Parameters of EHLO keywords, each as its RFC has it.

use std::fmt;
use std::time::Duration;

use crate::grammar::is_blank;

/// SIZE (RFC 1870).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Octets of the largest content; `None` where the server does not say, says 0 or says
    /// something that is not a number.
    pub limit: Option<u64>,
}

impl Size {
    pub(crate) fn parse(parameters: &[u8]) -> Self {
        let limit = tokens(parameters).next().and_then(decimal);
        Self { limit: limit.filter(|&limit| limit > 0) }
    }
}

/// DELIVERBY (RFC 2852).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliverBy {
    /// The shortest time that the server accepts for mode R, if it says so.
    pub minimum: Option<Duration>,
}

impl DeliverBy {
    pub(crate) fn parse(parameters: &[u8]) -> Self {
        let minimum = tokens(parameters).next().and_then(|token| {
            // Extension tokens may follow the number behind a comma.
            let seconds = token.split(|&octet| octet == b',').next()?;
            seconds_of_nine_digits(seconds)
        });
        Self { minimum }
    }
}

/// FUTURERELEASE (RFC 4865).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FutureRelease {
    /// The longest time that the server holds a mail, if it says so.
    pub maximum: Option<Duration>,
    /// The latest time until which it holds one, if it says so in UTC: `2030-01-01T00:00:00Z`, so that earlier ones
    /// are less.
    pub latest: Option<[u8; 20]>,
}

impl FutureRelease {
    pub(crate) fn parse(parameters: &[u8]) -> Self {
        let mut tokens = tokens(parameters);
        let maximum = tokens.next().and_then(seconds_of_nine_digits);
        let latest = tokens.next().and_then(|token| token.try_into().ok()).filter(is_utc_time);
        Self { maximum, latest }
    }
}

fn is_utc_time(token: &[u8; 20]) -> bool {
    const FORM: &[u8; 20] = b"0000-00-00T00:00:00Z";
    token.iter().zip(FORM).all(|(octet, form)| match form {
        b'0' => octet.is_ascii_digit(),
        form => octet == form,
    })
}

/// LIMITS (RFC 9422). Each is from 1 to 999999.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits9422 {
    /// MAILMAX: MAIL commands in one session.
    pub mail_max: Option<u32>,
    /// RCPTMAX: RCPT commands in one mail transaction.
    pub rcpt_max: Option<u32>,
    /// RCPTDOMAINMAX: different domains among the recipients.
    pub rcpt_domain_max: Option<u32>,
}

impl Limits9422 {
    /// Reads the list; a syntax error anywhere disables all of it (RFC 9422, 3).
    ///
    /// ```abnf
    /// limits-param     = limit-name-value *( SP limit-name-value )
    /// limit-name-value = limit-name [ "=" limit-value ]
    /// limit-name       = 1*( ALPHA / DIGIT / "-" / "_" )
    /// limit-value      = 1*( %x21-3A / %x3C-7E ) ; VCHAR except ";"
    /// ```
    pub(crate) fn parse(parameters: &[u8]) -> Self {
        let mut limits = Self::default();
        for token in tokens(parameters) {
            let mut parts = token.splitn(2, |&octet| octet == b'=');
            let name = parts.next().unwrap_or_default();
            let value = parts.next();
            let is_name = !name.is_empty() && name.iter().all(is_limit_name_octet);
            let is_value = value.is_none_or(|value| {
                !value.is_empty() && value.iter().all(|&o| o.is_ascii_graphic() && o != b';')
            });
            if !is_name || !is_value {
                return Self::default();
            }
            if let Some(limit) = limits.named(name) {
                *limit = value.and_then(limit_of_six_digits);
            }
        }
        limits
    }

    fn named(&mut self, name: &[u8]) -> Option<&mut Option<u32>> {
        if name.eq_ignore_ascii_case(b"MAILMAX") {
            Some(&mut self.mail_max)
        } else if name.eq_ignore_ascii_case(b"RCPTMAX") {
            Some(&mut self.rcpt_max)
        } else if name.eq_ignore_ascii_case(b"RCPTDOMAINMAX") {
            Some(&mut self.rcpt_domain_max)
        } else {
            None
        }
    }
}

impl fmt::Display for Limits9422 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = [
            ("MAILMAX", self.mail_max),
            ("RCPTMAX", self.rcpt_max),
            ("RCPTDOMAINMAX", self.rcpt_domain_max),
        ];
        let limits = limits.into_iter().filter_map(|(name, limit)| Some((name, limit?)));
        for (at, (name, limit)) in limits.enumerate() {
            write!(f, "{}{name}={limit}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

fn is_limit_name_octet(octet: &u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_')
}

/// `%x31-39 0*5DIGIT` (RFC 9422, 4).
fn limit_of_six_digits(value: &[u8]) -> Option<u32> {
    match value {
        [b'1'..=b'9', ..] if value.len() <= 6 => u32::try_from(decimal(value)?).ok(),
        _ => None,
    }
}

/// `1*9DIGIT`, the form of all times in seconds.
fn seconds_of_nine_digits(value: &[u8]) -> Option<Duration> {
    if value.len() > 9 {
        return None;
    }
    decimal(value).map(Duration::from_secs)
}

/// A number of ASCII digits and nothing else, if it fits.
fn decimal(digits: &[u8]) -> Option<u64> {
    let (first, others) = digits.split_first()?;
    others
        .iter()
        .try_fold(digit(first)?, |number, octet| number.checked_mul(10)?.checked_add(digit(octet)?))
}

fn digit(octet: &u8) -> Option<u64> {
    octet.is_ascii_digit().then(|| u64::from(octet - b'0'))
}

/// The words of a list, whatever blanks are between them.
pub(crate) fn tokens(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(is_blank).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SIZE-02, SIZE-03, Q18.
    #[test]
    fn sizes_are_positive_numbers_or_nothing() {
        for (parameters, limit) in [
            ("", None),
            (" 1000", Some(1000)),
            ("  35882577 \t", Some(35_882_577)),
            (" 18446744073709551615", Some(u64::MAX)),
            (" 18446744073709551616", None),
            (" 99999999999999999999", None),
            (" 0", None),
            (" -1", None),
            (" +1", None),
            (" abc", None),
            (" 10k", None),
        ] {
            assert_eq!(Size::parse(parameters.as_bytes()), Size { limit }, "{parameters:?}");
        }
    }

    #[test]
    fn times_have_at_most_nine_digits() {
        for (parameters, seconds) in [
            ("", None),
            (" 240", Some(240)),
            (" 999999999", Some(999_999_999)),
            (" 1000000000", None),
            (" -1", None),
            (" x", None),
        ] {
            let time = seconds.map(Duration::from_secs);
            let parameters = parameters.as_bytes();
            assert_eq!(DeliverBy::parse(parameters), DeliverBy { minimum: time });
            assert_eq!(FutureRelease::parse(parameters).maximum, time);
        }
        let minimum = Some(Duration::from_secs(240));
        assert_eq!(DeliverBy::parse(b" 240,token"), DeliverBy { minimum });
        assert_eq!(DeliverBy::parse(b" ,token"), DeliverBy { minimum: None });
        let maximum = Some(Duration::from_secs(2_592_000));
        let parameters = b" 2592000 2026-12-24T00:00:00Z";
        let latest = Some(*b"2026-12-24T00:00:00Z");
        assert_eq!(FutureRelease::parse(parameters), FutureRelease { maximum, latest });
        assert_eq!(FutureRelease::parse(b"60 2026-12-24T00:00:00+01").latest, None);
    }

    /// LIM-04, LIM-05.
    #[test]
    fn bad_limits_are_no_limits() {
        let limits = |mail_max, rcpt_max, rcpt_domain_max| Limits9422 {
            mail_max,
            rcpt_max,
            rcpt_domain_max,
        };
        for (parameters, expected) in [
            ("", limits(None, None, None)),
            (" MAILMAX=1000 RCPTMAX=50000", limits(Some(1000), Some(50_000), None)),
            (" rcptdomainmax=1  MailMax=999999", limits(Some(999_999), None, Some(1))),
            // One bad value disables that limit.
            (" MAILMAX=0 RCPTMAX=5", limits(None, Some(5), None)),
            (" MAILMAX=1000000 RCPTMAX=5", limits(None, Some(5), None)),
            (" MAILMAX=007 RCPTMAX=5", limits(None, Some(5), None)),
            (" MAILMAX=ten RCPTMAX=5", limits(None, Some(5), None)),
            (" MAILMAX=-1 RCPTMAX=5", limits(None, Some(5), None)),
            (" MAILMAX=1=2 RCPTMAX=5", limits(None, Some(5), None)),
            (" MAILMAX RCPTMAX=5", limits(None, Some(5), None)),
            // Unknown names are ignored.
            (" X-FOO=a,b! RCPTMAX=5 bar", limits(None, Some(5), None)),
            // A syntax error disables the list.
            (" RCPTMAX=5 MAILMAX=", limits(None, None, None)),
            (" RCPTMAX=5 =1", limits(None, None, None)),
            (" RCPTMAX=5 A;B=1", limits(None, None, None)),
            (" RCPTMAX=5 FOO=a;b", limits(None, None, None)),
            (" RCPTMAX=5 FOO=\u{e9}", limits(None, None, None)),
            (" RCPTMAX=5;MAILMAX=1", limits(None, None, None)),
        ] {
            assert_eq!(Limits9422::parse(parameters.as_bytes()), expected, "{parameters:?}");
        }
        let shown = limits(Some(10), None, Some(1)).to_string();
        assert_eq!(shown, "MAILMAX=10 RCPTDOMAINMAX=1");
    }
}
