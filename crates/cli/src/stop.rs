//! What ends a command early: signals, and its time.

use std::future::pending;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::exit::Exit;
use crate::units::elapsed;

/// How long mails that are being sent may take once the command is asked to stop.
pub(crate) const GRACE: Duration = Duration::from_secs(30);

/// Waits for what ends a command early. The first thing is a request, the second one urgent.
pub(crate) struct Stop {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    deadline: Option<Instant>,
    reason: Option<Reason>,
    urgent: bool,
}

/// What ended a command early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Interrupt,
    Terminate,
    Time,
}

impl Stop {
    /// `time` is how long the command may take.
    pub(crate) fn new(time: Option<Duration>) -> Self {
        Self {
            // Where signals cannot be caught they end the command, as they would anyway.
            interrupt: signal(SignalKind::interrupt()).ok(),
            terminate: signal(SignalKind::terminate()).ok(),
            // A time too long for the clock is no limit.
            deadline: time.and_then(|time| Instant::now().checked_add(time)),
            reason: None,
            urgent: false,
        }
    }

    /// Returns when there is a (further) reason to stop.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn wait(&mut self) {
        let reason = tokio::select! {
            () = next(&mut self.interrupt) => Reason::Interrupt,
            () = next(&mut self.terminate) => Reason::Terminate,
            () = until(self.deadline) => Reason::Time,
        };
        self.deadline = None;
        self.urgent = self.reason.is_some();
        // A signal says more than time that is up.
        if self.reason.is_none_or(|known| known == Reason::Time) {
            self.reason = Some(reason);
        }
    }

    pub(crate) fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// Whether it was asked twice.
    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// What to tell whoever interrupts the command.
    pub(crate) fn notice(&self) -> Option<String> {
        match self.reason? {
            Reason::Interrupt | Reason::Terminate if !self.urgent => {
                let grace = elapsed(GRACE);
                Some(format!(
                    "stopping; what is being sent has {grace} to finish (press again to end at once)"
                ))
            }
            Reason::Interrupt | Reason::Terminate | Reason::Time => None,
        }
    }

    /// How the command ends because of it. Time that is up is no interruption: the outcomes tell.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.reason? {
            Reason::Interrupt => Some(Exit::Interrupted),
            Reason::Terminate => Some(Exit::Terminated),
            Reason::Time => None,
        }
    }
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => pending().await,
    }
}

/// Returns at that time; never without one.
pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
