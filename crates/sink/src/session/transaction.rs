//! Mail transactions: MAIL, RCPT, DATA, BDAT and their content.

use bytes::Bytes;

use super::answer::About;
use super::{Close, Phase, Session};
use crate::command::{Chunk, Path};
use crate::config::RefusedChunk;
use crate::content::{Decoded, Decoder, EightBit, Inspector};
use crate::fault::Action;
use crate::mail::{Envelope, Mail};
use crate::message_id::Finder;
use crate::parameters::{self, Declared, Wrong};
use crate::reply::{self, QueueId, Reply};
use crate::stage::Stage;
use crate::stats::{Refusal, Tally, Violation};

/// The mail transaction at hand. Its buffers are used again for the next.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) envelope: Envelope,
    progress: Progress,
    /// MAIL, or a chunk that was not the last, was refused: commands that came behind it in a group
    /// are not the client's mistake.
    refused_before: bool,
    declared: Declared,
    content: Content,
    /// At work where content is to be looked into, and is text.
    inspector: Option<Inspector>,
    /// The reply to the chunk that is being read, if it is refused.
    refusal: Option<Reply<'static>>,
    /// What a rule does when so many more octets of content have come.
    content_fault: Option<(u64, Box<Action>)>,
}

/// How far a transaction has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    Closed,
    Envelope,
    /// A chunk was accepted: only chunks may follow.
    Chunks,
}

/// The octets of content: all counted, some kept.
#[derive(Debug, Default)]
struct Content {
    received: u64,
    /// How many to keep.
    room: usize,
    kept: Vec<u8>,
    /// At rest where Message-IDs are not asked for.
    message_id: Finder,
}

impl Content {
    fn receive(&mut self, octets: &[u8]) {
        self.received += octets.len() as u64;
        if self.room > 0 {
            let kept = &octets[..octets.len().min(self.room)];
            self.room -= kept.len();
            self.kept.extend_from_slice(kept);
        }
        self.message_id.receive(octets);
    }
}

impl Transaction {
    pub(super) fn is_open(&self) -> bool {
        self.progress != Progress::Closed
    }

    pub(super) fn reset(&mut self) {
        self.progress = Progress::Closed;
        // A rule may invite content without a transaction; nobody is to get it.
        self.envelope.clear();
        self.refused_before = false;
        self.refusal = None;
        self.content_fault = None;
    }

    fn begin(&mut self, reverse_path: &[u8], parameters: &[u8], declared: Declared) {
        self.progress = Progress::Envelope;
        self.refused_before = false;
        self.declared = declared;
        self.envelope.begin(reverse_path, parameters);
        self.content.received = 0;
    }

    /// Takes the next octets of the content.
    fn receive(&mut self, octets: &[u8], tally: &mut Tally) {
        self.content.receive(octets);
        if let Some(inspector) = &mut self.inspector {
            inspector.inspect(octets, tally);
        }
    }

    fn end_input(&mut self, tally: &mut Tally) {
        if let Some(inspector) = &mut self.inspector {
            inspector.end_input(tally);
        }
    }
}

impl Session {
    pub(super) fn mail(&mut self, path: Path<'_>) {
        self.mail_commands += 1;
        let Some((reverse_path, parameters)) = self.texts_of(path) else { return };
        let checked = self.check_mail(path, reverse_path);
        let usual = checked.err().unwrap_or(reply::SENDER_OK);
        let about = About { reverse_path: Some(reverse_path), recipient: None };
        let given = self.answer(Stage::Mail, about, usual);
        if given.code.is_positive_completion() {
            self.transaction.begin(reverse_path, parameters, checked.unwrap_or_default());
            return;
        }
        self.transaction.refused_before = true;
        if usual == reply::TOO_MANY_MAILS {
            self.end(Close::Fin);
        }
    }

    /// What MAIL declared, or why it is refused.
    fn check_mail(
        &mut self,
        path: Path<'_>,
        reverse_path: &[u8],
    ) -> Result<Declared, Reply<'static>> {
        if self.transaction.is_open() {
            self.violation(Violation::NestedMail);
            return Err(reply::NESTED_MAIL);
        }
        if !self.server.config.users.is_empty() && !self.authenticated {
            return Err(reply::AUTH_REQUIRED);
        }
        if self.server.limits.max_per_conn().is_some_and(|limit| self.mail_commands > limit) {
            self.refusal(Refusal::MaxPerConnection);
            return Err(reply::TOO_MANY_MAILS);
        }
        if self.offer().limits.mails.is_some_and(|limit| self.mail_commands > limit) {
            self.violation(Violation::BeyondOffer);
            return Err(reply::TOO_MANY_MAILS);
        }
        let declared = parameters::mail(path.parameters, self.offer());
        let declared = declared.map_err(|wrong| self.wrong_parameter(wrong))?;
        self.note_utf8(reverse_path, declared.utf8);
        if declared.size.is_some_and(|size| size > self.server.config.limits.max_size) {
            self.refusal(Refusal::MaxSize);
            return Err(reply::TOO_BIG);
        }
        if !self.server.limits.admits_mail(self.now) {
            self.refusal(Refusal::Capacity);
            return Err(reply::TOO_FAST);
        }
        Ok(declared)
    }

    pub(super) fn rcpt(&mut self, path: Path<'_>) {
        let Some((forward_path, parameters)) = self.texts_of(path) else { return };
        let usual = self.check_rcpt(path, forward_path).err().unwrap_or(reply::RECIPIENT_OK);
        let about = About { reverse_path: None, recipient: Some(forward_path) };
        let given = self.answer(Stage::Rcpt, about, usual);
        let room = self.transaction.envelope.len() < MAX_RECIPIENTS;
        if given.code.is_positive_completion() && self.transaction.is_open() && room {
            self.transaction.envelope.push(forward_path, parameters);
        }
    }

    fn check_rcpt(&mut self, path: Path<'_>, forward_path: &[u8]) -> Result<(), Reply<'static>> {
        if !self.transaction.is_open() {
            return Err(self.without_mail());
        }
        if self.transaction.progress == Progress::Chunks {
            self.violation(Violation::Sequence);
            return Err(reply::CHUNKS_BEGUN);
        }
        let declared = self.transaction.declared;
        parameters::rcpt(path.parameters, self.offer(), declared)
            .map_err(|wrong| self.wrong_parameter(wrong))?;
        self.note_utf8(forward_path, declared.utf8);
        self.check_stated_limits(forward_path)?;
        let limit = self.server.limits.max_rcpts().unwrap_or(MAX_RECIPIENTS);
        if self.transaction.envelope.len() >= limit.min(MAX_RECIPIENTS) {
            self.refusal(Refusal::MaxRecipients);
            return Err(reply::TOO_MANY_RECIPIENTS);
        }
        let reverse_path = self.transaction.envelope.reverse_path();
        if let Some(wait) = self.server.limits.greylisted(self.now, reverse_path, forward_path) {
            self.refusal(Refusal::Greylist);
            return Err(reply::GREYLISTED.within(wait));
        }
        Ok(())
    }

    /// RCPTMAX and RCPTDOMAINMAX (RFC 9422 section 4).
    fn check_stated_limits(&mut self, forward_path: &[u8]) -> Result<(), Reply<'static>> {
        let limits = self.offer().limits;
        let count = self.transaction.envelope.len() as u64;
        let is_one_domain_more = limits.domains.is_some_and(|limit| {
            let domain = domain_of(forward_path);
            let is_new = !self.domains.contains(&domain);
            if is_new && (self.domains.len() as u64) < limit {
                self.domains.push(domain);
                return false;
            }
            is_new
        });
        if is_one_domain_more || limits.recipients.is_some_and(|limit| count >= limit) {
            self.violation(Violation::BeyondOffer);
            return Err(reply::TOO_MANY_RECIPIENTS);
        }
        Ok(())
    }

    /// Counts what is wrong with a parameter, and says what it is answered.
    fn wrong_parameter(&mut self, wrong: Wrong) -> Reply<'static> {
        let (violation, reply) = match wrong {
            Wrong::Unoffered => (Violation::UnofferedExtension, reply::UNKNOWN_PARAMETER),
            Wrong::Form => (Violation::Syntax, reply::SYNTAX),
            Wrong::BeyondOffer => (Violation::BeyondOffer, reply::SYNTAX),
        };
        self.violation(violation);
        reply
    }

    /// The mailbox and the parameters. What is no UTF-8 is refused as a syntax error.
    fn texts_of<'a>(&mut self, path: Path<'a>) -> Option<(&'a [u8], &'a [u8])> {
        let texts = (path.mailbox, path.parameters.as_bytes());
        let is_text = |octets: &[u8]| octets.is_ascii() || std::str::from_utf8(octets).is_ok();
        if is_text(texts.0) && is_text(texts.1) {
            return Some(texts);
        }
        self.violation(Violation::Syntax);
        self.write(reply::SYNTAX);
        None
    }

    fn note_utf8(&mut self, mailbox: &[u8], allowed: bool) {
        if !allowed && !mailbox.is_ascii() {
            self.violation(Violation::Utf8Address);
        }
    }

    /// The refusal of a command that needs a mail transaction.
    fn without_mail(&mut self) -> Reply<'static> {
        self.note_sequence();
        reply::MAIL_FIRST
    }

    /// A command needs a mail transaction, and nothing that was refused explains why there is none.
    fn note_sequence(&mut self) {
        if !self.transaction.refused_before {
            self.violation(Violation::Sequence);
        }
    }

    pub(super) fn data(&mut self) {
        let usual = self.check_data().err().unwrap_or(reply::SEND_CONTENT);
        let given = self.answer(Stage::Data, About::default(), usual);
        if given.code.is_positive_intermediate() {
            self.begin_content();
            self.phase = Phase::Data(Decoder::new());
        }
    }

    fn check_data(&mut self) -> Result<(), Reply<'static>> {
        match self.transaction.progress {
            Progress::Closed => Err(self.without_mail()),
            Progress::Chunks => {
                self.violation(Violation::Sequence);
                Err(reply::CHUNKS_BEGUN)
            }
            Progress::Envelope if self.transaction.declared.binary => {
                self.violation(Violation::Sequence);
                Err(reply::CHUNKS_BEGUN)
            }
            Progress::Envelope if self.transaction.envelope.is_empty() => Err(reply::NO_RECIPIENTS),
            Progress::Envelope => Ok(()),
        }
    }

    /// Makes ready for the first octet of content.
    fn begin_content(&mut self) {
        let store = &self.server.store;
        let content = &mut self.transaction.content;
        content.received = 0;
        content.kept.clear();
        content.room = if store.wants_content() {
            usize::try_from(self.server.config.limits.max_size).unwrap_or(usize::MAX)
        } else {
            0
        };
        if self.server.seen.is_some() {
            content.message_id.begin();
        }
        let declared = self.transaction.declared;
        let inspects = self.server.config.inspect_content && !declared.binary;
        let eight_bit = if declared.eight_bit { EightBit::Allowed } else { EightBit::Forbidden };
        self.transaction.inspector = inspects.then(|| Inspector::new(eight_bit));
        let declared = declared.size.unwrap_or_default();
        // A client's word is taken for so much memory and no more.
        content.kept.reserve(content.room.min(declared.min(MAX_RESERVED) as usize));
        self.transaction.content_fault = self
            .fault(Stage::Content, About::default())
            .map(|action| (action.bytes, Box::new(action)));
    }

    /// Reads content of DATA. Returns what is behind its end.
    pub(super) fn read_data<'a>(&mut self, input: &'a [u8]) -> &'a [u8] {
        // It was asked for, and the next group may follow it at once (RFC 2920 3.1).
        self.turn = None;
        let part = self.until_fault(input);
        let Phase::Data(decoder) = &mut self.phase else { return input };
        let (transaction, tally) = (&mut self.transaction, &mut self.tally);
        let decoded = decoder.decode(part, |octets| transaction.receive(octets, tally));
        let length = match decoded {
            Decoded::More => part.len(),
            Decoded::End(length) => length,
        };
        transaction.end_input(tally);
        match decoded {
            Decoded::More => self.meet_content_fault(length),
            Decoded::End(_) => self.final_reply(),
        }
        &input[length..]
    }

    pub(super) fn bdat(&mut self, chunk: Chunk) {
        match self.check_chunk() {
            Err(refusal) => self.refuse_chunk(chunk, refusal),
            Ok(()) => {
                if self.transaction.progress == Progress::Envelope {
                    self.begin_content();
                    self.transaction.progress = Progress::Chunks;
                }
                self.begin_chunk(chunk);
            }
        }
    }

    fn check_chunk(&mut self) -> Result<(), Reply<'static>> {
        if !self.offer().chunking {
            self.violation(Violation::UnofferedExtension);
            return Err(reply::NOT_IMPLEMENTED);
        }
        if !self.transaction.is_open() {
            // CHUNK-05: nothing follows the last chunk.
            self.note_sequence();
            return Err(reply::RCPT_FIRST);
        }
        if self.transaction.envelope.is_empty() {
            return Err(reply::RCPT_FIRST);
        }
        Ok(())
    }

    /// Reads a chunk whose reply is settled: its octets are discarded (RFC 3030 2).
    pub(super) fn refuse_chunk(&mut self, chunk: Chunk, refusal: Reply<'static>) {
        self.transaction.refusal = Some(refusal);
        self.begin_chunk(chunk);
    }

    fn begin_chunk(&mut self, chunk: Chunk) {
        self.phase = Phase::Chunk { left: chunk.size, last: chunk.last };
        if chunk.size == 0 {
            self.end_chunk();
        }
    }

    /// Reads octets of a chunk. Returns what is behind it.
    pub(super) fn read_chunk<'a>(&mut self, input: &'a [u8]) -> &'a [u8] {
        let Phase::Chunk { left, last } = self.phase else { return input };
        let part = self.until_fault(input);
        let length = part.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let (part, rest) = input.split_at(length);
        let left = left - length as u64;
        self.phase = Phase::Chunk { left, last };
        if self.transaction.refusal.is_none() {
            self.transaction.receive(part, &mut self.tally);
            self.transaction.end_input(&mut self.tally);
        }
        if left == 0 {
            self.end_chunk();
        } else {
            self.meet_content_fault(length);
        }
        rest
    }

    fn end_chunk(&mut self) {
        let Phase::Chunk { last, .. } = self.phase else { return };
        self.phase = Phase::Command;
        if let Some(refusal) = self.transaction.refusal.take() {
            self.write(refusal);
            if self.server.config.refused_chunk == RefusedChunk::Reset {
                self.end_refused(last);
            }
            return;
        }
        if last {
            if let Some(inspector) = &mut self.transaction.inspector {
                inspector.finish(&mut self.tally);
            }
            return self.final_reply();
        }
        let is_too_big = self.transaction.content.received > self.server.config.limits.max_size;
        let usual = if is_too_big { reply::TOO_BIG } else { reply::CHUNK_OK };
        let given = self.answer(Stage::Chunk, About::default(), usual);
        if !given.code.is_positive_completion() {
            if given.code == reply::TOO_BIG.code && is_too_big {
                self.refusal(Refusal::MaxSize);
            }
            self.end_refused(last);
        }
    }

    /// The transaction ends with a chunk that was refused. Those that were on their way behind it are
    /// refused for want of a transaction.
    fn end_refused(&mut self, last: bool) {
        let refused_before = self.transaction.refused_before;
        self.transaction.reset();
        self.transaction.refused_before = refused_before || !last;
    }

    /// Input up to the octet for which a rule waits.
    fn until_fault<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        match &self.transaction.content_fault {
            None => input,
            Some((octets, _)) => {
                // At least one octet, so that reading goes on.
                let octets = usize::try_from(*octets).unwrap_or(usize::MAX).max(1);
                &input[..input.len().min(octets)]
            }
        }
    }

    /// So many octets of content came: a rule that waited for them is obeyed.
    fn meet_content_fault(&mut self, octets: usize) {
        let Some((left, action)) = self.transaction.content_fault.take() else { return };
        match left.checked_sub(octets as u64).filter(|&left| left > 0) {
            Some(left) => self.transaction.content_fault = Some((left, action)),
            None => self.act(&action, None),
        }
    }

    /// The end of the content was read.
    fn final_reply(&mut self) {
        let declared = self.transaction.declared.size;
        if declared.is_some_and(|size| self.transaction.content.received > size) {
            self.violation(Violation::SizeExceeded);
        }
        self.final_replies += 1;
        if self.server.is_lmtp() {
            self.lmtp_replies();
        } else {
            let fault = self.fault(Stage::Final, About::default());
            let id = QueueId::new(self.connection, self.final_replies);
            let usual = self.keep_if(fault.as_ref(), id);
            self.give_final(fault.as_ref(), usual, id);
        }
        self.end_content();
    }

    /// One reply for each recipient (RFC 2033 4.2). A recipient that is refused does not get the mail.
    fn lmtp_replies(&mut self) {
        let envelope = std::mem::take(&mut self.transaction.envelope);
        let id = QueueId::new(self.connection, self.final_replies);
        let mut accepted = Envelope::default();
        accepted.begin(envelope.reverse_path(), envelope.parameters());
        let mut faults = Vec::with_capacity(envelope.len());
        for (recipient, parameters) in envelope.recipients().zip(envelope.recipient_parameters()) {
            let about =
                About { reverse_path: Some(envelope.reverse_path()), recipient: Some(recipient) };
            let fault = self.fault(Stage::Final, about);
            if fault.as_ref().is_none_or(Action::keeps_mail) {
                accepted.push(recipient, parameters);
            }
            faults.push(fault);
        }
        self.transaction.envelope = accepted;
        let usual = self.keep(id);
        for fault in &faults {
            self.give_final(fault.as_ref(), usual, id);
        }
        self.transaction.envelope = envelope;
    }

    /// Keeps the mail unless the rule says no. Returns a refusal if it could not be kept.
    fn keep_if(&mut self, fault: Option<&Action>, id: QueueId) -> Option<Reply<'static>> {
        if fault.is_none_or(Action::keeps_mail) { self.keep(id) } else { None }
    }

    fn keep(&mut self, id: QueueId) -> Option<Reply<'static>> {
        let received = self.transaction.content.received;
        if received > self.server.config.limits.max_size {
            self.refusal(Refusal::MaxSize);
            return Some(reply::TOO_BIG);
        }
        let envelope = &self.transaction.envelope;
        if envelope.is_empty() {
            return None;
        }
        if self.server.store.wants_content() {
            let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
            let mail = Mail {
                queue_id: id.as_str().to_owned(),
                reverse_path: text(envelope.reverse_path()),
                parameters: text(envelope.parameters()),
                recipients: envelope.recipients().map(text).collect(),
                recipient_parameters: envelope.recipient_parameters().map(text).collect(),
                on_behalf_of: self.on_behalf_of.clone(),
                received: self.server.age(self.now),
                content: Bytes::from(std::mem::take(&mut self.transaction.content.kept)),
            };
            if self.server.store.keep(mail).is_err() {
                self.refusal(Refusal::Storage);
                return Some(reply::NO_STORAGE);
            }
        }
        let envelope = &self.transaction.envelope;
        self.tally.mail(envelope.len(), received);
        if let Some(seen) = &self.server.seen {
            let id = self.transaction.content.message_id.found();
            self.arrivals.note(id, envelope.recipients(), seen, &mut self.tally);
        }
        None
    }

    fn give_final(&mut self, fault: Option<&Action>, refusal: Option<Reply<'_>>, id: QueueId) {
        let usual = refusal.unwrap_or(id.reply());
        match fault {
            None => self.write(usual),
            Some(action) => self.act(action, Some(usual)),
        }
    }
}

impl Action {
    /// Whether a mail is kept that this rule applies to at the final reply: as the rule says, or if
    /// a positive reply is given.
    fn keeps_mail(&self) -> bool {
        let positive = || match self.code() {
            Some(code) => code.is_positive_completion(),
            None => !self.is_silent(),
        };
        self.store.unwrap_or_else(positive)
    }
}

/// The domain of a forward-path in lower case; empty for `<Postmaster>`.
fn domain_of(forward_path: &[u8]) -> String {
    let domain = memchr::memrchr(b'@', forward_path).map(|at| &forward_path[at + 1..]);
    String::from_utf8_lossy(domain.unwrap_or_default()).to_lowercase()
}

/// Recipients of one mail, whatever the limits say: the tests of a client with a million recipients
/// need no more.
const MAX_RECIPIENTS: usize = 1 << 20;

/// Octets reserved for content on the word of SIZE alone.
const MAX_RESERVED: u64 = 1 << 20;
