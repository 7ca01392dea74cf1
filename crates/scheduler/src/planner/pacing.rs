//! Rate limits: who has to wait for one, and whose turn it is when something may pass.
//!
//! What a limit holds up waits in its queue, and the limit has one timer: whatever waits, there is
//! one wake-up for what may pass, and it is at the instant from which it may.

use std::time::Duration;

use super::action::{Action, DestinationId, LimitId, TenantId};
use super::config::{LimitScope, Rate, Unit};
use super::limit::{Cost, Limit, Waiter};
use super::queue::Waits;
use super::slots::Key;
use super::timers::TimerSlot;
use super::{Planner, Timer};
use crate::time::Time;

/// With so long between two turns, one that is lost matters.
const RARE: Duration = Duration::from_secs(1);
/// How long a turn is kept for whoever has to connect first.
const CONNECTING: Duration = Duration::from_secs(10);

impl Planner {
    /// Adds a rate limit. All limits that apply to a mail, or to a connection, hold at once.
    ///
    /// # Panics
    ///
    /// When the scope names a destination, a server or a tenant that is not one of this planner.
    pub fn add_limit(&mut self, scope: LimitScope, rate: Rate) -> LimitId {
        let id = u32::try_from(self.limits.len()).expect("4 billion limits do not fit into memory");
        let id = LimitId(id);
        self.limits.push(Limit::new(scope, rate));
        let is_opening = rate.unit == Unit::Connections;
        match scope {
            LimitScope::All => {
                self.everywhere.push(id);
                for destination in &mut self.destinations {
                    destination.rates_of(is_opening).push(id);
                }
            }
            LimitScope::Destination(it) => {
                self.destination_mut(it).rates_of(is_opening).push(id);
            }
            LimitScope::Server(it) => {
                let destination = self.server(it).destination;
                if self.destination(destination).servers().len() == 1 {
                    self.destination_mut(destination).rates_of(is_opening).push(id);
                } else if is_opening {
                    self.server_mut(it).opening_rates.push(id);
                } else {
                    self.server_mut(it).rates.push(id);
                }
            }
            LimitScope::Tenant(it) => {
                if !is_opening {
                    self.tenants[it.index()].rates.push(id);
                    self.has_limited_flows = true;
                    self.limit_flows_of(it);
                }
            }
        }
        id
    }

    /// Whether the next deadline is that of a rate limit, so that it matters to be on time.
    pub fn next_deadline_is_exact(&self) -> bool {
        matches!(self.timers.whose(), Some(Timer::Limit(_)))
    }

    /// Flows of a tenant that had no limits yet.
    fn limit_flows_of(&mut self, tenant: TenantId) {
        let keys: Vec<Key> = self.flows.keys().collect();
        for key in keys {
            let Some(flow) = self.flows.get_mut(key) else { continue };
            if flow.name.tenant == tenant {
                let queue =
                    super::flows::queue_of(&mut self.destinations, &mut self.servers, flow.name);
                queue.change(key, flow, |flow| flow.is_limited = true);
            }
        }
    }

    /// The one of some limits that holds things up for longest, because its time has not come or
    /// because others wait for it already; `but` is one whose queue does not matter.
    fn holds_up(&self, now: Time, rates: &[LimitId], but: Option<LimitId>) -> Option<LimitId> {
        let holds_up = |id: &LimitId| {
            let limit = &self.limits[id.index()];
            limit.earliest() > now || (Some(*id) != but && !limit.waiters.is_empty())
        };
        let rates = rates.iter().copied().filter(holds_up);
        rates.max_by_key(|id| self.limits[id.index()].earliest())
    }

    /// Lets a destination wait if a rate limit holds its mail up.
    pub(super) fn pace_destination(
        &mut self,
        now: Time,
        id: DestinationId,
        but: Option<LimitId>,
    ) -> bool {
        let destination = self.destination(id);
        if destination.rates.is_empty() || destination.waits != Waits::Not {
            return matches!(destination.waits, Waits::For(_));
        }
        let Some(limit) = self.holds_up(now, &destination.rates, but) else { return false };
        if self.backlog(id) == 0 {
            return false;
        }
        self.destination_mut(id).waits = Waits::For(limit);
        self.wait_for(now, limit, Waiter::Destination(id));
        true
    }

    /// Lets a flow wait if a rate limit of its tenant holds it up.
    pub(super) fn pace_flow(&mut self, now: Time, key: Key, but: Option<LimitId>) -> bool {
        let Some(flow) = self.flows.get(key) else { return false };
        if !flow.is_limited || flow.is_empty() || flow.waits != Waits::Not {
            return matches!(flow.waits, Waits::For(_));
        }
        let rates = &self.tenants[flow.name.tenant.index()].rates;
        let Some(limit) = self.holds_up(now, rates, but) else { return false };
        self.set_flow_waits(key, Waits::For(limit));
        self.wait_for(now, limit, Waiter::Flow(key));
        true
    }

    /// Takes what a mail costs from every limit that applies, or lets whoever is held up wait.
    /// Whether the mail may be started.
    pub(super) fn passes_limits(
        &mut self,
        now: Time,
        id: DestinationId,
        flow: Key,
        cost: Cost,
    ) -> bool {
        if self.pace_flow(now, flow, None) || self.pace_destination(now, id, None) {
            return false;
        }
        let destination = &mut self.destinations[id.index()];
        if !destination.rates.is_empty() {
            let granted = std::mem::take(&mut destination.waits);
            take(&mut self.limits, now, &destination.rates, granted, cost);
        }
        let found =
            self.flows.get(flow).map(|flow| (flow.is_limited, flow.name.tenant, flow.waits));
        if let Some((true, tenant, granted)) = found {
            take(&mut self.limits, now, &self.tenants[tenant.index()].rates, granted, cost);
            self.set_flow_waits(flow, Waits::Not);
        }
        true
    }

    /// A mail was started: whoever is held up now waits at once, instead of being asked in vain.
    pub(super) fn pace_next(&mut self, now: Time, id: DestinationId, flow: Key) {
        self.pace_destination(now, id, None);
        self.pace_flow(now, flow, None);
    }

    /// What was granted and cannot be used, since there is no mail left, is given back.
    pub(super) fn give_back_unused(&mut self, id: DestinationId) {
        let destination = &mut self.destinations[id.index()];
        if let Waits::Granted(cost) = destination.waits {
            destination.waits = Waits::Not;
            for limit in &destination.rates {
                self.limits[limit.index()].give_back(cost);
            }
        }
    }

    /// The same for a flow.
    pub(super) fn give_back_unused_of_flow(&mut self, key: Key) {
        let Some(flow) = self.flows.get(key) else { return };
        if let Waits::Granted(cost) = flow.waits {
            for limit in &self.tenants[flow.name.tenant.index()].rates {
                self.limits[limit.index()].give_back(cost);
            }
            self.set_flow_waits(key, Waits::Not);
        }
    }

    /// When a connection may be opened as far as rates go; takes it if that is now. A destination
    /// that has to wait for what it shares with others is in a queue for it from then on.
    pub(super) fn passes_opening_limits(
        &mut self,
        now: Time,
        id: DestinationId,
        own: &[LimitId],
    ) -> Result<(), Time> {
        let destination = self.destination(id);
        if destination.opening_waits.is_some() {
            return Err(Time::NEVER);
        }
        if let Some(limit) = self.holds_up(now, own, None) {
            return Err(self.limits[limit.index()].earliest());
        }
        let turn = destination.opening_turn;
        if let Some(limit) = self.holds_up(now, &destination.opening_rates, turn) {
            self.destination_mut(id).opening_waits = Some(limit);
            self.wait_for(now, limit, Waiter::Opening(id));
            return Err(Time::NEVER);
        }
        let destination = &mut self.destinations[id.index()];
        destination.opening_turn = None;
        let rates = &destination.opening_rates;
        take(&mut self.limits, now, rates, Waits::Not, Cost::CONNECTION);
        take(&mut self.limits, now, own, Waits::Not, Cost::CONNECTION);
        Ok(())
    }

    fn wait_for(&mut self, now: Time, id: LimitId, waiter: Waiter) {
        let limit = &mut self.limits[id.index()];
        limit.waiters.push_back(waiter);
        if !limit.timer.is_armed() {
            let at = limit.worth_waiting_for().max(now);
            self.timers.set(&mut limit.timer, Some(at), Timer::Limit(id));
        }
    }

    /// Something may pass.
    pub(super) fn limit_is_due(&mut self, now: Time, id: LimitId, out: &mut Vec<Action>) {
        self.limits[id.index()].timer = TimerSlot::default();
        let mut patient_until = now;
        while self.limits[id.index()].earliest() <= now {
            let Some(waiter) = self.limits[id.index()].waiters.pop_front() else { break };
            let is_on_its_way = match waiter {
                Waiter::Destination(it) => self.destination_passes(now, it, id, out),
                Waiter::Flow(it) => self.flow_passes(now, it, id, out),
                Waiter::Opening(it) => {
                    if self.destination(it).opening_waits == Some(id) {
                        self.destination_mut(it).opening_waits = None;
                        self.destination_mut(it).opening_turn = Some(id);
                        self.balance(now, it, out);
                        self.destination_mut(it).opening_turn = None;
                    }
                    false
                }
            };
            // Where turns are rare, whoever has to connect first does not lose its turn over that.
            if is_on_its_way && self.limits[id.index()].interval() >= RARE {
                patient_until = now + self.limits[id.index()].interval().min(CONNECTING);
                break;
            }
        }
        let limit = &mut self.limits[id.index()];
        let at = limit.worth_waiting_for().max(patient_until);
        let at = (!limit.waiters.is_empty()).then_some(at);
        self.timers.set(&mut limit.timer, at, Timer::Limit(id));
    }

    /// It is a destination's turn. If a connection is idle, a mail is granted to it at this very
    /// instant, so that the rate does not suffer from how long the connection takes to come.
    /// Whether it has mails and no such connection.
    fn destination_passes(
        &mut self,
        now: Time,
        id: DestinationId,
        limit: LimitId,
        out: &mut Vec<Action>,
    ) -> bool {
        if self.destination(id).waits != Waits::For(limit) {
            return false;
        }
        self.destination_mut(id).waits = Waits::Not;
        if self.runnable(id) == 0 || self.pace_destination(now, id, Some(limit)) {
            return false;
        }
        let cost = self.can_start_at_once(now, id);
        if let Some(cost) = cost {
            let destination = &mut self.destinations[id.index()];
            take(&mut self.limits, now, &destination.rates, Waits::Not, cost);
            destination.waits = Waits::Granted(cost);
        }
        self.balance(now, id, out);
        cost.is_none()
    }

    /// The same for the flow of a tenant.
    fn flow_passes(&mut self, now: Time, key: Key, limit: LimitId, out: &mut Vec<Action>) -> bool {
        let Some(flow) = self.flows.get(key) else { return false };
        if flow.waits != Waits::For(limit) {
            return false;
        }
        let (name, is_empty) = (flow.name, flow.is_empty());
        self.set_flow_waits(key, Waits::Not);
        if is_empty {
            self.remove_flow_if_empty(key);
            return false;
        }
        if self.pace_flow(now, key, Some(limit)) {
            return false;
        }
        let is_held_up = matches!(self.destination(name.destination).waits, Waits::For(_));
        let cost = self.can_start_at_once(now, name.destination).filter(|_| !is_held_up);
        if let Some(cost) = cost {
            take(&mut self.limits, now, &self.tenants[name.tenant.index()].rates, Waits::Not, cost);
            self.set_flow_waits(key, Waits::Granted(cost));
        }
        self.balance(now, name.destination, out);
        cost.is_none()
    }

    /// What the next mail of a destination costs, if a connection has nothing else to do.
    fn can_start_at_once(&self, now: Time, id: DestinationId) -> Option<Cost> {
        let destination = self.destination(id);
        let can = |server: &_| {
            let server = self.server(*server);
            !server.waiting.is_empty() && server.takes_one_more(now)
        };
        destination.servers().find(can)?;
        let head = destination.queue.next().and_then(|flow| self.flows.get(flow)?.head(&self.jobs));
        let cost = head.and_then(|job| self.jobs.get(job)).map(|job| job.cost());
        Some(cost.unwrap_or(Cost::MAIL))
    }
}

/// Takes what something costs, or, if a cost was granted before, what is missing.
fn take(limits: &mut [Limit], now: Time, rates: &[LimitId], granted: Waits, cost: Cost) {
    for id in rates {
        let limit = &mut limits[id.index()];
        match granted {
            Waits::Granted(before) => limit.settle(before, cost),
            Waits::Not | Waits::For(_) => limit.take(now, cost),
        }
    }
}
