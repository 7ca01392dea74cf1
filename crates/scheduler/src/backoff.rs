//! How long to wait: for a server that fails, and for a mail that was deferred.

use std::time::Duration;

use fastrand::Rng;

/// How long a server is left alone after failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    /// The wait after the first failure; it doubles with each further one.
    pub base: Duration,
    /// The longest wait.
    pub cap: Duration,
}

impl BackOff {
    /// The wait after this many failures in a row, zero for none.
    ///
    /// Equal jitter: half of the wait is certain, so that the server gets its rest, and half is
    /// random, so that clients that failed together do not come back together.
    pub fn after(&self, failures: u32, rng: &mut Rng) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        let wait = doubled(self.base, doublings).min(self.cap);
        wait.mul_f64(0.5 + 0.5 * rng.f64())
    }
}

impl Default for BackOff {
    /// 1 s, 2 s, 4 s … 30 s.
    fn default() -> Self {
        Self { base: Duration::from_secs(1), cap: Duration::from_secs(30) }
    }
}

/// When a mail that was deferred is tried again, and when no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many attempts a mail has, at least 1. Trouble of a server uses none up.
    pub attempts: u32,
    /// The wait before the second attempt; it doubles with each further one.
    pub min: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl RetryPolicy {
    /// The wait after this many attempts, give or take a fifth.
    pub fn after(&self, attempts: u32, rng: &mut Rng) -> Duration {
        let wait = doubled(self.min, attempts.saturating_sub(1)).min(self.max);
        jittered(wait, rng)
    }
}

impl RetryPolicy {
    /// The same, or longer where the server asked for it, but not longer than the longest wait.
    pub(crate) fn asked(&self, attempts: u32, asked: Duration, rng: &mut Rng) -> Duration {
        self.after(attempts, rng).max(jittered(asked.min(self.max), rng))
    }
}

impl Default for RetryPolicy {
    /// Five attempts, with waits from 1 s to 5 minutes.
    fn default() -> Self {
        Self { attempts: 5, min: Duration::from_secs(1), max: Duration::from_secs(300) }
    }
}

/// ±20 %: mails that were deferred together do not all come back in one instant.
pub(crate) fn jittered(wait: Duration, rng: &mut Rng) -> Duration {
    wait.mul_f64(0.8 + 0.4 * rng.f64())
}

pub(crate) fn doubled(wait: Duration, doublings: u32) -> Duration {
    wait.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(LONGEST)
}

/// A year: longer than any mail lives, and far from where arithmetic with durations overflows.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    /// Bounds of the waits after 1, 2, 3 … failures or attempts, in milliseconds.
    #[track_caller]
    fn check(wait: impl Fn(u32, &mut Rng) -> Duration, expected: &[(u128, u128)]) {
        for (count, &(least, most)) in (1..).zip(expected) {
            let mut rng = Rng::with_seed(7);
            let waits: Vec<_> = (0..1000).map(|_| wait(count, &mut rng).as_millis()).collect();
            let (min, max) = (*waits.iter().min().unwrap(), *waits.iter().max().unwrap());
            assert!(least <= min && max <= most, "{count}: {min} to {max}");
            let range = most - least;
            assert!(min < least + range / 10 && max > most - range / 10, "{count}: no jitter");
        }
    }

    #[test]
    fn servers_rest_at_least_half_of_a_doubling_wait() {
        let bounds = [(500, 1000), (1000, 2000), (2000, 4000), (4000, 8000), (8000, 16_000)];
        let back_off = BackOff::default();
        check(|failures, rng| back_off.after(failures, rng), &bounds);
        check(|more, rng| back_off.after(more + 5, rng), &[(15_000, 30_000); 100]);
        assert_eq!(back_off.after(0, &mut Rng::with_seed(1)), Duration::ZERO);
    }

    #[test]
    fn mails_wait_a_doubling_time_give_or_take_a_fifth() {
        let bounds = [(800, 1200), (1600, 2400), (3200, 4800), (6400, 9600)];
        let policy = RetryPolicy::default();
        check(|attempts, rng| policy.after(attempts, rng), &bounds);
        check(|more, rng| policy.after(more + 9, rng), &[(240_000, 360_000); 100]);
    }

    /// Q40: a server may ask for patience, but not for more than whoever sends has.
    #[test]
    fn mails_wait_as_long_as_the_server_asks_within_reason() {
        let policy = RetryPolicy::default();
        let minute = Duration::from_secs(60);
        check(|attempts, rng| policy.asked(attempts, minute, rng), &[(48_000, 72_000); 5]);
        check(|attempts, rng| policy.asked(attempts, minute * 60, rng), &[(240_000, 360_000); 5]);
        check(|attempts, rng| policy.asked(attempts, Duration::ZERO, rng), &[(800, 1200)]);
    }
}
