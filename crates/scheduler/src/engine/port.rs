//! The way from the planner to one connection's driver.

use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use posthaste_session::Pipelining;

/// Orders for a driver. A driver that has none finds that out without taking a lock.
#[derive(Debug, Default)]
pub(super) struct Port {
    is_signalled: AtomicBool,
    /// There is a session that mails may be in, so QUIT has to wait for them.
    is_ready: AtomicBool,
    /// The connection is to end, driver or not.
    is_stopped: AtomicBool,
    mailbox: Mutex<Mailbox>,
}

#[derive(Debug, Default)]
struct Mailbox {
    orders: Orders,
    /// Whoever takes orders.
    waker: Option<Waker>,
    /// Whoever ends the connection.
    stopper: Option<Waker>,
}

/// What a driver is to do.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Pull again: there may be work.
    pub(super) wake: bool,
    pub(super) mode: Option<Pipelining>,
    pub(super) end: Option<End>,
}

/// How a connection is to end. The later one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Quit,
    Abort,
}

impl Port {
    /// Gives an order, and wakes the driver.
    pub(super) fn tell(&self, order: impl FnOnce(&mut Orders)) {
        let mut mailbox = self.lock();
        order(&mut mailbox.orders);
        let waker = mailbox.waker.take();
        let stops = match mailbox.orders.end {
            Some(End::Abort) => true,
            Some(End::Quit) => !self.is_ready.load(Acquire),
            None => false,
        };
        let mut stopper = None;
        if stops {
            self.is_stopped.store(true, Release);
            stopper = mailbox.stopper.take();
        }
        self.is_signalled.store(true, Release);
        drop(mailbox);
        waker.into_iter().chain(stopper).for_each(Waker::wake);
    }

    /// From now on QUIT is for the driver to obey.
    pub(super) fn set_ready(&self) {
        self.is_ready.store(true, Release);
    }

    /// Ready when the connection is to end although nobody asks for orders: it is being opened, or what
    /// is under way has to be cut off. `registered` is the waker that this was called with last, which is not
    /// registered again.
    pub(super) fn poll_stopped(
        &self,
        cx: &mut Context<'_>,
        registered: &mut Option<Waker>,
    ) -> Poll<()> {
        if !registered.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            self.lock().stopper = Some(cx.waker().clone());
            *registered = Some(cx.waker().clone());
        }
        if self.is_stopped.load(Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The orders that have come, if any.
    #[inline]
    pub(super) fn take(&self) -> Option<Orders> {
        if self.is_signalled.load(Acquire) { self.take_signalled() } else { None }
    }

    #[cold]
    fn take_signalled(&self) -> Option<Orders> {
        let is_signalled = self.is_signalled.swap(false, AcqRel);
        is_signalled.then(|| std::mem::take(&mut self.lock().orders))
    }

    /// Whom to wake at the next order. One that came before is still to be [taken](Self::take).
    pub(super) fn register(&self, waker: &Waker) {
        self.lock().waker = Some(waker.clone());
    }

    fn lock(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
