//! What a server offers in reply to EHLO.

use crate::config::{Config, Keyword};

/// What is offered in reply to EHLO.
#[derive(Debug)]
pub(crate) struct Hello {
    /// The reply itself.
    pub(crate) reply: Vec<u8>,
    pub(crate) pipelining: bool,
    pub(crate) chunking: bool,
    pub(crate) binary: bool,
    pub(crate) eight_bit: bool,
    pub(crate) utf8: bool,
    pub(crate) size: bool,
    pub(crate) dsn: bool,
    pub(crate) enhanced: bool,
    pub(crate) start_tls: bool,
    /// The mechanisms behind AUTH; empty if it is not offered.
    pub(crate) mechanisms: String,
    /// The attributes behind XCLIENT; empty if it is not offered.
    pub(crate) xclient: String,
    /// The fewest seconds for `BY=` where late mail is returned (RFC 2852).
    pub(crate) deliver_by: Option<u64>,
    pub(crate) future_release: Option<FutureRelease>,
    /// The limits that LIMITS states.
    pub(crate) limits: StatedLimits,
    /// The names of all keywords.
    names: Vec<String>,
}

/// The parameters of FUTURERELEASE (RFC 4865 section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FutureRelease {
    /// The longest time to hold a mail, in seconds.
    pub(crate) longest: u64,
    /// The latest time to hold it until.
    pub(crate) latest: String,
}

/// The limits in the reply to EHLO (RFC 9422 section 4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StatedLimits {
    /// MAIL commands on one connection.
    pub(crate) mails: Option<u64>,
    /// Recipients of one mail.
    pub(crate) recipients: Option<u64>,
    /// Domains of the recipients on one connection.
    pub(crate) domains: Option<u64>,
}

impl Hello {
    pub(crate) fn new(config: &Config, keywords: Vec<Keyword>) -> Self {
        let find = |name: &str| keywords.iter().find(|keyword| keyword.name == name);
        let has = |name: &str| find(name).is_some();
        let parameters = |name: &str| find(name).map(|keyword| keyword.parameters.as_str());
        Self {
            reply: reply(config, &keywords),
            pipelining: has("PIPELINING"),
            chunking: has("CHUNKING"),
            binary: has("BINARYMIME"),
            eight_bit: has("8BITMIME"),
            utf8: has("SMTPUTF8"),
            size: has("SIZE"),
            dsn: has("DSN"),
            enhanced: has("ENHANCEDSTATUSCODES"),
            start_tls: has("STARTTLS"),
            mechanisms: parameters("AUTH").unwrap_or_default().to_owned(),
            xclient: parameters("XCLIENT").unwrap_or_default().to_owned(),
            deliver_by: parameters("DELIVERBY").map(|least| least.parse().unwrap_or(0)),
            future_release: parameters("FUTURERELEASE").map(FutureRelease::parse),
            limits: StatedLimits::parse(parameters("LIMITS").unwrap_or_default()),
            names: keywords.into_iter().map(|keyword| keyword.name).collect(),
        }
    }

    /// Whether a keyword is offered, whatever its case.
    pub(crate) fn offers(&self, name: &[u8]) -> bool {
        self.names.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
    }
}

fn reply(config: &Config, keywords: &[Keyword]) -> Vec<u8> {
    let lines: Vec<String> = std::iter::once(config.hostname.clone())
        .chain(keywords.iter().map(|keyword| match keyword.parameters.as_str() {
            "" => keyword.name.clone(),
            parameters => format!("{} {parameters}", keyword.name),
        }))
        .collect();
    let last = lines.len() - 1;
    let lines = lines.iter().enumerate().flat_map(|(index, line)| {
        let separator = if index == last { ' ' } else { '-' };
        format!("250{separator}{line}\r\n").into_bytes()
    });
    lines.collect()
}

impl FutureRelease {
    /// What is no number, or is not there, is no limit.
    fn parse(parameters: &str) -> Self {
        let (longest, latest) = parameters.split_once(' ').unwrap_or((parameters, ""));
        Self { longest: longest.parse().unwrap_or(u64::MAX), latest: latest.to_owned() }
    }
}

impl StatedLimits {
    fn parse(parameters: &str) -> Self {
        let mut limits = Self::default();
        for (name, value) in parameters.split(' ').filter_map(|limit| limit.split_once('=')) {
            let field = match name.to_ascii_uppercase().as_str() {
                "MAILMAX" => &mut limits.mails,
                "RCPTMAX" => &mut limits.recipients,
                "RCPTDOMAINMAX" => &mut limits.domains,
                _ => continue,
            };
            // Clients take no notice of zero, nor of more than six digits.
            *field = value.parse().ok().filter(|value| (1..=999_999).contains(value));
        }
        limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offering(offer: &str) -> Hello {
        let config = Config { offer: offer.parse().unwrap(), ..Config::default() };
        Hello::new(&config, config.keywords(false))
    }

    #[test]
    fn parameters_of_keywords_are_limits() {
        let offer = "LIMITS=MAILMAX=2 rcptmax=3 X=4 RCPTDOMAINMAX=0,DELIVERBY=240,\
                     FUTURERELEASE=600 2030-01-01T00:00:00Z";
        let hello = offering(offer);
        let limits = StatedLimits { mails: Some(2), recipients: Some(3), domains: None };
        assert_eq!(hello.limits, limits);
        assert_eq!(hello.deliver_by, Some(240));
        let latest = "2030-01-01T00:00:00Z".to_owned();
        assert_eq!(hello.future_release, Some(FutureRelease { longest: 600, latest }));
    }

    #[test]
    fn what_is_not_stated_is_no_limit() {
        let hello = offering("DELIVERBY,LIMITS,-DSN");
        assert_eq!((hello.limits, hello.deliver_by), (StatedLimits::default(), Some(0)));
        assert_eq!(hello.future_release, None);
        assert!(!hello.dsn && hello.offers(b"limits") && !hello.offers(b"DSN"));
    }
}
