//! Why something is not moving, and until when.

use std::fmt;

use super::Planner;
use super::action::{ConnectionId, DestinationId, Hold, JobId, LimitId, ServerId, TenantId};
use super::config::{LimitScope, Rate, Unit};
use super::job::State;
use super::queue::Waits;
use super::server::{Admission, Server};
use super::slots::Key;
use crate::time::Time;

/// What to explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// One mail.
    Job(JobId),
    /// The mails for a destination.
    Destination(DestinationId),
    /// The connections to a server.
    Server(ServerId),
    /// The mails of a tenant.
    Tenant(TenantId),
}

/// Why something is not moving. Without reasons, it is: there is nothing to send, or it is sent the
/// very moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The first is what decides; the others would hold it up, too.
    pub reasons: Vec<Reason>,
}

/// One reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What it is.
    pub kind: ReasonKind,
    /// When it is over, if time alone ends it.
    pub until: Option<Time>,
}

/// What may keep a mail, a server or a tenant waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReasonKind {
    /// There is no such mail: it is done with.
    Unknown,
    /// The planner is drained.
    Draining,
    /// It is on its way over this connection.
    BeingSent(ConnectionId),
    /// It was deferred, and waits for its next attempt after so many.
    WaitsForRetry {
        /// Attempts it had that counted.
        attempts: u32,
    },
    /// A rate limit.
    Limited {
        /// Which.
        limit: LimitId,
        /// What it holds for.
        scope: LimitScope,
        /// How much it allows.
        rate: Rate,
    },
    /// A server failed so often in a row, and is left alone.
    BackingOff {
        /// Which.
        server: ServerId,
        /// How often.
        failures: u32,
    },
    /// A server is left alone although it did not fail.
    Held {
        /// Which.
        server: ServerId,
        /// Why.
        hold: Hold,
    },
    /// A server failed before; one connection finds out whether it works again.
    Probing {
        /// Which.
        server: ServerId,
    },
    /// A server bears no more connections than it has; one more is tried at the time.
    CeilingReached {
        /// Which.
        server: ServerId,
        /// How many.
        connections: u32,
    },
    /// A server is sent no more mails at a time, since it is slow or wanted a pause.
    WindowReached {
        /// Which.
        server: ServerId,
        /// How many.
        mails: u32,
    },
    /// A server said that mail comes too fast; it gets no more than it took before.
    Paced {
        /// Which.
        server: ServerId,
        /// So many mails a minute.
        per_minute: u32,
    },
    /// More connections are opened once those that are being opened work.
    SlowStart {
        /// To which server.
        server: ServerId,
        /// How many at a time.
        connections: u32,
    },
    /// All connections that the settings allow are open and busy.
    ConnectionsUsed {
        /// How many.
        connections: u32,
    },
    /// All connections that the settings allow to all destinations together are open.
    AllConnectionsUsed {
        /// How many.
        connections: u32,
    },
    /// It is its turn as soon as a connection has room, after mails in front of it.
    BehindOthers {
        /// Mails that wait for the same destination, this one included.
        ready: u32,
    },
}

impl Planner {
    /// Why something is not moving at a time, and until when.
    pub fn explain(&self, now: Time, question: Question) -> Explanation {
        let mut reasons = Vec::new();
        match question {
            Question::Job(job) => self.explain_job(now, job, &mut reasons),
            Question::Destination(id) => self.explain_destination(now, id, None, &mut reasons),
            Question::Server(id) => self.explain_server(now, id, &mut reasons),
            Question::Tenant(id) => self.explain_tenant(now, id, &mut reasons),
        }
        Explanation { reasons }
    }

    fn explain_job(&self, now: Time, id: JobId, reasons: &mut Vec<Reason>) {
        let Some(job) = self.jobs.get(id.0) else {
            return reasons.push(ReasonKind::Unknown.for_now());
        };
        match job.state {
            State::InFlight(connection) => {
                reasons.push(ReasonKind::BeingSent(connection).for_now());
            }
            State::Waits(until) => {
                let attempts = job.attempts;
                reasons.push(ReasonKind::WaitsForRetry { attempts }.until(until));
            }
            State::Apart => {}
            State::Ready => {
                let flow = self.flow_names.get(&job.flow());
                self.explain_flow(flow.copied(), reasons);
                self.explain_destination(now, job.destination, job.server, reasons);
                let ready = self.backlog(job.destination);
                reasons.push(ReasonKind::BehindOthers { ready }.for_now());
            }
        }
    }

    fn explain_flow(&self, flow: Option<Key>, reasons: &mut Vec<Reason>) {
        let flow = flow.and_then(|flow| self.flows.get(flow));
        if let Some(Waits::For(limit)) = flow.map(|flow| flow.waits) {
            reasons.push(self.limited(limit));
        }
    }

    /// Why the mails of a destination wait, or those of one of its servers.
    fn explain_destination(
        &self,
        now: Time,
        id: DestinationId,
        only: Option<ServerId>,
        reasons: &mut Vec<Reason>,
    ) {
        let destination = self.destination(id);
        if self.drain.is_some() {
            reasons.push(ReasonKind::Draining.for_now());
        }
        if let Waits::For(limit) = destination.waits {
            reasons.push(self.limited(limit));
        }
        if self.backlog(id) == 0 {
            return;
        }
        if let Some(limit) = destination.opening_waits {
            reasons.push(self.limited(limit));
        }
        let connections = destination.limits.max_connections;
        if destination.connections.open >= connections {
            reasons.push(ReasonKind::ConnectionsUsed { connections }.for_now());
        }
        if destination.is_crowded_out {
            let connections = self.config.max_connections;
            reasons.push(ReasonKind::AllConnectionsUsed { connections }.for_now());
        }
        if let Some(server) = only {
            return self.explain_server(now, server, reasons);
        }
        // Where one server works, the others hold nothing up; else the one that is soonest decides.
        let of_server = |server| {
            let mut reasons = Vec::new();
            self.explain_server(now, server, &mut reasons);
            reasons
        };
        let works = |&server: &ServerId| !matches!(self.admits(now, server), Admission::Down(_));
        let preference = |server| self.server(server).place.preference;
        let best = destination.servers().filter(works).map(preference).min();
        let is_used = |&server: &ServerId| best.is_none_or(|best| preference(server) <= best);
        let mut all: Vec<_> = destination.servers().filter(is_used).map(of_server).collect();
        if all.iter().any(Vec::is_empty) {
            return;
        }
        let ends = |of_one: &Vec<Reason>| of_one.iter().map(|it| it.until).max().flatten();
        all.sort_by_key(|of_one| ends(of_one).unwrap_or(Time::NEVER));
        reasons.extend(all.into_iter().flatten());
    }

    fn explain_server(&self, now: Time, id: ServerId, reasons: &mut Vec<Reason>) {
        let server = self.server(id);
        for gate in [&server.opening, &server.sending] {
            if let Some(hold) = gate.closed(now) {
                reasons.push(ReasonKind::Held { server: id, hold }.until(gate.until));
            }
        }
        let failures = server.breaker.failures;
        if now < server.breaker.until {
            let kind = ReasonKind::BackingOff { server: id, failures };
            reasons.push(kind.until(server.breaker.until));
        }
        let latest = server.rates.iter().max_by_key(|id| self.limits[id.index()].earliest());
        if let Some(&limit) = latest.filter(|_| now < server.paced_until) {
            reasons.push(Reason { until: Some(server.paced_until), ..self.limited(limit) });
        }
        if let Some(per_minute) = server.pace.per_minute(now).filter(|_| now < server.pace.next()) {
            let kind = ReasonKind::Paced { server: id, per_minute };
            reasons.push(kind.until(server.pace.next()));
        }
        if !server.takes_mail(now)
            && let Some(mails) = server.window.limit()
            && now >= server.sends_at()
        {
            reasons.push(ReasonKind::WindowReached { server: id, mails }.for_now());
        }
        let until = match server.admits(now) {
            Admission::Now => {
                let latest = self.latest(now, &server.opening_rates);
                reasons.extend(latest.map(|limit| self.limited(limit)));
                return;
            }
            Admission::SlowStart => None,
            Admission::Full(until) | Admission::Down(until) => Some(until),
        };
        if reasons.is_empty() {
            let until = until.filter(|&until| until < Time::NEVER);
            reasons.push(Reason { kind: server.full_because(now, id), until });
        }
    }

    fn explain_tenant(&self, now: Time, id: TenantId, reasons: &mut Vec<Reason>) {
        let flows = self.flows.iter().filter(|(_, flow)| flow.name.tenant == id);
        for (key, flow) in flows {
            self.explain_flow(Some(key), reasons);
            if !matches!(flow.waits, Waits::For(_)) {
                self.explain_destination(now, flow.name.destination, flow.name.server, reasons);
            }
        }
        let mut known = Vec::new();
        reasons.retain(|reason| {
            let is_new = !known.contains(reason);
            known.extend(is_new.then_some(*reason));
            is_new
        });
    }

    fn limited(&self, id: LimitId) -> Reason {
        let limit = &self.limits[id.index()];
        let (scope, rate) = (limit.scope, limit.rate);
        ReasonKind::Limited { limit: id, scope, rate }.until(limit.earliest())
    }
}

impl Server {
    /// Why it bears no more connections, where nothing is wrong with it.
    fn full_because(&self, now: Time, id: ServerId) -> ReasonKind {
        let server = id;
        let settles = self.ceiling.as_ref().is_some_and(|ceiling| now < ceiling.settles);
        if self.breaker.on_trial && !settles {
            return ReasonKind::Probing { server };
        }
        match (&self.ceiling, self.window.limit()) {
            (Some(ceiling), _)
                if settles
                    || (!ceiling.is_outdated(now) && self.connections.open >= ceiling.limit) =>
            {
                let connections = ceiling.limit.min(self.connections.open);
                ReasonKind::CeilingReached { server, connections }
            }
            (_, Some(mails)) if !self.window.has_room(self.in_flight) => {
                ReasonKind::WindowReached { server, mails }
            }
            _ => ReasonKind::SlowStart { server, connections: self.allowed() },
        }
    }
}

impl ReasonKind {
    fn for_now(self) -> Reason {
        Reason { kind: self, until: None }
    }

    fn until(self, until: Time) -> Reason {
        Reason { kind: self, until: Some(until) }
    }
}

impl fmt::Display for ReasonKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("it is done with"),
            Self::Draining => f.write_str("no more mails are started"),
            Self::BeingSent(_) => f.write_str("it is being sent"),
            Self::WaitsForRetry { attempts: 1 } => f.write_str("it was deferred"),
            Self::WaitsForRetry { attempts } => write!(f, "it was deferred {attempts} times"),
            Self::Limited { scope, rate, .. } => {
                write!(f, "the limit of {} {} in {:?}", rate.count, rate.unit.as_str(), rate.per)?;
                f.write_str(match scope {
                    LimitScope::All => "",
                    LimitScope::Destination(_) => " for the destination",
                    LimitScope::Server(_) => " for the server",
                    LimitScope::Tenant(_) => " for the tenant",
                })
            }
            Self::BackingOff { failures: 1, .. } => f.write_str("the server failed"),
            Self::BackingOff { failures, .. } => {
                write!(f, "the server failed {failures} times in a row")
            }
            Self::Held { hold, .. } => f.write_str(hold.reason()),
            Self::Probing { .. } => f.write_str("one connection tries a server that failed"),
            Self::CeilingReached { connections: 1, .. } => {
                f.write_str("the server takes one connection at a time")
            }
            Self::CeilingReached { connections, .. } => {
                write!(f, "the server takes no more than {connections} connections")
            }
            Self::WindowReached { mails: 1, .. } => {
                f.write_str("the server is sent one mail at a time")
            }
            Self::WindowReached { mails, .. } => {
                write!(f, "the server is sent {mails} mails at a time")
            }
            Self::Paced { per_minute, .. } => {
                write!(f, "the server takes no more than about {per_minute} mails a minute")
            }
            Self::SlowStart { connections: 1, .. } => f.write_str("the first connection is opened"),
            Self::SlowStart { connections, .. } => {
                write!(f, "no more than {connections} connections at first")
            }
            Self::ConnectionsUsed { connections: 1 } => f.write_str("the connection is busy"),
            Self::ConnectionsUsed { connections } => {
                write!(f, "all {connections} connections are busy")
            }
            Self::AllConnectionsUsed { connections } => {
                write!(f, "other destinations use all {connections} connections")
            }
            Self::BehindOthers { ready: 1 } => f.write_str("it is next"),
            Self::BehindOthers { ready } => write!(f, "it is one of {ready} that wait"),
        }
    }
}

impl Hold {
    /// What a server does, or lacks, that it is left alone for.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Full => "others use all connections that the server takes",
            Self::Throttled => "the server wants less mail",
            Self::Credentials => "the server does not take the credentials",
            Self::Requirement => "the server does not have what the settings demand",
            Self::Unwelcome => "the server wants no mail from here",
            Self::Local => "this machine has no descriptors, ports or memory left",
        }
    }

    /// Its name in records, e.g. `throttled`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Throttled => "throttled",
            Self::Credentials => "credentials",
            Self::Requirement => "requirement",
            Self::Unwelcome => "unwelcome",
            Self::Local => "local",
        }
    }
}

impl Unit {
    /// Its name, e.g. `mails`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mails => "mails",
            Self::Recipients => "recipients",
            Self::Octets => "octets",
            Self::Connections => "connections",
        }
    }
}
