//! A mail transaction as it was seen.

use super::command::{Mail, Rcpt};
use super::content::ChunkReader;

/// A mail transaction as it was seen.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) mail: Mail,
    pub(super) mail_reply: Option<u16>,
    pub(super) recipients: Vec<Recipient>,
    pub(super) has_data: bool,
    pub(super) data_reply: Option<u16>,
    /// The chunks so far; gone when the last one was said.
    pub(super) chunks: Option<ChunkReader>,
    pub(super) has_chunks: bool,
    /// A chunk that was not the last was taken.
    pub(super) has_taken_chunk: bool,
    /// The first negative reply to a chunk that was not the last.
    pub(super) chunk_refusal: Option<u16>,
    /// The content without transparency, once its end was said.
    pub(super) content: Option<Vec<u8>>,
    /// The final reply, but for LMTP.
    pub(super) final_reply: Option<u16>,
    /// A negative reply that came while content was being said.
    pub(super) early_reply: Option<u16>,
    /// BDAT was refused, and the mail is to go by DATA (CHUNK-17).
    pub(super) starts_over: bool,
    /// Only RSET ends it (RFC 3030 section 2).
    pub(super) needs_reset: bool,
    pub(super) is_reset: bool,
    /// MAIL was said in `stream`, so that RSET has to follow, whatever is answered.
    pub(super) is_in_stream: bool,
    /// The content was said ahead of replies to the envelope.
    pub(super) is_streamed: bool,
    /// 421 came instead of a reply to MAIL.
    pub(super) is_turned_away: bool,
    /// Position of the client's octets from which on it knew that MAIL or every RCPT was refused.
    pub(super) hopeless_from: Option<u64>,
    /// The same for a chunk.
    pub(super) chunkless_from: Option<u64>,
}

/// A recipient as it was seen.
#[derive(Debug)]
pub(super) struct Recipient {
    pub(super) command: Rcpt,
    pub(super) reply: Option<u16>,
    /// Its own final reply, in LMTP.
    pub(super) final_reply: Option<u16>,
    /// 421 came instead of a reply.
    pub(super) is_turned_away: bool,
}

impl Recipient {
    pub(super) fn is_accepted(&self) -> bool {
        self.reply.is_some_and(|code| code < 300)
    }
}

impl Transaction {
    pub(super) fn new(mail: Mail) -> Self {
        Self {
            mail,
            mail_reply: None,
            recipients: Vec::new(),
            has_data: false,
            data_reply: None,
            chunks: None,
            has_chunks: false,
            has_taken_chunk: false,
            chunk_refusal: None,
            content: None,
            final_reply: None,
            early_reply: None,
            starts_over: false,
            needs_reset: false,
            is_reset: false,
            is_in_stream: false,
            is_streamed: false,
            is_turned_away: false,
            hopeless_from: None,
            chunkless_from: None,
        }
    }

    /// Whether it may have content: MAIL and a recipient were accepted.
    pub(super) fn has_accepted(&self) -> bool {
        self.mail_reply.is_some_and(|code| code < 300) && self.has_recipient()
    }

    /// MAIL was refused and a recipient accepted: whatever the server has, it is not this.
    pub(super) fn is_mixed_up(&self) -> bool {
        self.mail_reply.is_some_and(|code| code >= 400) && self.has_recipient()
    }

    /// MAIL was refused, and nothing of it was taken: the server has no transaction.
    pub(super) fn is_in_vain(&self) -> bool {
        self.mail_reply.is_some_and(|code| code >= 400) && !self.has_recipient()
    }

    fn has_recipient(&self) -> bool {
        self.recipients.iter().any(Recipient::is_accepted)
    }

    /// CHUNK-14: whether every reply to the envelope came, and there is somebody to send to.
    pub(super) fn is_settled(&self) -> bool {
        self.has_accepted() && self.recipients.iter().all(|recipient| recipient.reply.is_some())
    }

    /// Whether another MAIL may follow.
    pub(super) fn is_over(&self) -> bool {
        let is_refused = self.mail_reply.is_some_and(|code| code >= 400);
        is_refused || self.is_reset || self.content.is_some() && !self.needs_reset
    }

    /// With MAIL refused, or all of several RCPT, nothing more of it is to be said.
    pub(super) fn note_hopelessness(&mut self, known_from: u64) {
        let mail_is_refused = self.mail_reply.is_some_and(|code| code >= 400);
        let refused = |recipient: &Recipient| recipient.reply.is_some_and(|code| code >= 400);
        let all_are_refused = !self.recipients.is_empty() && self.recipients.iter().all(refused);
        if (mail_is_refused || all_are_refused) && self.hopeless_from.is_none() {
            self.hopeless_from = Some(known_from);
        }
        if !mail_is_refused && !all_are_refused {
            self.hopeless_from = None;
        }
    }

    /// The places of those who get a final reply of their own in LMTP, in order (LMTP-03).
    pub(super) fn accepted_places(&self) -> Vec<usize> {
        let recipients = self.recipients.iter().enumerate();
        recipients.filter(|(_, it)| it.is_accepted()).map(|(place, _)| place).collect()
    }
}
