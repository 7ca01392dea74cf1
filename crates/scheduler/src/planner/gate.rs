//! What keeps a planner from a server for a while: failures, and wishes of the server.

use std::time::Duration;

use fastrand::Rng;

use super::action::Hold;
use crate::backoff::{BackOff, doubled};
use crate::failure::{MAX_PAUSE, Weight};
use crate::time::Time;

/// The failures of a server, and the rest it gets after each.
///
/// Closed (no failure), open until a time, then half-open: on trial, one connection at a time.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Failures in a row, less those forgiven.
    pub(super) failures: u32,
    /// No connection is opened before.
    pub(super) until: Time,
    /// Since the last failure no connection was ready: only one at a time is opened.
    pub(super) on_trial: bool,
    /// When the last failure was counted.
    since: Time,
    /// Successes before this time forgive nothing.
    forgives: Time,
}

/// What came of telling a [`Breaker`] of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Failure,
    /// It belongs to a failure that was counted already.
    Known,
}

impl Breaker {
    /// Counts a failure of a connection, unless it is of the same trouble as the last one: while
    /// the server rests, or of a connection that was on its way before that.
    pub(super) fn fail(
        &mut self,
        now: Time,
        attempted: Option<Time>,
        weight: Weight,
        policy: &BackOff,
        rng: &mut Rng,
    ) -> Counted {
        let old_news = attempted.is_some_and(|opened| opened < self.since);
        if self.failures > 0 && (now < self.until || old_news) {
            return Counted::Known;
        }
        let weight = match weight {
            Weight::Single => 1,
            Weight::Double => 2,
        };
        self.failures = self.failures.saturating_add(weight);
        self.since = now;
        self.forgives = now;
        self.on_trial = true;
        self.until = now + policy.after(self.failures, rng);
        Counted::Failure
    }

    /// The server did what it is for, over a connection that was opened then; one from before the
    /// failure says nothing. Halves the count, then not again before a full wait is over: a server
    /// that goes up and down keeps a part of its record.
    pub(super) fn succeed(&mut self, now: Time, opened: Time, policy: &BackOff) -> bool {
        if self.failures == 0 || opened < self.since || now < self.forgives {
            return false;
        }
        self.failures /= 2;
        self.forgives = now + policy.cap;
        true
    }
}

/// A closed gate, and how often it was closed for the same reason.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) until: Time,
    reason: Option<Hold>,
    level: u32,
    /// How long it was closed the last time.
    wait: Duration,
    /// Successes before this time forgive nothing.
    forgives: Time,
}

/// The longest wait that a server gets when it asks for the first time.
const PAUSE: Duration = Duration::from_secs(60);

impl Gate {
    /// Closes the gate, for twice as long as the last time, and for as long as the server asked
    /// for, up to [`PAUSE`] if it asks for the first time: what is said once may be an accident.
    /// Does nothing if it is closed for this already, unless the server asks for more.
    pub(super) fn close(
        &mut self,
        now: Time,
        hold: Hold,
        asked: Duration,
        rng: &mut Rng,
    ) -> Option<Time> {
        let is_same = self.reason == Some(hold);
        let is_known = now < self.until && is_same;
        let asked = asked.min(if is_same && !is_known { MAX_PAUSE } else { PAUSE });
        if is_known && now + asked <= self.until {
            return None;
        }
        let (base, cap) = hold.waits();
        let level = if is_same { self.level.saturating_add(u32::from(!is_known)) } else { 1 };
        let wait = doubled(base, level.saturating_sub(1)).min(cap).max(asked);
        if !is_same && now + wait <= self.until {
            return None; // it is closed for longer for another reason
        }
        (self.reason, self.level, self.wait) = (Some(hold), level, wait);
        // At least the wait, since servers count; a little more, since others wait as well.
        self.until = self.until.max(now + self.wait.mul_f64(1.0 + 0.2 * rng.f64()));
        self.forgives = self.until;
        Some(self.until)
    }

    /// Things went well since it was opened: the next time it is closed as if it were the first.
    pub(super) fn relent(&mut self, now: Time) {
        if now >= self.until {
            (self.reason, self.level) = (None, 0);
        }
    }

    /// Things go well since the gate was opened: halves the level, and not again before as long a
    /// time as it was closed has gone well.
    pub(super) fn forgive(&mut self, now: Time) {
        if self.level > 0 && now >= self.forgives {
            self.level /= 2;
            self.forgives = now + self.wait;
            if self.level == 0 {
                self.reason = None;
            }
        }
    }

    /// Forgets at once: what it was closed for is no more.
    pub(super) fn forget(&mut self, now: Time) {
        if now >= self.until {
            (self.reason, self.level) = (None, 0);
        }
    }

    /// Why it is closed.
    pub(super) fn closed(&self, now: Time) -> Option<Hold> {
        self.reason.filter(|_| now < self.until)
    }
}

impl Hold {
    /// The first wait, and the longest one.
    fn waits(self) -> (Duration, Duration) {
        let (base, cap) = match self {
            Self::Full => (5, 60),
            Self::Throttled => (1, 60),
            // Accounts are locked after a few bad logins.
            Self::Credentials | Self::Requirement => (300, 3600),
            Self::Unwelcome => (900, 3600),
            Self::Local => (10, 10),
        };
        (Duration::from_secs(base), Duration::from_secs(cap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::after_epoch(Duration::from_secs(seconds))
    }

    /// A failure of a connection that was on its way before the last one is no news.
    #[test]
    fn connections_that_fail_together_are_one_failure() {
        let (mut breaker, mut rng) = (Breaker::default(), Rng::with_seed(1));
        for (now, opened, expected) in [
            (30, Some(0), Counted::Failure),
            (30, Some(1), Counted::Known),
            (32, Some(2), Counted::Known),
            (33, Some(31), Counted::Failure),
            (33, None, Counted::Known),
            (36, None, Counted::Failure),
        ] {
            let opened = opened.map(at);
            let policy = BackOff::default();
            let counted = breaker.fail(at(now), opened, Weight::Single, &policy, &mut rng);
            assert_eq!(counted, expected, "{now} s: {breaker:?}");
        }
        assert_eq!(breaker.failures, 3);
    }

    /// One success halves the count, and more of them do nothing for a while.
    #[test]
    fn failures_are_forgiven_slowly() {
        let policy = BackOff::default();
        let mut breaker = Breaker { failures: 8, since: at(10), ..Breaker::default() };
        for (now, opened, failures) in [
            (11, 9, 8),
            (11, 10, 4),
            (12, 10, 4),
            (40, 10, 4),
            (41, 10, 2),
            (71, 10, 1),
            (101, 10, 0),
        ] {
            breaker.succeed(at(now), at(opened), &policy);
            assert_eq!(breaker.failures, failures, "{now} s");
        }
    }

    #[test]
    fn a_gate_is_closed_for_longer_each_time_in_a_row() {
        let (mut gate, mut rng) = (Gate::default(), Rng::with_seed(1));
        let mut close =
            |gate: &mut Gate, now| gate.close(now, Hold::Full, Duration::ZERO, &mut rng);
        let mut now = Time::EPOCH;
        for least in [5, 10, 20, 40, 60, 60].map(Duration::from_secs) {
            let until = close(&mut gate, now).unwrap();
            assert!(until - now >= least && until - now <= least * 6 / 5);
            assert_eq!(close(&mut gate, now), None, "it is closed already");
            gate.forget(now);
            now = until;
        }
        gate.forget(now);
        let until = close(&mut gate, now).unwrap();
        assert!(until - now <= Duration::from_secs(6));
    }
    /// Q40: a server knows best how long.
    #[test]
    fn a_gate_is_closed_for_as_long_as_the_server_asks() {
        let (mut gate, mut rng) = (Gate::default(), Rng::with_seed(1));
        let hour = Duration::from_secs(3600);
        let mut close = |now, asked| gate.close(at(now), Hold::Throttled, asked, &mut rng);
        assert!(close(0, Duration::ZERO).is_some_and(|until| until <= at(2)));
        assert!(close(0, hour).is_some_and(|until| until >= at(60)), "that is news");
        assert_eq!(close(1, hour / 2), None, "others hear the same");
        assert!(close(100, hour).is_some_and(|until| until >= at(3700)), "it means it");
        assert!(close(10_000, 1000 * hour).is_some_and(|until| until <= at(10_000 + 5 * 3600)));
    }

    #[test]
    fn a_gate_forgives_step_by_step() {
        let (mut gate, mut rng) = (Gate::default(), Rng::with_seed(1));
        let mut now = Time::EPOCH;
        for _ in 0..4 {
            let until = gate.close(now, Hold::Throttled, Duration::ZERO, &mut rng);
            now = until.unwrap();
        }
        let mut levels = Vec::new();
        for _ in 0..40 {
            gate.forgive(now);
            levels.push(gate.level);
            now = now + Duration::from_secs(1);
        }
        assert_eq!(levels[..9], [2, 2, 2, 2, 2, 2, 2, 2, 1]);
        assert_eq!(gate.level, 0);
    }
}
