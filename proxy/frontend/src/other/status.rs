//! Maintenance.Status: one etcd made of all shards, as last seen. It waits for nobody.

use etcd_prism_proto::etcdserverpb::{DowngradeInfo, StatusResponse};
use etcd_prism_wire::{Code, Status};

use crate::gateway::Gateway;
use crate::version;
use crate::view::{self, ShardView};

/// The status of this proxy.
///
/// # Errors
/// `Unavailable` until every shard was contacted once: an API server asks once and then decides for good which features
/// it uses, so a guess would be worse than no answer.
pub fn handle(gateway: &Gateway) -> Result<StatusResponse, Status> {
    let shards = view::all(gateway);
    let home = usize::from(gateway.home_id().0);
    merge(&shards, home, gateway.identity.member_id)
}

fn merge(shards: &[ShardView], home: usize, member_id: u64) -> Result<StatusResponse, Status> {
    let unknown: Vec<_> = shards.iter().filter(|s| !s.contacted()).map(|s| s.name.as_str()).collect();
    if !unknown.is_empty() {
        let text =
            format!("etcd-prism: not contacted yet, so its version is unknown: shard {}", unknown.join(", "));
        return Err(Status::new(Code::Unavailable, text));
    }
    let best = || shards.iter().filter_map(|s| s.best()).map(|s| &s.status);
    let every = || shards.iter().flat_map(|s| &s.members).filter_map(|m| m.status());
    let raft = shards.get(home).and_then(|s| s.best()).map(|s| &s.status);
    Ok(StatusResponse {
        header: shards.get(home).map(view::header),
        version: version::lowest(every().map(|s| s.version.as_str())).unwrap_or_default().to_owned(),
        db_size: best().map(|s| s.db_size).sum(),
        db_size_in_use: best().map(|s| s.db_size_in_use).sum(),
        db_size_quota: quota(best()),
        leader: member_id,
        raft_index: raft.map_or(0, |s| s.raft_index),
        raft_term: raft.map_or(0, |s| s.raft_term),
        raft_applied_index: raft.map_or(0, |s| s.raft_applied_index),
        errors: shards.iter().flat_map(errors).collect(),
        is_learner: false,
        storage_version: version::lowest(every().map(|s| s.storage_version.as_str()))
            .unwrap_or_default()
            .to_owned(),
        downgrade_info: Some(downgrade(best())),
    })
}

/// The sum of the quotas; 0, which is "not told", if one of the shards does not tell its own (etcd 3.5): a sum of some
/// would look as if the rest of the data exceeded it.
fn quota<'a>(statuses: impl Iterator<Item = &'a StatusResponse>) -> i64 {
    let quotas: Vec<i64> = statuses.map(|s| s.db_size_quota).collect();
    if quotas.contains(&0) { 0 } else { quotas.iter().sum() }
}

/// The errors of a shard's members, each once.
fn errors(shard: &ShardView) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    if !shard.reachable {
        out.push(format!("shard {}: unreachable", shard.name));
    }
    for (_, seen) in shard.current() {
        for error in &seen.status.errors {
            let text = format!("shard {}: {}", shard.name, error.trim());
            if !out.contains(&text) {
                out.push(text);
            }
        }
    }
    out
}

/// A downgrade that is under way on any shard; of several the lowest target.
fn downgrade<'a>(statuses: impl Iterator<Item = &'a StatusResponse>) -> DowngradeInfo {
    let enabled = statuses.filter_map(|s| s.downgrade_info.as_ref()).filter(|d| d.enabled);
    let target = version::lowest(enabled.map(|d| d.target_version.as_str()));
    DowngradeInfo { enabled: target.is_some(), target_version: target.unwrap_or_default().to_owned() }
}

#[cfg(test)]
mod tests;
