//! Waiting for a state, with a deadline.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// Far above what anything here takes on a busy two-core machine: reaching it is a failure, not a measurement.
pub const DEADLINE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(20);

/// Calls `probe` until it answers `Ok`. Panics with the last error after [`DEADLINE`].
pub async fn until<T, E: Debug>(what: &str, probe: impl AsyncFnMut() -> Result<T, E>) -> T {
    until_within(DEADLINE, what, probe).await
}

/// Calls `probe` until it answers `Ok`. Panics with the last error after `limit`.
pub async fn until_within<T, E: Debug>(
    limit: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let end = Instant::now() + limit;
    let mut last = None;
    loop {
        // A probe that hangs (a stopped server) must not outlive the deadline.
        match timeout(end.saturating_duration_since(Instant::now()), probe()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(error)) => last = Some(error),
            Err(_) => panic!("no answer after {limit:?} while waiting for {what}; last error: {last:?}"),
        }
        assert!(Instant::now() < end, "waited {limit:?} for {what}; last error: {last:?}");
        sleep(PAUSE).await;
    }
}
