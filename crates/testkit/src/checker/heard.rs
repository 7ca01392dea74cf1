//! What the client hears, and what it has to know from then on.

use super::content::ContentReader;
use super::offer::Offer;
use super::replies::{Heard, Reply};
use super::{Checker, Place, QUIT, Speech, To};

impl Checker {
    /// The client is about to be told these octets. It has queued `queued` octets already, which
    /// will be said whatever these are; [`usize::MAX`] if nobody knows how many.
    pub fn heard(&mut self, octets: &[u8], queued: usize) {
        let known_from = match self.place {
            Place::Client => self.position_behind(queued),
            Place::Line => u64::MAX,
        };
        for &octet in octets {
            if self.silence.is_some_and(|reason| reason != QUIT) {
                return;
            }
            match self.replies.push(octet) {
                None => {}
                Some(Heard::Garbage) => self.silence = Some("octets that are no reply"),
                Some(Heard::Reply(reply)) => self.hear(&reply, known_from),
            }
        }
    }

    fn hear(&mut self, reply: &Reply, known_from: u64) {
        let Some(to) = self.awaited.pop_front() else {
            let is_within = matches!(self.speech, Speech::Content(_) | Speech::Chunk { .. });
            let streamed = self.transactions.last_mut().filter(|it| it.is_streamed && is_within);
            if let Some(streamed) = streamed
                && reply.is_negative()
                && reply.code != 421
                && streamed.final_reply.is_none()
            {
                // The server discards the rest of the chunk.
                streamed.early_reply = Some(reply.code);
                let index = self.transactions.len() - 1;
                return self.refuse_chunk(index, Some(None), reply.code, known_from);
            }
            if let (true, Some(last)) = (is_within, self.transactions.last_mut()) {
                last.early_reply = Some(reply.code).filter(|_| reply.is_negative());
            }
            self.silence = Some("a reply that answers nothing");
            return;
        };
        if reply.code == 221 && to != To::Quit {
            // A goodbye, which says nothing of the mail.
            self.silence = Some("221");
            return;
        }
        if reply.code == 421 && to != To::Quit {
            match to {
                // In LMTP, the others may have been delivered to.
                To::Content(index, place) | To::LastChunk(index, place) => {
                    self.finish(index, place, 421);
                }
                To::Mail(index) => self.transactions[index].is_turned_away = true,
                To::Rcpt(index, place) => {
                    self.transactions[index].recipients[place].is_turned_away = true;
                }
                _ => {}
            }
            self.silence = Some("421");
            return;
        }
        let text = reply.lines.concat().to_ascii_lowercase();
        self.has_objected |= reply.is_negative()
            && [&b"synchroni"[..], b"pipelin"]
                .iter()
                .any(|word| text.windows(word.len()).any(|octets| octets == *word));
        if self.take(to, reply, known_from).is_none() {
            self.silence = Some("a reply that its command cannot have");
        }
    }

    fn finish(&mut self, index: usize, place: Option<usize>, code: u16) {
        let transaction = &mut self.transactions[index];
        match place {
            None => transaction.final_reply = Some(code),
            Some(place) => transaction.recipients[place].final_reply = Some(code),
        }
    }

    /// `None` if this command cannot have this reply.
    fn take(&mut self, to: To, reply: &Reply, known_from: u64) -> Option<()> {
        let code = reply.code;
        let usual = match to {
            To::Connection | To::StartTls | To::Xclient => code == 220,
            To::Hello | To::Helo | To::Reset => code == 250,
            To::Auth => code == 235 || code == 334,
            To::Mail(_) | To::Rcpt(..) | To::Content(..) | To::Chunk(_) => reply.is_positive(),
            // Of a content that lacks a chunk nothing can have been taken.
            To::LastChunk(index, _) => {
                let transaction = &self.transactions[index];
                let is_for_somebody = !transaction.is_streamed || transaction.has_accepted();
                reply.is_positive() && transaction.chunk_refusal.is_none() && is_for_somebody
            }
            To::Data(index) => code == 354 && !self.transactions[index].is_mixed_up(),
            To::Quit => true,
        };
        let is_refusal = reply.is_negative() && to != To::Reset;
        if !usual && !is_refusal {
            return None;
        }
        match to {
            To::Hello | To::Helo if usual => self.greeted(to, reply),
            To::StartTls if usual => self.silence = Some("STARTTLS"),
            To::StartTls => self.is_past_tls = true,
            To::Xclient if usual => self.forget(),
            To::Auth if code == 334 => self.speech = Speech::AuthResponse(Vec::new()),
            To::Auth if usual => self.is_authenticated = true,
            To::Mail(index) => self.transactions[index].mail_reply = Some(code),
            To::Rcpt(index, place) => self.transactions[index].recipients[place].reply = Some(code),
            To::Data(index) => {
                self.transactions[index].data_reply = Some(code);
                if usual {
                    self.speech = Speech::Content(ContentReader::default());
                }
            }
            To::Content(index, place) => self.finish(index, place, code),
            To::Chunk(index) if usual => self.transactions[index].has_taken_chunk = true,
            To::Chunk(index) => self.refuse_chunk(index, None, code, known_from),
            To::LastChunk(index, place) if usual || place.is_some() => {
                self.stream_proven |= self.transactions[index].is_streamed;
                self.finish(index, place, code)
            }
            To::LastChunk(index, place) => self.refuse_chunk(index, Some(place), code, known_from),
            _ => {}
        }
        if let To::Mail(index) | To::Rcpt(index, _) = to {
            self.transactions[index].note_hopelessness(known_from);
        }
        Some(())
    }

    /// CHUNK-06, CHUNK-07, CHUNK-17; `last` is there if it was the last one.
    fn refuse_chunk(
        &mut self,
        index: usize,
        last: Option<Option<usize>>,
        code: u16,
        known_from: u64,
    ) {
        let transaction = &mut self.transactions[index];
        transaction.needs_reset = true;
        if transaction.chunk_refusal.is_some() {
            return;
        }
        // Behind a refused envelope that is what is to be expected.
        let is_due = !transaction.is_streamed || transaction.has_accepted() && !self.stream_proven;
        let is_unknown = is_due && matches!(code, 500 | 502 | 503) && !transaction.has_taken_chunk;
        transaction.starts_over = is_unknown && !transaction.mail.is_binary();
        self.bdat_refused |= transaction.starts_over;
        match last {
            Some(place) => self.finish(index, place, code),
            None => {
                transaction.chunk_refusal = Some(code);
                transaction.chunkless_from = Some(known_from);
            }
        }
    }

    fn greeted(&mut self, to: To, reply: &Reply) {
        self.is_greeted = true;
        self.offer = match to {
            To::Hello => Offer::read(reply, &self.rules.ignored_keywords),
            _ => Offer::default(),
        };
    }
}
