//! Limits that all sessions of a sink share: greylisting and capacity.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Limits;
use crate::server::address_hash;
use crate::units::Rate;

/// The shared state behind [`Limits`].
#[derive(Debug)]
pub(crate) struct LimitState {
    greylist: Option<Greylist>,
    capacity: Option<Capacity>,
}

impl LimitState {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            greylist: limits.greylist.map(Greylist::new),
            capacity: limits.capacity.map(Capacity::new),
        }
    }

    /// Whether this recipient has to come again later.
    pub(crate) fn is_greylisted(
        &self,
        now: Instant,
        reverse_path: &str,
        forward_path: &str,
    ) -> bool {
        let greylist = self.greylist.as_ref();
        greylist.is_some_and(|greylist| greylist.refuses(now, reverse_path, forward_path))
    }

    /// Takes the capacity for one mail; false if there is none left.
    pub(crate) fn admits_mail(&self, now: Instant) -> bool {
        self.capacity.as_ref().is_none_or(|capacity| capacity.take(now))
    }
}

/// When each pair of reverse-path and recipient first came.
#[derive(Debug)]
struct Greylist {
    wait: Duration,
    first_seen: Mutex<HashMap<(u64, u64), Instant>>,
}

impl Greylist {
    fn new(wait: Duration) -> Self {
        Self { wait, first_seen: Mutex::default() }
    }

    fn refuses(&self, now: Instant, reverse_path: &str, forward_path: &str) -> bool {
        let pair = (address_hash(reverse_path), address_hash(forward_path));
        let mut first_seen = self.first_seen.lock().unwrap_or_else(PoisonError::into_inner);
        if first_seen.len() >= MAX_PAIRS && !first_seen.contains_key(&pair) {
            return false;
        }
        let first = *first_seen.entry(pair).or_insert(now);
        now.saturating_duration_since(first) < self.wait
    }
}

/// A token bucket in its virtual form: the time at which the mails admitted so far would have been
/// worked off.
#[derive(Debug)]
struct Capacity {
    interval: Duration,
    /// How far ahead of that time mails are admitted.
    burst: Duration,
    worked_off: Mutex<Option<Instant>>,
}

impl Capacity {
    fn new(rate: Rate) -> Self {
        let interval = rate.interval();
        Self { interval, burst: BURST.max(interval), worked_off: Mutex::new(None) }
    }

    fn take(&self, now: Instant) -> bool {
        let mut worked_off = self.worked_off.lock().unwrap_or_else(PoisonError::into_inner);
        let next = worked_off.unwrap_or(now).max(now) + self.interval;
        let admitted = next.saturating_duration_since(now) <= self.burst;
        if admitted {
            *worked_off = Some(next);
        }
        admitted
    }
}

/// Pairs a greylist remembers; further ones are let through. A million recipients, 48 MB.
const MAX_PAIRS: usize = 1 << 20;

/// Mails of this much time may come at once: pipelined flights are not a breach of the rate, and it is
/// short enough that the rate shows within a second.
const BURST: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_refused_until_its_time_has_passed() {
        let limits = Limits { greylist: Some(Duration::from_secs(60)), ..Limits::default() };
        let state = LimitState::new(&limits);
        let start = Instant::now();
        let at = |seconds, to| state.is_greylisted(start + Duration::from_secs(seconds), "a@x", to);
        assert!(at(0, "b@y"));
        assert!(at(59, "b@y"));
        assert!(at(59, "c@y"));
        assert!(!at(60, "b@y"));
        assert!(at(60, "c@y"));
    }

    #[test]
    fn capacity_is_a_rate_with_a_small_burst() {
        let limits = Limits { capacity: "100/s".parse().ok(), ..Limits::default() };
        let state = LimitState::new(&limits);
        let start = Instant::now();
        // Asked every millisecond for ten seconds: the rate, and the burst at the start.
        let admitted =
            (0..10_000).filter(|&ms| state.admits_mail(start + Duration::from_millis(ms))).count();
        assert!((1000..=1020).contains(&admitted), "{admitted}");
    }
}
