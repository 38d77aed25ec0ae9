//! A stand-in for a shard of one member: the part of etcd that proxies and their clients use, in memory.
//!
//! It has no log and no disk: what was committed survives a crash of its host, as if every write were synced. It is compared
//! with a real etcd in `tests/against_etcd.rs`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use etcd_prism_proto::etcdserverpb::ResponseHeader;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

mod lease;
mod range;
mod service;
mod store;
mod txn;
mod watcher;

pub use service::routes;
pub use store::{Commit, Store};

/// What the current time is, since the simulation began.
pub type Now = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    #[error("etcdserver: mvcc: required revision is a future revision")]
    Future,
    #[error("etcdserver: requested lease not found")]
    NoLease,
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    #[error("etcdserver: key not found")]
    NoKey,
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    #[error("etcdserver: mvcc: database space exceeded")]
    Full,
}

impl From<Refusal> for tonic::Status {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::Compacted | Refusal::Future => tonic::Code::OutOfRange,
            Refusal::NoLease => tonic::Code::NotFound,
            Refusal::LeaseExists => tonic::Code::FailedPrecondition,
            Refusal::NoKey | Refusal::EmptyKey => tonic::Code::InvalidArgument,
            Refusal::Full => tonic::Code::ResourceExhausted,
        };
        Self::new(code, refusal.to_string())
    }
}

/// One shard, for its server and for whoever looks on.
#[derive(Clone)]
pub struct Shard {
    store: Arc<Mutex<Store>>,
    /// The revision that was reached.
    reached: watch::Sender<i64>,
    now: Now,
    cluster_id: u64,
    /// By how much transactions, renewals and news of watches come late.
    late: Arc<Mutex<Option<Late>>>,
}

/// How late the next one is. A shard whose disk is slow applies transactions though nobody waits any more.
pub type Late = Box<dyn FnMut() -> Duration + Send>;

impl Shard {
    /// `places` counts the commits of all shards.
    pub fn new(cluster_id: u64, now: Now, places: Arc<AtomicU64>) -> Self {
        let store = Store::new(places);
        Self {
            store: Arc::new(Mutex::new(store)),
            reached: watch::Sender::new(1),
            now,
            cluster_id,
            late: Arc::default(),
        }
    }

    /// The store; those who wait for a revision are told when the guard is dropped.
    pub fn store(&self) -> Guard<'_> {
        Guard { store: self.store.lock(), reached: &self.reached }
    }

    /// From now on all but plain reads comes late; `None`: at once.
    pub fn set_late(&self, late: Option<Late>) {
        *self.late.lock() = late;
    }

    fn late(&self) -> Duration {
        self.late.lock().as_mut().map_or(Duration::ZERO, |late| late())
    }

    /// Ends leases whose time has come.
    pub fn expire(&self) {
        let now = (self.now)();
        self.store().expire(now);
    }

    /// What a server that starts again does: every lease gets its whole TTL anew.
    pub fn start_again(&self) {
        let now = (self.now)();
        self.store().renew_all(now);
    }

    fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader { cluster_id: self.cluster_id, member_id: self.cluster_id + 1, revision, raft_term: 2 }
    }
}

/// See [`Shard::store`].
pub struct Guard<'s> {
    store: MutexGuard<'s, Store>,
    reached: &'s watch::Sender<i64>,
}

impl std::ops::Deref for Guard<'_> {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl std::ops::DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut Store {
        &mut self.store
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let revision = self.store.revision();
        // Also where it was compacted only: watches that begin below have to be told.
        let compacted = std::mem::take(&mut self.store.was_compacted);
        self.reached
            .send_if_modified(|reached| std::mem::replace(reached, revision) != revision || compacted);
    }
}
