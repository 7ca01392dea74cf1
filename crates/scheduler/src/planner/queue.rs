//! The mails that wait for one destination, and whose turn it is.
//!
//! Two levels of the same thing, weighted fair queueing by virtual time: the classes take turns by
//! their weights, and within a class its tenants by theirs. Whoever was served moves back by what
//! it cost, divided by its weight; the next is whoever is furthest in front, found in time
//! logarithmic in the number of tenants and independent of the number of mails. Whoever has been
//! away comes back where the others are: nobody saves up turns.

use std::collections::BTreeSet;

use super::action::{Class, DestinationId, LimitId, ServerId, TenantId};
use super::job::Job;
use super::limit::Cost;
use super::slots::{End, Key, Linked, Links, List, Slots};
use crate::time::Time;

/// The mails of one tenant and class that wait for one destination.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) name: FlowName,
    /// Mails that were never tried, or are to be tried again at once.
    fresh: List,
    /// Mails that are due again. They get every fifth turn, so that a storm of them does not keep
    /// others from their first attempt.
    again: List,
    /// Turns in a row that `fresh` had while somebody was on `again`.
    turns: u8,
    /// Where it is in the virtual time of its class.
    pass: u64,
    weight: u16,
    /// Limits hold for its tenant.
    pub(super) is_limited: bool,
    pub(super) waits: Waits,
    /// On the list of its destination.
    links: Links,
}

impl Linked for Flow {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// What keeps a flow, or a destination, from its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Waits {
    /// Nothing.
    #[default]
    Not,
    /// A limit; it is in the limit's queue.
    For(LimitId),
    /// Nothing any more: the limit has let a mail of this cost pass already, at this time.
    Granted(Cost, Time),
}

impl Waits {
    pub(super) fn is_for_limit(self) -> bool {
        matches!(self, Self::For(_))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FlowName {
    pub(super) destination: DestinationId,
    pub(super) tenant: TenantId,
    pub(super) class: Class,
    /// The mails are for this server of the destination.
    pub(super) server: Option<ServerId>,
}

impl Flow {
    /// Turns of `again` among all.
    const TURNS: u8 = 5;

    pub(super) fn new(name: FlowName, weight: u16, is_limited: bool) -> Self {
        Self {
            name,
            fresh: List::default(),
            again: List::default(),
            turns: 0,
            pass: 0,
            weight: weight.max(1),
            is_limited,
            waits: Waits::Not,
            links: Links::default(),
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.fresh.len() + self.again.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The mail whose turn is next.
    pub(super) fn head(&self, jobs: &Slots<Job>) -> Option<Key> {
        let prefers_again = self.turns + 1 >= Self::TURNS || self.fresh.is_empty();
        let again = if prefers_again { self.again.head(jobs) } else { None };
        again.or_else(|| self.fresh.head(jobs))
    }

    /// How many mails count as ready. Where there are limits they are looked at one by one.
    fn runnable(&self) -> u32 {
        match self.waits {
            Waits::For(_) => 0,
            Waits::Not if !self.is_limited => self.len(),
            Waits::Not | Waits::Granted(..) => self.len().min(1),
        }
    }
}

/// All flows of one destination, or those of one server of it.
#[derive(Debug, Default)]
pub(super) struct Queue {
    classes: [Ring; Class::ALL.len()],
    /// Where the class was that was served last.
    now: u64,
    /// Mails that no limit of their tenant holds up.
    runnable: u32,
    /// All mails.
    len: u32,
}

/// The flows of one class that have mails and wait for nothing.
#[derive(Debug, Default)]
struct Ring {
    pass: u64,
    /// Where the flow was that was served last.
    now: u64,
    flows: Turns,
    /// Flows without mails that have had more than the others. They are kept until these have
    /// caught up: whoever comes back at once shall not start anew.
    resting: BTreeSet<(u64, Key)>,
}

/// Flows by where they are in virtual time. The first one is kept apart: it is the one that changes, and mostly the
/// only one.
#[derive(Debug, Default)]
struct Turns {
    first: Option<(u64, Key)>,
    others: BTreeSet<(u64, Key)>,
}

impl Turns {
    fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn insert(&mut self, turn: (u64, Key)) {
        match self.first {
            Some(first) if first < turn => drop(self.others.insert(turn)),
            first => {
                self.others.extend(first);
                self.first = Some(turn);
            }
        }
    }

    /// Lets it have another turn at that time instead; mostly it is the first, and mostly stays so.
    fn postpone(&mut self, (pass, key): (u64, Key), until: u64) {
        let is_first = self.first == Some((pass, key));
        if is_first && self.others.first().is_none_or(|&other| (until, key) < other) {
            self.first = Some((until, key));
        } else if self.remove((pass, key)) {
            self.insert((until, key));
        }
    }

    /// Whether it was there.
    fn remove(&mut self, turn: (u64, Key)) -> bool {
        if self.first == Some(turn) {
            self.first = self.others.pop_first();
            return true;
        }
        self.others.remove(&turn)
    }
}

/// Costs are multiplied by it before they are divided by weights.
const SCALE: u64 = 1 << 16;
/// A mail that costs more pays this much, so that virtual time does not come to its end.
const DEAREST: u64 = 1 << 20;
/// Octets of content that count like one more recipient.
const OCTETS: u32 = 16 * 1024;

/// What a mail costs the flow that it is of.
fn price(cost: Cost) -> u64 {
    let price = u64::from(cost.recipients) + u64::from(cost.octets / OCTETS);
    price.clamp(1, DEAREST)
}

/// A mail that costs more takes so long that it is not sent behind another one on the same
/// connection: what is urgent would wait for both.
const DEAR: u64 = 16;

pub(super) fn is_dear(cost: Cost) -> bool {
    price(cost) > DEAR
}

/// What a mail of this price costs its class, by the weight of the class.
fn share_of_class(price: u64, class: Class) -> u64 {
    match class {
        Class::Interactive => price / 8,
        Class::Normal => price / 3,
        Class::Bulk => price,
    }
}

/// The same for its flow.
fn share_of_flow(price: u64, weight: u16) -> u64 {
    // The usual weight, and the division would take longer than all the rest.
    if weight == 1 { price } else { price / u64::from(weight) }
}

impl Queue {
    pub(super) fn runnable(&self) -> u32 {
        self.runnable
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The flow whose turn it is.
    pub(super) fn next(&self) -> Option<Key> {
        let ring = self.classes.iter().filter(|ring| !ring.flows.is_empty());
        // Of equals the most urgent, which comes first.
        let ring = ring.min_by_key(|ring| ring.pass)?;
        ring.flows.first.map(|(_, flow)| flow)
    }

    /// A flow is about to be changed. To be followed by [`put_back`](Self::put_back).
    fn take_out(&mut self, key: Key, flow: &Flow) {
        self.runnable -= flow.runnable();
        self.len -= flow.len();
        let ring = &mut self.classes[flow.name.class as usize];
        if !ring.flows.remove((flow.pass, key)) {
            ring.resting.remove(&(flow.pass, key));
        }
    }

    fn put_back(&mut self, key: Key, flow: &mut Flow) {
        self.runnable += flow.runnable();
        self.len += flow.len();
        if flow.runnable() == 0 {
            return;
        }
        let ring = &mut self.classes[flow.name.class as usize];
        if ring.flows.is_empty() {
            ring.pass = ring.pass.max(self.now);
        }
        flow.pass = flow.pass.max(ring.now);
        ring.flows.insert((flow.pass, key));
    }

    /// A flow has no mails any more. Whether it is to be kept for a while.
    pub(super) fn rest(&mut self, key: Key, flow: &Flow) -> bool {
        let ring = &mut self.classes[flow.name.class as usize];
        let has_had_more = flow.pass > ring.now && !ring.flows.is_empty();
        if has_had_more {
            ring.resting.insert((flow.pass, key));
        }
        has_had_more
    }

    /// Takes a flow of a class that need not be kept any longer.
    pub(super) fn rested(&mut self, class: Class) -> Option<Key> {
        let ring = &mut self.classes[class as usize];
        let &(pass, key) = ring.resting.first()?;
        if pass > ring.now && !ring.flows.is_empty() {
            return None;
        }
        ring.resting.pop_first();
        Some(key)
    }

    /// Changes a flow in a way that may change whether it is its turn.
    pub(super) fn change(&mut self, key: Key, flow: &mut Flow, change: impl FnOnce(&mut Flow)) {
        self.take_out(key, flow);
        change(flow);
        self.put_back(key, flow);
    }

    #[inline]
    pub(super) fn push(
        &mut self,
        (key, flow): (Key, &mut Flow),
        (job, end): (Key, End),
        jobs: &mut Slots<Job>,
    ) {
        let Some(found) = jobs.get_mut(job) else { return };
        let is_again = found.attempts > 0 && end == End::Tail;
        found.is_again = is_again;
        // In its ring already, it stays where it is: the usual case, and a quick one.
        let runnable = flow.runnable();
        let stays = runnable > 0;
        if !stays {
            self.take_out(key, flow);
        }
        let list = if is_again { &mut flow.again } else { &mut flow.fresh };
        list.push(end, job, jobs);
        if stays {
            self.runnable += flow.runnable() - runnable;
            self.len += 1;
        } else {
            self.put_back(key, flow);
        }
    }

    pub(super) fn remove(
        &mut self,
        (key, flow): (Key, &mut Flow),
        job: Key,
        jobs: &mut Slots<Job>,
    ) {
        self.take_out(key, flow);
        let is_again = jobs.get(job).is_some_and(|job| job.is_again);
        let list = if is_again { &mut flow.again } else { &mut flow.fresh };
        list.remove(job, jobs);
        self.put_back(key, flow);
    }

    /// Takes the [head](Flow::head) of a flow, whose turn it was; the flow and its class pay.
    #[inline(always)]
    pub(super) fn pop(
        &mut self,
        (key, flow): (Key, &mut Flow),
        (job, cost): (Key, Cost),
        jobs: &mut Slots<Job>,
    ) {
        let turn = (flow.pass, key);
        let runnable = flow.runnable();
        let is_again = jobs.get(job).is_some_and(|job| job.is_again);
        let list = if is_again { &mut flow.again } else { &mut flow.fresh };
        list.remove(job, jobs);
        let is_kept_waiting = !is_again && !flow.again.is_empty();
        flow.turns = if is_kept_waiting { flow.turns + 1 } else { 0 };
        let runnable_now = flow.runnable();
        self.len -= 1;
        self.runnable = self.runnable - runnable + runnable_now;

        let price = price(cost) * SCALE;
        let ring = &mut self.classes[flow.name.class as usize];
        self.now = self.now.max(ring.pass);
        ring.pass = ring.pass.saturating_add(share_of_class(price, flow.name.class));
        ring.now = ring.now.max(flow.pass);
        flow.pass = flow.pass.saturating_add(share_of_flow(price, flow.weight));
        if runnable_now == 0 {
            ring.flows.remove(turn);
        } else {
            ring.flows.postpone(turn, flow.pass);
        }
    }
}
