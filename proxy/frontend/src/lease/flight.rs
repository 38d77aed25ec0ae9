//! One attempt at a time: whoever needs what somebody already fetches waits for that.

use std::collections::HashMap;
use std::sync::Arc;

use etcd_prism_routing::{RouteId, ShardId};
use etcd_prism_wire::{Code, Status};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;

use crate::error::RequestError;

/// Whether the lease is there now.
type Outcome = Result<bool, RequestError>;

/// Of a lease that is brought to a shard, as a copy for a route or to count there.
type Key = (i64, ShardId, Option<RouteId>);

/// Leases that are being brought.
#[derive(Debug, Default, Clone)]
pub(super) struct Flights {
    under_way: Arc<Mutex<HashMap<Key, Shared<BoxFuture<'static, Outcome>>>>>,
}

/// Removes a flight when it is over, however it ends.
struct Landing(Flights, Key);

impl Drop for Landing {
    fn drop(&mut self) {
        self.0.under_way.lock().remove(&self.1);
    }
}

impl Flights {
    /// The outcome of the flight that is under way, or of a new one. It goes on whatever becomes of those who wait: cut off
    /// in the middle it would leave a record of a lease that never came.
    pub(super) async fn join<F>(&self, key: Key, work: impl FnOnce() -> F) -> Outcome
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let flight = {
            let mut under_way = self.under_way.lock();
            let start = || {
                let landing = Landing(self.clone(), key);
                let work = work();
                let task = tokio::spawn(async move {
                    let _landing = landing;
                    work.await
                });
                let ended = |end: Result<Outcome, tokio::task::JoinError>| {
                    let failed = |e| {
                        Err(Status::new(Code::Internal, format!("etcd-prism: bringing a lease: {e}")).into())
                    };
                    end.unwrap_or_else(failed)
                };
                task.map(ended).boxed().shared()
            };
            under_way.entry(key).or_insert_with(start).clone()
        };
        flight.await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn those_who_come_meanwhile_share_the_outcome() {
        let flights = Flights::default();
        let (started, go) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let join = |id| {
            let (flights, started, go) = (flights.clone(), started.clone(), go.clone());
            async move {
                let work = || async move {
                    started.fetch_add(1, Ordering::SeqCst);
                    go.notified().await;
                    Ok(true)
                };
                flights.join((id, ShardId(1), None), work).await
            }
        };
        // One of those who wait goes away, which changes nothing for the others.
        let mut gone = Box::pin(join(7));
        assert!(futures_util::poll!(&mut gone).is_pending());
        drop(gone);
        let waiting = tokio::spawn(futures_util::future::join3(join(7), join(7), join(8)));
        while started.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        go.notify_one();
        go.notify_one();
        let (one, two, other) = waiting.await.unwrap();
        assert_eq!((one.unwrap(), two.unwrap(), other.unwrap()), (true, true, true));
        assert_eq!(started.load(Ordering::SeqCst), 2, "one flight for each lease");
        assert!(flights.under_way.lock().is_empty());
        // Whoever comes later starts anew.
        go.notify_one();
        join(7).await.unwrap();
        assert_eq!(started.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_flight_that_fails_is_over() {
        let flights = Flights::default();
        let crash = flights.join((7, ShardId(0), None), || async { panic!("as in a test") }).await;
        assert_eq!(crash.unwrap_err().status().code, Code::Internal);
        let refused = async || Err(RequestError::TooLarge);
        assert!(flights.join((7, ShardId(0), None), refused).await.is_err());
        assert!(flights.join((7, ShardId(0), None), async || Ok(true)).await.unwrap());
    }
}
