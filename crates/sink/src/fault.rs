//! Fault rules: what goes wrong, when, and how often.
//!
//! A rule is text, as in `--fault 'at=rcpt rcpt=*@slow.test first=2 per=rcpt reply="451 later"'`:
//! the stage (`at=`), conditions and actions, in any order.
//!
//! | condition | the rule applies |
//! |---|---|
//! | `rcpt=GLOB`, `from=GLOB` | to this recipient (behind RCPT: if any recipient of the mail fits), this reverse-path; `*` and `?` |
//! | `after=N` | not to the first N times |
//! | `first=N` | to the first N times (behind `after`) |
//! | `every=N` | to each Nth time of these |
//! | `prob=P` | with this probability, 0 to 1, by the sink's seed |
//! | `for=T` | until the sink has run for T |
//! | `per=sink\|conn\|rcpt\|from` | what the times are counted for: all together (the default), each connection, recipient or reverse-path |
//!
//! | action | instead of the usual reply |
//! |---|---|
//! | `reply="451 4.7.1 later"` | this reply; `\n` begins a further line; the session's state follows its code |
//! | `reply=none` / `reply=usual` | no reply / the usual one (the default, unless `close` or `stall` is given: then none) |
//! | `raw="250\n"` | exactly these octets |
//! | `garbage="..."`, `surplus="..."` | these octets before, behind the reply |
//! | `delay=T` | everything above later; meanwhile the session reads nothing |
//! | `trickle=T` | one octet each T |
//! | `close=fin\|rst` | then the connection closes |
//! | `stall=true` | then nothing is read or written any more |
//! | `store=true\|false` | at `final`: the mail is kept or not, whatever is answered (otherwise kept if a positive reply is given) |
//! | `bytes=N` | at `content`: not before N octets of it have come |
//!
//! In quotes `\r`, `\n`, `\t`, `\0`, `\xHH`, `\"` and `\\` are escapes. The first rule that applies
//! wins.

pub(crate) mod engine;
mod parse;

use std::time::Duration;

use crate::session::Close;
use crate::stage::Stage;

pub use parse::FaultError;

/// One rule; see the [module's documentation](self) for its text form.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultRule {
    pub(crate) text: String,
    pub(crate) stage: Stage,
    pub(crate) when: When,
    pub(crate) action: Action,
}

/// The conditions of a rule.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct When {
    pub(crate) rcpt: Option<Glob>,
    pub(crate) from: Option<Glob>,
    pub(crate) after: u64,
    pub(crate) first: Option<u64>,
    pub(crate) every: Option<u64>,
    pub(crate) probability: Option<f64>,
    pub(crate) until: Option<Duration>,
    pub(crate) per: Scope,
}

/// What the times of a rule are counted for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Scope {
    #[default]
    Sink,
    Connection,
    Recipient,
    ReversePath,
}

/// The actions of a rule.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Action {
    pub(crate) answer: Option<Answer>,
    pub(crate) garbage: Vec<u8>,
    pub(crate) surplus: Vec<u8>,
    pub(crate) delay: Option<Duration>,
    pub(crate) trickle: Option<Duration>,
    pub(crate) close: Option<Close>,
    pub(crate) stall: bool,
    pub(crate) store: Option<bool>,
    pub(crate) bytes: u64,
}

/// What a rule gives for a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Usual,
    Nothing,
    /// Octets of a whole reply or of anything else.
    Octets(Vec<u8>),
}

impl Action {
    /// The answer, where none is given: a session that only closes or stalls says nothing.
    pub(crate) fn answer(&self) -> &Answer {
        match &self.answer {
            Some(answer) => answer,
            None if self.close.is_some() || self.stall => &Answer::Nothing,
            None => &Answer::Usual,
        }
    }
}

/// A pattern with `*` for any octets and `?` for one, without regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob(String);

impl Glob {
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let pattern = self.0.as_bytes();
        let (mut p, mut t) = (0, 0);
        // Where to go on after the latest `*` if what follows it does not fit here.
        let mut retry: Option<(usize, usize)> = None;
        while t < text.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    retry = Some((p + 1, t));
                    p += 1;
                }
                Some(b'?') => (p, t) = (p + 1, t + 1),
                Some(octet) if octet.eq_ignore_ascii_case(&text[t]) => (p, t) = (p + 1, t + 1),
                Some(_) | None => {
                    let Some((after, from)) = retry else { return false };
                    retry = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
            }
        }
        pattern[p..].iter().all(|&octet| octet == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*@slow.test", "u@slow.test", true),
            ("*@SLOW.test", "u@slow.TEST", true),
            ("*@slow.test", "u@slow.test.example", false),
            ("u?@x", "u1@x", true),
            ("u?@x", "u@x", false),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXb", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(
                Glob(pattern.to_owned()).matches(text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }
}
