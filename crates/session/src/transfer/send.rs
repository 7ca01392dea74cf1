//! The send cursor: which command may go out now.

use std::time::Instant;

use super::To;
use crate::command::{self, MailParameters};
use crate::event::CloseReason;
use crate::mail::{Mail, PartialRefusal};
use crate::outcome::Unsendable;
use crate::session::{Phase, Session};
use crate::transaction::Next;

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
        if transfer.needs_reset && transaction.next == Next::Mail {
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
}
