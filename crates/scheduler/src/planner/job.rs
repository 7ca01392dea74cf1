//! Jobs: from submission through queue, attempt and wait to the end.

use std::time::Duration;

use super::action::{
    Action, Again, Answer, AttemptResult, Cancelled, ConnectionId, GiveUp, Hold, JobId, NewJob,
    Record, ServerId,
};
use super::config::Fault;
use super::slots::{End, Key, Linked, Links};
use super::timers::TimerSlot;
use super::{Planner, Timer};
use crate::failure::{Charge, Part};
use crate::time::Time;

#[derive(Debug)]
pub(super) struct Job {
    pub(super) server: ServerId,
    pub(super) state: State,
    expires: Time,
    /// Attempts that counted.
    attempts: u32,
    /// Connections that ended within its transaction: in its envelope, in its content.
    interruptions: [u8; 2],
    cancelled: bool,
    timer: TimerSlot,
    links: Links,
}

impl Linked for Job {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// On its server's list.
    Ready,
    /// On its connection's list.
    InFlight(ConnectionId),
    /// On no list; if it has a timer, its next attempt is due then.
    Apart,
}

/// A mail that interrupted this many connections lets others go first.
const INTERRUPTIONS_AT_HEAD: u8 = 2;
/// A line breaks now and then, also while content is on its way; twice under the same mail is
/// held against the mail.
const FREE_IN_CONTENT: u8 = 1;
/// A server that hangs interrupts before the content as well, and no mail can help that. So many
/// times, though, and others went first in between: it is the mail.
const FREE_IN_ENVELOPE: u8 = 10;
/// A server that closes with 421 says that it does, but not to whom else: the same, wherever the
/// mail was.
const FREE_BY_SERVER: u8 = 10;

impl Planner {
    /// Queues a mail. It ends by [`finished`](Self::finished) with nothing left to do, by
    /// [`cancel`](Self::cancel), or by [`Action::GiveUp`], which this call may push already.
    ///
    /// # Panics
    ///
    /// When the server is not one of this planner.
    pub fn submit(&mut self, now: Time, job: NewJob, out: &mut Vec<Action>) -> JobId {
        let NewJob { server, expires } = job;
        let key = self.jobs.insert(Job {
            server,
            state: State::Apart,
            expires: expires.unwrap_or(now + self.config.lifetime),
            attempts: 0,
            interruptions: [0; 2],
            cancelled: false,
            timer: TimerSlot::default(),
            links: Links::default(),
        });
        self.enqueue(now, key, End::Tail, out);
        self.balance(now, server, out);
        JobId(key)
    }

    /// Forgets a job, or lets the attempt in which it is be its last.
    pub fn cancel(&mut self, now: Time, job: JobId, out: &mut Vec<Action>) -> Cancelled {
        let Some(found) = self.jobs.get_mut(job.0) else { return Cancelled::Unknown };
        let server = found.server;
        if let State::InFlight(connection) = found.state {
            found.cancelled = true;
            return Cancelled::InFlight(connection);
        }
        self.forget(job.0);
        self.balance(now, server, out);
        Cancelled::Removed
    }

    /// An attempt is over. The connection may [`pull`](Self::pull) right after.
    pub fn finished(
        &mut self,
        now: Time,
        connection: ConnectionId,
        job: JobId,
        result: AttemptResult,
        out: &mut Vec<Action>,
    ) {
        let Some(found) = self.jobs.get(job.0) else { return };
        if found.state != State::InFlight(connection) {
            return;
        }
        let (server, cancelled) = (found.server, found.cancelled);
        self.answered(now, connection, result.answer, out);
        let Some(again) = result.again else {
            self.forget(job.0);
            self.rest(now, connection);
            return;
        };
        let charge = again.charge;
        if result.answer != Answer::Exhausted {
            self.note_interruption(connection, job, charge);
        }
        self.detach(job.0);
        if charge == Charge::Counted {
            self.defer(now, job.0, again, out);
        } else if cancelled {
            self.give_up(job.0, GiveUp::Cancelled, out);
        } else {
            if charge == Charge::Throttled {
                self.throttle(now, server, out);
            }
            out.push(Action::Record(Record::Requeued { job, charge }));
            self.enqueue(now, job.0, End::Head, out);
            if let (Answer::Exhausted, Charge::Interrupted(part)) = (result.answer, charge) {
                // A mail that every connection says this of is the reason itself.
                self.blame(now, (job, part), Blame::MailOrServer, out);
            }
        }
        self.rest(now, connection);
        self.balance(now, server, out);
    }

    /// What an attempt says about the server.
    fn answered(&mut self, now: Time, id: ConnectionId, answer: Answer, out: &mut Vec<Action>) {
        let Some(connection) = self.connections.get_mut(id.0) else { return };
        let (server, opened) = (connection.server, connection.opened);
        let was_useful = connection.answered;
        connection.answered |= answer != Answer::Nothing;
        match answer {
            Answer::Nothing => {}
            Answer::Accepted => {
                self.server_mut(server).deferred_in_row = 0;
                self.server_works(now, server, opened, out);
                self.climb(now, id, out);
            }
            Answer::Refused => self.server_mut(server).deferred_in_row = 0,
            Answer::Throttled => self.throttle(now, server, out),
            Answer::Exhausted => {
                self.let_finish(id.0, out);
                // It says this to the first mail of a connection: another one would not help.
                if !was_useful {
                    self.throttle(now, server, out);
                }
            }
            Answer::Deferred => self.deferred_at_mail(now, server, out),
        }
    }

    /// Puts a job that is on no list into its server's queue, unless it is beyond hope.
    pub(super) fn enqueue(&mut self, now: Time, key: Key, end: End, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get(key) else { return };
        let (server, expires) = (job.server, job.expires);
        let hopeless = if self.drain.is_some() {
            Some(GiveUp::Drained)
        } else if expires <= now {
            Some(GiveUp::Expired)
        } else {
            self.hopeless(now, server)
        };
        if let Some(cause) = hopeless {
            self.give_up(key, cause, out);
            return;
        }
        self.servers[server.index()].ready.push(end, key, &mut self.jobs);
        self.set_job_state(key, State::Ready, Some(expires));
    }

    /// Why no mail for a server is worth keeping.
    pub(super) fn hopeless(&self, now: Time, server: ServerId) -> Option<GiveUp> {
        let (cause, fault) = match self.server(server).refuses(now)? {
            Hold::Credentials => (GiveUp::Authentication, self.config.credentials),
            Hold::Requirement => (GiveUp::Requirement, self.config.credentials),
            Hold::Unwelcome => (GiveUp::Unwelcome, self.config.greeting),
            Hold::Full | Hold::Throttled | Hold::Local => return None,
        };
        (fault == Fault::Fail).then_some(cause)
    }

    /// Counts an attempt of a job that is on no list, and lets it wait for the next.
    fn defer(&mut self, now: Time, key: Key, again: Again, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        job.attempts += 1;
        let (attempts, expires, cancelled) = (job.attempts, job.expires, job.cancelled);
        let wait = self.config.retry.asked(attempts, again.asked, &mut self.rng);
        let until = now + wait.max(again.wait);
        let cause = if cancelled {
            Some(GiveUp::Cancelled)
        } else if attempts >= self.config.retry.attempts {
            Some(GiveUp::AttemptsUsedUp)
        } else if self.drain.is_some() {
            Some(GiveUp::Drained)
        } else if until >= expires {
            // There will be no attempt before, so there is nothing to wait for.
            Some(GiveUp::Expired)
        } else {
            None
        };
        if let Some(cause) = cause {
            self.give_up(key, cause, out);
            return;
        }
        self.set_job_state(key, State::Apart, Some(until));
        out.push(Action::Record(Record::Deferred { job: JobId(key), attempts, until }));
    }

    /// A connection ended under a job that had not got its outcome: is the mail to blame?
    pub(super) fn blame(
        &mut self,
        now: Time,
        (id, part): (JobId, Part),
        blame: Blame,
        out: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.get_mut(id.0) else { return };
        let [in_envelope, in_content] = &mut job.interruptions;
        let (count, free) = match part {
            Part::Envelope => (in_envelope, FREE_IN_ENVELOPE),
            Part::Content => (in_content, FREE_IN_CONTENT),
        };
        *count = count.saturating_add(1);
        let counts = match blame {
            Blame::Load => false,
            Blame::Server => *count > FREE_BY_SERVER,
            Blame::MailOrServer => *count > free,
        };
        let behind = job.interruptions.into_iter().any(|count| count > INTERRUPTIONS_AT_HEAD);
        if job.state != State::Ready || !(counts || behind) {
            return; // another connection has it already, or it is all right where it is
        }
        self.detach(id.0);
        if counts {
            let (wait, asked) = (Duration::ZERO, Duration::ZERO);
            self.defer(now, id.0, Again { charge: Charge::Counted, wait, asked }, out);
        } else {
            self.enqueue(now, id.0, End::Tail, out);
        }
    }

    /// The timer of a job fired: it is due, or its time is over.
    pub(super) fn job_is_due(&mut self, now: Time, key: Key, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        job.timer = TimerSlot::default();
        let (server, state) = (job.server, job.state);
        match state {
            State::Ready => self.give_up(key, GiveUp::Expired, out),
            State::Apart => self.enqueue(now, key, End::Tail, out),
            State::InFlight(_) => {}
        }
        self.balance(now, server, out);
    }

    pub(super) fn give_up_queue(&mut self, server: ServerId, cause: GiveUp, out: &mut Vec<Action>) {
        while let Some(key) = self.server(server).ready.head(&self.jobs) {
            self.give_up(key, cause, out);
        }
    }

    pub(super) fn give_up(&mut self, key: Key, cause: GiveUp, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get(key) else { return };
        out.push(Action::GiveUp { job: JobId(key), cause, attempts: job.attempts });
        self.forget(key);
    }

    /// Takes a job from whatever list it is on, and from the timers.
    fn detach(&mut self, key: Key) {
        let Some(job) = self.jobs.get(key) else { return };
        match job.state {
            State::Ready => self.servers[job.server.index()].ready.remove(key, &mut self.jobs),
            State::InFlight(connection) => {
                if let Some(connection) = self.connections.get_mut(connection.0) {
                    connection.in_flight.remove(key, &mut self.jobs);
                }
            }
            State::Apart => {}
        }
        self.set_job_state(key, State::Apart, None);
    }

    fn forget(&mut self, key: Key) {
        self.detach(key);
        self.jobs.remove(key);
    }

    /// To be called after the lists are as the state says.
    pub(super) fn set_job_state(&mut self, key: Key, state: State, timer: Option<Time>) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        job.state = state;
        self.timers.set(&mut job.timer, timer, Timer::Job(key));
    }
}

/// Who may have ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// The server said that mail or connections are too many: no mail is to blame.
    Load,
    /// The server said that it does.
    Server,
    /// It broke.
    MailOrServer,
}
