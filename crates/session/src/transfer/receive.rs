//! The receive cursor: what a reply answers, and what follows from it.

use std::time::Instant;

use posthaste_reply::{Reply, ReplyBuf, ReplyCode, Severity};

use super::{Expected, To};
use crate::command;
use crate::config::{Pipelining, Protocol};
use crate::event::{CloseReason, Event, Objection, PipeliningLowered, Speaker, Violation};
use crate::session::{Phase, Session, stored};
use crate::stage::Stage;
use crate::transaction::{Cut, Next, Transaction};

impl Session {
    /// The receive cursor: one reply, which answers the oldest command without one.
    #[inline(always)]
    pub(crate) fn handle_transfer_reply(&mut self, now: Instant, reply: Reply<'_>) {
        let Some(&expected) = self.transfer.expected.front() else {
            return self.handle_unsolicited(now, reply);
        };
        if is_farewell(reply) {
            return self.handle_farewell(now, expected, stored(reply));
        }
        if expected.end > self.transmit.written() {
            return self.handle_early(now, expected, reply);
        }
        if reply.code().is_negative()
            && let Some(objection) = self.objection(expected.to, reply)
        {
            return self.handle_objection(now, expected.to, objection);
        }
        self.take_reply(now, expected.to, reply);
    }

    /// The reply answers the oldest command without one.
    #[inline(always)]
    fn take_reply(&mut self, now: Instant, to: To, reply: Reply<'_>) {
        self.transfer.expected.pop_front();
        if to != To::Reset
            && let Some(transaction) = self.transfer.transactions.front_mut()
        {
            transaction.outstanding -= 1;
        }
        match to {
            To::Mail => self.handle_mail_reply(now, reply),
            To::Rcpt => self.handle_rcpt_reply(now, reply),
            To::Data => self.handle_data_reply(now, reply),
            To::Content => self.handle_final_reply(now, reply),
            To::Chunk => self.handle_chunk_reply(now, reply),
            To::LastChunk => self.handle_last_chunk_reply(now, reply),
            To::Streamed => self.handle_streamed_reply(now, reply),
            To::LoneDot => self.handle_lone_dot_reply(now, reply),
            To::Reset => self.handle_reset_reply(now, reply),
            // Of that the phase takes care.
            To::Quit => {}
        }
        // It may only stand behind the last content.
        let is_quit = |next: &Expected| next.to == To::Quit && matches!(self.phase, Phase::Ready);
        if matches!(to, To::Content | To::Streamed)
            && self.transfer.expected.front().is_some_and(is_quit)
        {
            self.transfer.expected.clear();
            self.phase = Phase::Quitting(CloseReason::Quit);
        }
    }

    /// Whether nobody's mail was taken does not matter, as long as the server is done with it.
    fn handle_lone_dot_reply(&mut self, now: Instant, reply: Reply<'_>) {
        match reply.code().severity() {
            Severity::PositiveIntermediate => self.unexpected(now, Stage::Final, reply),
            Severity::PositiveCompletion
            | Severity::TransientNegative
            | Severity::PermanentNegative => self.finish_transactions(now, None),
        }
    }

    /// Without RSET no transaction can follow (RFC 5321 section 4.1.1.5). A refusal is the server's right all
    /// the same: some take few RSETs on one connection, however well they take mails.
    fn handle_reset_reply(&mut self, now: Instant, reply: Reply<'_>) {
        let stage = Stage::Reset;
        match reply.code().severity() {
            _ if reply.code() == ReplyCode::OK => self.transfer.is_open = false,
            Severity::TransientNegative | Severity::PermanentNegative => {
                let reply = stored(reply);
                self.close(now, CloseReason::Refused { stage, reply });
            }
            Severity::PositiveCompletion | Severity::PositiveIntermediate => {
                self.unexpected(now, stage, reply)
            }
        }
    }

    /// RFC 2920 section 3.1: one reply for each command, so this one answers nothing.
    fn handle_unsolicited(&mut self, now: Instant, reply: Reply<'_>) {
        let is_farewell = is_farewell(reply);
        let (stage, reply) = (Stage::Idle, stored(reply));
        if is_farewell {
            return self.close(now, CloseReason::Shutdown { stage, reply });
        }
        self.emit(Event::Unsolicited(reply));
        self.lower(self.pipelining(), Objection::Surplus);
        self.close(now, CloseReason::Violation { stage, violation: Violation::Surplus });
    }

    /// The server goes down. Only 421 speaks of the mail, and only where its end was written: 221 is a goodbye that
    /// leaves open what became of it (RFC 5321 section 3.8).
    fn handle_farewell(&mut self, now: Instant, expected: Expected, reply: ReplyBuf) {
        let stage = self.stage();
        let is_written = expected.end <= self.transmit.written();
        if is_written && reply.code() == ReplyCode::NOT_AVAILABLE {
            let front = self.transfer.transactions.front_mut();
            match (expected.to, front) {
                (To::Content | To::LastChunk, _) => self.refuse_at_the_end(stage, reply.clone()),
                (To::Streamed, Some(front)) if front.has_accepted() && !front.is_refused() => {
                    front.refuse(stage, reply.clone())
                }
                (To::Mail, Some(front)) => front.turn_all_away(),
                (To::Rcpt, Some(front)) if !front.is_refused() => front.turn_away(),
                _ => {}
            }
        }
        self.close(now, CloseReason::Shutdown { stage, reply });
    }

    /// A reply to a command that has not been written yet. A negative one to content on its way is a
    /// server that has heard enough; everything else answers nothing.
    fn handle_early(&mut self, now: Instant, expected: Expected, reply: Reply<'_>) {
        let stage = self.stage();
        let has_begun = expected.begins <= self.transmit.written();
        if expected.to == To::Streamed && has_begun && reply.code().is_negative() {
            // The server discards the rest, and what follows is answered.
            return self.take_reply(now, expected.to, reply);
        }
        if stage != Stage::Content || !has_begun || !reply.code().is_negative() {
            self.lower(self.pipelining(), Objection::Surplus);
            return self
                .close(now, CloseReason::Violation { stage, violation: Violation::Surplus });
        }
        if self.is_bdat_unknown(expected.to, reply) {
            return self.leave_without_bdat(now, stage, reply);
        }
        let reply = stored(reply);
        self.refuse_at_the_end(stage, reply.clone());
        self.close(now, CloseReason::Refused { stage, reply });
    }

    /// No to a content, before its end or in place of the final reply: for all recipients, in LMTP for one. To the
    /// others it may have been delivered by then.
    fn refuse_at_the_end(&mut self, stage: Stage, reply: ReplyBuf) {
        let Some(transaction) = self.transfer.transactions.front_mut() else { return };
        match self.config.protocol {
            Protocol::Smtp => transaction.refuse(stage, reply),
            Protocol::Lmtp => transaction.final_reply(stage, reply),
        }
    }

    fn refuse_front(&mut self, stage: Stage, reply: ReplyBuf) {
        if let Some(transaction) = self.transfer.transactions.front_mut() {
            transaction.refuse(stage, reply);
        }
    }

    /// Whether a negative reply speaks against the mode rather than against the mail.
    fn objection(&self, to: To, reply: Reply<'_>) -> Option<Objection> {
        let flight = self.transfer.flight();
        let front = self.transfer.transactions.front()?;
        // In LMTP that is about one recipient, and the others may have the mail.
        let is_for_one =
            self.config.protocol == Protocol::Lmtp && matches!(to, To::Content | To::LastChunk);
        if front.starts_over || front.is_refused() || is_for_one {
            return None;
        }
        let is_pipelined = front.flight > Pipelining::Off;
        match reply.code().value() {
            503 if to == To::Mail && front.flight >= Pipelining::Cross => {
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
    fn handle_objection(&mut self, now: Instant, to: To, objection: Objection) {
        let stage = self.stage();
        self.lower(self.transfer.flight(), objection);
        let Some(front) = self.transfer.transactions.front_mut() else { return };
        let is_streamed = front.flight == Pipelining::Stream;
        let is_answer = match to {
            To::Mail => objection == Objection::BadSequence,
            To::Rcpt => objection == Objection::BadSequence && is_streamed,
            _ => false,
        };
        if is_streamed {
            match to {
                To::Mail | To::Streamed => front.starts_over = true,
                To::Rcpt => front.turn_away(),
                To::Data
                | To::Content
                | To::Chunk
                | To::LastChunk
                | To::LoneDot
                | To::Reset
                | To::Quit => {}
            }
        }
        if !is_answer {
            return self.close(now, CloseReason::Objected { stage, objection });
        }
        // The flight is answered in count, so the two sides are in step: take the rest, then begin this mail anew.
        front.outstanding -= 1;
        front.starts_over |= to == To::Mail;
        self.transfer.expected.pop_front();
        self.finish_transactions(now, None);
    }

    #[inline]
    fn handle_mail_reply(&mut self, now: Instant, reply: Reply<'_>) {
        match reply.code().severity() {
            // With a new transaction begun, what was open before is not any more.
            Severity::PositiveCompletion => {
                self.transfer.is_open = false;
                // In `stream` RSET goes ahead of the replies.
                self.transfer.needs_reset &= self.pipelining() == Pipelining::Stream;
            }
            Severity::PositiveIntermediate => self.unexpected(now, Stage::Mail, reply),
            Severity::TransientNegative | Severity::PermanentNegative => {
                self.refuse_front(Stage::Mail, stored(reply));
                self.finish_transactions(now, None);
            }
        }
    }

    #[inline]
    fn handle_rcpt_reply(&mut self, now: Instant, reply: Reply<'_>) {
        let Some(transaction) = self.transfer.transactions.front_mut() else { return };
        let is_ignored = transaction.starts_over || transaction.is_refused();
        match reply.code().severity() {
            Severity::PositiveIntermediate => self.unexpected(now, Stage::Rcpt, reply),
            _ if is_ignored => {
                transaction.rcpt_ignored(reply.code().is_positive_completion());
                self.finish_transactions(now, None);
            }
            Severity::PositiveCompletion => transaction.rcpt_accepted(),
            Severity::TransientNegative | Severity::PermanentNegative => {
                transaction.rcpt_refused(stored(reply));
            }
        }
    }

    fn handle_data_reply(&mut self, now: Instant, reply: Reply<'_>) {
        let flight = self.transfer.flight();
        let Some(transaction) = self.transfer.transactions.front_mut() else { return };
        let (recipients, starts_over) = (transaction.accepted(), transaction.starts_over);
        let accepted = recipients > 0;
        match reply.code().severity() {
            // RFC 5321 section 4.3.2: nothing else than 354 invites content.
            Severity::PositiveIntermediate if reply.code() == ReplyCode::START_CONTENT => {
                if starts_over || transaction.has_stray_recipient() {
                    // The server wants content of a transaction whose MAIL it had refused, and a dot alone
                    // would deliver an empty mail.
                    return self.unexpected(now, Stage::Data, reply);
                }
                self.prove(flight);
                match (accepted, self.config.protocol) {
                    (true, _) => self.send_content(now),
                    (false, Protocol::Smtp) => self.send_lone_dot(),
                    (false, Protocol::Lmtp) => self.leave_with_lone_dot(now),
                }
            }
            Severity::PositiveIntermediate | Severity::PositiveCompletion => {
                self.unexpected(now, Stage::Data, reply)
            }
            Severity::TransientNegative | Severity::PermanentNegative => {
                self.handle_refused_data(now, flight, reply)
            }
        }
    }

    #[inline(never)]
    fn handle_refused_data(&mut self, now: Instant, flight: Pipelining, reply: Reply<'_>) {
        let Some(transaction) = self.transfer.transactions.front_mut() else { return };
        let (recipients, starts_over) = (transaction.accepted(), transaction.starts_over);
        let mail_was_refused = transaction.is_refused();
        if recipients > 0 && !starts_over {
            transaction.refuse(Stage::Data, stored(reply));
        }
        // With MAIL accepted a transaction is open, and the next MAIL would fall into it.
        if !mail_was_refused && !starts_over {
            self.transfer.leave_open(recipients);
        }
        if !starts_over {
            self.prove(flight);
        }
        self.finish_transactions(now, None);
    }

    fn send_content(&mut self, now: Instant) {
        let Some(transaction) = self.transfer.transactions.front() else { return };
        let content = transaction.mail.content.clone();
        let octets = content.len();
        let end = self.transmit.push_content(content);
        let replies = match self.config.protocol {
            Protocol::Smtp => 1,
            Protocol::Lmtp => transaction.accepted(),
        };
        let Some(transaction) = self.transfer.transactions.front_mut() else { return };
        transaction.content_begins(now, octets as u64);
        transaction.content_queued(end);
        transaction.outstanding += replies;
        for _ in 0..replies {
            self.transfer.expect(To::Content, end);
        }
        self.record_content(octets);
    }

    pub(super) fn record_content(&mut self, octets: usize) {
        if self.config.transcript {
            self.record(Speaker::Client, format!("[{octets} octets of content]"));
        }
    }

    /// The same in LMTP, where nobody can say whether a reply comes to a dot that is for no recipient (RFC 2033
    /// section 4.2): nothing more is said on this connection.
    fn leave_with_lone_dot(&mut self, now: Instant) {
        self.command(|out| out.extend_from_slice(command::LONE_DOT));
        self.finish_transactions(now, None);
        self.close_politely(CloseReason::Quit);
    }

    /// RFC 2920 section 3.1: DATA was accepted although no recipient was. Nothing but a dot may be sent.
    fn send_lone_dot(&mut self) {
        let end = self.command(|out| out.extend_from_slice(command::LONE_DOT));
        self.transfer.expect(To::LoneDot, end);
        if let Some(transaction) = self.transfer.transactions.front_mut() {
            transaction.outstanding += 1;
        }
    }

    /// The end of content: one reply for all recipients, or in LMTP one for each that was accepted.
    fn handle_final_reply(&mut self, now: Instant, reply: Reply<'_>) {
        match (reply.code().severity(), self.config.protocol) {
            (Severity::PositiveIntermediate, _) => self.unexpected(now, Stage::Final, reply),
            (_, Protocol::Lmtp) => {
                if let Some(transaction) = self.transfer.transactions.front_mut() {
                    transaction.final_reply(Stage::Final, stored(reply));
                }
                self.finish_transactions(now, None);
            }
            (Severity::PositiveCompletion, Protocol::Smtp) => {
                self.finish_transactions(now, Some(stored(reply)))
            }
            (Severity::TransientNegative | Severity::PermanentNegative, Protocol::Smtp) => {
                self.refuse_front(Stage::Final, stored(reply));
                self.finish_transactions(now, None);
            }
        }
    }

    fn handle_chunk_reply(&mut self, now: Instant, reply: Reply<'_>) {
        let Some(transaction) = self.transfer.transactions.front_mut() else { return };
        let is_refused = transaction.is_refused();
        match reply.code().severity() {
            Severity::PositiveIntermediate => self.unexpected(now, Stage::Content, reply),
            _ if is_refused => self.finish_transactions(now, None),
            Severity::PositiveCompletion => transaction.has_chunk = true,
            Severity::TransientNegative | Severity::PermanentNegative => {
                self.handle_refused_chunk(now, To::Chunk, Stage::Content, reply)
            }
        }
    }

    fn handle_last_chunk_reply(&mut self, now: Instant, reply: Reply<'_>) {
        let Some(transaction) = self.transfer.transactions.front_mut() else { return };
        let is_refused = transaction.is_refused();
        match (reply.code().severity(), self.config.protocol) {
            (Severity::PositiveCompletion | Severity::PositiveIntermediate, _) if is_refused => {
                // The server says that it has a content of which it has refused a part.
                transaction.forget_refusal();
                self.unexpected(now, Stage::Final, reply);
            }
            (_, _) if is_refused => self.finish_transactions(now, None),
            (Severity::TransientNegative | Severity::PermanentNegative, _)
                if self.config.protocol == Protocol::Smtp
                    || self.is_bdat_unknown(To::LastChunk, reply) =>
            {
                self.handle_refused_chunk(now, To::LastChunk, Stage::Final, reply)
            }
            (_, _) => self.handle_final_reply(now, reply),
        }
    }

    /// RFC 3030 section 2: the transaction has failed, and only RSET ends it.
    fn handle_refused_chunk(&mut self, now: Instant, to: To, stage: Stage, reply: Reply<'_>) {
        if self.is_bdat_unknown(to, reply) {
            return self.leave_without_bdat(now, stage, reply);
        }
        let recipients = self.transfer.transactions.front().map_or(0, Transaction::accepted);
        self.transfer.leave_open(recipients);
        self.retract_chunk();
        self.refuse_front(stage, stored(reply));
        self.finish_transactions(now, None);
    }

    /// Whether the reply is about the command rather than about the mail. In LMTP it may be about the first of
    /// several recipients.
    fn is_bdat_unknown(&self, to: To, reply: Reply<'_>) -> bool {
        let Some(front) = self.transfer.transactions.front() else { return false };
        let is_for_one = self.config.protocol == Protocol::Lmtp && front.accepted() > 1;
        matches!(to, To::Chunk | To::LastChunk)
            && matches!(reply.code().value(), 500 | 502 | 503)
            && !front.has_chunk
            && !(to == To::LastChunk && is_for_one)
    }

    /// A server that does not know BDAT after all takes what follows for commands, so nothing more is said on this
    /// connection. There still is DATA on another one, but for binary content.
    pub(super) fn leave_without_bdat(&mut self, now: Instant, stage: Stage, reply: Reply<'_>) {
        let Some(transaction) = self.transfer.transactions.front_mut() else { return };
        if transaction.mail.content.is_binary() {
            transaction.refuse(stage, stored(reply));
        }
        transaction.starts_over = true;
        self.emit(Event::ChunkingRefused(stored(reply)));
        self.close(now, CloseReason::Objected { stage, objection: Objection::Chunking });
    }

    /// Takes back a chunk that the server has not heard of, since none may be begun any more.
    fn retract_chunk(&mut self) {
        let written = self.transmit.written();
        let Some(front) = self.transfer.transactions.front_mut() else { return };
        if front.chunk_start < written || self.transmit.is_empty() {
            return;
        }
        while self.transfer.expected.pop_back_if(|back| back.end > written).is_some() {
            front.outstanding -= 1;
        }
        self.transmit.discard();
    }

    /// Reports the oldest transaction if nothing more is to come of it.
    pub(super) fn finish_transactions(&mut self, now: Instant, reply: Option<ReplyBuf>) {
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
        if !transfer.transactions.front().is_some_and(Transaction::is_over) {
            return;
        }
        let Some(front) = transfer.transactions.pop_front() else { return };
        transfer.sending = transfer.sending.saturating_sub(1);
        transfer.unwritten = transfer.unwritten.saturating_sub(1);
        // What is behind a streamed mail is on its way, so that this one is handed back.
        if front.has_stray_recipient() {
            transfer.leave_open(1);
        }
        if front.starts_over && front.flight < Pipelining::Stream {
            transfer.transactions.push_front(front.start_over());
            transfer.sending = 0;
            return;
        }
        transfer.octets = transfer.octets.saturating_sub(front.mail.content.len());
        self.emit(Event::Finished(front.finish(now, reply)));
    }

    /// Takes note that a flight of this mode was answered as usual.
    pub(super) fn prove(&mut self, flight: Pipelining) {
        if flight > self.transfer.proven {
            self.transfer.proven = flight;
            self.emit(Event::PipeliningProven(flight));
        }
    }

    pub(super) fn lower(&mut self, from: Pipelining, objection: Objection) {
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
        let transactions = std::mem::take(&mut self.transfer.transactions);
        for (place, transaction) in transactions.into_iter().enumerate() {
            let cut = match reason {
                _ if transaction.starts_over => Cut::Objected,
                CloseReason::Objected { .. } => Cut::Objected,
                _ if place > 0 => Cut::Behind,
                CloseReason::Violation { .. } => Cut::OutOfStep(stage),
                _ => Cut::Lost(stage),
            };
            let finished = transaction.cut(now, written, cut);
            self.emit(Event::Finished(finished));
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
            CloseReason::Lost { .. } if flight >= Pipelining::Cross => {
                self.lower(flight, Objection::Close)
            }
            CloseReason::Timeout { .. } => self.lower(flight, Objection::Stall),
            _ => {}
        }
    }
}

/// Whether the server says that it goes, whatever it was asked: 421, or 221 although nobody said QUIT.
fn is_farewell(reply: Reply<'_>) -> bool {
    matches!(reply.code(), ReplyCode::NOT_AVAILABLE | ReplyCode::CLOSING)
}

/// Postfix: `554 5.5.0 Error: SMTP protocol synchronization`; Exim: `554 SMTP synchronization error`.
///
/// Addresses do not count: whoever chooses a recipient would choose what the server is heard to say.
fn speaks_of_pipelining(reply: Reply<'_>) -> bool {
    let is_word_of_it = |word: &[u8]| {
        let word = word.to_ascii_lowercase();
        let starts_with =
            |start: &[u8]| word.strip_prefix(b"(").unwrap_or(&word).starts_with(start);
        starts_with(b"synchroni") || starts_with(b"pipelin")
    };
    reply.lines().any(|line| {
        let words = line.split(|octet| matches!(octet, b' ' | b'\t'));
        words.filter(|word| !word.contains(&b'@')).any(is_word_of_it)
    })
}
