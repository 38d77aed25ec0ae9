//! The route's line as clients see it.

use std::sync::Arc;

use etcd_prism_ownership::timeline::{Down, Reign, Timeline};

use super::shard::{Shard, Value};

/// Every reign that has begun, oldest first; up to reign `n`.
pub(super) fn reigns(shards: &[Arc<Shard>], n: u64) -> Vec<Reign> {
    let all = shards.iter().flat_map(|s| s.reigns.values());
    let mut reigns: Vec<Reign> = all.map(|(revision, record)| Reign::new(record, *revision)).collect();
    reigns.retain(|reign| reign.n <= n);
    reigns.sort_by_key(|reign| reign.n);
    reigns
}

/// The events above `from` up to the present revision of the last of these reigns, with that revision.
pub(super) fn events(shards: &[Arc<Shard>], reigns: &[Reign], from: i64) -> (Vec<Value>, i64) {
    let Ok(timeline) = Timeline::new(reigns.to_vec()) else { return (Vec::new(), 0) };
    let Down::Raw { n, raw, .. } = timeline.down(from + 1) else { return (Vec::new(), 0) };
    let mut out = Vec::new();
    let mut present = 0;
    for (i, reign) in reigns.iter().enumerate().filter(|(_, reign)| reign.n >= n) {
        let Some(shard) = shards.iter().find(|s| s.id == reign.shard) else { continue };
        let begin = if reign.n == n { raw } else { reign.raw_start };
        let end = reigns.get(i + 1).map_or(shard.revision, |next| next.after - reign.offset());
        let inside = shard.events.iter().filter(|(raw, _)| (begin..=end).contains(raw));
        out.extend(inside.map(|(_, value)| *value));
        present = end + reign.offset();
    }
    (out, present)
}
