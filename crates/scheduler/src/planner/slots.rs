//! Storage with identities that are never mistaken for each other, and lists threaded through it.

use std::marker::PhantomData;
use std::num::NonZeroU32;

/// Names a value in [`Slots`]: where it is, and which of those that were there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// Where something is in a vector; `Option<Index>` is as small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Index(NonZeroU32);

impl Index {
    pub(super) fn new(index: usize) -> Self {
        let number = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("4 billion values do not fit into memory"))
    }

    pub(super) fn get(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// Values whose keys stay invalid after removal: an answer that comes late finds nothing, instead
/// of whatever took the place. A generation comes back after 2³² insertions.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    /// The first of those that are vacant.
    vacant: Option<Index>,
    next_generation: u32,
    len: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    /// The next that is vacant, if this one is.
    next: Option<Index>,
    value: Option<T>,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), vacant: None, next_generation: 0, len: 0 }
    }

    pub(super) fn insert(&mut self, value: T) -> Key {
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        self.len += 1;
        let slot = Slot { generation, next: None, value: Some(value) };
        let index = match self.vacant {
            Some(index) => {
                self.vacant = std::mem::replace(&mut self.slots[index.get()], slot).next;
                index
            }
            None => {
                make_room(&mut self.slots);
                self.slots.push(slot);
                Index::new(self.slots.len() - 1)
            }
        };
        Key { index: index.get() as u32, generation }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.next = self.vacant.replace(Index::new(key.index as usize));
        self.len -= 1;
        Some(value)
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        slot.value.as_ref().filter(|_| slot.generation == key.generation)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        slot.value.as_mut().filter(|_| slot.generation == key.generation)
    }

    /// All values, by index.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        (0..).zip(&self.slots).filter_map(|(index, slot)| {
            let key = Key { index, generation: slot.generation };
            slot.value.as_ref().map(|value| (key, value))
        })
    }

    /// All keys, by index.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.iter().map(|(key, _)| key)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn at(&mut self, index: Index) -> Option<&mut T> {
        self.slots.get_mut(index.get())?.value.as_mut()
    }
}

/// Room for one more. A large table grows by an eighth, not to the double: a million mails shall
/// not take the room of two.
pub(super) fn make_room<T>(table: &mut Vec<T>) {
    const LARGE: usize = 4096;
    if table.len() == table.capacity() && table.len() >= LARGE {
        table.reserve_exact(table.len() / 8);
    }
}

/// The neighbours of a value that is on a [`List`].
///
/// They need no generation: what is on a list is taken off before it is removed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Links {
    before: Option<Index>,
    after: Option<Index>,
}

/// A value that can be on one [`List`] of a kind at a time.
pub(super) trait Linked<Kind = Usual> {
    fn links(&mut self) -> &mut Links;
}

/// The kind of most lists.
#[derive(Debug)]
pub(super) enum Usual {}

/// Where on a list to put something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Head,
    Tail,
}

/// A doubly linked list of values in a [`Slots`]; everything takes constant time, so does taking a
/// value out of the middle. Whoever owns the list knows which values are on it.
#[derive(Debug)]
pub(super) struct List<Kind = Usual> {
    head: Option<Index>,
    tail: Option<Index>,
    len: u32,
    kind: PhantomData<Kind>,
}

impl<Kind> Default for List<Kind> {
    fn default() -> Self {
        Self { head: None, tail: None, len: 0, kind: PhantomData }
    }
}

impl<Kind> List<Kind> {
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn head<T>(&self, slots: &Slots<T>) -> Option<Key> {
        let index = self.head?.get();
        let generation = slots.slots.get(index)?.generation;
        Some(Key { index: index as u32, generation })
    }

    pub(super) fn tail<T>(&self, slots: &Slots<T>) -> Option<Key> {
        let index = self.tail?.get();
        let generation = slots.slots.get(index)?.generation;
        Some(Key { index: index as u32, generation })
    }

    /// The value behind another one of the same list.
    pub(super) fn after<T: Linked<Kind>>(key: Key, slots: &mut Slots<T>) -> Option<Key> {
        let index = slots.get_mut(key)?.links().after?.get();
        let generation = slots.slots.get(index)?.generation;
        Some(Key { index: index as u32, generation })
    }

    /// Puts a value on the list; it must be on none.
    pub(super) fn push<T: Linked<Kind>>(&mut self, end: End, key: Key, slots: &mut Slots<T>) {
        let links = match end {
            End::Head => Links { before: None, after: self.head },
            End::Tail => Links { before: self.tail, after: None },
        };
        let Some(value) = slots.get_mut(key) else { return };
        *value.links() = links;
        let index = Some(Index::new(key.index as usize));
        match links.before.and_then(|before| slots.at(before)) {
            Some(before) => before.links().after = index,
            None => self.head = index,
        }
        match links.after.and_then(|after| slots.at(after)) {
            Some(after) => after.links().before = index,
            None => self.tail = index,
        }
        self.len += 1;
    }

    /// Takes a value off the list; it must be on this one.
    pub(super) fn remove<T: Linked<Kind>>(&mut self, key: Key, slots: &mut Slots<T>) {
        let Some(value) = slots.get_mut(key) else { return };
        let links = std::mem::take(value.links());
        match links.before.and_then(|before| slots.at(before)) {
            Some(before) => before.links().after = links.after,
            None => self.head = links.after,
        }
        match links.after.and_then(|after| slots.at(after)) {
            Some(after) => after.links().before = links.before,
            None => self.tail = links.before,
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[derive(Debug, Default)]
    struct Node(Links);

    impl Linked for Node {
        fn links(&mut self) -> &mut Links {
            &mut self.0
        }
    }

    #[test]
    fn lists_are_small() {
        assert_eq!((size_of::<Links>(), size_of::<List>()), (8, 12));
    }

    /// A queued mail costs a planner this.
    #[test]
    fn a_job_is_small() {
        let size = size_of::<Slot<crate::planner::job::Job>>();
        assert!(size <= 104, "{size} octets");
    }

    #[test]
    fn keys_of_removed_values_stay_invalid() {
        let mut slots = Slots::new();
        let old = slots.insert('a');
        assert_eq!(slots.remove(old), Some('a'));
        let new = slots.insert('b');
        assert_eq!(new.index, old.index);
        assert_eq!(slots.get(old), None);
        assert_eq!(slots.remove(old), None);
        assert_eq!(slots.get(new), Some(&'b'));
    }

    /// The list against a plain deque, under random operations.
    #[test]
    fn list_is_a_deque_with_removal() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut slots = Slots::new();
        let (mut list, mut model) = (<List>::default(), VecDeque::new());
        for _ in 0..10_000 {
            match rng.u8(..4) {
                0 => {
                    let key = slots.insert(Node::default());
                    list.push(End::Head, key, &mut slots);
                    model.push_front(key);
                }
                1 => {
                    let key = slots.insert(Node::default());
                    list.push(End::Tail, key, &mut slots);
                    model.push_back(key);
                }
                2 => {
                    let expected = model.pop_front();
                    assert_eq!(list.head(&slots), expected);
                    if let Some(head) = expected {
                        list.remove(head, &mut slots);
                    }
                    expected.and_then(|key| slots.remove(key));
                }
                _ if !model.is_empty() => {
                    let key = model.remove(rng.usize(..model.len())).unwrap();
                    list.remove(key, &mut slots);
                    slots.remove(key);
                }
                _ => {}
            }
            assert_eq!(list.len() as usize, model.len());
            assert_eq!(slots.len(), model.len());
            assert_eq!(list.head(&slots), model.front().copied());
            assert_eq!(list.tail(&slots), model.back().copied());
        }
    }
}
