//! What must hold.

use etcd_prism_ownership::timeline::Timeline;
use stateright::Property;

use super::{Migrations, World, line};

/// At most one shard has an open fence.
pub const TWO_OPEN: &str = "at most one fence is open";
/// Reigns follow each other, on the virtual line and on each shard's.
pub const LINE: &str = "the reigns make one line";
/// A shard that begins to rule holds what the one before it held at G.
pub const COPY: &str = "the target holds exactly what the owner held at G";
/// Nothing is read from a shard whose reign has ended.
pub const STALE: &str = "nothing is read where another shard rules";
/// Nothing above G is shown of the reign that ended with it, and revisions never go back.
pub const ABOVE: &str = "nothing is shown above G";
/// A watcher that goes on anywhere sees the line, all of it, and nothing else.
pub const WATCH: &str = "watchers see the line";
/// Every write that was acknowledged is in the line once.
pub const LOST: &str = "no acknowledged write is lost or applied twice";
/// No write is applied but under an open fence.
pub const FOREIGN: &str = "writes are applied by the owner only";

pub(super) fn all() -> Vec<Property<Migrations>> {
    vec![
        Property::always(TWO_OPEN, |_, world: &World| {
            world.shards.iter().filter(|s| s.is_open()).count() <= 1
        }),
        Property::always(LINE, |_, world: &World| Timeline::new(world.reigns()).is_ok()),
        Property::always(COPY, |_, world: &World| !world.wrong.copy),
        Property::always(STALE, |_, world: &World| !world.wrong.stale),
        Property::always(ABOVE, |_, world: &World| !world.wrong.above),
        Property::always(WATCH, |_, world: &World| !world.wrong.watch),
        Property::always(FOREIGN, |_, world: &World| !world.wrong.foreign),
        Property::always(LOST, |_, world: &World| {
            let (line, _) = line::events(&world.shards, &world.reigns(), 0);
            let values: Vec<u8> = line.into_iter().flatten().collect();
            // One client writes one value after the other.
            values == (1..=world.written).collect::<Vec<_>>()
        }),
        Property::sometimes("another shard rules", |model: &Migrations, world: &World| {
            world.reigns().len() > 1 || !model.switches()
        }),
        Property::sometimes("everything is at rest again", |model: &Migrations, world: &World| {
            world.is_at_rest() && (world.slots.iter().all(|s| s.driver.is_none()) || model.proxies > 0)
        }),
    ]
}
