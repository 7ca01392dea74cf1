//! The failure table, to be read: what may happen in a session, and what follows.
//!
//! The functions of [`failure`](super) decide; a test walks this table and holds them to it. What
//! the planner makes of an [`Answer`], a [`Closed`] and a [`Lesson`] stands beside their variants.

mod rows;

use posthaste_session::{Objection, Requirement, Stage};

pub use self::rows::TABLE;
use super::{Closed, ConnectFailure, Lesson, Verdict};
use crate::planner::Answer;

/// One kind of trouble, or of success. What has several endings has several rows of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// Its number in the table.
    pub number: u8,
    /// Where in a session it happens; anywhere if empty.
    pub stages: &'static [Stage],
    /// What happens.
    pub what: &'static str,
    /// What becomes of the mail that was on its way, or of the recipient. `None`: nothing of any
    /// mail was tried, so each keeps its place and its attempts.
    pub mail: Option<Verdict>,
    /// What the mail's end says of server and connection.
    pub answer: Answer,
    /// How the connection's end is seen; `None` if it goes on.
    pub end: Option<Closed>,
    /// What is learned.
    pub lesson: Lesson,
    /// What such a thing looks like. Each of them has all the effects above.
    pub examples: &'static [Example],
    /// How this goes together with what other mail transfer agents do about it.
    pub standing: Standing,
}

/// Where a row is decided. Complete on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Here, by the book.
    Here,
    /// Here, and on purpose not by the book: what the book says, and why it is not done.
    Differs(&'static str),
    /// By somebody else, before it could come here: by whom, and what.
    Elsewhere(&'static str),
    /// Nowhere yet: what is missing.
    Missing(&'static str),
}

/// Something that happens in a session. Complete on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Example {
    /// The server says this line.
    Said(Stage, &'static str),
    /// No connection comes about.
    Unconnected(ConnectFailure),
    /// The connection ends without a word.
    Lost(Stage),
    /// The server falls silent.
    Timeout(Stage),
    /// The server sends what is no reply.
    Garbage(Stage),
    /// The server sends octets in the clear behind its reply to STARTTLS (RFC 3207 section 6).
    Injected,
    /// The server does not offer what the policy demands.
    Lacks(Requirement),
    /// The server does not bear the pipelining mode, or BDAT.
    Objected(Stage, Objection),
    /// The session is aborted from here.
    Aborted(Stage),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use posthaste_session::reply::{FrameError, Protocol, Reply, ReplyBuf};
    use posthaste_session::{CloseReason, NotSent, Outcome, Refusal, Violation};

    use super::*;
    use crate::failure::{
        Consequence, close_lesson, closed, connect_failed, connect_lesson, judge, read,
    };

    /// What the functions say of an example, in the columns of a row.
    #[derive(Debug, PartialEq)]
    struct Effects {
        mail: Option<Verdict>,
        answer: Answer,
        end: Option<Closed>,
        lesson: Lesson,
    }

    fn reply(line: &str) -> ReplyBuf {
        Reply::parse(format!("{line}\r\n").as_bytes()).unwrap().to_owned()
    }

    fn is_within_mail(stage: Stage) -> bool {
        (Stage::Mail..=Stage::Final).contains(&stage)
    }

    /// How the session reports a mail whose connection ends.
    fn cut(stage: Stage) -> Option<Outcome> {
        is_within_mail(stage).then_some(match stage {
            Stage::Final => Outcome::InDoubt,
            stage => Outcome::NotSent(NotSent::Interrupted(stage)),
        })
    }

    /// How the session reports what is said.
    fn said(stage: Stage, line: &str) -> (Option<Outcome>, Option<CloseReason>) {
        let reply = reply(line);
        let refused = Outcome::Refused(Refusal { stage, reply: reply.clone() });
        if reply.code().value() == 421 {
            let outcome = if stage == Stage::Final { Some(refused) } else { cut(stage) };
            return (outcome, Some(CloseReason::Shutdown { stage, reply }));
        }
        if !reply.code().is_negative() {
            let delivered = (stage == Stage::Final).then_some(Outcome::Delivered(reply));
            return (delivered, None);
        }
        let outcome = is_within_mail(stage).then_some(refused);
        let ends = !is_within_mail(stage) || stage == Stage::Content;
        (outcome, ends.then_some(CloseReason::Refused { stage, reply }))
    }

    fn happen(example: &Example) -> (Option<Outcome>, Option<CloseReason>) {
        let violates = |stage, violation| CloseReason::Violation { stage, violation };
        let not_smtp = FrameError::NotSmtp { protocol: Protocol::Http };
        match *example {
            Example::Said(stage, line) => said(stage, line),
            Example::Unconnected(_) => (None, None),
            Example::Lost(stage) => (cut(stage), Some(CloseReason::Lost { stage })),
            Example::Timeout(stage) => (cut(stage), Some(CloseReason::Timeout { stage })),
            Example::Garbage(stage) => {
                (cut(stage), Some(violates(stage, Violation::Malformed(not_smtp))))
            }
            Example::Injected => (None, Some(violates(Stage::StartTls, Violation::BeforeTls))),
            Example::Lacks(what) => (None, Some(CloseReason::Unavailable(what))),
            Example::Objected(stage, objection) => {
                let outcome = Outcome::NotSent(NotSent::Pipelining);
                (Some(outcome), Some(CloseReason::Objected { stage, objection }))
            }
            Example::Aborted(stage) => (cut(stage), Some(CloseReason::Aborted { stage })),
        }
    }

    fn effects(example: &Example) -> Effects {
        if let Example::Unconnected(failure) = *example {
            return Effects {
                mail: None,
                answer: Answer::Nothing,
                end: Some(connect_failed(failure)),
                lesson: connect_lesson(failure),
            };
        }
        let (outcome, close) = happen(example);
        let judgement = outcome.as_ref().map(judge);
        let learned = judgement.map_or(Lesson::Nothing, |it| it.lesson);
        Effects {
            mail: judgement.map(|it| it.verdict),
            answer: judgement.map_or(Answer::Nothing, |it| it.answer),
            end: close.as_ref().map(closed),
            lesson: close.as_ref().map_or(Lesson::Nothing, close_lesson).max(learned),
        }
    }

    fn stage(example: &Example) -> Option<Stage> {
        match *example {
            Example::Said(stage, _)
            | Example::Lost(stage)
            | Example::Timeout(stage)
            | Example::Garbage(stage)
            | Example::Objected(stage, _)
            | Example::Aborted(stage) => Some(stage),
            Example::Unconnected(_) | Example::Injected | Example::Lacks(_) => None,
        }
    }

    /// Row 4 to Row 44, all that have examples. Q34, Q38, Q39, Q40, Q61, Q64, Q65.
    #[test]
    fn each_example_has_the_effects_of_its_row() {
        let mut surprises = Vec::new();
        for row in TABLE {
            let &Row { number, what, mail, answer, end, lesson, .. } = row;
            let expected = Effects { mail, answer, end, lesson };
            for example in row.examples {
                let found = effects(example);
                if found != expected {
                    surprises.push(format!("Row {number}, {what}: {example:?}: {found:?}"));
                }
            }
        }
        assert!(surprises.is_empty(), "{surprises:#?}");
    }

    /// A row is no row without something to try it on, unless it says who else does it.
    #[test]
    fn each_row_has_examples_of_its_stages_or_says_who_decides() {
        for row in TABLE {
            let is_here = matches!(row.standing, Standing::Here | Standing::Differs(_));
            assert_eq!(is_here, !row.examples.is_empty(), "Row {}, {}", row.number, row.what);
            for stage in row.examples.iter().filter_map(stage) {
                let fits = row.stages.is_empty() || row.stages.contains(&stage);
                assert!(fits, "Row {}, {}: {stage}", row.number, row.what);
            }
        }
    }

    #[test]
    fn the_rows_are_numbered_without_a_gap() {
        let mut numbers: Vec<_> = TABLE.iter().map(|row| row.number).collect();
        assert!(numbers.is_sorted());
        numbers.dedup();
        assert!(numbers.into_iter().eq(1..=45));
    }

    /// Row 21: the session goes on.
    #[test]
    fn accepted_recipients_end_nothing() {
        for line in ["250 2.1.5 ok", "251 will forward", "252 cannot verify"] {
            let reply = reply(line);
            assert_eq!(read(Stage::Rcpt, reply.as_reply()).consequence, Consequence::Proceed);
        }
    }

    /// What concerns one mail never holds up the others, and what concerns all of them does.
    #[test]
    fn only_what_is_about_more_than_one_mail_pauses_a_server() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        for (stage, line, expected) in [
            (Stage::Mail, "450 4.7.1 too many connections, try again in 10 minutes", minutes(10)),
            (Stage::Mail, "451 4.3.2 system busy, try again in 2 minutes", minutes(2)),
            (Stage::Rcpt, "550 Ip frequency limited", minutes(60)),
            (Stage::Rcpt, "450 4.7.1 Greylisted, try again in 5 minutes", minutes(0)),
            (Stage::Rcpt, "550 5.2.121 x", minutes(0)),
            (Stage::Mail, "550 Sender frequency limited", minutes(0)),
            (Stage::Final, "550 5.4.5 Daily sending quota exceeded", minutes(240)),
            (Stage::Final, "451 4.3.0 hm", minutes(0)),
        ] {
            let (outcome, _) = said(stage, line);
            assert_eq!(judge(&outcome.unwrap()).pause, expected, "{stage} {line}");
        }
    }
}
