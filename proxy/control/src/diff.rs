//! What a configuration would change of the stored table.

use std::collections::BTreeSet;

use etcd_prism_ownership::change::Plan;
use etcd_prism_ownership::definition::{Diff, Place};
use etcd_prism_ownership::id::ShardUid;
use etcd_prism_ownership::value::{Pending, Table, TableError, TableShard};
use etcd_prism_routing::RouteSpec;

use crate::apply::ApplyError;
use crate::reading::Reading;
use crate::site::{Site, best_table};

/// How a configuration and the stored table differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Not at all. The stored generation.
    None(u64),
    /// In words, a line each.
    Some(String),
    /// No proxy has started with these shards yet.
    NoTable,
}

/// Compares without writing anything.
///
/// # Errors
/// A shard cannot be reached or is not the one of the table, or one of the two tables makes no sense.
pub async fn diff(site: &Site, specs: &[RouteSpec]) -> Result<Difference, ApplyError> {
    let shards = site.introduce(false).await?;
    let readings = site.read_all().await.map_err(crate::site::SiteError::from)?;
    let Some(table) = best_table(&readings) else { return Ok(Difference::NoTable) };
    let wanted = Pending::new(shards, specs)?;
    let mut text = String::new();
    if let Some(pending) = &table.pending {
        let what = if pending.agrees(&wanted) { "to this configuration" } else { "to another configuration" };
        text += &format!(
            "! a change {what} is under way: `etcd-prism route apply` or `etcd-prism route abort`\n"
        );
    }
    if table.agrees(&wanted.shards, &wanted.routes) {
        return Ok(if text.is_empty() { Difference::None(table.generation) } else { Difference::Some(text) });
    }
    text += &shard_lines(table, &wanted.shards);
    let name = |id: ShardUid| {
        let named = wanted.shards.iter().chain(&table.shards).find(|s| s.id == id);
        named.map_or_else(|| id.to_string(), |s| s.name.clone())
    };
    text += &Diff::new(&table.layout()?, &wanted.layout()?).describe(&name).to_string();
    text += &relists(table, &wanted, &readings, &name)?;
    if text.is_empty() {
        text += "~ every key stays where it is; prefixes are written differently\n";
    }
    Ok(Difference::Some(text))
}

/// Whose watchers are told that the change has compacted what they ask for.
fn relists(
    table: &Table,
    wanted: &Pending,
    readings: &[Reading],
    name: &dyn Fn(ShardUid) -> String,
) -> Result<String, TableError> {
    let at = |shard: ShardUid| readings.iter().find(|r| r.live.id == Some(shard));
    let seen = |place: &Place| at(place.shard).map_or(0, |r| r.live.revision);
    let floor = |place: &Place| at(place.shard).map_or(0, |r| r.snapshot.floor(&place.route));
    let plan = Plan::new(&table.layout()?, &wanted.layout()?);
    let mut out = String::new();
    for (route, floor) in plan.floors(&seen, &floor) {
        let origins: BTreeSet<String> =
            plan.gains(&route).filter(|m| m.changes_shard()).map(|m| name(m.from.shard)).collect();
        let because = match origins.is_empty() {
            true => "it gets keys that have changed shards before".to_owned(),
            false => format!("keys come to it from {}", origins.into_iter().collect::<Vec<_>>().join(", ")),
        };
        out += &format!(
            "! route {route}: {because}, so its clients list again: all watches from revisions up to the one at which \
             the change is made (now {floor}) are answered as compacted\n"
        );
    }
    Ok(out)
}

fn shard_lines(table: &Table, wanted: &[TableShard]) -> String {
    let mut out = String::new();
    for shard in wanted {
        match table.shards.iter().find(|s| s.id == shard.id) {
            None => out += &format!("+ shard {}\n", shard.name),
            Some(old) if old.name != shard.name => {
                out += &format!("~ shard {} is called {} from now on\n", old.name, shard.name);
            }
            Some(_) => {}
        }
    }
    for shard in table.shards.iter().filter(|s| wanted.iter().all(|w| w.id != s.id)) {
        out += &format!("- shard {}\n", shard.name);
    }
    out
}
