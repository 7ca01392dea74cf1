//! How the table of rules is read: the first rule that matches decides.

use std::ops::Range;
use std::sync::LazyLock;
use std::time::Duration;

use super::table::RULES;
use super::words::Words;
use super::{Class, Classification, SaidTo, Scope, wait};
use crate::code::{ReplyCode, Severity};
use crate::enhanced::EnhancedStatusCode;
use crate::reply::Reply;

/// A pattern, and what a reply that matches it means.
pub(super) struct Rule {
    /// Where it may be said; anywhere if empty.
    at: &'static [SaidTo],
    /// Reply codes, or their first digits: 4 is any 4yz. Any code if empty.
    codes: &'static [u16],
    /// Subject and the first and last detail of the enhanced status code. One that contradicts the
    /// reply code is not looked at.
    status: Option<(u16, u16, u16)>,
    /// Each must stand in the text, in any order. A `|` separates alternatives; each begins where
    /// a word begins and may end within one.
    words: &'static [&'static str],
    class: Class,
    /// `None`: whatever the command was about.
    scope: Option<Scope>,
    wait: Option<Duration>,
}

/// Any reply with one of these codes that says all of these words.
pub(super) const fn said(codes: &'static [u16], words: &'static [&'static str]) -> Rule {
    let class = Class::LocalError;
    Rule { at: &[], codes, status: None, words, class, scope: None, wait: None }
}

impl Rule {
    /// Only in answer to one of these.
    pub(super) const fn to(self, at: &'static [SaidTo]) -> Self {
        Self { at, ..self }
    }

    /// Only with this enhanced status code.
    pub(super) const fn status(self, subject: u16, detail: u16) -> Self {
        self.statuses(subject, detail, detail)
    }

    /// Only with an enhanced status code from the first detail to the last.
    pub(super) const fn statuses(self, subject: u16, first: u16, last: u16) -> Self {
        Self { status: Some((subject, first, last)), ..self }
    }

    /// Means this, about whatever the command was about.
    pub(super) const fn is(self, class: Class) -> Self {
        Self { class, ..self }
    }

    /// Is about this.
    pub(super) const fn of(self, scope: Scope) -> Self {
        Self { scope: Some(scope), ..self }
    }

    /// The server wants so much patience.
    pub(super) const fn wait_minutes(self, minutes: u64) -> Self {
        Self { wait: Some(Duration::from_secs(minutes * 60)), ..self }
    }

    fn matches(
        &self,
        said_to: SaidTo,
        code: ReplyCode,
        status: Option<EnhancedStatusCode>,
    ) -> bool {
        let value = code.value();
        let fits = |pattern: &u16| [value, value / 10, value / 100].contains(pattern);
        (self.at.is_empty() || self.at.contains(&said_to))
            && (self.codes.is_empty() || self.codes.iter().any(fits))
            && self.status.is_none_or(|(subject, first, last)| {
                status.is_some_and(|status| {
                    status.subject() == subject && (first..=last).contains(&status.detail())
                })
            })
    }
}

/// What a negative reply means.
pub(super) fn negative(reply: Reply<'_>, said_to: SaidTo) -> Classification {
    let words = Words::of(reply);
    // The table's last rules match any negative code.
    let (class, scope, wait) = match deciding(reply, &words, said_to) {
        Some((rule, _)) => (rule.class, rule.scope, rule.wait),
        None => (Class::LocalError, None, None),
    };
    // `User unknown, try again in 5 minutes` is for good all the same.
    let passes = wait.is_some()
        || reply.code().severity() == Severity::TransientNegative
        || matches!(class, Class::Throttled | Class::Greylisted | Class::AuthTemp);
    let wait = passes.then(|| wait::stated(&words)).flatten().or(wait);
    Classification { class, scope: scope.unwrap_or_else(|| said_to.scope()), wait }
}

/// The first rule that matches a reply with these words.
fn deciding(reply: Reply<'_>, words: &Words, said_to: SaidTo) -> Option<&'static Prepared> {
    let code = reply.code();
    let status = reply.enhanced().or_else(|| words.status_code(code));
    let status = status.filter(|status| status.agrees_with(code));
    let found = INDEX.find(words);
    INDEX.rules.iter().find(|(rule, words)| {
        rule.matches(said_to, code, status)
            && words.iter().all(|any| found.get(any.clone()).is_some_and(|it| it.contains(&true)))
    })
}

/// A rule, with the numbers of the phrases of which one must be there, for each place in it.
type Prepared = (&'static Rule, Vec<Range<usize>>);

/// The table, prepared so that a text is read once: wherever a word starts, the phrases with the
/// same first octet are tried, whatever rule they belong to.
struct Index {
    rules: Vec<Prepared>,
    /// The phrases and their numbers, by first octet.
    phrases: Vec<Vec<(usize, &'static [u8])>>,
}

/// Phrases of all rules: room for them on the stack, and checked by a test.
const MAX_PHRASES: usize = 1024;

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let mut phrases = vec![Vec::new(); 1 << u8::BITS];
    let mut count = 0;
    let mut number = |alternatives: &'static str| {
        let first = count;
        for phrase in alternatives.split('|').map(str::as_bytes) {
            let start = phrase.first().map(|octet| usize::from(*octet));
            if let Some(alike) = start.and_then(|start| phrases.get_mut(start)) {
                alike.push((count, phrase));
            }
            count += 1;
        }
        first..count
    };
    let rules = RULES.iter().map(|rule| (rule, rule.words.iter().map(|it| number(it)).collect()));
    let rules = rules.collect();
    Index { rules, phrases }
});

impl Index {
    /// Which phrases stand in a text.
    fn find(&self, words: &Words) -> [bool; MAX_PHRASES] {
        let mut found = [false; MAX_PHRASES];
        for text in words.at_each_word() {
            let start = text.first().map(|octet| usize::from(*octet));
            let alike = start.and_then(|start| self.phrases.get(start));
            for (number, phrase) in alike.into_iter().flatten() {
                if text.starts_with(phrase)
                    && let Some(found) = found.get_mut(*number)
                {
                    *found = true;
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phrase_can_be_found() {
        let phrases: Vec<_> =
            RULES.iter().flat_map(|rule| rule.words).flat_map(|any| any.split('|')).collect();
        assert!(phrases.len() <= MAX_PHRASES, "{}", phrases.len());
        for phrase in phrases {
            let reply = format!("550 x {phrase}\r\n");
            let words = Words::of(Reply::parse(reply.as_bytes()).unwrap());
            let found = words.at_each_word().any(|text| text.starts_with(phrase.as_bytes()));
            assert!(found && !phrase.is_empty(), "{phrase:?} is never found");
        }
    }

    /// The code alone says something about every reply.
    #[test]
    fn the_last_rules_match_everything() {
        for code in 400..600 {
            let reply = format!("{code}\r\n");
            let reply = Reply::parse(reply.as_bytes()).unwrap();
            let mut rules = RULES.iter();
            let matches = |rule: &Rule| {
                rule.words.is_empty() && rule.matches(SaidTo::Reset, reply.code(), None)
            };
            assert!(rules.any(matches), "{code}");
        }
    }

    /// Each rule decides something that no rule before it does.
    #[test]
    fn no_rule_stands_in_the_shade_of_others() {
        const STAGES: [SaidTo; 10] = [
            SaidTo::Connecting,
            SaidTo::Hello,
            SaidTo::StartTls,
            SaidTo::Auth,
            SaidTo::Mail,
            SaidTo::Rcpt,
            SaidTo::Data,
            SaidTo::Content,
            SaidTo::Reset,
            SaidTo::Quit,
        ];
        let mut idle = Vec::new();
        for (place, rule) in RULES.iter().enumerate() {
            let decides = |code: u16, words: &str, said_to| {
                let status = rule
                    .status
                    .map(|(subject, detail, _)| format!("{}.{subject}.{detail} ", code / 100));
                let raw = format!("{code} {}{words}\r\n", status.unwrap_or_default());
                let reply = Reply::parse(raw.as_bytes()).unwrap();
                deciding(reply, &Words::of(reply), said_to)
                    .is_some_and(|(rule, _)| std::ptr::eq(*rule, &RULES[place]))
            };
            let codes = (400..600).filter(|code| {
                let fits = |pattern: &u16| [*code, code / 10, code / 100].contains(pattern);
                rule.codes.is_empty() || rule.codes.iter().any(fits)
            });
            let codes: Vec<_> = codes.collect();
            let stages = if rule.at.is_empty() { &STAGES[..] } else { rule.at };
            let sentences = sentences(rule.words);
            let decides_any = sentences.iter().any(|words| {
                codes.iter().any(|code| stages.iter().any(|at| decides(*code, words, *at)))
            });
            if !decides_any {
                idle.push(format!("{:?} {:?} {:?}", rule.codes, rule.status, rule.words));
            }
        }
        assert!(idle.is_empty(), "{idle:#?}");
    }

    /// Everything that a rule's words match: one alternative at each place.
    fn sentences(words: &[&str]) -> Vec<String> {
        words.iter().fold(vec![String::new()], |sentences, any| {
            let with = |phrase: &str| -> Vec<_> {
                sentences.iter().map(|sentence| format!("{sentence} {phrase}")).collect()
            };
            any.split('|').flat_map(with).collect()
        })
    }
}
