//! One connection of the engine: what its driver asks, and what becomes of the answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use posthaste_connection::{Command, Dispatch, Error, ErrorKind, Info};
use posthaste_session::reply::ReplyBuf;
use posthaste_session::{
    Chunking, CloseReason, Config, Event, Finished, NotSent, Outcome, Session, Stage, SubmitError,
    SubmitErrorReason, TlsPolicy, TransactionId, Unsendable,
};
use tracing::{Instrument, Span};

use super::observe::Observation;
use super::port::{End, Orders, Port};
use super::shared::Shared;
use super::state::{Open, State};
use super::trace;
use crate::failure::{self, Closed, ConnectFailure};
use crate::ledger::Ledger;
use crate::planner::{AttemptResult, ConnectionId, Ending, JobId, Pull, ServerId, Use};
use crate::report::Trouble;
use crate::time::Time;

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
        submitting: None,
        in_flight: VecDeque::new(),
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
        let run = connector.run(adjust, &mut lane);
        // Dropped, it gives every mail its outcome.
        let result = tokio::select! {
            biased;
            result = run => Some(result),
            () = port.stopped() => None,
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
    /// The job whose mail was handed to the driver this moment.
    submitting: Option<Attempt>,
    /// What is in the session, the oldest first; two at the most.
    in_flight: VecDeque<Attempt>,
    info: Option<Info>,
    /// TLS was not even tried.
    avoids_tls: bool,
    has_delivered: bool,
    is_ready: bool,
    closed: Option<CloseReason>,
    ending: Ending,
}

/// A job that was handed to the driver.
#[derive(Debug)]
struct Attempt {
    job: JobId,
    /// The number of its mail.
    mail: u64,
    span: Span,
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

    /// The next order, without a lock where there is none.
    fn next_order(&mut self) -> Option<Command> {
        if let Some(Orders { wake, mode, end }) = self.port.take() {
            // Each order takes the waker with it.
            self.registered = None;
            self.waits &= !wake;
            self.orders.mode = mode.or(self.orders.mode);
            self.orders.end = end.max(self.orders.end);
        }
        match self.orders.end.take() {
            Some(End::Quit) => Some(Command::Quit),
            Some(End::Abort) => Some(Command::Abort),
            None => self.orders.mode.take().map(Command::SetPipelining),
        }
    }

    /// Takes the next mail from the planner, if the connection is to have one.
    fn pull(&mut self, state: &mut State, now: Time) -> Poll<Command> {
        match state.planner.pull(now, self.connection, &mut state.actions) {
            Pull::Quit => Poll::Ready(Command::Quit),
            Pull::Wait => {
                self.waits = true;
                Poll::Pending
            }
            Pull::Job { job, recipients } => {
                let Some(entry) = state.job_mut(job) else { return Poll::Pending };
                let mail = entry.number.get();
                self.submitting = Some(Attempt { job, mail, span: trace::attempt(mail) });
                // A job has recipients left as long as the planner knows it.
                let mail = entry.ledger.next_attempt(now, recipients);
                mail.map_or(Poll::Pending, |mail| Poll::Ready(Command::Submit(Box::new(mail))))
            }
        }
    }

    /// Enters what an attempt came to.
    fn enter(&self, job: JobId, attempted: impl FnOnce(&mut Ledger, Time) -> AttemptResult) {
        let _busy = self.shared.busy();
        let done = self.shared.plan(|state, now| {
            let result = attempted(&mut state.job_mut(job)?.ledger, now);
            state.planner.finished(now, self.connection, job, result, &mut state.actions);
            match result.again {
                Some(_) => None,
                None => state.close(job, Ledger::into_report),
            }
        });
        if let Some(done) = done {
            self.shared.report(done);
        }
    }

    /// Whether a mail cannot be sent because of this very connection: TLS was given up on it, or on
    /// the last one, which says nothing about the next one.
    fn lacks(&self, reason: Unsendable) -> bool {
        let is_given_up = self.info.as_ref().is_some_and(|info| info.tls_given_up.is_some());
        reason == Unsendable::RequireTls && (is_given_up || self.avoids_tls)
    }

    fn finished(&mut self, finished: &Finished) {
        let Some(Attempt { job, mail, span }) = self.in_flight.pop_front() else { return };
        trace::attempted(&span, finished);
        let observation = Observation::Attempted(self.server, self.connection, finished, mail);
        self.shared.observe(observation);
        let outcomes = &finished.outcomes;
        if self.has_delivered {
            self.enter(job, |ledger, now| ledger.attempted_after_others(now, outcomes));
        } else {
            self.enter(job, |ledger, now| ledger.attempted(now, outcomes));
        }
        let is_delivered = |outcome: &Outcome| matches!(outcome, Outcome::Delivered(_));
        self.has_delivered |= outcomes.iter().any(is_delivered);
    }
}

impl Dispatch for Lane {
    fn poll_command(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<Command> {
        loop {
            if let Some(order) = self.next_order() {
                return Poll::Ready(order);
            }
            if self.is_ready && room > 0 && !self.waits {
                let shared = Arc::clone(&self.shared);
                let command = shared.plan(|state, now| self.pull(state, now));
                if command.is_ready() {
                    return command;
                }
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
        let Some(attempt) = self.submitting.take() else { return };
        let job = attempt.job;
        match result.map_err(|error| (error.reason, error.mail)) {
            Ok(_) => self.in_flight.push_back(attempt),
            Err((SubmitErrorReason::Unsendable(reason), _)) if self.lacks(reason) => {
                self.shared.plan(|state, _| state.planner.tls_wanted(self.connection));
                self.enter(job, Ledger::unsendable_here);
            }
            Err((SubmitErrorReason::Unsendable(reason), _)) => {
                self.enter(job, |ledger, now| ledger.unsendable(now, reason));
            }
            Err((SubmitErrorReason::NoRoom, mail)) => {
                let recipients = mail.envelope.forward_paths().len();
                let outcomes = vec![Outcome::NotSent(NotSent::NeverStarted); recipients];
                self.enter(job, |ledger, now| ledger.attempted(now, &outcomes));
            }
        }
    }

    fn handle_event(&mut self, event: Event, session: &Session) {
        let shared = Arc::clone(&self.shared);
        let connection = self.connection;
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
            Event::Finished(finished) => self.finished(&finished),
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
            Event::Closed(reason) => self.closed = Some(reason),
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
        let shared = Arc::clone(&self.shared);
        shared.plan(|state, now| {
            state.remove_port(self.connection);
            state.planner.connection_closed(now, self.connection, self.ending, &mut state.actions);
        });
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
