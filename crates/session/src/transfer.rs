//! Mail transactions: which command goes out when, and which reply answers what.
//!
//! Two cursors run over the same transactions: the *send* cursor decides what may be written now, the *receive*
//! cursor takes replies in the order of their commands.

mod check;
mod envelope;
mod receive;
mod send;
mod stream;
mod window;

use std::collections::VecDeque;
use std::time::Instant;

use posthaste_reply::Limits9422;

use crate::budget::{Budget, Share};
use crate::config::{Config, Pipelining};
use crate::mail::Mail;
use crate::outcome::TransactionId;
use crate::stage::Stage;
use crate::transaction::{Next, Transaction};

use window::Opening;

/// Most replies awaited at once. At 60 octets a command this is half of a usual socket buffer; more in
/// flight gains nothing, and real servers look at their input only every hundred recipients or so.
const MAX_GROUP: usize = 512;
/// The same in `stream`: four replies for each mail of the largest [`Window`](crate::Window).
const MAX_STREAM: usize = 4 * crate::Window::MAX_MAILS as usize;
/// Octets of one chunk. Large, since each costs a reply and servers count many small ones as abuse; and small
/// enough that a server that has heard enough can say so before all of a large mail is sent.
const CHUNK_SIZE: usize = 1024 * 1024;
/// Most chunks whose replies are awaited at once: enough to keep a long link busy.
const MAX_CHUNKS_AHEAD: usize = 4;

/// Transactions that there is room for at first: all that `cross` needs. A queue has room for four otherwise, and goes
/// through all of it, which shows where there are many connections.
const FEW: usize = 2;

/// The mail transactions of a session.
#[derive(Debug)]
pub(crate) struct Transfer {
    mode: Pipelining,
    /// The highest mode that the server has answered as usual on this connection.
    proven: Pipelining,
    /// What the coming replies answer, the next one first. Content, if any, is always the first.
    expected: VecDeque<Expected>,
    /// Mails without an outcome, the oldest first. Replies come in this order.
    transactions: VecDeque<Transaction>,
    /// Index of the transaction whose commands are being sent.
    sending: usize,
    /// A transaction is open on the server that nobody wants any more.
    needs_reset: bool,
    /// It has recipients: content that is streamed could go out to them, so that it waits until RSET is answered.
    is_open: bool,
    /// The last mail was sent in `stream`; the next one there has RSET ahead of it, whatever the mode was in between.
    has_streamed: bool,
    /// [`MAX_GROUP`] was reached, and half of it has to be answered first.
    is_group_full: bool,
    budget: Budget,
    /// How many mails `stream` may have ahead of the replies.
    opening: Opening,
    /// Octets of content of the mails without an outcome.
    octets: usize,
    /// Index of the first transaction whose content is not known to be out.
    unwritten: usize,
    next_id: u64,
}

/// One reply to come.
#[derive(Clone, Copy, Debug)]
struct Expected {
    to: To,
    /// Position where its command ends, content included; a reply that comes before that was written answers
    /// nothing, or objects to the content.
    end: u64,
    /// Position from which on the server can know that content is coming.
    begins: u64,
}

/// What a reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Mail,
    Rcpt,
    Data,
    /// The end of content behind DATA.
    Content,
    /// A chunk that is not the last.
    Chunk,
    /// The last chunk, and with it the end of content.
    LastChunk,
    /// The only chunk of a content that was sent behind its envelope, ahead of the replies.
    Streamed,
    /// A dot alone, sent because DATA was accepted for nobody.
    LoneDot,
    Reset,
    /// Behind the last content.
    Quit,
}

impl Transfer {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            mode: config.pipelining,
            proven: Pipelining::Off,
            expected: VecDeque::new(),
            transactions: VecDeque::new(),
            sending: 0,
            needs_reset: false,
            has_streamed: false,
            is_open: false,
            is_group_full: false,
            budget: Budget::default(),
            opening: Opening::new(config.window),
            octets: 0,
            unwritten: 0,
            next_id: 0,
        }
    }

    pub(crate) fn mode(&self) -> Pipelining {
        self.mode
    }

    pub(crate) fn set_mode(&mut self, mode: Pipelining) {
        self.mode = mode;
    }

    /// Gives back memory that is not in use.
    pub(crate) fn shrink(&mut self) {
        self.expected.shrink_to_fit();
        self.transactions.shrink_to_fit();
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.transactions.len()
    }

    /// `cross` needs the next mail while the content of the one before is on its way. More than the server takes in
    /// this session is not taken either.
    pub(crate) fn room(&self, mode: Pipelining, limits: Limits9422) -> usize {
        let most = match mode {
            Pipelining::Off | Pipelining::Envelope => 1,
            Pipelining::Cross => 2,
            Pipelining::Stream if self.octets_left() == 0 => 0,
            Pipelining::Stream => self.opening.mails(),
        };
        let has_begun = |transaction: &Transaction| transaction.next != Next::Mail;
        let begun =
            self.sending + usize::from(self.transactions.get(self.sending).is_some_and(has_begun));
        let unsent = self.transactions.len().saturating_sub(begun);
        let left = self.budget.mails_left(limits).saturating_sub(unsent);
        let left = if self.opening.is_spent() { 0 } else { left };
        left.min(most.saturating_sub(self.transactions.len()))
    }

    /// Octets of content up to which `stream` takes another mail.
    pub(crate) fn octets_left(&self) -> usize {
        self.opening.octets().saturating_sub(self.octets)
    }

    /// How many mails `stream` may have ahead of the replies now.
    pub(crate) fn window(&self) -> usize {
        self.opening.mails()
    }

    /// What the server's limits leave to others of this mail's recipients.
    pub(crate) fn share(&self, limits: Limits9422, mail: &Mail) -> Option<Share> {
        self.budget.share(limits, &mail.envelope)
    }

    pub(crate) fn add(&mut self, mail: Mail, share: Option<Share>) -> TransactionId {
        let withheld = share.map_or_else(Vec::new, |Share { withheld, domains }| {
            self.budget.enter(domains);
            withheld
        });
        let id = TransactionId(self.next_id);
        self.next_id += 1;
        self.octets += mail.content.len();
        if self.transactions.capacity() == 0 {
            self.transactions.reserve_exact(FEW);
        }
        self.transactions.push_back(Transaction::new(id, mail, &withheld));
        id
    }

    /// Whether the server takes no more mails in this session.
    fn is_spent(&self, limits: Limits9422) -> bool {
        self.budget.mails_left(limits) == 0 || self.opening.is_spent()
    }

    pub(crate) fn stage(&self, written: u64) -> Stage {
        let Some(expected) = self.expected.front() else { return Stage::Idle };
        match expected.to {
            To::Mail => Stage::Mail,
            To::Rcpt => Stage::Rcpt,
            To::Data => Stage::Data,
            To::Content | To::LastChunk | To::Streamed if expected.end > written => Stage::Content,
            To::Chunk => Stage::Content,
            To::Content | To::LastChunk | To::Streamed | To::LoneDot => Stage::Final,
            To::Reset => Stage::Reset,
            To::Quit => Stage::Quit,
        }
    }

    /// Takes note of octets written. True when that postpones the deadline: content has made progress.
    pub(crate) fn handle_progress(&mut self, now: Instant, written: u64) -> bool {
        let mut is_news = false;
        while let Some(transaction) = self.transactions.get_mut(self.unwritten)
            && transaction.content_end().is_some_and(|end| end <= written)
        {
            transaction.content_written(now);
            is_news |= self.unwritten == 0;
            self.unwritten += 1;
        }
        match self.expected.front() {
            Some(Expected { to: To::Content | To::LastChunk | To::Streamed, end, .. }) => {
                *end > written || is_news
            }
            Some(Expected { to: To::Chunk, .. }) => true,
            _ => false,
        }
    }

    fn expect(&mut self, to: To, end: u64) {
        self.expect_part(to, 0, end);
    }

    /// The same for content that is announced by a command up to `begins`.
    fn expect_part(&mut self, to: To, begins: u64, end: u64) {
        self.expected.push_back(Expected { to, end, begins });
    }

    /// Whether all that is awaited is what becomes of contents, the last of which a command may follow.
    fn ends_with_content(&self, mode: Pipelining) -> bool {
        let is_all_sent = self.sending == self.transactions.len();
        let to = self.expected.back().map(|back| back.to);
        is_all_sent
            && match (mode, to) {
                (Pipelining::Cross, Some(To::Content)) => self.expected.len() == 1,
                (Pipelining::Stream, Some(To::Streamed)) => true,
                _ => false,
            }
    }

    /// The server has a transaction open that nobody wants any more, with so many recipients.
    fn leave_open(&mut self, recipients: usize) {
        self.needs_reset = true;
        self.is_open |= recipients > 0;
    }

    /// Whether RSET goes ahead of the next mail. A server may keep the transaction of a refused BDAT open, and take the
    /// next content under its reverse-path.
    fn wants_reset(&self, mode: Pipelining) -> bool {
        self.needs_reset || mode == Pipelining::Stream && self.has_streamed
    }

    /// The same for the mail that is sent now.
    fn take_reset(&mut self, mode: Pipelining) -> bool {
        let wants_reset = self.wants_reset(mode);
        let is_streamed = mode == Pipelining::Stream;
        (self.needs_reset, self.has_streamed) = (is_streamed, is_streamed);
        wants_reset
    }

    /// The highest mode in which something was sent that has no final reply yet.
    fn flight(&self) -> Pipelining {
        let flights = self.transactions.iter().map(|transaction| transaction.flight);
        flights.max().unwrap_or(Pipelining::Off)
    }

    /// The mode in which the next command would go out.
    fn flight_of_next(&self) -> Pipelining {
        let before = self.sending.checked_sub(1).and_then(|before| self.transactions.get(before));
        match self.expected.front() {
            _ if before.is_some_and(|before| before.flight == Pipelining::Stream) => {
                Pipelining::Stream
            }
            None => Pipelining::Off,
            Some(Expected { to: To::Content | To::LoneDot, .. }) => Pipelining::Cross,
            Some(_) => Pipelining::Envelope,
        }
    }

    /// Whether the content that is being answered has several final replies.
    fn has_several_finals(&self) -> bool {
        self.transactions.front().is_some_and(|front| front.accepted() > 1)
    }

    /// Whether the next command has to wait for replies.
    fn must_wait(&mut self, mode: Pipelining, next: Next) -> bool {
        let outstanding = self.expected.len();
        let most = if mode == Pipelining::Stream { MAX_STREAM } else { MAX_GROUP };
        self.is_group_full = outstanding >= most || self.is_group_full && outstanding > most / 2;
        let Some(back) = self.expected.back() else { return false };
        // The last chunk ends a group, or the octets of a refused one could run as the commands that follow.
        if matches!(back.to, To::Chunk | To::LastChunk) {
            let is_far_ahead = mode == Pipelining::Off || outstanding >= MAX_CHUNKS_AHEAD;
            return !matches!(next, Next::Chunk(_)) || is_far_ahead;
        }
        // So does DATA (RFC 2920 section 3.1).
        if self.is_group_full || back.to == To::Data {
            return true;
        }
        if mode == Pipelining::Stream {
            return self.is_open;
        }
        // A mail that starts over goes out before the next one, once its first try is answered. Behind one that is
        // refused, the replies still to come tell whether the server has a transaction open.
        if self.transactions.front().is_some_and(|front| front.starts_over || front.is_refused()) {
            return true;
        }
        let behind_content =
            self.expected.front().is_some_and(|e| matches!(e.to, To::Content | To::LoneDot));
        match mode {
            Pipelining::Off => outstanding > 0,
            Pipelining::Envelope => behind_content || back.to == To::Streamed,
            Pipelining::Cross => back.to == To::Streamed,
            Pipelining::Stream => false,
        }
    }
}
