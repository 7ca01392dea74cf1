//! Settings of a planner and of its servers.

use std::time::Duration;

use posthaste_session::Pipelining;

use super::action::{DestinationId, ServerId, TenantId};
use crate::backoff::{BackOff, RetryPolicy};

/// How a planner deals with mails and servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannerConfig {
    /// When a deferred mail is tried again.
    pub retry: RetryPolicy,
    /// How long a mail may take from submission on, where [`NewJob`](super::NewJob) says nothing
    /// else. It is what ends the wait for a server that never comes back.
    pub lifetime: Duration,
    /// How long a failing server is left alone.
    pub back_off: BackOff,
    /// How many failures in a row a server has before it counts as exhausted.
    pub failures: u32,
    /// What happens then.
    pub exhausted: Exhausted,
    /// What a server's refusal of the credentials, or its lack of what the settings demand, means.
    pub credentials: Fault,
    /// What a greeting with a permanent refusal means.
    pub greeting: Fault,
    /// Most connections at a time to all destinations together. At least 1; by default there is
    /// no bound but theirs.
    pub max_connections: u32,
    /// How long a connection is used before a fresh one takes its place.
    ///
    /// A limit by time, not by count: otherwise slow servers collect all the connections.
    pub reuse: Duration,
    /// How long a server's objection to a pipelining mode is remembered.
    pub pipelining_memory: Duration,
}

impl Default for PlannerConfig {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            lifetime: Duration::from_secs(4 * DAY), // RFC 5321 section 4.5.4.1: at least 4 to 5 days
            back_off: BackOff::default(),
            failures: 5,
            exhausted: Exhausted::default(),
            credentials: Fault::Fail,
            greeting: Fault::Hold,
            max_connections: u32::MAX,
            reuse: Duration::from_secs(300),
            pipelining_memory: Duration::from_secs(DAY),
        }
    }
}

const DAY: u64 = 24 * 3600;

/// What becomes of the mails for a server that failed too often in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Exhausted {
    /// They wait while one connection at a time tries, for as long as they may live. The default: a
    /// mail is not worth less because its server is restarted, and its lifetime bounds the wait.
    #[default]
    Wait,
    /// As [`Wait`](Self::Wait), but if nobody who speaks SMTP has ever answered there, they are given
    /// up: the name or the port will be wrong.
    FailIfAbsent,
    /// They are given up.
    Fail,
}

/// What becomes of the mails for a server that will not serve, and says so for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// They fail, unless another connection to the server works.
    Fail,
    /// They wait; the server is asked again after a while, and ever more rarely.
    Hold,
}

/// What a destination is asked to bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DestinationLimits {
    /// Most connections at a time to all of its servers, those included that are being opened or
    /// closed. At least 1.
    pub max_connections: u32,
    /// Most mails over one connection. At least 1.
    pub max_mails_per_connection: Option<u32>,
    /// How long a connection is kept with nothing to do.
    pub idle: Duration,
    /// How the pipelining mode is found.
    pub pipelining: PipeliningPolicy,
    /// Whether fewer mails are sent at a time when a server gets slow. Whoever measures a server
    /// wants it off.
    pub yields: bool,
}

impl Default for DestinationLimits {
    /// What suits a smarthost: 50 connections, 30 s idle, the mode learned.
    fn default() -> Self {
        Self {
            max_connections: 50,
            max_mails_per_connection: None,
            idle: Duration::from_secs(30),
            pipelining: PipeliningPolicy::default(),
            yields: true,
        }
    }
}

/// The place of a server among those of its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Servers with a higher number are used only where none with a lower one can be (RFC 5321
    /// section 5.1).
    pub preference: u16,
    /// Its share of the connections, among servers of the same preference. At least 1.
    pub weight: u16,
}

impl Default for Place {
    fn default() -> Self {
        Self { preference: 0, weight: 1 }
    }
}

/// So much in so much time, and never more: no burst is made up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Of what.
    pub unit: Unit,
    /// How many, at least 1.
    pub count: u64,
    /// In which time.
    pub per: Duration,
}

/// What a [`Rate`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Mail transactions.
    Mails,
    /// Recipients.
    Recipients,
    /// Octets of content.
    Octets,
    /// New connections.
    Connections,
}

/// What a limit holds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitScope {
    /// Everything.
    All,
    /// All servers of a destination together.
    Destination(DestinationId),
    /// One server.
    Server(ServerId),
    /// One tenant, wherever its mails go. It has no connections of its own.
    Tenant(TenantId),
}

/// How the pipelining mode for a server is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PipeliningPolicy {
    /// It starts at [`Pipelining::Envelope`] and climbs to [`Pipelining::Cross`] once one connection has tried that.
    #[default]
    Auto,
    /// It is this one at once, and a lower one only if the server objects.
    Fixed(Pipelining),
}
