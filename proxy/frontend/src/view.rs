//! What is known of the shards at one moment, taken from the health check's state without waiting for anybody.

use std::sync::Arc;
use std::time::Duration;

use etcd_prism_proto::etcdserverpb::{AlarmMember, ResponseHeader, StatusResponse};
use etcd_prism_upstream::endpoint::{EndpointState, Seen};
use etcd_prism_upstream::{ShardState, health};

use crate::gateway::Gateway;

/// How much older than the shard's newest status a member's may be and still say something about the present: two rounds
/// of the health check.
const CURRENT: Duration = Duration::from_secs(2 * (health::INTERVAL.as_secs() + health::PATIENCE.as_secs()));

/// One member of a shard.
#[derive(Debug, Clone)]
pub struct MemberView {
    pub url: String,
    /// It answered the last health check, has a leader and is no learner.
    pub healthy: bool,
    /// Its last status, however old; `None` before first contact.
    pub seen: Option<Arc<Seen>>,
}

/// One shard.
#[derive(Debug, Clone)]
pub struct ShardView {
    pub name: String,
    /// A member answered the last health check.
    pub reachable: bool,
    pub members: Vec<MemberView>,
    /// The alarms that the shard last reported.
    pub alarms: Vec<AlarmMember>,
}

impl MemberView {
    fn of(endpoint: &EndpointState) -> Self {
        let seen = endpoint.seen();
        // An endpoint counts as healthy before first contact, so that it is tried; nobody else should believe it.
        let healthy = endpoint.is_healthy() && seen.is_some();
        Self { url: endpoint.endpoint.url.clone(), healthy, seen }
    }

    pub fn status(&self) -> Option<&StatusResponse> {
        self.seen.as_ref().map(|s| &s.status)
    }

    /// Its id in its own cluster; 0 before first contact.
    pub fn id(&self) -> u64 {
        self.status().and_then(|s| s.header.as_ref()).map_or(0, |h| h.member_id)
    }

    /// Whether it said that it leads.
    pub fn leads(&self) -> bool {
        self.status().is_some_and(|s| s.leader == self.id() && s.leader != 0 && !s.is_learner)
    }
}

impl ShardView {
    pub fn of(shard: &ShardState) -> Self {
        let members: Vec<_> = shard.endpoints().iter().map(|e| MemberView::of(e)).collect();
        Self {
            name: shard.name.clone(),
            // Before first contact the shard is not known to be unreachable either.
            reachable: shard.is_reachable() && members.iter().any(|m| m.seen.is_some()),
            members,
            alarms: shard.alarms().to_vec(),
        }
    }

    /// Whether any member ever answered.
    pub fn contacted(&self) -> bool {
        self.members.iter().any(|m| m.seen.is_some())
    }

    /// The last status of the leader, or the newest of any member. A leader that was deposed while it could not be reached
    /// still believes that it leads, in an older term.
    pub fn best(&self) -> Option<&Seen> {
        let seen = self.members.iter().filter_map(|m| m.seen.as_ref().map(|s| (m, s)));
        seen.max_by_key(|(m, s)| (m.leads(), s.status.raft_term, s.at)).map(|(_, s)| &**s)
    }

    pub fn has_leader(&self) -> bool {
        self.reachable && self.members.iter().any(|m| m.healthy)
    }

    /// The last known revision; 0 before first contact.
    pub fn revision(&self) -> i64 {
        self.best().and_then(|s| s.status.header.as_ref()).map_or(0, |h| h.revision)
    }

    /// Members whose last status says something about the present of the shard, or about the last that was seen of it.
    pub fn current(&self) -> impl Iterator<Item = (&MemberView, &Seen)> {
        let newest = self.members.iter().filter_map(|m| m.seen.as_ref()).map(|s| s.at).max();
        let seen = self.members.iter().filter_map(|m| m.seen.as_deref().map(|s| (m, s)));
        seen.filter(move |(_, s)| newest.is_some_and(|newest| s.at + CURRENT >= newest))
    }
}

/// The header of a reply that the proxy makes up: the revision and term of home as last known. Our ids come with the patch.
pub fn header(home: &ShardView) -> ResponseHeader {
    ResponseHeader {
        revision: home.revision(),
        raft_term: home.best().map_or(0, |s| s.status.raft_term),
        ..ResponseHeader::default()
    }
}

/// All shards, in the order of the configuration.
pub fn all(gateway: &Gateway) -> Vec<ShardView> {
    gateway.shards.iter().map(|s| ShardView::of(s)).collect()
}

/// The shard of the default route.
pub fn home(gateway: &Gateway) -> ShardView {
    ShardView::of(gateway.home())
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
