//! Mode `stream`: a whole mail in one flight, ahead of the replies.

use std::time::Instant;

use posthaste_reply::{Reply, Severity};

use super::{CHUNK_SIZE, To};
use crate::command;
use crate::config::{Chunking, Pipelining, Protocol};
use crate::event::Objection;
use crate::mail::{Mail, PartialRefusal};
use crate::session::{Session, stored};
use crate::stage::Stage;
use crate::transaction::Next;

/// Most recipients of a mail that goes out in one flight: as many as every server has to take (RFC 5321 section
/// 4.5.3.1.8). With more, refusals are likely, and the content would go out for nothing.
const MAX_RECIPIENTS: usize = 100;

impl Session {
    /// Whether the server and the settings allow `stream`. Several final replies of LMTP do not go with it.
    pub(crate) fn may_stream(&self) -> bool {
        self.extensions.chunking()
            && self.config.chunking != Chunking::Off
            && self.config.protocol == Protocol::Smtp
    }

    /// Whether this mail goes out as a whole: what it does not depend on any of its replies.
    pub(super) fn streams(&self, mail: &Mail) -> bool {
        mail.partial_refusal == PartialRefusal::DeliverToRest
            && mail.content.len() <= CHUNK_SIZE
            && mail.envelope.forward_paths().len() <= MAX_RECIPIENTS
    }

    /// Begins the next mail. One that streams is queued to the end of its content.
    pub(super) fn begin_streamed(&mut self, now: Instant) -> bool {
        self.send_mail(now);
        // A server may keep the transaction of a refused BDAT open, and take the next content under its reverse-path.
        self.transfer.needs_reset = true;
        let transaction = self.transfer.transactions.get(self.transfer.sending);
        if transaction.is_some_and(|transaction| self.streams(&transaction.mail)) {
            self.send_rest(now);
        }
        true
    }

    fn send_rest(&mut self, now: Instant) {
        while let Some(transaction) = self.transfer.transactions.get(self.transfer.sending)
            && let Next::Rcpt(index) = transaction.next
        {
            self.send_rcpt(index);
        }
        let Some(transaction) = self.transfer.transactions.get(self.transfer.sending) else {
            return;
        };
        let content = transaction.mail.content.clone();
        let octets = content.len();
        let begins = self.command(|out| command::bdat(out, octets, true));
        self.record_content(octets);
        let end = self.transmit.push_part(content, 0..octets);
        self.transfer.expect_part(To::Streamed, begins, end);
        let backlog = end - self.transmit.written();
        if let Some(transaction) = self.transfer.transactions.get_mut(self.transfer.sending) {
            transaction.outstanding += 1;
            transaction.flight = Pipelining::Stream;
            transaction.content_begins(now, backlog);
            transaction.content_queued(end);
        }
        self.sent_all();
    }

    /// The reply to the content of a mail whose envelope may have been refused.
    pub(super) fn handle_streamed_reply(&mut self, now: Instant, reply: Reply<'_>) {
        let Some(front) = self.transfer.transactions.front_mut() else { return };
        let is_taken = front.has_accepted() && !front.is_refused() && !front.starts_over;
        match reply.code().severity() {
            Severity::PositiveCompletion if is_taken => {
                self.prove(Pipelining::Stream);
                self.transfer.opening.taken();
                self.finish_transactions(now, Some(stored(reply)));
            }
            // With another transaction open on the server it went out under that one's reverse-path.
            Severity::PositiveCompletion | Severity::PositiveIntermediate => {
                self.unexpected(now, Stage::Final, reply)
            }
            Severity::TransientNegative | Severity::PermanentNegative => {
                self.handle_streamed_refusal(now, is_taken, reply)
            }
        }
    }

    fn handle_streamed_refusal(&mut self, now: Instant, is_news: bool, reply: Reply<'_>) {
        let is_unknown = is_news && matches!(reply.code().value(), 500 | 502 | 503);
        if is_unknown && self.transfer.proven < Pipelining::Stream {
            return self.leave_without_bdat(now, Stage::Final, reply);
        }
        if is_unknown {
            self.lower(Pipelining::Stream, Objection::BadSequence);
        }
        let Some(front) = self.transfer.transactions.front_mut() else { return };
        if is_unknown {
            front.starts_over = true;
        } else if is_news {
            front.refuse(Stage::Final, stored(reply));
        }
        self.transfer.opening.refused();
        self.finish_transactions(now, None);
    }
}
