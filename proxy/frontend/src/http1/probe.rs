//! `/health`, `/livez` and `/readyz`.

use etcd_prism_ownership::Answer;
use etcd_prism_proto::etcdserverpb::AlarmType;
use serde::Serialize;

use super::query::Query;
use crate::gateway::Gateway;
use crate::view::{self, ShardView};

/// The names of the checks behind `/readyz`.
pub(crate) const READY: [&str; 3] = ["home", "fence", "draining"];

/// etcd's answer to `/health`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Health {
    /// `true` or `false`, as text.
    health: &'static str,
    reason: String,
}

impl Health {
    pub(crate) fn is_good(&self) -> bool {
        self.health == "true"
    }
}

/// Whether the home shard serves, by etcd's rules: no alarm, and a leader unless the caller does without.
pub(crate) fn health(home: &ShardView, query: &Query<'_>) -> Health {
    match problem(home, query) {
        None => Health { health: "true", reason: String::new() },
        Some(reason) => Health { health: "false", reason },
    }
}

fn problem(home: &ShardView, query: &Query<'_>) -> Option<String> {
    for alarm in &home.alarms {
        let alarm = alarm.alarm();
        if query.excludes(alarm.as_str_name()) {
            continue;
        }
        let known = matches!(alarm, AlarmType::Nospace | AlarmType::Corrupt);
        return Some(format!("ALARM {}", if known { alarm.as_str_name() } else { "UNKNOWN" }));
    }
    if !home.reachable {
        return Some(format!("RANGE ERROR:shard {}: unreachable", home.name));
    }
    (!query.serializable && !home.has_leader()).then(|| "RAFT NO LEADER".to_owned())
}

/// One check and why it failed.
type Check = (&'static str, Result<(), String>);

/// The checks behind one path. Remarks are listed but decide nothing.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    checks: Vec<Check>,
    remarks: Vec<String>,
}

/// Ready: the home shard was contacted, the default route is served, and the proxy is not going away. A shard that is down must not take the proxy out
/// of a load balancer: the others would have it no better, and the routes of other shards are served.
pub(crate) fn ready(gateway: &Gateway) -> Checks {
    let routes = gateway.keyspace.routes().map(|(id, route)| {
        let state = match &gateway.ownership.route(id).answer {
            Answer::Permit(_) => Ok(()),
            Answer::Wait(reason) => Err(format!("waiting: {reason}")),
            Answer::Refuse(reason) => Err(format!("refused: {reason}")),
        };
        (route.name.clone(), id == gateway.keyspace.default_route(), state)
    });
    let (home, draining) = (usize::from(gateway.home_id().0), gateway.draining.is_cancelled());
    ready_from(&view::all(gateway), &routes.collect::<Vec<_>>(), home, draining)
}

/// A route's name, whether it is the default route, and why it is not served.
type RouteCheck = (String, bool, Result<(), String>);

fn ready_from(shards: &[ShardView], routes: &[RouteCheck], home: usize, draining: bool) -> Checks {
    let contacted = match shards.get(home) {
        Some(home) if home.contacted() => Ok(()),
        Some(home) => Err(format!("shard {} was not contacted yet", home.name)),
        None => Err("no home shard".to_owned()),
    };
    let [home_check, fence_check, draining_check] = READY;
    let fence = routes.iter().find(|(_, default, _)| *default).map_or(Ok(()), |(.., state)| state.clone());
    let staying = if draining { Err("the proxy is shutting down".to_owned()) } else { Ok(()) };
    let remark = |s: &ShardView| {
        let state = match (s.reachable, s.has_leader()) {
            (false, _) => "unreachable",
            (true, false) => "has no leader",
            (true, true) => "ok",
        };
        format!("shard {} {state}", s.name)
    };
    let not_served = routes
        .iter()
        .filter_map(|(name, _, state)| state.as_ref().err().map(|reason| format!("route {name} {reason}")));
    Checks {
        checks: vec![(home_check, contacted), (fence_check, fence), (draining_check, staying)],
        remarks: shards.iter().map(remark).chain(not_served).collect(),
    }
}

impl Checks {
    /// Whether all checks passed that are not excluded, and etcd's text for that. `only`: the one check that counts, or
    /// empty for all.
    pub(crate) fn outcome(&self, only: &str, query: &Query<'_>) -> (bool, String) {
        let counts = |name: &str| if only.is_empty() { !query.excludes(name) } else { name == only };
        let mut good = true;
        let mut list = String::new();
        for (name, result) in self.checks.iter().filter(|(name, _)| counts(name)) {
            match result {
                Ok(()) => list.push_str(&format!("[+]{name} ok\n")),
                Err(reason) => {
                    good = false;
                    list.push_str(&format!("[-]{name} failed: {reason}\n"));
                }
            }
        }
        if only.is_empty() {
            list.extend(self.remarks.iter().map(|remark| format!("[i]{remark}\n")));
        }
        match (good, query.verbose) {
            // http.Error of Go ends what it writes with one more line feed.
            (false, _) => (false, list + "\n"),
            (true, true) => (true, list + "ok\n"),
            (true, false) => (true, "ok\n".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
