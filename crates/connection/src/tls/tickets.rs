//! What earlier connections left behind for resuming their sessions.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;

/// Each ticket is good for one connection, and rustls would keep 8: this is as many as may be opened
/// at once where all connections to a server were lost. Each is about half a KiB.
const TICKETS: usize = 64;
/// Servers whose tickets are kept, beyond which one is forgotten: all tickets take 8 MiB at most.
const SERVERS: usize = 256;
/// Entries for all else, eight of which are one server's: what rustls takes by itself.
const ENTRIES: usize = 256;

/// The oldest ticket of a server first.
type Kept = HashMap<ServerName<'static>, VecDeque<Tls13ClientSessionValue>>;

/// A store with enough tickets for many connections to one server.
pub(super) struct Tickets {
    tickets: Mutex<Kept>,
    rest: ClientSessionMemoryCache,
}

impl Tickets {
    /// No call panics between two changes that belong together.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Tickets {
    fn default() -> Self {
        Self { tickets: Mutex::default(), rest: ClientSessionMemoryCache::new(ENTRIES) }
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.rest.set_kx_hint(server, group);
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        self.rest.kx_hint(server)
    }

    fn set_tls12_session(&self, server: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.rest.set_tls12_session(server, session);
    }

    fn tls12_session(&self, server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.rest.tls12_session(server)
    }

    fn remove_tls12_session(&self, server: &ServerName<'static>) {
        self.rest.remove_tls12_session(server);
    }

    fn insert_tls13_ticket(&self, server: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut tickets = self.lock();
        if tickets.len() >= SERVERS && !tickets.contains_key(&server) {
            let any = tickets.keys().next().cloned();
            any.and_then(|any| tickets.remove(&any));
        }
        let kept = tickets.entry(server).or_default();
        if kept.len() >= TICKETS {
            kept.pop_front();
        }
        kept.push_back(ticket);
    }

    /// The newest one, which the server is most likely to know.
    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.lock().get_mut(server)?.pop_back()
    }
}
