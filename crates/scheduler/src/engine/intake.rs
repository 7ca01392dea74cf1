//! What bounds the queue: each mail has its share of the intake from the moment in which it is taken until
//! somebody has taken its report.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a mail is counted with at least, so that the number of queued mails is bounded, too.
const MIN_COST: usize = 1024;

/// Room for content. Clones are the same room.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    semaphore: Arc<Semaphore>,
    margin: Arc<Margin>,
    /// Permits of the semaphore, each for [`MIN_COST`] octets.
    permits: u32,
}

/// Room that is free, and that the semaphore does not know of yet: to tell it of each mail costs as much as planning
/// the mail. Whoever finds no room, or is about to wait, [tells](Intake::settle) it; and so does whoever gives room
/// back while others wait.
#[derive(Debug, Default)]
struct Margin {
    /// In permits.
    room: AtomicUsize,
    /// How many wait for room.
    waiting: AtomicUsize,
}

/// There will be no more room: a shutdown has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

impl Intake {
    /// Room for so many octets.
    pub(super) fn new(octets: usize) -> Self {
        let permits = u32::try_from(octets.div_ceil(MIN_COST)).unwrap_or(u32::MAX).max(1);
        let permits = permits.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        let semaphore = Arc::new(Semaphore::new(permits as usize));
        Self { semaphore, margin: Arc::default(), permits }
    }

    /// Takes nothing any more.
    pub(super) fn close(&self) {
        self.semaphore.close();
    }

    /// Waits until there is room.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it takes none.
    pub(super) async fn enter(self, cost: Cost) -> Result<Entrance, Closed> {
        let _waits = Waits::among(&self.margin.waiting);
        self.settle();
        let permits = Arc::clone(&self.semaphore).acquire_many_owned(cost.0).await;
        permits.map(Entrance).map_err(|_| Closed)
    }

    /// What was [given back](Self::give_back), for whoever has several mails to queue at once.
    pub(super) fn purse(&self) -> Purse<'_> {
        let is_closed = self.semaphore.is_closed();
        Purse { intake: self, room: if is_closed { 0 } else { self.margin.room.swap(0, SeqCst) } }
    }

    /// How much room a mail with so many octets of content takes.
    pub(super) fn cost(&self, octets: usize) -> Cost {
        let cost = octets.div_ceil(MIN_COST).max(1);
        // A mail larger than everything that may be queued goes alone.
        Cost(u32::try_from(cost).unwrap_or(u32::MAX).min(self.permits))
    }

    /// The share of a mail that has [entered](Entrance::pass).
    pub(super) fn share(&self, octets: usize) -> Share {
        Share { semaphore: Arc::clone(&self.semaphore), cost: self.cost(octets) }
    }

    /// Gives back what mails took that are done with.
    pub(super) fn free(&self, room: Room) {
        if room.0 > 0 {
            self.semaphore.add_permits(room.0);
        }
    }

    /// The same for one mail, of which only who waits already needs to know at once.
    pub(super) fn give_back(&self, Cost(cost): Cost) {
        self.add_to_margin(cost as usize);
    }

    fn add_to_margin(&self, room: usize) {
        self.margin.room.fetch_add(room, SeqCst);
        // Each looks behind what it has written: either this one sees that somebody waits, or that one sees the room.
        if self.margin.waiting.load(SeqCst) > 0 {
            self.settle();
        }
    }

    /// Makes room that was [given back](Self::give_back) known.
    pub(super) fn settle(&self) {
        self.free(Room(self.margin.room.swap(0, SeqCst)));
    }
}

/// Room that nobody else has. What is left is [given back](Intake::give_back) in the end.
#[derive(Debug)]
pub(super) struct Purse<'a> {
    intake: &'a Intake,
    /// In permits.
    room: usize,
}

impl Purse<'_> {
    /// Takes room for a mail that is queued at once, if there is some and nobody waits for it.
    pub(super) fn pay(&mut self, Cost(cost): Cost) -> bool {
        if let Some(left) = self.room.checked_sub(cost as usize) {
            self.room = left;
            return true;
        }
        // With what else is free it may be enough.
        self.intake.free(Room(std::mem::take(&mut self.room)));
        self.intake.semaphore.try_acquire_many(cost).map(|permit| permit.forget()).is_ok()
    }
}

impl Drop for Purse<'_> {
    fn drop(&mut self) {
        if self.room > 0 {
            self.intake.add_to_margin(self.room);
        }
    }
}

/// Somebody waits for room.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn among(all: &'a AtomicUsize) -> Self {
        all.fetch_add(1, SeqCst);
        Self(all)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// How much room a mail takes, in permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost(u32);

/// Room of several mails, in permits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Room(usize);

impl std::ops::AddAssign<Cost> for Room {
    fn add_assign(&mut self, cost: Cost) {
        self.0 += cost.0 as usize;
    }
}

/// Room that was taken for a mail that is about to be queued; without one, it is free again.
#[derive(Debug)]
pub(super) struct Entrance(OwnedSemaphorePermit);

impl Entrance {
    /// The mail is queued. Nothing is written down about its share, which follows from its content.
    pub(super) fn pass(self) {
        self.0.forget();
    }
}

/// The room of a mail that is done with; dropped, it is free again.
#[derive(Debug)]
pub(super) struct Share {
    semaphore: Arc<Semaphore>,
    cost: Cost,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.semaphore.add_permits(self.cost.0 as usize);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[track_caller]
    fn check(intake: &Intake, octets: usize, free: usize) {
        let cost = intake.cost(octets);
        assert!(intake.purse().pay(cost));
        assert_eq!(intake.semaphore.available_permits(), free);
        drop(intake.share(octets));
        assert_eq!(intake.semaphore.available_permits(), 4);
        assert!(intake.purse().pay(cost));
        let mut room = Room::default();
        room += cost;
        intake.free(room);
        assert_eq!(intake.semaphore.available_permits(), 4);
    }

    /// SCHED-09: small mails count, too, and one that is too large goes alone.
    #[test]
    fn each_mail_has_its_share() {
        let intake = Intake::new(4 * MIN_COST);
        check(&intake, 3, 3);
        check(&intake, MIN_COST + 3, 2);
        check(&intake, 100 * MIN_COST, 0);
    }

    #[test]
    fn who_does_not_come_in_takes_no_room() {
        let intake = Intake::new(MIN_COST);
        let cost = intake.cost(3);
        let entrance = intake.clone().enter(cost).now_or_never().unwrap().unwrap();
        assert!(!intake.purse().pay(cost));
        drop(entrance);
        assert!(intake.purse().pay(cost));
    }

    #[test]
    fn nobody_passes_any_more() {
        let intake = Intake::new(2 * MIN_COST);
        let cost = intake.cost(3);
        assert!(intake.purse().pay(cost));
        intake.give_back(cost);
        intake.close();
        assert!(!intake.purse().pay(cost));
        assert_eq!(intake.enter(cost).now_or_never().unwrap().unwrap_err(), Closed);
    }

    #[test]
    fn what_is_given_back_is_there_for_whoever_asks() {
        let intake = Intake::new(2 * MIN_COST);
        let cost = intake.cost(3);
        assert!(intake.purse().pay(cost) && intake.purse().pay(cost));
        intake.give_back(cost);
        assert_eq!(intake.semaphore.available_permits(), 0);
        assert!(intake.purse().pay(cost), "for whoever does not wait");
        intake.give_back(cost);
        assert!(intake.clone().enter(cost).now_or_never().is_some(), "for whoever would");
        let mut waits = Box::pin(intake.clone().enter(intake.cost(2 * MIN_COST)));
        assert!((&mut waits).now_or_never().is_none());
        intake.give_back(cost);
        assert!(waits.now_or_never().is_some(), "at once for whoever waits");
    }
}
