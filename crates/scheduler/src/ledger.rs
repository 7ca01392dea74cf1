//! The books of one mail: which recipients are settled, and which go into the next attempt.

mod books;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use posthaste_session::reply::ReplyBuf;
use posthaste_session::{
    Content, Envelope, ForwardPath, Mail, Outcome, PartialRefusal, ReversePath, Stage, Unsendable,
};

use self::books::{Books, Line};
use crate::planner::{AttemptResult, GiveUp};
use crate::report::{Report, ReportTiming};
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

/// The books of one mail, from submission to [`Report`].
///
/// A recipient that is settled stays settled: later attempts do not contain it. Whatever happens,
/// the report has each recipient once.
///
/// Millions of mails may wait for their first attempt, and most have one recipient: the books of
/// such a mail are its forward-path, and what it has in common with others.
#[derive(Debug)]
pub struct Ledger {
    submitted: Time,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing has happened, and nothing is asked for but delivery to one recipient.
    Fresh {
        forward_path: ForwardPath,
        common: Arc<Common>,
    },
    Open(Box<Books>),
}

/// What mails to different recipients may have in common.
#[derive(Debug)]
struct Common {
    reverse_path: ReversePath,
    content: Content,
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
            State::Fresh { common, .. } => &common.content,
            State::Open(books) => &books.mail().content,
        }
    }

    /// The mail for the next attempt, with the first `most` recipients of those that
    /// [remain](Self::remaining), but one at least; `None` if none remains. The content is shared, not
    /// copied.
    pub fn next_attempt(&mut self, now: Time, most: u32) -> Option<Mail> {
        self.books().next_attempt(now, most)
    }

    /// Enters what became of the last [`next_attempt`](Self::next_attempt), one outcome for each of
    /// its recipients in their order, and says what the planner has to know. A recipient without
    /// an outcome is in doubt.
    pub fn attempted(&mut self, now: Time, outcomes: &[Outcome]) -> AttemptResult {
        self.books().attempted(now, outcomes, Line::Fresh)
    }

    /// The same for an attempt over a connection that had delivered other mails before. What the
    /// server gives no reason for may be its limit of mails a connection: the first time it costs
    /// nothing.
    pub fn attempted_after_others(&mut self, now: Time, outcomes: &[Outcome]) -> AttemptResult {
        self.books().attempted(now, outcomes, Line::Used)
    }

    /// Enters that the server cannot take this mail, and says what the planner has to know.
    pub fn unsendable(&mut self, now: Time, reason: Unsendable) -> AttemptResult {
        self.books().unsendable(now, reason)
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
        self.into_report()
    }

    /// Closes the books. A recipient that is not settled is in doubt.
    pub fn into_report(mut self) -> Report {
        let submitted = self.submitted;
        let books = self.books();
        let (started, ended) = (books.started(), books.ended().unwrap_or(submitted));
        let timing = ReportTiming { submitted, started, ended };
        Report { recipients: books.close(), trouble: None, timing }
    }

    fn books(&mut self) -> &mut Books {
        if let State::Fresh { forward_path, common } = &self.state {
            let envelope = Envelope::new(common.reverse_path.clone(), [forward_path.clone()]);
            let envelope = envelope.expect("it has a recipient");
            let mail = Mail::new(envelope, common.content.clone());
            self.state = State::Open(Box::new(Books::new(mail, common.in_doubt)));
        }
        match &mut self.state {
            State::Open(books) => books,
            State::Fresh { .. } => unreachable!("it was opened above"),
        }
    }
}

impl Ledgers {
    /// Opens the books of the next mail.
    pub(crate) fn open(&mut self, mail: Mail, in_doubt: InDoubtPolicy, submitted: Time) -> Ledger {
        let is_usual =
            !mail.envelope.has_options() && mail.partial_refusal == PartialRefusal::default();
        let state = match mail.envelope.forward_paths() {
            [forward_path] if is_usual => {
                let common = self.common(&mail, in_doubt);
                State::Fresh { forward_path: forward_path.clone(), common }
            }
            _ => State::Open(Box::new(Books::new(mail, in_doubt))),
        };
        Ledger { submitted, state }
    }

    fn common(&mut self, mail: &Mail, in_doubt: InDoubtPolicy) -> Arc<Common> {
        let Mail { envelope, content, .. } = mail;
        let last = self.last.take().filter(|last| {
            last.content.is_shared_with(content)
                && last.reverse_path == *envelope.reverse_path()
                && last.in_doubt == in_doubt
        });
        let common = last.unwrap_or_else(|| {
            let (reverse_path, content) = (envelope.reverse_path().clone(), content.clone());
            Arc::new(Common { reverse_path, content, in_doubt })
        });
        Arc::clone(self.last.insert(common))
    }
}
