//! Flows: made when their first mail comes, and forgotten with the last.

use super::Planner;
use std::cmp::Ordering;

use super::action::{DestinationId, ServerId};
use super::destination::Destination;
use super::limit::Cost;
use super::queue::{Flow, FlowName, Queue, Waits, is_dear};
use super::server::Server;
use super::slots::{End, Key, List};
use crate::time::Time;

/// One turn in so many is for the mails that any server may be sent, or, if these are more urgent,
/// for those that only this one may be sent.
const OTHERS: u8 = 8;

impl Planner {
    /// Takes the mail whose turn it is for a server, if it may be started.
    pub(super) fn next_job(&mut self, now: Time, connection: Key) -> Option<Key> {
        let found = self.connections.get(connection)?;
        let (id, is_busy) = (found.server, !found.in_flight.is_empty());
        let server = self.server(id);
        if !server.takes_mail(now) {
            return None;
        }
        let destination = server.destination;
        // Those that are about to pull have nothing else to do.
        let coming = self.destination(destination).connections.coming;
        if is_busy && coming > 0 && self.runnable(destination) <= coming {
            return None;
        }
        // Ends: each turn starts a mail, or lets a flow or the destination wait.
        loop {
            if matches!(self.destination(destination).waits, Waits::For(_)) {
                return None;
            }
            let flow = self.next_flow(id)?;
            let (head, cost) = self.head_for(now, id, flow)?;
            if is_busy && is_dear(cost) {
                return None;
            }
            if self.has_limits() && !self.passes_limits(now, destination, flow, cost) {
                continue;
            }
            if !self.server(id).own.is_empty() {
                let server = self.server_mut(id);
                server.own_turns = server.own_turns.wrapping_add(1);
            }
            self.pop_from_flow(flow, (head, cost));
            if self.has_limits() {
                self.take_from_limits(now, id, flow, cost);
            }
            self.remove_flow_if_empty(flow);
            return Some(head);
        }
    }

    /// The flow whose turn it is at a server. Mails that only it may be sent are like any others of
    /// their class; being few, they go first, but for one turn in [`OTHERS`].
    #[inline]
    fn next_flow(&self, id: ServerId) -> Option<Key> {
        let server = self.server(id);
        let others = self.destination(server.destination).queue.next();
        if server.own.is_empty() {
            return others;
        }
        self.next_of_both(server, others)
    }

    /// The same where there are some.
    #[cold]
    fn next_of_both(&self, server: &Server, others: Option<Key>) -> Option<Key> {
        let Some(own) = server.own.next() else { return others };
        let class = |key: Key| self.flows.get(key).map(|flow| flow.name.class);
        let Some(other) = others else { return Some(own) };
        let is_their_turn = match class(other).cmp(&class(own)) {
            Ordering::Less => server.own_turns % OTHERS != OTHERS - 1,
            Ordering::Equal | Ordering::Greater => server.own_turns % OTHERS == OTHERS - 1,
        };
        Some(if is_their_turn { other } else { own })
    }

    /// The next mail of a flow, and what it costs with as many recipients as a server takes.
    fn head_for(&self, now: Time, id: ServerId, flow: Key) -> Option<(Key, Cost)> {
        let head = self.flows.get(flow)?.head(&self.jobs)?;
        let cost = self.jobs.get(head)?.cost();
        let most = self.server(id).recipient_cap.at(now).unwrap_or(u32::MAX);
        Some((head, Cost { recipients: cost.recipients.min(most), ..cost }))
    }

    /// Whether the mail whose turn is next at a server takes long.
    pub(super) fn is_next_dear(&self, now: Time, id: ServerId) -> bool {
        let next = self.next_flow(id).and_then(|flow| self.head_for(now, id, flow));
        next.is_some_and(|(_, cost)| is_dear(cost))
    }

    #[cold]
    fn take_from_limits(&mut self, now: Time, id: ServerId, flow: Key, cost: Cost) {
        let server = &mut self.servers[id.index()];
        for limit in &server.rates {
            let limit = &mut self.limits[limit.index()];
            limit.take(now, cost);
            server.paced_until = server.paced_until.max(limit.earliest());
        }
        let destination = server.destination;
        self.pace_next(now, destination, flow);
    }

    /// How many mails of a destination no limit of a tenant holds up.
    pub(super) fn runnable(&self, id: DestinationId) -> u32 {
        let destination = self.destination(id);
        let own = |server| self.server(server).own.runnable();
        let own: u32 = match destination.servers().len() {
            1 => 0,
            _ => destination.servers().map(own).sum(),
        };
        destination.queue.runnable() + own
    }

    /// How many mails of a destination wait for their turn.
    pub(super) fn backlog(&self, id: DestinationId) -> u32 {
        let destination = self.destination(id);
        let own = |server| self.server(server).own.len();
        let own: u32 = match destination.servers().len() {
            1 => 0,
            _ => destination.servers().map(own).sum(),
        };
        destination.queue.len() + own
    }

    /// Puts a job that is on no list into its flow.
    #[inline(always)]
    pub(super) fn push_to_flow(&mut self, now: Time, key: Key, end: End) {
        let Some(name) = self.jobs.get(key).map(|job| job.flow()) else { return };
        let id = self.flow_named(name);
        let Some(flow) = self.flows.get_mut(id) else { return };
        let queue = queue_of(&mut self.destinations, &mut self.servers, name);
        queue.push((id, flow), (key, end), &mut self.jobs);
        if flow.is_limited {
            self.pace_flow(now, id, None);
        }
        self.pace_destination(now, name.destination, None);
    }

    /// Takes a job out of its flow.
    pub(super) fn remove_from_flow(&mut self, key: Key) {
        let Some(name) = self.jobs.get(key).map(|job| job.flow()) else { return };
        let Some(id) = self.find_flow(name) else { return };
        let Some(flow) = self.flows.get_mut(id) else { return };
        let queue = queue_of(&mut self.destinations, &mut self.servers, name);
        queue.remove((id, flow), key, &mut self.jobs);
        self.remove_flow_if_empty(id);
    }

    /// Takes its head, which costs so much.
    fn pop_from_flow(&mut self, id: Key, head: (Key, Cost)) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let queue = queue_of(&mut self.destinations, &mut self.servers, flow.name);
        queue.pop((id, flow), head, &mut self.jobs);
    }

    pub(super) fn set_flow_waits(&mut self, id: Key, waits: Waits) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let queue = queue_of(&mut self.destinations, &mut self.servers, flow.name);
        queue.change(id, flow, |flow| flow.waits = waits);
    }

    fn find_flow(&mut self, name: FlowName) -> Option<Key> {
        if let Some((last, key)) = self.last_flow
            && last == name
        {
            return Some(key);
        }
        let key = self.flow_names.get(&name).copied()?;
        self.last_flow = Some((name, key));
        Some(key)
    }

    #[inline]
    fn flow_named(&mut self, name: FlowName) -> Key {
        if let Some(key) = self.find_flow(name) {
            return key;
        }
        let tenant = &self.tenants[name.tenant.index()];
        let flow = Flow::new(name, tenant.weight, !tenant.rates.is_empty());
        let key = self.flows.insert(flow);
        let destination = &mut self.destinations[name.destination.index()];
        destination.flows.push(End::Tail, key, &mut self.flows);
        self.flow_names.insert(name, key);
        key
    }

    /// Forgets a flow that has no mail left. One that is in a queue stays until its turn comes.
    pub(super) fn remove_flow_if_empty(&mut self, key: Key) {
        let Some(flow) = self.flows.get(key) else { return };
        if !flow.is_empty() {
            return;
        }
        let name = flow.name;
        if self.backlog(name.destination) == 0 {
            self.give_back_unused(name.destination);
        }
        self.give_back_unused_of_flow(key);
        let Some(flow) = self.flows.get(key) else { return };
        if matches!(flow.waits, Waits::For(_)) {
            return;
        }
        let queue = queue_of(&mut self.destinations, &mut self.servers, name);
        if !queue.rest(key, flow) {
            self.remove_flow(key, name);
        }
        // Those that rest are fewer than the turns that were taken since.
        for _ in 0..2 {
            let queue = queue_of(&mut self.destinations, &mut self.servers, name);
            let Some(key) = queue.rested(name.class) else { return };
            let Some(flow) = self.flows.get(key) else { return };
            self.remove_flow(key, flow.name);
        }
    }

    fn remove_flow(&mut self, key: Key, name: FlowName) {
        self.destinations[name.destination.index()].flows.remove(key, &mut self.flows);
        self.flows.remove(key);
        self.flow_names.remove(&name);
        self.last_flow = None;
    }

    /// All flows of a destination.
    pub(super) fn flows_of(&mut self, id: DestinationId) -> Vec<Key> {
        let mut keys = Vec::new();
        let mut next = self.destination(id).flows.head(&self.flows);
        while let Some(key) = next {
            keys.push(key);
            next = List::after(key, &mut self.flows);
        }
        keys
    }

    /// The mails that only this server may be sent go to whichever works.
    pub(super) fn release_own(&mut self, now: Time, id: ServerId) {
        let destination = self.server(id).destination;
        if self.server(id).own.is_empty() {
            return;
        }
        for flow in self.flows_of(destination) {
            let is_own = |flow: &&Flow| flow.name.server == Some(id);
            while let Some(head) =
                self.flows.get(flow).filter(is_own).and_then(|flow| flow.head(&self.jobs))
            {
                self.remove_from_flow(head);
                if let Some(job) = self.jobs.get_mut(head) {
                    job.leave_server();
                }
                self.push_to_flow(now, head, End::Tail);
            }
        }
    }
}

/// The queue that a flow is in.
pub(super) fn queue_of<'a>(
    destinations: &'a mut [Destination],
    servers: &'a mut [Server],
    name: FlowName,
) -> &'a mut Queue {
    match name.server {
        Some(server) => &mut servers[server.index()].own,
        None => &mut destinations[name.destination.index()].queue,
    }
}
