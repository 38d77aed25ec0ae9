//! A proxy that writes one key, once.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_prism_ownership::route::Observation;
use etcd_prism_ownership::value::Table;
use etcd_prism_ownership::{DefinitionHash, RouteEngine};
use etcd_prism_routing::ShardId;

use super::Variant;
use super::shard::Shard;
use super::tables::Tables;

/// A write under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Write {
    Wanted,
    Sent { shard: usize, epoch: i64 },
    Done,
}

/// A proxy with its own table. Its sessions stand all the time; other worlds look at those.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proxy {
    engines: Vec<RouteEngine>,
    /// `None` for routes that its table does not have.
    definitions: Vec<Option<DefinitionHash>>,
    /// The route of the key.
    route: usize,
    write: Write,
    /// By shard and route: the seal that was acknowledged.
    acks: [BTreeMap<String, i64>; 2],
}

impl Proxy {
    pub(super) fn new(tables: &Tables, table: &Table) -> Self {
        let names = tables.names();
        let definition = |name: &&str| table.route(name).map(|route| route.definition);
        let definitions: Vec<Option<DefinitionHash>> = names.iter().map(definition).collect();
        let shards = ["a".to_owned(), "b".to_owned()];
        let engine = |(name, definition): (&&str, &Option<DefinitionHash>)| {
            let mut engine = match definition {
                Some(definition) => RouteEngine::new(name, *definition, &shards),
                None => RouteEngine::stranger(name, &shards),
            };
            tables.ids().into_iter().enumerate().for_each(|(i, id)| engine.identify(ShardId(i as u16), id));
            engine
        };
        let engines = names.iter().zip(&definitions).map(engine).collect();
        let owner = tables.owner(table);
        let route = names.iter().position(|n| *n == owner).unwrap_or_default();
        Self { engines, definitions, route, write: Write::Wanted, acks: Default::default() }
    }

    pub(super) fn acks(&self, shard: usize) -> BTreeMap<String, i64> {
        self.acks[shard].clone()
    }

    pub(super) fn learn(&mut self, at: usize, shard: &Shard, variant: Variant) {
        let index = ShardId(at as u16);
        for (engine, own) in self.engines.iter_mut().zip(&self.definitions) {
            let fence = shard.fences.get(engine.name()).map(|stored| {
                let mut fence = stored.fence.clone();
                if let (Variant::NoDefinition, Some(own)) = (variant, own) {
                    fence.definition = *own;
                }
                (stored.mod_revision, Ok(fence))
            });
            engine.observe(index, Observation { revision: shard.revision, fence });
            if let Some(seal) = engine.seal(index) {
                self.acks[at].insert(engine.name().to_owned(), seal.revision());
            }
        }
    }

    pub(super) fn can_send(&self) -> bool {
        self.write == Write::Wanted && self.engines[self.route].permit().is_some()
    }

    pub(super) fn has_sent(&self) -> bool {
        matches!(self.write, Write::Sent { .. })
    }

    pub(super) fn send(&mut self, shards: &[Arc<Shard>; 2], variant: Variant) {
        let Some(permit) = self.engines[self.route].permit() else { return };
        let shard = usize::from(permit.shard.0);
        let stored = shards[shard].fences.get(self.engines[self.route].name());
        let epoch = match (variant, stored) {
            // What it knows of the fence, counted in versions: good only while that is what is stored.
            (Variant::EpochIsVersion, Some(stored)) if stored.mod_revision == permit.epoch => stored.version,
            (Variant::EpochIsVersion, _) => return,
            _ => permit.epoch,
        };
        self.write = Write::Sent { shard, epoch };
    }

    /// The shard handles the write. Returns whether it was applied where it must not have been.
    pub(super) fn write(&mut self, shards: &mut [Arc<Shard>; 2], tables: &Tables, variant: Variant) -> bool {
        let Write::Sent { shard, epoch } = self.write else { return false };
        self.write = Write::Done;
        let shard = Arc::make_mut(&mut shards[shard]);
        let Some(stored) = shard.fences.get(self.engines[self.route].name()) else { return false };
        let found = if variant == Variant::EpochIsVersion { stored.version } else { stored.mod_revision };
        if found != epoch {
            return false;
        }
        let foreign = !stored.fence.state.is_open() || !tables.covers_key(stored.fence.definition);
        shard.revision += 1;
        shard.key = true;
        foreign
    }
}
