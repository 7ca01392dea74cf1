//! When the engine looks whether something is due: to the millisecond, or, for limits of rate, to the
//! microsecond.
//!
//! A runtime's timers are a millisecond apart, which is half the time between two mails of 500 a second. So
//! a thread, which sleeps better, wakes the runtime shortly before the time, and the runtime lets others run
//! until it has come. That way the connection that is to send is polled at once, by a worker that is awake.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

/// How a [`Scheduler`](super::Scheduler) meets the times that limits of rate need met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Clock {
    /// Within tens of microseconds, with the help of a thread, which is started when there is a rate
    /// to be kept.
    #[default]
    Exact,
    /// Within a millisecond or two, by the runtime's timers alone: for paused time (`tokio::time::pause`),
    /// and where there are no threads. Mails come late by as much, so fast rates are not reached.
    Runtime,
}

/// How long before an exact time the runtime is woken: as late as a thread may wake up (50 us of timer slack
/// on Linux, and a context switch), and a worker after it. Measured: the worker is there within 150 us.
const AHEAD: Duration = Duration::from_micros(250);

/// Waits for what is due.
#[derive(Debug)]
pub(super) struct Watch {
    clock: Clock,
    /// Something is due earlier than was known when the wait began.
    earlier: Arc<Notify>,
    alarm: Option<Arc<Alarm>>,
}

/// What is due next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at: Instant,
    pub(super) precision: Precision,
}

/// How well a time has to be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    Milliseconds,
    Microseconds,
}

impl Watch {
    pub(super) fn new(clock: Clock, earlier: Arc<Notify>) -> Self {
        Self { clock, earlier, alarm: None }
    }

    /// Returns when something may be due; it may be too early.
    pub(super) async fn wait(&mut self, due: Option<Due>) {
        let Some(Due { at, precision }) = due else { return self.earlier.notified().await };
        match (self.clock, precision) {
            (Clock::Exact, Precision::Microseconds) => self.wait_exactly(at).await,
            (Clock::Exact, Precision::Milliseconds) | (Clock::Runtime, _) => self.doze(at).await,
        }
    }

    async fn doze(&self, at: Instant) {
        let _ = timeout_at(at, self.earlier.notified()).await;
    }

    async fn wait_exactly(&mut self, at: Instant) {
        if at.saturating_duration_since(Instant::now()) > AHEAD {
            match self.alarm() {
                Some(alarm) => alarm.set(at - AHEAD),
                None => return self.doze(at).await,
            }
            return self.earlier.notified().await;
        }
        while Instant::now() < at {
            yield_now().await;
        }
    }

    /// The alarm; none if this machine has no thread for it.
    fn alarm(&mut self) -> Option<&Alarm> {
        if self.alarm.is_none() {
            let alarm = Arc::new(Alarm::new(Arc::clone(&self.earlier)));
            let ringing = Arc::clone(&alarm);
            let thread = thread::Builder::new().name("posthaste-clock".into());
            thread.spawn(move || ringing.run()).ok()?;
            self.alarm = Some(alarm);
        }
        self.alarm.as_deref()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(alarm) = &self.alarm {
            alarm.end();
        }
    }
}

/// A thread that sleeps until a time that can be changed.
#[derive(Debug)]
struct Alarm {
    state: Mutex<AlarmState>,
    changed: Condvar,
    bell: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AlarmState {
    Off,
    At(Instant),
    Ended,
}

impl Alarm {
    fn new(bell: Arc<Notify>) -> Self {
        Self { state: Mutex::new(AlarmState::Off), changed: Condvar::new(), bell }
    }

    fn set(&self, at: Instant) {
        *self.lock() = AlarmState::At(at);
        self.changed.notify_one();
    }

    fn end(&self) {
        *self.lock() = AlarmState::Ended;
        self.changed.notify_one();
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            state = match *state {
                AlarmState::Ended => return,
                AlarmState::Off => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                AlarmState::At(at) => {
                    let rest = at.saturating_duration_since(Instant::now());
                    if rest.is_zero() {
                        *state = AlarmState::Off;
                        self.bell.notify_one();
                        continue;
                    }
                    let waited = self.changed.wait_timeout(state, rest);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, AlarmState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(clock: Clock) -> Watch {
        Watch::new(clock, Arc::default())
    }

    /// Waits until the time has come, however often it has to look.
    async fn reach(watch: &mut Watch, at: Instant) -> Duration {
        while Instant::now() < at {
            watch.wait(Some(Due { at, precision: Precision::Microseconds })).await;
        }
        at.elapsed()
    }

    #[tokio::test]
    async fn an_exact_time_is_reached() {
        let mut watch = watch(Clock::Exact);
        for _ in 0..10 {
            // Whatever else the machine does: it is not reached too early, and it is reached.
            reach(&mut watch, Instant::now() + Duration::from_millis(2)).await;
        }
    }

    #[tokio::test]
    async fn a_wait_ends_when_something_is_due_earlier() {
        for (clock, precision) in [
            (Clock::Exact, Precision::Microseconds),
            (Clock::Exact, Precision::Milliseconds),
            (Clock::Runtime, Precision::Microseconds),
        ] {
            let mut watch = watch(clock);
            watch.earlier.notify_one();
            let at = Instant::now() + Duration::from_secs(3600);
            watch.wait(Some(Due { at, precision })).await;
            watch.earlier.notify_one();
            watch.wait(None).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_runtimes_clock_may_be_paused() {
        let mut watch = watch(Clock::Runtime);
        let started = Instant::now();
        reach(&mut watch, started + Duration::from_secs(3600)).await;
        assert!(started.elapsed() >= Duration::from_secs(3600));
    }

    /// Half a millisecond is what every second mail at 1000/s would be late by with the runtime's
    /// clock, which counts in milliseconds; half of all times, since the machine may be busy.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_exact_clock_is_on_time() {
        let mut watch = watch(Clock::Exact);
        let mut at = Instant::now();
        let mut late = Vec::new();
        for _ in 0..200 {
            at = (at + Duration::from_millis(2)).max(Instant::now() + Duration::from_millis(1));
            late.push(reach(&mut watch, at).await);
        }
        late.sort_unstable();
        assert!(late[100] < Duration::from_micros(500), "{:?} {:?}", late[100], late[199]);
    }
}
