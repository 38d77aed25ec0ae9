//! What `/status` tells.

use etcd_prism_control::OwnershipSnapshot;
use serde::{Deserialize, Serialize};

/// One proxy's picture of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    pub proxy: Proxy,
    /// In the order of the configuration.
    pub routes: Vec<Route>,
    /// In the order of the configuration.
    pub shards: Vec<Shard>,
    /// Who may write and read each route.
    #[serde(default)]
    pub ownership: OwnershipSnapshot,
    /// What an operator should look at, one sentence each; empty when all is well.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    pub version: String,
    /// As clients see it, in hexadecimal.
    pub cluster_id: String,
    /// As clients see it, in hexadecimal.
    pub member_id: String,
    pub uptime_seconds: u64,
    /// It is shutting down.
    pub draining: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub name: String,
    pub shard: String,
    /// It owns everything that no other route does.
    pub default: bool,
    /// Prefixes that it owns, with the bare key of each; parts of them may belong to other routes.
    pub prefixes: Vec<String>,
    /// All that it owns.
    pub intervals: Vec<Interval>,
}

/// Keys from `start` up to, not including, `end`. Bytes that are no printable ASCII are escaped as `\xNN`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    pub start: String,
    pub end: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    pub name: String,
    /// It serves the default route.
    pub home: bool,
    /// An endpoint answered the last health check.
    pub reachable: bool,
    pub has_leader: bool,
    /// The last known revision; 0 before first contact.
    pub revision: i64,
    /// The lowest version of its endpoints; `None` before first contact.
    pub version: Option<String>,
    pub support: Support,
    pub endpoints: Vec<Endpoint>,
    pub alarms: Vec<Alarm>,
    /// Requests that wait for it now.
    pub in_flight: usize,
    /// The bound on those.
    pub max_in_flight: usize,
    /// Requests to it are refused at once, because it was unreachable for too long.
    pub breaker_open: bool,
    /// Since the last compaction through this proxy; `None` if there was none.
    pub seconds_since_compaction: Option<u64>,
    /// Compactions that left this shard out, because no sample of its revision was old enough.
    pub compactions_skipped: u64,
}

/// What its version means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Support {
    pub verdict: Verdict,
    /// Why it is not good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Good,
    /// Served, but should be upgraded.
    Old,
    Unsupported,
    /// It was never contacted.
    Unknown,
}

/// An endpoint and what it last said; numbers are 0 before first contact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub url: String,
    /// It answered the last health check, has a leader and is no learner.
    pub healthy: bool,
    pub leader: bool,
    pub learner: bool,
    pub version: String,
    /// In hexadecimal, as etcdctl prints it.
    pub cluster_id: String,
    /// In hexadecimal, as etcdctl prints it.
    pub member_id: String,
    /// Bytes.
    pub db_size: i64,
    /// Bytes.
    pub db_size_in_use: i64,
    /// Bytes; 0: it does not tell (etcd 3.5).
    pub quota: i64,
    pub raft_term: u64,
    pub revision: i64,
    /// It belongs to another etcd cluster than the shard, so it is not used: that cluster's id, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<String>,
    /// Milliseconds since it last answered; `None`: never.
    pub last_seen_ms: Option<u64>,
    pub errors: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// In hexadecimal.
    pub member_id: String,
    /// etcd's name, such as `NOSPACE`.
    pub alarm: String,
}

impl StatusReport {
    /// As JSON for programs, indented for people who look all the same.
    ///
    /// # Errors
    /// None that is known: every field can be written.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

impl Shard {
    /// The endpoint that speaks for the shard: the leader of the newest term, or the one seen last.
    pub fn best(&self) -> Option<&Endpoint> {
        let seen = self.endpoints.iter().filter_map(|e| e.last_seen_ms.map(|age| (e, age)));
        seen.max_by_key(|(e, age)| (e.leader, e.raft_term, std::cmp::Reverse(*age))).map(|(e, _)| e)
    }
}

#[cfg(test)]
pub(crate) mod testing;
