//! What is to happen when.

use std::collections::BTreeSet;

use crate::time::Time;

/// Timers of one planner, each an instant and whom it is for.
///
/// Every timer that is armed is wanted: whoever no longer wants one disarms it. Therefore the
/// earliest is exact, and nobody is woken for nothing. At equal times the order is that of `T`.
#[derive(Debug)]
pub(super) struct Timers<T> {
    armed: BTreeSet<(Time, T)>,
}

impl<T: Ord + Copy> Timers<T> {
    pub(super) fn new() -> Self {
        Self { armed: BTreeSet::new() }
    }

    /// Moves the timer for `whom` to `at`, or disarms it; `slot` is where its owner remembers it.
    pub(super) fn set(&mut self, slot: &mut Option<Time>, at: Option<Time>, whom: T) {
        let at = at.filter(|&at| at < Time::NEVER);
        if *slot == at {
            return;
        }
        if let Some(armed) = slot.take() {
            self.armed.remove(&(armed, whom));
        }
        if let Some(at) = at {
            self.armed.insert((at, whom));
            *slot = Some(at);
        }
    }

    /// Takes the earliest timer that is due. Its owner's slot is stale from then on.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<T> {
        let &(at, whom) = self.armed.first()?;
        if at > now {
            return None;
        }
        self.armed.pop_first();
        Some(whom)
    }

    pub(super) fn earliest(&self) -> Option<Time> {
        self.armed.first().map(|&(at, _)| at)
    }
}
