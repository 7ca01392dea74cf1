//! How long a server that greylists lets mails wait.

use std::time::Duration;

use super::ceiling::MEMORY;
use crate::time::Time;

/// What was seen of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Greylist {
    known: Option<(Duration, Time)>,
}

impl Greylist {
    /// A mail that was greylisted was taken after this long; whether that is news. What it takes
    /// at once is no greylisting, and what takes hours is another matter.
    pub(super) fn learn(&mut self, now: Time, wait: Duration) -> bool {
        if wait.is_zero() || wait > Self::LONGEST {
            return false;
        }
        let known = self.wait(now);
        let is_news = known.is_none_or(|known| wait < known / 2 || wait > known * 2);
        // It may have been ready for the mail before that: the shortest wait is the one to try.
        let wait = known.map_or(wait, |known| known.min(wait));
        self.known = Some((wait, now));
        is_news
    }

    /// A mail was sent again after this long, and was still too early.
    pub(super) fn too_early(&mut self, wait: Duration) {
        self.known = self.known.filter(|&(known, _)| known > wait);
    }

    /// How long to wait before the second try.
    pub(super) fn wait(&self, now: Time) -> Option<Duration> {
        self.known.filter(|&(_, learned)| now - learned < MEMORY).map(|(wait, _)| wait)
    }

    /// Servers forget whom they have seen after a few hours.
    const LONGEST: Duration = Duration::from_secs(4 * 3600);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_wait_that_worked_is_remembered() {
        let now = Time::EPOCH;
        let second = Duration::from_secs(1);
        let mut greylist = Greylist::default();
        assert!(greylist.learn(now, 375 * second));
        assert!(!greylist.learn(now, 310 * second));
        assert_eq!(greylist.wait(now), Some(310 * second));
        greylist.too_early(65 * second);
        assert_eq!(greylist.wait(now), Some(310 * second), "that was to be expected");
        greylist.too_early(320 * second);
        assert_eq!(greylist.wait(now), None);
    }
}
