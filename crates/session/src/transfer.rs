//! Mail transactions: which command goes out when, and which reply answers what.
//!
//! Two cursors run over the same transactions: the *send* cursor decides what may be written now, the *receive*
//! cursor takes replies in the order of their commands.

mod check;
mod receive;
mod send;

use std::collections::VecDeque;
use std::time::Instant;

use posthaste_reply::Limits9422;

use crate::budget::{Budget, Share};
use crate::config::Pipelining;
use crate::mail::Mail;
use crate::outcome::TransactionId;
use crate::stage::Stage;
use crate::transaction::{Next, Transaction};

/// Most replies awaited at once. At 60 octets a command this is half of a usual socket buffer; more in
/// flight gains nothing, and real servers look at their input only every hundred recipients or so.
const MAX_GROUP: usize = 512;
/// Octets of one chunk. Large, since each costs a reply and servers count many small ones as abuse; and small
/// enough that a server that has heard enough can say so before all of a large mail is sent.
const CHUNK_SIZE: usize = 1024 * 1024;
/// Most chunks whose replies are awaited at once: enough to keep a long link busy.
const MAX_CHUNKS_AHEAD: usize = 4;

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
    /// [`MAX_GROUP`] was reached, and half of it has to be answered first.
    is_group_full: bool,
    budget: Budget,
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
    /// A dot alone, sent because DATA was accepted for nobody.
    LoneDot,
    Reset,
}

impl Transfer {
    pub(crate) fn new(mode: Pipelining) -> Self {
        Self {
            mode,
            proven: Pipelining::Off,
            expected: VecDeque::new(),
            transactions: VecDeque::new(),
            sending: 0,
            needs_reset: false,
            is_group_full: false,
            budget: Budget::default(),
            next_id: 0,
        }
    }

    pub(crate) fn mode(&self) -> Pipelining {
        self.mode
    }

    pub(crate) fn set_mode(&mut self, mode: Pipelining) {
        self.mode = mode;
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
        };
        let unsent = self.transactions.iter().filter(|waiting| waiting.next == Next::Mail).count();
        let left = self.budget.mails_left(limits).saturating_sub(unsent);
        left.min(most - self.transactions.len().min(most))
    }

    /// What the server's limits leave to others of this mail's recipients.
    pub(crate) fn share(&self, limits: Limits9422, mail: &Mail) -> Share {
        self.budget.share(limits, &mail.envelope)
    }

    pub(crate) fn add(&mut self, mail: Mail, Share { withheld, domains }: Share) -> TransactionId {
        self.budget.enter(domains);
        let id = TransactionId(self.next_id);
        self.next_id += 1;
        self.transactions.push_back(Transaction::new(id, mail, &withheld));
        id
    }

    /// Whether the server takes no more mails in this session.
    fn is_spent(&self, limits: Limits9422) -> bool {
        self.budget.mails_left(limits) == 0
    }

    /// When the content that is on its way must be out at the latest.
    pub(crate) fn content_deadline(&self) -> Option<Instant> {
        self.transactions.front()?.content_deadline()
    }

    pub(crate) fn stage(&self, written: u64) -> Stage {
        let Some(expected) = self.expected.front() else { return Stage::Idle };
        match expected.to {
            To::Mail => Stage::Mail,
            To::Rcpt => Stage::Rcpt,
            To::Data => Stage::Data,
            To::Content | To::LastChunk if expected.end > written => Stage::Content,
            To::Chunk => Stage::Content,
            To::Content | To::LastChunk | To::LoneDot => Stage::Final,
            To::Reset => Stage::Reset,
        }
    }

    /// Takes note of octets written. True when that postpones the deadline: content has made progress.
    pub(crate) fn handle_progress(&mut self, now: Instant, written: u64) -> bool {
        let Some(Expected { to: To::Content | To::Chunk | To::LastChunk, .. }) =
            self.expected.front()
        else {
            return false;
        };
        let Some(transaction) = self.transactions.front_mut() else { return false };
        let is_written = transaction.content_end().is_some_and(|end| end <= written);
        !is_written || transaction.content_written(now)
    }

    fn expect(&mut self, to: To, end: u64) {
        self.expect_part(to, 0, end);
    }

    /// The same for content that is announced by a command up to `begins`.
    fn expect_part(&mut self, to: To, begins: u64, end: u64) {
        self.expected.push_back(Expected { to, end, begins });
    }

    /// The highest mode in which something was sent that has no final reply yet.
    fn flight(&self) -> Pipelining {
        let flights = self.transactions.iter().map(|transaction| transaction.flight);
        flights.max().unwrap_or(Pipelining::Off)
    }

    /// The mode in which the next command would go out.
    fn flight_of_next(&self) -> Pipelining {
        match self.expected.front() {
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
        // A mail that starts over goes out before the next one, once its first try is answered. Behind one that is
        // refused, the replies still to come tell whether the server has a transaction open.
        if self.transactions.front().is_some_and(|front| front.starts_over || front.is_refused()) {
            return true;
        }
        let outstanding = self.expected.len();
        self.is_group_full =
            outstanding >= MAX_GROUP || self.is_group_full && outstanding > MAX_GROUP / 2;
        let behind_content =
            self.expected.front().is_some_and(|e| matches!(e.to, To::Content | To::LoneDot));
        // DATA ends a group (RFC 2920 section 3.1).
        let behind_data = self.expected.back().is_some_and(|e| e.to == To::Data);
        // So does the last chunk, or the octets of a refused one could run as the commands that follow.
        if self.expected.back().is_some_and(|e| matches!(e.to, To::Chunk | To::LastChunk)) {
            let is_far_ahead = mode == Pipelining::Off || outstanding >= MAX_CHUNKS_AHEAD;
            return !matches!(next, Next::Chunk(_)) || is_far_ahead;
        }
        match mode {
            Pipelining::Off => outstanding > 0,
            Pipelining::Envelope => self.is_group_full || behind_data || behind_content,
            Pipelining::Cross => self.is_group_full || behind_data,
        }
    }
}
