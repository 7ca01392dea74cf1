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
    /// A chunk of the content has been taken.
    pub(crate) has_chunk: bool,
    /// Position where the BDAT of its last chunk so far begins.
    pub(crate) chunk_start: u64,
    /// Position in the transmitted octets where MAIL ends.
    mail_end: Option<u64>,
    /// Position where the content ends, with all that goes with it.
    content_end: Option<u64>,
    /// Octets that had to go out when the content began, to its end.
    content_backlog: u64,
    refusal: Option<Refusal>,
    recipients: Vec<Recipient>,
    /// The recipient whom the next reply to RCPT is about.
    cursor: usize,
    /// The recipient from whom on the next final reply of LMTP is about an accepted one.
    finals: usize,
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
    /// DATA, or the first BDAT.
    Data,
    /// BDAT with what begins at this octet of the content.
    Chunk(usize),
    /// Nothing more before the reply to DATA, or nothing at all.
    Done,
}

#[derive(Debug)]
enum Recipient {
    Pending,
    /// Over the server's limits, and for another transaction.
    Withheld,
    Accepted,
    Refused(Refusal),
    /// The server went instead of taking this one.
    TurnedAway,
    /// Has a positive final reply of its own, as in LMTP.
    Delivered(ReplyBuf),
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
    /// A transaction for a mail, but for the recipients that are `withheld`, by their places in order.
    #[inline(always)]
    pub(crate) fn new(id: TransactionId, mail: Mail, withheld: &[usize]) -> Self {
        let mut recipients: Vec<_> =
            mail.envelope.forward_paths().iter().map(|_| Recipient::Pending).collect();
        for &place in withheld {
            if let Some(recipient) = recipients.get_mut(place) {
                *recipient = Recipient::Withheld;
            }
        }
        let mut transaction = Self {
            id,
            mail,
            next: Next::Mail,
            outstanding: 0,
            flight: Pipelining::Off,
            starts_over: false,
            has_chunk: false,
            chunk_start: 0,
            mail_end: None,
            content_end: None,
            content_backlog: 0,
            refusal: None,
            recipients,
            cursor: 0,
            finals: 0,
            accepted: 0,
            has_stray_recipient: false,
            timing: Timing::default(),
        };
        transaction.skip_withheld();
        transaction
    }

    /// As good as new, for another try in another way.
    #[cold]
    pub(crate) fn start_over(self) -> Self {
        let is_withheld = |place: &usize| matches!(self.recipients[*place], Recipient::Withheld);
        let withheld: Vec<_> = (0..self.recipients.len()).filter(is_withheld).collect();
        Self::new(self.id, self.mail, &withheld)
    }

    /// The recipient at `place`, or the next one behind whom the server is to hear of.
    pub(crate) fn next_recipient(&self, place: usize) -> Option<usize> {
        let mut rest = self.recipients.get(place..)?.iter();
        let skipped = rest.position(|recipient| !matches!(recipient, Recipient::Withheld))?;
        Some(place + skipped)
    }

    pub(crate) fn mail_queued(&mut self, now: Instant, end: u64) {
        self.mail_end = Some(end);
        self.timing.mail = Some(now);
    }

    /// The whole envelope is queued in a flight of this mode, and so many replies are to come.
    pub(crate) fn envelope_queued(&mut self, flight: Pipelining, replies: usize) {
        self.outstanding = replies;
        self.flight = flight;
        self.next = Next::Done;
    }

    /// Content is about to go out; `backlog` octets are queued to its end.
    pub(crate) fn content_begins(&mut self, now: Instant, backlog: u64) {
        self.timing.data = Some(now);
        self.content_backlog = backlog;
    }

    /// All of the content is queued.
    pub(crate) fn content_queued(&mut self, end: u64) {
        self.content_end = Some(end);
    }

    /// When the content began, and the octets that had to go out from then on to its end.
    pub(crate) fn content_begun(&self) -> Option<(Instant, u64)> {
        Some((self.timing.data?, self.content_backlog))
    }

    pub(crate) fn content_end(&self) -> Option<u64> {
        self.content_end
    }

    /// Takes note that the content is out.
    pub(crate) fn content_written(&mut self, now: Instant) {
        self.timing.content = Some(now);
    }

    /// The whole mail is refused: by MAIL, DATA or the final reply.
    pub(crate) fn refuse(&mut self, stage: Stage, reply: ReplyBuf) {
        self.refusal = Some(Refusal { stage, reply });
    }

    /// The refusal turns out not to be believable.
    pub(crate) fn forget_refusal(&mut self) {
        self.refusal = None;
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }

    pub(crate) fn rcpt_accepted(&mut self) {
        self.answer(Recipient::Accepted);
        self.accepted += 1;
    }

    pub(crate) fn rcpt_refused(&mut self, reply: ReplyBuf) {
        self.answer(Recipient::Refused(Refusal { stage: Stage::Rcpt, reply }));
    }

    /// Counts a reply to RCPT that says nothing about the recipient, because MAIL had been refused.
    pub(crate) fn rcpt_ignored(&mut self, is_positive: bool) {
        self.cursor += 1;
        self.skip_withheld();
        self.has_stray_recipient |= is_positive;
    }

    /// Whether the server took a recipient although it had refused MAIL: it has a transaction open that is
    /// not this one.
    pub(crate) fn has_stray_recipient(&self) -> bool {
        self.has_stray_recipient
    }

    /// The server goes instead of taking the recipient whose turn it is.
    pub(crate) fn turn_away(&mut self) {
        self.answer(Recipient::TurnedAway);
    }

    /// The same instead of taking any.
    pub(crate) fn turn_all_away(&mut self) {
        while !self.all_rcpts_answered() {
            self.turn_away();
        }
    }

    #[inline]
    fn answer(&mut self, recipient: Recipient) {
        if let Some(slot) = self.recipients.get_mut(self.cursor) {
            *slot = recipient;
        }
        self.cursor += 1;
        self.skip_withheld();
    }

    fn skip_withheld(&mut self) {
        while let Some(Recipient::Withheld) = self.recipients.get(self.cursor) {
            self.cursor += 1;
        }
    }

    pub(crate) fn has_accepted(&self) -> bool {
        self.accepted > 0
    }

    /// How many recipients the server has accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted
    }

    pub(crate) fn all_rcpts_answered(&self) -> bool {
        self.cursor >= self.recipients.len()
    }

    /// Whether some recipient has been refused by now.
    pub(crate) fn any_rcpt_refused(&self) -> bool {
        self.recipients.iter().any(|recipient| matches!(recipient, Recipient::Refused(_)))
    }

    /// The next final reply of LMTP: it is about the first accepted recipient that has none yet (RFC 2033
    /// section 4.2).
    pub(crate) fn final_reply(&mut self, stage: Stage, reply: ReplyBuf) {
        let mut rest = self.recipients.iter_mut().enumerate().skip(self.finals);
        let waiting = rest.find(|(_, recipient)| matches!(recipient, Recipient::Accepted));
        let Some((at, recipient)) = waiting else { return };
        self.finals = at + 1;
        *recipient = if reply.code().is_positive_completion() {
            Recipient::Delivered(reply)
        } else {
            Recipient::Refused(Refusal { stage, reply })
        };
    }

    /// Nothing more is sent and nothing more is awaited.
    pub(crate) fn is_over(&self) -> bool {
        self.next == Next::Done && self.outstanding == 0
    }

    /// Ends the transaction; `reply` is the positive final reply, if there was one.
    pub(crate) fn finish(self, now: Instant, mut reply: Option<ReplyBuf>) -> Finished {
        let Self { id, mail, refusal, recipients, starts_over, timing, mut accepted, .. } = self;
        let not_sent = if starts_over { NotSent::Pipelining } else { NotSent::AllOrNothing };
        let mut reply_of_next = || {
            accepted -= 1;
            // The last one needs no copy.
            if accepted == 0 { reply.take() } else { reply.clone() }
        };
        let outcome = |recipient| match (recipient, &refusal) {
            (Recipient::Refused(refusal), _) => Outcome::Refused(refusal),
            (Recipient::Delivered(reply), _) => Outcome::Delivered(reply),
            (Recipient::Withheld, _) => Outcome::NotSent(NotSent::Limit),
            (Recipient::TurnedAway, _) => Outcome::NotSent(NotSent::Pipelining),
            (_, Some(refusal)) => Outcome::Refused(refusal.clone()),
            (Recipient::Accepted, None) => match reply_of_next() {
                Some(reply) => Outcome::Delivered(reply),
                None => Outcome::NotSent(not_sent),
            },
            (Recipient::Pending, None) => Outcome::NotSent(not_sent),
        };
        let outcomes = recipients.into_iter().map(outcome).collect();
        Finished { id, mail, outcomes, timing: Timing { finished: Some(now), ..timing } }
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
            !(matches!(cut, Cut::OutOfStep(_)) && self.flight >= Pipelining::Cross);
        // In `stream` the content is out, whatever the server objects to in what was before.
        let is_objected =
            cut == Cut::Objected && (self.starts_over || self.flight < Pipelining::Stream);
        let may_be_accepted = was_handed_over && !is_objected;
        let refusal = self.refusal.take().filter(|_| refusals_count);
        let outcome = |recipient| match (recipient, &refusal) {
            (Recipient::Refused(refusal), _) if refusals_count => Outcome::Refused(refusal),
            (Recipient::Delivered(reply), _) => Outcome::Delivered(reply),
            (Recipient::Withheld, _) => Outcome::NotSent(NotSent::Limit),
            // What the content was answered is not about one that was not taken.
            (Recipient::TurnedAway, _) => Outcome::NotSent(not_sent),
            (_, Some(refusal)) => Outcome::Refused(refusal.clone()),
            // Of one whose refusal does not count, nobody knows whether it was one.
            (Recipient::Accepted | Recipient::Pending | Recipient::Refused(_), None)
                if may_be_accepted =>
            {
                Outcome::InDoubt
            }
            (_, None) => Outcome::NotSent(not_sent),
        };
        let outcomes = self.recipients.into_iter().map(outcome).collect();
        Finished { id: self.id, mail: self.mail, outcomes, timing: self.timing }
    }
}
