//! Waiting for the other processes of a machine that is not ours alone.

use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::error::BenchError;
use crate::ladder::results::Sample;
use crate::system::procfs;

/// More than this share of the machine used by others makes figures doubtful.
pub(crate) const BUSY: f64 = 0.05;
/// How long it must have been quiet.
const LOOK: Duration = Duration::from_millis(300);

/// How long one measurement may wait for a quiet machine, or be repeated because it was not.
#[derive(Debug)]
pub(crate) struct Patience {
    end: Instant,
    best: Option<Sample>,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { end: Instant::now() + limit, best: None }
    }

    /// Waits until nobody else works, or patience is at its end.
    pub(crate) async fn quiet(&self) -> Result<(), BenchError> {
        while Instant::now() < self.end {
            let (start, before) = (Instant::now(), procfs::machine_cpu_time()?);
            sleep(LOOK).await;
            let used = procfs::machine_cpu_time()?.saturating_sub(before);
            if is_quiet(used.as_secs_f64() / start.elapsed().as_secs_f64()) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes a sample; returns the one that was disturbed least, unless it is worth trying again.
    pub(crate) fn judge(&mut self, sample: Sample) -> Option<Sample> {
        let best = match self.best.take() {
            Some(best) if best.other_cores <= sample.other_cores => best,
            _ => sample,
        };
        if is_quiet(best.other_cores) || Instant::now() >= self.end {
            return Some(best);
        }
        self.best = Some(best);
        None
    }
}

/// Do others use so little, on a machine with that many cores?
fn is_quiet(other_cores: f64) -> bool {
    other_cores <= BUSY * available_parallelism().map_or(1.0, |cores| cores.get() as f64)
}
