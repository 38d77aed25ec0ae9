//! A proxy: its route engine, and whether its sessions stand.

use std::sync::Arc;

use etcd_prism_ownership::RouteEngine;
use etcd_prism_ownership::route::{Observation, Permit};
use etcd_prism_routing::ShardId;

use super::shard::{DEFINITION, ROUTE, Shard};

/// Its sessions are in the shards; that what they promise is kept is another world's (`reads`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proxy {
    pub id: usize,
    engine: RouteEngine,
}

impl Proxy {
    pub(super) fn new(id: usize, shards: &mut [Arc<Shard>]) -> Self {
        let names: Vec<String> = shards.iter().map(|s| s.id.to_string()).collect();
        let mut engine = RouteEngine::new(ROUTE, DEFINITION, &names);
        for (i, shard) in shards.iter().enumerate() {
            engine.identify(ShardId(i as u16), shard.id);
        }
        let mut proxy = Self { id, engine };
        (0..shards.len()).for_each(|at| proxy.learn(at, shards));
        proxy
    }

    pub(super) fn permit(&self) -> Option<Permit> {
        self.engine.permit()
    }

    /// Hears of the fence of a shard, and acknowledges what it makes of it.
    pub(super) fn learn(&mut self, at: usize, shards: &mut [Arc<Shard>]) {
        let index = ShardId(at as u16);
        let shard = &shards[at];
        let fence = shard.fence.clone().map(|(revision, fence)| (revision, Ok(fence)));
        let observation = Observation { revision: shard.revision, fence };
        match self.engine.suspects().into_iter().find(|s| s.shard == index) {
            Some(suspect) => self.engine.confirm(suspect, observation),
            None => self.engine.observe(index, observation),
        }
        for (i, shard) in shards.iter_mut().enumerate() {
            let index = ShardId(i as u16);
            let seal = self.engine.seal(index).map(|seal| seal.revision());
            let ack = seal.or_else(|| self.engine.following(index).map(|f| f.revision()));
            if let (Some(ack), Some(acked)) = (ack, shard.sessions[self.id])
                && ack > acked
            {
                Arc::make_mut(shard).sessions[self.id] = Some(ack);
            }
        }
    }

    /// Where a write that is committed now is applied too: shard and epoch.
    pub(super) fn mirror(&self) -> Option<(usize, i64)> {
        self.engine.mirror().map(|mirror| (usize::from(mirror.shard.0), mirror.epoch))
    }
}
