//! The data half of a migration: the owner's log of a route is shipped to the standby.
//!
//! One task applies everything, in the owner's order: each batch is one transaction on the standby, on the condition that its
//! fence has the driver's epoch and that its [`Progress`] is the one that was read, and it writes the next progress. So each
//! batch is applied once, whoever dies, and whatever answer is lost. The copy goes through the same task: pages in key order,
//! each as the owner has it when it is read, and the log brings what happens later to keys that are copied.
//!
//! With each key goes its provenance record: the numbers that clients know of it. A standby that ruled before is not copied
//! again; what the log changes there is first deleted where key and record do not have the same version.
//!
//! The standby is watched as well: keys that end there by themselves, because their lease could not be renewed, are put again
//! as they should be.
//!
//! *Bound:* of the log some 12 MiB are held, of a page 16 MiB, or one revision or one key if that is larger.

use std::sync::Arc;

use etcd_prism_control::RouteLine;
use etcd_prism_ownership::migration::{Bound, Stream, Throttle};
use etcd_prism_upstream::ShardPool;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

mod applier;
mod begin;
mod commit;
mod copy;
mod error;
mod events;
mod feed;
mod fill;
mod holes;
mod intervals;
mod io;
mod leases;
mod numbers;
mod pace;
mod pending;
mod probe;
mod progress;
mod purge;
mod requests;
mod status;
mod verify;

pub use error::{Refused, ShipError};
pub use intervals::{Intervals, NotIntervals};
pub(crate) use leases::demote_leases;
pub use leases::{Kept, Leases, keep_standby_leases};
pub use probe::probe;
pub use progress::{Chunk, Progress, Tally};
pub use purge::{Purged, purge};
pub use status::{Shipped, Slow};
pub use verify::{Compared, Difference, Mismatch, Mismatches, verify};

use applier::{Applier, Orders};
use bytes::Bytes;
use requests::Request;

/// What is shipped, and where.
#[derive(Clone)]
pub struct Shipment {
    /// The route's name.
    pub route: String,
    pub intervals: Arc<Intervals>,
    /// The owner.
    pub from: Arc<ShardPool>,
    /// The standby.
    pub to: Arc<ShardPool>,
    /// The route's line, with the index of the owner's reign; `None`: it was never moved.
    pub from_line: Option<(Arc<RouteLine>, usize)>,
    pub stream: Stream,
    pub limits: Limits,
    /// At the beginning.
    pub throttle: Throttle,
    pub leases: Arc<dyn Leases>,
}

impl std::fmt::Debug for Shipment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shipment")
            .field("route", &self.route)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

/// What one transaction on the standby may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Operations: the standby's `--max-txn-ops`.
    pub ops: usize,
    /// Bytes. A key that is larger goes alone.
    pub bytes: usize,
}

impl Default for Limits {
    /// What every etcd takes, and what does not hold it up for long.
    fn default() -> Self {
        Self { ops: 128, bytes: 512 << 10 }
    }
}

impl Limits {
    /// Keys in one transaction, each with its record, beside the progress.
    fn keys(&self) -> usize {
        (self.ops.saturating_sub(1) / 2).max(1)
    }

    /// Half of it.
    fn halve(&mut self) {
        self.ops = (self.ops / 2).max(3);
        self.bytes = (self.bytes / 2).max(1);
    }
}

/// One state of the route on both shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aligned {
    /// The raw revision of the owner.
    pub owner: i64,
    /// The raw revision of the standby that holds the same.
    pub standby: i64,
}

/// The standby holds what it is to hold, and nothing more is written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The raw revision of the standby that holds it. What ends there behind it ends in the next reign.
    pub standby_revision: i64,
}

/// The running task. Ends when it is dropped, at the next opportunity.
#[derive(Debug)]
pub struct Shipper {
    orders: watch::Sender<Orders>,
    requests: mpsc::Sender<Request>,
    status: watch::Receiver<Shipped>,
    cancel: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

/// Requests that wait at once.
const REQUESTS: usize = 16;

impl Shipper {
    /// Starts where the stored progress of this reign says, or anew if there is none. The standby's leases are to be kept
    /// beside it, by [`keep_standby_leases`]. Must be called within a tokio runtime.
    pub fn start(shipment: Shipment) -> Self {
        let orders = Orders {
            order: 0,
            bound: shipment.stream.bound,
            throttle: shipment.throttle.clone(),
            hold: None,
        };
        let (orders, ordered) = watch::channel(orders);
        let (requests, requested) = mpsc::channel(REQUESTS);
        let (told, status) = watch::channel(Shipped::default());
        let cancel = CancellationToken::new();
        let applier = Applier::new(shipment, ordered, requested, told, cancel.clone());
        let task = Some(tokio::spawn(applier.run()));
        Self { orders, requests, status, cancel, task }
    }

    pub fn status(&self) -> watch::Receiver<Shipped> {
        self.status.clone()
    }

    /// How far it may go from now on. Returns when it keeps to that and none of its transactions is under way: after
    /// [`Bound::Stop`] nothing more is applied. [`Self::settle`] after [`Bound::At`]. The order stands even if this future is
    /// dropped.
    ///
    /// # Errors
    /// It has ended.
    pub async fn bound(&self, bound: Bound) -> Result<(), ShipError> {
        let mut order = 0;
        self.orders.send_modify(|orders| {
            orders.bound = bound;
            orders.order += 1;
            order = orders.order;
        });
        self.until(|status| status.order >= order).await.map(drop)
    }

    /// Until the standby holds exactly what the owner had at this raw revision, and this is stored; under [`Bound::At`] this
    /// revision. Does not wait for the copy of a route to go on: that is stopped.
    ///
    /// Nothing had ended there by itself at the revision that is given, and the shipper writes nothing of the route behind it
    /// until it gets another bound: what ends later stays so.
    ///
    /// # Errors
    /// It has ended.
    pub async fn settle(&self, raw: i64) -> Result<Settled, ShipError> {
        self.request(|answer| Request::Settle { raw, answer }).await
    }

    /// Orders [`Bound::At`], and [settles](Self::settle).
    ///
    /// # Errors
    /// It has ended.
    pub async fn reach(&self, raw: i64) -> Result<Settled, ShipError> {
        self.bound(Bound::At(raw)).await?;
        self.settle(raw).await
    }

    /// Writes these keys anew on the standby, as the owner has them. Waits while it is stopped.
    ///
    /// # Errors
    /// It has ended.
    pub async fn repair(&self, keys: Vec<Bytes>) -> Result<(), ShipError> {
        self.request(|answer| Request::Repair { keys, answer }).await
    }

    /// Changes the rates of the copy.
    pub fn throttle(&self, throttle: Throttle) {
        self.orders.send_modify(|orders| orders.throttle = throttle);
    }

    /// Holds the copy up, and says why; the log goes on. `None`: no longer.
    pub fn hold(&self, why: Option<Slow>) {
        self.orders.send_if_modified(|orders| {
            let changed = orders.hold != why;
            orders.hold = why;
            changed
        });
    }

    /// A state of the route that both shards have at the end of one transaction, at or above a raw revision of the owner.
    /// Waits for the copy's end, and not beyond a bound.
    ///
    /// # Errors
    /// It has ended.
    pub async fn align(&self, at_least: i64) -> Result<Aligned, ShipError> {
        self.request(|answer| Request::Store { at_least: Some(at_least), answer }).await
    }

    /// A test write on the standby: its progress, as it is. Gives the revision that it was applied at.
    ///
    /// # Errors
    /// It has ended, by the refusal of this very write perhaps.
    pub async fn probe(&self) -> Result<i64, ShipError> {
        let stored = self.request(|answer| Request::Store { at_least: None, answer }).await?;
        Ok(stored.standby)
    }

    /// Waits until the status is as wanted.
    ///
    /// # Errors
    /// It has ended.
    pub async fn until(&self, mut wanted: impl FnMut(&Shipped) -> bool) -> Result<Shipped, ShipError> {
        let mut status = self.status.clone();
        let found = status.wait_for(|status| status.ended.is_some() || wanted(status)).await;
        // The task tells its end before it drops the sender; unless it panicked.
        let found = found.map_err(|_| ShipError::Stopped)?.clone();
        match found.ended {
            Some(error) => Err(error),
            None => Ok(found),
        }
    }

    /// Ends it, and waits until none of its calls is under way. A transaction that was not answered may still be applied,
    /// if nobody has written the progress before.
    pub async fn stop(mut self) -> Shipped {
        self.cancel.cancel();
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the task that ships a route has panicked");
        }
        self.status.borrow().clone()
    }

    async fn request<T>(&self, of: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, ShipError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.send(of(answer)).await;
        match (sent, answered.await) {
            (Ok(()), Ok(answer)) => Ok(answer),
            _ => Err(self.status.borrow().ended.clone().unwrap_or(ShipError::Stopped)),
        }
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
