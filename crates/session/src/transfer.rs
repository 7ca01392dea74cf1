//! Mail transactions: which command goes out when, and which reply answers what.
//!
//! Two cursors run over the same transactions: the *send* cursor ([`Session::fill`]) decides what may be written
//! now, the *receive* cursor ([`Session::handle_transfer_reply`]) takes replies in the order of their commands.

use std::collections::VecDeque;
use std::time::Instant;

use posthaste_reply::{Reply, ReplyBuf, ReplyCode, Severity};

use crate::command::{self, MailParameters};
use crate::config::Pipelining;
use crate::event::{CloseReason, Event, Objection, PipeliningLowered, Speaker, Violation};
use crate::mail::{Mail, PartialRefusal};
use crate::outcome::Unsendable;
use crate::session::{Phase, Session, TransactionId, stored};
use crate::stage::Stage;
use crate::transaction::{Cut, Next, Transaction};

/// Most replies awaited at once. At 60 octets a command this is half of a usual socket buffer; more in
/// flight gains nothing, and real servers look at their input only every hundred recipients or so.
const MAX_GROUP: usize = 512;

/// The mail transactions of a session.
#[derive(Debug)]
pub(crate) struct Transfer {
    mode: Pipelining,
    /// The highest mode that the server has answered as usual on this connection.
    proven: Pipelining,
    /// What the coming replies answer, the next one first. Content, if any, is always the first.
    expected: VecDeque<Expected>,
    /// Mails without an outcome, the oldest first. Replies come in this order.
    transactions: VecDeque<Transaction>,
    /// Index of the transaction whose commands are being sent.
    sending: usize,
    /// A transaction is open on the server that nobody wants any more.
    needs_reset: bool,
    /// [`MAX_GROUP`] was reached, and half of it has to be answered first.
    is_group_full: bool,
    next_id: u64,
}

/// One reply to come.
#[derive(Clone, Copy, Debug)]
struct Expected {
    to: To,
    /// Position where its command ends; a reply that comes before that was written answers nothing.
    end: u64,
}

/// What a reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Mail,
    Rcpt,
    Data,
    /// The end of content.
    Content,
    /// A dot alone, sent because DATA was accepted for nobody.
    LoneDot,
    Reset,
}

impl Transfer {
    pub(crate) fn new(mode: Pipelining) -> Self {
        Self {
            mode,
            proven: Pipelining::Off,
            expected: VecDeque::new(),
            transactions: VecDeque::new(),
            sending: 0,
            needs_reset: false,
            is_group_full: false,
            next_id: 0,
        }
    }

    pub(crate) fn mode(&self) -> Pipelining {
        self.mode
    }

    pub(crate) fn set_mode(&mut self, mode: Pipelining) {
        self.mode = mode;
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.transactions.len()
    }

    /// `cross` needs the next mail while the content of the one before is on its way.
    pub(crate) fn room(&self, mode: Pipelining) -> usize {
        let most = match mode {
            Pipelining::Off | Pipelining::Envelope => 1,
            Pipelining::Cross => 2,
        };
        most - self.transactions.len().min(most)
    }

    pub(crate) fn add(&mut self, mail: Mail) -> TransactionId {
        let id = TransactionId(self.next_id);
        self.next_id += 1;
        self.transactions.push_back(Transaction::new(id, mail));
        id
    }

    pub(crate) fn stage(&self, written: u64) -> Stage {
        let Some(expected) = self.expected.front() else { return Stage::Idle };
        match expected.to {
            To::Mail => Stage::Mail,
            To::Rcpt => Stage::Rcpt,
            To::Data => Stage::Data,
            To::Content if expected.end > written => Stage::Content,
            To::Content | To::LoneDot => Stage::Final,
            To::Reset => Stage::Reset,
        }
    }

    /// Takes note of octets written. True when that postpones the deadline: content has made progress.
    pub(crate) fn handle_progress(&mut self, now: Instant, written: u64) -> bool {
        let Some(Expected { to: To::Content, .. }) = self.expected.front() else { return false };
        let Some(transaction) = self.transactions.front_mut() else { return false };
        let is_written = transaction.content_end().is_some_and(|end| end <= written);
        !is_written || transaction.content_written(now)
    }

    fn expect(&mut self, to: To, end: u64) {
        self.expected.push_back(Expected { to, end });
    }

    /// The highest mode in which something was sent that has no final reply yet.
    fn flight(&self) -> Pipelining {
        let flights = self.transactions.iter().map(|transaction| transaction.flight);
        flights.max().unwrap_or(Pipelining::Off)
    }

    /// The mode in which the next command of `transaction` would go out.
    fn flight_of_next(&self) -> Pipelining {
        match self.expected.front() {
            None => Pipelining::Off,
            Some(Expected { to: To::Content, .. }) => Pipelining::Cross,
            Some(_) => Pipelining::Envelope,
        }
    }

    /// Whether the next command has to wait for replies, whatever it is.
    fn must_wait(&mut self, mode: Pipelining) -> bool {
        let outstanding = self.expected.len();
        self.is_group_full =
            outstanding >= MAX_GROUP || self.is_group_full && outstanding > MAX_GROUP / 2;
        let behind_content =
            self.expected.front().is_some_and(|e| matches!(e.to, To::Content | To::LoneDot));
        // DATA ends a group (RFC 2920 section 3.1).
        let behind_data = self.expected.back().is_some_and(|e| e.to == To::Data);
        match mode {
            Pipelining::Off => outstanding > 0,
            Pipelining::Envelope => self.is_group_full || behind_data || behind_content,
            Pipelining::Cross => self.is_group_full || behind_data,
        }
    }
}

impl Session {
    /// Whether this server can be given this mail.
    pub(crate) fn check_sendable(&self, mail: &Mail) -> Result<(), Unsendable> {
        let extensions = &self.extensions;
        let octets = mail.content.len() as u64;
        // A limit of 0 means that none is known (RFC 1870 section 4).
        let limit = extensions.size().and_then(|size| size.limit).filter(|&limit| limit > 0);
        if let Some(limit) = limit.filter(|&limit| octets > limit) {
            return Err(Unsendable::TooLarge { octets, limit });
        }
        let needs_smtputf8 = mail.envelope.needs_smtputf8() || mail.content.header_needs_smtputf8();
        if needs_smtputf8 && !extensions.smtputf8() {
            return Err(Unsendable::SmtpUtf8);
        }
        // SMTPUTF8 implies that 8-bit content is understood (RFC 6531 section 3.1).
        if mail.content.has_8bit() && !extensions.eight_bit_mime() && !extensions.smtputf8() {
            return Err(Unsendable::EightBit);
        }
        Ok(())
    }

    /// The send cursor: queues every command that may go out now.
    pub(crate) fn fill(&mut self, now: Instant) {
        while self.send_next(now) {}
        let is_idle = self.transfer.transactions.is_empty() && self.transfer.expected.is_empty();
        if self.quits && is_idle && matches!(self.phase, Phase::Ready) {
            self.close_politely(CloseReason::Quit);
        }
    }

    /// Queues one command, if one may go out.
    fn send_next(&mut self, now: Instant) -> bool {
        let mode = self.pipelining();
        let transfer = &mut self.transfer;
        if transfer.must_wait(mode) {
            return false;
        }
        let Some(transaction) = transfer.transactions.get(transfer.sending) else { return false };
        if transfer.needs_reset {
            transfer.needs_reset = false;
            self.send(To::Reset, |out, _| out.extend_from_slice(command::RSET));
            return true;
        }
        match transaction.next {
            Next::Mail => self.send_mail(now),
            Next::Rcpt(index) => self.send_rcpt(index),
            Next::Data => self.send_data(now),
            Next::Done => false,
        }
    }

    fn send_mail(&mut self, now: Instant) -> bool {
        let (size, eight_bit, smtputf8) = {
            let extensions = &self.extensions;
            (extensions.size().is_some(), extensions.eight_bit_mime(), extensions.smtputf8())
        };
        let end = self.send(To::Mail, |out, Mail { envelope, content, .. }| {
            let needs_smtputf8 = envelope.needs_smtputf8() || content.header_needs_smtputf8();
            let parameters = MailParameters {
                size: size.then(|| content.len()),
                eight_bit: eight_bit && content.has_8bit(),
                smtputf8: smtputf8 && needs_smtputf8,
            };
            command::mail(out, envelope.reverse_path(), parameters);
        });
        let Some(transaction) = self.transfer.transactions.get_mut(self.transfer.sending) else {
            return false;
        };
        transaction.mail_queued(now, end);
        transaction.next = Next::Rcpt(0);
        true
    }

    fn send_rcpt(&mut self, index: usize) -> bool {
        self.send(To::Rcpt, |out, mail| {
            if let Some(forward_path) = mail.envelope.forward_paths().get(index) {
                command::rcpt(out, forward_path);
            }
        });
        let Some(transaction) = self.transfer.transactions.get_mut(self.transfer.sending) else {
            return false;
        };
        let is_last = index + 1 == transaction.mail.envelope.forward_paths().len();
        transaction.next = if is_last { Next::Data } else { Next::Rcpt(index + 1) };
        true
    }

    fn send_data(&mut self, now: Instant) -> bool {
        let transfer = &mut self.transfer;
        let Some(transaction) = transfer.transactions.get_mut(transfer.sending) else {
            return false;
        };
        let all_answered = transaction.all_rcpts_answered();
        let all_or_nothing = transaction.mail.partial_refusal == PartialRefusal::AllOrNothing;
        if all_or_nothing && !all_answered {
            return false;
        }
        let for_nobody = all_answered && !transaction.has_accepted();
        if for_nobody || all_or_nothing && transaction.any_rcpt_refused() {
            transfer.needs_reset = true;
            self.sent_all();
            self.finish_transactions(now, None);
            return true;
        }
        self.send(To::Data, |out, _| out.extend_from_slice(command::DATA));
        self.sent_all();
        true
    }

    /// The send cursor moves on to the next transaction.
    fn sent_all(&mut self) {
        let transfer = &mut self.transfer;
        if let Some(transaction) = transfer.transactions.get_mut(transfer.sending) {
            transaction.next = Next::Done;
            transfer.sending += 1;
        }
    }

    /// Queues a command of the transaction being sent, and the expectation of its reply. Says where it ends.
    fn send(&mut self, to: To, write: impl FnOnce(&mut Vec<u8>, &Mail)) -> u64 {
        self.rearm |= self.transfer.expected.is_empty();
        let flight = self.transfer.flight_of_next();
        let Some(transaction) = self.transfer.transactions.get_mut(self.transfer.sending) else {
            return self.transmit.queued();
        };
        if to != To::Reset {
            transaction.outstanding += 1;
            transaction.flight = transaction.flight.max(flight);
        }
        let before = self.transmit.queued();
        let end = self.transmit.push_command(|out| write(out, &transaction.mail));
        self.record_command(end - before);
        self.transfer.expect(to, end);
        end
    }

    /// The receive cursor: one reply, which answers the oldest command without one.
    pub(crate) fn handle_transfer_reply(&mut self, now: Instant, reply: Reply<'_>) {
        let stage = self.transfer.stage(self.transmit.written());
        let flight = self.transfer.flight();
        let Some(&expected) = self.transfer.expected.front() else {
            return self.handle_unsolicited(now, reply);
        };
        if expected.end > self.transmit.written() {
            return self.handle_early(now, stage, reply);
        }
        if let Some(objection) = self.objection(expected.to, flight, reply) {
            return self.handle_objection(now, stage, objection);
        }
        if reply.code() == ReplyCode::NOT_AVAILABLE {
            if expected.to == To::Content {
                self.refuse_front(stage, stored(reply));
            }
            let reply = stored(reply);
            return self.close(now, CloseReason::Shutdown { stage, reply });
        }
        self.transfer.expected.pop_front();
        if expected.to != To::Reset
            && let Some(transaction) = self.transfer.transactions.front_mut()
        {
            transaction.outstanding -= 1;
        }
        match expected.to {
            To::Mail => self.handle_mail_reply(now, reply),
            To::Rcpt => self.handle_rcpt_reply(now, reply),
            To::Data => self.handle_data_reply(now, flight, reply),
            To::Content => self.handle_final_reply(now, reply),
            To::LoneDot => self.finish_transactions(now, None),
            To::Reset if reply.code() == ReplyCode::OK => {}
            To::Reset => self.unexpected(now, stage, reply),
        }
    }

    /// RFC 2920 section 3.1: one reply for each command, so this one answers nothing.
    fn handle_unsolicited(&mut self, now: Instant, reply: Reply<'_>) {
        let (stage, reply) = (Stage::Idle, stored(reply));
        if reply.code() == ReplyCode::NOT_AVAILABLE {
            return self.close(now, CloseReason::Shutdown { stage, reply });
        }
        self.emit(Event::Unsolicited(reply));
        self.lower(self.pipelining(), Objection::Surplus);
        self.close(now, CloseReason::Violation { stage, violation: Violation::Surplus });
    }

    /// A reply to a command that has not been written yet. A negative one to content on its way is a
    /// server that has heard enough; everything else answers nothing.
    fn handle_early(&mut self, now: Instant, stage: Stage, reply: Reply<'_>) {
        let is_negative = matches!(
            reply.code().severity(),
            Severity::TransientNegative | Severity::PermanentNegative
        );
        if stage != Stage::Content || !is_negative {
            self.lower(self.pipelining(), Objection::Surplus);
            return self
                .close(now, CloseReason::Violation { stage, violation: Violation::Surplus });
        }
        let reply = stored(reply);
        if reply.code() == ReplyCode::NOT_AVAILABLE {
            return self.close(now, CloseReason::Shutdown { stage, reply });
        }
        self.refuse_front(stage, reply.clone());
        self.close(now, CloseReason::Refused { stage, reply });
    }

    fn refuse_front(&mut self, stage: Stage, reply: ReplyBuf) {
        if let Some(transaction) = self.transfer.transactions.front_mut() {
            transaction.refuse(stage, reply);
        }
    }

    /// Whether the reply speaks against the mode rather than against the mail.
    fn objection(&self, to: To, flight: Pipelining, reply: Reply<'_>) -> Option<Objection> {
        let front = self.transfer.transactions.front()?;
        if front.starts_over || front.is_refused() {
            return None;
        }
        let is_pipelined = front.flight > Pipelining::Off;
        match reply.code().value() {
            503 if to == To::Mail && front.flight == Pipelining::Cross => {
                Some(Objection::BadSequence)
            }
            503 if to == To::Rcpt && is_pipelined => Some(Objection::BadSequence),
            503 if to == To::Data && is_pipelined && front.has_accepted() => {
                Some(Objection::BadSequence)
            }
            500..=503 | 554 if flight > Pipelining::Off && speaks_of_pipelining(reply) => {
                Some(Objection::Synchronization)
            }
            _ => None,
        }
    }

    /// The mode goes down, and no mail suffers.
    fn handle_objection(&mut self, now: Instant, stage: Stage, objection: Objection) {
        self.lower(self.transfer.flight(), objection);
        if (stage, objection) != (Stage::Mail, Objection::BadSequence) {
            return self.close(now, CloseReason::Objected { stage, objection });
        }
        // The flight is answered in count, so the two sides are in step: take the rest, then begin this mail anew.
        self.transfer.expected.pop_front();
        if let Some(transaction) = self.transfer.transactions.front_mut() {
            transaction.outstanding -= 1;
            transaction.starts_over = true;
        }
        self.finish_transactions(now, None);
    }

    fn handle_mail_reply(&mut self, now: Instant, reply: Reply<'_>) {
        match reply.code().severity() {
            Severity::PositiveCompletion => {}
            Severity::PositiveIntermediate => self.unexpected(now, Stage::Mail, reply),
            Severity::TransientNegative | Severity::PermanentNegative => {
                self.refuse_front(Stage::Mail, stored(reply));
                self.finish_transactions(now, None);
            }
        }
    }

    fn handle_rcpt_reply(&mut self, now: Instant, reply: Reply<'_>) {
        let Some(transaction) = self.transfer.transactions.front_mut() else { return };
        if transaction.starts_over || transaction.is_refused() {
            transaction.rcpt_ignored();
            return self.finish_transactions(now, None);
        }
        match reply.code().severity() {
            Severity::PositiveCompletion => transaction.rcpt_accepted(),
            Severity::PositiveIntermediate => self.unexpected(now, Stage::Rcpt, reply),
            Severity::TransientNegative | Severity::PermanentNegative => {
                transaction.rcpt_refused(stored(reply));
            }
        }
    }

    fn handle_data_reply(&mut self, now: Instant, flight: Pipelining, reply: Reply<'_>) {
        let Some(transaction) = self.transfer.transactions.front_mut() else { return };
        let (accepted, starts_over) = (transaction.has_accepted(), transaction.starts_over);
        match reply.code().severity() {
            // RFC 5321 section 4.3.2: nothing else than 354 invites content.
            Severity::PositiveIntermediate if reply.code() == ReplyCode::START_CONTENT => {
                if starts_over {
                    // The server wants content of a transaction whose MAIL it had refused.
                    return self.unexpected(now, Stage::Data, reply);
                }
                self.prove(flight);
                if accepted { self.send_content(now) } else { self.send_lone_dot() }
            }
            Severity::PositiveIntermediate | Severity::PositiveCompletion => {
                self.unexpected(now, Stage::Data, reply)
            }
            Severity::TransientNegative | Severity::PermanentNegative => {
                let mail_was_refused = transaction.is_refused();
                if accepted && !starts_over {
                    transaction.refuse(Stage::Data, stored(reply));
                }
                // With MAIL accepted a transaction is open, and the next MAIL would fall into it.
                self.transfer.needs_reset |= !mail_was_refused && !starts_over;
                if !starts_over {
                    self.prove(flight);
                }
                self.finish_transactions(now, None);
            }
        }
    }

    fn send_content(&mut self, now: Instant) {
        let Some(transaction) = self.transfer.transactions.front_mut() else { return };
        let content = transaction.mail.content.clone();
        let octets = content.len();
        let end = self.transmit.push_content(content);
        transaction.content_queued(now, end);
        transaction.outstanding += 1;
        self.transfer.expect(To::Content, end);
        if self.config.transcript {
            self.record(Speaker::Client, format!("[{octets} octets of content]"));
        }
    }

    /// RFC 2920 section 3.1: DATA was accepted although no recipient was. Nothing but a dot may be sent.
    fn send_lone_dot(&mut self) {
        let end = self.command(|out| out.extend_from_slice(command::LONE_DOT));
        self.transfer.expect(To::LoneDot, end);
        if let Some(transaction) = self.transfer.transactions.front_mut() {
            transaction.outstanding += 1;
        }
    }

    fn handle_final_reply(&mut self, now: Instant, reply: Reply<'_>) {
        match reply.code().severity() {
            Severity::PositiveCompletion => self.finish_transactions(now, Some(stored(reply))),
            Severity::PositiveIntermediate => self.unexpected(now, Stage::Final, reply),
            Severity::TransientNegative | Severity::PermanentNegative => {
                self.refuse_front(Stage::Final, stored(reply));
                self.finish_transactions(now, None);
            }
        }
    }

    /// Reports the oldest transaction if nothing more is to come of it.
    fn finish_transactions(&mut self, now: Instant, reply: Option<ReplyBuf>) {
        let transfer = &mut self.transfer;
        if let Some(front) = transfer.transactions.front_mut()
            && (front.is_refused() || front.starts_over)
            && front.next != Next::Done
            && transfer.sending == 0
        {
            // Refused halfway: the commands that are left would all be refused, too.
            front.next = Next::Done;
            transfer.sending = 1;
        }
        let Some(front) = transfer.transactions.pop_front_if(|front| front.is_over()) else {
            return;
        };
        transfer.sending = transfer.sending.saturating_sub(1);
        if front.starts_over {
            transfer.needs_reset |= front.has_accepted();
            transfer.transactions.push_front(front.start_over());
            transfer.sending = 0;
            return;
        }
        let finished = front.finish(now, reply);
        self.emit(Event::Finished(Box::new(finished)));
    }

    /// Takes note that a flight of this mode was answered as usual.
    fn prove(&mut self, flight: Pipelining) {
        if flight > self.transfer.proven {
            self.transfer.proven = flight;
            self.emit(Event::PipeliningProven(flight));
        }
    }

    fn lower(&mut self, from: Pipelining, objection: Objection) {
        let to = from.lower();
        if from > to && self.transfer.mode > to {
            self.transfer.mode = to;
            self.emit(Event::PipeliningLowered(PipeliningLowered { from, to, objection }));
        }
    }

    /// Gives every mail its outcome, because the connection has ended.
    pub(crate) fn cut_transactions(&mut self, now: Instant, reason: &CloseReason) {
        self.lower_for(reason);
        let stage = reason.stage();
        let written = self.transmit.written();
        for transaction in std::mem::take(&mut self.transfer.transactions) {
            let cut = match reason {
                CloseReason::Objected { .. } => Cut::Objected,
                _ if transaction.starts_over => Cut::Objected,
                _ => Cut::Lost,
            };
            let finished = transaction.cut(now, written, stage, cut);
            self.emit(Event::Finished(Box::new(finished)));
        }
        self.transfer.expected.clear();
    }

    /// The first flight of a mode that is met by silence, or by a close, speaks against the mode. Later ones
    /// speak of a server that is in trouble, or going down.
    fn lower_for(&mut self, reason: &CloseReason) {
        let flight = self.transfer.flight();
        if flight <= self.transfer.proven {
            return;
        }
        match reason {
            CloseReason::Lost { .. } if flight == Pipelining::Cross => {
                self.lower(flight, Objection::Close)
            }
            CloseReason::Timeout { .. } => self.lower(flight, Objection::Stall),
            _ => {}
        }
    }
}

/// Postfix: `554 5.5.0 Error: SMTP protocol synchronization`; Exim: `554 SMTP synchronization error`.
fn speaks_of_pipelining(reply: Reply<'_>) -> bool {
    reply.lines().any(|line| {
        let line = line.to_ascii_lowercase();
        ["synchroni", "pipelin"]
            .iter()
            .any(|word| memchr::memmem::find(&line, word.as_bytes()).is_some())
    })
}
