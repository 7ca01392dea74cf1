//! One mail transaction: what has been sent of it and what has been answered.

use std::time::Instant;

use posthaste_reply::ReplyBuf;

use crate::config::Pipelining;
use crate::mail::Mail;
use crate::outcome::{Finished, NotSent, Outcome, Refusal, Timing, TransactionId};
use crate::stage::Stage;

/// A mail in the session, from its submission to its outcome.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) id: TransactionId,
    pub(crate) mail: Mail,
    /// What is to be sent next.
    pub(crate) next: Next,
    /// Replies that are still to come.
    pub(crate) outstanding: usize,
    /// The highest mode in which any of its commands was sent.
    pub(crate) flight: Pipelining,
    /// The server objected to the mode: the replies still to come are ignored, then all begins anew.
    pub(crate) starts_over: bool,
    /// Position in the transmitted octets where MAIL ends.
    mail_end: Option<u64>,
    /// Position where the content's terminator ends.
    content_end: Option<u64>,
    refusal: Option<Refusal>,
    recipients: Vec<Recipient>,
    answered: usize,
    accepted: usize,
    has_stray_recipient: bool,
    timing: Timing,
}

/// The send cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Mail,
    /// RCPT with this index.
    Rcpt(usize),
    Data,
    /// Nothing more before the reply to DATA, or nothing at all.
    Done,
}

#[derive(Debug)]
enum Recipient {
    Pending,
    Accepted,
    Refused(ReplyBuf),
}

/// How a transaction ended that was not answered to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The connection is gone, at this stage.
    Lost(Stage),
    /// It was ended because the server's replies fit no more.
    OutOfStep(Stage),
    /// It is gone, and the server had not come to this mail yet.
    Behind,
    /// The server objected to the pipelining mode.
    Objected,
}

impl Transaction {
    pub(crate) fn new(id: TransactionId, mail: Mail) -> Self {
        let recipients = mail.envelope.forward_paths().iter().map(|_| Recipient::Pending).collect();
        Self {
            id,
            mail,
            next: Next::Mail,
            outstanding: 0,
            flight: Pipelining::Off,
            starts_over: false,
            mail_end: None,
            content_end: None,
            refusal: None,
            recipients,
            answered: 0,
            accepted: 0,
            has_stray_recipient: false,
            timing: Timing::default(),
        }
    }

    /// As good as new, for another try in a lower mode.
    pub(crate) fn start_over(self) -> Self {
        Self::new(self.id, self.mail)
    }

    pub(crate) fn mail_queued(&mut self, now: Instant, end: u64) {
        self.mail_end = Some(end);
        self.timing.mail = Some(now);
    }

    pub(crate) fn content_queued(&mut self, now: Instant, end: u64) {
        self.content_end = Some(end);
        self.timing.data = Some(now);
    }

    pub(crate) fn content_end(&self) -> Option<u64> {
        self.content_end
    }

    /// Takes note that the content is out. True the first time.
    pub(crate) fn content_written(&mut self, now: Instant) -> bool {
        self.timing.content.replace(now).is_none()
    }

    /// The whole mail is refused: by MAIL, DATA or the final reply.
    pub(crate) fn refuse(&mut self, stage: Stage, reply: ReplyBuf) {
        self.refusal = Some(Refusal { stage, reply });
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }

    pub(crate) fn rcpt_accepted(&mut self) {
        self.answer(Recipient::Accepted);
        self.accepted += 1;
    }

    pub(crate) fn rcpt_refused(&mut self, reply: ReplyBuf) {
        self.answer(Recipient::Refused(reply));
    }

    /// Counts a reply to RCPT that says nothing about the recipient, because MAIL had been refused.
    pub(crate) fn rcpt_ignored(&mut self, is_positive: bool) {
        self.answered += 1;
        self.has_stray_recipient |= is_positive;
    }

    /// Whether the server took a recipient although it had refused MAIL: it has a transaction open that is
    /// not this one.
    pub(crate) fn has_stray_recipient(&self) -> bool {
        self.has_stray_recipient
    }

    fn answer(&mut self, recipient: Recipient) {
        if let Some(slot) = self.recipients.get_mut(self.answered) {
            *slot = recipient;
        }
        self.answered += 1;
    }

    pub(crate) fn has_accepted(&self) -> bool {
        self.accepted > 0
    }

    pub(crate) fn all_rcpts_answered(&self) -> bool {
        self.answered == self.recipients.len()
    }

    /// Whether some recipient has been refused by now.
    pub(crate) fn any_rcpt_refused(&self) -> bool {
        self.accepted < self.answered
    }

    /// Nothing more is sent and nothing more is awaited.
    pub(crate) fn is_over(&self) -> bool {
        self.next == Next::Done && self.outstanding == 0
    }

    /// Ends the transaction; `reply` is the positive final reply, if there was one.
    pub(crate) fn finish(mut self, now: Instant, reply: Option<ReplyBuf>) -> Finished {
        self.timing.finished = Some(now);
        let refusal = self.refusal.take();
        let outcome = |recipient| match (recipient, &refusal, &reply) {
            (Recipient::Refused(reply), _, _) => {
                Outcome::Refused(Refusal { stage: Stage::Rcpt, reply })
            }
            (_, Some(refusal), _) => Outcome::Refused(refusal.clone()),
            (Recipient::Accepted, None, Some(reply)) => Outcome::Delivered(reply.clone()),
            (Recipient::Accepted | Recipient::Pending, None, _) => {
                Outcome::NotSent(NotSent::AllOrNothing)
            }
        };
        let outcomes = self.recipients.into_iter().map(outcome).collect();
        Finished { id: self.id, mail: self.mail, outcomes, timing: self.timing }
    }

    /// Ends the transaction where the connection ended; `written` octets had been written by then.
    pub(crate) fn cut(mut self, now: Instant, written: u64, cut: Cut) -> Finished {
        self.timing.finished = Some(now);
        let was_handed_over = self.content_end.is_some_and(|end| end <= written);
        let is_unwritten = self.mail_end.is_none_or(|end| end > written);
        let not_sent = match cut {
            Cut::Objected => NotSent::Pipelining,
            Cut::Behind => NotSent::NeverStarted,
            Cut::Lost(_) | Cut::OutOfStep(_) if is_unwritten => NotSent::NeverStarted,
            Cut::Lost(stage) | Cut::OutOfStep(stage) => NotSent::Interrupted(stage),
        };
        // What was refused may have been meant for another mail of the flight.
        let refusals_count =
            !(matches!(cut, Cut::OutOfStep(_)) && self.flight == Pipelining::Cross);
        let may_be_accepted = was_handed_over && cut != Cut::Objected;
        let refusal = self.refusal.take().filter(|_| refusals_count);
        let outcome = |recipient| match (recipient, &refusal) {
            (Recipient::Refused(reply), _) if refusals_count => {
                Outcome::Refused(Refusal { stage: Stage::Rcpt, reply })
            }
            (_, Some(refusal)) => Outcome::Refused(refusal.clone()),
            (Recipient::Accepted, None) if may_be_accepted => Outcome::InDoubt,
            (_, None) => Outcome::NotSent(not_sent),
        };
        let outcomes = self.recipients.into_iter().map(outcome).collect();
        Finished { id: self.id, mail: self.mail, outcomes, timing: self.timing }
    }
}
