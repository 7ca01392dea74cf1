//! Exact rate limits: so much in so much time, whoever asks for it.

use std::collections::VecDeque;
use std::time::Duration;

use super::action::DestinationId;
use super::config::{LimitScope, Rate, Unit};
use super::slots::Key;
use super::timers::TimerSlot;
use crate::time::Time;

/// A limit and who waits for it.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) scope: LimitScope,
    pub(super) rate: Rate,
    pacer: Pacer,
    /// Who waits, in the order in which they came.
    pub(super) waiters: VecDeque<Waiter>,
    pub(super) timer: TimerSlot,
}

/// Who waits for a limit that several share. One that has gone in the meantime is found gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiter {
    /// All mail of a destination.
    Destination(DestinationId),
    /// The flow of one tenant.
    Flow(Key),
    /// A destination that wants another connection.
    Opening(DestinationId),
}

impl Limit {
    pub(super) fn new(scope: LimitScope, rate: Rate) -> Self {
        let (pacer, waiters) = (Pacer::new(rate), VecDeque::new());
        Self { scope, rate, pacer, waiters, timer: TimerSlot::default() }
    }

    /// Since when, or from when on, something may pass.
    pub(super) fn earliest(&self) -> Time {
        self.pacer.earliest()
    }

    /// When to look again after something could not pass: where the rate is high, several may
    /// pass then, instead of each being waited for by itself.
    pub(super) fn worth_waiting_for(&self) -> Time {
        self.pacer.worth_waiting_for()
    }

    /// How long one unit takes.
    pub(super) fn interval(&self) -> Duration {
        self.pacer.time_for(1)
    }

    /// Something passes.
    pub(super) fn take(&mut self, now: Time, cost: Cost) {
        self.pacer.take(now, cost.of(self.rate.unit));
    }

    /// What passes costs something else than what was taken for it.
    pub(super) fn settle(&mut self, taken: Cost, cost: Cost) {
        let unit = self.rate.unit;
        self.pacer.settle(taken.of(unit), cost.of(unit));
    }

    /// What was taken then is given back, as far as the time that it was to take is not over.
    pub(super) fn give_back(&mut self, taken: Time, cost: Cost) {
        self.pacer.give_back(taken, cost.of(self.rate.unit));
    }
}

/// What a mail, or a connection, takes from limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) mails: u32,
    pub(super) recipients: u32,
    pub(super) octets: u32,
    pub(super) connections: u32,
}

impl Cost {
    pub(super) const CONNECTION: Self = Self { mails: 0, recipients: 0, octets: 0, connections: 1 };

    /// What either costs at most.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            mails: self.mails.max(other.mails),
            recipients: self.recipients.max(other.recipients),
            octets: self.octets.max(other.octets),
            connections: self.connections.max(other.connections),
        }
    }

    fn of(self, unit: Unit) -> u64 {
        u64::from(match unit {
            Unit::Mails => self.mails,
            Unit::Recipients => self.recipients,
            Unit::Octets => self.octets,
            Unit::Connections => self.connections,
        })
    }
}

/// The generic cell rate algorithm: one point in time is nearly all its state.
///
/// Something passes if nothing is owed, and owes its cost from then on; what costs more than is
/// there passes as well, and is paid for later. Where the rate is more than one in a millisecond,
/// so many may pass at once, and the rate is lower by just so much, half a percent at most, that no
/// window of [`Rate::per`] ever has more than [`Rate::count`], what the last one owes not counted.
///
/// One that passes late, since nobody was there to see that it may, does not hold up those behind
/// it, as long as no more pass in 10 ms than would have.
#[derive(Debug)]
struct Pacer {
    /// Nanoseconds for `count` units.
    nanoseconds: u64,
    count: u64,
    /// How far ahead of its time something may pass.
    tolerance: Duration,
    /// When everything that has passed is paid for.
    paid: Time,
    /// When something last passed.
    last: Time,
    /// The last ones that passed, as many as may in 10 ms, as a ring.
    recent: [Time; MOST_RECENT],
    recents: u8,
    oldest: u8,
}

/// More than this many are not remembered.
const MOST_RECENT: usize = 8;
/// The time in which what is late may be made up for.
const STUMBLE: Duration = Duration::from_millis(10);

/// A mail that was let pass may start so many nanoseconds later, and the next one on time. The rate
/// is half a percent lower than it could be, or as much as makes up for that.
const LATE: u64 = 1_000_000;
/// Shorter than this nobody is kept waiting, if the rate allows more than one in it.
const GRAIN: Duration = Duration::from_millis(1);

impl Pacer {
    fn new(rate: Rate) -> Self {
        let per = u64::try_from(rate.per.as_nanos()).unwrap_or(u64::MAX).max(1);
        let late = (per / 200).max(LATE);
        let nanoseconds = per.saturating_add(late);
        let grain = u128::from(rate.count) * GRAIN.as_nanos() / u128::from(per);
        let at_once = u64::try_from(grain).unwrap_or(u64::MAX).clamp(1, 1 + rate.count / 200);
        let count = rate.count.max(1).saturating_add(1).saturating_sub(at_once).max(1);
        let (tolerance, paid, last) = (Duration::ZERO, Time::EPOCH, Time::EPOCH);
        let recents = if at_once > 1 { 1 } else { recents(rate, per) };
        let recent = [Time::EPOCH; MOST_RECENT];
        let mut pacer =
            Self { nanoseconds, count, tolerance, paid, last, recent, recents, oldest: 0 };
        pacer.tolerance = pacer.time_for(at_once - 1);
        pacer
    }

    fn time_for(&self, units: u64) -> Duration {
        let time = u128::from(units) * u128::from(self.nanoseconds);
        // Rounded up, so that what is rounded never adds up to one too many.
        let time = time.div_ceil(u128::from(self.count));
        Duration::from_nanos(u64::try_from(time).unwrap_or(u64::MAX))
    }

    fn earliest(&self) -> Time {
        self.paid.before(self.tolerance).max(self.not_before())
    }

    fn worth_waiting_for(&self) -> Time {
        self.paid.before(self.tolerance / 2).max(self.not_before())
    }

    /// Before this time one more would be one too many in 10 ms.
    fn not_before(&self) -> Time {
        match self.recent.get(usize::from(self.oldest)) {
            Some(&oldest) if self.recents > 1 && oldest > Time::EPOCH => {
                oldest + self.time_for(self.recents.into())
            }
            _ => Time::EPOCH,
        }
    }

    fn take(&mut self, now: Time, units: u64) {
        self.last = now;
        // Lateness is made up for, idleness is not.
        let is_late = self.recents > 1 && now - self.paid < self.time_for(self.recents.into());
        let from = if is_late { self.paid } else { self.paid.max(now) };
        self.paid = from + self.time_for(units);
        if let Some(oldest) = self.recent.get_mut(usize::from(self.oldest)) {
            *oldest = now;
            self.oldest = (self.oldest + 1) % self.recents.max(1);
        }
    }

    fn settle(&mut self, taken: u64, units: u64) {
        self.paid = self.paid.before(self.time_for(taken)) + self.time_for(units);
    }

    fn give_back(&mut self, taken: Time, units: u64) {
        let is_over = self.last - taken;
        self.paid = self.paid.before(self.time_for(units).saturating_sub(is_over));
    }
}

/// How many may pass in 10 ms: a divisor of the count, so that whole windows make up a whole time.
fn recents(rate: Rate, per: u64) -> u8 {
    let is_counted_one_by_one = matches!(rate.unit, Unit::Mails | Unit::Connections);
    let most = u128::from(rate.count) * STUMBLE.as_nanos() / u128::from(per);
    let most = u8::try_from(most).unwrap_or(u8::MAX).min(MOST_RECENT as u8);
    let divides = |&number: &u8| rate.count.is_multiple_of(u64::from(number));
    let found = (1..=most).rev().find(divides);
    found.filter(|_| is_counted_one_by_one).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(count: u64, per: Duration) -> Rate {
        Rate { unit: Unit::Mails, count, per }
    }

    /// Passes as much as it can from then on, as an impatient sender would, or a patient one.
    fn passes(rate: Rate, lasting: Duration, patient: bool) -> Vec<Time> {
        let mut pacer = Pacer::new(rate);
        let (mut now, mut passed) = (Time::EPOCH, Vec::new());
        while now < Time::EPOCH + lasting {
            if pacer.earliest() <= now {
                pacer.take(now, 1);
                passed.push(now);
            } else if patient {
                now = pacer.worth_waiting_for();
            } else {
                now = pacer.earliest();
            }
        }
        passed
    }

    fn most_in_any(window: Duration, passed: &[Time]) -> usize {
        let mut from = 0;
        let mut most = 0;
        for (at, &now) in passed.iter().enumerate() {
            while now - passed[from] >= window {
                from += 1;
            }
            most = most.max(at + 1 - from);
        }
        most
    }

    #[test]
    fn a_rate_is_kept_and_never_exceeded() {
        let second = Duration::from_secs(1);
        for (rate, lasting) in [
            (rate(500, second), 20 * second),
            (rate(1, second), 100 * second),
            (rate(3000, 3600 * second), 20_000 * second),
            (rate(1001, second), 10 * second),
            (rate(50_000, second), 3 * second),
            (rate(1_000_000, second), second),
        ] {
            for patient in [false, true] {
                let passed = passes(rate, lasting, patient);
                let most = most_in_any(rate.per, &passed);
                assert!(most as u64 <= rate.count, "{rate:?}: {most}");
                let expected = rate.count as f64 * lasting.as_secs_f64() / rate.per.as_secs_f64();
                let ratio = passed.len() as f64 / expected;
                assert!((0.99..1.01).contains(&ratio), "{rate:?}: {ratio}");
            }
        }
    }

    #[test]
    fn five_hundred_a_second_is_five_in_ten_milliseconds() {
        let passed = passes(rate(500, Duration::from_secs(1)), Duration::from_secs(5), true);
        assert_eq!(most_in_any(Duration::from_millis(10), &passed), 5);
    }

    /// Whoever waits is late now and then, as a busy machine is: by up to 6 ms, one time in twenty.
    #[test]
    fn a_machine_that_stumbles_loses_little_rate() {
        for count in [500, 300, 100, 800] {
            let rate = rate(count, Duration::from_secs(1));
            let mut pacer = Pacer::new(rate);
            let mut rng = fastrand::Rng::with_seed(1);
            let (mut now, mut passed) = (Time::EPOCH + Duration::from_secs(1), Vec::new());
            let end = now + Duration::from_secs(20);
            while now < end {
                pacer.take(now, 1);
                passed.push(now);
                let late = if rng.u8(..20) == 0 { rng.u64(..6000) } else { rng.u64(..20) };
                now = now.max(pacer.worth_waiting_for()) + Duration::from_micros(late);
            }
            let most = most_in_any(Duration::from_millis(10), &passed);
            assert!(most as u64 <= (count / 100).max(1), "{count}: {most} in 10 ms");
            let per_second = passed.len() as f64 / 20.0;
            // What is late itself stays lost, those behind it do not.
            let least = 0.93;
            assert!(per_second >= count as f64 * least, "{count}: {per_second}");
            assert!(per_second <= count as f64, "{count}: {per_second}");
        }
    }

    /// What was not used is lost: an idle hour is not followed by a flood.
    #[test]
    fn nothing_is_saved_up() {
        let mut pacer = Pacer::new(rate(500, Duration::from_secs(1)));
        let later = Time::after_epoch(Duration::from_secs(3600));
        pacer.take(later, 1);
        assert_eq!(pacer.earliest(), later + Duration::from_micros(2010));
    }

    #[test]
    fn what_is_large_is_paid_for_afterwards() {
        let mut pacer = Pacer::new(rate(1000, Duration::from_secs(10)));
        let now = Time::after_epoch(Duration::from_secs(1));
        pacer.take(now, 5000);
        let earliest = pacer.earliest() - now;
        assert!(earliest >= Duration::from_secs(50) && earliest <= Duration::from_millis(50_300));
        pacer.give_back(now, 5000);
        assert_eq!(pacer.earliest(), now);
    }
}
