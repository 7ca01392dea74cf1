//! The planner, the books, and the way to each connection: all that stands under the lock.

use std::num::NonZeroU64;
use std::sync::Arc;

use posthaste_connection::Connector;
use posthaste_session::reply::ReplyBuf;
use posthaste_session::{Pipelining, Stage};

use super::delivery::Addressee;
use super::pages::Pages;
use super::port::{End, Orders, Port};
use crate::ledger::Ledger;
use crate::planner::{Action, ConnectionId, GiveUp, JobId, Planner, Record, ServerId, Use};
use crate::report::{Report, Trouble};
use crate::time::Time;

/// See the module.
pub(super) struct State {
    pub(super) planner: Planner,
    /// What the planner wants done; empty but for the moment between its thought and its obeyance.
    pub(super) actions: Vec<Action>,
    /// When the planner thought last.
    thought: Time,
    /// When the clock will look next.
    pub(super) armed: Time,
    /// By [`ServerId::index`].
    pub(super) hosts: Vec<Host>,
    /// By [`JobId::index`].
    jobs: Pages<Entry>,
    /// By [`ConnectionId::index`].
    ports: Pages<Arc<Port>>,
    /// The number of the next mail.
    mails: NonZeroU64,
}

/// A server.
pub(super) struct Host {
    pub(super) connector: Connector,
    /// What it said last against a session, for mails that are given up because of it.
    pub(super) words: Option<(Stage, ReplyBuf)>,
    /// What last kept a connection from coming about.
    pub(super) trouble: Option<Trouble>,
}

impl Host {
    pub(super) fn new(connector: Connector) -> Self {
        Self { connector, words: None, trouble: None }
    }
}

/// A job that has no final report yet: a mail, or a batch of its recipients.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) ledger: Ledger,
    pub(super) addressee: Addressee,
    /// The number of its mail.
    pub(super) number: NonZeroU64,
}

/// A job of which each recipient has its outcome.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) report: Report,
    pub(super) addressee: Addressee,
    pub(super) number: NonZeroU64,
    /// What gives room in the intake again: so many octets of content; `None` if it never had any.
    pub(super) octets: Option<usize>,
}

impl Done {
    /// Closes the books of a job.
    pub(super) fn new(entry: Entry, report: impl FnOnce(Ledger) -> Report) -> Self {
        let Entry { ledger, addressee, number } = entry;
        let octets = Some(ledger.content().len());
        Self { report: report(ledger), addressee, number, octets }
    }
}

/// A connection that is to be opened.
pub(super) struct Open {
    pub(super) server: ServerId,
    pub(super) connection: ConnectionId,
    pub(super) pipelining: Pipelining,
    pub(super) bdat: Use,
    pub(super) tls: Use,
    pub(super) connector: Connector,
    pub(super) port: Arc<Port>,
}

/// What is left to be done without the lock.
#[derive(Default)]
pub(super) struct Left {
    pub(super) open: Vec<Open>,
    pub(super) records: Vec<Record>,
    pub(super) done: Vec<Done>,
}

impl State {
    pub(super) fn new(planner: Planner) -> Self {
        Self {
            planner,
            actions: Vec::new(),
            thought: Time::EPOCH,
            armed: Time::NEVER,
            hosts: Vec::new(),
            jobs: Pages::new(),
            ports: Pages::new(),
            mails: NonZeroU64::MIN,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.planner.jobs() == 0 && self.planner.connections() == 0
    }

    /// The time for the planner's next thought: it does not go back for the planner.
    pub(super) fn advance(&mut self, now: Time) -> Time {
        self.thought = self.thought.max(now);
        self.thought
    }

    /// The number of a new mail; no other has it.
    pub(super) fn next_number(&mut self) -> NonZeroU64 {
        let next = self.mails.saturating_add(1);
        std::mem::replace(&mut self.mails, next)
    }

    pub(super) fn add_job(&mut self, job: JobId, entry: Entry) {
        self.jobs.put(job.index(), entry);
    }

    pub(super) fn job_mut(&mut self, job: JobId) -> Option<&mut Entry> {
        self.jobs.get_mut(job.index())
    }

    /// Takes out a job that the planner has forgotten.
    pub(super) fn take_job(&mut self, job: JobId) -> Option<Entry> {
        self.jobs.take(job.index())
    }

    /// Closes its books, too.
    pub(super) fn close(
        &mut self,
        job: JobId,
        report: impl FnOnce(Ledger) -> Report,
    ) -> Option<Done> {
        Some(Done::new(self.take_job(job)?, report))
    }

    pub(super) fn remove_port(&mut self, connection: ConnectionId) {
        self.ports.take(connection.index());
    }

    /// Does what the planner wants, as far as it can be done under the lock.
    pub(super) fn obey(&mut self, now: Time) -> Left {
        let mut left = Left::default();
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Open { server, connection, pipelining, bdat, tls } => {
                    let port = Arc::new(Port::default());
                    self.ports.put(connection.index(), Arc::clone(&port));
                    let connector = self.hosts[server.index()].connector.clone();
                    left.open.push(Open {
                        server,
                        connection,
                        pipelining,
                        bdat,
                        tls,
                        connector,
                        port,
                    });
                }
                Action::Wake { connection } => self.tell(connection, |orders| orders.wake = true),
                Action::SetPipelining { connection, mode } => {
                    self.tell(connection, |orders| orders.mode = Some(mode));
                }
                Action::Quit { connection } => {
                    self.tell(connection, |orders| orders.end = orders.end.max(Some(End::Quit)));
                }
                Action::Abort { connection } => {
                    self.tell(connection, |orders| orders.end = Some(End::Abort));
                }
                Action::GiveUp { job, cause, attempts } => {
                    left.done.extend(self.give_up(now, job, cause, attempts));
                }
                Action::Record(record) => left.records.push(record),
            }
        }
        // Its memory is used again.
        self.actions = actions;
        left
    }

    fn give_up(&mut self, now: Time, job: JobId, cause: GiveUp, attempts: u32) -> Option<Done> {
        // Of several servers, one that said something.
        let servers =
            self.planner.servers_of(self.jobs.get(job.index())?.addressee.to().destination);
        let hosts = servers.filter_map(|server| self.hosts.get(server.index()));
        let host = { hosts }.find(|host| host.words.is_some() || host.trouble.is_some());
        let words = host.and_then(|host| host.words.clone());
        let trouble = host.and_then(|host| host.trouble.clone());
        self.close(job, |ledger| {
            let report = ledger.give_up(now, cause, attempts, words);
            Report { trouble, ..report }
        })
    }

    fn tell(&self, connection: ConnectionId, order: impl FnOnce(&mut Orders)) {
        if let Some(port) = self.ports.get(connection.index()) {
            port.tell(order);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million of them may wait.
    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Option<Entry>>(), 80);
    }
}
