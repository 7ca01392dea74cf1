//! Connections of a simulation, and the table of them.

use std::collections::VecDeque;

use posthaste_scheduler::{Attempt, ConnectionId, Freshness, JobId, Time};
use posthaste_session::{Outcome, Pipelining, Stage};

use super::mails::Fault;

/// A connection, from the wish to open it until it is closed.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) server: usize,
    pub(super) phase: Phase,
    pub(super) pipelining: Pipelining,
    /// The mode that works for sure.
    pub(super) proven: Pipelining,
    /// Mails it has; the first one is on its way.
    pub(super) mails: VecDeque<Sending>,
    /// When the first one was started, and when it will be done.
    pub(super) under_way: (Time, Time),
    /// What the server said to its MAIL, if it does not serve it.
    pub(super) rebuff: Option<Rebuff>,
    /// Mails the server took.
    pub(super) taken: u32,
    pub(super) is_told_to_wait: bool,
    /// A wake-up is on its way to it.
    pub(super) is_woken: bool,
    pub(super) is_told_to_quit: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Dialing,
    /// The server counts it.
    Session,
    /// It is open, and one too many.
    Surplus,
}

/// A mail that a connection has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sending {
    pub(super) job: JobId,
    /// To so many of the recipients that it has left, the first ones.
    pub(super) recipients: usize,
    pub(super) started: Time,
}

impl Sending {
    /// The attempt, now that it is over.
    pub(super) fn over(self, now: Time, outcomes: Vec<Outcome>, connection: Freshness) -> Attempt {
        Attempt { started: self.started, ended: now, outcomes, connection }
    }
}

/// A mail that was not let begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rebuff {
    pub(super) line: &'static str,
    pub(super) ends: bool,
    pub(super) fault: Fault,
}

impl Connection {
    pub(super) fn new(id: ConnectionId, server: usize, pipelining: Pipelining, now: Time) -> Self {
        Self {
            id,
            server,
            phase: Phase::Dialing,
            pipelining,
            proven: pipelining.min(Pipelining::Envelope),
            mails: VecDeque::new(),
            under_way: (now, now),
            rebuff: None,
            taken: 0,
            is_told_to_wait: false,
            is_woken: false,
            is_told_to_quit: false,
        }
    }

    pub(super) fn wants_mail(&self) -> bool {
        let depth = if self.pipelining == Pipelining::Cross { 2 } else { 1 };
        !self.is_told_to_quit && !self.is_told_to_wait && self.mails.len() < depth
    }

    /// The server works at its first mail.
    pub(super) fn is_served(&self) -> bool {
        !self.mails.is_empty() && self.rebuff.is_none()
    }

    /// It could take a mail at once.
    pub(super) fn is_idle(&self) -> bool {
        self.phase != Phase::Dialing
            && self.mails.is_empty()
            && !self.is_told_to_quit
            && !self.is_woken
    }

    /// How far its first mail is.
    pub(super) fn progress(&self, now: Time) -> Stage {
        if self.mails.is_empty() {
            return Stage::Idle;
        }
        let (from, to) = self.under_way;
        let (gone, whole) = (now - from, to - from);
        if gone < whole * 4 / 10 || self.rebuff.is_some() {
            Stage::Rcpt
        } else if gone < whole * 7 / 10 {
            Stage::Content
        } else {
            Stage::Final
        }
    }
}

/// Connections by their ids.
#[derive(Debug, Default)]
pub(super) struct Connections {
    slots: Vec<Option<Connection>>,
    count: usize,
}

impl Connections {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.slots.get(id.index())?.as_ref().filter(|found| found.id == id)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.slots.get_mut(id.index())?.as_mut().filter(|found| found.id == id)
    }

    pub(super) fn insert(&mut self, connection: Connection) {
        let index = connection.id.index();
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        let old = self.slots[index].replace(connection);
        assert!(old.is_none(), "a connection has its id to itself");
        self.count += 1;
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let found = self.slots.get_mut(id.index())?.take_if(|found| found.id == id)?;
        self.count -= 1;
        Some(found)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.slots.iter().flatten()
    }
}
