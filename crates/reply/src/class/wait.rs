//! How long a server says to wait, in its own words: `please try again in 5 minutes`.
//!
//! Only a time that stands directly behind words for coming again is one: texts also speak of
//! limits per 60 seconds, of timeouts of 300, and of lists that an address has been on for 3 hours.

use std::time::Duration;

use super::words::Words;

/// The wait that a text states; none if it states none, or one out of bounds.
pub(super) fn stated(words: &Words) -> Option<Duration> {
    let wait = words.at_each_word().find_map(behind_lead)?;
    (MIN_WAIT..=MAX_WAIT).contains(&wait).then_some(wait)
}

/// The time behind the words for coming again that a text starts with.
fn behind_lead(text: &[u8]) -> Option<Duration> {
    let (lead, rest) = LEADS.iter().find_map(|lead| Some((*lead, word(text, lead)?)))?;
    let rest = skip_hedges(rest);
    // After a time of day is another thing than in so many hours.
    let clock = if lead.ends_with("after") { None } else { clock(rest) };
    clock.or_else(|| amount(rest))
}

/// `at least about`: words between the lead and the time.
fn skip_hedges(mut text: &[u8]) -> &[u8] {
    for _ in 0..MAX_HEDGES {
        text = skip_blanks(text);
        let Some(rest) = HEDGES.iter().find_map(|hedge| word(text, hedge)) else { break };
        text = rest;
    }
    text
}

/// `00:04:59`, as milter-greylist says.
fn clock(text: &[u8]) -> Option<Duration> {
    let (hours, text) = number(text)?;
    let (minutes, text) = number(text.strip_prefix(b":")?)?;
    let (seconds, text) = number(text.strip_prefix(b":")?)?;
    let ends = text.first().is_none_or(|octet| !octet.is_ascii_alphanumeric() && *octet != b':');
    let valid = ends && minutes < 60 && seconds < 60;
    valid.then(|| Duration::from_secs(hours * 3600 + minutes * 60 + seconds))
}

/// `5 minutes`, `60s`, `an hour`, `4m59.5s`, `1 hour and 5 minutes`, `5-10 min`: a sum of terms, in
/// tenths of a second and rounded up to seconds.
fn amount(text: &[u8]) -> Option<Duration> {
    let (mut tenths, mut text) = term(text)?;
    for _ in 1..UNITS.len() {
        let Some((more, rest)) = term(skip_conjunction(text)) else { break };
        (tenths, text) = (tenths + more, rest);
    }
    Some(Duration::from_secs(tenths.div_ceil(10)))
}

/// A number and its unit, as tenths of a second. Of a range, its end.
fn term(text: &[u8]) -> Option<(u64, &[u8])> {
    let (mut tenths, mut text) = quantity(text)?;
    let end = skip_blanks(text).strip_prefix(b"-").or_else(|| word(skip_blanks(text), "to"));
    if let Some(end) = end.and_then(|end| quantity(skip_blanks(end))) {
        (tenths, text) = end;
    }
    let text = skip_blanks(text).strip_prefix(b"-").unwrap_or(skip_blanks(text));
    let (seconds, text) = UNITS.iter().find_map(|(names, seconds)| {
        names.iter().find_map(|name| Some((*seconds, unit(text, name)?)))
    })?;
    Some((tenths * seconds, text))
}

/// `5`, `59.5` or `five`, in tenths.
fn quantity(text: &[u8]) -> Option<(u64, &[u8])> {
    let named = |&(name, value): &(&str, u64)| Some((value * 10, word(text, name)?));
    let Some((whole, rest)) = number(text) else { return NUMBERS.iter().find_map(named) };
    let Some((tenth, behind)) = rest.strip_prefix(b".").and_then(|rest| rest.split_first()) else {
        return Some((whole * 10, rest));
    };
    if !tenth.is_ascii_digit() {
        return Some((whole * 10, rest));
    }
    let finer = behind.iter().take_while(|octet| octet.is_ascii_digit()).count();
    Some((whole * 10 + u64::from(tenth - b'0'), behind.get(finer..).unwrap_or_default()))
}

/// Decimal digits, few enough that no sum of them overflows.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let length = text.iter().take_while(|octet| octet.is_ascii_digit()).count();
    if !(1..=MAX_DIGITS).contains(&length) {
        return None;
    }
    let (digits, rest) = text.split_at_checked(length)?;
    Some((digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')), rest))
}

/// What follows a word, or a sign, that stands here whole.
fn word<'a>(text: &'a [u8], word: &str) -> Option<&'a [u8]> {
    let rest = text.strip_prefix(word.as_bytes())?;
    let goes_on = word.ends_with(|end: char| end.is_ascii_alphanumeric())
        && rest.first().is_some_and(u8::is_ascii_alphanumeric);
    (!goes_on).then_some(rest)
}

/// The same of a unit, which a number may follow: `4m59s`.
fn unit<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let rest = text.strip_prefix(name.as_bytes())?;
    rest.first().is_none_or(|octet| !octet.is_ascii_alphabetic()).then_some(rest)
}

/// `5 minutes, 30 seconds` and `5 minutes and 30 seconds`.
fn skip_conjunction(text: &[u8]) -> &[u8] {
    let text = skip_blanks(text);
    let text = skip_blanks(text.strip_prefix(b",").unwrap_or(text));
    skip_blanks(word(text, "and").unwrap_or(text))
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    text.trim_ascii_start()
}

/// Words behind which a time is one to wait, in lower case. Not `wait` alone: `did not wait 5
/// seconds` is said to who spoke too early.
const LEADS: &[&str] = &[
    "again in",
    "again after",
    "again for",
    "again later in",
    "later in",
    "retry in",
    "retry after",
    "retry-after",
    "retry-in",
    "retried in",
    "retried after",
    "retrying in",
    "resend in",
    "resend after",
    "reconnect in",
    "reconnect after",
    "back in",
    "back after",
    "please wait",
    "must wait",
    "should wait",
    "to wait",
    "and wait",
    ", wait",
    "; wait",
    ": wait",
    ". wait",
    "- wait",
    "greylisted for",
    "greylisting for",
    "graylisted for",
    "graylisting for",
    "throttled for",
    "rate limited for",
    "rate-limited for",
    "blocked for",
];

/// Words between a lead and its time.
const HEDGES: &[&str] = &[
    ":",
    "=",
    "~",
    "for",
    "in",
    "at least",
    "about",
    "another",
    "approximately",
    "around",
    "roughly",
    "a minimum of",
];

/// `retry-after: at least about 5 minutes` has the most that makes sense.
const MAX_HEDGES: usize = 4;

/// Names of a unit, longest first where one is the start of another, and its seconds.
const UNITS: [(&[&str], u64); 3] = [
    (&["hours", "hour", "hrs", "hr", "h"], 3600),
    (&["minutes", "minute", "mins", "min", "m"], 60),
    (&["seconds", "second", "secs", "sec", "s"], 1),
];

/// `a few minutes` and `half an hour` are none: the first is no time, the second nobody says.
const NUMBERS: &[(&str, u64)] = &[
    ("a", 1),
    ("an", 1),
    ("one", 1),
    ("two", 2),
    ("three", 3),
    ("five", 5),
    ("ten", 10),
    ("fifteen", 15),
    ("twenty", 20),
    ("thirty", 30),
    ("sixty", 60),
];

/// Digits of a number: more are more than the longest wait in any unit, and might overflow.
const MAX_DIGITS: usize = 6;

/// What is no time to wait: a retry at once is for the planner to allow.
const MIN_WAIT: Duration = Duration::from_secs(1);

/// The longest wait between two attempts of any schedule. A server that states more has given up on
/// the mail, or wants its sender to; the schedule decides then.
const MAX_WAIT: Duration = Duration::from_secs(4 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Reply;

    #[track_caller]
    fn check(text: &str, expected: Option<u64>) {
        for text in [text.to_owned(), text.to_ascii_uppercase(), format!("x.y, ({text}).")] {
            let reply = format!("450 4.7.1 {text}\r\n");
            let words = Words::of(Reply::parse(reply.as_bytes()).unwrap());
            assert_eq!(stated(&words), expected.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn waits_that_are_stated() {
        for (text, seconds) in [
            ("Greylisted, please try again in 300 seconds", 300),
            ("Greylisting in progress, please try again in 5 minutes", 300),
            ("Recipient address rejected: Greylisted for 300 seconds (see http://x/)", 300),
            ("greylisted for 10 min", 600),
            ("Greylisting in action, please come back in 00:04:59", 299),
            ("retry in 00:04:59", 299),
            ("Please retry in 2 seconds", 2),
            ("please wait 60s", 60),
            ("You must wait 1 minute(s) between mails", 60),
            ("Throttled - wait at least 90 seconds, then resend", 90),
            ("try again after 1 hour", 3600),
            ("try again in an hour", 3600),
            ("try again in one hour and 30 minutes", 5400),
            ("Try again later in about 15 mins", 900),
            ("try again in 1 hr, 5 min 30 sec", 3930),
            ("Do not try again for 20 minutes", 1200),
            ("Rate limit exceeded, retry-after: 32 seconds", 32),
            ("rate limited, retry after 4m59.5s", 300),
            ("retry in ~30 s", 30),
            ("retry in 1h0m0s", 3600),
            ("come back in 5-10 minutes", 600),
            ("come back in 5 to 10 minutes", 600),
            ("try again in 0.5 hours", 1800),
            ("try again in a minimum of five minutes", 300),
            ("try again in a 5-minute break, or try again in 10-minutes", 600),
            ("Your host is temporarily blocked for 2 hours", 7200),
            ("100 messages per 60 seconds: try again in 45 seconds", 45),
            ("try again in a moment, or try again in 5 minutes", 300),
        ] {
            check(text, Some(seconds));
        }
    }

    #[test]
    fn times_that_are_no_waits() {
        for text in [
            "limit of 100 messages per 60 seconds",
            "your IP was listed 3 hours ago",
            "greylisted 300 seconds ago",
            "timeout 300 seconds exceeded",
            "timed out waiting 300 seconds",
            "you did not wait 5 seconds for the greeting",
            "too many connections in 60 seconds, try again later",
            "please try again later: 5 mails per hour",
            "please wait. 5 minutes is our limit",
            "try again in a few minutes",
            "try again in the next 24 hours",
            "try again within 5 minutes",
            "try again after 02:00:00",
            "try again after 14:30",
            "retry in 04:59",
            "retry in 00:61:00",
            "retry in 00:01:00:00",
            "try again in 300",
            "try again in 5 messages",
            "try again in 5 minutesx",
            "try again in 500ms",
            "try again in minutes",
            "again in",
            "retry-after",
        ] {
            check(text, None);
        }
    }

    /// Rather the rule's own constant than a wait that no server means, or nobody survives.
    #[test]
    fn waits_have_bounds() {
        check("try again in 0 seconds", None);
        check("try again in 0.5 seconds", Some(1));
        check("try again in 1 second", Some(1));
        check("try again in 4 hours", Some(14_400));
        check("try again in 4 hours 1 second", None);
        check("try again in 14401 seconds", None);
        check("try again in 2 days", None);
        check("try again in 999999 hours", None);
        check("try again in 999999:59:59", None);
        check("try again in 1000000 seconds", None);
        check("try again in 99999999999999999999999999 seconds", None);
        check("try again in 9.99999999999999999999999999 seconds", Some(10));
    }
}
