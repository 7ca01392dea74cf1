//! The text form of fault rules.

use std::str::FromStr;

use super::{Action, Answer, FaultRule, Glob, Scope, When};
use crate::session::Close;
use crate::stage::{Stage, UnknownStage};
use crate::units::{UnitError, parse_count, parse_duration, parse_size};

impl FromStr for FaultRule {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let mut pairs = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (key, value, behind) = pair(rest)?;
            pairs.push((key, value));
            rest = behind.trim_start();
        }
        Self::build(text.trim(), pairs)
    }
}

impl FaultRule {
    /// A rule from keys and values that are already apart, as from a table in a file. Values are as
    /// inside quotes, with no escapes left.
    ///
    /// # Errors
    ///
    /// As when a rule is read from text.
    pub fn from_pairs<K: Into<String>, V: Into<Vec<u8>>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, FaultError> {
        let pairs: Vec<(String, Vec<u8>)> =
            pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let text: Vec<String> = pairs.iter().map(|(key, value)| shown(key, value)).collect();
        Self::build(&text.join(" "), pairs)
    }

    /// The rule as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn build(
        text: &str,
        pairs: impl IntoIterator<Item = (impl AsRef<str>, Vec<u8>)>,
    ) -> Result<Self, FaultError> {
        let mut draft = Draft::default();
        for (key, value) in pairs {
            draft.set(key.as_ref(), value)?;
        }
        draft.finish(text)
    }
}

/// A rule whose keys are still coming.
#[derive(Default)]
struct Draft {
    keys: Vec<String>,
    stage: Option<Stage>,
    when: When,
    action: Action,
}

impl Draft {
    fn set(&mut self, key: &str, value: Vec<u8>) -> Result<(), FaultError> {
        if self.keys.iter().any(|known| known == key) {
            return Err(FaultError::Twice { key: key.to_owned() });
        }
        self.keys.push(key.to_owned());
        // Octets are for the wire; every other value is text.
        match key {
            "raw" => self.action.answer = Some(Answer::Octets(value)),
            "garbage" => self.action.garbage = value,
            "surplus" => self.action.surplus = value,
            "reply" => self.action.answer = Some(answer(value)?),
            _ => {
                let text = String::from_utf8(value).map_err(|_| FaultError::value(key, "UTF-8"))?;
                self.set_text(key, &text)?;
            }
        }
        Ok(())
    }

    fn set_text(&mut self, key: &str, value: &str) -> Result<(), FaultError> {
        let unit = |source: UnitError| FaultError::Unit { key: key.to_owned(), source };
        let count = || parse_count(value).map_err(unit);
        let duration = || parse_duration(value).map_err(unit);
        let wrong = |expected| FaultError::value(key, expected);
        match key {
            "at" => self.stage = Some(value.parse()?),
            "rcpt" => self.when.rcpt = Some(Glob(value.to_owned())),
            "from" => self.when.from = Some(Glob(value.to_owned())),
            "after" => self.when.after = count()?,
            "first" => self.when.first = Some(count()?),
            "every" => {
                let every = Some(count()?).filter(|&n| n > 0);
                self.when.every = Some(every.ok_or_else(|| wrong("a count above zero"))?);
            }
            "prob" => {
                let probability = value.parse().ok().filter(|p| (0.0..=1.0).contains(p));
                let expected = "a probability from 0 to 1";
                self.when.probability = Some(probability.ok_or_else(|| wrong(expected))?);
            }
            "for" => self.when.until = Some(duration()?),
            "per" => {
                self.when.per = match value {
                    "sink" => Scope::Sink,
                    "conn" => Scope::Connection,
                    "rcpt" => Scope::Recipient,
                    "from" => Scope::ReversePath,
                    _ => return Err(wrong("sink, conn, rcpt or from")),
                }
            }
            "delay" => self.action.delay = Some(duration()?),
            "trickle" => self.action.trickle = Some(duration()?),
            "close" => {
                self.action.close = Some(match value {
                    "fin" => Close::Fin,
                    "rst" => Close::Rst,
                    _ => return Err(wrong("fin or rst")),
                })
            }
            "stall" => self.action.stall = flag(value).ok_or_else(|| wrong("true or false"))?,
            "store" => self.action.store = Some(flag(value).ok_or_else(|| wrong("true or false"))?),
            "bytes" => self.action.bytes = parse_size(value).map_err(unit)?,
            _ => return Err(FaultError::UnknownKey { key: key.to_owned() }),
        }
        Ok(())
    }

    fn finish(self, text: &str) -> Result<FaultRule, FaultError> {
        let stage = self.stage.ok_or(FaultError::NoStage)?;
        let misplaced = |key: &str| FaultError::Misplaced { key: key.to_owned(), stage };
        let has_recipient = matches!(
            stage,
            Stage::Rcpt | Stage::Data | Stage::Chunk | Stage::Content | Stage::Final
        );
        let has_reverse_path = has_recipient || stage == Stage::Mail;
        if (self.when.rcpt.is_some() || self.when.per == Scope::Recipient) && !has_recipient {
            return Err(misplaced("rcpt"));
        }
        let by_reverse_path = self.when.from.is_some() || self.when.per == Scope::ReversePath;
        if by_reverse_path && !has_reverse_path {
            return Err(misplaced("from"));
        }
        if self.action.store.is_some() && stage != Stage::Final {
            return Err(misplaced("store"));
        }
        if self.keys.iter().any(|key| key == "bytes") && stage != Stage::Content {
            return Err(misplaced("bytes"));
        }
        if self.action == Action::default() {
            return Err(FaultError::NoAction);
        }
        if self.keys.iter().any(|key| key == "reply") && self.keys.iter().any(|key| key == "raw") {
            return Err(FaultError::Twice { key: "reply".to_owned() });
        }
        Ok(FaultRule { text: text.to_owned(), stage, when: self.when, action: self.action })
    }
}

/// The answer for `reply=VALUE`: lines of a reply, `usual` or `none`.
fn answer(value: Vec<u8>) -> Result<Answer, FaultError> {
    if value == b"usual" {
        return Ok(Answer::Usual);
    }
    if value == b"none" {
        return Ok(Answer::Nothing);
    }
    let mut octets = Vec::with_capacity(value.len() + 2);
    for line in value.split(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (digits, rest) = line.split_at(line.len().min(3));
        let is_code = digits.len() == 3 && digits.iter().all(u8::is_ascii_digit);
        if !is_code || !matches!(rest.first(), None | Some(b' ' | b'-')) {
            let expected =
                "a reply such as \"451 4.7.1 later\", usual or none (raw= takes anything)";
            return Err(FaultError::value("reply", expected));
        }
        octets.extend_from_slice(line);
        octets.extend_from_slice(b"\r\n");
    }
    Ok(Answer::Octets(octets))
}

/// A pair as rules are written.
fn shown(key: &str, value: &[u8]) -> String {
    if !value.is_empty() && value.iter().all(|b| b.is_ascii_graphic() && !b"\"\\".contains(b)) {
        return format!("{key}={}", String::from_utf8_lossy(value));
    }
    format!("{key}=\"{}\"", value.escape_ascii())
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// The first `key=value` of `text`, and what is behind it.
fn pair(text: &str) -> Result<(&str, Vec<u8>, &str), FaultError> {
    let not_a_pair = || FaultError::NotAPair {
        word: text.split_ascii_whitespace().next().unwrap_or_default().to_owned(),
    };
    let (key, rest) = text.split_once('=').ok_or_else(not_a_pair)?;
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_lowercase()) {
        return Err(not_a_pair());
    }
    if let Some(quoted) = rest.strip_prefix('"') {
        let (value, rest) = unquote(key, quoted)?;
        return Ok((key, value, rest));
    }
    let end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
    Ok((key, rest.as_bytes()[..end].to_vec(), &rest[end..]))
}

/// The octets up to the closing quote, escapes resolved, and what is behind the quote.
fn unquote<'a>(key: &str, text: &'a str) -> Result<(Vec<u8>, &'a str), FaultError> {
    let bad_escape =
        || FaultError::value(key, "one of the escapes \\r \\n \\t \\0 \\xHH \\\" \\\\");
    let mut value = Vec::new();
    let mut at = 0;
    let octets = text.as_bytes();
    loop {
        match octets.get(at) {
            None => return Err(FaultError::value(key, "a closing quote")),
            Some(b'"') => return Ok((value, &text[at + 1..])),
            Some(b'\\') => {
                let escape = octets.get(at + 1).ok_or_else(bad_escape)?;
                value.push(match escape {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'0' => 0,
                    b'"' | b'\'' | b'\\' => *escape,
                    b'x' => {
                        let digits = text.get(at + 2..at + 4).ok_or_else(bad_escape)?;
                        u8::from_str_radix(digits, 16).map_err(|_| bad_escape())?
                    }
                    _ => return Err(bad_escape()),
                });
                at += if *escape == b'x' { 4 } else { 2 };
            }
            Some(&octet) => {
                value.push(octet);
                at += 1;
            }
        }
    }
}

/// Why a text is not a fault rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultError {
    /// A word without `=`.
    #[error("expected key=value, got {word:?}")]
    NotAPair {
        /// The word.
        word: String,
    },
    /// A key that rules do not have.
    #[error(
        "unknown key {key:?}: expected at, rcpt, from, after, first, every, prob, for, per, reply, \
         raw, garbage, surplus, delay, trickle, close, stall, store or bytes"
    )]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// A key more than once, or `raw` beside `reply`.
    #[error("{key} is given twice")]
    Twice {
        /// The key.
        key: String,
    },
    /// No `at=`.
    #[error("expected a stage, as in at=rcpt")]
    NoStage,
    /// `at=` names no stage.
    #[error(transparent)]
    Stage(#[from] UnknownStage),
    /// Conditions, and nothing to do.
    #[error(
        "expected an action: reply, raw, garbage, surplus, delay, trickle, close, stall or store"
    )]
    NoAction,
    /// A value of the wrong kind.
    #[error("{key}: expected {expected}")]
    Value {
        /// The key.
        key: String,
        /// What its value may be.
        expected: &'static str,
    },
    /// A value that is not a number with a unit.
    #[error("{key}: {source}")]
    Unit {
        /// The key.
        key: String,
        /// What its value may be, and is.
        source: UnitError,
    },
    /// A key that means nothing at this stage.
    #[error("{key} means nothing at={stage}")]
    Misplaced {
        /// The key.
        key: String,
        /// The stage.
        stage: Stage,
    },
}

impl FaultError {
    fn value(key: &str, expected: &'static str) -> Self {
        Self::Value { key: key.to_owned(), expected }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[track_caller]
    fn parse(text: &str) -> FaultRule {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let error = text.parse::<FaultRule>().expect_err(text);
        assert_eq!(error.to_string(), expected, "{text}");
    }

    #[test]
    fn conditions_and_actions_in_any_order() {
        let text = r#"at=rcpt rcpt=*@slow.test first=2 per=rcpt reply="451 4.7.1 greylisted""#;
        let rule = parse(text);
        assert_eq!(rule.text(), text);
        assert_eq!(rule.stage, Stage::Rcpt);
        assert_eq!(rule.when.first, Some(2));
        assert_eq!(rule.when.per, Scope::Recipient);
        assert_eq!(rule.action.answer, Some(Answer::Octets(b"451 4.7.1 greylisted\r\n".to_vec())));

        let rule = parse("close=rst store=true prob=0.01 at=final");
        assert_eq!(rule.when.probability, Some(0.01));
        assert_eq!(rule.action.close, Some(Close::Rst));
        assert_eq!(rule.action.store, Some(true));
        assert_eq!(rule.action.answer(), &Answer::Nothing);

        let rule = parse(r#"at=greeting for=30s reply="421 busy" close=fin"#);
        assert_eq!(rule.when.until, Some(Duration::from_secs(30)));

        let rule = parse(r#"at=content bytes=10k delay=1m30s reply=usual"#);
        assert_eq!(rule.action.bytes, 10 << 10);
        assert_eq!(rule.action.delay, Some(Duration::from_secs(90)));
    }

    #[test]
    fn quotes_hold_escapes_and_lines() {
        let rule = parse(r#"at=ehlo reply="250-a\n250 b" surplus="x\r\n\x00\"\\" garbage=" ""#);
        assert_eq!(rule.action.answer, Some(Answer::Octets(b"250-a\r\n250 b\r\n".to_vec())));
        assert_eq!(rule.action.surplus, b"x\r\n\0\"\\");
        assert_eq!(rule.action.garbage, b" ");
        let rule = parse(r#"at=ehlo raw="250\n""#);
        assert_eq!(rule.action.answer, Some(Answer::Octets(b"250\n".to_vec())));
    }

    #[test]
    fn pairs_make_the_same_rule() {
        let rule = FaultRule::from_pairs([("at", "rcpt"), ("first", "2"), ("reply", "451 x")]);
        assert_eq!(rule.unwrap(), parse(r#"at=rcpt first=2 reply="451 x""#));
    }

    #[test]
    fn errors_say_what_was_wrong() {
        check_error("at=rcpt oops", "expected key=value, got \"oops\"");
        check_error("reply=none", "expected a stage, as in at=rcpt");
        check_error("at=rcpt at=mail", "at is given twice");
        check_error("at=rcpt reply=none raw=x", "reply is given twice");
        check_error("at=mail rcpt=* reply=none", "rcpt means nothing at=mail");
        check_error("at=quit per=from reply=none", "from means nothing at=quit");
        check_error("at=rcpt store=true", "store means nothing at=rcpt");
        check_error("at=rcpt bytes=5 reply=none", "bytes means nothing at=rcpt");
        check_error("at=final prob=2 reply=none", "prob: expected a probability from 0 to 1");
        check_error("at=final every=0 reply=none", "every: expected a count above zero");
        check_error("at=final close=now", "close: expected fin or rst");
        check_error(r#"at=final reply="451"#, "reply: expected a closing quote");
        check_error(
            "at=final delay=5 reply=none",
            "delay: expected a duration such as 250ms, 30s, 5m or 2h, got \"5\"",
        );
        check_error(
            "at=rcpt reply=later",
            "reply: expected a reply such as \"451 4.7.1 later\", usual or none (raw= takes anything)",
        );
        for text in
            ["at=somewhere close=fin", "at=rcpt", "at=rcpt colour=red", "=x", r#"at=rcpt raw="\q""#]
        {
            assert!(text.parse::<FaultRule>().is_err(), "{text}");
        }
    }
}
