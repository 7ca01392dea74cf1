//! What is to happen when.

use super::slots::{Index, make_room};
use crate::time::Time;

/// Timers of one planner, each an instant and whom it is for.
///
/// Every timer that is armed is wanted: whoever no longer wants one disarms it. Therefore the
/// earliest is exact, and nobody is woken for nothing. At equal times the order is a matter of the
/// calls before, and of nothing else.
///
/// They are on lists that nobody sorts: most timers are a mail's expiry, which is days away and
/// disarmed before it comes near. Only a list that is the earliest and long is split, by the next
/// digit of the times on it, until the earliest list is short. So the lists are the leaves of a
/// tree by digits that grows where the present is. To arm or to disarm a timer goes down one path
/// of at most eleven pages, most of them shared by all and in the cache, and each timer is moved at
/// most once for each of its digits. A single call may have to split all that was armed since.
///
/// With a million expiries armed, to disarm one, arm another, and to do the same with a timer of
/// 30 s takes 50 ns; with a heap of four children a node 120 ns, with a `BTreeSet` 330 ns. A wheel
/// is a little faster, but knows the earliest instant only of timers that are near.
#[derive(Debug)]
pub(super) struct Timers<T> {
    nodes: Vec<Node<T>>,
    /// The first of the nodes that no timer uses, linked by `next`.
    vacant_node: Option<Index>,
    /// The first is the root, for the highest digit.
    pages: Vec<Page>,
    /// The first of the pages that the tree does not use, linked by `parent`.
    vacant_page: Option<Index>,
    /// The earliest.
    first: Option<Index>,
}

/// Where the owner of a timer keeps it.
#[derive(Debug, Default)]
pub(super) struct TimerSlot(Option<Index>);

/// A timer on a list.
#[derive(Debug)]
struct Node<T> {
    /// [`Time::NEVER`] if no timer uses the node.
    at: Time,
    whom: T,
    before: Option<Index>,
    next: Option<Index>,
}

/// An entry for each value of one digit, the digits above it being the same.
#[derive(Debug)]
struct Page {
    /// A bit for each entry that is the head of a list.
    lists: u64,
    /// A bit for each entry that is a page for the next digit.
    pages: u64,
    entries: [Option<Index>; RADIX],
    parent: Option<Index>,
}

/// A page, and which digit it is for, counted from the lowest.
#[derive(Clone, Copy, Debug)]
struct Place {
    page: usize,
    level: u32,
}

const DIGIT_BITS: u32 = 6;
const RADIX: usize = 1 << DIGIT_BITS;
const ROOT: Place = Place { page: 0, level: (u64::BITS - 1) / DIGIT_BITS };
/// To look at so many timers takes no longer than to go down a level.
const SHORT: usize = 16;

fn digit(at: Time, level: u32) -> usize {
    (at.as_nanos() >> (level * DIGIT_BITS)) as usize % RADIX
}

impl TimerSlot {
    /// Whether the timer will fire. When it did, its owner resets the slot:
    /// `*slot = TimerSlot::default()`.
    pub(super) fn is_armed(&self) -> bool {
        self.0.is_some()
    }
}

impl<T: Copy + PartialEq> Timers<T> {
    pub(super) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            vacant_node: None,
            pages: vec![Page::new(None)],
            vacant_page: None,
            first: None,
        }
    }

    /// Moves the timer for `whom` to `at`, or disarms it; `slot` is where its owner keeps it.
    pub(super) fn set(&mut self, slot: &mut TimerSlot, at: Option<Time>, whom: T) {
        let at = at.filter(|&at| at < Time::NEVER);
        if let Some(index) = slot.0 {
            // A slot that was not reset would disarm the timer of somebody else.
            let Node { at: armed, whom: owner, .. } = &self.nodes[index.get()];
            debug_assert!(*owner == whom && *armed < Time::NEVER, "the slot of a timer is stale");
            if Some(*armed) == at {
                return;
            }
        }
        match (slot.0, at) {
            (None, None) => {}
            (None, Some(at)) => {
                let index = self.occupy(at, whom);
                self.put_in(index);
                slot.0 = Some(index);
            }
            (Some(index), None) => {
                self.take_out(index);
                self.vacate(index);
                slot.0 = None;
            }
            (Some(index), Some(at)) => {
                self.take_out(index);
                self.node(index).at = at;
                self.put_in(index);
            }
        }
    }

    /// Takes the earliest timer that is due. Its owner must reset the slot before it uses it again.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<T> {
        let first = self.first?;
        let &mut Node { at, whom, .. } = self.node(first);
        if at > now {
            return None;
        }
        self.take_out(first);
        self.vacate(first);
        Some(whom)
    }

    /// When the earliest timer is due.
    pub(super) fn earliest(&self) -> Option<Time> {
        self.first.map(|first| self.at(first))
    }

    /// Whose the earliest timer is.
    pub(super) fn whose(&self) -> Option<T> {
        self.first.map(|first| self.nodes[first.get()].whom)
    }

    fn occupy(&mut self, at: Time, whom: T) -> Index {
        let node = Node { at, whom, before: None, next: None };
        if let Some(index) = self.vacant_node {
            self.vacant_node = std::mem::replace(self.node(index), node).next;
            return index;
        }
        make_room(&mut self.nodes);
        self.nodes.push(node);
        Index::new(self.nodes.len() - 1)
    }

    fn vacate(&mut self, index: Index) {
        let next = self.vacant_node.replace(index);
        let node = self.node(index);
        node.at = Time::NEVER;
        node.next = next;
    }

    fn put_in(&mut self, index: Index) {
        let at = self.at(index);
        self.push(self.place_of(at), index);
        if self.first.is_none_or(|first| at < self.at(first)) {
            self.first = Some(index);
        }
    }

    fn take_out(&mut self, index: Index) {
        self.unlink(index);
        if self.first == Some(index) {
            self.first = self.find_first();
        }
    }

    /// The page that has the list for a time.
    fn place_of(&self, at: Time) -> Place {
        let mut place = ROOT;
        while let Some(page) = self.pages[place.page].child(digit(at, place.level)) {
            place = Place { page, level: place.level - 1 };
        }
        place
    }

    fn push(&mut self, Place { page, level }: Place, index: Index) {
        let digit = digit(self.at(index), level);
        let page = &mut self.pages[page];
        page.lists |= 1 << digit;
        let next = page.entries[digit].replace(index);
        let node = self.node(index);
        (node.before, node.next) = (None, next);
        if let Some(next) = next {
            self.node(next).before = Some(index);
        }
    }

    fn unlink(&mut self, index: Index) {
        let &mut Node { at, before, next, .. } = self.node(index);
        if let Some(next) = next {
            self.node(next).before = before;
        }
        if let Some(before) = before {
            self.node(before).next = next;
            return;
        }
        let place = self.place_of(at);
        self.pages[place.page].entries[digit(at, place.level)] = next;
        if next.is_none() {
            self.remove_list(place, at);
        }
    }

    /// Removes a list that is empty, and the pages that are empty then.
    fn remove_list(&mut self, Place { mut page, mut level }: Place, at: Time) {
        self.pages[page].lists &= !(1 << digit(at, level));
        while let Some(parent) = self.pages[page].parent
            && self.pages[page].first().is_none()
        {
            self.pages[page].parent = self.vacant_page.replace(Index::new(page));
            (page, level) = (parent.get(), level + 1);
            self.pages[page].pages &= !(1 << digit(at, level));
            self.pages[page].entries[digit(at, level)] = None;
        }
    }

    /// Looks for the earliest timer on the earliest list, and splits that as long as it is long.
    fn find_first(&mut self) -> Option<Index> {
        let mut place = ROOT;
        loop {
            let page = &self.pages[place.page];
            let digit = page.first()?;
            let child = match page.child(digit) {
                Some(child) => child,
                None => {
                    let list = page.entries[digit]?;
                    if place.level == 0 {
                        return Some(list); // they are all of the same time
                    }
                    if let Some(first) = self.earliest_of_few(list) {
                        return Some(first);
                    }
                    self.split(place, digit, list)
                }
            };
            place = Place { page: child, level: place.level - 1 };
        }
    }

    /// The earliest timer on a list; `None` if that is long.
    fn earliest_of_few(&self, list: Index) -> Option<Index> {
        let mut earliest = list;
        let mut last = list;
        for _ in 0..SHORT {
            let Some(next) = self.nodes[last.get()].next else { return Some(earliest) };
            if self.at(next) < self.at(earliest) {
                earliest = next;
            }
            last = next;
        }
        None
    }

    /// Puts a page for the next digit in the place of a list.
    fn split(&mut self, Place { page: parent, level }: Place, digit: usize, list: Index) -> usize {
        let page = Page::new(Some(Index::new(parent)));
        let child = match self.vacant_page {
            Some(vacant) => {
                let was = std::mem::replace(&mut self.pages[vacant.get()], page);
                self.vacant_page = was.parent;
                vacant
            }
            None => {
                self.pages.push(page);
                Index::new(self.pages.len() - 1)
            }
        };
        let parent = &mut self.pages[parent];
        parent.lists &= !(1 << digit);
        parent.pages |= 1 << digit;
        parent.entries[digit] = Some(child);
        let mut rest = Some(list);
        while let Some(index) = rest {
            rest = self.node(index).next;
            self.push(Place { page: child.get(), level: level - 1 }, index);
        }
        child.get()
    }

    fn at(&self, index: Index) -> Time {
        self.nodes[index.get()].at
    }

    fn node(&mut self, index: Index) -> &mut Node<T> {
        &mut self.nodes[index.get()]
    }
}

impl Page {
    fn new(parent: Option<Index>) -> Self {
        Self { lists: 0, pages: 0, entries: [None; RADIX], parent }
    }

    /// The lowest digit for which there is something.
    fn first(&self) -> Option<usize> {
        let used = self.lists | self.pages;
        (used != 0).then(|| used.trailing_zeros() as usize)
    }

    /// The page for the next digit, if there is one.
    fn child(&self, digit: usize) -> Option<usize> {
        if self.pages & 1 << digit == 0 {
            return None;
        }
        self.entries[digit].map(Index::get)
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
        for bits in 2..53 {
            let mut rng = fastrand::Rng::with_seed(bits.into());
            let mut timers = Timers::<usize>::new();
            let mut slots: Vec<_> = (0..OWNERS).map(|_| TimerSlot::default()).collect();
            let mut armed = vec![None; OWNERS];
            let mut model = BTreeSet::new();
            let mut now = 0;
            // Many at the same time, or hardly any, on all levels; mostly armed, or mostly not.
            let arming = rng.f64();
            for _ in 0..20_000 {
                if rng.u8(..20) == 0 {
                    now += upto(&mut rng, bits);
                    while let Some(whom) = timers.pop_due(at(now)) {
                        let due = model.first().map(|&(due, _)| due);
                        assert_eq!(armed[whom], due);
                        assert!(due.is_some_and(|due| due <= at(now)));
                        assert!(model.remove(&(armed[whom].take().unwrap(), whom)));
                        slots[whom] = TimerSlot::default();
                    }
                } else {
                    let whom = rng.usize(..OWNERS);
                    let later = upto(&mut rng, bits);
                    let earlier = upto(&mut rng, bits).min(now);
                    let to = (rng.f64() < arming).then(|| at(now - earlier + later));
                    timers.set(&mut slots[whom], to, whom);
                    if let Some(was) = std::mem::replace(&mut armed[whom], to) {
                        model.remove(&(was, whom));
                    }
                    model.extend(to.map(|to| (to, whom)));
                    assert_eq!(slots[whom].is_armed(), to.is_some());
                }
                assert_eq!(timers.earliest(), model.first().map(|&(at, _)| at));
                assert!(timers.nodes.len() <= OWNERS && timers.pages.len() <= OWNERS);
            }
        }
    }

    /// A number of at most so many bits, as often a small one as a large one.
    fn upto(rng: &mut fastrand::Rng, bits: u32) -> u64 {
        let bits = rng.u32(..=bits);
        rng.u64(..1 << bits)
    }

    fn at(nanoseconds: u64) -> Time {
        Time::EPOCH + std::time::Duration::from_nanos(nanoseconds)
    }
}
