//! The table says where a route lives after it was moved.

use std::time::Duration;

use etcd_prism_control::call;
use etcd_prism_ownership::ShardUid;
use etcd_prism_ownership::keys;
use etcd_prism_ownership::txn::Txn;
use etcd_prism_ownership::value::{Table, ValueError};
use etcd_prism_upstream::{ShardPool, UpstreamError};
use etcd_prism_wire::keys::KeyRange;

use crate::shards::Shards;
use crate::view::first;

const PATIENCE: Duration = Duration::from_secs(2);

/// Why the table was not written. Trying again is the remedy for all of them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelocateError {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("shard {shard}: {error}")]
    Unreadable { shard: String, error: ValueError },
    #[error("no shard has a table")]
    NoTable,
    #[error("the arbiter of the table is not configured here")]
    NoArbiter,
    #[error("the table has no route {0}")]
    NoRoute(String),
    #[error("the table does not name the shard that the route was moved to: run `etcd-prism route apply`")]
    NoShard,
    #[error(
        "a change of routes is under way: finish it with `etcd-prism route apply`, or end it with `route abort`"
    )]
    Pending,
    #[error("somebody else changed the table at the same time")]
    Race,
}

/// Makes the table name `to` as the route's shard: on the arbiter, under the table's mod revision, then on every other shard
/// that can be reached. What is missed there, the next `route apply` makes up for.
pub(crate) async fn relocate(shards: &Shards, route: &str, to: ShardUid) -> Result<(), RelocateError> {
    let arbiter = arbiter(shards).await?;
    let pool = shards.pool(arbiter).ok_or(RelocateError::NoArbiter)?;
    let (revision, table) = read(pool).await?.ok_or(RelocateError::NoTable)?;
    let table = match moved(&table, route, to)? {
        None => table,
        Some(new) => {
            let txn = Txn::table(arbiter, revision, new.clone());
            call::write(pool, &txn, PATIENCE).await?.ok_or(RelocateError::Race)?;
            new
        }
    };
    for (at, pool) in shards.pools().iter().enumerate() {
        let Some(id) = shards.id_of(at).filter(|id| *id != arbiter) else { continue };
        if let Err(error) = copy(pool, id, &table).await {
            tracing::info!(shard = %pool.shard().name, %error, "its copy of the table is written later");
        }
    }
    Ok(())
}

/// The table with the route on its new shard; `None`: it says so already.
fn moved(table: &Table, route: &str, to: ShardUid) -> Result<Option<Table>, RelocateError> {
    let here = table.route(route).ok_or_else(|| RelocateError::NoRoute(route.to_owned()))?;
    if here.shard == to {
        return Ok(None);
    }
    if table.pending.is_some() {
        // What was claimed was worked out for the table as it is.
        return Err(RelocateError::Pending);
    }
    if !table.shards.iter().any(|shard| shard.id == to) {
        return Err(RelocateError::NoShard);
    }
    // The claim stays: fences of the last change that nobody has tidied up yet still belong to it.
    let mut new = table.clone();
    new.generation += 1;
    new.begins.remove(route);
    new.routes.iter_mut().filter(|r| r.name == route).for_each(|r| r.shard = to);
    Ok(Some(new))
}

async fn arbiter(shards: &Shards) -> Result<ShardUid, RelocateError> {
    let mut error = RelocateError::NoTable;
    for pool in shards.pools() {
        match read(pool).await {
            Ok(Some((_, table))) => return Ok(table.arbiter),
            Ok(None) => {}
            Err(found) => error = found,
        }
    }
    Err(error)
}

async fn read(pool: &ShardPool) -> Result<Option<(i64, Table)>, RelocateError> {
    let answers = call::read(pool, vec![call::range(KeyRange::single(keys::TABLE))], PATIENCE).await?;
    match answers.ranges.first().and_then(first::<Table>) {
        None => Ok(None),
        Some((revision, Ok(table))) => Ok(Some((revision, table))),
        Some((_, Err(error))) => Err(RelocateError::Unreadable { shard: pool.shard().name.clone(), error }),
    }
}

async fn copy(pool: &ShardPool, shard: ShardUid, table: &Table) -> Result<(), RelocateError> {
    let (revision, generation) = match read(pool).await? {
        Some((revision, copy)) => (revision, copy.generation),
        None => (0, 0),
    };
    if generation < table.generation {
        call::write(pool, &Txn::table(shard, revision, table.clone()), PATIENCE)
            .await?
            .ok_or(RelocateError::Race)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use etcd_prism_ownership::ClusterId;
    use etcd_prism_ownership::value::{Begin, Claim, Pending, TableShard};
    use etcd_prism_routing::{RouteSpec, ShardId};

    use super::*;

    fn table() -> Table {
        let shard =
            |name: &str, id| TableShard { name: name.to_owned(), id: ShardUid(id), cluster_id: ClusterId(1) };
        let spec = |name: &str, prefix: Option<&str>| RouteSpec {
            name: name.to_owned(),
            prefixes: prefix.iter().map(|p| p.as_bytes().to_vec()).collect(),
            shard: ShardId(0),
        };
        let specs = [spec("rest", None), spec("pods", Some("/registry/pods/"))];
        Table::first(vec![shard("a", 1), shard("b", 2)], &specs).unwrap()
    }

    #[test]
    fn only_the_routes_shard_changes_and_the_claim_stays() {
        let mut old = table();
        old.claim = Claim(7);
        let begin = Begin::default();
        old.begins = BTreeMap::from([("rest".to_owned(), begin.clone()), ("pods".to_owned(), begin)]);
        let new = moved(&old, "pods", ShardUid(2)).unwrap().unwrap();
        assert_eq!((new.generation, new.claim), (2, Claim(7)));
        assert_eq!(new.route("pods").unwrap().shard, ShardUid(2));
        assert_eq!(new.route("rest"), old.route("rest"));
        assert_eq!(new.begins.keys().collect::<Vec<_>>(), ["rest"]);
        assert!(new.layout().is_ok());
        assert!(matches!(moved(&new, "pods", ShardUid(2)), Ok(None)), "once is enough");
    }

    #[test]
    fn a_change_under_way_an_unknown_shard_and_an_unknown_route_are_refused() {
        let mut old = table();
        assert!(matches!(moved(&old, "pods", ShardUid(3)), Err(RelocateError::NoShard)));
        assert!(matches!(moved(&old, "leases", ShardUid(2)), Err(RelocateError::NoRoute(_))));
        old.pending = Some(Pending { shards: old.shards.clone(), routes: old.routes.clone() });
        assert!(matches!(moved(&old, "pods", ShardUid(2)), Err(RelocateError::Pending)));
    }
}
