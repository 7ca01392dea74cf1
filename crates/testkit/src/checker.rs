//! An independent witness of a session: hears what the client hears, reads what it says, and panics
//! when it says what RFC 5321 and its extensions do not allow, or reports what did not happen.
//!
//! It shares no code with the session: it parses commands and replies by itself and counts replies
//! for itself, so that a mistake in the session's counting shows.

mod command;
mod content;
mod offer;
mod replies;
mod transaction;
mod verdict;

use std::collections::{BTreeSet, VecDeque};

use posthaste_session::{Chunking, Config, Pipelining, Protocol, TlsPolicy};

use command::Command;
use content::{ChunkReader, ContentReader};
use offer::Offer;
use replies::{Heard, Reply, ReplyReader};
use transaction::{Recipient, Transaction};

pub(crate) use verdict::sent_form;

/// What the client was told, as far as it decides what may be said.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What it speaks.
    pub protocol: Protocol,
    /// When it may use BDAT.
    pub chunking: Chunking,
    /// The highest mode that it may use.
    pub pipelining: Pipelining,
    /// Whether mail may go without TLS.
    pub tls: TlsPolicy,
    /// Whether it has to authenticate.
    pub authenticates: bool,
    /// Whether it may send a password without TLS.
    pub allows_plaintext: bool,
    /// Keywords that it has to take for not offered.
    pub ignored_keywords: Vec<String>,
}

impl Rules {
    /// The rules for a client with these settings, which must not send a password without TLS.
    pub fn of(config: &Config) -> Self {
        Self {
            protocol: config.protocol,
            chunking: config.chunking,
            pipelining: config.pipelining,
            tls: config.tls,
            authenticates: config.credentials.is_some(),
            allows_plaintext: false,
            ignored_keywords: config.ignored_keywords.clone(),
        }
    }
}

/// From where a checker sees what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// With the client: what it hears, it knows.
    Client,
    /// On the line: what is heard may not have reached it.
    Line,
}

/// Checks one session from its first octet to its last.
#[derive(Debug)]
pub struct Checker {
    rules: Rules,
    place: Place,
    replies: ReplyReader,
    /// What the coming replies answer, the next one first.
    awaited: VecDeque<To>,
    said: u64,
    speech: Speech,
    is_tls: bool,
    is_authenticated: bool,
    is_greeted: bool,
    offer: Offer,
    transactions: Vec<Transaction>,
    /// Domains of recipients so far (LIM-03).
    domains: BTreeSet<String>,
    /// The server has said that it does not do BDAT (CHUNK-17).
    bdat_refused: bool,
    /// Why nothing may be said any more.
    silence: Option<&'static str>,
    has_quit: bool,
    most_awaited: usize,
}

/// What the client is in the middle of saying.
#[derive(Debug)]
enum Speech {
    Command {
        line: Vec<u8>,
        start: u64,
    },
    AuthResponse(Vec<u8>),
    Content(ContentReader),
    /// So many more octets of a chunk.
    Chunk {
        left: usize,
        is_last: bool,
    },
}

impl Default for Speech {
    fn default() -> Self {
        Self::Command { line: Vec::new(), start: 0 }
    }
}

/// What a reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Connection,
    Hello,
    Helo,
    StartTls,
    Auth,
    Xclient,
    /// To MAIL of the transaction with this index.
    Mail(usize),
    Rcpt(usize, usize),
    Data(usize),
    /// To the end of content behind DATA; in LMTP, about this recipient.
    Content(usize, Option<usize>),
    /// To a chunk that is not the last.
    Chunk(usize),
    /// To the last chunk; in LMTP, about this recipient.
    LastChunk(usize, Option<usize>),
    Reset,
    Quit,
}

/// Replies awaited at most: what one group may have, and the rest of the one before. Final replies
/// of LMTP come on top.
const MAX_AWAITED: usize = 512 + 2;

/// Chunks whose replies are awaited at most (CHUNK-12).
const MAX_CHUNKS_AWAITED: usize = 4;

/// Octets of a chunk: few enough for a server to object in time, and for any but the last, many
/// enough not to look like abuse (CHUNK-16).
const CHUNK_SIZES: std::ops::RangeInclusive<usize> = 64 * 1024..=1024 * 1024;

impl Checker {
    /// A witness beside the client, of a connection that was just opened.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            place: Place::Client,
            replies: ReplyReader::default(),
            awaited: VecDeque::from([To::Connection]),
            said: 0,
            speech: Speech::default(),
            is_tls: false,
            is_authenticated: false,
            is_greeted: false,
            offer: Offer::default(),
            transactions: Vec::new(),
            domains: BTreeSet::new(),
            bdat_refused: false,
            silence: None,
            has_quit: false,
            most_awaited: 0,
        }
    }

    /// A witness on the line, who hears the server before the client does. What the client would
    /// have to know for it is not held against it, and nothing is once TLS has begun.
    pub fn on_the_line(rules: Rules) -> Self {
        Self { place: Place::Line, ..Self::new(rules) }
    }

    /// The client was told to use another mode.
    pub fn allow(&mut self, mode: Pipelining) {
        self.rules.pipelining = self.rules.pipelining.max(mode);
    }

    /// TLS has begun: whatever was said before is forgotten (RFC 3207 section 4.2).
    pub fn tls_established(&mut self) {
        assert!(!self.replies.is_within_reply(), "TLS begins within a reply");
        assert!(self.awaited.is_empty(), "TLS begins with {:?} unanswered", self.awaited);
        assert_eq!(self.silence.take(), Some("STARTTLS"), "TLS was not to begin");
        self.is_tls = true;
        self.forget();
    }

    fn forget(&mut self) {
        self.is_greeted = false;
        self.offer = Offer::default();
    }

    /// Whether QUIT was said.
    pub fn has_quit(&self) -> bool {
        self.has_quit
    }

    /// Most replies awaited at once.
    pub fn most_awaited(&self) -> usize {
        self.most_awaited
    }

    /// The client said these octets.
    pub fn said(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while let [octet, ..] = rest {
            match self.silence {
                Some(reason) if self.place == Place::Client => {
                    panic!("said {:?} behind {reason}", char::from(*octet));
                }
                // It may have been under way.
                Some(_) => return,
                None => {}
            }
            let length = match &mut self.speech {
                Speech::Chunk { left, .. } => rest.len().min(*left),
                Speech::Command { .. } | Speech::AuthResponse(_) | Speech::Content(_) => 1,
            };
            let (octets, behind) = rest.split_at(length);
            match self.speech {
                Speech::Chunk { .. } => self.say_chunk(octets),
                Speech::Command { .. } | Speech::AuthResponse(_) | Speech::Content(_) => {
                    self.say(*octet)
                }
            }
            self.said += length as u64;
            rest = behind;
        }
    }

    /// Takes octets of one chunk.
    fn say_chunk(&mut self, octets: &[u8]) {
        if let Some(chunks) = self.transactions.last_mut().and_then(|it| it.chunks.as_mut()) {
            chunks.push(octets);
        }
        if let Speech::Chunk { left, .. } = &mut self.speech {
            *left -= octets.len();
            if *left == 0 {
                self.end_chunk();
            }
        }
    }

    fn say(&mut self, octet: u8) {
        match &mut self.speech {
            Speech::Content(reader) => {
                if let Some(content) = reader.push(octet) {
                    self.end_data(content);
                }
            }
            Speech::Chunk { .. } => {}
            Speech::AuthResponse(line) => {
                line.push(octet);
                if let Some(line) = line.strip_suffix(b"\r\n") {
                    assert!(command::is_auth_response(line), "{}", line.escape_ascii());
                    self.expect(To::Auth);
                    self.speech = Speech::default();
                }
            }
            Speech::Command { line, start } => {
                if line.is_empty() {
                    *start = self.said;
                    line.push(octet);
                    return self.check_group();
                }
                line.push(octet);
                assert!(octet != b'\n' || line.ends_with(b"\r\n"), "a bare LF in a command");
                if line.ends_with(b"\r\n") {
                    let (line, start) = (std::mem::take(line), *start);
                    self.command(&line, start);
                }
            }
        }
    }

    /// Whether a command may begin now, whatever it is (RFC 2920 section 3.1).
    fn check_group(&self) {
        let Some(last) = self.awaited.back() else { return };
        let goes_on =
            matches!(last, To::Mail(_) | To::Rcpt(..) | To::Content(..) | To::Chunk(_) | To::Reset);
        assert!(goes_on, "said on behind {last:?}, which ends a group");
        assert!(self.offer.has("PIPELINING"), "a group although PIPELINING was not offered");
        let needed = match last {
            To::Content(..) => Pipelining::Cross,
            _ => Pipelining::Envelope,
        };
        assert!(self.rules.pipelining >= needed, "a group of {needed}");
    }

    /// Handles a command line with its CRLF.
    fn command(&mut self, line: &[u8], start: u64) {
        let text = &line[..line.len() - 2];
        let command = command::read(text)
            .unwrap_or_else(|error| panic!("{:?}: {error}", text.escape_ascii().to_string()));
        let verb = std::str::from_utf8(&text[..4]).unwrap_or_default();
        let most = self.offer.longest_line(verb);
        assert!(line.len() <= most, "{verb} of {} octets, at most {most}: CMD-05", line.len());
        let is_chunk = matches!(command, Command::Bdat { .. });
        let is_behind_chunk = matches!(self.awaited.back(), Some(To::Chunk(_)));
        assert!(is_chunk || !is_behind_chunk, "{verb} behind a chunk whose reply is to come");
        match command {
            Command::Ehlo | Command::Lhlo => {
                let is_lmtp = command == Command::Lhlo;
                assert_eq!(is_lmtp, self.rules.protocol == Protocol::Lmtp, "{verb}: LMTP-01");
                self.expect(To::Hello);
            }
            Command::Helo => {
                assert_eq!(self.rules.protocol, Protocol::Smtp, "HELO in LMTP: LMTP-01");
                self.expect(To::Helo);
            }
            Command::StartTls => {
                assert!(!self.is_tls && self.offer.has("STARTTLS"), "STARTTLS was not offered");
                self.expect(To::StartTls);
            }
            Command::Auth { mechanism } => self.authenticate(&mechanism),
            Command::Xclient { attributes } => self.introduce_client(&attributes),
            Command::Mail(mail) => self.begin(mail),
            Command::Rcpt(rcpt) => self.recipient(rcpt, start),
            Command::Data => self.data(start),
            Command::Bdat { octets, is_last } => self.begin_chunk(octets, is_last, start),
            Command::Rset => {
                let last = self.transactions.last_mut().expect("RSET before any transaction");
                assert!(last.content.is_none() || last.needs_reset, "RSET behind content");
                last.is_reset = true;
                self.expect(To::Reset);
            }
            Command::Quit => {
                self.has_quit = true;
                self.silence = Some("QUIT");
                self.expect(To::Quit);
            }
        }
    }

    fn expect(&mut self, to: To) {
        self.awaited.push_back(to);
        self.most_awaited = self.most_awaited.max(self.awaited.len());
        let is_final = |to: &&To| matches!(to, To::Content(..) | To::LastChunk(..));
        let awaited = self.awaited.iter().filter(|to| !is_final(to)).count();
        assert!(awaited <= MAX_AWAITED, "{awaited} replies awaited");
    }

    /// AUTH-01, AUTH-02, AUTH-13
    fn authenticate(&mut self, mechanism: &str) {
        let is_plain = ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"].contains(&mechanism);
        let is_safe = self.is_tls || self.rules.allows_plaintext || !is_plain;
        assert!(is_safe, "AUTH {mechanism} in the clear");
        let keyword = if self.offer.has("AUTH") { "AUTH" } else { "X-EXPS" };
        let mut offered = self.offer.parameters(keyword).iter();
        let is_offered = offered.any(|known| known.eq_ignore_ascii_case(mechanism));
        assert!(is_offered, "AUTH {mechanism} was not offered");
        assert!(self.transactions.is_empty(), "AUTH behind mail");
        assert!(!self.is_authenticated, "AUTH again");
        self.expect(To::Auth);
    }

    /// XCLIENT-01
    fn introduce_client(&mut self, attributes: &[String]) {
        let offered = self.offer.parameters("XCLIENT");
        for attribute in attributes {
            assert!(offered.contains(attribute), "XCLIENT {attribute} was not offered");
        }
        assert!(self.transactions.is_empty(), "XCLIENT behind mail");
        self.expect(To::Xclient);
    }

    /// MAIL: only where no transaction is open (RFC 5321 section 4.1.4).
    fn begin(&mut self, mail: command::Mail) {
        assert!(self.is_greeted, "MAIL before EHLO was accepted");
        assert!(self.is_tls || self.rules.tls != TlsPolicy::Require, "MAIL in the clear");
        assert!(self.is_authenticated || !self.rules.authenticates, "MAIL before AUTH");
        mail.parameters.iter().for_each(|parameter| self.offer.check(parameter));
        assert!(mail.parameter("REQUIRETLS").is_none() || self.is_tls, "REQUIRETLS: RTLS-01");
        assert!(self.transactions.last().is_none_or(Transaction::is_over), "nested MAIL");
        let most = self.offer.limit("MAILMAX").unwrap_or(usize::MAX);
        assert!(self.transactions.len() < most, "more than {most} MAIL: LIM-01");
        self.transactions.push(Transaction::new(mail));
        self.expect(To::Mail(self.transactions.len() - 1));
    }

    fn recipient(&mut self, rcpt: command::Rcpt, start: u64) {
        rcpt.parameters.iter().for_each(|parameter| self.offer.check(parameter));
        let most = self.offer.limit("RCPTMAX").unwrap_or(usize::MAX);
        let domain = rcpt.forward_path.rsplit_once('@').map_or("", |(_, domain)| domain);
        self.domains.insert(domain.to_lowercase());
        let most_domains = self.offer.limit("RCPTDOMAINMAX").unwrap_or(usize::MAX);
        assert!(self.domains.len() <= most_domains, "domains {:?}: LIM-03", self.domains);
        let (index, transaction) = self.open("RCPT", start);
        assert!(transaction.recipients.len() < most, "more than {most} RCPT: LIM-02");
        transaction.recipients.push(Recipient { command: rcpt, reply: None, final_reply: None });
        // This one may be accepted. With MAIL refused it was not to be said at all.
        transaction.hopeless_from = None;
        let to = To::Rcpt(index, transaction.recipients.len() - 1);
        self.expect(to);
    }

    fn data(&mut self, start: u64) {
        let (index, transaction) = self.open("DATA", start);
        assert!(!transaction.recipients.is_empty(), "DATA without RCPT");
        assert!(!transaction.mail.is_binary(), "DATA with binary content: CHUNK-10");
        transaction.has_data = true;
        self.expect(To::Data(index));
    }

    /// The transaction that RCPT and DATA belong to: open, and not known to be refused.
    fn open(&mut self, verb: &str, start: u64) -> (usize, &mut Transaction) {
        let index = self.transactions.len().checked_sub(1).expect("RCPT or DATA before MAIL");
        let last = &mut self.transactions[index];
        assert!(!last.has_data, "{verb} behind DATA");
        assert!(!last.has_chunks, "{verb} behind BDAT: CHUNK-03");
        assert!(!last.is_reset, "{verb} behind RSET");
        let is_hopeless = last.hopeless_from.is_some_and(|position| position <= start);
        let knows_better = last.mail_reply.is_some_and(|code| code >= 400) || verb == "DATA";
        assert!(!(is_hopeless && knows_better), "{verb} although all was refused");
        (index, last)
    }

    /// CHUNK-01 to CHUNK-06, CHUNK-12, CHUNK-14, CHUNK-16
    fn begin_chunk(&mut self, octets: usize, is_last: bool, start: u64) {
        assert!(self.offer.has("CHUNKING"), "BDAT was not offered");
        assert!(!self.bdat_refused, "BDAT although the server does not do it: CHUNK-17");
        let transaction = self.transactions.last_mut().expect("BDAT before MAIL");
        let is_binary = transaction.mail.is_binary();
        let is_wanted = match self.rules.chunking {
            Chunking::Always => true,
            Chunking::Auto => is_binary,
            Chunking::Off => false,
        };
        assert!(is_wanted, "BDAT although it was not asked for");
        assert!(!transaction.has_data && !transaction.is_reset, "BDAT behind DATA or RSET");
        assert!(transaction.content.is_none(), "BDAT behind LAST: CHUNK-05");
        assert!(transaction.is_settled(), "BDAT before its envelope was taken: CHUNK-14");
        let is_in_vain = transaction.chunkless_from.is_some_and(|position| position <= start);
        assert!(!is_in_vain, "BDAT behind one that was refused: CHUNK-06");
        let least = if is_last { 0 } else { *CHUNK_SIZES.start() };
        assert!((least..=*CHUNK_SIZES.end()).contains(&octets), "a chunk of {octets} octets");
        let is_empty = !transaction.has_chunks && octets == 0;
        assert!(octets > 0 || is_empty, "an empty chunk at the end: CHUNK-19");
        transaction.has_chunks = true;
        transaction.chunks.get_or_insert_with(|| ChunkReader::new(!is_binary));
        self.speech = Speech::Chunk { left: octets, is_last };
        if octets == 0 {
            self.end_chunk();
        }
    }

    fn end_chunk(&mut self) {
        let speech = std::mem::take(&mut self.speech);
        let index = self.transactions.len() - 1;
        if let Speech::Chunk { is_last: false, .. } = speech {
            self.expect(To::Chunk(index));
            let chunks = self.awaited.iter().filter(|to| matches!(to, To::Chunk(_))).count();
            return assert!(chunks <= MAX_CHUNKS_AWAITED, "{chunks} chunks unanswered");
        }
        if let Some(chunks) = self.transactions[index].chunks.take() {
            self.end_content(chunks.end(), |place| To::LastChunk(index, place));
        }
    }

    fn end_data(&mut self, content: Vec<u8>) {
        self.speech = Speech::default();
        let index = self.transactions.len() - 1;
        self.end_content(content, |place| To::Content(index, place));
    }

    /// The content has been said to its end: one reply comes, in LMTP one for each recipient that was
    /// accepted (LMTP-03 to LMTP-05).
    fn end_content(&mut self, content: Vec<u8>, reply: impl Fn(Option<usize>) -> To) {
        let may_be_8bit = self.offer.has("8BITMIME");
        let Some(transaction) = self.transactions.last_mut() else { return };
        if let Some(size) = transaction.mail.size().filter(|_| transaction.has_accepted()) {
            assert_eq!(size, content.len(), "SIZE is not the content's");
        }
        assert!(transaction.has_accepted() || content.is_empty(), "content for nobody");
        let is_declared = transaction.mail.is_8bit() || transaction.mail.is_utf8();
        assert!(content.is_ascii() || is_declared || !may_be_8bit, "8 bit, undeclared");
        transaction.content = Some(content);
        match self.rules.protocol {
            Protocol::Smtp => self.expect(reply(None)),
            Protocol::Lmtp => {
                let places = transaction.accepted_places();
                places.into_iter().for_each(|place| self.expect(reply(Some(place))));
            }
        }
    }

    /// The client is about to be told these octets. It has queued `queued` octets already, which
    /// will be said whatever these are; [`usize::MAX`] if nobody knows how many.
    pub fn heard(&mut self, octets: &[u8], queued: usize) {
        let known_from = match self.place {
            Place::Client => self.said.saturating_add(queued.try_into().unwrap_or(u64::MAX)),
            Place::Line => u64::MAX,
        };
        for &octet in octets {
            if self.silence.is_some() && !self.has_quit {
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
            if let To::Content(index, place) | To::LastChunk(index, place) = to {
                // In LMTP, the others may have been delivered to.
                self.finish(index, place, 421);
            }
            self.silence = Some("421");
            return;
        }
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
                reply.is_positive() && self.transactions[index].chunk_refusal.is_none()
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
        let is_unknown = matches!(code, 500 | 502 | 503) && !transaction.has_taken_chunk;
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
