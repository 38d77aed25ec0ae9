//! When a client sends its next request.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use crate::load::window::Window;

/// The schedule of one client.
#[derive(Debug)]
pub(crate) enum Pace {
    /// Closed loop: whenever the last request is answered.
    Closed,
    /// Open loop: at fixed times, however slow the answers are.
    Open { next: Instant, interval: Duration },
}

impl Pace {
    /// Waits for the next turn, and returns the time that its latency counts from: when the request was due if the
    /// client was still busy with the one before (the delay is the server's fault), else when it woke up (the timer's
    /// lateness is not).
    pub(crate) async fn turn(&mut self, window: &Window) -> Instant {
        let Self::Open { next, interval } = self else { return Instant::now() };
        let due = *next;
        *next += *interval;
        if due <= Instant::now() {
            return due;
        }
        tokio::select! {
            () = sleep_until(due.into()) => {}
            () = window.closed() => {}
        }
        Instant::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_late_client_counts_from_when_it_was_due() {
        let interval = Duration::from_millis(1);
        let start = Instant::now() - 3 * interval;
        let mut pace = Pace::Open { next: start, interval };
        let window = Window::default();
        let turns = [pace.turn(&window).await, pace.turn(&window).await, pace.turn(&window).await];
        assert_eq!(turns, [start, start + interval, start + 2 * interval]);
        let Pace::Open { next, .. } = &pace else { panic!("{pace:?}") };
        let due = *next;
        assert!(pace.turn(&window).await >= due);
    }

    #[tokio::test]
    async fn a_closed_window_ends_the_wait() {
        let hour = Duration::from_secs(3600);
        let mut pace = Pace::Open { next: Instant::now() + hour, interval: hour };
        let window = Window::default();
        window.close();
        tokio::time::timeout(Duration::from_secs(10), pace.turn(&window)).await.unwrap();
    }
}
