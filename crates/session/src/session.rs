//! The session machine: its state, its inputs, its outputs.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use posthaste_reply::{Escaped, Extensions, Framer, Mechanism, Reply, ReplyBuf, ReplyCode};

use crate::budget::{Budget, Share};
use crate::config::{Chunking, Config, LineEnds, Pipelining};
use crate::event::{CloseReason, Event, Speaker, TranscriptLine, Violation};
use crate::mail::{Mail, PartialRefusal};
use crate::outcome::{TransactionId, Unsendable};
use crate::sasl::{Cancelled, Exchange};
use crate::scrub::Scrubber;
use crate::stage::Stage;
use crate::tls::{ImplicitTls, TlsState};
use crate::transfer::Transfer;
use crate::transmit::Transmit;
use crate::xclient::Untold;

/// Why a mail was not taken, and the mail itself.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct SubmitError {
    /// The mail, unchanged.
    pub mail: Box<Mail>,
    /// What speaks against it.
    pub reason: SubmitErrorReason,
}

/// Why a mail was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitErrorReason {
    /// The session is not ready, is ending, or has as many mails as its mode allows; see [`Session::room`].
    #[error("session has no room for a mail")]
    NoRoom,
    /// This server cannot be given this mail.
    #[error(transparent)]
    Unsendable(Unsendable),
}

impl SubmitError {
    #[cold]
    fn new(mail: Mail, reason: SubmitErrorReason) -> Self {
        Self { mail: Box::new(mail), reason }
    }
}

/// Octets of a stored reply that are kept for an outcome; a server may say up to 64 KiB to each of
/// thousands of recipients.
pub(crate) const MAX_STORED_REPLY: usize = 1024;

/// An SMTP session from the client's side, without I/O (RFC 5321 section 3).
///
/// # The law
///
/// After *each* input or command
///
/// 1. drain [`poll_event`](Self::poll_event), do what [`Event::StartTls`] and [`Event::DeriveKey`] ask for, and
///    [`submit`](Self::submit) the mails that there is now [`room`](Self::room) for: what comes of it shares a write
///    with what there is to say already;
/// 2. write what [`poll_transmit`](Self::poll_transmit) gives, and call [`transmitted`](Self::transmitted) with what
///    was written, until it gives nothing or the writer is full;
/// 3. read [`poll_deadline`](Self::poll_deadline), and call [`handle_timeout`](Self::handle_timeout) when it has passed.
///
/// Always read while something is being written, or a server that answers before it reads on blocks both sides.
///
/// # What it keeps
///
/// * Every submitted mail yields exactly one [`Event::Finished`] with exactly one outcome for each recipient,
///   whatever the server does, before [`Event::Closed`].
/// * [`Outcome::Delivered`](crate::Outcome::Delivered) is only said on a positive reply that was counted to the end of
///   that mail's content.
/// * After a violation, a timeout, a 421 or surplus octets the session is closed for good.
///
/// # Phases
///
/// ```text
///            .---------------- STARTTLS 220 + handshake ----------------.
///            v                                                          |
/// greeting -> EHLO --> (HELO) -----------------.                        |
///               |--> STARTTLS -----------------|------------------------'
///               |--> XCLIENT --> EHLO again    |
///               |--> AUTH --> ... --> 235 -----|--> ready --> QUIT --> closed
///               '------------------------------'      '---- trouble ------^
/// ```
///
/// # Examples
///
/// ```
/// use std::{io::IoSlice, time::Instant};
/// use posthaste_session::{Config, Content, Envelope, Event, ForwardPath, Mail, Mailbox, Session};
///
/// let now = Instant::now();
/// let mut session = Session::new(now, Config::new("client.example".parse()?));
/// let say = |session: &mut Session| {
///     let mut slices = [IoSlice::new(&[]); 8];
///     let used = session.poll_transmit(&mut slices);
///     let octets: Vec<u8> = slices[..used].iter().flat_map(|slice| slice.to_vec()).collect();
///     session.transmitted(now, octets.len());
///     String::from_utf8(octets).unwrap()
/// };
///
/// session.handle_input(now, b"220 mx.example ESMTP\r\n");
/// assert_eq!(say(&mut session), "EHLO client.example\r\n");
/// session.handle_input(now, b"250-mx.example\r\n250 PIPELINING\r\n");
/// assert!(matches!(session.poll_event(), Some(Event::Ready)));
///
/// let from: Mailbox = "a@client.example".parse()?;
/// let to: ForwardPath = "b@mx.example".parse()?;
/// session.submit(now, Mail::new(Envelope::new(from, [to])?, Content::new("Subject: hi\r\n")?))?;
/// assert_eq!(say(&mut session), "MAIL FROM:<a@client.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n");
/// session.handle_input(now, b"250 ok\r\n250 ok\r\n354 go\r\n");
/// assert_eq!(say(&mut session), "Subject: hi\r\n.\r\n");
/// session.handle_input(now, b"250 queued\r\n");
/// let finished = std::iter::from_fn(|| session.poll_event()).find_map(|event| match event {
///     Event::Finished(finished) => Some(finished),
///     _ => None,
/// });
/// assert!(finished.unwrap().outcomes[0].is_delivered());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Session {
    pub(crate) config: Arc<Config>,
    pub(crate) phase: Phase,
    pub(crate) framer: Framer,
    /// Octets of a reply that has not ended yet.
    partial: Vec<u8>,
    pub(crate) transmit: Transmit,
    pub(crate) transfer: Transfer,
    events: VecDeque<Event>,
    deadline: Option<Instant>,
    /// What is awaited has changed, so the deadline has to be set anew.
    pub(crate) rearm: bool,
    pub(crate) extensions: Extensions,
    pub(crate) tls: Option<TlsState>,
    /// What XCLIENT has not told yet.
    pub(crate) untold: Untold,
    /// Empty before AUTH: what was never said cannot be repeated.
    pub(crate) scrubber: Scrubber,
    pub(crate) quits: bool,
    pub(crate) setup_timing: SetupTiming,
}

/// When a session passed which point before it took mails; `None` where it did not get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetupTiming {
    /// It began.
    pub started: Instant,
    /// The greeting came.
    pub greeted: Option<Instant>,
    /// The last EHLO, or HELO, was sent.
    pub hello: Option<Instant>,
    /// Its reply came.
    pub introduced: Option<Instant>,
    /// It took mails: after AUTH, where there is one.
    pub ready: Option<Instant>,
}

/// Where the session stands.
#[derive(Debug)]
pub(crate) enum Phase {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Handshake,
    Xclient,
    Auth(Exchange),
    /// `*` is out.
    AuthCancelled {
        mechanism: Mechanism,
        cancelled: Cancelled,
    },
    Ready,
    /// QUIT is out; the reason is reported when it is answered, or not.
    Quitting(CloseReason),
    Closed,
}

impl Session {
    /// Begins a session on a plaintext connection that was just opened. Sessions that are told the same can share it.
    pub fn new(now: Instant, config: impl Into<Arc<Config>>) -> Self {
        Self::with_tls(now, config, ImplicitTls::No)
    }

    /// Begins a session on a connection that was just opened.
    pub fn with_tls(now: Instant, config: impl Into<Arc<Config>>, tls: ImplicitTls) -> Self {
        let config = config.into();
        let mut session = Self {
            untold: Untold::new(config.xclient.as_ref()),
            framer: Framer::new(config.limits),
            transfer: Transfer::new(&config),
            config,
            phase: Phase::Greeting,
            partial: Vec::new(),
            transmit: Transmit::default(),
            events: VecDeque::new(),
            deadline: None,
            rearm: true,
            extensions: Extensions::default(),
            tls: tls.state(),
            scrubber: Scrubber::default(),
            quits: false,
            setup_timing: SetupTiming {
                started: now,
                greeted: None,
                hello: None,
                introduced: None,
                ready: None,
            },
        };
        session.settle(now);
        session
    }

    /// Hands in a mail to be sent as soon as the mode allows.
    ///
    /// # Errors
    ///
    /// Gives the mail back when there is no [`room`](Self::room) for it, or when this server cannot be given it.
    pub fn submit(&mut self, now: Instant, mail: Mail) -> Result<TransactionId, SubmitError> {
        if self.room() == 0 {
            return Err(SubmitError::new(mail, SubmitErrorReason::NoRoom));
        }
        if let Err(unsendable) = self.check_sendable(&mail) {
            return Err(SubmitError::new(mail, SubmitErrorReason::Unsendable(unsendable)));
        }
        let share = self.transfer.share(self.extensions.limits(), &mail);
        if let Some(share) = &share
            && let Err(reason) = self.check_share(now, share, &mail)
        {
            return Err(SubmitError::new(mail, reason));
        }
        let id = self.transfer.add(mail, share);
        self.settle(now);
        Ok(id)
    }

    /// Whether what the server's limits leave is enough for this mail to begin.
    #[cold]
    fn check_share(
        &mut self,
        now: Instant,
        share: &Share,
        mail: &Mail,
    ) -> Result<(), SubmitErrorReason> {
        let limits = self.extensions.limits();
        let is_partial = |share: &Share| !share.withheld.is_empty();
        let is_whole_wanted = mail.partial_refusal == PartialRefusal::AllOrNothing;
        if is_whole_wanted
            && is_partial(share)
            && Budget::default().share(limits, &mail.envelope).as_ref().is_some_and(is_partial)
        {
            return Err(SubmitErrorReason::Unsendable(Unsendable::TooManyRecipients));
        }
        let is_empty = share.withheld.len() == mail.envelope.forward_paths().len();
        if is_empty || is_whole_wanted && is_partial(share) {
            // The domains of this session are used up.
            self.quit(now);
            return Err(SubmitErrorReason::NoRoom);
        }
        Ok(())
    }

    /// How many more mails can be submitted now without being held up here.
    #[inline]
    pub fn room(&self) -> usize {
        match self.phase {
            Phase::Ready if !self.quits => {
                let mode = match (self.pipelining(), self.config.chunking) {
                    (Pipelining::Stream, _) => Pipelining::Stream,
                    // Nothing goes behind a last chunk, so a second mail would only wait here.
                    (_, Chunking::Always) if self.extensions.chunking() => Pipelining::Envelope,
                    (mode, _) => mode,
                };
                self.transfer.room(mode, self.extensions.limits())
            }
            _ => 0,
        }
    }

    /// How many octets of content there is room for, should there be [`room`](Self::room) for a mail: the last one may
    /// have more. Without bound but in [`Pipelining::Stream`].
    pub fn room_octets(&self) -> usize {
        match self.pipelining() {
            Pipelining::Stream => self.transfer.octets_left(),
            Pipelining::Off | Pipelining::Envelope | Pipelining::Cross => usize::MAX,
        }
    }

    /// How many mails may be ahead of the replies in [`Pipelining::Stream`] now.
    ///
    /// 1 at first. Twice as many with each window of mails of which none was refused, up to [`Config::window`]; half as
    /// many where more than a quarter was, because servers count refusals and hang up. Behind eight that were refused
    /// the session takes no more, and ends.
    pub fn window(&self) -> usize {
        self.transfer.window()
    }

    /// How many submitted mails have no outcome yet.
    pub fn in_flight(&self) -> usize {
        self.transfer.in_flight()
    }

    /// Ends the session politely once every submitted mail has its outcome. No more mails are taken.
    pub fn quit(&mut self, now: Instant) {
        self.quits = true;
        self.settle(now);
    }

    /// Ends the session at once. Mails whose content was written completely are in doubt, all others not sent.
    pub fn abort(&mut self, now: Instant) {
        let stage = self.stage();
        self.close(now, CloseReason::Aborted { stage });
    }

    /// Gives back the memory of all queues that are empty, which they will take again with the next mail. Worth it before
    /// a wait that may be long.
    pub fn shrink(&mut self) {
        self.partial.shrink_to_fit();
        self.events.shrink_to_fit();
        self.transmit.shrink();
        self.transfer.shrink();
    }

    /// Changes the pipelining mode; it takes effect from the next command on.
    pub fn set_pipelining(&mut self, now: Instant, mode: Pipelining) {
        self.transfer.set_mode(mode);
        self.settle(now);
    }

    /// Takes octets that the server sent.
    pub fn handle_input(&mut self, now: Instant, octets: &[u8]) {
        let mut kept = std::mem::take(&mut self.partial);
        let mut rest = if kept.is_empty() {
            octets
        } else {
            kept.extend_from_slice(octets);
            &kept
        };
        while !rest.is_empty() && !self.is_closed() {
            if matches!(self.phase, Phase::Handshake) {
                return self.violate(now, Violation::BeforeTls);
            }
            match self.framer.read(rest) {
                Ok(None) => break,
                Ok(Some(reply)) => {
                    (_, rest) = rest.split_at(reply.as_bytes().len());
                    self.handle_reply(now, reply);
                }
                Err(error) => self.violate(now, Violation::Malformed(error)),
            }
        }
        if !self.is_closed() && !rest.is_empty() {
            if kept.is_empty() {
                self.partial.extend_from_slice(rest);
            } else {
                let done = kept.len() - rest.len();
                kept.drain(..done);
                self.partial = kept;
            }
        }
        self.settle(now);
    }

    /// Takes note that the server sends no more, or that the connection broke.
    pub fn handle_eof(&mut self, now: Instant) {
        let stage = self.stage();
        self.close(now, CloseReason::Lost { stage });
    }

    /// Ends the session if the [deadline](Self::poll_deadline) has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            let stage = self.stage();
            self.close(now, CloseReason::Timeout { stage });
        }
    }

    /// Takes note that the handshake asked for by [`Event::StartTls`] is done.
    ///
    /// All that the server had said before is forgotten (RFC 3207 section 4.2).
    pub fn tls_established(&mut self, now: Instant, tls: TlsState) {
        if !matches!(self.phase, Phase::Handshake) {
            // It ended in the meantime.
            return;
        }
        self.tls = Some(tls);
        self.extensions = Extensions::default();
        self.framer.reset();
        self.start_hello(now);
        self.settle(now);
    }

    /// Fills `slices` with what is to be written next, in order, and says how many were used. Nothing is copied.
    pub fn poll_transmit<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.transmit.slices(slices)
    }

    /// Whether there is anything to be written.
    pub fn has_transmit(&self) -> bool {
        !self.transmit.is_empty()
    }

    /// Takes note that the first `octets` octets of what [`poll_transmit`](Self::poll_transmit) gave were written.
    pub fn transmitted(&mut self, now: Instant, octets: usize) {
        self.transmit.advance(octets);
        if self.transfer.handle_progress(now, self.transmit.written()) {
            self.rearm = true;
            self.settle(now);
        }
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, unless something else happens before.
    pub fn poll_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What the server offers, as far as it is used; empty before [`Event::Ready`].
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// When the session passed which point before it took mails.
    pub fn setup_timing(&self) -> &SetupTiming {
        &self.setup_timing
    }

    /// The mode in use: what was asked for, as far as the server offers PIPELINING, for `stream` CHUNKING too, and has
    /// borne it.
    pub fn pipelining(&self) -> Pipelining {
        match self.transfer.mode() {
            _ if !self.extensions.pipelining() => Pipelining::Off,
            Pipelining::Stream if !self.may_stream() => Pipelining::Cross,
            mode => mode,
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What came of the TLS handshake; `None` while there is no TLS.
    pub fn tls(&self) -> Option<&TlsState> {
        self.tls.as_ref()
    }

    /// Whether [`Event::Closed`] has been reported or waits to be.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// What is awaited at the moment.
    pub fn stage(&self) -> Stage {
        match &self.phase {
            Phase::Greeting => Stage::Greeting,
            Phase::Ehlo | Phase::Helo => Stage::Hello,
            Phase::StartTls => Stage::StartTls,
            Phase::Handshake => Stage::Tls,
            Phase::Xclient => Stage::Xclient,
            Phase::Auth(_) | Phase::AuthCancelled { .. } => Stage::Auth,
            Phase::Ready => self.transfer.stage(self.transmit.written()),
            Phase::Quitting(_) | Phase::Closed => Stage::Quit,
        }
    }

    /// What goes on from here never holds a secret, but for challenges, which must stay what they are.
    #[inline(always)]
    fn handle_reply(&mut self, now: Instant, reply: Reply<'_>) {
        if reply.has_bare_lf() && self.config.line_ends == LineEnds::Crlf {
            return self.violate(now, Violation::BareLf);
        }
        self.rearm = true;
        if matches!(self.phase, Phase::Ready) && !self.config.transcript && self.scrubber.is_empty()
        {
            return self.handle_transfer_reply(now, reply);
        }
        self.handle_scrubbed_reply(now, reply);
    }

    /// The same for a reply that is written down, or may hold a secret, or is not about a mail.
    #[cold]
    fn handle_scrubbed_reply(&mut self, now: Instant, reply: Reply<'_>) {
        let scrubbed = self.scrubber.scrub_reply(reply);
        let safe = match scrubbed.as_deref().map_or(Ok(reply), Reply::parse) {
            Ok(safe) => safe,
            Err(error) => return self.violate(now, Violation::Grammar(error)),
        };
        if self.config.transcript {
            let last = safe.lines().count().saturating_sub(1);
            for (at, line) in safe.lines().enumerate() {
                let separator = if at == last { ' ' } else { '-' };
                let text = format!("{}{separator}{}", safe.code(), Escaped(line));
                self.record(Speaker::Server, text);
            }
        }
        let is_challenge =
            matches!(self.phase, Phase::Auth(_)) && reply.code() == ReplyCode::CONTINUE_AUTH;
        let reply = if is_challenge { reply } else { safe };
        if matches!(self.phase, Phase::Ready) {
            self.handle_transfer_reply(now, reply);
        } else {
            self.handle_setup_reply(now, reply);
        }
    }

    /// Does what has become possible, and sets the deadline for what is now awaited.
    pub(crate) fn settle(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Ready) {
            self.fill(now);
        }
        if std::mem::take(&mut self.rearm) {
            let stage = self.stage();
            let awaits = !matches!(stage, Stage::Idle) && !self.is_closed();
            // A time too long for the clock is no limit.
            let timeout = self.config.timeouts.of(stage);
            let deadline = now.checked_add(timeout);
            let end = (stage == Stage::Content).then(|| self.content_deadline()).flatten();
            let deadline = deadline.map(|deadline| end.map_or(deadline, |end| deadline.min(end)));
            self.deadline = deadline.filter(|_| awaits);
        }
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Queues a command, and says where it ends.
    pub(crate) fn command(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u64 {
        let before = self.transmit.queued();
        let end = self.transmit.push_command(write);
        self.record_commands(end - before);
        end
    }

    /// Puts the last commands, which have so many octets, into the transcript.
    pub(crate) fn record_commands(&mut self, octets: u64) {
        if self.config.transcript {
            let lines = self.transmit.last_commands(octets).split_inclusive(|&o| o == b'\n');
            let texts: Vec<_> =
                lines.map(|line| line.trim_ascii_end().escape_ascii().to_string()).collect();
            texts.into_iter().for_each(|text| self.record(Speaker::Client, text));
        }
    }

    pub(crate) fn record(&mut self, speaker: Speaker, text: String) {
        self.emit(Event::Transcript(Box::new(TranscriptLine { speaker, text })));
    }

    #[cold]
    pub(crate) fn violate(&mut self, now: Instant, violation: Violation) {
        let stage = self.stage();
        self.close(now, CloseReason::Violation { stage, violation });
    }

    #[cold]
    pub(crate) fn unexpected(&mut self, now: Instant, stage: Stage, reply: Reply<'_>) {
        let violation = Violation::UnexpectedReply(stored(reply));
        self.close(now, CloseReason::Violation { stage, violation });
    }

    /// Says QUIT and ends the session for `reason` whatever comes back (RFC 5321 section 4.1.1.10).
    pub(crate) fn close_politely(&mut self, reason: CloseReason) {
        self.command(|out| out.extend_from_slice(crate::command::QUIT));
        self.phase = Phase::Quitting(reason);
        self.rearm = true;
    }

    /// Ends the session at once, gives every mail its outcome, and stays closed for ever.
    pub(crate) fn close(&mut self, now: Instant, reason: CloseReason) {
        let reason = match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Closed => return,
            Phase::Quitting(reason) => reason,
            _ => reason,
        };
        self.cut_transactions(now, &reason);
        self.transmit.discard();
        self.partial = Vec::new();
        self.deadline = None;
        self.rearm = false;
        self.emit(Event::Closed(reason));
    }
}

/// A bounded copy of a reply, for outcomes and reasons.
pub(crate) fn stored(reply: Reply<'_>) -> ReplyBuf {
    reply.to_owned_bounded(MAX_STORED_REPLY)
}
