//! Takes a shard as it is: after its data was restored or replaced on purpose.
//!
//! The shard gets a new identity, so that nothing that anybody remembers of the old one counts; its fences and the table
//! follow. Each write is conditional on what was read, and running the command again goes on where it was interrupted.

use std::collections::BTreeMap;

use etcd_prism_ownership::id::{ClusterId, ShardUid};
use etcd_prism_ownership::identity;
use etcd_prism_ownership::txn::Txn;
use etcd_prism_ownership::value::{Begin, Fence, State, Table, TableShard, ValueError};
use etcd_prism_upstream::{ShardPool, UpstreamError};

use crate::call;
use crate::identity::give;
use crate::reading::Reading;
use crate::site::{Site, remembered};

/// Why a shard is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("the configuration has no shard called {0}")]
    NoShard(String),
    #[error("no shard has a table yet: there is nothing to compare with")]
    NoTable,
    #[error("the stored table names no shard {0}: run `etcd-prism route apply`")]
    NotInTable(String),
    #[error(
        "a change of routes is under way: finish it with `etcd-prism route apply`, or end it with `etcd-prism route abort`"
    )]
    Pending,
    #[error("the endpoints lead to the etcd cluster of shard {0}, or to a copy of its data")]
    OtherShard(String),
    #[error("{0}")]
    Unreadable(#[from] ValueError),
    #[error("somebody else changed {0} at the same time: run the command again")]
    Race(String),
}

/// Accepts the shard as it is, whatever speaks against it. What was found and done, a line each. Its routes pause for a
/// moment.
///
/// # Errors
/// A shard cannot be reached, or the shard is another one of the table.
pub async fn accept(site: &Site, name: &str) -> Result<Vec<String>, AcceptError> {
    let at = site.names().position(|n| n == name).ok_or_else(|| AcceptError::NoShard(name.to_owned()))?;
    let pool = site.pool(at).ok_or_else(|| AcceptError::NoShard(name.to_owned()))?;
    let readings = site.read_all().await?;
    let (others, reading) = (without(&readings, at), &readings[at]);
    // The shard's own table is as old as its data; it counts only where there is no other.
    let tables = others.iter().copied().filter_map(readable_table).max_by_key(|t| t.generation);
    let table = tables.or_else(|| readable_table(reading)).ok_or(AcceptError::NoTable)?;
    if table.pending.is_some() {
        return Err(AcceptError::Pending);
    }
    let expected = table.shards.iter().find(|s| s.name == name);
    let expected = expected.ok_or_else(|| AcceptError::NotInTable(name.to_owned()))?;
    let live = reading.live;
    if let Some(other) = table.shards.iter().find(|s| s.name != name && is(s, live.cluster_id, live.id)) {
        return Err(AcceptError::OtherShard(other.name.clone()));
    }
    let known = remembered(&readings).get(&expected.id).copied().unwrap_or(0);
    let mut done = Vec::new();
    let id = match live.id.filter(|_| resumable(reading, expected)) {
        // An earlier run got as far as this.
        Some(id) => id,
        None => {
            // Where nothing stored speaks against the shard, a proxy may still remember more: it is accepted all the same.
            if let Err(problem) = identity::check(expected, live, known) {
                done.push(format!("shard {name}: {problem}"));
            }
            let stored = reading.identity.as_ref().map_or(0, |(revision, _)| *revision);
            let id = give(pool, live.cluster_id, stored, site.patience).await?;
            let id = id.ok_or_else(|| AcceptError::Race(format!("the identity of shard {name}")))?;
            done.push(format!("identity {id} given to shard {name}"));
            id
        }
    };
    let new = replace(table, expected, id, live.cluster_id);
    for txn in fences(reading, &new, id)? {
        write(pool, &txn, site, &mut done, "fence rewritten").await?;
    }
    for (pool, reading) in site.pools.iter().zip(&readings) {
        let copy = reading.snapshot.table.as_ref();
        if copy.and_then(|(_, table)| table.as_ref().ok()) != Some(&new) {
            let shard = if pool.shard().name == name { Some(id) } else { reading.live.id };
            let Some(shard) = shard else { continue };
            let txn = Txn::table(shard, copy.map_or(0, |(revision, _)| *revision), new.clone());
            write(pool, &txn, site, &mut done, "table written").await?;
        }
    }
    Ok(done)
}

async fn write(
    pool: &ShardPool,
    txn: &Txn,
    site: &Site,
    done: &mut Vec<String>,
    what: &str,
) -> Result<(), AcceptError> {
    let shard = &pool.shard().name;
    if call::write(pool, txn, site.patience).await?.is_none() {
        return Err(AcceptError::Race(format!("what shard {shard} holds")));
    }
    let keys = txn.puts.iter().map(|(key, _)| key.escape_ascii().to_string()).collect::<Vec<_>>().join(", ");
    done.push(format!("{what} on shard {shard}: {keys}"));
    Ok(())
}

fn without(readings: &[Reading], at: usize) -> Vec<&Reading> {
    readings.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, reading)| reading).collect()
}

fn readable_table(reading: &Reading) -> Option<&Table> {
    reading.snapshot.table.as_ref().and_then(|(_, table)| table.as_ref().ok())
}

fn is(shard: &TableShard, cluster_id: ClusterId, id: Option<ShardUid>) -> bool {
    shard.cluster_id == cluster_id || Some(shard.id) == id
}

/// Whether the shard has an identity that was given to this very cluster and that no table knows.
fn resumable(reading: &Reading, expected: &TableShard) -> bool {
    reading.identity.as_ref().is_some_and(|(_, identity)| {
        identity.as_ref().is_ok_and(|i| i.id != expected.id && i.cluster_id == reading.live.cluster_id)
    })
}

/// The table with the shard's new identity. The generation rises if anything changes.
fn replace(table: &Table, old: &TableShard, id: ShardUid, cluster_id: ClusterId) -> Table {
    let mut new = table.clone();
    if (old.id, old.cluster_id) == (id, cluster_id) {
        return new;
    }
    new.generation += 1;
    new.begins = BTreeMap::new();
    for shard in new.shards.iter_mut().filter(|s| s.id == old.id) {
        (shard.id, shard.cluster_id) = (id, cluster_id);
    }
    for route in new.routes.iter_mut().filter(|r| r.shard == old.id) {
        route.shard = id;
    }
    if new.arbiter == old.id {
        new.arbiter = id;
    }
    new
}

/// The fences that were written for another identity, or say what the table does not.
fn fences(reading: &Reading, table: &Table, id: ShardUid) -> Result<Vec<Txn>, ValueError> {
    let mut out = Vec::new();
    for (route, (revision, fence)) in &reading.snapshot.fences {
        let fence = fence.clone()?;
        if fence.shard == id {
            continue;
        }
        out.push(match table.route(route).filter(|r| r.shard == id) {
            Some(here) => {
                let new = Fence { shard: id, definition: here.definition, ..fence };
                match reading.snapshot.reigns.contains_key(&(route.clone(), new.n)) {
                    true => Txn::fence(route, *revision, new),
                    // Nobody knows what was to be answered as compacted, so everything is that clients can have seen.
                    false => {
                        let begin =
                            Begin { after: 0, floor: reading.live.revision, since: 0, earlier: Vec::new() };
                        Txn::opening(route, *revision, new, begin)
                    }
                }
            }
            // The table was changed after the backup: the route lives elsewhere.
            None => Txn::fence(route, *revision, Fence { shard: id, state: State::Retired, ..fence }),
        });
    }
    Ok(out)
}
