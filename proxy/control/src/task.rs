//! The tasks, and how they are woken.

use etcd_prism_routing::ShardId;
use tokio::sync::Notify;

pub(crate) mod first;
pub(crate) mod read;
pub(crate) mod renew;
pub(crate) mod session;
pub(crate) mod watch;

/// One shard's.
#[derive(Debug, Default)]
pub(crate) struct ShardSignals {
    /// A step of the session is due.
    pub(crate) session: Notify,
    /// There is a lease to renew.
    pub(crate) renew: Notify,
    /// The shard is to be read again.
    pub(crate) reread: Notify,
    /// A route waits for the record of its reign, which should come by itself.
    pub(crate) reign: Notify,
}

/// What wakes the tasks.
#[derive(Debug)]
pub(crate) struct Signals {
    shards: Vec<ShardSignals>,
    /// A route has no fence.
    pub(crate) first: Notify,
}

impl Signals {
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards: (0..shards).map(|_| ShardSignals::default()).collect(), first: Notify::new() }
    }

    pub(crate) fn shard(&self, shard: ShardId) -> &ShardSignals {
        &self.shards[usize::from(shard.0)]
    }
}
