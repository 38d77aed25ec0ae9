//! What every request of the load came to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tonic::{Code, Status};

/// Above every bound of the proxy: a request that takes this long hangs.
const HANGS: Duration = Duration::from_secs(20);

/// Requests that concern no route, or all of them.
pub(crate) const NO_ROUTE: &str = "(none)";
/// Reads of a healthy shard that do not pass through the proxy: how slow the machine is.
pub(crate) const CONTROL: &str = "(control)";

/// One request and its end.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) route: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) took: Duration,
    pub(crate) error: Option<(Code, String)>,
}

/// All requests so far, in the order of their ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    list: Arc<Mutex<Vec<Sample>>>,
}

impl Samples {
    /// Times `call` and notes how it went; its answer, if it was one.
    pub(crate) async fn time<T>(
        &self,
        route: &'static str,
        operation: &'static str,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Option<T> {
        let start = Instant::now();
        let answer =
            timeout(HANGS, call).await.unwrap_or_else(|_| Err(Status::cancelled("no answer at all")));
        self.note(route, operation, start, answer)
    }

    /// Notes a request that began at `start`.
    pub(crate) fn note<T>(
        &self,
        route: &'static str,
        operation: &'static str,
        start: Instant,
        answer: Result<T, Status>,
    ) -> Option<T> {
        let (answer, error) = match answer {
            Ok(answer) => (Some(answer), None),
            Err(status) => (None, Some((status.code(), status.message().to_owned()))),
        };
        self.list.lock().push(Sample { route, operation, took: start.elapsed(), error });
        answer
    }

    /// How many there are; what comes later is [`since`](Self::since) this mark.
    pub(crate) fn mark(&self) -> usize {
        self.list.lock().len()
    }

    pub(crate) fn since(&self, mark: usize) -> Vec<Sample> {
        self.list.lock()[mark..].to_vec()
    }
}

/// The number and the longest of each route's operations, as lines to print.
pub(crate) fn summary(samples: &[Sample]) -> String {
    let mut by_operation: BTreeMap<(&str, &str), (usize, usize, Duration)> = BTreeMap::new();
    for sample in samples {
        let entry = by_operation.entry((sample.route, sample.operation)).or_default();
        entry.0 += 1;
        entry.1 += usize::from(sample.error.is_some());
        entry.2 = entry.2.max(sample.took);
    }
    let line = |((route, operation), (count, failed, longest)): (_, (usize, usize, Duration))| {
        format!("  {route:10} {operation:14} {count:6} requests, {failed:5} failed, longest {longest:.0?}\n")
    };
    by_operation.into_iter().map(line).collect()
}
