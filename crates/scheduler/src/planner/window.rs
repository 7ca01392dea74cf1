//! How many mails are on their way to a server at a time, where that needs a bound at all.

use std::time::Duration;

use crate::time::Time;

/// The bound on mails in flight to one server, and what it follows: silent overload, and the
/// recovery after the server wanted a pause.
///
/// Unbounded until there is a reason. Overload takes three tenths away, at most once in the time
/// that a mail takes; each round of successes gives one back. After a pause it starts over with a
/// single mail, and doubles with each round up to half of what it was before: slow start.
#[derive(Debug)]
pub(super) struct Window {
    /// Most mails in flight.
    limit: u32,
    /// Below it, each success adds one; above it, each round.
    slow_start_below: u32,
    /// Successes since the limit last grew.
    successes: u32,
    /// Overload before this time is the same as the last.
    reacts: Time,
    /// The limit does not grow before this time.
    grows: Time,
    pub(super) latency: Latency,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            limit: UNBOUNDED,
            slow_start_below: 0,
            successes: 0,
            reacts: Time::EPOCH,
            grows: Time::EPOCH,
            latency: Latency::default(),
        }
    }
}

const UNBOUNDED: u32 = u32::MAX;

impl Window {
    /// Most mails in flight, `None` if there is no bound.
    pub(super) fn limit(&self) -> Option<u32> {
        (self.limit < UNBOUNDED).then_some(self.limit)
    }

    pub(super) fn has_room(&self, in_flight: u32) -> bool {
        in_flight < self.limit
    }

    /// The server cannot keep up with the mails that are in flight. Gives the new limit, if it is
    /// one.
    pub(super) fn overload(&mut self, now: Time, in_flight: u32) -> Option<u32> {
        // With nothing in flight it is no matter of how much is.
        if now < self.reacts || in_flight == 0 {
            return None;
        }
        self.reacts = now + self.latency.mean.max(SHORTEST_REACTION);
        let from = u64::from(self.limit.min(in_flight));
        let to = u32::try_from(from * 7 / 10).unwrap_or(UNBOUNDED).max(1);
        if to >= self.limit {
            return None;
        }
        (self.limit, self.slow_start_below, self.successes) = (to, 0, 0);
        Some(to)
    }

    /// The server is not there: what it could bear has to be found out anew.
    pub(super) fn lift(&mut self) {
        self.limit = UNBOUNDED;
    }

    /// The server wants a pause: when that is over, one mail goes first.
    pub(super) fn restart(&mut self, in_flight: u32) {
        // Twice in a row, the first time knew better.
        if self.limit >= self.slow_start_below {
            self.slow_start_below = self.limit.min(in_flight) / 2;
        }
        (self.limit, self.successes) = (1, 0);
    }

    /// One mail at a time for so long.
    /// Whether that is news.
    pub(super) fn slow(&mut self, now: Time, lasting: Duration, in_flight: u32) -> bool {
        let is_news = now >= self.grows;
        if is_news {
            self.restart(in_flight);
            self.grows = now + lasting;
        }
        is_news
    }

    /// A mail was delivered while so many were in flight; no server is sent more than `most`.
    pub(super) fn succeed(&mut self, now: Time, in_flight: u32, most: u32) {
        if self.limit == UNBOUNDED || now < self.grows {
            return;
        }
        self.successes += 1;
        let round = if self.limit < self.slow_start_below { 1 } else { self.limit };
        if self.successes < round {
            return;
        }
        self.successes = 0;
        // What is not made use of has not been tried.
        if in_flight >= self.limit / 2 {
            self.limit += 1;
        }
        if self.limit >= most {
            self.limit = UNBOUNDED;
        }
    }
}

/// A server on the same machine answers within microseconds, and one cannot react as fast.
const SHORTEST_REACTION: Duration = Duration::from_millis(100);

/// How long a server takes for a mail, and whether that is longer than it used to be.
///
/// Looks at rounds of mails: their mean times, and how far these usually are from each other.
#[derive(Debug, Default)]
pub(super) struct Latency {
    /// The usual time.
    pub(super) mean: Duration,
    /// The usual distance from it, squared, in seconds.
    variance: f64,
    /// Rounds seen, up to [`Self::LEARNED`].
    seen: u32,
    /// The last round was slow.
    was_slow: bool,
    /// This round: mails, and their time together.
    mails: u32,
    time: Duration,
}

impl Latency {
    /// So many rounds make it known what is usual.
    const KNOWN: u32 = 16;
    /// So many rounds ago is long ago. Were it less, the usual would follow a server that is slowed
    /// down by one mail more in each round.
    const LEARNED: u32 = 128;
    /// Mails in a round at least. One slow mail is no sign, nor is one slow round.
    const ROUND: u32 = 8;
    /// How many usual distances from the usual are too many.
    const DISTANCES: f64 = 2.5;
    /// Whatever the distances: what is not twice as slow is not slow.
    const FACTOR: f64 = 2.0;
    /// A server that answers within this time is not slow: what varies by milliseconds may as well
    /// be this machine.
    const QUICK: f64 = 0.05;
    /// The weight of a slow round, in what is usual.
    const DOUBT: f64 = 1.0 / 1024.0;
    /// A mail counts as so many times as long as usual at most.
    const OUTLIER: u32 = 4;

    /// A mail took this long, so many being in flight: whether the server has got slow.
    pub(super) fn took(&mut self, time: Duration, in_flight: u32) -> bool {
        let is_first = self.seen == 0;
        self.mails += 1;
        // One that takes for ever is no more of a sign than one that takes long.
        let most = if is_first { Duration::MAX } else { self.mean * Self::OUTLIER };
        self.time = self.time.saturating_add(time.min(most));
        if self.mails < in_flight.max(Self::ROUND) && !is_first {
            return false;
        }
        let round = self.time.as_secs_f64() / f64::from(self.mails);
        (self.mails, self.time) = (0, Duration::ZERO);
        let mean = self.mean.as_secs_f64();
        let usual = mean + Self::DISTANCES * self.variance.sqrt();
        let is_slow =
            self.seen >= Self::KNOWN && round > usual.max(mean * Self::FACTOR).max(Self::QUICK);
        let was_slow = std::mem::replace(&mut self.was_slow, is_slow);
        self.seen = (self.seen + 1).min(Self::LEARNED);
        // What lasts becomes usual in the end.
        if is_slow {
            self.mean = self.mean.mul_f64(1.0 - Self::DOUBT);
            self.mean += Duration::from_secs_f64(round * Self::DOUBT);
        } else {
            self.learn(round);
        }
        is_slow && was_slow
    }

    fn learn(&mut self, round: f64) {
        let weight = 1.0 / f64::from(self.seen);
        let mean = self.mean.as_secs_f64();
        let distance = round - mean;
        self.mean = Duration::from_secs_f64((mean + weight * distance).max(0.0));
        self.variance = (1.0 - weight) * (self.variance + weight * distance * distance);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Time {
        Time::after_epoch(Duration::from_millis(milliseconds))
    }

    #[test]
    fn overload_takes_three_tenths_once_in_a_while() {
        let mut window = Window::default();
        assert_eq!(window.limit(), None);
        assert_eq!(window.overload(at(0), 20), Some(14));
        assert_eq!(window.overload(at(50), 20), None, "it is the same overload");
        assert_eq!(window.overload(at(200), 14), Some(9));
        let mut now = 300;
        while window.overload(at(now), 20).is_some() {
            now += 200;
        }
        assert_eq!(window.limit(), Some(1));
    }

    #[test]
    fn a_round_of_successes_gives_one_back() {
        let mut window = Window::default();
        window.overload(at(0), 20);
        for expected in [15, 16, 17] {
            for _ in 1..expected {
                window.succeed(at(0), expected, 20);
            }
            assert_eq!(window.limit(), Some(expected));
        }
        for _ in 0..17 + 18 + 19 {
            window.succeed(at(0), 20, 20);
        }
        assert_eq!(window.limit(), None, "there is nothing to bound any more");
    }

    #[test]
    fn after_a_pause_it_doubles_with_each_round() {
        let mut window = Window::default();
        window.restart(32);
        for expected in [1, 2, 4, 8, 16] {
            assert_eq!(window.limit(), Some(expected));
            for _ in 0..expected {
                window.succeed(at(0), expected, 64);
            }
        }
        assert_eq!(window.limit(), Some(17), "from half of what it was on, one a round");
        window.restart(17);
        assert_eq!(window.limit(), Some(1));
    }

    #[test]
    fn a_limit_that_is_not_made_use_of_does_not_grow() {
        let mut window = Window::default();
        window.overload(at(0), 20);
        for _ in 0..100 {
            window.succeed(at(0), 1, 20);
        }
        assert_eq!(window.limit(), Some(14));
    }

    /// One that is slow now and then is not slow; one that got slow is noticed in two rounds.
    #[test]
    fn slowness_is_noticed_and_noise_is_not() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut latency = Latency::default();
        for _ in 0..10_000 {
            let time = if rng.u8(..100) == 0 { 500 } else { rng.u64(10..50) };
            assert!(!latency.took(Duration::from_millis(time), 8));
        }
        let slow = (0..30).position(|_| latency.took(Duration::from_millis(400), 8));
        assert!(slow.is_some_and(|after| after < 24), "{slow:?}");
    }
}
