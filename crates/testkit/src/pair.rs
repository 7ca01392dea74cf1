//! A client's session and a server's, joined by a link in virtual time.
//!
//! [`Pair::run`] drives both to their end as a driver would: it reads while it writes, in pieces of
//! any size, and lets time pass only when nobody has anything to do. A [`Checker`] witnesses it,
//! and the same [`Dice`] give the same [`Trace`].

mod application;
mod campaign;
mod client;
mod faults;
mod hostile;
mod ledger;
mod mails;
mod peer;
mod report;
mod scenario;

use std::time::{Duration, Instant};

use posthaste_session::Session;

use crate::checker::Checker;
use crate::clock::Clock;
use crate::dice::Dice;
use crate::link::{Pipe, PipeModel};

pub use application::{Application, Quits};
pub use hostile::{Hostile, Turn};
pub use ledger::{Ledger, Said};
pub use peer::Peer;
pub use report::{Fate, Report, Trace, TraceLine};
pub use scenario::{Faults, MODES, Scenario};

use client::Client;
use peer::Server;

/// Both directions of a link.
#[derive(Clone, Debug, Default)]
pub struct LinkModel {
    /// From the client to the server.
    pub up: PipeModel,
    /// From the server to the client.
    pub down: PipeModel,
    /// Most octets either side takes in one read.
    pub read: Option<usize>,
}

/// The two directions, and what both sides have to know of each other's end.
#[derive(Debug)]
struct Link {
    up: Pipe,
    down: Pipe,
    read: usize,
}

impl Link {
    fn reset(&mut self) {
        self.up.reset();
        self.down.reset();
    }
}

/// A run: a client, a server, and what is between them.
#[derive(Debug)]
pub struct Pair<P> {
    clock: Clock,
    dice: Dice,
    link: Link,
    client: Client,
    server: Server<P>,
    trace: Trace,
}

/// What every part of a run works with.
struct World<'a> {
    now: Instant,
    dice: &'a mut Dice,
    link: &'a mut Link,
    trace: &'a mut Trace,
}

/// Steps of one run. The longest seen has some 20 000; a run that does not end has no number.
const MAX_STEPS: usize = 400_000;

/// Virtual time of one run: two dozen mails of which each reply takes as long as it may (TIME-01).
const MAX_TIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// Octets one read takes, unless the model says less: a driver's buffer.
const READ: usize = 16 * 1024;

impl<P: Peer> Pair<P> {
    /// A client of `session` and `application`, and a server; `checker` has seen nothing yet.
    pub fn new(
        clock: Clock,
        session: Session,
        application: Application,
        checker: Checker,
        peer: P,
        model: LinkModel,
        dice: Dice,
    ) -> Self {
        let read = model.read.unwrap_or(READ).max(1);
        Self {
            clock,
            dice,
            link: Link { up: Pipe::new(model.up), down: Pipe::new(model.down), read },
            client: Client::new(clock.now(), session, application, checker),
            server: Server::new(peer),
            trace: Trace::default(),
        }
    }

    /// Goes on until both sides are done, and says what happened.
    ///
    /// # Panics
    ///
    /// When the client breaks a rule or a promise, or when the run does not end.
    pub fn run(mut self) -> Report {
        for _ in 0..MAX_STEPS {
            if self.step() {
                continue;
            }
            let Some(next) = self.next_time() else {
                let trace = std::mem::take(&mut self.trace);
                return self.client.report(self.clock.now(), trace);
            };
            self.clock.advance_to(next);
            assert!(self.clock.elapsed() < MAX_TIME, "no end in {MAX_TIME:?}");
        }
        panic!("no end in {MAX_STEPS} steps");
    }

    /// Lets each side do what it can now; false if neither can do anything.
    fn step(&mut self) -> bool {
        let mut world = World {
            now: self.clock.now(),
            dice: &mut self.dice,
            link: &mut self.link,
            trace: &mut self.trace,
        };
        world.trace.set_time(self.clock.elapsed());
        let mut progress = self.client.step(&mut world);
        progress |= self.server.step(&mut world);
        if self.client.awaits_tls() && self.server.awaits_tls() && world.link.is_quiet() {
            self.client.tls_established(&mut world);
            self.server.tls_established(&world);
            progress = true;
        }
        progress
    }

    fn next_time(&self) -> Option<Instant> {
        let now = self.clock.now();
        let arrivals = [
            if self.server.listens() { self.link.up.next_arrival(now) } else { None },
            if self.client.listens() { self.link.down.next_arrival(now) } else { None },
        ];
        let deadlines = [self.client.next_time(), self.server.next_time()];
        arrivals.into_iter().chain(deadlines).flatten().filter(|time| *time > now).min()
    }
}

impl Link {
    fn is_quiet(&self) -> bool {
        self.up.is_empty() && self.down.is_empty()
    }
}
