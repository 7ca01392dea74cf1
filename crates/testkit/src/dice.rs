//! Where a run's decisions come from.

use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;

/// Decides what happens in a run: by a seed, or by a fuzzer's octets while they last.
///
/// The same seed, or the same octets, give the same decisions.
#[derive(Clone, Debug)]
pub struct Dice {
    octets: Vec<u8>,
    rng: Rng,
}

impl Dice {
    /// Dice that a seed loads.
    pub fn from_seed(seed: u64) -> Self {
        Self { octets: Vec::new(), rng: Rng::with_seed(seed) }
    }

    /// Dice that show these octets first, and always the same behind them.
    pub fn from_octets(octets: &[u8]) -> Self {
        // Taken from the end, which costs less.
        let octets = octets.iter().rev().copied().collect();
        Self { octets, rng: Rng::with_seed(0) }
    }

    /// Other dice, for something that is to be decided apart. They have what octets are left.
    pub fn split(&mut self) -> Self {
        Self { octets: std::mem::take(&mut self.octets), rng: self.rng.fork() }
    }

    /// A number below `bound`; 0 if there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound <= 1 {
            return 0;
        }
        let mut number = 0;
        let mut reach = 1;
        // As few octets as the bound needs, so that a fuzzer's input is used up slowly.
        while reach < bound {
            let Some(octet) = self.octets.pop() else { return self.rng.usize(..bound) };
            number = number << 8 | usize::from(octet);
            reach <<= 8;
        }
        number % bound
    }

    /// A number of this range.
    pub fn within(&mut self, range: RangeInclusive<usize>) -> usize {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// A time of this range, in milliseconds.
    pub fn millis(&mut self, range: RangeInclusive<usize>) -> Duration {
        Duration::from_millis(self.within(range) as u64)
    }

    /// True this often in a hundred times.
    pub fn percent(&mut self, chance: usize) -> bool {
        // Exhausted or zero octets mean the plain case.
        self.below(100) >= 100 - chance.min(100)
    }

    /// One of these.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// Up to `most` octets of any value.
    pub fn octets(&mut self, most: usize) -> Vec<u8> {
        let count = self.within(0..=most);
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_decide_while_they_last() {
        let mut dice = Dice::from_octets(&[7, 1, 2]);
        assert_eq!(dice.below(10), 7);
        assert_eq!(dice.below(0), 0);
        assert_eq!(dice.below(1), 0);
        assert_eq!(dice.below(1000), 258);
        let rest = (dice.below(1000), dice.below(1000));
        let mut again = Dice::from_octets(&[]);
        assert_eq!((again.below(1000), again.below(1000)), rest);
    }

    #[test]
    fn numbers_stay_in_their_range() {
        let mut dice = Dice::from_seed(1);
        for _ in 0..1000 {
            assert!((3..=9).contains(&dice.within(3..=9)));
            assert!(!dice.percent(0));
            assert!(dice.percent(100));
        }
    }
}
