//! What all sessions of a sink share: its configuration, counters, limits and mails.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use twox_hash::XxHash3_64;

use crate::config::{Config, Limits, Protocol};
use crate::fault::engine::Faults;
use crate::hello::Hello;
use crate::limits::LimitState;
use crate::mail::Mail;
use crate::seen::Seen;
use crate::session::auth::Keyring;
use crate::stats::{Counters, Stats, Tally, Violation};
use crate::store::Store;

/// The server that [`Session`](crate::Session)s belong to: no sockets, no clock, no task. The
/// listener has one, a simulation makes its own.
#[derive(Debug)]
pub struct Server {
    pub(crate) config: Config,
    pub(crate) counters: Counters,
    pub(crate) faults: Faults,
    pub(crate) limits: LimitState,
    /// For each user of the configuration, in that order.
    pub(crate) keyrings: Vec<Keyring>,
    pub(crate) store: Store,
    pub(crate) seen: Option<Seen>,
    plain: Hello,
    inside_tls: Hello,
    nothing: Hello,
    started: Instant,
    connections: AtomicU64,
}

impl Server {
    /// A server that starts `now`.
    ///
    /// # Errors
    ///
    /// If the store cannot be opened.
    pub fn new(config: Config, now: Instant) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            counters: Counters::default(),
            faults: Faults::new(&config.faults),
            limits: LimitState::new(&config.limits),
            keyrings: config.users.iter().map(|user| Keyring::new(user, config.seed)).collect(),
            store: Store::open(&config.store)?,
            seen: config.count_duplicates.then(Seen::default),
            plain: Hello::new(&config, config.keywords(false)),
            inside_tls: Hello::new(&config, config.keywords(true)),
            nothing: Hello::new(&config, Vec::new()),
            started: now,
            connections: AtomicU64::new(0),
            config,
        }))
    }

    /// Other limits from now on: each session obeys them from its next command on, and sessions that
    /// are open stay so. [`Limits::max_size`] was offered to them, and does not change.
    pub fn set_limits(&self, limits: Limits) {
        self.limits.set(&limits);
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        let mut stats = self.counters.snapshot();
        for (rule, applied) in self.faults.applied() {
            *stats.refusals.entry(rule.to_owned()).or_default() += applied;
        }
        stats
    }

    /// The mails kept in memory, in the order they came; none with another store.
    pub fn mails(&self) -> Vec<Mail> {
        self.store.mails()
    }

    /// The number of mails accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.counters.mails()
    }

    /// Whether no session is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.counters.open_sessions() == 0
    }

    /// Counts something that came before there was a session.
    pub(crate) fn note(&self, violation: Violation) {
        let mut tally = Tally::default();
        tally.violation(violation);
        self.counters.add(&mut tally);
    }

    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Relaxed)
    }

    pub(crate) fn hello(&self, tls_active: bool) -> &Hello {
        if tls_active { &self.inside_tls } else { &self.plain }
    }

    /// What is offered to a client that did not ask for extensions.
    pub(crate) fn nothing(&self) -> &Hello {
        &self.nothing
    }

    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// Whether LMTP is spoken.
    pub(crate) fn is_lmtp(&self) -> bool {
        self.config.protocol == Protocol::Lmtp
    }
}

/// A hash of an address without regard to case, the same in each run.
pub(crate) fn address_hash(address: &[u8]) -> u64 {
    let mut buffer = [0; USUAL_ADDRESS];
    let Some(lower) = buffer.get_mut(..address.len()) else {
        return XxHash3_64::oneshot(&address.to_ascii_lowercase());
    };
    lower.copy_from_slice(address);
    lower.make_ascii_lowercase();
    XxHash3_64::oneshot(lower)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panicking session left is whole: each change is one call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Octets of an address that is brought to lower case without an allocation.
const USUAL_ADDRESS: usize = 128;
