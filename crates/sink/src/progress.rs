//! Waiting for what sessions do.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tokio::sync::Notify;

/// Wakes those who wait for mails, or for the end of sessions. As long as nobody waits for so many
/// mails, that costs a busy session one look.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The fewest mails that somebody waits for.
    awaited: AtomicU64,
    changed: Notify,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { awaited: AtomicU64::new(NOBODY), changed: Notify::new() }
    }

    /// There are so many mails now.
    pub(crate) fn reached(&self, mails: u64) {
        if mails >= self.awaited.load(SeqCst) {
            // Whoever waits for more says so again.
            self.awaited.store(NOBODY, SeqCst);
            self.changed.notify_waiters();
        }
    }

    /// A session ended, or all of them.
    pub(crate) fn ended(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until `mails` tells so many.
    pub(crate) async fn wait_for(&self, enough: u64, mails: impl Fn() -> u64) {
        self.wait_until(|| {
            // Before the look, so that who adds mails behind it sees that they are waited for.
            self.awaited.fetch_min(enough, SeqCst);
            mails() >= enough
        })
        .await;
    }

    /// Waits until something is true that the end of a session, or of all, makes true.
    pub(crate) async fn wait_until(&self, is_true: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that nothing between the two is missed.
            changed.as_mut().enable();
            if is_true() {
                return;
            }
            changed.await;
        }
    }
}

/// More mails than there will ever be.
const NOBODY: u64 = u64::MAX;
