//! Revokes of clients' leases that are under way. No fence stops a revoke, so a seal is not acknowledged before those that
//! began while the route was served have ended: one that arrived behind the boundary of a switch would delete keys unseen.

use std::collections::{BTreeMap, BTreeSet};

use etcd_prism_ownership::route::Seal;
use etcd_prism_routing::ShardId;

#[derive(Debug, Default)]
pub(crate) struct Revokes {
    next: u64,
    under_way: BTreeSet<u64>,
    /// For each seal: its mod revision, and the first revoke that began when the route was not shown as served any more.
    seen: BTreeMap<(ShardId, String), (i64, u64)>,
}

impl Revokes {
    pub(crate) fn begin(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        self.under_way.insert(id);
        id
    }

    pub(crate) fn end(&mut self, id: u64) {
        self.under_way.remove(&id);
    }

    /// Whether a seal, which is shown by now, may be acknowledged. To be asked again whenever a revoke has ended.
    pub(crate) fn let_go(&mut self, shard: ShardId, seal: &Seal) -> bool {
        let seen = self.seen.entry((shard, seal.route().to_owned())).or_insert((0, 0));
        if seen.0 != seal.revision() {
            *seen = (seal.revision(), self.next);
        }
        self.under_way.first().is_none_or(|oldest| *oldest >= seen.1)
    }
}
