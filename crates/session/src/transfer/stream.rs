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

    /// Whether the next mail goes out as a whole: what it does not depend on any of its replies.
    pub(super) fn streams_next(&self) -> bool {
        let transaction = self.transfer.transactions.get(self.transfer.sending);
        let is_open = self.transfer.is_open;
        transaction.filter(|_| !is_open).is_some_and(|transaction| {
            let Mail { envelope, content, partial_refusal } = &transaction.mail;
            *partial_refusal == PartialRefusal::DeliverToRest
                && content.len() <= CHUNK_SIZE
                && envelope.forward_paths().len() <= MAX_RECIPIENTS
        })
    }

    /// Queues the next mail, from RSET to the end of its content.
    pub(super) fn send_streamed(&mut self, now: Instant) -> bool {
        let resets = self.transfer.take_reset(Pipelining::Stream);
        let bdat = |out: &mut Vec<u8>, size: &str| command::bdat(out, size, true);
        let begins = self.push_envelope(now, Pipelining::Stream, resets, bdat);
        let Self { transfer, transmit, .. } = self;
        let transaction = transfer.transactions.get_mut(transfer.sending);
        let (Some(begins), Some(transaction)) = (begins, transaction) else { return false };
        let content = transaction.mail.content.clone();
        let octets = content.len();
        let end = transmit.push_part(content, 0..octets);
        transaction.content_begins(now, end - transmit.written());
        transaction.content_queued(end);
        transfer.expect_part(To::Streamed, begins, end);
        transfer.sending += 1;
        self.record_content(octets);
        true
    }

    /// The reply to the content of a mail whose envelope may have been refused.
    #[inline]
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
        let recipients = if is_news { front.accepted() } else { 0 };
        if is_unknown {
            front.starts_over = true;
        } else if is_news {
            front.refuse(Stage::Final, stored(reply));
        }
        self.transfer.opening.refused();
        self.transfer.leave_open(recipients);
        self.finish_transactions(now, None);
    }
}
