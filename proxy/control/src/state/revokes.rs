//! Revokes of clients' leases that are under way. No fence stops a revoke, so a seal is not acknowledged before those that
//! began while the route was served have ended on its shard: one that arrived behind the boundary of a switch would delete
//! keys unseen.

use std::collections::{BTreeMap, BTreeSet};

use etcd_prism_ownership::route::Seal;
use etcd_prism_routing::ShardId;

#[derive(Debug, Default)]
pub(crate) struct Revokes {
    next: u64,
    /// With the shards that have answered.
    under_way: BTreeMap<u64, BTreeSet<ShardId>>,
    /// For each seal: its mod revision, and the first revoke that began when the route was not shown as served any more.
    seen: BTreeMap<(ShardId, String), (i64, u64)>,
    /// A seal waits.
    waited_for: bool,
}

impl Revokes {
    pub(crate) fn begin(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        self.under_way.insert(id, BTreeSet::new());
        id
    }

    /// A shard has answered. Returns whether seals are to be looked at again.
    pub(crate) fn told(&mut self, id: u64, shard: ShardId) -> bool {
        if let Some(told) = self.under_way.get_mut(&id) {
            told.insert(shard);
        }
        std::mem::take(&mut self.waited_for)
    }

    /// It is over. Returns whether seals are to be looked at again.
    pub(crate) fn end(&mut self, id: u64) -> bool {
        self.under_way.remove(&id);
        std::mem::take(&mut self.waited_for)
    }

    /// Whether a seal, which is shown by now, may be acknowledged.
    pub(crate) fn let_go(&mut self, shard: ShardId, seal: &Seal) -> bool {
        let seen = self.seen.entry((shard, seal.route().to_owned())).or_insert((0, 0));
        if seen.0 != seal.revision() {
            *seen = (seal.revision(), self.next);
        }
        let mut before = self.under_way.range(..seen.1);
        let free = before.all(|(_, told)| told.contains(&shard));
        self.waited_for |= !free;
        free
    }
}
