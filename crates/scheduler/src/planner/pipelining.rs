//! Which pipelining mode a server bears: climbing, and coming down. And whether it bears what it
//! offers: BDAT, TLS.

use std::time::Duration;

use posthaste_session::Pipelining;

use super::Planner;
use super::action::{Action, ConnectionId, Record, Use};
use super::config::PipeliningPolicy;
use crate::time::Time;

/// What is known about one server.
#[derive(Debug)]
pub(super) struct Memory {
    /// The mode of every connection but the one that tries the next.
    mode: Pipelining,
    /// The highest mode that is tried.
    target: Pipelining,
    /// The connection that tries the next mode.
    trial: Option<ConnectionId>,
    /// An objection is remembered until then.
    objects_until: Time,
    /// BDAT is not used until then.
    no_bdat_until: Time,
    /// TLS is not used until then, unless it is demanded.
    no_tls_until: Time,
}

/// A handshake that failed is tried again after this long. It is not worth much: whoever breaks
/// it can do so each time.
const TLS_MEMORY: Duration = Duration::from_secs(15 * 60);

impl Memory {
    pub(super) fn new(policy: PipeliningPolicy) -> Self {
        let (mode, target) = match policy {
            PipeliningPolicy::Auto => (Pipelining::Envelope, Pipelining::Cross),
            PipeliningPolicy::Fixed(mode) => (mode, mode),
        };
        Self {
            mode,
            target,
            trial: None,
            objects_until: Time::EPOCH,
            no_bdat_until: Time::EPOCH,
            no_tls_until: Time::EPOCH,
        }
    }

    pub(super) fn mode(&self) -> Pipelining {
        self.mode
    }

    /// A connection delivered a mail; the mode that it shall try now, if any.
    pub(super) fn delivered(&mut self, now: Time, by: ConnectionId) -> Option<Pipelining> {
        if self.mode >= self.target || self.trial.is_some() || now < self.objects_until {
            return None;
        }
        self.trial = Some(by);
        Some(match self.mode {
            Pipelining::Off => Pipelining::Envelope,
            Pipelining::Envelope => Pipelining::Cross,
            // Only where it was asked for, or that would be the target.
            Pipelining::Cross | Pipelining::Stream => Pipelining::Stream,
        })
    }

    /// The server bears a mode; whether that is news.
    pub(super) fn proven(&mut self, mode: Pipelining, by: ConnectionId) -> bool {
        if self.trial != Some(by) || mode <= self.mode {
            return false;
        }
        (self.mode, self.trial) = (mode, None);
        true
    }

    /// The server does not bear more than a mode; whether that is news.
    pub(super) fn lowered(&mut self, now: Time, to: Pipelining, remember: Duration) -> bool {
        self.trial = None;
        self.objects_until = now + remember;
        let news = to < self.mode;
        self.mode = self.mode.min(to);
        news
    }

    /// The server does not know BDAT, although it offers CHUNKING.
    pub(super) fn bdat_refused(&mut self, now: Time, remember: Duration) {
        self.no_bdat_until = now + remember;
    }

    /// The TLS handshake failed, and the session goes on without.
    pub(super) fn tls_broken(&mut self, now: Time) {
        self.no_tls_until = now + TLS_MEMORY;
    }

    /// A mail cannot go without TLS: the next connection shall try.
    pub(super) fn tls_wanted(&mut self) {
        self.no_tls_until = Time::EPOCH;
    }

    pub(super) fn tls(&self, now: Time) -> Use {
        if now < self.no_tls_until { Use::Never } else { Use::AsConfigured }
    }

    /// The mode that a connection is to be in, other than the one it is in.
    pub(super) fn wants(&self, connection: ConnectionId, mode: Pipelining) -> Option<Pipelining> {
        let is_other = self.mode != mode && self.trial != Some(connection);
        is_other.then_some(self.mode)
    }

    pub(super) fn bdat(&self, now: Time) -> Use {
        if now < self.no_bdat_until { Use::Never } else { Use::AsConfigured }
    }

    /// A connection is gone; if it was trying a mode, another one may.
    pub(super) fn closed(&mut self, connection: ConnectionId) {
        self.trial = self.trial.filter(|&trial| trial != connection);
    }
}

impl Planner {
    /// A connection delivered a mail: perhaps it shall try the next pipelining mode.
    pub(super) fn climb(&mut self, now: Time, id: ConnectionId, out: &mut Vec<Action>) {
        let Some(connection) = self.connections.get_mut(id.0) else { return };
        let memory = &mut self.servers[connection.server.index()].pipelining;
        if let Some(mode) = memory.delivered(now, id) {
            connection.pipelining = mode;
            out.push(Action::SetPipelining { connection: id, mode });
        }
    }

    /// A connection found that its server bears a pipelining mode.
    pub fn pipelining_proven(
        &mut self,
        _now: Time,
        connection: ConnectionId,
        mode: Pipelining,
        out: &mut Vec<Action>,
    ) {
        let Some(found) = self.connections.get(connection.0) else { return };
        let server = found.server;
        // The others hear of it when they pull.
        if self.server_mut(server).pipelining.proven(mode, connection) {
            out.push(Action::Record(Record::PipeliningLearned { server, mode }));
        }
    }

    /// A connection found that its server bears no more than a pipelining mode, and has gone down
    /// to that.
    pub fn pipelining_lowered(
        &mut self,
        now: Time,
        connection: ConnectionId,
        mode: Pipelining,
        out: &mut Vec<Action>,
    ) {
        let Some(found) = self.connections.get_mut(connection.0) else { return };
        found.pipelining = found.pipelining.min(mode);
        let server = found.server;
        let remember = self.config.pipelining_memory;
        if self.server_mut(server).pipelining.lowered(now, mode, remember) {
            out.push(Action::Record(Record::PipeliningLearned { server, mode }));
        }
    }

    /// A connection could not be secured and goes on in the clear, which the settings allow. Those that are opened
    /// in the next quarter of an hour do not try.
    pub fn tls_broken(&mut self, now: Time, connection: ConnectionId) {
        let Some(found) = self.connections.get(connection.0) else { return };
        let server = found.server;
        self.server_mut(server).pipelining.tls_broken(now);
    }

    /// A mail cannot go over a connection because it is in the clear. The next one tries TLS again.
    pub fn tls_wanted(&mut self, connection: ConnectionId) {
        let Some(found) = self.connections.get(connection.0) else { return };
        let server = found.server;
        self.server_mut(server).pipelining.tls_wanted();
    }

    /// A connection found that its server offers CHUNKING and does not know BDAT. Connections that are opened
    /// later do without it.
    pub fn bdat_refused(&mut self, now: Time, connection: ConnectionId) {
        let Some(found) = self.connections.get(connection.0) else { return };
        let (server, remember) = (found.server, self.config.pipelining_memory);
        self.server_mut(server).pipelining.bdat_refused(now, remember);
    }
}
