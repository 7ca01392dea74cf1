//! The client's side of a pair: the loop that a driver is.

use std::io::IoSlice;
use std::time::Instant;

use posthaste_session::{
    ChannelBinding, CloseReason, Event, Finished, Mail, Pipelining, Session, Stage,
    SubmitErrorReason, TlsState, TransactionId,
};

use super::World;
use super::application::{Application, Quits};
use super::peer::EXPORTED;
use super::report::{Fate, Report, Trace, TraceLine};
use crate::checker::Checker;
use crate::link::Read;

/// Drives a session, and checks what it does at every step.
#[derive(Debug)]
pub(super) struct Client {
    session: Session,
    application: Application,
    checker: Checker,
    awaits_tls: bool,
    has_quit: bool,
    write_failed: bool,
    /// Mails in the session: where they stand in `fates`, and what they were when handed in.
    in_flight: Vec<(TransactionId, usize, Mail)>,
    /// `None` while the mail is in the session.
    fates: Vec<Option<Fate>>,
    lowered: Option<Pipelining>,
    closed: Option<CloseReason>,
    started: Instant,
}

/// Slices written at once.
const MAX_SLICES: usize = 32;

/// Slices that hold all that can be queued: a group of commands, and a content of 256 KiB with a
/// slice for every 256 octets.
const ALL_SLICES: usize = 1024 + 8;

/// Octets of commands queued at most: a group of the longest lines, as DSN makes them (RX-10).
const MAX_QUEUED_COMMANDS: usize = 514 * 1012;

impl Client {
    pub(super) fn new(
        started: Instant,
        session: Session,
        application: Application,
        checker: Checker,
    ) -> Self {
        Self {
            session,
            application,
            checker,
            awaits_tls: false,
            has_quit: false,
            write_failed: false,
            in_flight: Vec::new(),
            fates: Vec::new(),
            lowered: None,
            closed: None,
            started,
        }
    }

    pub(super) fn awaits_tls(&self) -> bool {
        self.awaits_tls && !self.session.is_closed()
    }

    pub(super) fn tls_established(&mut self, world: &mut World<'_>) {
        self.awaits_tls = false;
        self.checker.tls_established();
        world.trace.push(TraceLine::Event("tls".to_owned()));
        let channel_binding = Some(ChannelBinding::from_exporter(EXPORTED));
        let state = TlsState { channel_binding, is_verified: world.dice.percent(50) };
        self.session.tls_established(world.now, state);
    }

    pub(super) fn listens(&self) -> bool {
        self.closed.is_none()
    }

    pub(super) fn next_time(&self) -> Option<Instant> {
        if self.closed.is_some() {
            return None;
        }
        let quits = match self.application.quits {
            Quits::At(at) if !self.has_quit => Some(at),
            Quits::At(_) | Quits::WhenDone | Quits::WhenSubmitted => None,
        };
        let changes_mode = self.application.changes_mode.map(|(at, _)| at);
        let own = [quits, changes_mode, self.application.aborts_at].into_iter().flatten();
        own.map(|at| self.started + at).chain(self.session.poll_deadline()).min()
    }

    /// One turn of the loop; false if there was nothing to do.
    pub(super) fn step(&mut self, world: &mut World<'_>) -> bool {
        if self.closed.is_some() {
            return false;
        }
        let mut progress = self.handle_events(world);
        if self.closed.is_some() {
            return true;
        }
        progress |= self.obey(world);
        if self.session.is_closed() {
            return true;
        }
        if self.awaits_tls {
            return progress | self.shake_hands(world) | self.watch_clock(world.now);
        }
        // A driver may find either ready first.
        if world.dice.percent(50) && self.read(world) {
            return true;
        }
        progress |= self.write(world);
        progress |= self.read(world);
        progress |= self.watch_clock(world.now);
        let awaits = !matches!(self.session.stage(), Stage::Idle) && !self.session.is_closed();
        assert!(!awaits || self.session.poll_deadline().is_some(), "awaited without deadline");
        progress
    }

    fn handle_events(&mut self, world: &mut World<'_>) -> bool {
        let mut progress = false;
        while let Some(event) = self.session.poll_event() {
            progress = true;
            if let Event::DeriveKey(derivation) = event {
                // Not in the trace: clones of the credentials derive a key once for all runs.
                self.session.key_derived(world.now, derivation.derive());
                continue;
            }
            world.trace.push(TraceLine::Event(describe(&event)));
            assert!(self.closed.is_none(), "an event behind the end: {event:?}");
            match event {
                Event::StartTls => self.awaits_tls = true,
                Event::Finished(finished) => self.finish(finished),
                Event::PipeliningLowered(change) => {
                    self.lowered = Some(change.to);
                    self.checker.allow(change.to, self.queued());
                }
                Event::Closed(reason) => self.close(world, reason),
                _ => {}
            }
        }
        progress
    }

    /// Exactly one outcome for each mail, and the right one.
    fn finish(&mut self, finished: Finished) {
        let place = self.in_flight.iter().position(|(id, ..)| *id == finished.id);
        let Some(place) = place else { panic!("an outcome for a mail that is not under way") };
        let (_, index, mail) = self.in_flight.remove(place);
        assert_eq!(finished.mail, mail, "the mail has changed");
        self.checker.judge(&finished);
        let timing = &finished.timing;
        let points = [timing.mail, timing.data, timing.content, timing.finished];
        assert!(points.iter().flatten().is_sorted(), "time goes forward: {timing:?}");
        self.fates[index] = Some(Fate::Finished(Box::new(finished)));
    }

    fn close(&mut self, world: &mut World<'_>, reason: CloseReason) {
        assert!(self.in_flight.is_empty(), "closed without an outcome: {:?}", self.in_flight);
        assert_eq!(self.session.in_flight(), 0);
        assert!(!self.session.has_transmit(), "closed, and something to say");
        assert_eq!(self.session.poll_deadline(), None);
        assert_eq!(self.session.room(), 0);
        self.closed = Some(reason);
        world.link.up.finish(world.now, world.dice);
        world.link.down.reset();
    }

    /// Does what the application wants.
    fn obey(&mut self, world: &mut World<'_>) -> bool {
        let elapsed = world.now - self.started;
        if self.application.aborts_at.take_if(|at| *at <= elapsed).is_some() {
            self.session.abort(world.now);
            return true;
        }
        let mut progress = false;
        let change = self.application.changes_mode.take_if(|(at, _)| *at <= elapsed);
        if let Some((_, mode)) = change {
            self.checker.allow(mode, self.queued());
            self.session.set_pipelining(world.now, mode);
            progress = true;
        }
        while self.session.room() > 0
            && let Some(mail) = self.application.mails.pop_front()
        {
            self.submit(world.now, mail);
            progress = true;
        }
        let is_handed_in = self.application.mails.is_empty();
        let is_time = match self.application.quits {
            Quits::WhenDone => is_handed_in && self.in_flight.is_empty(),
            Quits::WhenSubmitted => is_handed_in,
            Quits::At(at) => at <= elapsed,
        };
        if is_time && !std::mem::replace(&mut self.has_quit, true) {
            self.session.quit(world.now);
            assert_eq!(self.session.room(), 0, "no more mails are taken");
            progress = true;
        }
        progress
    }

    fn submit(&mut self, now: Instant, mail: Mail) {
        let index = self.fates.len();
        match self.session.submit(now, mail.clone()) {
            Ok(id) => {
                self.in_flight.push((id, index, mail));
                self.fates.push(None);
            }
            Err(error) => {
                let fate = match error.reason {
                    SubmitErrorReason::Unsendable(reason) => Fate::Unsendable(*error.mail, reason),
                    SubmitErrorReason::NoRoom => {
                        // LIM-03: its recipients' domains are for another session.
                        assert_eq!(self.session.room(), 0, "there was room");
                        Fate::Kept(*error.mail)
                    }
                };
                self.fates.push(Some(fate));
            }
        }
    }

    fn write(&mut self, world: &mut World<'_>) -> bool {
        if !self.session.has_transmit() || self.write_failed {
            return false;
        }
        let Some(room) = world.link.up.room() else {
            self.write_failed = true;
            return true;
        };
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let most = world.dice.within(1..=MAX_SLICES);
        let used = self.session.poll_transmit(&mut slices[..most]);
        let offered = slices[..used].iter().flat_map(|slice| slice.iter().copied());
        let octets: Vec<u8> = offered.take(room).collect();
        if octets.is_empty() {
            return false;
        }
        world.trace.push(TraceLine::Said(octets.clone()));
        self.checker.said(&octets);
        world.link.up.write(world.now, &octets, world.dice);
        self.session.transmitted(world.now, octets.len());
        true
    }

    fn read(&mut self, world: &mut World<'_>) -> bool {
        let most = world.dice.within(1..=world.link.read);
        match world.link.down.read(world.now, most) {
            Read::Octets(octets) => {
                world.trace.push(TraceLine::Heard(octets.clone()));
                self.checker.heard(&octets, self.queued());
                self.session.handle_input(world.now, &octets);
                true
            }
            Read::Nothing if !self.write_failed => false,
            end => self.lose(world, end),
        }
    }

    fn lose(&mut self, world: &mut World<'_>, end: Read) -> bool {
        if end == Read::Reset {
            world.link.reset();
        }
        world.trace.push(TraceLine::Event("end of input".to_owned()));
        self.session.handle_eof(world.now);
        true
    }

    /// The server's hello has to come next: anything in the clear breaks the handshake (ST-07).
    fn shake_hands(&mut self, world: &mut World<'_>) -> bool {
        match world.link.down.read(world.now, usize::MAX) {
            Read::Octets(_) => self.session.abort(world.now),
            Read::Nothing => return false,
            end => return self.lose(world, end),
        }
        true
    }

    fn watch_clock(&mut self, now: Instant) -> bool {
        let is_due = self.session.poll_deadline().is_some_and(|deadline| deadline <= now);
        if is_due {
            self.session.handle_timeout(now);
            let put_off = self.session.poll_deadline().is_some_and(|deadline| deadline <= now);
            assert!(!put_off, "a deadline that is not met closes the session");
        }
        is_due
    }

    /// Octets that will be said whatever comes.
    fn queued(&self) -> usize {
        if !self.session.has_transmit() {
            return 0;
        }
        let mut slices = vec![IoSlice::new(&[]); 4 * MAX_SLICES];
        let mut used = self.session.poll_transmit(&mut slices);
        if used == slices.len() {
            slices.resize(ALL_SLICES, IoSlice::new(&[]));
            used = self.session.poll_transmit(&mut slices);
        }
        let octets = slices[..used].iter().map(|slice| slice.len()).sum();
        let contents = self.in_flight.iter().map(|(_, _, mail)| 2 * mail.content.len() + 3);
        assert!(octets <= MAX_QUEUED_COMMANDS + contents.sum::<usize>(), "{octets} octets queued");
        octets
    }

    pub(super) fn report(&mut self, now: Instant, trace: Trace) -> Report {
        let Some(closed) = self.closed.take() else {
            panic!("nothing will ever happen, and the session is not closed");
        };
        let fates = self.fates.drain(..).map(|fate| fate.expect("every mail came back"));
        let kept = self.application.mails.drain(..).map(Fate::Kept);
        Report {
            fates: fates.chain(kept).collect(),
            closed,
            lowered: self.lowered,
            has_quit: self.checker.has_quit(),
            most_awaited: self.checker.most_awaited(),
            elapsed: now - self.started,
            trace,
        }
    }
}

/// An event without what differs from run to run.
fn describe(event: &Event) -> String {
    match event {
        Event::Finished(finished) => {
            format!("finished {}: {:?}", finished.id.as_u64(), finished.outcomes)
        }
        event => format!("{event:?}"),
    }
}
