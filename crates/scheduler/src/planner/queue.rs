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
    /// It has not been in its ring since it was made, or since it waited for a limit.
    is_new: bool,
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
    /// Nothing any more: the limit has let a mail of this cost pass already.
    Granted(Cost),
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
            is_new: true,
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
            Waits::Not | Waits::Granted(_) => self.len().min(1),
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
    /// Where the flow is that was served last. Whoever comes starts there: behind those who wait,
    /// and never in front of where it was when it left, so that nobody needs to remember that.
    now: u64,
    flows: BTreeSet<(u64, Key)>,
}

/// Costs are multiplied by it before they are divided by weights.
const SCALE: u64 = 1 << 16;
/// A mail that costs more pays this much, so that virtual time does not come to its end.
const DEAREST: u64 = 1 << 20;
/// Octets of content that count like one more recipient.
const OCTETS: u32 = 16 * 1024;

fn weight(class: Class) -> u64 {
    match class {
        Class::Interactive => 8,
        Class::Normal => 3,
        Class::Bulk => 1,
    }
}

impl Queue {
    pub(super) fn runnable(&self) -> u32 {
        self.runnable
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// The flow whose turn it is.
    pub(super) fn next(&self) -> Option<Key> {
        let ring = self.classes.iter().filter(|ring| !ring.flows.is_empty());
        // Of equals the most urgent, which comes first.
        let ring = ring.min_by_key(|ring| ring.pass)?;
        ring.flows.first().map(|&(_, flow)| flow)
    }

    /// A flow is about to be changed. To be followed by [`put_back`](Self::put_back).
    fn take_out(&mut self, key: Key, flow: &Flow) {
        self.runnable -= flow.runnable();
        self.len -= flow.len();
        self.classes[flow.name.class as usize].flows.remove(&(flow.pass, key));
    }

    fn put_back(&mut self, key: Key, flow: &mut Flow) {
        self.runnable += flow.runnable();
        self.len += flow.len();
        if flow.runnable() == 0 {
            flow.is_new = true;
            return;
        }
        let ring = &mut self.classes[flow.name.class as usize];
        if ring.flows.is_empty() {
            ring.pass = ring.pass.max(self.now);
        }
        if flow.is_new {
            flow.pass = flow.pass.max(ring.now);
            flow.is_new = false;
        }
        ring.flows.insert((flow.pass, key));
    }

    /// Changes a flow in a way that may change whether it is its turn.
    pub(super) fn change(&mut self, key: Key, flow: &mut Flow, change: impl FnOnce(&mut Flow)) {
        self.take_out(key, flow);
        change(flow);
        self.put_back(key, flow);
    }

    pub(super) fn push(
        &mut self,
        (key, flow): (Key, &mut Flow),
        (job, end): (Key, End),
        jobs: &mut Slots<Job>,
    ) {
        self.take_out(key, flow);
        let is_again = jobs.get(job).is_some_and(|job| job.attempts > 0) && end == End::Tail;
        if let Some(job) = jobs.get_mut(job) {
            job.is_again = is_again;
        }
        let list = if is_again { &mut flow.again } else { &mut flow.fresh };
        list.push(end, job, jobs);
        self.put_back(key, flow);
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

    /// Takes the head of a flow, whose turn it was; the flow and its class pay.
    pub(super) fn pop(
        &mut self,
        (key, flow): (Key, &mut Flow),
        cost: Cost,
        jobs: &mut Slots<Job>,
    ) -> Option<Key> {
        let job = flow.head(jobs)?;
        self.take_out(key, flow);
        let is_again = jobs.get(job).is_some_and(|job| job.is_again);
        let list = if is_again { &mut flow.again } else { &mut flow.fresh };
        list.remove(job, jobs);
        let is_kept_waiting = !is_again && !flow.again.is_empty();
        flow.turns = if is_kept_waiting { flow.turns + 1 } else { 0 };

        let price = u64::from(cost.recipients) + u64::from(cost.octets / OCTETS);
        let price = price.clamp(1, DEAREST) * SCALE;
        let ring = &mut self.classes[flow.name.class as usize];
        self.now = self.now.max(ring.pass);
        ring.pass = ring.pass.saturating_add(price / weight(flow.name.class));
        flow.pass = flow.pass.saturating_add(price / u64::from(flow.weight));
        ring.now = ring.now.max(flow.pass);
        self.put_back(key, flow);
        Some(job)
    }
}
