//! What was read of the route on one shard.

use crate::id::ShardUid;
use crate::timeline::Reign;
use crate::value::{Fence, ReignRecord, State, ValueError};

use super::Record;

/// Fence, record of the fence's reign and migration record, read in one linearizable Txn.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct View {
    /// Of the reply header.
    pub revision: i64,
    /// Mod revision and value.
    pub fence: Option<(i64, Result<Fence, ValueError>)>,
    /// The record of the shard's own last reign, if it has ruled: mod revision and value.
    pub reign: Option<(i64, Result<ReignRecord, ValueError>)>,
    /// Mod revision and value.
    pub record: Option<(i64, Result<Record, ValueError>)>,
}

/// A fence with where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Standing {
    pub shard: ShardUid,
    /// The fence's mod revision.
    pub revision: i64,
    pub fence: Fence,
}

impl Standing {
    /// The other shard that the fence names.
    pub fn peer(&self) -> Option<ShardUid> {
        match self.fence.state {
            State::Open { peer } | State::Importing { peer, .. } | State::Sealed { peer, .. } => peer,
            State::Flipping { target, .. } => Some(target),
            State::Standby { peer } => Some(peer),
            State::Retired => None,
        }
    }

    /// Whether it follows this owner's present reign.
    pub fn follows(&self, owner: &Self) -> bool {
        let follows = match self.fence.state {
            State::Importing { peer, claim: None } => peer == Some(owner.shard),
            State::Standby { peer } => peer == owner.shard,
            _ => false,
        };
        follows && self.fence.n == owner.fence.n
    }
}

impl View {
    /// What is read of a shard that holds nothing of the route.
    pub fn empty(revision: i64) -> Self {
        Self { revision, fence: None, reign: None, record: None }
    }

    pub(super) fn standing(&self, shard: ShardUid) -> Option<Standing> {
        match &self.fence {
            Some((revision, Ok(fence))) => {
                Some(Standing { shard, revision: *revision, fence: fence.clone() })
            }
            _ => None,
        }
    }

    /// The reign `n` of this shard, with the floor that proxies keep to in it.
    pub(super) fn reign(&self, n: u64) -> Option<(Reign, i64)> {
        match &self.reign {
            Some((revision, Ok(record))) if record.n == n => {
                Some((record.on_line(*revision), record.virtual_floor(*revision)))
            }
            _ => None,
        }
    }

    /// The record of the reign `n` of this shard, with its mod revision.
    pub(super) fn reign_record(&self, n: u64) -> Option<(i64, &ReignRecord)> {
        match &self.reign {
            Some((revision, Ok(record))) if record.n == n => Some((*revision, record)),
            _ => None,
        }
    }

    /// The line up to the reign `n` of this shard.
    pub(super) fn line(&self, n: u64) -> Option<Vec<Reign>> {
        match &self.reign {
            Some((revision, Ok(record))) if record.n == n => Some(record.line(*revision)),
            _ => None,
        }
    }

    pub(super) fn record(&self) -> Option<(i64, &Record)> {
        match &self.record {
            Some((revision, Ok(record))) => Some((*revision, record)),
            _ => None,
        }
    }

    pub(super) fn unreadable(&self) -> Option<&ValueError> {
        let fence = self.fence.iter().find_map(|(_, v)| v.as_ref().err());
        let reign = self.reign.iter().find_map(|(_, v)| v.as_ref().err());
        let record = self.record.iter().find_map(|(_, v)| v.as_ref().err());
        fence.or(reign).or(record)
    }
}
