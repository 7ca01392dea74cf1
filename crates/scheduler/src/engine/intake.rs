//! What bounds the queue: each mail has its share of the intake from the moment in which it is taken until
//! somebody has taken its report.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a mail is counted with at least, so that the number of queued mails is bounded, too.
const MIN_COST: usize = 1024;

/// One part of so many of all room is much.
const PARTS: usize = 8;

/// Room for content. Clones are the same room.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    semaphore: Arc<Semaphore>,
    /// How many wait for room.
    waiting: Arc<AtomicUsize>,
    /// Permits of the semaphore, each for [`MIN_COST`] octets.
    permits: u32,
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
        Self { semaphore, waiting: Arc::default(), permits }
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
        let _waits = Waits::among(&self.waiting);
        let permits = Arc::clone(&self.semaphore).acquire_many_owned(cost.0).await;
        permits.map(Entrance).map_err(|_| Closed)
    }

    /// Takes room for mails that are queued at once, if there is some and nobody waits for it.
    pub(super) fn try_pass(&self, cost: Cost) -> bool {
        let permit = self.semaphore.try_acquire_many(cost.0);
        permit.map(|permit| permit.forget()).is_ok()
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

    /// Whether room that is to be given back is given back at once, because more than so many wait for some, or because
    /// it is much. Otherwise what several mails took is given back together: each by itself costs as much as planning
    /// it.
    pub(super) fn is_wanted(&self, room: Room, few: usize) -> bool {
        self.waiting.load(Relaxed) > few || room.0 * PARTS >= self.permits as usize
    }
}

/// Somebody waits for room.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn among(all: &'a AtomicUsize) -> Self {
        all.fetch_add(1, Relaxed);
        Self(all)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
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
        assert!(intake.try_pass(cost));
        assert_eq!(intake.semaphore.available_permits(), free);
        drop(intake.share(octets));
        assert_eq!(intake.semaphore.available_permits(), 4);
        assert!(intake.try_pass(cost));
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
        assert!(!intake.try_pass(cost));
        drop(entrance);
        assert!(intake.try_pass(cost));
    }

    #[test]
    fn it_is_known_whether_somebody_waits() {
        let intake = Intake::new(MIN_COST);
        let cost = intake.cost(3);
        assert!(intake.try_pass(cost));
        let mut one = Box::pin(intake.clone().enter(cost));
        assert!((&mut one).now_or_never().is_none());
        let none = Room::default();
        assert!(intake.is_wanted(none, 0) && !intake.is_wanted(none, 1));
        drop(one);
        assert!(!intake.is_wanted(none, 0));
    }

    #[test]
    fn much_room_is_given_back_at_once() {
        let intake = Intake::new(80 * MIN_COST);
        let mut room = Room::default();
        room += intake.cost(9 * MIN_COST);
        assert!(!intake.is_wanted(room, 0));
        room += intake.cost(3);
        assert!(intake.is_wanted(room, 0));
    }
}
