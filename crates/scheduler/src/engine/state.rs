//! The planner, the books, and the way to each connection: all that stands under the lock.

use std::sync::Arc;

use posthaste_connection::Connector;
use posthaste_session::reply::ReplyBuf;
use posthaste_session::{Pipelining, Stage};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::port::{End, Orders, Port};
use crate::ledger::Ledger;
use crate::planner::{Action, Bdat, ConnectionId, JobId, Planner, Record, ServerId};
use crate::report::{Report, Trouble};
use crate::time::Time;

/// See the module.
pub(super) struct State {
    pub(super) planner: Planner,
    /// What the planner wants done; empty but for the moment between its thought and its obeyance.
    pub(super) actions: Vec<Action>,
    /// When the clock will look next.
    pub(super) armed: Time,
    pub(super) servers: Vec<Host>,
    /// By [`JobId::index`].
    jobs: Vec<Option<Entry>>,
    /// By [`ConnectionId::index`].
    ports: Vec<Option<Arc<Port>>>,
}

/// A server.
pub(super) struct Host {
    pub(super) connector: Connector,
    /// What it said last against a session, for mails that are given up because of it.
    pub(super) words: Option<(Stage, ReplyBuf)>,
    /// What last kept a connection from coming about.
    pub(super) trouble: Option<Trouble>,
}

/// A mail that has no final report yet.
pub(super) struct Entry {
    pub(super) server: ServerId,
    pub(super) ledger: Ledger,
    pub(super) waiter: Waiter,
    /// Its share of the intake; let go of when the report is taken.
    pub(super) permit: OwnedSemaphorePermit,
}

/// Who wants the report.
pub(super) enum Waiter {
    One(oneshot::Sender<Delivery>),
    /// With the mail's place in the stream. As many are on their way as there are permits.
    Stream(u64, mpsc::UnboundedSender<(u64, Delivery)>),
}

/// A report, and the share of the intake that is free once somebody has taken it.
pub(super) type Delivery = (Report, OwnedSemaphorePermit);

/// A connection that is to be opened.
pub(super) struct Open {
    pub(super) server: ServerId,
    pub(super) connection: ConnectionId,
    pub(super) pipelining: Pipelining,
    pub(super) bdat: Bdat,
    pub(super) connector: Connector,
    pub(super) port: Arc<Port>,
}

/// What is left to be done without the lock.
#[derive(Default)]
pub(super) struct Left {
    pub(super) open: Vec<Open>,
    pub(super) records: Vec<Record>,
}

impl State {
    pub(super) fn new(planner: Planner) -> Self {
        Self {
            planner,
            actions: Vec::new(),
            armed: Time::NEVER,
            servers: Vec::new(),
            jobs: Vec::new(),
            ports: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.planner.jobs() == 0 && self.planner.connections() == 0
    }

    pub(super) fn add_job(&mut self, job: JobId, entry: Entry) {
        put(&mut self.jobs, job.index(), entry);
    }

    pub(super) fn job_mut(&mut self, job: JobId) -> Option<&mut Entry> {
        self.jobs.get_mut(job.index())?.as_mut()
    }

    /// Reports a mail whose recipients all have their outcome.
    pub(super) fn finish_job(&mut self, job: JobId) {
        if let Some(entry) = self.jobs.get_mut(job.index()).and_then(Option::take) {
            let Entry { ledger, waiter, permit, .. } = entry;
            waiter.deliver((ledger.into_report(), permit));
        }
    }

    pub(super) fn remove_port(&mut self, connection: ConnectionId) {
        if let Some(port) = self.ports.get_mut(connection.index()) {
            *port = None;
        }
    }

    /// Does what the planner wants, as far as it can be done under the lock.
    pub(super) fn obey(&mut self, now: Time) -> Left {
        let mut left = Left::default();
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Open { server, connection, pipelining, bdat } => {
                    let port = Arc::new(Port::default());
                    put(&mut self.ports, connection.index(), Arc::clone(&port));
                    let connector = self.servers[server.index()].connector.clone();
                    left.open.push(Open { server, connection, pipelining, bdat, connector, port });
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
                    let Some(entry) = self.jobs.get_mut(job.index()).and_then(Option::take) else {
                        continue;
                    };
                    let host = &self.servers[entry.server.index()];
                    let Entry { ledger, waiter, permit, .. } = entry;
                    let mut report = ledger.give_up(now, cause, attempts, host.words.clone());
                    report.trouble = host.trouble.clone();
                    waiter.deliver((report, permit));
                }
                Action::Record(record) => left.records.push(record),
            }
        }
        // Its memory is used again.
        self.actions = actions;
        left
    }

    fn tell(&self, connection: ConnectionId, order: impl FnOnce(&mut Orders)) {
        if let Some(Some(port)) = self.ports.get(connection.index()) {
            port.tell(order);
        }
    }
}

impl Waiter {
    fn deliver(self, delivery: Delivery) {
        // Whoever has gone away does not want to know.
        match self {
            Self::One(waiter) => drop(waiter.send(delivery)),
            Self::Stream(place, waiter) => drop(waiter.send((place, delivery))),
        }
    }
}

fn put<T>(table: &mut Vec<Option<T>>, index: usize, value: T) {
    if table.len() <= index {
        table.resize_with(index + 1, || None);
    }
    table[index] = Some(value);
}
