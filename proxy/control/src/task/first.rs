//! Creates the first fences, once every shard has been reached.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_prism_ownership::first::{Command, FirstStart, Obstacle};
use etcd_prism_ownership::id::ShardUid;
use etcd_prism_ownership::value::{Table, TableError, TableShard, ValueError};
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::{ShardPool, UpstreamError};

use crate::ownership::Ownership;
use crate::reading::Reading;
use crate::state::ids;
use crate::{call, identity, probe};

/// Between attempts, while something stands in the way.
const RETRY: Duration = Duration::from_secs(2);
/// Longest wait for a look at a shard's keys: an interval may hold millions.
const PROBE: Duration = Duration::from_secs(30);

/// Why an attempt led to nothing. The next one may.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("the identity of shard {0}: {1}")]
    Identity(String, ValueError),
    #[error("shard {0} is not to be trusted: {1}")]
    Problem(String, etcd_prism_ownership::identity::IdentityProblem),
}

pub(crate) async fn run(own: Arc<Ownership>) {
    let mut said = None;
    loop {
        let missing = {
            let state = own.state.lock();
            let all_read = state.shards.iter().all(|s| s.live.is_some());
            all_read && state.missing().next().is_some()
        };
        if !missing {
            own.signals.first.notified().await;
            continue;
        }
        let failure = match attempt(&own).await {
            Ok(obstacles) if obstacles.is_empty() => None,
            Ok(obstacles) => {
                own.update(|state| state.obstruct(|route| obstacles.get(route).map(ToString::to_string)));
                None
            }
            Err(failure) => Some(failure.to_string()),
        };
        if said != failure {
            if let Some(failure) = &failure {
                tracing::warn!(reason = failure, "the first fences are not created yet");
            }
            said = failure;
        }
        // The fences come by the watches; until then the routes still look as if they had none.
        tokio::time::sleep(RETRY).await;
    }
}

/// The obstacles by route: of those that got no fence.
async fn attempt(own: &Ownership) -> Result<BTreeMap<String, Obstacle>, Failure> {
    let shards = introduce(own).await?;
    let mut engine = FirstStart::new(Table::first(shards.clone(), &own.specs)?);
    let pool = |id: ShardUid| {
        let at = shards.iter().position(|s| s.id == id);
        // The engine knows of no other shards than those that it was given.
        at.and_then(|at| own.pools.get(at)).ok_or(TableError::UnknownShard { route: id.to_string() })
    };
    let patience = own.options.patience();
    loop {
        match engine.next() {
            Command::Read(shard) => engine.read(shard, Reading::of(pool(shard)?, patience).await?.snapshot),
            Command::Probe { shard, route, intervals } => {
                let found = probe::first_key(pool(shard)?, &intervals, PROBE).await?.found;
                engine.probed(shard, &route, found);
            }
            Command::Write(txn) => {
                let outcome = call::write(pool(txn.shard)?, &txn, patience).await;
                let revision = outcome.as_ref().ok().copied().flatten();
                engine.answered(&txn, revision);
                // Whether it was applied is not known: the next attempt looks.
                outcome?;
            }
            Command::Done(obstacles) => {
                for shard in ids(own.pools.len()) {
                    own.read(shard).await?;
                }
                return Ok(obstacles);
            }
            Command::Refuse(obstacle) => {
                return Ok(own.specs.iter().map(|spec| (spec.name.clone(), obstacle.clone())).collect());
            }
        }
    }
}

/// Every shard with its identity, in the order of the configuration; shards that have none get one.
async fn introduce(own: &Ownership) -> Result<Vec<TableShard>, Failure> {
    let patience = own.options.patience();
    let mut out = Vec::new();
    for shard in ids(own.pools.len()) {
        let pool = &own.pools[usize::from(shard.0)];
        own.read(shard).await?;
        untroubled(own, shard)?;
        let (live, stored) = {
            let state = own.state.lock();
            let facts = state.shard(shard);
            (facts.live, facts.identity.clone())
        };
        let name = pool.shard().name.clone();
        let Some(live) = live else { continue };
        let id = match (stored, live.id) {
            (Some((_, Err(error))), _) => return Err(Failure::Identity(name, error)),
            (_, Some(id)) => id,
            (_, None) => match identity::give(pool, live.cluster_id, 0, patience).await? {
                Some(id) => id,
                // Another proxy did.
                None => Reading::of(pool, patience).await?.live.id.ok_or_else(|| taken(pool))?,
            },
        };
        out.push(TableShard { name, id, cluster_id: live.cluster_id });
    }
    Ok(out)
}

fn untroubled(own: &Ownership, shard: ShardId) -> Result<(), Failure> {
    let state = own.state.lock();
    match &state.shard(shard).problem {
        Some(problem) => Err(Failure::Problem(state.shard(shard).name.clone(), problem.clone())),
        None => Ok(()),
    }
}

fn taken(pool: &ShardPool) -> UpstreamError {
    call::bad(pool, "the identity cannot be written and is not there".to_owned())
}
