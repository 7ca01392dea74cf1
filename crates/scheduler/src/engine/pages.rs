//! A table by small numbers that grows without being copied, and shrinks again.

/// Entries of a page: so few that a page is made in a microsecond while the lock is held, so many that the way
/// there weighs nothing.
const PAGE: usize = 64;

/// A table of which each page is there only as long as it has an entry.
#[derive(Debug)]
pub(super) struct Pages<T> {
    pages: Vec<Option<Box<Page<T>>>>,
}

#[derive(Debug)]
struct Page<T> {
    used: usize,
    entries: [Option<T>; PAGE],
}

impl<T> Pages<T> {
    pub(super) fn new() -> Self {
        Self { pages: Vec::new() }
    }

    /// Enters something, and forgets what stood there.
    pub(super) fn put(&mut self, index: usize, value: T) {
        let (number, place) = (index / PAGE, index % PAGE);
        if self.pages.len() <= number {
            self.pages.resize_with(number + 1, || None);
        }
        let page = self.pages[number].get_or_insert_with(|| Box::new(Page::new()));
        page.used += usize::from(page.entries[place].is_none());
        page.entries[place] = Some(value);
    }

    pub(super) fn get(&self, index: usize) -> Option<&T> {
        self.pages.get(index / PAGE)?.as_ref()?.entries.get(index % PAGE)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.pages.get_mut(index / PAGE)?.as_mut()?.entries.get_mut(index % PAGE)?.as_mut()
    }

    pub(super) fn take(&mut self, index: usize) -> Option<T> {
        let slot = self.pages.get_mut(index / PAGE)?;
        let page = slot.as_mut()?;
        let value = page.entries.get_mut(index % PAGE)?.take()?;
        page.used -= 1;
        // The first one stays, for those who send one mail at a time.
        if page.used == 0 && index >= PAGE {
            *slot = None;
        }
        Some(value)
    }
}

impl<T> Page<T> {
    fn new() -> Self {
        Self { used: 0, entries: std::array::from_fn(|_| None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_and_go() {
        let mut pages = Pages::new();
        for index in [0, PAGE - 1, PAGE, 5 * PAGE + 3] {
            assert!(pages.get_mut(index).is_none());
            pages.put(index, index);
        }
        pages.put(PAGE, 7);
        assert_eq!(pages.get(PAGE), Some(&7));
        assert_eq!(pages.take(PAGE), Some(7));
        assert_eq!(pages.take(PAGE), None);
        assert_eq!(pages.take(5 * PAGE + 3), Some(5 * PAGE + 3));
        assert_eq!(pages.get_mut(PAGE - 1), Some(&mut (PAGE - 1)));
    }

    #[test]
    fn empty_pages_are_given_back() {
        let mut pages = Pages::new();
        for index in 0..10 * PAGE {
            pages.put(index, index);
        }
        for index in 0..10 * PAGE {
            pages.take(index);
        }
        assert_eq!(pages.pages.iter().flatten().count(), 1);
    }
}
