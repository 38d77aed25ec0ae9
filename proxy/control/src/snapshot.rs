//! What is known about ownership, for people and programs.

use etcd_prism_ownership::Answer;
use serde::{Deserialize, Serialize};

use crate::ownership::Ownership;
use crate::state::{Shard, State, ids};

/// One proxy's picture.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnershipSnapshot {
    /// False: fences are switched off.
    pub fences: bool,
    /// This process; its session keys carry it.
    pub proxy_id: String,
    pub proxy_name: String,
    /// In the order of the configuration.
    pub routes: Vec<RouteSnapshot>,
    /// In the order of the configuration.
    pub shards: Vec<ShardSnapshot>,
}

/// Whether a route is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteState {
    Served,
    /// Served without a fence.
    Unfenced,
    /// It moves, or something has not been read yet.
    Waiting,
    /// An operator has to look.
    Refused,
}

impl std::fmt::Display for RouteState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Served => "served",
            Self::Unfenced => "unfenced",
            Self::Waiting => "waiting",
            Self::Refused => "refused",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSnapshot {
    pub name: String,
    pub state: RouteState,
    /// Why it is not served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where it is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// The fence's mod revision; 0 while the route is not served or has no fence.
    pub epoch: i64,
    /// The number of the reign; 0 while the route is not served or has no fence.
    pub reign: u64,
    pub generation: u64,
    /// The first digits of the hash of what it owns, by this proxy's configuration.
    pub definition: String,
    /// What is wrong although the route may be served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardSnapshot {
    pub name: String,
    /// Whether the session stands: reads need no fence.
    pub session: bool,
    /// Until its deadline, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_ms: Option<u64>,
    /// In hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// Why there is no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_error: Option<String>,
    /// Its identity and its etcd cluster, in hexadecimal, as last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Why it is not trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The proxy's user has no rights on the reserved keys there.
    pub denied: bool,
    /// Why the reserved keys cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Generation of its copy of the route table; 0 if it has none.
    pub table_generation: u64,
    /// The proxies with a session there, by name.
    pub proxies: Vec<String>,
}

impl OwnershipSnapshot {
    pub(crate) fn of(own: &Ownership) -> Self {
        let state = own.state.lock();
        let count = state.routes.len();
        Self {
            fences: own.options.fences,
            proxy_id: own.id.to_string(),
            proxy_name: own.options.name.clone(),
            routes: (0..count).map(|i| route(own, &state, i)).collect(),
            shards: ids(state.shards.len()).map(|id| shard(own, id, state.shard(id))).collect(),
        }
    }

    /// Routes that are not served.
    pub fn not_served(&self) -> impl Iterator<Item = &RouteSnapshot> {
        let served =
            |route: &&RouteSnapshot| !matches!(route.state, RouteState::Served | RouteState::Unfenced);
        self.routes.iter().filter(served)
    }
}

fn route(own: &Ownership, state: &State, i: usize) -> RouteSnapshot {
    let (route, view) = (&state.routes[i], own.hub.routes[i].view.load_full());
    let permit = view.permit();
    let (state_of, reason) = match &view.answer {
        Answer::Permit(_) if view.unfenced => (RouteState::Unfenced, None),
        Answer::Permit(_) => (RouteState::Served, None),
        Answer::Wait(reason) => (RouteState::Waiting, Some(reason.to_string())),
        Answer::Refuse(reason) => (RouteState::Refused, Some(reason.to_string())),
    };
    RouteSnapshot {
        name: route.name.clone(),
        state: state_of,
        reason,
        shard: permit.map(|p| state.shard(p.shard).name.clone()),
        epoch: permit.map_or(0, |p| p.epoch),
        reign: permit.map_or(0, |p| p.n),
        generation: view.generation,
        definition: route.definition.short(),
        alarms: route.engine.alarms().iter().map(ToString::to_string).collect(),
    }
}

fn shard(own: &Ownership, id: etcd_prism_routing::ShardId, shard: &Shard) -> ShardSnapshot {
    let session = own.session_valid(id);
    let left = shard.session.deadline().filter(|_| session).map(|d| d.saturating_sub(own.hub.clock.now()));
    ShardSnapshot {
        name: shard.name.clone(),
        session,
        session_ms: left.map(|nanos| nanos / 1_000_000),
        lease: shard.session.lease().map(|lease| format!("{lease:x}")),
        session_error: shard.session_error.clone().filter(|_| !session),
        identity: shard.live.and_then(|live| live.id).map(|id| id.to_string()),
        cluster_id: shard.live.map(|live| format!("{:x}", live.cluster_id.0)),
        problem: shard.problem.as_ref().map(ToString::to_string),
        denied: shard.is_denied(),
        error: shard.error.clone(),
        table_generation: match &shard.table {
            Some((_, Ok(table))) => table.generation,
            _ => 0,
        },
        proxies: shard.sessions.values().map(|(_, name)| name.clone()).collect(),
    }
}
