//! What is to happen when.

use super::slots::Index;
use crate::time::Time;

/// Timers of one planner, each an instant and whom it is for.
///
/// Every timer that is armed is wanted: whoever no longer wants one disarms it. Therefore the
/// earliest is exact, and nobody is woken for nothing. At equal times the order is a matter of the
/// calls before, and of nothing else.
///
/// This is a [pairing heap](https://doi.org/10.1007/BF01840439): to arm a timer takes constant
/// time; to disarm or to take one takes logarithmic time, spread over all calls, and constant time
/// if its turn had not come near (most timers are a mail's expiry, which seldom comes), or if
/// timers were armed in about the order of their instants. A single call may have to look at all
/// that were armed since the last one that did. A timer wheel does as well with its buckets, but
/// knows the earliest instant only when it comes near.
#[derive(Debug)]
pub(super) struct Timers<T> {
    nodes: Vec<Node<T>>,
    /// The earliest.
    root: Option<Index>,
    /// The first of the nodes that no timer uses, linked by `next`.
    vacant: Option<Index>,
}

/// Where the owner of a timer keeps it.
#[derive(Debug, Default)]
pub(super) struct TimerSlot(Option<Index>);

/// A timer, none of whose children is earlier.
#[derive(Debug)]
struct Node<T> {
    /// [`Time::NEVER`] if no timer uses the node.
    at: Time,
    whom: T,
    /// The first child.
    child: Option<Index>,
    /// The next child of the same parent.
    next: Option<Index>,
    /// The child before, or the parent of the first.
    before: Option<Index>,
}

impl TimerSlot {
    /// Whether the timer will fire. Its owner resets the slot when it did, by
    /// `*slot = TimerSlot::default()`.
    pub(super) fn is_armed(&self) -> bool {
        self.0.is_some()
    }
}

impl<T: Copy + PartialEq> Timers<T> {
    pub(super) fn new() -> Self {
        Self { nodes: Vec::new(), root: None, vacant: None }
    }

    /// Moves the timer for `whom` to `at`, or disarms it; `slot` is where its owner keeps it.
    pub(super) fn set(&mut self, slot: &mut TimerSlot, at: Option<Time>, whom: T) {
        let at = at.filter(|&at| at < Time::NEVER);
        match (slot.0, at) {
            (None, None) => {}
            (None, Some(at)) => {
                let index = self.occupy(at, whom);
                self.root = Some(self.join(self.root, index));
                slot.0 = Some(index);
            }
            (Some(index), None) => {
                self.check(index, whom);
                self.take_out(index);
                self.vacate(index);
                slot.0 = None;
            }
            (Some(index), Some(at)) => {
                self.check(index, whom);
                if self.at(index) != at {
                    self.take_out(index);
                    self.node(index).at = at;
                    self.root = Some(self.join(self.root, index));
                }
            }
        }
    }

    /// Takes the earliest timer that is due. Its owner must reset the slot before it uses it again.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<T> {
        let root = self.root?;
        let &mut Node { at, whom, .. } = self.node(root);
        if at > now {
            return None;
        }
        self.take_out(root);
        self.vacate(root);
        Some(whom)
    }

    /// When the earliest timer is due.
    pub(super) fn earliest(&self) -> Option<Time> {
        self.root.map(|root| self.at(root))
    }

    /// A slot that was not reset would disarm the timer of somebody else.
    fn check(&mut self, index: Index, whom: T) {
        let node = self.node(index);
        debug_assert!(node.at < Time::NEVER && node.whom == whom, "the slot of a timer is stale");
    }

    /// A node that is nobody's child, and has none.
    fn occupy(&mut self, at: Time, whom: T) -> Index {
        let node = Node { at, whom, child: None, next: None, before: None };
        if let Some(index) = self.vacant {
            self.vacant = std::mem::replace(self.node(index), node).next;
            return index;
        }
        self.nodes.push(node);
        Index::new(self.nodes.len() - 1)
    }

    fn vacate(&mut self, index: Index) {
        let next = self.vacant.replace(index);
        let node = self.node(index);
        node.at = Time::NEVER;
        node.next = next;
    }

    /// Takes a node out of the tree. It keeps no links.
    fn take_out(&mut self, index: Index) {
        let Node { child, next, before, .. } = self.node(index);
        let (child, next, before) = (child.take(), next.take(), before.take());
        let children = child.and_then(|first| self.join_all(first));
        let Some(before) = before else {
            self.root = children;
            return;
        };
        let link = self.node(before);
        if link.child == Some(index) {
            link.child = next;
        } else {
            link.next = next;
        }
        if let Some(next) = next {
            self.node(next).before = Some(before);
        }
        if let Some(children) = children {
            self.root = Some(self.join(self.root, children));
        }
    }

    /// Makes one tree of two: the later root becomes the first child of the earlier.
    fn join(&mut self, one: Option<Index>, other: Index) -> Index {
        let Some(one) = one else { return other };
        let (parent, first) =
            if self.at(other) < self.at(one) { (other, one) } else { (one, other) };
        let second = self.node(parent).child.replace(first);
        if let Some(second) = second {
            self.node(second).before = Some(first);
        }
        let node = self.node(first);
        node.before = Some(parent);
        node.next = second;
        parent
    }

    /// Makes one tree of children that lost their parent: first of each two, then, from the last
    /// pair on, of all.
    fn join_all(&mut self, first: Index) -> Option<Index> {
        let mut pairs = None;
        let mut rest = Some(first);
        while let Some(one) = rest {
            let other = self.orphan(one);
            rest = other.and_then(|other| self.orphan(other));
            let pair = other.map_or(one, |other| self.join(Some(one), other));
            self.node(pair).next = pairs;
            pairs = Some(pair);
        }
        let mut tree = None;
        while let Some(pair) = pairs {
            pairs = self.orphan(pair);
            tree = Some(self.join(tree, pair));
        }
        tree
    }

    /// Makes a child a root, and gives the next child.
    fn orphan(&mut self, index: Index) -> Option<Index> {
        let node = self.node(index);
        node.before = None;
        node.next.take()
    }

    fn at(&self, index: Index) -> Time {
        self.nodes[index.get()].at
    }

    fn node(&mut self, index: Index) -> &mut Node<T> {
        &mut self.nodes[index.get()]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::planner::Timer;

    #[test]
    fn a_timer_is_small() {
        assert_eq!(size_of::<TimerSlot>(), 4);
        assert_eq!(size_of::<Node<Timer>>(), 32);
    }

    #[test]
    fn never_disarms() {
        let mut timers = Timers::new();
        let mut slot = TimerSlot::default();
        timers.set(&mut slot, Some(Time::NEVER), 'a');
        assert!(!slot.is_armed());
        timers.set(&mut slot, Some(Time::EPOCH), 'a');
        assert!(slot.is_armed());
        timers.set(&mut slot, Some(Time::NEVER), 'a');
        assert!(!slot.is_armed());
        assert_eq!((timers.earliest(), timers.pop_due(Time::NEVER)), (None, None));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "stale")]
    fn a_slot_that_was_not_reset_is_noticed() {
        let mut timers = Timers::new();
        let mut slot = TimerSlot::default();
        timers.set(&mut slot, Some(Time::EPOCH), 'a');
        assert_eq!(timers.pop_due(Time::EPOCH), Some('a'));
        timers.set(&mut TimerSlot::default(), Some(Time::EPOCH), 'b');
        timers.set(&mut slot, None, 'a');
    }

    /// The timers against an ordered set, under random operations.
    #[test]
    fn timers_are_an_ordered_set() {
        const OWNERS: usize = 200;
        for seed in 0..20 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut timers = Timers::<usize>::new();
            let mut slots: Vec<_> = (0..OWNERS).map(|_| TimerSlot::default()).collect();
            let mut armed = vec![None; OWNERS];
            let mut model = BTreeSet::new();
            let mut now = 0;
            // Many at the same time, or hardly any; mostly armed, or mostly not.
            let (span, arming) = (1 << rng.u32(2..40), rng.f64());
            for _ in 0..20_000 {
                if rng.u8(..20) == 0 {
                    now += rng.u64(..span / 2);
                    while let Some(whom) = timers.pop_due(at(now)) {
                        let due = model.first().map(|&(due, _)| due);
                        assert_eq!(armed[whom], due);
                        assert!(due.is_some_and(|due| due <= at(now)));
                        assert!(model.remove(&(armed[whom].take().unwrap(), whom)));
                        slots[whom] = TimerSlot::default();
                    }
                } else {
                    let whom = rng.usize(..OWNERS);
                    let to = (rng.f64() < arming).then(|| at(now + rng.u64(..span)));
                    timers.set(&mut slots[whom], to, whom);
                    if let Some(was) = std::mem::replace(&mut armed[whom], to) {
                        model.remove(&(was, whom));
                    }
                    model.extend(to.map(|to| (to, whom)));
                    assert_eq!(slots[whom].is_armed(), to.is_some());
                }
                assert_eq!(timers.earliest(), model.first().map(|&(at, _)| at));
                assert!(timers.nodes.len() <= OWNERS);
            }
        }
    }

    fn at(nanoseconds: u64) -> Time {
        Time::EPOCH + std::time::Duration::from_nanos(nanoseconds)
    }
}
