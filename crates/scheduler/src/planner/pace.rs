//! How fast a server is sent mails that said that they come too fast.

use std::time::Duration;

use crate::time::Time;

/// The rate that a server bears, as learned from its refusals.
///
/// No bound until the server throttles. Then it is a little less than what the server took since
/// the last time, and grows slowly with what it takes: about a twentieth in a second. So it stays
/// near the server's own rate, and runs into it every few seconds with one mail.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Mails a second; `None` if there is no bound.
    rate: Option<f64>,
    /// Mails taken since then, and when the last one was.
    taken: u32,
    since: Time,
    last: Time,
    /// When the server throttled last.
    learned: Time,
    /// The next mail may go.
    next: Time,
}

/// The part of what a server took that it is sent from then on.
const DECREASE: f64 = 0.85;
/// What each mail that it takes adds to the mails a second.
const INCREASE: f64 = 0.05;
/// A server is asked once in a while, however little it takes.
const SLOWEST: f64 = 1.0 / 60.0;
/// A server that takes so many a second needs no bound.
const FASTEST: f64 = 100_000.0;
/// After so long without a mail, what was taken before says nothing about how fast that can go.
const BREAK: Duration = Duration::from_secs(1);
/// So long without a throttle, and the bound is forgotten.
const MEMORY: Duration = Duration::from_secs(3600);
/// So much of a pause counts when the rate after it is measured.
const LONGEST_REST: Duration = Duration::from_secs(2);
/// A shorter time says nothing about a rate.
const SHORTEST: Duration = Duration::from_millis(100);

impl Pace {
    /// Mails a second, if there is a bound.
    pub(super) fn rate(&self, now: Time) -> Option<f64> {
        self.rate.filter(|_| now - self.learned < MEMORY)
    }

    /// The same a minute.
    pub(super) fn per_minute(&self, now: Time) -> Option<u32> {
        // Saturates, and is never near that.
        self.rate(now).map(|rate| (rate * 60.0) as u32)
    }

    /// Whether the server took anything since it throttled last.
    pub(super) fn has_taken(&self) -> bool {
        self.taken > 0
    }

    /// No mail is to be started before.
    pub(super) fn next(&self) -> Time {
        self.next
    }

    /// A mail is started.
    pub(super) fn start(&mut self, now: Time) {
        if let Some(rate) = self.rate(now) {
            self.next = self.next.max(now) + Duration::from_secs_f64(1.0 / rate);
        }
    }

    /// The server took a mail.
    pub(super) fn taken(&mut self, now: Time) {
        self.rate = self.rate(now);
        // At the server's own pace there are breaks between any two.
        let pause = self.rate.map_or(BREAK, |rate| BREAK.max(Duration::from_secs_f64(3.0 / rate)));
        let was_idle = now - self.last > pause;
        if was_idle {
            (self.taken, self.since) = (0, now);
        }
        self.last = now;
        self.taken = self.taken.saturating_add(1);
        let faster = self.rate.map(|rate| rate + INCREASE);
        self.rate = faster.filter(|&rate| rate < FASTEST);
    }

    /// The server throttled, and is left alone until then.
    pub(super) fn throttled(&mut self, now: Time, until: Time) {
        let time = (now - self.since).max(SHORTEST).as_secs_f64();
        let seen = f64::from(self.taken) / time;
        let known = self.rate(now).unwrap_or(FASTEST);
        self.rate = match self.taken {
            0 => self.rate(now).map(|rate| (rate / 2.0).max(SLOWEST)),
            _ => Some((seen.min(known) * DECREASE).max(SLOWEST)),
        };
        // A bucket of tokens fills up meanwhile; a long pause says nothing about the rate.
        let since = until.before(LONGEST_REST).max(now);
        (self.taken, self.since, self.last, self.learned) = (0, since, until, now);
        self.next = self.next.max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server with a bucket of tokens: how many it took, and how many it refused.
    fn run(rate: f64, burst: f64, lasting: Duration) -> (u32, u32) {
        let mut pace = Pace::default();
        let (mut tokens, mut filled) = (burst, Time::EPOCH);
        let (mut taken, mut refused) = (0, 0);
        let mut now = Time::EPOCH;
        while now - Time::EPOCH < lasting {
            now = (now + Duration::from_millis(1)).max(pace.next());
            tokens = burst.min(tokens + rate * (now - filled).as_secs_f64());
            filled = now;
            pace.start(now);
            if tokens >= 1.0 {
                tokens -= 1.0;
                taken += 1;
                pace.taken(now);
            } else {
                refused += 1;
                pace.throttled(now, now + Duration::from_millis(250));
            }
        }
        (taken, refused)
    }

    #[test]
    fn the_pace_of_a_server_is_found() {
        for (rate, burst) in [(10.0, 100.0), (500.0, 100.0), (2.0, 1.0), (100.0, 5.0)] {
            let lasting = Duration::from_secs(300);
            let (taken, refused) = run(rate, burst, lasting);
            let used = f64::from(taken) / (rate * lasting.as_secs_f64());
            println!("{rate}/s: {used:.3} used, {refused} of {taken} refused");
            assert!(used > 0.75, "{rate}: {used}");
            assert!(refused < 200 && refused < taken / 4, "{rate}: {refused} of {taken}");
        }
    }
}
