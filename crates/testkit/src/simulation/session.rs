//! What the engine does with connections, done with a model in their place.

use posthaste_scheduler::failure::{self, Charge, ConnectFailure};
use posthaste_scheduler::{ConnectionId, Ending, Freshness, JobId, Pull};
use posthaste_session::{CloseReason, NotSent, Outcome, Pipelining, Stage};

use super::connection::{Connection, Phase, Rebuff, Sending};
use super::mails::{Fault, Place};
use super::model::{Poisoning, Trouble};
use super::server::{Greeting, Welcome, refused, reply, shutdown};
use super::{Event, Simulation};

/// What a server says to a mail, from MAIL on.
#[derive(Clone, Copy)]
enum Said {
    /// This, to MAIL.
    No(&'static str, Fault),
    /// To each recipient something else.
    ToEach,
}

/// Why a connection pulls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Own,
    Woken,
}

impl Simulation {
    pub(super) fn open(&mut self, server: usize, id: ConnectionId, pipelining: Pipelining) {
        let time = self.servers[server].model.connect.draw(&mut self.rng);
        self.servers[server].connections += 1;
        self.connections.insert(Connection::new(id, server, pipelining, self.now));
        self.schedule(time, Event::Dialed(id));
    }

    /// The server takes or refuses a connection.
    pub(super) fn dialed(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let server = &mut self.servers[connection.server];
        match server.greet(self.now, &mut self.rng) {
            Greeting::Ready => {
                server.enter(self.now);
                connection.phase = Phase::Session;
            }
            Greeting::Surplus => connection.phase = Phase::Surplus,
            Greeting::Hangs => return self.schedule(Trouble::TIMEOUT, Event::Silent(id)),
            Greeting::Fails(failure) => return self.dial_failed(id, failure),
            Greeting::Ends(reason) => return self.end(id, &reason),
        }
        self.call(|planner, now, out| planner.connection_ready(now, id, out));
        self.pull(id, Why::Own);
    }

    fn dial_failed(&mut self, id: ConnectionId, failure: ConnectFailure) {
        let lesson = failure::connect_lesson(failure);
        self.closed_as(id, Ending { lesson, ..failure::connect_failed(failure).into() });
    }

    /// Nobody answered.
    pub(super) fn silent(&mut self, id: ConnectionId) {
        self.dial_failed(id, ConnectFailure::Timeout);
    }

    pub(super) fn pull(&mut self, id: ConnectionId, mut why: Why) {
        if let Some(connection) = self.connections.get_mut(id)
            && why == Why::Woken
        {
            (connection.is_told_to_wait, connection.is_woken) = (false, false);
        }
        while self.connections.get(id).is_some_and(Connection::wants_mail) {
            let pull = self.call(|planner, now, out| planner.pull(now, id, out));
            match pull {
                Pull::Job { job, recipients } => {
                    why = Why::Own;
                    self.take(id, job, recipients);
                }
                Pull::Wait => {
                    let Some(connection) = self.connections.get_mut(id) else { return };
                    connection.is_told_to_wait = true;
                    self.tally.wakes_for_nothing += u64::from(why == Why::Woken);
                    return;
                }
                Pull::Quit => return self.quit(id),
            }
        }
    }

    /// A connection got a mail.
    fn take(&mut self, id: ConnectionId, job: JobId, most: u32) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        assert_ne!(connection.phase, Phase::Dialing, "only a session takes mails");
        let open = self.mails.find(job);
        assert!(matches!(open.place, Place::Waits { .. }), "a mail goes once at a time");
        let is_due = matches!(open.place, Place::Waits { due, .. } if due <= self.now);
        assert!(is_due, "a mail waits as long as it has to: {open:?} at {:?}", self.now);
        open.place = Place::Goes(id);
        let recipients = open.ledger.remaining().len().min(most.max(1) as usize);
        let mail = open.ledger.next_attempt(most);
        assert!(mail.is_some(), "a job has somebody to send to");
        let server = &self.servers[connection.server];
        self.witness.admitted(self.now, server, &open.new, recipients);
        connection.mails.push_back(Sending { job, recipients, started: self.now });
        self.tally.attempts += 1;
        if connection.mails.len() == 1 {
            self.start(id);
        }
    }

    /// The first mail of a connection is on its way.
    fn start(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.mails.is_empty() {
            return;
        }
        let server = &mut self.servers[connection.server];
        let is_surplus = connection.phase == Phase::Surplus;
        let round_trip = server.model.round_trip.draw(&mut self.rng);
        let rebuff = |line, ends, fault| Some(Rebuff { line, ends, fault });
        let (time, rebuff) = match server.welcome(self.now, is_surplus, connection.taken) {
            Welcome::Ends(line) => (round_trip, rebuff(line, true, Fault::Servers)),
            Welcome::Defers(line) => (round_trip, rebuff(line, false, Fault::Servers)),
            Welcome::Mutters(line) => (round_trip, rebuff(line, false, Fault::Unsaid)),
            Welcome::Serves => {
                let round_trips = match connection.pipelining {
                    Pipelining::Off => 4,
                    Pipelining::Envelope => 2,
                    Pipelining::Cross | Pipelining::Stream => 1,
                };
                let service = server.model.service.draw(&mut self.rng);
                let slowed = service.mul_f64(server.begin(self.now));
                (round_trip * round_trips + slowed, None)
            }
        };
        connection.rebuff = rebuff;
        connection.under_way = (self.now, self.now + time);
        self.schedule(time, Event::Answered(id));
    }

    /// The server answers the first mail of a connection, or does not.
    pub(super) fn answered(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(first) = connection.mails.front() else { return };
        let job = first.job;
        let model = &self.servers[connection.server].model;
        let lost = |stage| CloseReason::Lost { stage };
        let defers = match model.trouble_at(self.now) {
            Some(Trouble::Breaks) => return self.end(id, &lost(Stage::Mail)),
            Some(Trouble::Hangs) => {
                return self.end(id, &CloseReason::Timeout { stage: Stage::Mail });
            }
            Some(Trouble::Dismisses) => return self.end(id, &dismissed()),
            Some(Trouble::DefersMail) => true,
            Some(
                Trouble::Refuses
                | Trouble::RefusesMore
                | Trouble::ShutsDown
                | Trouble::Overloaded
                | Trouble::BreaksTls
                | Trouble::WrongCertificate
                | Trouble::RefusesLogin
                | Trouble::RefusesSession,
            )
            | None => false,
        };
        match connection.rebuff {
            Some(Rebuff { line, ends: true, .. }) => {
                return self.end(id, &shutdown(Stage::Mail, line));
            }
            Some(Rebuff { line, ends: false, fault }) => {
                return self.go_on(id, Said::No(line, fault));
            }
            None => {}
        }
        if model.poison.contains(&self.mails.number(job)) {
            return match model.poisoning {
                Poisoning::Breaks => self.end(id, &lost(Stage::Content)),
                Poisoning::Dismisses => self.end(id, &dismissed()),
            };
        }
        let draw = self.rng.u32(..1000);
        if draw < model.dropped_in_content {
            return self.end(id, &lost(Stage::Content));
        }
        if draw < model.dropped_in_content + model.dropped_at_end {
            return self.end(id, &lost(Stage::Final));
        }
        if defers {
            let line = "451 4.3.0 something is wrong here";
            return self.go_on(id, Said::No(line, Fault::Own));
        }
        self.go_on(id, Said::ToEach);
    }

    /// The first mail of a connection has its outcomes, and the connection takes the next.
    fn go_on(&mut self, id: ConnectionId, said: Said) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(first) = connection.mails.pop_front() else { return };
        let (mode, proven, server) = (connection.pipelining, connection.proven, connection.server);
        let was_served = connection.rebuff.take().is_none();
        let mut outcomes = Vec::with_capacity(first.recipients);
        let fault = match said {
            Said::No(line, fault) => {
                outcomes.resize(first.recipients, refused(Stage::Mail, line));
                fault
            }
            Said::ToEach => {
                self.judge(first, server, &mut outcomes);
                Fault::Own
            }
        };
        let accepts = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Delivered(_)));
        if was_served {
            self.servers[server].end(self.now);
        }
        self.finish(id, first, outcomes, fault, false);
        if accepts {
            self.servers[server].took();
            let Some(connection) = self.connections.get_mut(id) else { return };
            connection.taken += 1;
        }
        if mode > proven {
            self.try_mode(id, mode);
        }
        self.start(id);
        self.pull(id, Why::Own);
        self.quit_if_told(id);
    }

    /// What a server says to each recipient of a mail.
    fn judge(&mut self, sending: Sending, server: usize, outcomes: &mut Vec<Outcome>) {
        let mail = self.mails.number(sending.job);
        let left = self.mails.find(sending.job).ledger.remaining();
        for (place, &recipient) in left.iter().take(sending.recipients).enumerate() {
            let server = &mut self.servers[server];
            outcomes.push(server.judge(self.now, (mail, recipient), place, &mut self.rng));
        }
    }

    /// A mail was sent in a mode that the connection had not used before.
    fn try_mode(&mut self, id: ConnectionId, mode: Pipelining) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if mode <= self.servers[connection.server].model.bears {
            connection.proven = mode;
            self.call(|planner, now, out| planner.pipelining_proven(now, id, mode, out));
        } else {
            let mode = mode.lower();
            connection.pipelining = mode;
            self.call(|planner, now, out| planner.pipelining_lowered(now, id, mode, out));
        }
    }

    fn finish(
        &mut self,
        id: ConnectionId,
        sending: Sending,
        outcomes: Vec<Outcome>,
        fault: Fault,
        taken_in_doubt: bool,
    ) {
        let job = sending.job;
        let open = self.mails.find(job);
        open.hear(&outcomes, fault, taken_in_doubt);
        let is_delivered = outcomes.iter().any(|it| matches!(it, Outcome::Delivered(_)));
        let taken = self.connections.get(id).map_or(0, |found| found.taken);
        let connection =
            if taken > u32::from(is_delivered) { Freshness::Used } else { Freshness::Fresh };
        let attempt = sending.over(self.now, outcomes, connection);
        let result = open.ledger.attempted(&attempt);
        // What does not count says nothing new about that.
        if let Some(again) = result.again.filter(|again| again.charge == Charge::Counted) {
            open.is_bound = again.same_server;
        }
        open.place = Place::Waits { due: self.now };
        self.call(|planner, now, out| planner.finished(now, id, job, result, out));
        if result.again.is_none() {
            self.close(job, |ledger| ledger.into_report(attempt));
        }
    }

    /// A session is over: its mails are reported, then itself.
    pub(super) fn end(&mut self, id: ConnectionId, reason: &CloseReason) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let stage = match reason.stage() {
            Stage::Idle => connection.progress(self.now),
            stage => stage,
        };
        if connection.is_served() {
            self.servers[connection.server].end(self.now);
        }
        let is_turned_away = connection.rebuff.take().is_some();
        let mails = std::mem::take(&mut connection.mails);
        for (at, sending) in mails.into_iter().enumerate() {
            let outcome = match (at, stage) {
                (0, Stage::Final) => Outcome::InDoubt,
                (0, stage) => Outcome::NotSent(NotSent::Interrupted(stage)),
                (1.., _) => Outcome::NotSent(NotSent::NeverStarted),
            };
            let in_doubt = outcome == Outcome::InDoubt;
            if at == 0 {
                self.mails.interrupt(sending.job, |trouble| {
                    trouble.behind_end += u32::from(in_doubt);
                    trouble.before_end += u32::from(!in_doubt);
                    trouble.in_content += u32::from(stage == Stage::Content);
                });
            }
            let taken = in_doubt && self.rng.bool();
            let outcomes = vec![outcome; sending.recipients];
            let fault = if is_turned_away { Fault::Servers } else { Fault::Own };
            self.finish(id, sending, outcomes, fault, taken);
        }
        let ending = Ending {
            how: failure::closed(reason),
            pause: failure::close_pause(reason),
            lesson: failure::close_lesson(reason),
        };
        self.closed_as(id, ending);
    }

    fn closed_as(&mut self, id: ConnectionId, ending: Ending) {
        let Some(connection) = self.connections.remove(id) else { return };
        let server = &mut self.servers[connection.server];
        if connection.phase == Phase::Session {
            server.leave(self.now);
        }
        server.connections -= 1;
        self.destinations[server.destination].connections -= 1;
        self.call(|planner, now, out| planner.connection_closed(now, id, ending, out));
    }

    pub(super) fn begin_outage(&mut self, server: usize) {
        for id in self.sessions_of(server) {
            let Some(connection) = self.connections.get(id) else { continue };
            let stage = connection.progress(self.now);
            match self.servers[server].model.trouble {
                Trouble::Refuses => self.end(id, &CloseReason::Lost { stage }),
                Trouble::ShutsDown => self.end(id, &shutdown(stage, "421 4.3.2 shutting down")),
                Trouble::Hangs
                | Trouble::Breaks
                | Trouble::Dismisses
                | Trouble::RefusesMore
                | Trouble::DefersMail
                | Trouble::Overloaded
                | Trouble::BreaksTls
                | Trouble::WrongCertificate
                | Trouble::RefusesLogin
                | Trouble::RefusesSession => {}
            }
        }
    }

    /// Sessions end that are too many by now, if that is the server's way.
    pub(super) fn move_limit(&mut self, server: usize) {
        if !self.servers[server].model.sessions.evicts {
            return;
        }
        let limit = self.servers[server].model.sessions.at(self.now);
        let most = limit.map_or(usize::MAX, |most| most as usize);
        for id in self.sessions_of(server).into_iter().skip(most) {
            let Some(connection) = self.connections.get(id) else { continue };
            let stage = match connection.progress(self.now) {
                Stage::Final => Stage::Content,
                stage => stage,
            };
            self.end(id, &shutdown(stage, "421 4.7.0 too many connections from you"));
        }
    }

    fn sessions_of(&self, server: usize) -> Vec<ConnectionId> {
        let sessions = self
            .connections
            .iter()
            .filter(|connection| connection.server == server && connection.phase != Phase::Dialing);
        sessions.map(|connection| connection.id).collect()
    }

    pub(super) fn quit(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.is_told_to_quit = true;
        self.quit_if_told(id);
    }

    fn quit_if_told(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else { return };
        if connection.is_told_to_quit && connection.mails.is_empty() {
            let model = &self.servers[connection.server].model;
            let time = model.round_trip.draw(&mut self.rng);
            self.schedule(time, Event::Gone(id));
        }
    }
}

/// The server ends a session before its next mail.
fn dismissed() -> CloseReason {
    CloseReason::Shutdown { stage: Stage::Mail, reply: reply("421 4.3.2 not now") }
}
