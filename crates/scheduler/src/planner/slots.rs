//! Storage with identities that are never mistaken for each other, and lists threaded through it.

use slab::Slab;

/// Names a value in [`Slots`]: where it is, and which of those that were there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// A slab whose keys stay invalid after removal: an answer that comes late finds nothing, instead
/// of whatever took the place. A generation comes back after 2³² insertions.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slab: Slab<(u32, T)>,
    next_generation: u32,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self { slab: Slab::new(), next_generation: 0 }
    }

    pub(super) fn insert(&mut self, value: T) -> Key {
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let index = self.slab.insert((generation, value));
        let index = u32::try_from(index).expect("4 billion values do not fit into memory");
        Key { index, generation }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.slab.try_remove(key.index as usize).map(|(_, value)| value)
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        let (generation, value) = self.slab.get(key.index as usize)?;
        (*generation == key.generation).then_some(value)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (generation, value) = self.slab.get_mut(key.index as usize)?;
        (*generation == key.generation).then_some(value)
    }

    /// All keys, by index.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        let key = |(index, &(generation, _)): (usize, &(u32, T))| {
            u32::try_from(index).ok().map(|index| Key { index, generation })
        };
        self.slab.iter().filter_map(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.keys().filter_map(|key| Some((key, self.get(key)?)))
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }
}

/// The neighbours of a value that is on a [`List`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Links {
    before: Option<Key>,
    after: Option<Key>,
}

/// A value that can be on one [`List`] at a time.
pub(super) trait Linked {
    fn links(&mut self) -> &mut Links;
}

/// Where on a list to put something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Head,
    Tail,
}

/// A doubly linked list of values in a [`Slots`]; everything takes constant time, so does taking a
/// value out of the middle. Whoever owns the list knows which values are on it.
#[derive(Debug, Default)]
pub(super) struct List {
    head: Option<Key>,
    tail: Option<Key>,
    len: u32,
}

impl List {
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn head(&self) -> Option<Key> {
        self.head
    }

    /// Puts a value on the list; it must be on none.
    pub(super) fn push<T: Linked>(&mut self, end: End, key: Key, slots: &mut Slots<T>) {
        let links = match end {
            End::Head => Links { before: None, after: self.head },
            End::Tail => Links { before: self.tail, after: None },
        };
        let Some(value) = slots.get_mut(key) else { return };
        *value.links() = links;
        match links.before.and_then(|before| slots.get_mut(before)) {
            Some(before) => before.links().after = Some(key),
            None => self.head = Some(key),
        }
        match links.after.and_then(|after| slots.get_mut(after)) {
            Some(after) => after.links().before = Some(key),
            None => self.tail = Some(key),
        }
        self.len += 1;
    }

    /// Takes a value off the list; it must be on this one.
    pub(super) fn remove<T: Linked>(&mut self, key: Key, slots: &mut Slots<T>) {
        let Some(value) = slots.get_mut(key) else { return };
        let links = std::mem::take(value.links());
        match links.before.and_then(|before| slots.get_mut(before)) {
            Some(before) => before.links().after = links.after,
            None => self.head = links.after,
        }
        match links.after.and_then(|after| slots.get_mut(after)) {
            Some(after) => after.links().before = links.before,
            None => self.tail = links.before,
        }
        self.len -= 1;
    }

    pub(super) fn pop<T: Linked>(&mut self, slots: &mut Slots<T>) -> Option<Key> {
        let key = self.head?;
        self.remove(key, slots);
        Some(key)
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
        let (mut list, mut model) = (List::default(), VecDeque::new());
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
                    assert_eq!(list.pop(&mut slots), expected);
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
            assert_eq!(list.head(), model.front().copied());
            assert_eq!(list.tail, model.back().copied());
        }
    }
}
