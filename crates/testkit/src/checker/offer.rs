//! What a server offers, read from its reply to EHLO by the letter of RFC 5321 section 4.1.1.1.

use std::collections::BTreeMap;

use super::command::Parameter;
use super::replies::Reply;

/// The keywords of the latest reply to EHLO, each with its parameters; those that the client was
/// told to ignore are left out.
#[derive(Debug, Default)]
pub(super) struct Offer(BTreeMap<String, Vec<String>>);

/// Keywords whose parameters are no list that a further line could add to.
const LATEST_COUNTS: [&str; 4] = ["SIZE", "LIMITS", "DELIVERBY", "FUTURERELEASE"];

/// RFC 5321 section 4.5.3.1.4.
const MAX_LINE: usize = 512;

/// By how many octets the parameters of each extension let MAIL grow.
const GROWTH_OF_MAIL: &[(&str, usize)] = &[
    ("SMTPUTF8", 10),
    ("SIZE", 26),
    ("MT-PRIORITY", 15),
    ("FUTURERELEASE", 34),
    ("DELIVERBY", 17),
    ("REQUIRETLS", 11),
    ("AUTH", 500),
    ("DSN", 100),
];

impl Offer {
    pub(super) fn read(reply: &Reply, ignored: &[String]) -> Self {
        let mut keywords: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in reply.lines.iter().skip(1) {
            let line = String::from_utf8_lossy(line).into_owned();
            let mut words =
                line.split([' ', '\t']).filter(|word| !word.is_empty()).map(str::to_owned);
            let Some(first) = words.next() else { continue };
            // `AUTH=LOGIN` was written before there was a standard.
            let (keyword, parameter) = match first.split_once('=') {
                Some((keyword, parameter)) => (keyword, Some(parameter.to_owned())),
                None => (first.as_str(), None),
            };
            let keyword = keyword.to_ascii_uppercase();
            if ignored.iter().any(|name| name.eq_ignore_ascii_case(&keyword)) {
                continue;
            }
            let replaces = LATEST_COUNTS.contains(&keyword.as_str());
            let parameters = keywords.entry(keyword).or_default();
            if replaces {
                parameters.clear();
            }
            parameters.extend(parameter.into_iter().chain(words));
        }
        Self(keywords)
    }

    pub(super) fn has(&self, keyword: &str) -> bool {
        self.0.contains_key(keyword)
    }

    pub(super) fn parameters(&self, keyword: &str) -> &[String] {
        self.0.get(keyword).map_or(&[], Vec::as_slice)
    }

    /// A limit of RFC 9422; none if the list has a mistake anywhere.
    pub(super) fn limit(&self, name: &str) -> Option<usize> {
        let list = self.parameters("LIMITS");
        if !list.iter().all(|item| item.split_once('=').is_some_and(|(n, v)| is_limit(n, v))) {
            return None;
        }
        let mut values = list.iter().rev().filter_map(|item| item.split_once('='));
        let value = values.find(|(known, _)| known.eq_ignore_ascii_case(name))?.1;
        value.parse().ok().filter(|value| (1..=999_999).contains(value))
    }

    /// The octets that a content may have (RFC 1870 section 4); none if that is not said, or not as
    /// it should be (SIZE-03).
    pub(super) fn size_limit(&self) -> Option<u64> {
        let [limit] = self.parameters("SIZE") else { return None };
        let is_number = limit.bytes().all(|octet| octet.is_ascii_digit());
        limit.parse().ok().filter(|&limit| is_number && limit > 0)
    }

    /// Whether 8-bit content may be sent: SMTPUTF8 implies that (RFC 6531 section 3.1).
    pub(super) fn has_8bit(&self) -> bool {
        self.has("8BITMIME") || self.has("SMTPUTF8")
    }

    /// EHLO-13: panics unless this parameter is offered, and its value is within what is offered.
    pub(super) fn check(&self, parameter: &Parameter) {
        let extension = parameter.extension();
        let is_offered = self.has(extension) || extension == "8BITMIME" && self.has_8bit();
        assert!(is_offered, "{parameter:?}, and {extension} is not offered");
        let first: Option<u64> = self.parameters(extension).first().and_then(|it| it.parse().ok());
        let value = parameter.value.as_str();
        match parameter.keyword.as_str() {
            "SIZE" => {
                let most = self.size_limit().unwrap_or(u64::MAX);
                assert!(
                    value.parse().is_ok_and(|size: u64| size <= most),
                    "{parameter:?}: SIZE-02"
                );
            }
            "BODY" if value == "BINARYMIME" => {
                assert!(self.has("CHUNKING"), "BINARYMIME without CHUNKING: CHUNK-10");
            }
            "BY" => {
                let (time, mode) = value.split_once(';').unwrap_or_default();
                let is_long_enough = first.is_none_or(|least| time.parse().unwrap_or(0) >= least);
                assert!(mode.starts_with('N') || is_long_enough, "{parameter:?}: DLVBY-01");
            }
            "HOLDFOR" => {
                let is_short_enough = first.is_none_or(|most| value.parse().unwrap_or(0) <= most);
                assert!(is_short_enough, "{parameter:?}: FUTREL-01");
            }
            _ => {}
        }
    }

    /// CMD-05: the longest line with this verb, CRLF included.
    pub(super) fn longest_line(&self, verb: &str) -> usize {
        let offered = |(keyword, _): &&(&str, usize)| self.has(keyword);
        match verb {
            "MAIL" => {
                let growth = GROWTH_OF_MAIL.iter().filter(offered).map(|(_, octets)| octets);
                let has_body = self.has("8BITMIME") || self.has("BINARYMIME");
                MAX_LINE + growth.sum::<usize>() + if has_body { 17 } else { 0 }
            }
            "RCPT" => MAX_LINE + if self.has("DSN") { 500 } else { 0 },
            // RFC 4954 section 4.
            "AUTH" => 12_288,
            _ => MAX_LINE,
        }
    }
}

fn is_limit(name: &str, value: &str) -> bool {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !name.is_empty() && name.bytes().all(is_name) && value.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(lines: &[&str]) -> Offer {
        let lines = std::iter::once(&"mx").chain(lines).map(|line| line.as_bytes().to_vec());
        Offer::read(&Reply { code: 250, lines: lines.collect() }, &["size".to_owned()])
    }

    #[test]
    fn keywords_and_limits() {
        let offer = offer(&["Pipelining", " LIMITS  MAILMAX=3 rcptmax=0", "AUTH=LOGIN", "SIZE 10"]);
        assert!(offer.has("PIPELINING") && !offer.has("SIZE"));
        assert_eq!((offer.limit("MAILMAX"), offer.limit("RCPTMAX")), (Some(3), None));
        assert_eq!(offer.parameters("AUTH"), ["LOGIN"]);
        assert_eq!(offer.longest_line("MAIL"), 512 + 500);
    }
    #[test]
    fn of_limits_the_latest_line_counts() {
        let lines = ["LIMITS MAILMAX=3", "LIMITS RCPTMAX=2", "AUTH PLAIN", "AUTH=LOGIN"];
        let offer = offer(&lines);
        assert_eq!((offer.limit("MAILMAX"), offer.limit("RCPTMAX")), (None, Some(2)));
        assert_eq!(offer.parameters("AUTH"), ["PLAIN", "LOGIN"]);
        let sizes = |lines: &[&str]| {
            let lines = std::iter::once(&"mx").chain(lines).map(|line| line.as_bytes().to_vec());
            Offer::read(&Reply { code: 250, lines: lines.collect() }, &[]).size_limit()
        };
        assert_eq!(sizes(&["SIZE 10", "SIZE"]), None);
        assert_eq!(sizes(&["SIZE 10", "SIZE 20"]), Some(20));
    }
}
