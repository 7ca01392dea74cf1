//! What a server was found to bear: connections at a time, mails a connection, recipients a mail.

use std::time::Duration;

use crate::time::Time;

/// What was learned is forgotten after a day, and found out anew: servers change.
pub(super) const MEMORY: Duration = Duration::from_secs(24 * 3600);

/// How many connections a server bears, as learned from its refusals.
#[derive(Debug)]
pub(super) struct Ceiling {
    pub(super) limit: u32,
    /// When one more is tried.
    pub(super) probe_at: Time,
    interval: Duration,
    /// When the last connection was refused.
    refused: Time,
    /// No connection is opened before: the server may still count one that was closed.
    pub(super) settles: Time,
    /// For how long the next time, if none is ready before.
    settling: Duration,
    /// The server greets whoever comes, and refuses the first mail.
    refuses_late: bool,
}

impl Ceiling {
    /// Waits between tries of one more connection: measured on models of servers with a fixed and
    /// a moving limit, where refusals stay under 1 % and the limit is in use all the time.
    const INTERVAL: Duration = Duration::from_secs(5);
    const SHORTEST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(60);
    /// How long to wait for what comes and goes, at first and at most.
    const SETTLING: Duration = Duration::from_millis(50);
    const LONGEST_SETTLING: Duration = Duration::from_secs(1);

    /// A server refused a connection while it bore `established` others.
    pub(super) fn new(now: Time, established: u32) -> Self {
        let interval = Self::INTERVAL;
        Self {
            limit: established.max(1),
            probe_at: now + interval,
            interval,
            refused: now,
            settles: now,
            settling: Self::SETTLING,
            refuses_late: false,
        }
    }

    /// A connection was refused, and the server may have counted others that come or go: says
    /// nothing about how many it bears.
    fn refused_in_passing(&mut self, now: Time) {
        self.settles = now + self.settling;
        self.settling = (self.settling * 2).min(Self::LONGEST_SETTLING);
    }

    /// A connection was greeted.
    pub(super) fn greeted(&mut self) {
        self.settling = Self::SETTLING;
    }

    /// A connection was refused that had been greeted.
    pub(super) fn refused_late(&mut self) {
        self.refuses_late = true;
    }

    /// Whether a connection that was greeted will be served.
    pub(super) fn is_greeting_enough(&self) -> bool {
        !self.refuses_late
    }

    /// A connection was refused while the server bore so many others. Was it the one more?
    pub(super) fn refused(&mut self, now: Time, others: u32) {
        let was_probe = now >= self.probe_at;
        if was_probe {
            self.interval = (self.interval * 2).min(Self::LONGEST);
        } else if others >= self.limit {
            return self.refused_in_passing(now);
        }
        self.limit = self.limit.min(others).max(1);
        self.probe_at = now + self.interval;
        self.refused = now;
    }

    /// As many connections as this work.
    pub(super) fn works(&mut self, now: Time, established: u32) {
        if established > self.limit {
            self.limit = established;
            self.interval = (self.interval / 2).max(Self::SHORTEST);
            self.probe_at = now + self.interval;
        }
    }

    /// How many connections may be open.
    pub(super) fn allows(&self, now: Time) -> u32 {
        self.limit.saturating_add(u32::from(now >= self.probe_at))
    }

    pub(super) fn is_outdated(&self, now: Time) -> bool {
        now - self.refused >= MEMORY
    }
}

/// How many connections a server bore at a time, not long ago: it bears as many, whatever it says while
/// some of them come and go. Servers notice late that one is closed, and count one before it is ready.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Borne {
    since: Time,
    /// The most since then.
    most: u32,
    /// The most in the time before that.
    before: u32,
}

impl Borne {
    /// What is longer ago than this, or twice this at most, says nothing about now.
    const RECENT: Duration = Duration::from_millis(500);

    /// So many are greeted, and not known to be closed.
    pub(super) fn note(&mut self, now: Time, connections: u32) {
        let passed = now - self.since;
        if passed >= Self::RECENT {
            let is_next = passed < 2 * Self::RECENT;
            self.before = if is_next { self.most } else { 0 };
            (self.since, self.most) = (now, 0);
        }
        self.most = self.most.max(connections);
    }

    /// The most of late.
    pub(super) fn most(&mut self, now: Time, connections: u32) -> u32 {
        self.note(now, connections);
        self.most.max(self.before)
    }
}

/// A number that a server does not go beyond, for as long as it is remembered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cap {
    known: Option<(u32, Time)>,
}

impl Cap {
    /// Remembers it; whether that is news.
    pub(super) fn learn(&mut self, now: Time, most: u32) -> bool {
        let is_news = self.at(now) != Some(most);
        self.known = Some((most, now));
        is_news
    }

    pub(super) fn at(&self, now: Time) -> Option<u32> {
        self.known.filter(|&(_, learned)| now - learned < MEMORY).map(|(most, _)| most)
    }
}

/// Finds out how many mails a server takes over one connection from where it ends them, also if it
/// does not say why.
#[derive(Debug, Default)]
pub(super) struct SessionCap {
    pub(super) cap: Cap,
    /// How many mails connections had that the server ended, how many in a row had so many, and when
    /// the last one was.
    suspicion: (u32, u32, Time),
}

impl SessionCap {
    /// The server said that a connection has had its share.
    pub(super) fn said(&mut self, now: Time, mails: u32) -> bool {
        self.cap.learn(now, mails.max(1))
    }

    /// A connection had so many mails, and goes on.
    pub(super) fn passed(&mut self, mails: u32) {
        if mails > self.suspicion.0 {
            self.suspicion = (0, 0, Time::EPOCH);
        }
    }

    /// The server ended a connection after so many mails, and did not say why. Twice at the same
    /// number is no accident; at one mail, it takes three times.
    pub(super) fn ended(&mut self, now: Time, mails: u32) -> bool {
        let (suspected, times, seen) = self.suspicion;
        let is_again = suspected == mails && now - seen < MEMORY;
        let times = if is_again { times.saturating_add(1) } else { 1 };
        self.suspicion = (mails, times, now);
        times >= if mails == 1 { 3 } else { 2 } && self.cap.learn(now, mails)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: u64) -> Time {
        Time::after_epoch(Duration::from_secs(3600 * hours))
    }

    #[test]
    fn a_cap_is_forgotten_after_a_day() {
        let mut cap = Cap::default();
        assert_eq!(cap.at(at(1)), None);
        assert!(cap.learn(at(1), 10));
        assert!(!cap.learn(at(2), 10), "that is no news");
        assert_eq!(cap.at(at(25)), Some(10));
        assert_eq!(cap.at(at(26)), None);
    }

    #[test]
    fn a_session_cap_is_found_out_from_two_connections() {
        let mut cap = SessionCap::default();
        assert!(!cap.ended(at(0), 10));
        assert!(cap.ended(at(0), 10));
        assert_eq!(cap.cap.at(at(0)), Some(10));

        let mut flaps = SessionCap::default();
        for mails in [3, 7, 1, 1, 3, 12] {
            assert!(!flaps.ended(at(0), mails));
        }
    }

    #[test]
    fn a_ceiling_is_probed_and_forgotten() {
        let mut ceiling = Ceiling::new(at(0), 5);
        assert_eq!(ceiling.allows(at(0)), 5);
        assert_eq!(ceiling.allows(at(1)), 6);
        ceiling.works(at(1), 6);
        assert_eq!(ceiling.limit, 6);
        assert!(!ceiling.is_outdated(at(23)));
        assert!(ceiling.is_outdated(at(24)));
    }

    /// Many are replaced at once: what was borne is remembered for as long as that takes.
    #[test]
    fn what_was_borne_a_moment_ago_is_borne() {
        let at = |milliseconds| Time::after_epoch(Duration::from_millis(milliseconds));
        let mut borne = Borne::default();
        borne.note(at(10_000), 5);
        for left in [4, 3, 2, 1] {
            assert_eq!(borne.most(at(10_400), left), 5);
        }
        assert_eq!(borne.most(at(10_600), 1), 5);
        assert_eq!(borne.most(at(11_200), 1), 1, "that is long ago");
        assert_eq!(borne.most(at(60_000), 0), 0);
    }

    /// A refusal next to connections that come and go lowers nothing, and is waited out, longer each
    /// time.
    #[test]
    fn refusals_in_passing_are_waited_out() {
        let at = |milliseconds| Time::after_epoch(Duration::from_millis(milliseconds));
        let mut ceiling = Ceiling::new(at(0), 5);
        for (now, settles) in [(100, 150), (150, 250), (250, 450)] {
            ceiling.refused(at(now), 5);
            assert_eq!((ceiling.limit, ceiling.settles), (5, at(settles)));
        }
        ceiling.greeted();
        ceiling.refused(at(500), 5);
        assert_eq!(ceiling.settles, at(550));
        ceiling.refused(at(600), 2);
        assert_eq!(ceiling.limit, 2, "so many it bore");
    }
}
