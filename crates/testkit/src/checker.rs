//! An independent witness of a session: hears what the client hears, reads what it says, and panics
//! when it says what RFC 5321 and its extensions do not allow, or reports what did not happen.
//!
//! It shares no code with the session: it parses commands and replies by itself and counts replies
//! for itself, so that a mistake in the session's counting shows.

mod command;
mod content;
mod envelope;
mod heard;
mod offer;
mod replies;
mod said;
#[cfg(test)]
mod tests;
mod transaction;
mod verdict;

use std::collections::{BTreeSet, VecDeque};

use posthaste_session::{Chunking, Config, Pipelining, Protocol, TlsPolicy};

use content::ContentReader;
use offer::Offer;
use replies::ReplyReader;
use transaction::{Recipient, Transaction};

pub(crate) use verdict::sent_form;

/// What the client was told, as far as it decides what may be said.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What it speaks.
    pub protocol: Protocol,
    /// When it may use BDAT.
    pub chunking: Chunking,
    /// The mode that it may use, as long as it is not told another.
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
    /// The mode for the next command, and the modes for those from these positions on.
    mode: Pipelining,
    mode_changes: VecDeque<(u64, Pipelining)>,
    is_tls: bool,
    /// It is settled whether there is TLS: it was refused, or could not be had.
    is_past_tls: bool,
    is_authenticated: bool,
    is_greeted: bool,
    offer: Offer,
    transactions: Vec<Transaction>,
    /// Domains of recipients so far (LIM-03).
    domains: BTreeSet<String>,
    /// Reverse-paths of the mails that are done with.
    reported: BTreeSet<String>,
    /// Domains of the recipients of those, but for recipients that were left out.
    reported_domains: BTreeSet<String>,
    /// The server has said that it does not do BDAT (CHUNK-17).
    bdat_refused: bool,
    /// A content that was streamed was taken.
    stream_proven: bool,
    /// The server has spoken of synchronisation, for which the client may hang up whatever is behind it.
    has_objected: bool,
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

/// Nothing is said behind that, and what was awaited is still heard.
const QUIT: &str = "QUIT";

/// Replies awaited at most: what one group may have, and the rest of the one before. Final replies
/// of LMTP come on top.
const MAX_AWAITED: usize = 512 + 2;

/// The same in `stream`, where a mail goes out as a whole.
const MAX_STREAMED: usize = 4096 + MAX_STREAMED_RECIPIENTS + 3;

/// Recipients at most of a mail that does not wait for the replies to its envelope.
const MAX_STREAMED_RECIPIENTS: usize = 100;

/// Chunks whose replies are awaited at most (CHUNK-12).
const MAX_CHUNKS_AWAITED: usize = 4;

/// Octets of a chunk: few enough for a server to object in time, and for any but the last, many
/// enough not to look like abuse (CHUNK-16).
const CHUNK_SIZES: std::ops::RangeInclusive<usize> = 64 * 1024..=1024 * 1024;

impl Checker {
    /// A witness beside the client, of a connection that was just opened.
    pub fn new(rules: Rules) -> Self {
        Self {
            mode: rules.pipelining,
            mode_changes: VecDeque::new(),
            rules,
            place: Place::Client,
            replies: ReplyReader::default(),
            awaited: VecDeque::from([To::Connection]),
            said: 0,
            speech: Speech::default(),
            is_tls: false,
            is_past_tls: false,
            is_authenticated: false,
            is_greeted: false,
            offer: Offer::default(),
            transactions: Vec::new(),
            domains: BTreeSet::new(),
            reported: BTreeSet::new(),
            reported_domains: BTreeSet::new(),
            bdat_refused: false,
            stream_proven: false,
            has_objected: false,
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

    /// The client was told to use another mode from now on. The `queued` octets that it has queued
    /// already keep to the one before.
    pub fn allow(&mut self, mode: Pipelining, queued: usize) {
        self.rules.pipelining = self.rules.pipelining.max(mode);
        self.mode_changes.push_back((self.position_behind(queued), mode));
    }

    /// The position of the client's octets behind those that are queued.
    fn position_behind(&self, queued: usize) -> u64 {
        self.said.saturating_add(queued.try_into().unwrap_or(u64::MAX))
    }

    /// Whether whole mails may be said ahead of the replies.
    fn streams(&self) -> bool {
        self.mode == Pipelining::Stream
            && self.offer.has("PIPELINING")
            && self.offer.has("CHUNKING")
            && self.rules.chunking != Chunking::Off
            && self.rules.protocol == Protocol::Smtp
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
}
