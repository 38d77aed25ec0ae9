//! What must hold.

use etcd_prism_ownership::State;
use stateright::Property;

use super::shard::StoredFence;
use super::{Changes, Tables, World};

/// No key is ever owned by two open fences.
pub const TWO_OPEN: &str = "no key has two open fences";
/// No write is applied but under an open fence that owns its key.
pub const FOREIGN: &str = "writes are applied by the owner only";
/// A key that was written is on the shard that owns it.
pub const VANISHED: &str = "no key that was written vanishes";
/// Whoever watched a key at another shard is told to list again by the one that owns it.
pub const FLOOR: &str = "no watch goes on at another shard";
/// The change is made or given up, completely.
pub const SETTLES: &str = "every change is finished or given up";

pub(super) fn all() -> Vec<Property<Changes>> {
    vec![
        Property::always(TWO_OPEN, |model: &Changes, world: &World| {
            let t = &model.tables;
            let open =
                |covers: &dyn Fn(&StoredFence) -> bool| world.open().filter(|(_, f)| covers(f)).count();
            open(&|f| t.covers_key(f.fence.definition)) <= 1
                && open(&|f| t.covers_other(f.fence.definition)) <= 1
        }),
        Property::always(FOREIGN, |_, world: &World| !world.foreign),
        Property::always(VANISHED, |model: &Changes, world: &World| {
            let mut owners = world.open().filter(|(_, f)| model.tables.covers_key(f.fence.definition));
            owners.all(|(owner, _)| world.shards.iter().enumerate().all(|(i, s)| !s.key || i == owner))
        }),
        Property::always(FLOOR, |model: &Changes, world: &World| {
            let mut owners =
                world.shards.iter().enumerate().flat_map(|(i, s)| s.fences.iter().map(move |f| (i, f)));
            owners.all(|(i, (route, stored))| {
                let owns = stored.fence.state.is_open() && model.tables.covers_key(stored.fence.definition);
                !owns || world.seen_elsewhere(&model.tables, i) <= world.shards[i].floor(route)
            })
        }),
        Property::eventually(SETTLES, |model: &Changes, world: &World| model.is_settled(world)),
        Property::sometimes("the change is made", |model: &Changes, world: &World| {
            let table = &world.shards[0].table.1;
            model.is_settled(world) && table.agrees(&model.tables.new.shards, &model.tables.new.routes)
        }),
        Property::sometimes("the routes stay as they were", |model: &Changes, world: &World| {
            let table = &world.shards[0].table.1;
            let stays = table.agrees(&model.tables.old.shards, &model.tables.old.routes);
            !model.may_stay || (stays && model.is_settled(world))
        }),
    ]
}

impl World {
    /// Every open fence, with its shard.
    fn open(&self) -> impl Iterator<Item = (usize, &StoredFence)> {
        let all = self.shards.iter().enumerate().flat_map(|(i, s)| s.fences.values().map(move |f| (i, f)));
        all.filter(|(_, stored)| stored.fence.state.is_open())
    }

    /// What clients can have seen of the key at the other shard, if that is where it was before.
    fn seen_elsewhere(&self, tables: &Tables, shard: usize) -> i64 {
        let owner = tables.old.route(&tables.owner(&tables.old)).map(|route| tables.index(route.shard));
        owner.filter(|owner| *owner != shard).map_or(0, |owner| self.shards[owner].sealed)
    }

    /// Nobody drives, and nothing is on its way.
    pub(super) fn is_quiet(&self) -> bool {
        self.drivers.iter().all(|slot| slot.driver.is_none()) && self.late.is_empty()
    }
}

impl Changes {
    /// Nobody drives, and the shards agree with themselves and with each other.
    pub(super) fn is_settled(&self, world: &World) -> bool {
        let table = &world.shards[0].table.1;
        let agreed = table.pending.is_none() && world.shards.iter().all(|s| s.table.1 == *table);
        let resting = |f: &StoredFence| matches!(f.fence.state, State::Open { .. } | State::Retired);
        let resolved = world.shards.iter().flat_map(|s| s.fences.values()).all(resting);
        let served = table.routes.iter().all(|route| {
            let stored = world.shards[self.tables.index(route.shard)].fences.get(&route.name);
            stored.is_some_and(|f| f.fence.state.is_open() && f.fence.definition == route.definition)
        });
        world.is_quiet() && agreed && resolved && served
    }
}
