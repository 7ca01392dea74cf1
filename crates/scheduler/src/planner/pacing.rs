//! Rate limits: who has to wait for one, and whose turn it is when something may pass.
//!
//! What a limit holds up waits in its queue, and the limit has one timer: whatever waits, there is
//! one wake-up for what may pass, and it is at the instant from which it may.

use std::time::Duration;

use super::action::{Action, DestinationId, LimitId, ServerId, TenantId};
use super::config::{LimitScope, Rate, Unit};
use super::destination::Census;
use super::limit::{Cost, Limit, Waiter};
use super::queue::Waits;
use super::slots::Key;
use super::timers::TimerSlot;
use super::{Planner, Timer};
use crate::time::Time;

/// A connection that is woken comes within this time, unless something is wrong.
const FRESH: Duration = Duration::from_millis(1);
/// With so long between two turns, one that is lost matters.
const RARE: Duration = Duration::from_secs(1);

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

    /// Whether anything is limited by a rate.
    pub(super) fn has_limits(&self) -> bool {
        !self.limits.is_empty()
    }

    /// Whether the next deadline is that of a rate limit, so that it matters to be on time.
    pub fn next_deadline_is_exact(&self) -> bool {
        let is_first = self.timers.earliest() == self.next_deadline();
        is_first && matches!(self.timers.whose(), Some(Timer::Limit(_)))
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
    #[inline(always)]
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
        self.renew_grants(now, id, flow);
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

    /// A grant is for the instant in which it was given. If it was not used then, it counts from
    /// now on, so that no two are used at once; if that is too early, it is waited for once more,
    /// in front of all others.
    fn renew_grants(&mut self, now: Time, id: DestinationId, flow: Key) {
        if let Waits::Granted(cost, at) = self.destination(id).waits
            && now - at > FRESH
        {
            let destination = &mut self.destinations[id.index()];
            destination.waits = Waits::Not;
            give_back(&mut self.limits, at, &destination.rates, cost);
            if let Some(limit) = self.latest(now, &self.destination(id).rates) {
                self.destination_mut(id).waits = Waits::For(limit);
                self.wait_in_front(now, limit, Waiter::Destination(id));
            } else {
                let destination = &mut self.destinations[id.index()];
                take(&mut self.limits, now, &destination.rates, Waits::Not, cost);
                destination.waits = Waits::Granted(cost, now);
            }
        }
        let Some(found) = self.flows.get(flow) else { return };
        if let Waits::Granted(cost, at) = found.waits
            && now - at > FRESH
        {
            let tenant = found.name.tenant.index();
            give_back(&mut self.limits, at, &self.tenants[tenant].rates, cost);
            if let Some(limit) = self.latest(now, &self.tenants[tenant].rates) {
                self.set_flow_waits(flow, Waits::For(limit));
                self.wait_in_front(now, limit, Waiter::Flow(flow));
            } else {
                take(&mut self.limits, now, &self.tenants[tenant].rates, Waits::Not, cost);
                self.set_flow_waits(flow, Waits::Granted(cost, now));
            }
        }
    }

    /// The one of some limits whose time comes last, if it has not come.
    pub(super) fn latest(&self, now: Time, rates: &[LimitId]) -> Option<LimitId> {
        let earliest = |id: &LimitId| self.limits[id.index()].earliest();
        rates.iter().copied().filter(|id| earliest(id) > now).max_by_key(|id| earliest(id))
    }

    /// A mail was started: whoever is held up now waits at once, instead of being asked in vain.
    pub(super) fn pace_next(&mut self, now: Time, id: DestinationId, flow: Key) {
        self.pace_destination(now, id, None);
        self.pace_flow(now, flow, None);
    }

    /// What was granted and cannot be used, since there is no mail left, is given back.
    pub(super) fn give_back_unused(&mut self, id: DestinationId) {
        let destination = &mut self.destinations[id.index()];
        if let Waits::Granted(cost, at) = destination.waits {
            destination.waits = Waits::Not;
            give_back(&mut self.limits, at, &destination.rates, cost);
        }
    }

    /// The same for a flow.
    pub(super) fn give_back_unused_of_flow(&mut self, key: Key) {
        let Some(flow) = self.flows.get(key) else { return };
        if let Waits::Granted(cost, at) = flow.waits {
            give_back(&mut self.limits, at, &self.tenants[flow.name.tenant.index()].rates, cost);
            self.set_flow_waits(key, Waits::Not);
        }
    }

    /// Lets a destination wait if a rate limit of new connections holds it up.
    pub(super) fn waits_to_open(&mut self, now: Time, id: DestinationId) -> bool {
        let destination = self.destination(id);
        if destination.opening_waits.is_some() {
            return true;
        }
        let turn = destination.opening_turn;
        let Some(limit) = self.holds_up(now, &destination.opening_rates, turn) else {
            return false;
        };
        self.destination_mut(id).opening_waits = Some(limit);
        self.wait_for(now, limit, Waiter::Opening(id));
        true
    }

    /// A connection is opened.
    pub(super) fn take_opening(&mut self, now: Time, id: ServerId) {
        let server = &self.servers[id.index()];
        let destination = &mut self.destinations[server.destination.index()];
        destination.opening_turn = None;
        let rates = &destination.opening_rates;
        take(&mut self.limits, now, rates, Waits::Not, Cost::CONNECTION);
        take(&mut self.limits, now, &server.opening_rates, Waits::Not, Cost::CONNECTION);
    }

    /// When some limits let something pass, if that is not now.
    pub(super) fn opens_at(&self, now: Time, rates: &[LimitId]) -> Option<Time> {
        let at = rates.iter().map(|id| self.limits[id.index()].earliest()).max()?;
        Some(at).filter(|&at| at > now)
    }

    fn wait_for(&mut self, now: Time, id: LimitId, waiter: Waiter) {
        self.limits[id.index()].waiters.push_back(waiter);
        self.arm(now, id);
    }

    fn wait_in_front(&mut self, now: Time, id: LimitId, waiter: Waiter) {
        self.limits[id.index()].waiters.push_front(waiter);
        self.arm(now, id);
    }

    fn arm(&mut self, now: Time, id: LimitId) {
        let limit = &mut self.limits[id.index()];
        if !limit.timer.is_armed() {
            let at = limit.worth_waiting_for().max(now);
            self.timers.set(&mut limit.timer, Some(at), Timer::Limit(id));
        }
    }

    /// Something may pass.
    pub(super) fn limit_is_due(&mut self, now: Time, id: LimitId, out: &mut Vec<Action>) {
        self.limits[id.index()].timer = TimerSlot::default();
        while self.limits[id.index()].earliest() <= now {
            let Some(waiter) = self.limits[id.index()].waiters.pop_front() else { break };
            match waiter {
                Waiter::Destination(it) => self.destination_passes(now, it, id, out),
                Waiter::Flow(it) => self.flow_passes(now, it, id, out),
                Waiter::Opening(it) => {
                    if self.destination(it).opening_waits == Some(id) {
                        self.destination_mut(it).opening_waits = None;
                        self.destination_mut(it).opening_turn = Some(id);
                        self.balance(now, it, out);
                        self.destination_mut(it).opening_turn = None;
                    }
                }
            }
        }
        if !self.limits[id.index()].waiters.is_empty() {
            self.arm(now, id);
        }
    }

    /// It is a destination's turn. If a connection can take a mail at once, one is granted to it at
    /// this very instant, so that the rate does not suffer from how long the connection takes to
    /// come; else it takes its chance when one has room. Where turns are rare that would be in vain
    /// for whoever has to connect first, and so its turn is kept.
    fn destination_passes(
        &mut self,
        now: Time,
        id: DestinationId,
        limit: LimitId,
        out: &mut Vec<Action>,
    ) {
        if self.destination(id).waits != Waits::For(limit) {
            return;
        }
        self.destination_mut(id).waits = Waits::Not;
        if self.runnable(id) == 0 || self.pace_destination(now, id, Some(limit)) {
            return;
        }
        let flow = self.destination(id).queue.next();
        let is_granted = self.can_start_at_once(now, id) && self.grant(now, id, flow);
        self.balance(now, id, out);
        if !is_granted && self.is_worth_keeping(id, limit) {
            self.grant(now, id, flow);
        }
    }

    /// The same for the flow of a tenant.
    fn flow_passes(&mut self, now: Time, key: Key, limit: LimitId, out: &mut Vec<Action>) {
        let Some(flow) = self.flows.get(key) else { return };
        if flow.waits != Waits::For(limit) {
            return;
        }
        let (id, is_empty) = (flow.name.destination, flow.is_empty());
        self.set_flow_waits(key, Waits::Not);
        if is_empty {
            self.remove_flow_if_empty(key);
            return;
        }
        if self.pace_flow(now, key, Some(limit)) {
            return;
        }
        let is_granted = self.can_start_at_once(now, id) && self.grant(now, id, Some(key));
        self.balance(now, id, out);
        if !is_granted && self.is_worth_keeping(id, limit) {
            self.grant(now, id, Some(key));
        }
    }

    /// Lets the next mail of a destination pass at this instant: the limits of the destination, and
    /// those of the tenant whose flow it is, or, if one of them does not let it, none.
    fn grant(&mut self, now: Time, id: DestinationId, flow: Option<Key>) -> bool {
        let destination = self.destination(id);
        // Which of its servers comes first is not known: the mail that costs most is what it takes.
        let own = destination.servers().map(|server| self.server(server).own.next());
        let next = self.next_cost(flow.or(destination.queue.next()));
        let cost = own.fold(next, |cost, own| match own {
            Some(_) => cost.max(self.next_cost(own)),
            None => cost,
        });
        let of_flow = flow.and_then(|key| self.flows.get(key)).filter(|flow| flow.is_limited);
        let tenant = of_flow.filter(|flow| flow.waits == Waits::Not).map(|flow| flow.name.tenant);
        let is_open = |rates: &[LimitId]| self.latest(now, rates).is_none();
        let passes = match destination.waits {
            Waits::For(_) => false,
            Waits::Granted(..) => true,
            Waits::Not => is_open(&destination.rates),
        };
        if !passes || tenant.is_some_and(|tenant| !is_open(&self.tenants[tenant.index()].rates)) {
            return false;
        }
        let destination = &mut self.destinations[id.index()];
        if destination.waits == Waits::Not && !destination.rates.is_empty() {
            take(&mut self.limits, now, &destination.rates, Waits::Not, cost);
            destination.waits = Waits::Granted(cost, now);
        }
        if let (Some(tenant), Some(flow)) = (tenant, flow) {
            let cost = self.next_cost(Some(flow));
            let rates = &self.tenants[tenant.index()].rates;
            take(&mut self.limits, now, rates, Waits::Not, cost);
            self.set_flow_waits(flow, Waits::Granted(cost, now));
        }
        true
    }

    /// Whether a turn is kept for a connection that is on its way.
    fn is_worth_keeping(&self, id: DestinationId, limit: LimitId) -> bool {
        let Census { connecting, coming, .. } = self.destination(id).connections;
        connecting + coming > 0 && self.limits[limit.index()].interval() >= RARE
    }

    /// Whether a connection could start a mail this very moment.
    fn can_start_at_once(&self, now: Time, id: DestinationId) -> bool {
        self.destination(id).servers().any(|server| self.can_wake(now, server))
    }

    /// What the next mail of a flow costs.
    fn next_cost(&self, flow: Option<Key>) -> Cost {
        let head = flow.and_then(|flow| self.flows.get(flow)?.head(&self.jobs));
        head.and_then(|job| self.jobs.get(job)).map_or(Cost::default(), |job| job.cost())
    }
}

/// Gives back what is left of what was taken then.
fn give_back(limits: &mut [Limit], taken: Time, rates: &[LimitId], cost: Cost) {
    for id in rates {
        limits[id.index()].give_back(taken, cost);
    }
}

/// Takes what something costs, or, if a cost was granted before, what is missing.
fn take(limits: &mut [Limit], now: Time, rates: &[LimitId], granted: Waits, cost: Cost) {
    for id in rates {
        let limit = &mut limits[id.index()];
        match granted {
            Waits::Granted(before, _) => limit.settle(before, cost),
            Waits::Not | Waits::For(_) => limit.take(now, cost),
        }
    }
}
