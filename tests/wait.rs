//! Waiting for something that another process does.

use std::time::{Duration, Instant};

/// How long a real server may take for anything before a test gives up. Arbitrary; far above what
/// a loaded machine with two cores needs, far below a test runner's own limit.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Asks `check` every few milliseconds until it gives a value, for at most `limit`.
///
/// `what` is named in the panic: "waited 30s for …".
///
/// # Panics
///
/// When `limit` is over.
///
/// # Cancel safety
///
/// Nothing is lost: `check` alone holds state.
pub async fn wait_until<T>(limit: Duration, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    loop {
        ticks.tick().await;
        if let Some(value) = check() {
            return value;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} for {what}");
    }
}
