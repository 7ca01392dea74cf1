//! Jobs: from submission through queue, attempt and wait to the end.

use std::time::Duration;

use super::action::{
    Action, Again, Answer, AttemptResult, Cancelled, Class, ConnectionId, DestinationId, GiveUp,
    Hold, JobId, NewJob, Record, ServerId, TenantId,
};
use super::config::Fault;
use super::connection::Phase;
use super::limit::Cost;
use super::queue::FlowName;
use super::slots::{End, Key, Linked, Links};
use super::timers::TimerSlot;
use super::{Planner, Timer};
use crate::failure::{Charge, Lesson, Part};
use crate::time::Time;

#[derive(Debug)]
pub(super) struct Job {
    pub(super) state: State,
    pub(super) expires: Time,
    pub(super) destination: DestinationId,
    pub(super) tenant: TenantId,
    /// The next attempt must be with this server, as long as it works.
    pub(super) server: Option<ServerId>,
    recipients: u32,
    octets: u32,
    /// Attempts that counted.
    pub(super) attempts: u32,
    /// When it was greylisted first, in milliseconds that come around; 0 if it was not.
    greylisted: u32,
    /// Mails that the server had taken when it last throttled this one.
    mark: u32,
    pub(super) class: Class,
    /// Connections that ended within its transaction: in its envelope, in its content.
    interruptions: [u8; 2],
    /// How often it was throttled while others were not.
    throttled: u8,
    cancelled: bool,
    /// Which list of its flow it is on.
    pub(super) is_again: bool,
    timer: TimerSlot,
    links: Links,
    /// It is on the list of those that expire in turn.
    expires_in_turn: bool,
    expiry_links: Links,
}

impl Linked for Job {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// The kind of the list of jobs that expire in turn.
///
/// Most mails have the same time to live, so the one that came first expires first. They need no timers, only
/// to be in order: arming one for each mail and disarming it moments later would cost more than all the rest of
/// its planning. Whoever expires before the last on the list has a timer.
#[derive(Debug)]
pub(super) enum InTurn {}

impl Linked<InTurn> for Job {
    fn links(&mut self) -> &mut Links {
        &mut self.expiry_links
    }
}

/// What a job is to be looked at for, if nobody comes for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    Never,
    Expiry,
    At(Time),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// In its flow.
    Ready,
    /// On its connection's list.
    InFlight(ConnectionId),
    /// On no list; if it has a timer, its next attempt is due then.
    Apart,
    /// The same: it waits for its next attempt.
    Waits(Time),
}

/// A mail that interrupted this many connections, or was throttled as often, lets others go first.
const INTERRUPTIONS_AT_HEAD: u8 = 2;
/// A line breaks now and then, also while content is on its way; twice under the same mail is
/// held against the mail.
const FREE_IN_CONTENT: u8 = 1;
/// A server that hangs interrupts before the content as well, and no mail can help that. So many
/// times, though, and others went first in between: it is the mail.
const FREE_IN_ENVELOPE: u8 = 10;
/// A server that closes with 421 says that it does, but not to whom else: the same, wherever the
/// mail was. And so if it throttles this mail again and again and takes others in between.
const FREE_BY_SERVER: u8 = 10;

impl Job {
    pub(super) fn flow(&self) -> FlowName {
        let Self { destination, tenant, class, server, .. } = *self;
        FlowName { destination, tenant, class, server }
    }

    /// Any server may be sent it. What its server knew of it is worth nothing.
    pub(super) fn leave_server(&mut self) {
        (self.server, self.greylisted) = (None, 0);
    }

    pub(super) fn cost(&self) -> Cost {
        let Self { recipients, octets, .. } = *self;
        Cost { mails: 1, recipients, octets, connections: 0 }
    }
}

impl Planner {
    /// Queues a mail. It ends by [`finished`](Self::finished) with nothing left to do, by
    /// [`cancel`](Self::cancel), or by [`Action::GiveUp`], which this call may push already.
    ///
    /// # Panics
    ///
    /// When the destination is not one of this planner. A tenant that is not one of it counts as
    /// [`TenantId::DEFAULT`].
    pub fn submit(&mut self, now: Time, job: NewJob, out: &mut Vec<Action>) -> JobId {
        let destination = job.destination;
        let job = self.submit_more(now, job, out);
        self.submitted(now, destination, out);
        job
    }

    /// The same for one of several mails. Connections hear of them when [`submitted`](Self::submitted) is called,
    /// which has to follow the last one.
    ///
    /// # Panics
    ///
    /// As [`submit`](Self::submit).
    #[inline]
    pub fn submit_more(&mut self, now: Time, job: NewJob, out: &mut Vec<Action>) -> JobId {
        let NewJob { destination, class, tenant, recipients, octets, expires } = job;
        assert!(destination.index() < self.destinations.len(), "no such destination");
        let is_known = tenant.index() < self.tenants.len();
        let key = self.jobs.insert(Job {
            state: State::Apart,
            expires: expires.unwrap_or(now + self.config.lifetime),
            destination,
            tenant: if is_known { tenant } else { TenantId::DEFAULT },
            server: None,
            recipients,
            octets: u32::try_from(octets).unwrap_or(u32::MAX),
            attempts: 0,
            greylisted: 0,
            mark: 0,
            class,
            interruptions: [0; 2],
            throttled: 0,
            cancelled: false,
            is_again: false,
            timer: TimerSlot::default(),
            links: Links::default(),
            expires_in_turn: false,
            expiry_links: Links::default(),
        });
        self.enqueue(now, key, End::Tail, out);
        JobId(key)
    }

    /// Mails were [submitted](Self::submit_more) to a destination.
    pub fn submitted(&mut self, now: Time, destination: DestinationId, out: &mut Vec<Action>) {
        self.balance(now, destination, out);
    }

    /// Forgets a job, or lets the attempt in which it is be its last.
    pub fn cancel(&mut self, now: Time, job: JobId, out: &mut Vec<Action>) -> Cancelled {
        let Some(found) = self.jobs.get_mut(job.0) else { return Cancelled::Unknown };
        let destination = found.destination;
        if let State::InFlight(connection) = found.state {
            found.cancelled = true;
            return Cancelled::InFlight(connection);
        }
        self.forget_job(job.0);
        self.balance(now, destination, out);
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
        let (destination, cancelled) = (found.destination, found.cancelled);
        let Some(server) = self.connections.get(connection.0).map(|found| found.server) else {
            return;
        };
        let was_bounded = self.server(server).window.limit().is_some();
        self.answered(now, connection, &result, out);
        self.learn_from(now, server, job, &result, out);
        if let Some(again) = result.again {
            self.tried(now, (connection, server), (job, cancelled), &result, again, out);
            self.rest(now, connection);
            self.balance(now, destination, out);
            self.yield_idle(out);
            return;
        }
        self.forget_job(job.0);
        self.rest(now, connection);
        self.yield_idle(out);
        let phase = self.connections.get(connection.0).map(|found| found.phase);
        if was_bounded || matches!(phase, Some(Phase::Waiting | Phase::Closing)) {
            self.balance(now, destination, out);
        }
    }

    /// An attempt of a job did not settle it.
    #[inline(never)]
    fn tried(
        &mut self,
        now: Time,
        (connection, server): (ConnectionId, ServerId),
        (job, cancelled): (JobId, bool),
        result: &AttemptResult,
        again: Again,
        out: &mut Vec<Action>,
    ) {
        let charge = again.charge;
        if result.answer != Answer::Exhausted {
            self.note_interruption(connection, job, charge);
        }
        self.detach(job.0);
        if let Some(job) = self.jobs.get_mut(job.0) {
            job.recipients = result.recipients;
        }
        if charge == Charge::Counted {
            self.defer(now, job.0, server, again, out);
        } else if cancelled {
            self.give_up(job.0, GiveUp::Cancelled, out);
        } else if charge == Charge::Throttled {
            if result.lesson != Lesson::Ceiling && result.answer != Answer::Throttled {
                self.slow_down(now, server, result.pause, out);
            }
            self.throttled(now, job.0, server, out);
        } else {
            out.push(Action::Record(Record::Requeued { job, charge }));
            // What is left of a mail that was served lets others have their turn.
            let was_served = charge == Charge::Split || result.answer == Answer::Accepted;
            let end = if was_served { End::Tail } else { End::Head };
            self.enqueue(now, job.0, end, out);
            if let (Answer::Exhausted, Charge::Interrupted(part)) = (result.answer, charge) {
                // A mail that every connection says this of is the reason itself.
                self.blame(now, (job, part), (server, Blame::MailOrServer), out);
            }
        }
    }

    /// A mail was throttled, which is free as long as it happens to all. Its server is left alone.
    fn throttled(&mut self, now: Time, key: Key, server: ServerId, out: &mut Vec<Action>) {
        let accepted = self.server(server).accepted;
        let Some(job) = self.jobs.get_mut(key) else { return };
        let is_alone = job.throttled > 0 && job.mark != accepted;
        job.throttled = job.throttled.saturating_add(u8::from(is_alone || job.throttled == 0));
        job.mark = accepted;
        let times = job.throttled;
        if times > FREE_BY_SERVER {
            let again = Again::at_once(Charge::Counted);
            self.defer(now, key, server, again, out);
            return;
        }
        let charge = Charge::Throttled;
        out.push(Action::Record(Record::Requeued { job: JobId(key), charge }));
        let end = if times <= INTERRUPTIONS_AT_HEAD { End::Head } else { End::Tail };
        self.enqueue(now, key, end, out);
    }

    /// Puts a job that is on no list into its flow, unless it is beyond hope.
    pub(super) fn enqueue(&mut self, now: Time, key: Key, end: End, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        let (destination, expires) = (job.destination, job.expires);
        if let Some(server) = job.server
            && self.servers[server.index()].is_down(now)
        {
            job.leave_server();
        }
        let hopeless = if self.drain.is_some() {
            Some(GiveUp::Drained)
        } else if expires <= now {
            Some(GiveUp::Expired)
        } else {
            self.hopeless(now, destination)
        };
        if let Some(cause) = hopeless {
            self.give_up(key, cause, out);
            return;
        }
        self.push_to_flow(now, key, end);
        self.set_job_state(key, State::Ready, Alarm::Expiry);
    }

    /// Why no mail for a destination is worth keeping.
    #[inline(always)]
    pub(super) fn hopeless(&self, now: Time, destination: DestinationId) -> Option<GiveUp> {
        let mut cause = None;
        for server in self.destination(destination).servers() {
            let (reason, fault) = match self.server(server).refuses(now)? {
                Hold::Credentials => (GiveUp::Authentication, self.config.credentials),
                Hold::Requirement => (GiveUp::Requirement, self.config.credentials),
                Hold::Unwelcome => (GiveUp::Unwelcome, self.config.greeting),
                Hold::Full | Hold::Throttled | Hold::Local => return None,
            };
            if fault != Fault::Fail {
                return None;
            }
            cause = cause.or(Some(reason));
        }
        cause
    }

    /// Counts an attempt of a job that is on no list, and lets it wait for the next.
    fn defer(
        &mut self,
        now: Time,
        key: Key,
        server: ServerId,
        again: Again,
        out: &mut Vec<Action>,
    ) {
        let is_one_of_several = self.destination(self.server(server).destination).servers().len();
        let Some(job) = self.jobs.get_mut(key) else { return };
        job.attempts = job.attempts.saturating_add(1);
        let (attempts, expires, cancelled) = (job.attempts, job.expires, job.cancelled);
        let mut least = again.wait;
        job.server = None;
        if again.same_server {
            job.server = (is_one_of_several > 1).then_some(server);
            if job.greylisted == 0 {
                job.greylisted = milliseconds(now);
                let known = self.servers[server.index()].greylist.wait(now);
                least = least.max(known.unwrap_or_default());
            }
        }
        // A little later is never too early.
        least = least.mul_f64(1.0 + 0.1 * self.rng.f64());
        let wait = self.config.retry.asked(attempts, again.asked, &mut self.rng);
        let until = now + wait.max(least);
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
        self.set_job_state(key, State::Waits(until), Alarm::At(until));
        out.push(Action::Record(Record::Deferred { job: JobId(key), attempts, until }));
    }

    /// How long greylisting takes, and how many recipients fit in.
    fn learn_from(
        &mut self,
        now: Time,
        id: ServerId,
        job: JobId,
        result: &AttemptResult,
        out: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.get_mut(job.0) else { return };
        let server = &mut self.servers[id.index()];
        if job.greylisted != 0 {
            let waited = milliseconds(now).wrapping_sub(job.greylisted);
            let wait = Duration::from_millis(waited.into());
            let is_greylisted = result.again.is_some_and(|again| again.same_server);
            if is_greylisted {
                server.greylist.too_early(wait);
            } else if result.answer == Answer::Accepted {
                job.greylisted = 0;
                if server.greylist.learn(now, wait) {
                    out.push(Action::Record(Record::GreylistLearned { server: id, wait }));
                }
            }
        }
        if let Some(recipients) = result.recipient_cap.filter(|&most| most > 0)
            && server.recipient_cap.learn(now, recipients)
        {
            out.push(Action::Record(Record::RecipientCapLearned { server: id, recipients }));
        }
    }

    /// A connection ended under a job that had not got its outcome: is the mail to blame?
    pub(super) fn blame(
        &mut self,
        now: Time,
        (id, part): (JobId, Part),
        (server, blame): (ServerId, Blame),
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
            self.defer(now, id.0, server, Again::at_once(Charge::Counted), out);
        } else {
            self.enqueue(now, id.0, End::Tail, out);
        }
    }

    /// The timer of a job fired: it is due, or its time is over.
    pub(super) fn job_is_due(&mut self, now: Time, key: Key, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        job.timer = TimerSlot::default();
        let (destination, state) = (job.destination, job.state);
        match state {
            State::Ready => self.give_up(key, GiveUp::Expired, out),
            State::Apart | State::Waits(_) => {
                self.set_job_state(key, State::Apart, Alarm::Never);
                self.enqueue(now, key, End::Tail, out);
            }
            State::InFlight(_) => {}
        }
        self.balance(now, destination, out);
    }

    /// Gives up every mail of a destination that is ready to be sent.
    pub(super) fn give_up_queue(
        &mut self,
        destination: DestinationId,
        cause: GiveUp,
        out: &mut Vec<Action>,
    ) {
        for flow in self.flows_of(destination) {
            while let Some(key) = self.flows.get(flow).and_then(|flow| flow.head(&self.jobs)) {
                self.give_up(key, cause, out);
            }
        }
    }

    pub(super) fn give_up(&mut self, key: Key, cause: GiveUp, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get(key) else { return };
        out.push(Action::GiveUp { job: JobId(key), cause, attempts: job.attempts });
        self.forget_job(key);
    }

    /// Takes a job from whatever list it is on, and from the timers.
    pub(super) fn detach(&mut self, key: Key) {
        self.unlist(key);
        self.set_job_state(key, State::Apart, Alarm::Never);
    }

    /// Takes a job from the list that its state says.
    #[inline(always)]
    fn unlist(&mut self, key: Key) {
        let Some(job) = self.jobs.get(key) else { return };
        match job.state {
            State::Ready => self.remove_from_flow(key),
            State::InFlight(connection) => {
                if let Some(connection) = self.connections.get_mut(connection.0) {
                    connection.in_flight.remove(key, &mut self.jobs);
                    self.servers[connection.server.index()].in_flight -= 1;
                }
            }
            State::Apart | State::Waits(_) => {}
        }
    }

    #[inline(always)]
    fn forget_job(&mut self, key: Key) {
        self.unlist(key);
        // One that is in flight is not waited for.
        if self.jobs.get(key).is_some_and(|job| job.expires_in_turn || job.timer.is_armed()) {
            self.set_job_state(key, State::Apart, Alarm::Never);
        }
        self.jobs.remove(key);
    }

    /// To be called after the lists are as the state says.
    #[inline(always)]
    pub(super) fn set_job_state(&mut self, key: Key, state: State, alarm: Alarm) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        job.state = state;
        let (was_in_turn, expires) = (job.expires_in_turn, job.expires);
        let in_turn = alarm == Alarm::Expiry && (was_in_turn || self.expires_last(expires));
        let at = match alarm {
            Alarm::Never => None,
            Alarm::Expiry => (!in_turn).then_some(expires),
            Alarm::At(at) => Some(at),
        };
        let Some(job) = self.jobs.get_mut(key) else { return };
        job.expires_in_turn = in_turn;
        if at.is_some() || job.timer.is_armed() {
            self.timers.set(&mut job.timer, at, Timer::Job(key));
        }
        match (was_in_turn, in_turn) {
            (false, true) => self.expiring.push(End::Tail, key, &mut self.jobs),
            (true, false) => self.expiring.remove(key, &mut self.jobs),
            (false, false) | (true, true) => {}
        }
    }

    /// Whether none of those that expire in turn does so later.
    fn expires_last(&self, expires: Time) -> bool {
        let last = self.expiring.tail(&self.jobs).and_then(|last| self.jobs.get(last));
        last.is_none_or(|last| last.expires <= expires)
    }

    /// When the first of those expires that do so in turn.
    pub(super) fn next_expiry(&self) -> Option<Time> {
        let first = self.jobs.get(self.expiring.head(&self.jobs)?)?;
        Some(first.expires).filter(|&at| at < Time::NEVER)
    }

    /// Gives those up that have expired in turn.
    pub(super) fn expire(&mut self, now: Time, out: &mut Vec<Action>) {
        while self.next_expiry().is_some_and(|at| at <= now)
            && let Some(key) = self.expiring.head(&self.jobs)
        {
            self.job_is_due(now, key, out);
        }
    }
}

/// Never 0.
fn milliseconds(now: Time) -> u32 {
    let all = now.since_epoch().as_millis();
    u32::try_from(all % u128::from(u32::MAX)).unwrap_or_default().max(1)
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
