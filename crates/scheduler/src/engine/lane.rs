//! One connection of the engine: what its driver asks, and what becomes of the answers.
//!
//! Many mails may be in flight at once, so what there is to say to the planner is said together: the lock is
//! taken once for all attempts that are over by now, and for all mails that there is room for.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use posthaste_connection::{Command, Dispatch, Error, ErrorKind, Info};
use posthaste_session::reply::ReplyBuf;
use posthaste_session::{
    Chunking, CloseReason, Config, Event, Finished, Mail, NotSent, Outcome, Session, Stage,
    SubmitError, SubmitErrorReason, TlsPolicy, TransactionId, Unsendable,
};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::observe::Observation;
use super::port::{End, Orders, Port};
use super::shared::Shared;
use super::state::{Done, Entry, Open, State};
use super::trace;
use crate::failure::{self, Closed, ConnectFailure};
use crate::ledger::{Attempt, Freshness};
use crate::planner::{Answer, AttemptResult, ConnectionId, Ending, JobId, Pull, ServerId, Use};
use crate::report::Trouble;
use crate::time::Time;

/// Most mails taken from the planner at once, and most octets of content, but for the last one: whoever
/// pulls less leaves more to others that are as quick.
const MAX_PULLED: usize = 64;
const MAX_PULLED_OCTETS: usize = 256 * 1024;

/// Opens a connection in a task of its own.
pub(super) fn open(shared: &Arc<Shared>, open: Open) {
    let Open { server, connection, pipelining, bdat, tls, connector, port } = open;
    let mut lane = Lane {
        shared: Arc::clone(shared),
        server,
        connection,
        port: Arc::clone(&port),
        registered: None,
        orders: Orders::default(),
        waits: false,
        is_dismissed: false,
        pulled: VecDeque::new(),
        in_flight: VecDeque::new(),
        over: Vec::new(),
        heard: None,
        info: None,
        avoids_tls: tls == Use::Never,
        has_delivered: false,
        is_ready: false,
        closed: None,
        ending: Closed::Broken.into(),
    };
    let span = trace::connection(&connector, connection);
    let run = async move {
        let adjust = |config: &mut Config| {
            config.pipelining = pipelining;
            if bdat == Use::Never {
                config.chunking = Chunking::Off;
            }
            if tls == Use::Never && config.tls == TlsPolicy::May {
                config.tls = TlsPolicy::Off;
            }
        };
        let result = {
            // Dropped, it gives every mail its outcome.
            let mut run = pin!(connector.run(adjust, &mut lane));
            let mut registered = None;
            let run_or_stop = |cx: &mut Context<'_>| match run.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending => port.poll_stopped(cx, &mut registered).map(|()| None),
            };
            poll_fn(run_or_stop).await
        };
        lane.end(result);
    };
    shared.runtime.spawn(run.instrument(span));
}

/// See the module. Dropping it tells the planner that the connection is gone, whatever the reason.
struct Lane {
    shared: Arc<Shared>,
    server: ServerId,
    connection: ConnectionId,
    port: Arc<Port>,
    /// Whom the port wakes.
    registered: Option<Waker>,
    /// Orders not carried out yet.
    orders: Orders,
    /// The planner has nothing for this connection until it says so.
    waits: bool,
    /// The planner wants it to end after the mails that it got.
    is_dismissed: bool,
    /// Mails that the driver is about to take, in this very poll but for those that it has no room for.
    pulled: VecDeque<(Sending, Mail)>,
    /// What is in the session, or was handed to the driver this moment, the oldest first.
    in_flight: VecDeque<Sending>,
    /// Attempts that are over, which the planner does not know yet.
    over: Vec<Over>,
    /// When the last of them was.
    heard: Option<Instant>,
    info: Option<Info>,
    /// TLS was not even tried.
    avoids_tls: bool,
    has_delivered: bool,
    is_ready: bool,
    closed: Option<CloseReason>,
    ending: Ending,
}

/// A job that is this connection's.
#[derive(Debug)]
struct Sending {
    job: JobId,
    /// The number of its mail.
    mail: u64,
    started: Time,
    span: Span,
}

/// An attempt that is over.
#[derive(Debug)]
struct Over {
    job: JobId,
    attempt: Attempt,
    /// The job, once the planner has forgotten it: it was the last attempt.
    closing: Option<Entry>,
}

impl Lane {
    /// Sorts the end of the connection; without a result it was ended from here.
    fn end(mut self, result: Option<Result<(), Error>>) {
        let (words, trouble) = match (&result, &self.closed) {
            (None, _) => {
                self.ending = Closed::Unremarkable.into();
                (None, None)
            }
            (Some(Err(error)), _) => {
                let failure = connect_failure(error.kind());
                self.ending = Ending {
                    lesson: failure::connect_lesson(failure),
                    ..failure::connect_failed(failure).into()
                };
                trace::failed(error);
                self.shared.observe(Observation::Failed(self.server, self.connection, error));
                (None, Some(Trouble { failure, text: chain(error).into() }))
            }
            (Some(Ok(())), Some(reason)) => {
                self.ending = Ending {
                    how: failure::closed(reason),
                    pause: failure::close_pause(reason),
                    lesson: failure::close_lesson(reason),
                };
                trace::closed(reason);
                self.shared.observe(Observation::Closed(self.server, self.connection, reason));
                (session_words(reason), None)
            }
            (Some(Ok(())), None) => (None, None),
        };
        if words.is_some() || trouble.is_some() {
            let host = &mut self.shared.lock().hosts[self.server.index()];
            (host.words, host.trouble) = (words, trouble);
        }
    }

    /// The next command, as far as it needs no mail from the planner.
    fn next_command(&mut self, room: usize) -> Option<Command> {
        if let Some(Orders { wake, mode, end }) = self.port.take() {
            // Each order takes the waker with it.
            self.registered = None;
            self.waits &= !wake;
            self.orders.mode = mode.or(self.orders.mode);
            self.orders.end = end.max(self.orders.end);
        }
        if self.orders.end == Some(End::Abort) {
            self.orders.end = None;
            return Some(Command::Abort);
        }
        if let Some(mode) = self.orders.mode.take() {
            return Some(Command::SetPipelining(mode));
        }
        if self.orders.end.take() == Some(End::Quit) {
            self.give_back_pulled();
            self.is_dismissed = true;
        }
        if self.pulled.is_empty() {
            return std::mem::take(&mut self.is_dismissed).then_some(Command::Quit);
        }
        if room == 0 {
            return None;
        }
        self.pulled.pop_front().map(|pulled| self.hand_over(pulled))
    }

    /// Gives the driver a mail, which it takes at once.
    fn hand_over(&mut self, (sending, mail): (Sending, Mail)) -> Command {
        self.in_flight.push_back(sending);
        Command::Submit(mail)
    }

    /// Tells the planner what is over, and takes up to so many mails, the first of which it returns.
    fn exchange(&mut self, room: usize) -> Option<(Sending, Mail)> {
        let Self { shared, connection, over, pulled, heard, .. } = self;
        let busy = shared.busy();
        let mut first = None;
        let (pull, panic) = busy.try_plan(heard.take(), |state, now| {
            enter(state, now, *connection, over);
            pull(state, now, *connection, room.min(MAX_PULLED), &mut first, pulled)
        });
        let panic = shared.try_report(over.drain(..).filter_map(Over::done)).or(panic);
        if let Some(cause) = panic {
            // From there it is given back.
            pulled.extend(first);
            resume_unwind(cause);
        }
        match pull {
            Some(Pull::Quit) => self.is_dismissed = true,
            Some(Pull::Wait) => self.waits = true,
            Some(Pull::Job { .. }) | None => {}
        }
        first
    }

    /// Gives back memory that is not in use: the wait may be long.
    fn shrink(&mut self) {
        self.pulled.shrink_to_fit();
        self.in_flight.shrink_to_fit();
        self.over.shrink_to_fit();
    }

    /// Notes that an attempt is over.
    #[inline]
    fn end_attempt(&mut self, Sending { job, started, .. }: Sending, outcomes: Vec<Outcome>) {
        let connection = if self.has_delivered { Freshness::Used } else { Freshness::Fresh };
        self.has_delivered |= outcomes.iter().any(Outcome::is_delivered);
        let attempt = Attempt { started, ended: started, outcomes, connection };
        self.over.push(Over { job, attempt, closing: None });
    }

    /// Notes that nothing of this mail was sent.
    fn give_back(&mut self, sending: Sending, mail: &Mail) {
        let recipients = mail.envelope.forward_paths().len();
        self.end_attempt(sending, vec![Outcome::NotSent(NotSent::NeverStarted); recipients]);
    }

    /// The last one first, since each goes to the head of its queue.
    fn give_back_pulled(&mut self) {
        while let Some((sending, mail)) = self.pulled.pop_back() {
            self.give_back(sending, &mail);
        }
    }

    /// The server cannot be given this mail.
    fn unsendable(&mut self, job: JobId, reason: Unsendable) {
        let (shared, connection) = (&self.shared, self.connection);
        let busy = shared.busy();
        let is_the_connections = self.lacks(reason);
        let done = busy.plan(|state, now| {
            if is_the_connections {
                state.planner.tls_wanted(connection);
                let result = state.job_mut(job)?.ledger.unsendable_here(now);
                state.planner.finished(now, connection, job, result, &mut state.actions);
                return None;
            }
            let result = AttemptResult::done(Answer::Nothing);
            state.planner.finished(now, connection, job, result, &mut state.actions);
            state.close(job, |ledger| ledger.unsendable(now, reason))
        });
        shared.report(done);
    }

    /// Whether a mail cannot be sent because of this very connection: TLS was given up on it, or on
    /// the last one, which says nothing about the next one.
    fn lacks(&self, reason: Unsendable) -> bool {
        let is_given_up = self.info.as_ref().is_some_and(|info| info.tls_given_up.is_some());
        reason == Unsendable::RequireTls && (is_given_up || self.avoids_tls)
    }

    fn finished(&mut self, finished: Finished) {
        let Some(sending) = self.in_flight.pop_front() else { return };
        trace::attempted(&sending.span, &finished);
        let observation =
            Observation::Attempted(self.server, self.connection, &finished, sending.mail);
        let panic = self.shared.try_observe(observation);
        self.heard = finished.timing.finished.map(Instant::from_std);
        self.end_attempt(sending, finished.outcomes);
        if let Some(cause) = panic {
            resume_unwind(cause);
        }
    }
}

/// Enters what attempts came to.
#[inline]
fn enter(state: &mut State, now: Time, connection: ConnectionId, over: &mut [Over]) {
    for Over { job, attempt, closing } in over {
        let Some(entry) = state.job_mut(*job) else { continue };
        attempt.ended = now;
        let result = entry.ledger.attempted(attempt);
        state.planner.finished(now, connection, *job, result, &mut state.actions);
        if result.again.is_none() {
            *closing = state.take_job(*job);
        }
    }
}

/// Takes mails from the planner, as far as the connection is to have some: up to so many, the `first` of which has a
/// place of its own. Gives what the planner said last, if it was no mail.
fn pull(
    state: &mut State,
    now: Time,
    connection: ConnectionId,
    most: usize,
    first: &mut Option<(Sending, Mail)>,
    more: &mut VecDeque<(Sending, Mail)>,
) -> Option<Pull> {
    let mut octets = 0;
    while more.len() + usize::from(first.is_some()) < most && octets < MAX_PULLED_OCTETS {
        let State { planner, actions, .. } = state;
        let pull = match first {
            None => planner.pull(now, connection, actions),
            Some(_) => planner.pull_more(now, connection, actions),
        };
        let Pull::Job { job, recipients } = pull else { return Some(pull) };
        let Some(Entry { ledger, number, .. }) = state.job_mut(job) else { break };
        // A job has recipients left as long as the planner knows it.
        let Some(mail) = ledger.next_attempt(recipients) else { break };
        let span = trace::attempt(number.get());
        octets += mail.content.len();
        let sending = Sending { job, mail: number.get(), started: now, span };
        match first {
            None => *first = Some((sending, mail)),
            Some(_) => more.push_back((sending, mail)),
        }
    }
    None
}

impl Over {
    /// The report is made without the lock.
    fn done(self) -> Option<Done> {
        let Self { attempt, closing, .. } = self;
        Some(Done::new(closing?, |ledger| ledger.into_report(attempt)))
    }
}

impl Dispatch for Lane {
    fn poll_command(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<Command> {
        loop {
            if let Some(command) = self.next_command(room) {
                return Poll::Ready(command);
            }
            let room =
                if self.is_ready && !self.waits && self.pulled.is_empty() { room } else { 0 };
            if room > 0 || !self.over.is_empty() {
                match self.exchange(room) {
                    Some(pulled) => return Poll::Ready(self.hand_over(pulled)),
                    None => continue,
                }
            }
            if self.in_flight.is_empty() {
                self.shrink();
            }
            if self.registered.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            // An order may have come in the meantime.
            self.port.register(cx.waker());
            self.registered = Some(cx.waker().clone());
        }
    }

    fn handle_submitted(&mut self, result: Result<TransactionId, SubmitError>) {
        let Err(SubmitError { mail, reason }) = result else { return };
        let Some(sending) = self.in_flight.pop_back() else { return };
        match reason {
            SubmitErrorReason::Unsendable(reason) => self.unsendable(sending.job, reason),
            SubmitErrorReason::NoRoom => self.give_back(sending, &mail),
        }
    }

    fn handle_event(&mut self, event: Event, session: &Session) {
        let (shared, connection) = (&self.shared, self.connection);
        match event {
            Event::Ready => {
                self.is_ready = true;
                self.port.set_ready();
                trace::ready();
                if let Some(info) = &self.info {
                    shared.observe(Observation::Ready(self.server, connection, info, session));
                }
                shared.plan(|state, now| {
                    let host = &mut state.hosts[self.server.index()];
                    (host.words, host.trouble) = (None, None);
                    state.planner.connection_ready(now, connection, &mut state.actions);
                });
            }
            Event::Finished(finished) => self.finished(finished),
            Event::PipeliningProven(mode) => shared.plan(|state, now| {
                state.planner.pipelining_proven(now, connection, mode, &mut state.actions);
            }),
            Event::PipeliningLowered(lowered) => shared.plan(|state, now| {
                state.planner.pipelining_lowered(now, connection, lowered.to, &mut state.actions);
            }),
            Event::ChunkingRefused(_) => {
                shared.plan(|state, now| state.planner.bdat_refused(now, connection));
            }
            Event::Transcript(line) => shared.observe(Observation::Transcript(connection, &line)),
            Event::TokenRefused(words) => {
                shared.observe(Observation::TokenRefused(self.server, connection, &words));
            }
            Event::Closed(reason) => {
                self.closed = Some(reason);
                self.give_back_pulled();
                // Nobody asks for commands any more, and the close may take a while.
                self.exchange(0);
            }
            _ => {}
        }
    }

    fn handle_connected(&mut self, info: &Info) {
        self.shared.observe(Observation::Connected(self.server, self.connection, info));
        self.info = Some(info.clone());
        if info.tls_given_up.is_some() {
            let (shared, connection) = (Arc::clone(&self.shared), self.connection);
            shared.plan(|state, now| state.planner.tls_broken(now, connection));
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.give_back_pulled();
        let Self { shared, connection, ending, over, .. } = self;
        let busy = shared.busy();
        busy.plan(|state, now| {
            enter(state, now, *connection, over);
            state.remove_port(*connection);
            state.planner.connection_closed(now, *connection, *ending, &mut state.actions);
        });
        shared.report(over.drain(..).filter_map(Over::done));
    }
}

fn connect_failure(kind: ErrorKind) -> ConnectFailure {
    match kind {
        ErrorKind::Resolve => ConnectFailure::Resolve,
        ErrorKind::Refused => ConnectFailure::Refused,
        ErrorKind::ConnectTimeout => ConnectFailure::Timeout,
        ErrorKind::Local => ConnectFailure::Local,
        ErrorKind::Certificate => ConnectFailure::Certificate,
        ErrorKind::NotTls | ErrorKind::Handshake | ErrorKind::HandshakeTimeout => {
            ConnectFailure::Tls
        }
        _ => ConnectFailure::Unreachable,
    }
}

/// What a server said about the session as such, not about a mail.
fn session_words(reason: &CloseReason) -> Option<(Stage, ReplyBuf)> {
    match reason {
        CloseReason::Refused { stage, reply } if *stage <= Stage::Auth => {
            Some((*stage, reply.clone()))
        }
        CloseReason::Shutdown { stage, reply } => Some((*stage, reply.clone())),
        _ => None,
    }
}

/// An error and what led to it.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text += &format!(": {source}");
        next = source.source();
    }
    text
}
