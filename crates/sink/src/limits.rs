//! Limits that all sessions of a sink share, and that may change while they run.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::config::Limits;
use crate::server::{address_hash, lock};

/// The shared state behind [`Limits`], but for the size, which is offered and stays.
#[derive(Debug)]
pub(crate) struct LimitState {
    max_conns: Setting,
    max_per_conn: Setting,
    max_rcpts: Setting,
    /// How long a pair is refused, in nanoseconds.
    greylist: Setting,
    /// When each pair of reverse-path and recipient first came.
    first_seen: Mutex<HashMap<(u64, u64), Instant>>,
    /// Nanoseconds between two mails: capacity is a token bucket in its virtual form.
    interval: Setting,
    /// The time at which the mails admitted so far would have been worked off.
    worked_off: Mutex<Option<Instant>>,
}

impl LimitState {
    pub(crate) fn new(limits: &Limits) -> Self {
        let state = Self {
            max_conns: Setting::none(),
            max_per_conn: Setting::none(),
            max_rcpts: Setting::none(),
            greylist: Setting::none(),
            first_seen: Mutex::default(),
            interval: Setting::none(),
            worked_off: Mutex::default(),
        };
        state.set(limits);
        state
    }

    /// Other limits from now on. Pairs that are greylisted stay so, counted from when they came.
    pub(crate) fn set(&self, limits: &Limits) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(Setting::NONE);
        self.max_conns.set(limits.max_conns);
        self.max_per_conn.set(limits.max_per_conn);
        self.max_rcpts.set(limits.max_rcpts.map(|limit| limit as u64));
        self.greylist.set(limits.greylist.map(nanos));
        let interval = limits.capacity.map(|rate| nanos(rate.interval()));
        if interval != self.interval.value() {
            // Mails are not held against a new rate that were admitted at an old one.
            *lock(&self.worked_off) = None;
            self.interval.set(interval);
        }
    }

    /// Sessions open at once.
    pub(crate) fn max_conns(&self) -> Option<u64> {
        self.max_conns.value()
    }

    /// MAIL commands on one connection.
    pub(crate) fn max_per_conn(&self) -> Option<u64> {
        self.max_per_conn.value()
    }

    /// Recipients of one mail.
    pub(crate) fn max_rcpts(&self) -> Option<usize> {
        self.max_rcpts.value().map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// How long this recipient has to wait, if it has to.
    pub(crate) fn greylisted(
        &self,
        now: Instant,
        reverse_path: &[u8],
        forward_path: &[u8],
    ) -> Option<Duration> {
        let wait = Duration::from_nanos(self.greylist.value()?);
        let pair = (address_hash(reverse_path), address_hash(forward_path));
        let mut first_seen = lock(&self.first_seen);
        if first_seen.len() >= MAX_PAIRS && !first_seen.contains_key(&pair) {
            return None;
        }
        let first = *first_seen.entry(pair).or_insert(now);
        let left = wait.saturating_sub(now.saturating_duration_since(first));
        (!left.is_zero()).then_some(left)
    }

    /// Takes the capacity for one mail; false if there is none left.
    pub(crate) fn admits_mail(&self, now: Instant) -> bool {
        let Some(interval) = self.interval.value().map(Duration::from_nanos) else { return true };
        let mut worked_off = lock(&self.worked_off);
        let next = worked_off.unwrap_or(now).max(now) + interval;
        let admitted = next.saturating_duration_since(now) <= BURST.max(interval);
        if admitted {
            *worked_off = Some(next);
        }
        admitted
    }
}

/// A number that may be absent, read by every command of every session: without a lock.
#[derive(Debug)]
struct Setting(AtomicU64);

impl Setting {
    /// Stands for no limit, which it is.
    const NONE: u64 = u64::MAX;

    fn none() -> Self {
        Self(AtomicU64::new(Self::NONE))
    }

    fn set(&self, value: Option<u64>) {
        self.0.store(value.unwrap_or(Self::NONE), Relaxed);
    }

    fn value(&self) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|value| *value != Self::NONE)
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
        let at = |seconds, to: &str| {
            let wait =
                state.greylisted(start + Duration::from_secs(seconds), b"a@x", to.as_bytes());
            wait.map_or(0, |wait| wait.as_secs())
        };
        assert_eq!(at(0, "b@y"), 60);
        assert_eq!(at(59, "b@y"), 1);
        assert_eq!(at(59, "c@y"), 60);
        assert_eq!(at(60, "b@y"), 0);
        assert_eq!(at(60, "c@y"), 59);
        // It counts from when the pair came, also if the wait is another by now.
        state.set(&Limits { greylist: Some(Duration::from_secs(10)), ..limits });
        assert_eq!(at(65, "c@y"), 4);
        state.set(&Limits::default());
        assert_eq!(at(65, "c@y"), 0);
    }

    #[test]
    fn capacity_is_a_rate_with_a_small_burst() {
        let with = |rate: &str| Limits { capacity: rate.parse().ok(), ..Limits::default() };
        let state = LimitState::new(&with("100/s"));
        let start = Instant::now();
        // Asked every millisecond: the rate, and the burst at the start.
        let admitted = |seconds: std::ops::Range<u64>| {
            let times = (seconds.start * 1000..seconds.end * 1000).map(Duration::from_millis);
            times.filter(|&at| state.admits_mail(start + at)).count()
        };
        let first = admitted(0..10);
        assert!((1000..=1020).contains(&first), "{first}");
        state.set(&with("1/h"));
        assert_eq!(admitted(10..20), 1);
        state.set(&with("20/s"));
        let last = admitted(20..30);
        assert!((200..=204).contains(&last), "{last}");
        state.set(&Limits::default());
        assert_eq!(admitted(30..31), 1000);
    }
}
