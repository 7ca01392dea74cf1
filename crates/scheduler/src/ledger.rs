//! The books of one mail: which recipients are settled, and which go into the next attempt.

mod books;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use posthaste_session::reply::ReplyBuf;
use posthaste_session::{
    Content, Envelope, ForwardPath, Mail, Outcome, PartialRefusal, ReversePath, Stage, Unsendable,
};

use self::books::Books;
use crate::planner::{Answer, AttemptResult, GiveUp};
use crate::report::{RecipientReport, RecipientState, Report, ReportTiming};
use crate::time::Time;

/// What a mail in doubt means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum InDoubtPolicy {
    /// It is reported as in doubt: it may be lost, and is never delivered twice.
    #[default]
    Report,
    /// It is sent again after a while: it may be delivered twice, and is never lost. The setting
    /// of a mail transfer agent.
    Retry,
}

/// An attempt that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When its mail was [handed out](Ledger::next_attempt).
    pub started: Time,
    /// When its outcomes were entered.
    pub ended: Time,
    /// One for each of its recipients, in their order. Who has none is in doubt.
    pub outcomes: Vec<Outcome>,
    /// What its connection had done before.
    pub connection: Freshness,
}

/// What the connection of an attempt had done before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing.
    Fresh,
    /// It had delivered other mails. What the server gives no reason for may be its limit of mails
    /// a connection: the first time it costs nothing.
    Used,
}

/// The books of one mail, from submission to [`Report`].
///
/// A recipient that is settled stays settled: later attempts do not contain it. Whatever happens,
/// the report has each recipient once.
///
/// Millions of mails may wait for their first attempt, and most have one recipient: the books of
/// such a mail are its forward-path and its content, and what it has in common with others.
#[derive(Debug)]
pub struct Ledger {
    submitted: Time,
    state: State,
}

#[derive(Debug)]
enum State {
    /// No attempt is over, and nothing is asked for but delivery to one recipient.
    Fresh {
        forward_path: ForwardPath,
        content: Content,
        common: Arc<Common>,
    },
    Open(Box<Books>),
}

/// What mails to different recipients may have in common.
#[derive(Debug)]
struct Common {
    reverse_path: ReversePath,
    in_doubt: InDoubtPolicy,
}

/// Opens the books of mails that come one after another: what one has in common with the last one is kept once.
#[derive(Debug, Default)]
pub(crate) struct Ledgers {
    last: Option<Arc<Common>>,
}

impl Ledger {
    /// Opens the books.
    pub fn new(mail: Mail, in_doubt: InDoubtPolicy, submitted: Time) -> Self {
        Ledgers::default().open(mail, in_doubt, submitted)
    }

    /// The recipients that are left, by their place in the envelope: those that are not settled, but for
    /// deferred ones as long as there are others.
    pub fn remaining(&self) -> &[u32] {
        match &self.state {
            State::Fresh { .. } => &[0],
            State::Open(books) => books.remaining(),
        }
    }

    /// What the mail consists of.
    pub fn content(&self) -> &Content {
        match &self.state {
            State::Fresh { content, .. } => content,
            State::Open(books) => &books.mail().content,
        }
    }

    /// The mail for the next attempt, with the first `most` recipients of those that
    /// [remain](Self::remaining), but one at least; `None` if none remains. The content is shared, not
    /// copied.
    pub fn next_attempt(&mut self, most: u32) -> Option<Mail> {
        match &mut self.state {
            State::Fresh { forward_path, content, common } => {
                Some(common.mail(forward_path, content))
            }
            State::Open(books) => books.next_attempt(most),
        }
    }

    /// Enters what became of the last [`next_attempt`](Self::next_attempt), and says what the planner has to
    /// know. What a mail was delivered with in its first attempt is not kept here:
    /// [`into_report`](Self::into_report) gets to know it again.
    pub fn attempted(&mut self, attempt: &Attempt) -> AttemptResult {
        match &self.state {
            State::Fresh { .. } if attempt.has_delivered_to_one() => {
                AttemptResult::done(Answer::Accepted)
            }
            State::Fresh { .. } | State::Open(_) => self.books().attempted(attempt),
        }
    }

    /// Enters that this connection cannot take this mail, but another one to the same server may:
    /// every recipient of the attempt has had it.
    pub fn unsendable_here(&mut self, now: Time) -> AttemptResult {
        self.books().unsendable_here(now)
    }

    /// Closes the books although recipients are left. What the server said last about the session
    /// is reported where that is the cause, or where it said nothing about the recipient.
    pub fn give_up(
        mut self,
        now: Time,
        cause: GiveUp,
        attempts: u32,
        words: Option<(Stage, ReplyBuf)>,
    ) -> Report {
        self.books().give_up(now, cause, attempts, words);
        self.close()
    }

    /// Closes the books of a mail that this server cannot take.
    pub fn unsendable(mut self, now: Time, reason: Unsendable) -> Report {
        self.books().unsendable(now, reason);
        self.close()
    }

    /// Closes the books after the attempt that was the last. A recipient that is not settled is in doubt.
    pub fn into_report(self, last: Attempt) -> Report {
        let is_simple = last.has_delivered_to_one();
        let Attempt { started, ended, outcomes, connection: _ } = last;
        match (self.state, outcomes.into_iter().next()) {
            (State::Fresh { forward_path, .. }, Some(Outcome::Delivered(reply))) if is_simple => {
                let recipient = RecipientReport {
                    forward_path,
                    state: RecipientState::Delivered,
                    cause: None,
                    stage: Some(Stage::Final),
                    reply: Some(reply),
                    attempts: 1,
                    possible_duplicates: 0,
                };
                let submitted = self.submitted;
                let timing = ReportTiming { submitted, started: Some(started), ended };
                Report { recipients: vec![recipient], trouble: None, timing }
            }
            (state, _) => Self { state, ..self }.close(),
        }
    }

    fn close(mut self) -> Report {
        let submitted = self.submitted;
        let books = self.books();
        let (started, ended) = (books.started(), books.ended().unwrap_or(submitted));
        let timing = ReportTiming { submitted, started, ended };
        Report { recipients: books.close(), trouble: None, timing }
    }

    fn books(&mut self) -> &mut Books {
        if let State::Fresh { forward_path, content, common } = &self.state {
            let mail = common.mail(forward_path, content);
            self.state = State::Open(Box::new(Books::new(mail, common.in_doubt)));
        }
        match &mut self.state {
            State::Open(books) => books,
            State::Fresh { .. } => unreachable!("it was opened above"),
        }
    }
}

impl Attempt {
    fn has_delivered_to_one(&self) -> bool {
        matches!(&*self.outcomes, [Outcome::Delivered(_)])
    }
}

impl Common {
    fn mail(&self, forward_path: &ForwardPath, content: &Content) -> Mail {
        let envelope = Envelope::to_one(self.reverse_path.clone(), forward_path.clone());
        Mail::new(envelope, content.clone())
    }
}

impl Ledgers {
    /// Opens the books of the next mail.
    pub(crate) fn open(&mut self, mail: Mail, in_doubt: InDoubtPolicy, submitted: Time) -> Ledger {
        let is_usual =
            !mail.envelope.has_options() && mail.partial_refusal == PartialRefusal::default();
        let state = match mail.envelope.forward_paths() {
            [forward_path] if is_usual => State::Fresh {
                forward_path: forward_path.clone(),
                common: self.common(mail.envelope.reverse_path(), in_doubt),
                content: mail.content,
            },
            _ => State::Open(Box::new(Books::new(mail, in_doubt))),
        };
        Ledger { submitted, state }
    }

    fn common(&mut self, reverse_path: &ReversePath, in_doubt: InDoubtPolicy) -> Arc<Common> {
        let is_the_same =
            |it: &Arc<Common>| it.reverse_path == *reverse_path && it.in_doubt == in_doubt;
        let last = self.last.take().filter(is_the_same);
        let new = || Arc::new(Common { reverse_path: reverse_path.clone(), in_doubt });
        Arc::clone(self.last.insert(last.unwrap_or_else(new)))
    }
}
