//! The commands of an envelope in one go: what may go out without a reply in between is written together.

use std::time::Instant;

use super::send::{write_mail, write_rcpt};
use super::{Expected, MAX_GROUP, To};
use crate::command;
use crate::config::Pipelining;
use crate::mail::PartialRefusal;
use crate::session::Session;

/// Commands around those that name the recipients: RSET, MAIL and DATA.
const AROUND: usize = 3;

impl Session {
    /// Whether the next mail's envelope goes out in one go, DATA included, once its MAIL may go out.
    pub(super) fn is_one_flight(&self, mode: Pipelining) -> bool {
        let transfer = &self.transfer;
        let Some(transaction) = transfer.transactions.get(transfer.sending) else { return false };
        let recipients = transaction.mail.envelope.forward_paths().len();
        matches!(mode, Pipelining::Envelope | Pipelining::Cross)
            && transaction.mail.partial_refusal == PartialRefusal::DeliverToRest
            && transfer.expected.len() + recipients + AROUND <= MAX_GROUP
            && !self.uses_bdat(&transaction.mail)
    }

    /// Queues the next mail from RSET, where one is needed, to DATA.
    pub(super) fn send_envelope(&mut self, now: Instant, mode: Pipelining) -> bool {
        let flight = self.transfer.flight_of_next().max(Pipelining::Envelope);
        let resets = self.transfer.take_reset(mode);
        let data = |out: &mut Vec<u8>, _: &str| out.extend_from_slice(command::DATA);
        let Some(end) = self.push_envelope(now, flight, resets, data) else { return false };
        self.transfer.expect(To::Data, end);
        self.transfer.sending += 1;
        true
    }

    /// Queues the commands of the next mail's envelope and what comes `last`, which gets the size of the content in
    /// decimal and has one reply; and the expectations of the replies, but for that one. Says where all of it ends.
    pub(super) fn push_envelope(
        &mut self,
        now: Instant,
        flight: Pipelining,
        resets: bool,
        last: impl FnOnce(&mut Vec<u8>, &str),
    ) -> Option<u64> {
        let Self { transfer, transmit, extensions, .. } = self;
        self.rearm |= transfer.expected.is_empty();
        let transaction = transfer.transactions.get_mut(transfer.sending)?;
        let mail = &transaction.mail;
        let mut size = itoa::Buffer::new();
        let size = size.format(mail.content.len());
        let start = transmit.queued();
        let mut mail_end = start;
        let mut recipients = 0;
        let end = transmit.push_command(|out| {
            let before = out.len();
            let mut expect = |to, out: &Vec<u8>| {
                let end = start + (out.len() - before) as u64;
                transfer.expected.push_back(Expected { to, begins: 0, end });
                end
            };
            if resets {
                out.extend_from_slice(command::RSET);
                expect(To::Reset, out);
            }
            write_mail(out, mail, size, extensions);
            mail_end = expect(To::Mail, out);
            let mut next = transaction.next_recipient(0);
            while let Some(place) = next {
                write_rcpt(out, mail, extensions, place);
                expect(To::Rcpt, out);
                recipients += 1;
                next = transaction.next_recipient(place + 1);
            }
            last(out, size);
        });
        // MAIL is answered, too, and what comes last.
        transaction.envelope_queued(flight, recipients + 2);
        transaction.mail_queued(now, mail_end);
        transfer.budget.mail_sent();
        self.record_commands(end - start);
        Some(end)
    }
}
