//! A session against a server that says anything, at any time.

mod replies;
mod setup;

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use posthaste_session::reply::Extensions;
use posthaste_session::{Event, Finished, Mail, Session, Stage, TransactionId};
use posthaste_testkit::checker::Checker;
use posthaste_testkit::pair::MODES;

use crate::keys;
use replies::REPLIES;
use setup::Setup;

/// Carries out a list of operations: the first three octets are settings, then each operation is an
/// octet, of which some take octets behind them.
///
/// Every recipient of every mail gets one outcome, which is what was said and heard: delivered only
/// by a 2yz that was counted. The session says nothing that its replies do not allow. Whatever comes
/// before the handshake of TLS ends it. Whenever something is awaited there is a deadline, what is
/// queued is bounded, and the end is the end.
pub fn run(input: &[u8]) {
    let Some((settings, operations)) = input.split_first_chunk() else { return };
    let mut run = Run::new(Setup::new(*settings));
    run.drain();
    let mut operations = operations.iter();
    while let Some(&operation) = operations.next() {
        run.operate(operation, &mut operations);
        run.drain();
    }
    run.session.handle_eof(run.now);
    run.drain();
    assert!(run.is_closed, "the end of input ends a session");
    assert!(run.mails.is_empty(), "no outcome for {:?}", run.mails);
}

/// Octets queued at most. A few short mails with all their parameters do not take a tenth of it.
const MAX_QUEUED: usize = 64 * 1024;

struct Run {
    setup: Setup,
    now: Instant,
    session: Session,
    checker: Checker,
    mails: VecDeque<(TransactionId, Mail)>,
    submitted: usize,
    awaits_tls: bool,
    is_closed: bool,
    trace: Vec<(&'static str, Vec<u8>)>,
}

impl Drop for Run {
    /// A run that fails shows what was said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.trace.iter().for_each(|(who, what)| eprintln!("{who} {}", what.escape_ascii()));
        }
    }
}

impl Run {
    fn new(setup: Setup) -> Self {
        let now = Instant::now();
        let config = setup.config();
        let checker = Checker::new(setup.rules(&config));
        Self {
            setup,
            now,
            session: Session::new(now, config),
            checker,
            mails: VecDeque::new(),
            submitted: 0,
            awaits_tls: false,
            is_closed: false,
            trace: Vec::new(),
        }
    }

    fn operate(&mut self, operation: u8, rest: &mut std::slice::Iter<'_, u8>) {
        let number = usize::from(operation & 31);
        match operation >> 5 {
            0 | 1 => {
                let reply = usize::from(operation & 63);
                self.hear(REPLIES[reply % REPLIES.len()]);
            }
            2 => {
                let octets: Vec<u8> = rest.take(number).copied().collect();
                self.hear(&octets);
            }
            3 => self.write(usize::MAX),
            4 => self.write(number),
            5 => self.submit(number),
            6 => {
                self.now += Duration::from_secs(10 * number as u64);
                self.session.handle_timeout(self.now);
            }
            _ => self.interfere(number),
        }
    }

    fn interfere(&mut self, number: usize) {
        match number {
            0..=4 => self.session.quit(self.now),
            5 => self.session.abort(self.now),
            6 => self.session.handle_eof(self.now),
            7..=15 => {
                let mode = MODES[number % MODES.len()];
                self.checker.allow(mode, self.queued());
                self.session.set_pipelining(self.now, mode);
            }
            _ if self.awaits_tls && !self.session.is_closed() => {
                self.awaits_tls = false;
                self.checker.tls_established();
                self.session.tls_established(self.now, self.setup.tls());
                let forgotten = self.session.extensions() == &Extensions::default();
                assert!(forgotten, "what was offered in the clear outlives the handshake");
            }
            _ => {}
        }
    }

    fn hear(&mut self, octets: &[u8]) {
        self.trace.push(("S:", octets.to_vec()));
        self.checker.heard(octets, self.queued());
        self.session.handle_input(self.now, octets);
        let spoilt = self.awaits_tls && !octets.is_empty();
        assert!(!spoilt || self.session.is_closed(), "octets in the clear before the handshake");
    }

    fn queued(&self) -> usize {
        let mut slices = [IoSlice::new(&[]); 256];
        let used = self.session.poll_transmit(&mut slices);
        slices[..used].iter().map(|slice| slice.len()).sum()
    }

    fn write(&mut self, most: usize) {
        let mut slices = [IoSlice::new(&[]); 8];
        let used = self.session.poll_transmit(&mut slices);
        let octets: Vec<u8> =
            slices[..used].iter().flat_map(|slice| slice.iter().copied()).take(most).collect();
        assert_eq!(used == 0, !self.session.has_transmit());
        let length = octets.len();
        self.trace.push(("C:", octets));
        if let Some((_, octets)) = self.trace.last() {
            self.checker.said(octets);
        }
        self.session.transmitted(self.now, length);
    }

    fn submit(&mut self, number: usize) {
        if self.submitted >= 8 {
            return;
        }
        let room = self.session.room();
        let mail = self.setup.mail(self.submitted, number);
        match self.session.submit(self.now, mail.clone()) {
            Ok(id) => {
                assert!(room > 0, "taken without room");
                self.submitted += 1;
                self.mails.push_back((id, mail));
            }
            Err(error) => assert_eq!(*error.mail, mail, "{}", error.reason),
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.session.poll_event() {
            assert!(!self.is_closed, "an event behind the end: {event:?}");
            self.trace.push(("  ", format!("{event:?}").into_bytes()));
            match event {
                Event::Finished(finished) => self.finish(&finished),
                Event::StartTls => self.awaits_tls = true,
                Event::DeriveKey(derivation) => {
                    if let Some(key) = keys::derive(derivation) {
                        self.session.key_derived(self.now, key);
                    }
                }
                Event::Closed(_) => {
                    assert!(self.mails.is_empty(), "closed without an outcome");
                    self.is_closed = true;
                }
                _ => {}
            }
        }
        assert_eq!(self.session.is_closed(), self.is_closed);
        assert_eq!(self.session.in_flight(), self.mails.len());
        let awaits = !self.is_closed && self.session.stage() != Stage::Idle;
        assert_eq!(self.session.poll_deadline().is_some(), awaits, "{:?}", self.session.stage());
        assert!(!self.is_closed || !self.session.has_transmit());
        assert!(self.queued() <= MAX_QUEUED, "{} octets are queued", self.queued());
    }

    fn finish(&mut self, finished: &Finished) {
        let (id, mail) = self.mails.pop_front().expect("a mail under way");
        assert_eq!((finished.id, &finished.mail), (id, &mail), "in the order they were handed in");
        self.checker.judge(finished);
    }
}
