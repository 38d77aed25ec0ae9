//! What this proxy remembers of leases. In memory, bounded: a cache of what the shards know.

use std::collections::{BTreeSet, HashMap, VecDeque};

use etcd_prism_routing::ShardId;
use parking_lot::Mutex;

use super::flight::Flights;

/// Leases remembered. API servers use few at a time (one per minute for events); the oldest are forgotten first, which
/// costs a question to the shards when they are used again.
const REMEMBERED: usize = 100_000;

/// Revokes remembered for shards that could not be told; beyond that some are forgotten, and such a lease ends with its TTL.
const OWED: usize = 10_000;

/// What is known of one lease.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// Shards that have had it.
    pub shards: BTreeSet<ShardId>,
    /// It was granted through this proxy.
    pub is_own: bool,
}

#[derive(Debug, Default)]
struct State {
    leases: HashMap<i64, Known>,
    /// By age, for the bound.
    order: VecDeque<i64>,
    /// Revokes that a shard could not be told.
    owed: BTreeSet<(i64, ShardId)>,
    /// Copies that a shard should not have got, and is still to be told to drop.
    taken_back: BTreeSet<(i64, ShardId)>,
}

/// Leases by id.
#[derive(Debug, Default)]
pub struct Registry {
    state: Mutex<State>,
    pub(super) flights: Flights,
}

impl Registry {
    /// What is known of a lease; nothing if it was never met.
    pub fn get(&self, id: i64) -> Known {
        self.state.lock().leases.get(&id).cloned().unwrap_or_default()
    }

    /// The lease is, or was just, on a shard.
    pub fn on_shard(&self, id: i64, shard: ShardId) {
        self.update(id, |known| {
            known.shards.insert(shard);
        });
    }

    /// The shard has no more than a copy of the lease: nobody waits for it.
    pub fn not_held(&self, id: i64, shard: ShardId) {
        if let Some(known) = self.state.lock().leases.get_mut(&id) {
            known.shards.remove(&shard);
        }
    }

    /// The lease is not on that shard, and should not have been.
    pub fn take_back(&self, id: i64, shard: ShardId) {
        self.not_held(id, shard);
        bounded_insert(&mut self.state.lock().taken_back, (id, shard));
    }

    /// A new grant of this id: whatever was known of an older lease of that id is void.
    pub fn granted(&self, id: i64, shard: ShardId) {
        self.update(id, |known| *known = Known { shards: BTreeSet::from([shard]), is_own: true });
        let mut state = self.state.lock();
        state.owed.retain(|(owed, _)| *owed != id);
        state.taken_back.retain(|(owed, _)| *owed != id);
    }

    /// Remembers that a shard has to be told of a revoke.
    pub fn owe_revoke(&self, id: i64, shard: ShardId) {
        bounded_insert(&mut self.state.lock().owed, (id, shard));
    }

    /// The shards that have still to be told that the lease was revoked: what they have of it is not renewed and not brought
    /// anywhere. A lease of that id elsewhere is another one.
    pub fn owed_by(&self, id: i64) -> BTreeSet<ShardId> {
        let all = (id, ShardId(0))..=(id, ShardId(u16::MAX));
        self.state.lock().owed.range(all).map(|(_, shard)| *shard).collect()
    }

    /// The lease is gone.
    pub fn forget(&self, id: i64) {
        let mut state = self.state.lock();
        if state.leases.remove(&id).is_some() {
            state.order.retain(|known| *known != id);
        }
    }

    pub fn revoke_told(&self, id: i64, shard: ShardId) {
        let mut state = self.state.lock();
        state.owed.remove(&(id, shard));
        state.taken_back.remove(&(id, shard));
    }

    /// What shards have still to be told to drop.
    pub fn owed(&self) -> BTreeSet<(i64, ShardId)> {
        let state = self.state.lock();
        state.owed.union(&state.taken_back).copied().collect()
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

fn bounded_insert(owed: &mut BTreeSet<(i64, ShardId)>, what: (i64, ShardId)) {
    owed.insert(what);
    if owed.len() > OWED {
        owed.pop_first();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_grant_forgets_the_old_lease() {
        let registry = Registry::default();
        registry.granted(7, ShardId(0));
        registry.on_shard(7, ShardId(1));
        registry.owe_revoke(7, ShardId(1));
        registry.take_back(7, ShardId(3));
        assert_eq!(registry.get(7).shards.len(), 2);
        assert_eq!(registry.owed().len(), 2);
        registry.granted(7, ShardId(2));
        assert_eq!(registry.get(7), Known { shards: BTreeSet::from([ShardId(2)]), is_own: true });
        assert!(registry.owed().is_empty());
        registry.forget(7);
        assert_eq!(registry.get(7), Known::default());
    }

    /// A revoke concerns the lease as it is there; a copy that is taken back says nothing of the lease elsewhere.
    #[test]
    fn what_a_shard_is_still_to_be_told() {
        let registry = Registry::default();
        registry.on_shard(7, ShardId(1));
        registry.on_shard(7, ShardId(2));
        registry.owe_revoke(7, ShardId(1));
        registry.take_back(7, ShardId(2));
        assert_eq!(registry.get(7), Known { shards: BTreeSet::from([ShardId(1)]), is_own: false });
        assert_eq!(registry.owed_by(7), BTreeSet::from([ShardId(1)]));
        // A copy is not waited for.
        registry.on_shard(7, ShardId(4));
        registry.not_held(7, ShardId(4));
        assert_eq!(registry.get(7).shards, BTreeSet::from([ShardId(1)]));
        assert!(registry.owed_by(6).is_empty() && registry.owed_by(8).is_empty());
        assert_eq!(registry.owed(), BTreeSet::from([(7, ShardId(1)), (7, ShardId(2))]));
        registry.revoke_told(7, ShardId(1));
        registry.revoke_told(7, ShardId(2));
        assert!(registry.owed().is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let registry = Registry::default();
        for id in 0..REMEMBERED as i64 + 10 {
            registry.granted(id, ShardId(0));
        }
        assert_eq!(registry.get(9), Known::default());
        assert!(registry.get(10).is_own);
        assert_eq!(registry.state.lock().leases.len(), REMEMBERED);
    }
}
