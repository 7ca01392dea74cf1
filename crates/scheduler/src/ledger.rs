//! The books of one mail: which recipients are settled, and which go into the next attempt.

mod books;
#[cfg(test)]
mod tests;

use posthaste_session::reply::ReplyBuf;
use posthaste_session::{
    Content, Envelope, ForwardPath, Mail, Outcome, PartialRefusal, ReversePath, Stage, Unsendable,
};

use self::books::Books;
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
/// such a mail are as small as what is written on it.
#[derive(Debug)]
pub struct Ledger {
    submitted: Time,
    in_doubt: InDoubtPolicy,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing has happened, and there is one recipient.
    Fresh(Fresh),
    Open(Box<Books>),
}

/// A mail with one recipient, with which nothing is asked for but delivery.
#[derive(Debug)]
struct Fresh {
    reverse_path: ReversePath,
    forward_path: ForwardPath,
    content: Content,
}

impl Ledger {
    /// Opens the books.
    pub fn new(mail: Mail, in_doubt: InDoubtPolicy, submitted: Time) -> Self {
        let state = match Fresh::new(&mail) {
            Some(fresh) => State::Fresh(fresh),
            None => State::Open(Box::new(Books::new(mail))),
        };
        Self { submitted, in_doubt, state }
    }

    /// The recipients that are left, by their place in the envelope: those that are not settled, but for
    /// deferred ones as long as there are others.
    pub fn remaining(&self) -> &[u32] {
        match &self.state {
            State::Fresh(_) => &[0],
            State::Open(books) => books.remaining(),
        }
    }

    /// What the mail consists of.
    pub fn content(&self) -> &Content {
        match &self.state {
            State::Fresh(fresh) => &fresh.content,
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
        let in_doubt = self.in_doubt;
        self.books().attempted(now, outcomes, in_doubt)
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
        if let State::Fresh(fresh) = &self.state {
            self.state = State::Open(Box::new(Books::new(fresh.mail())));
        }
        match &mut self.state {
            State::Open(books) => books,
            State::Fresh(_) => unreachable!("it was opened above"),
        }
    }
}

impl Fresh {
    fn new(mail: &Mail) -> Option<Self> {
        let Mail { envelope, content, partial_refusal } = mail;
        let [forward_path] = envelope.forward_paths() else { return None };
        if envelope.has_options() || *partial_refusal != PartialRefusal::default() {
            return None;
        }
        Some(Self {
            reverse_path: envelope.reverse_path().clone(),
            forward_path: forward_path.clone(),
            content: content.clone(),
        })
    }

    fn mail(&self) -> Mail {
        let envelope = Envelope::new(self.reverse_path.clone(), [self.forward_path.clone()]);
        Mail::new(envelope.expect("it has a recipient"), self.content.clone())
    }
}
