//! What an operator should look at.

use std::collections::BTreeMap;

use etcd_prism_control::{OwnershipSnapshot, RouteState};

use crate::report::{Shard, StatusReport, Verdict};

/// How much later than home a shard may have been compacted before it is worth a word, in seconds.
const COMPACTION_LAG: u64 = 15 * 60;

/// One sentence each, for the report as far as it is filled in.
pub(crate) fn of(report: &StatusReport) -> Vec<String> {
    let mut out = Vec::new();
    if report.proxy.draining {
        out.push("the proxy is shutting down".to_owned());
    }
    shared_clusters(&report.shards, &mut out);
    ownership(&report.ownership, &mut out);
    let home = report.shards.iter().find(|s| s.home).and_then(|s| s.seconds_since_compaction);
    for shard in &report.shards {
        let mut say = |text: String| out.push(format!("shard {}: {text}", shard.name));
        reach(shard, &mut say);
        space(shard, &mut say);
        versions(shard, &mut say);
        if shard.in_flight.saturating_mul(10) >= shard.max_in_flight.saturating_mul(8) {
            say(format!("{} requests in flight, {} are allowed", shard.in_flight, shard.max_in_flight));
        }
        if let Some(home) = home {
            match shard.seconds_since_compaction {
                Some(age) if age > home + COMPACTION_LAG => {
                    say(format!("last compacted {} minutes after home", (age - home) / 60));
                }
                None if shard.compactions_skipped > 3 => say("never compacted, though home was".to_owned()),
                _ => {}
            }
        }
    }
    out
}

fn ownership(ownership: &OwnershipSnapshot, out: &mut Vec<String>) {
    for route in &ownership.routes {
        let reason = route.reason.as_deref().unwrap_or("no reason known");
        match route.state {
            RouteState::Served => {}
            RouteState::Unfenced => out.push(format!("route {}: served without a fence", route.name)),
            RouteState::Waiting => out.push(format!("route {}: not served yet: {reason}", route.name)),
            RouteState::Refused => out.push(format!("route {}: refused: {reason}", route.name)),
        }
        out.extend(route.alarms.iter().map(|alarm| format!("route {}: {alarm}", route.name)));
    }
    for shard in ownership.shards.iter().filter(|_| ownership.fences) {
        let mut say = |text: &str| out.push(format!("shard {}: {text}", shard.name));
        if let Some(problem) = &shard.problem {
            say(problem);
        }
        if shard.denied {
            say("the proxy's user has no rights on the reserved keys");
        } else if !shard.session {
            let error = shard.session_error.as_deref().unwrap_or("it has not been written yet");
            say(&format!("no session, so every read carries a fence: {error}"));
        }
    }
}

type Say<'a> = &'a mut dyn FnMut(String);

fn reach(shard: &Shard, say: Say<'_>) {
    for endpoint in &shard.endpoints {
        if let Some(found) = &endpoint.elsewhere {
            let url = &endpoint.url;
            say(format!(
                "endpoint {url} belongs to another etcd cluster, {found}, and is not used: correct it"
            ));
        }
    }
    if shard.endpoints.iter().all(|e| e.last_seen_ms.is_none()) {
        return say("never contacted; until it is, the proxy answers no Status request".to_owned());
    }
    if !shard.reachable {
        let breaker = if shard.breaker_open { "; requests are refused at once" } else { "" };
        return say(format!("unreachable{breaker}"));
    }
    if !shard.has_leader {
        return say("no leader".to_owned());
    }
    for endpoint in shard.endpoints.iter().filter(|e| !e.healthy && e.elsewhere.is_none()) {
        let why = if endpoint.learner { "is a learner" } else { "does not answer, or knows no leader" };
        say(format!("endpoint {} {why}", endpoint.url));
    }
}

fn space(shard: &Shard, say: Say<'_>) {
    for alarm in &shard.alarms {
        say(format!("alarm {} of member {}", alarm.alarm, alarm.member_id));
    }
    if let Some(best) = shard.best()
        && best.quota > 0
        && best.db_size.saturating_mul(10) >= best.quota.saturating_mul(8)
    {
        say(format!("the database takes {} % of its quota", best.db_size.saturating_mul(100) / best.quota));
    }
}

fn versions(shard: &Shard, say: Say<'_>) {
    let (Some(version), Some(reason)) = (&shard.version, &shard.support.reason) else { return };
    match shard.support.verdict {
        Verdict::Unsupported => say(format!("etcd {version:?} is not supported: {reason}")),
        Verdict::Old => say(format!("etcd {version} should be upgraded: {reason}")),
        Verdict::Good | Verdict::Unknown => {}
    }
}

/// Two shards that are one cluster hold each other's keys; two clusters in one shard lose writes.
fn shared_clusters(shards: &[Shard], out: &mut Vec<String>) {
    let mut shard_of: BTreeMap<&str, &str> = BTreeMap::new();
    for shard in shards {
        let mut own: Vec<&str> = shard
            .endpoints
            .iter()
            .filter(|e| e.last_seen_ms.is_some())
            .map(|e| e.cluster_id.as_str())
            .collect();
        own.sort_unstable();
        own.dedup();
        if own.len() > 1 {
            out.push(format!(
                "shard {}: its endpoints belong to different clusters: {}",
                shard.name,
                own.join(", ")
            ));
        }
        for cluster in own {
            match shard_of.get(cluster) {
                Some(other) => {
                    out.push(format!("shards {other} and {} are the same cluster, {cluster}", shard.name));
                }
                None => drop(shard_of.insert(cluster, &shard.name)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
