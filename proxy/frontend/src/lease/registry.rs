//! What this proxy knows of leases. In memory, bounded; what is not known is asked of the shards.

use std::collections::{BTreeSet, HashMap, VecDeque};

use etcd_prism_routing::ShardId;
use parking_lot::Mutex;

/// Leases remembered. API servers use few at a time (one per minute for events); the oldest are forgotten first, which
/// costs a question to the shards when they are used again.
const REMEMBERED: usize = 100_000;

/// Revokes remembered for shards that could not be told; beyond that the oldest ids are forgotten, and such a lease ends
/// with its TTL.
const OWED: usize = 10_000;

/// What is known of one lease.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// The granted TTL in seconds; 0: not known.
    pub granted_ttl: i64,
    /// Shards that have had it.
    pub shards: BTreeSet<ShardId>,
    /// It was revoked or found expired: it must not come back.
    pub dead: bool,
}

#[derive(Debug, Default)]
struct State {
    leases: HashMap<i64, Known>,
    /// By age, for the bound.
    order: VecDeque<i64>,
    /// Revokes that a shard could not be told.
    owed: BTreeSet<(i64, ShardId)>,
}

/// Leases by id.
#[derive(Debug, Default)]
pub struct Registry {
    state: Mutex<State>,
}

impl Registry {
    /// What is known of a lease; `None` if nothing is.
    pub fn get(&self, id: i64) -> Option<Known> {
        self.state.lock().leases.get(&id).cloned()
    }

    /// The lease is, or was just, on a shard.
    pub fn on_shard(&self, id: i64, shard: ShardId, granted_ttl: i64) {
        self.update(id, |known| {
            known.shards.insert(shard);
            if granted_ttl > 0 {
                known.granted_ttl = granted_ttl;
            }
        });
    }

    /// A new grant of this id: whatever was known of an older lease of that id is void.
    pub fn granted(&self, id: i64, shard: ShardId, granted_ttl: i64) {
        self.update(id, |known| *known = Known { granted_ttl, shards: BTreeSet::from([shard]), dead: false });
        self.state.lock().owed.retain(|(owed, _)| *owed != id);
    }

    pub fn died(&self, id: i64) {
        self.update(id, |known| known.dead = true);
    }

    /// Remembers that a shard has to be told of a revoke.
    pub fn owe_revoke(&self, id: i64, shard: ShardId) {
        let mut state = self.state.lock();
        state.owed.insert((id, shard));
        if state.owed.len() > OWED {
            state.owed.pop_first();
        }
    }

    /// Nothing is known of this id after all.
    pub fn forget(&self, id: i64) {
        let mut state = self.state.lock();
        state.leases.remove(&id);
        state.order.retain(|known| *known != id);
    }

    pub fn revoke_told(&self, id: i64, shard: ShardId) {
        self.state.lock().owed.remove(&(id, shard));
    }

    /// Revokes that shards have still to be told.
    pub fn owed(&self) -> Vec<(i64, ShardId)> {
        self.state.lock().owed.iter().copied().collect()
    }

    fn update(&self, id: i64, change: impl FnOnce(&mut Known)) {
        let mut state = self.state.lock();
        if !state.leases.contains_key(&id) {
            state.order.push_back(id);
            if state.order.len() > REMEMBERED
                && let Some(oldest) = state.order.pop_front()
            {
                state.leases.remove(&oldest);
            }
        }
        change(state.leases.entry(id).or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_grant_forgets_the_old_lease() {
        let registry = Registry::default();
        registry.granted(7, ShardId(0), 60);
        registry.on_shard(7, ShardId(1), 0);
        registry.owe_revoke(7, ShardId(1));
        registry.died(7);
        let known = registry.get(7).unwrap();
        assert!(known.dead && known.shards.len() == 2 && known.granted_ttl == 60);
        registry.granted(7, ShardId(2), 10);
        assert_eq!(
            registry.get(7),
            Some(Known { granted_ttl: 10, shards: BTreeSet::from([ShardId(2)]), dead: false })
        );
        assert!(registry.owed().is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let registry = Registry::default();
        for id in 0..REMEMBERED as i64 + 10 {
            registry.granted(id, ShardId(0), 1);
        }
        assert_eq!(registry.get(9), None);
        assert!(registry.get(10).is_some());
        assert_eq!(registry.state.lock().leases.len(), REMEMBERED);
    }
}
