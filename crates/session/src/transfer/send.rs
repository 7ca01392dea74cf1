//! The send cursor: which command may go out now.

use std::time::{Duration, Instant};

use posthaste_reply::Extensions;

use super::check::needs_smtputf8;
use super::{CHUNK_SIZE, To};
use crate::command::{self, Body, MailParameters};
use crate::config::{Chunking, Pipelining, Protocol, Timeouts};
use crate::event::CloseReason;
use crate::mail::{Mail, PartialRefusal};
use crate::session::{Phase, Session};
use crate::transaction::Next;

impl Session {
    /// The send cursor: queues every command that may go out now.
    pub(crate) fn fill(&mut self, now: Instant) {
        while self.send_next(now) {}
        let is_spent = self.transfer.is_spent(self.extensions.limits());
        if (self.quits || is_spent) && matches!(self.phase, Phase::Ready) {
            self.wind_down(is_spent);
        }
    }

    /// Says QUIT as soon as it may be said.
    #[cold]
    fn wind_down(&mut self, is_spent: bool) {
        let is_idle = self.transfer.transactions.is_empty() && self.transfer.expected.is_empty();
        // A mail that cannot begin any more is handed back.
        if self.quits && is_idle || is_spent && self.transfer.expected.is_empty() {
            self.close_politely(CloseReason::Quit);
        } else if self.may_quit_ahead() {
            let end = self.command(|out| out.extend_from_slice(command::QUIT));
            self.transfer.expect(To::Quit, end);
        }
    }

    /// Whether QUIT may share the flight of the last content: it may be the last command of a group (RFC 2920 section
    /// 3.1), where the server has shown that it bears commands behind content.
    fn may_quit_ahead(&self) -> bool {
        self.transfer.proven >= Pipelining::Cross
            && self.config.protocol == Protocol::Smtp
            && self.transfer.ends_with_content(self.pipelining())
    }

    /// Queues one command, if one may go out.
    fn send_next(&mut self, now: Instant) -> bool {
        let transfer = &self.transfer;
        let Some(transaction) = transfer.transactions.get(transfer.sending) else { return false };
        let next = transaction.next;
        let mode = match (next, self.config.protocol) {
            // How many replies come for a chunk that is behind a refused one, LMTP does not say.
            (Next::Chunk(_), Protocol::Lmtp) => Pipelining::Off,
            // Should one of several final replies be missing, the next command's would be taken for it.
            (_, Protocol::Lmtp) if transfer.has_several_finals() => {
                self.pipelining().min(Pipelining::Envelope)
            }
            _ => self.pipelining(),
        };
        let is_spent = transfer.is_spent(self.extensions.limits());
        let transfer = &mut self.transfer;
        if transfer.must_wait(mode, next) || next == Next::Mail && is_spent {
            return false;
        }
        if mode == Pipelining::Stream && next == Next::Mail && self.streams_next() {
            return self.send_streamed(now);
        }
        if next == Next::Mail && self.is_one_flight(mode) {
            return self.send_envelope(now, mode);
        }
        self.send_step(now, mode, next)
    }

    /// Queues one command of a mail that does not go out in one flight.
    #[inline(never)]
    fn send_step(&mut self, now: Instant, mode: Pipelining, next: Next) -> bool {
        if next == Next::Mail && self.transfer.wants_reset(mode) {
            (self.transfer.needs_reset, self.transfer.has_streamed) = (false, false);
            self.send(To::Reset, |out, _, _| out.extend_from_slice(command::RSET));
            return true;
        }
        match next {
            Next::Mail => self.send_mail(now, mode),
            Next::Rcpt(index) => self.send_rcpt(index),
            Next::Data => self.send_data(now),
            Next::Chunk(start) => self.send_chunk(start),
            Next::Done => false,
        }
    }

    fn send_mail(&mut self, now: Instant, mode: Pipelining) -> bool {
        let end = self.send(To::Mail, |out, mail, extensions| {
            let mut size = itoa::Buffer::new();
            write_mail(out, mail, size.format(mail.content.len()), extensions);
        });
        self.transfer.budget.mail_sent();
        self.transfer.needs_reset |= mode == Pipelining::Stream;
        self.transfer.has_streamed = mode == Pipelining::Stream;
        let Some(transaction) = self.transfer.transactions.get_mut(self.transfer.sending) else {
            return false;
        };
        transaction.mail_queued(now, end);
        transaction.next = transaction.next_recipient(0).map_or(Next::Data, Next::Rcpt);
        true
    }

    fn send_rcpt(&mut self, index: usize) -> bool {
        self.send(To::Rcpt, |out, mail, extensions| write_rcpt(out, mail, extensions, index));
        let Some(transaction) = self.transfer.transactions.get_mut(self.transfer.sending) else {
            return false;
        };
        transaction.next = transaction.next_recipient(index + 1).map_or(Next::Data, Next::Rcpt);
        true
    }

    fn send_data(&mut self, now: Instant) -> bool {
        let transfer = &self.transfer;
        let Some(transaction) = transfer.transactions.get(transfer.sending) else { return false };
        let uses_bdat = self.uses_bdat(&transaction.mail);
        let all_answered = transaction.all_rcpts_answered();
        let all_or_nothing = transaction.mail.partial_refusal == PartialRefusal::AllOrNothing;
        // There are servers that run the octets of a chunk behind a refused envelope as commands.
        if (all_or_nothing || uses_bdat) && !all_answered {
            return false;
        }
        let for_nobody = all_answered && !transaction.has_accepted();
        if for_nobody || all_or_nothing && transaction.any_rcpt_refused() {
            let recipients = transaction.accepted();
            self.transfer.leave_open(recipients);
            self.sent_all();
            self.finish_transactions(now, None);
            return true;
        }
        if uses_bdat {
            let flight = transaction.flight;
            let octets = transaction.mail.content.len() as u64;
            if let Some(transaction) = self.transfer.transactions.get_mut(self.transfer.sending) {
                transaction.content_begins(now, octets);
                transaction.next = Next::Chunk(0);
            }
            self.prove(flight);
            return true;
        }
        self.send(To::Data, |out, _, _| out.extend_from_slice(command::DATA));
        self.sent_all();
        true
    }

    /// One BDAT with its octets, which have to be in hand when their number is said (RFC 3030 section 2).
    fn send_chunk(&mut self, start: usize) -> bool {
        let transfer = &self.transfer;
        let Some(transaction) = transfer.transactions.get(transfer.sending) else { return false };
        let content = transaction.mail.content.clone();
        let end = content.len().min(start.saturating_add(CHUNK_SIZE));
        let is_last = end == content.len();
        let (to, replies) = match (is_last, self.config.protocol) {
            (true, Protocol::Lmtp) => (To::LastChunk, transaction.accepted()),
            (true, Protocol::Smtp) => (To::LastChunk, 1),
            (false, _) => (To::Chunk, 1),
        };
        // A chunk is begun when the one before is out, so that a refusal stops as much as it can.
        if !self.transmit.is_empty() {
            return false;
        }
        let flight = transfer.flight_of_next();
        let chunk_start = self.transmit.queued();
        self.rearm |= transfer.expected.is_empty();
        let mut octets = itoa::Buffer::new();
        let begins = self.command(|out| command::bdat(out, octets.format(end - start), is_last));
        self.record_content(end - start);
        let position = self.transmit.push_part(content, start..end);
        for _ in 0..replies {
            self.transfer.expect_part(to, begins, position);
        }
        if let Some(transaction) = self.transfer.transactions.get_mut(self.transfer.sending) {
            transaction.outstanding += replies;
            transaction.flight = transaction.flight.max(flight);
            transaction.next = Next::Chunk(end);
            transaction.chunk_start = chunk_start;
            if is_last {
                transaction.content_queued(position);
            }
        }
        if is_last {
            self.sent_all();
        }
        true
    }

    /// Whether this mail's content goes by BDAT.
    pub(super) fn uses_bdat(&self, mail: &Mail) -> bool {
        let wants = mail.content.is_binary() || self.config.chunking == Chunking::Always;
        wants && self.extensions.chunking() || self.pipelining() == Pipelining::Stream
    }

    /// When the content that is on its way must be out at the latest, however steadily it goes.
    pub(crate) fn content_deadline(&self) -> Option<Instant> {
        let (begun, octets) = self.transfer.transactions.front()?.content_begun()?;
        let Timeouts { content, min_rate, .. } = self.config.timeouts;
        let time = Duration::from_secs(octets / u64::from(min_rate?.get()));
        begun.checked_add(content.saturating_add(time))
    }

    /// The send cursor moves on to the next transaction.
    pub(super) fn sent_all(&mut self) {
        let transfer = &mut self.transfer;
        if let Some(transaction) = transfer.transactions.get_mut(transfer.sending) {
            transaction.next = Next::Done;
            transfer.sending += 1;
        }
    }

    /// Queues a command of the transaction being sent, and the expectation of its reply. Says where it ends.
    fn send(&mut self, to: To, write: impl FnOnce(&mut Vec<u8>, &Mail, &Extensions)) -> u64 {
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
        let extensions = &self.extensions;
        let end = self.transmit.push_command(|out| write(out, &transaction.mail, extensions));
        self.record_commands(end - before);
        self.transfer.expect(to, end);
        end
    }
}

/// The MAIL command for a mail of a size, in decimal, with the parameters that the server offers.
#[inline]
pub(super) fn write_mail(out: &mut Vec<u8>, mail: &Mail, size: &str, extensions: &Extensions) {
    let Mail { envelope, content, .. } = mail;
    let body = match content.has_8bit() {
        true if content.is_binary() => Body::Binary,
        // SMTPUTF8 implies 8BITMIME (RFC 6531 section 3.1).
        true if extensions.eight_bit_mime() || extensions.smtputf8() => Body::EightBit,
        _ => Body::Plain,
    };
    let parameters = MailParameters {
        size: extensions.size().map(|_| size),
        body,
        smtputf8: extensions.smtputf8() && needs_smtputf8(mail),
    };
    command::mail(out, envelope.reverse_path(), parameters, envelope.some_options(), extensions);
}

/// The RCPT command for the recipient at a place.
#[inline]
pub(super) fn write_rcpt(out: &mut Vec<u8>, mail: &Mail, extensions: &Extensions, place: usize) {
    let Mail { envelope, .. } = mail;
    if let Some(forward_path) = envelope.forward_paths().get(place) {
        command::rcpt(out, forward_path, envelope.recipient_options(place), extensions);
    }
}
