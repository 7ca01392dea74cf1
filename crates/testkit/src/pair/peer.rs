//! The server's side of a pair.

use std::time::Instant;

use posthaste_sink::{Close, Event};

use super::World;
use crate::link::Read;

/// A server's session without I/O, with the meaning of [`posthaste_sink::Session`]'s methods.
pub trait Peer {
    /// Octets came from the client.
    fn handle_input(&mut self, now: Instant, input: &[u8]);
    /// Nothing more will come from it.
    fn handle_eof(&mut self);
    /// The time of [`poll_deadline`](Self::poll_deadline) has come.
    fn handle_timeout(&mut self, now: Instant);
    /// The handshake is done.
    fn tls_established(&mut self, now: Instant);
    /// The octets to send now.
    fn output(&self) -> &[u8];
    /// So many of them were taken.
    fn transmitted(&mut self, length: usize);
    /// What to do once all output is written.
    fn poll_event(&mut self) -> Option<Event>;
    /// When it wants to be woken.
    fn poll_deadline(&self) -> Option<Instant>;
    /// Whether to read from the client now.
    fn wants_input(&self) -> bool;
}

impl Peer for posthaste_sink::Session {
    fn handle_input(&mut self, now: Instant, input: &[u8]) {
        self.handle_input(now, input);
    }

    fn handle_eof(&mut self) {
        self.handle_eof();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.handle_timeout(now);
    }

    fn tls_established(&mut self, now: Instant) {
        self.set_channel_binding(EXPORTED);
        self.tls_established(now);
    }

    fn output(&self) -> &[u8] {
        self.output()
    }

    fn transmitted(&mut self, length: usize) {
        self.transmitted(length);
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.poll_event()
    }

    fn poll_deadline(&self) -> Option<Instant> {
        self.poll_deadline()
    }

    fn wants_input(&self) -> bool {
        self.wants_input()
    }
}

/// Drives a server as the sink's own driver does: it does not read while it writes (FL-04).
#[derive(Debug)]
pub(super) struct Server<P> {
    peer: P,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Serving,
    Handshake,
    /// It said its last word, and reads and forgets what still comes.
    Lingering,
    Gone,
}

impl<P: Peer> Server<P> {
    pub(super) fn new(peer: P) -> Self {
        Self { peer, state: State::Serving }
    }

    pub(super) fn awaits_tls(&self) -> bool {
        self.state == State::Handshake
    }

    pub(super) fn tls_established(&mut self, world: &World<'_>) {
        self.state = State::Serving;
        self.peer.tls_established(world.now);
    }

    pub(super) fn listens(&self) -> bool {
        match self.state {
            State::Serving => self.peer.output().is_empty() && self.peer.wants_input(),
            State::Handshake | State::Lingering => true,
            State::Gone => false,
        }
    }

    pub(super) fn next_time(&self) -> Option<Instant> {
        match self.state {
            State::Serving => self.peer.poll_deadline(),
            State::Handshake | State::Lingering | State::Gone => None,
        }
    }

    pub(super) fn step(&mut self, world: &mut World<'_>) -> bool {
        match self.state {
            State::Serving => self.serve(world),
            // What comes in the clear now breaks the handshake; the client would not say it.
            State::Handshake | State::Lingering => self.discard(world),
            State::Gone => false,
        }
    }

    fn serve(&mut self, world: &mut World<'_>) -> bool {
        if !self.peer.output().is_empty() {
            return self.write(world);
        }
        match self.peer.poll_event() {
            Some(Event::StartTls) => {
                self.state = State::Handshake;
                return true;
            }
            Some(Event::Close(Close::Fin)) => {
                world.link.down.finish(world.now, world.dice);
                self.state = State::Lingering;
                return true;
            }
            Some(Event::Close(Close::Rst)) => {
                world.link.reset();
                self.state = State::Gone;
                return true;
            }
            None => {}
        }
        if self.peer.poll_deadline().is_some_and(|deadline| deadline <= world.now) {
            self.peer.handle_timeout(world.now);
            return true;
        }
        self.peer.wants_input() && self.read(world)
    }

    fn write(&mut self, world: &mut World<'_>) -> bool {
        let Some(room) = world.link.down.room() else {
            // The client is gone; so is the driver of a server that writes to it.
            world.link.reset();
            self.state = State::Gone;
            return true;
        };
        let output = self.peer.output();
        let octets = &output[..output.len().min(room)];
        if octets.is_empty() {
            return false;
        }
        world.link.down.write(world.now, octets, world.dice);
        let length = octets.len();
        self.peer.transmitted(length);
        true
    }

    fn read(&mut self, world: &mut World<'_>) -> bool {
        let most = world.dice.within(1..=world.link.read);
        match world.link.up.read(world.now, most) {
            Read::Octets(octets) => self.peer.handle_input(world.now, &octets),
            Read::End => self.peer.handle_eof(),
            Read::Reset => world.link.reset(),
            Read::Nothing => return false,
        }
        true
    }

    fn discard(&mut self, world: &mut World<'_>) -> bool {
        match world.link.up.read(world.now, usize::MAX) {
            Read::Octets(_) => {}
            Read::Reset => world.link.reset(),
            Read::End => {
                world.link.down.finish(world.now, world.dice);
                self.state = State::Gone;
            }
            Read::Nothing => return false,
        }
        true
    }
}

/// What the exporter of a pair's TLS connection gives to both sides (RFC 9266).
pub(super) const EXPORTED: [u8; 32] = [7; 32];
