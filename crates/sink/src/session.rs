//! The server's side of one SMTP session, without I/O.

mod answer;
pub(crate) mod auth;
mod commands;
#[cfg(test)]
mod tests;
mod transaction;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::config::{EarlyTalk, PipeliningAfterContent, TlsUse};
use crate::fault::engine::SessionFaults;
use crate::hello::Hello;
use crate::mail::OnBehalfOf;
use crate::proxy_protocol::ProxyHeader;
use crate::reply::{self, Enhanced};
use crate::seen::Arrivals;
use crate::server::Server;
use crate::stats::{Refusal, Tally, Violation};
use answer::Step;
use auth::Exchange;
use transaction::Transaction;

/// The server's side of one SMTP session: a machine without sockets or clock.
///
/// After each input, drain it: write what [`output`](Self::output) has and say so with
/// [`transmitted`](Self::transmitted), then obey [`poll_event`](Self::poll_event), then wait for
/// whichever comes first: input, if it [`wants_input`](Self::wants_input), or
/// [`poll_deadline`](Self::poll_deadline).
///
/// ```
/// use posthaste_sink::{Config, Server, Session};
/// use std::time::Instant;
///
/// let now = Instant::now();
/// let server = Server::new(Config::default(), now)?;
/// let mut session = Session::new(server, now);
/// assert!(session.output().starts_with(b"220 "));
/// session.transmitted(session.output().len());
/// session.handle_input(now, b"EHLO client.example\r\n");
/// assert!(session.output().starts_with(b"250-"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Session {
    server: Arc<Server>,
    connection: u64,
    admitted: bool,
    /// When the input at hand came.
    now: Instant,
    phase: Phase,
    hello: Greeted,
    tls_active: bool,
    /// What ties SCRAM to the TLS connection (RFC 9266).
    channel_binding: Option<[u8; 32]>,
    authenticated: bool,
    transaction: Transaction,
    on_behalf_of: OnBehalfOf,
    /// MAIL commands so far.
    mail_commands: u64,
    /// Domains of recipients so far, where their number is limited.
    domains: Vec<String>,
    /// Final replies so far.
    final_replies: u64,
    /// A line whose end has not come.
    line: Vec<u8>,
    /// The line is too long to be kept.
    line_overflowed: bool,
    /// What input would breach that comes before the latest reply is given.
    turn: Option<Violation>,
    /// The content ended in this flight and commands behind it are to be answered 503.
    rejects_flight: bool,
    /// Octets to send, from `sent` on.
    out: Vec<u8>,
    sent: usize,
    /// What is to be done later, and in which order; empty unless a fault asked for it.
    script: VecDeque<Step>,
    /// When the script goes on.
    resume_at: Option<Instant>,
    pace: Pace,
    event: Option<Event>,
    /// Input that came while the session waited.
    held: Vec<u8>,
    /// The client will say no more.
    input_ended: bool,
    faults: SessionFaults,
    arrivals: Arrivals,
    tally: Tally,
}

/// What the driver of a session has to do, once all output is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Shake hands as a TLS server, then call [`Session::tls_established`].
    StartTls,
    /// Close the connection.
    Close(Close),
}

/// How a connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// In order, with FIN (and close_notify under TLS).
    Fin,
    /// At once, with RST.
    Rst,
}

/// Whether a session takes notice of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Running,
    /// Between [`Event::StartTls`] and the end of the handshake.
    Handshake,
    /// A fault silenced it for good.
    Stalled,
    /// Behind [`Event::Close`].
    Ended,
}

/// What the octets that come next are.
#[derive(Debug)]
enum Phase {
    Command,
    Auth(Exchange),
    Data(crate::content::Decoder),
    Chunk { left: u64, last: bool },
}

/// Which greeting command was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeted {
    /// None, and none will be: the greeting was a refusal.
    Never,
    Not,
    Helo,
    /// With extensions: EHLO or LHLO.
    Ehlo,
}

impl Session {
    /// A session on a connection that was accepted `now`. Its output is the greeting, unless TLS
    /// comes first.
    pub fn new(server: Arc<Server>, now: Instant) -> Self {
        let connection = server.next_connection();
        let admitted = server.counters.open(server.limits.max_conns());
        let seed = server.config.seed ^ connection.wrapping_mul(SEED_STEP);
        let mut session = Self {
            connection,
            admitted,
            now,
            phase: Phase::Command,
            hello: Greeted::Not,
            tls_active: false,
            channel_binding: None,
            authenticated: false,
            transaction: Transaction::default(),
            on_behalf_of: OnBehalfOf::default(),
            mail_commands: 0,
            domains: Vec::new(),
            final_replies: 0,
            line: Vec::new(),
            line_overflowed: false,
            turn: Some(Violation::BeforeGreeting),
            rejects_flight: false,
            out: Vec::new(),
            sent: 0,
            script: VecDeque::new(),
            resume_at: None,
            pace: Pace::Running,
            event: None,
            held: Vec::new(),
            input_ended: false,
            faults: server.faults.session(seed),
            arrivals: Arrivals::default(),
            tally: Tally::default(),
            server,
        };
        session.connect();
        session.settle();
        session
    }

    /// A proxy said whose connection it hands on.
    pub(crate) fn set_proxy(&mut self, header: ProxyHeader) {
        self.on_behalf_of.proxy = Some(header);
    }

    /// The mails that all sessions of the sink accepted so far.
    pub(crate) fn mails_of_sink(&self) -> u64 {
        self.server.accepted()
    }

    /// Octets came from the client.
    pub fn handle_input(&mut self, now: Instant, input: &[u8]) {
        self.now = now;
        if self.is_listening() {
            let rest = self.consume(input);
            self.held.extend_from_slice(rest);
        } else if self.pace == Pace::Running {
            self.hold(input);
        }
        self.settle();
    }

    /// The client closed its side: nothing more will come from it. What is still to be said is said
    /// before the connection closes.
    pub fn handle_eof(&mut self) {
        self.input_ended = true;
        self.end(Close::Fin);
        self.settle();
    }

    /// The time of [`poll_deadline`](Self::poll_deadline) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if self.resume_at.is_some_and(|at| now >= at) {
            self.resume_at = None;
            self.run_script();
            self.resume_input();
        }
        self.settle();
    }

    /// What the exporter of the TLS connection gave for the mechanisms with channel binding: label
    /// `EXPORTER-Channel-Binding`, empty context (RFC 9266 4.2). Without it they take nobody.
    pub fn set_channel_binding(&mut self, octets: [u8; 32]) {
        self.channel_binding = Some(octets);
    }

    /// The handshake after [`Event::StartTls`] is done. What was known of the client is forgotten
    /// (RFC 3207 4.2).
    pub fn tls_established(&mut self, now: Instant) {
        self.now = now;
        self.tls_active = true;
        self.pace = Pace::Running;
        // Commands from before the handshake must not be taken for ones inside TLS.
        self.held.clear();
        self.line.clear();
        self.forget_client();
        if self.server.config.tls == TlsUse::Implicit {
            self.greet();
        }
        self.settle();
    }

    /// The sink shuts down: the client is told (421) unless it is in the middle of content.
    pub fn handle_shutdown(&mut self) {
        if self.is_listening() && matches!(self.phase, Phase::Command) {
            self.write(reply::SHUTTING_DOWN);
        }
        self.cut_short(Close::Fin);
        self.settle();
    }

    /// The octets to send now.
    pub fn output(&self) -> &[u8] {
        &self.out[self.sent..]
    }

    /// The first `length` octets of [`output`](Self::output) were taken.
    ///
    /// # Panics
    ///
    /// If there were not so many.
    pub fn transmitted(&mut self, length: usize) {
        assert!(length <= self.output().len(), "more was sent than there was");
        self.sent += length;
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
    }

    /// What to do once all [`output`](Self::output) is written.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.event.take()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_deadline(&self) -> Option<Instant> {
        self.resume_at
    }

    /// Whether to read from the client now. A session that waits holds a bounded amount of input; one
    /// that stalls leaves it unread.
    pub fn wants_input(&self) -> bool {
        self.pace == Pace::Running && !self.input_ended && self.held.len() < MAX_HELD
    }

    /// Whether input is handled now.
    fn is_listening(&self) -> bool {
        self.pace == Pace::Running && self.resume_at.is_none()
    }

    /// What is offered to this client now: nothing if it said HELO.
    fn offer(&self) -> &Hello {
        match self.hello {
            Greeted::Helo => self.server.nothing(),
            Greeted::Never | Greeted::Not | Greeted::Ehlo => self.server.hello(self.tls_active),
        }
    }

    fn enhanced(&self) -> Enhanced {
        if self.offer().enhanced { Enhanced::Shown } else { Enhanced::Hidden }
    }

    /// Keeps input that came before its turn.
    fn hold(&mut self, input: &[u8]) {
        if self.held.is_empty()
            && let Some(violation) = self.turn
        {
            self.violation(violation);
            let before_greeting = violation == Violation::BeforeGreeting;
            if before_greeting && self.server.config.early_talk == EarlyTalk::Reject554 {
                self.script.clear();
                self.resume_at = None;
                self.write(reply::SYNCHRONIZATION);
                return self.end(Close::Fin);
            }
        }
        self.held.extend_from_slice(input);
    }

    /// Takes the input that was held back while the script ran.
    fn resume_input(&mut self) {
        if !self.is_listening() {
            return;
        }
        if self.held.is_empty() {
            self.rejects_flight = false;
            return;
        }
        let held = std::mem::take(&mut self.held);
        let rest = self.consume(&held).len();
        let consumed = held.len() - rest;
        self.held = held;
        self.held.drain(..consumed);
    }

    /// Reads input until it ends or the session stops listening. Returns what is left.
    fn consume<'a>(&mut self, mut input: &'a [u8]) -> &'a [u8] {
        while !input.is_empty() && self.is_listening() {
            input = match self.phase {
                Phase::Command | Phase::Auth(_) => self.read_line(input),
                Phase::Data(_) => self.read_data(input),
                Phase::Chunk { .. } => self.read_chunk(input),
            };
        }
        if self.is_listening() {
            self.rejects_flight = false;
        }
        input
    }

    /// Reads up to the end of a line. Returns what is behind it.
    fn read_line<'a>(&mut self, input: &'a [u8]) -> &'a [u8] {
        let Some(end) = memchr::memchr(b'\n', input) else {
            self.keep_line(input);
            return &[];
        };
        let (line, rest) = input.split_at(end + 1);
        if self.line.is_empty() && line.len() <= MAX_LINE {
            self.handle_line(line, rest);
            return rest;
        }
        self.keep_line(line);
        let mut line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.line_overflowed) {
            self.violation(Violation::LongCommand);
            self.write(reply::LINE_TOO_LONG);
        } else {
            self.handle_line(&line, rest);
        }
        line.clear();
        self.line = line;
        rest
    }

    /// Keeps part of a line.
    fn keep_line(&mut self, part: &[u8]) {
        if self.line.len() + part.len() > MAX_LINE {
            self.line_overflowed = true;
            // One octet stands for the line: it has begun.
            self.line.clear();
            self.line.push(b' ');
        } else if !self.line_overflowed {
            self.line.extend_from_slice(part);
        }
    }

    /// Handles one line with its LF; `rest` came in the same flight.
    fn handle_line(&mut self, line: &[u8], rest: &[u8]) {
        let line = match line {
            [line @ .., b'\r', b'\n'] => line,
            [line @ .., b'\n'] => {
                self.violation(Violation::BareLf);
                line
            }
            line => line,
        };
        if self.rejects_flight {
            self.write(reply::AFTER_CONTENT);
        } else if let Phase::Auth(_) = self.phase {
            self.auth_response(line, rest);
        } else {
            self.command(line, rest);
        }
    }

    /// The final reply was given: what came in the same flight may be rejected.
    fn end_content(&mut self) {
        self.phase = Phase::Command;
        self.transaction.reset();
        if self.server.config.pipelining_after_content == PipeliningAfterContent::Reject503 {
            self.rejects_flight = true;
        }
    }

    /// Whatever was learnt of the client is forgotten: the session is as if just greeted.
    fn forget_client(&mut self) {
        self.authenticated = false;
        self.transaction.reset();
        self.hello = Greeted::Not;
    }

    fn violation(&mut self, violation: Violation) {
        self.tally.violation(violation);
    }

    fn refusal(&mut self, refusal: Refusal) {
        self.tally.refusal(refusal);
    }

    /// Adds what was counted to the sink's counters.
    fn settle(&mut self) {
        if let Some(seen) = &self.server.seen {
            self.arrivals.enter(seen, &mut self.tally);
        }
        self.server.counters.add(&mut self.tally);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.admitted {
            self.server.counters.close();
        }
    }
}

/// Octets of a command line: RFC 4954 4.1 wants 12 288 for the base64 of an AUTH exchange, which is
/// more than any other command may have.
const MAX_LINE: usize = 12_288 + 2;

/// Input a waiting session holds: more than the flights that tests of early talk send.
const MAX_HELD: usize = 64 << 10;

/// An odd constant that makes the seeds of neighbouring connections differ in all their bits.
const SEED_STEP: u64 = 0x9e37_79b9_7f4a_7c15;
