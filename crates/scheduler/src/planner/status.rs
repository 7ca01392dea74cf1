//! What is known about destinations and servers, for whoever wants to see it.

use std::time::Duration;

use posthaste_session::Pipelining;

use super::Planner;
use super::action::{DestinationId, Hold, ServerId};
use crate::time::Time;

/// What is known about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStatus {
    /// Where it belongs.
    pub destination: DestinationId,
    /// How it is.
    pub state: ServerState,
    /// Mails of its destination that wait for their turn.
    pub ready: u32,
    /// Mails that are on their way to it.
    pub in_flight: u32,
    /// Connections that are open, or being opened or closed.
    pub open: u32,
    /// Those of them that are being opened.
    pub connecting: u32,
    /// Those of them that send mails, or could.
    pub established: u32,
    /// Failures in a row that are held against it.
    pub failures: u32,
    /// No connection is opened before this time; in the past if nothing stands against it.
    pub opens_at: Time,
    /// How many connections it bears, if it refused one.
    pub ceiling: Option<u32>,
    /// How many mails it takes over one connection, if it said so.
    pub session_cap: Option<u32>,
    /// How many recipients it takes in one mail, if it refused one.
    pub recipient_cap: Option<u32>,
    /// How long it lets a mail wait that it greylists, if it took one in the end.
    pub greylisting: Option<Duration>,
    /// How many mails it is sent at a time, if that is bounded because it is slow or wanted a pause.
    pub window: Option<u32>,
    /// How many mails a minute it is sent, if it said that they come too fast.
    pub pace: Option<u32>,
    /// How long it usually takes for a mail.
    pub latency: Duration,
    /// The pipelining mode.
    pub pipelining: Pipelining,
}

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// Nothing stands against it.
    Normal,
    /// It failed, and one connection finds out whether it works again.
    Probing,
    /// It failed, and no connection is opened until then.
    BackingOff(Time),
    /// It is left alone until then although it did not fail.
    Held(Hold, Time),
}

impl ServerState {
    /// Its name in records, e.g. `backing_off`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Probing => "probing",
            Self::BackingOff(_) => "backing_off",
            Self::Held(Hold::Throttled, _) => "slowed",
            Self::Held(..) => "held",
        }
    }

    /// Until when it stays so, if nothing happens.
    pub fn until(self) -> Option<Time> {
        match self {
            Self::Normal | Self::Probing => None,
            Self::BackingOff(until) | Self::Held(_, until) => Some(until),
        }
    }
}

/// What is known about a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DestinationStatus {
    /// Mails that wait for their turn.
    pub ready: u32,
    /// Connections to all its servers that are open, or being opened or closed.
    pub open: u32,
    /// Those of them that send mails, or could.
    pub established: u32,
}

impl Planner {
    /// All destinations, in the order in which they were added.
    pub fn destinations(&self) -> impl ExactSizeIterator<Item = DestinationId> + use<> {
        (0..self.destinations.len() as u32).map(DestinationId)
    }

    /// All servers, those of one destination next to each other.
    pub fn servers(&self) -> impl ExactSizeIterator<Item = ServerId> + use<> {
        (0..self.servers.len() as u32).map(ServerId)
    }

    /// The servers of a destination, in the order in which they were given.
    pub fn servers_of(&self, id: DestinationId) -> impl ExactSizeIterator<Item = ServerId> + use<> {
        self.destination(id).servers()
    }

    /// What is known about a server at a time.
    pub fn status(&self, now: Time, id: ServerId) -> ServerStatus {
        let server = self.server(id);
        let connections = server.connections;
        let ceiling = server.ceiling.as_ref().filter(|ceiling| !ceiling.is_outdated(now));
        ServerStatus {
            destination: server.destination,
            state: server.state(now),
            ready: self.backlog(server.destination),
            in_flight: server.in_flight,
            open: connections.open,
            connecting: connections.connecting,
            established: connections.established(),
            failures: server.breaker.failures,
            opens_at: server.breaker.until.max(server.opening.until).max(server.sending.until),
            ceiling: ceiling.map(|ceiling| ceiling.limit),
            session_cap: server.session_cap.cap.at(now),
            recipient_cap: server.recipient_cap.at(now),
            greylisting: server.greylist.wait(now),
            window: server.window.limit(),
            pace: server.pace.per_minute(now),
            latency: server.window.latency.mean,
            pipelining: server.mode(),
        }
    }

    /// What is known about a destination.
    pub fn destination_status(&self, id: DestinationId) -> DestinationStatus {
        let connections = self.destination(id).connections;
        let (open, established) = (connections.open, connections.established());
        DestinationStatus { ready: self.backlog(id), open, established }
    }

    /// How many flows a rate limit of their tenant holds up, and how many destinations one of
    /// theirs. It looks at all of them.
    pub fn held_up(&self) -> usize {
        let flows = self.flows.iter().filter(|(_, flow)| flow.waits.is_for_limit()).count();
        let of = self.destinations.iter().filter(|it| it.waits.is_for_limit()).count();
        flows + of
    }
}
