//! The fence of a route on a shard.

use serde::{Deserialize, Serialize};

use super::{Stored, ValueError, malformed};
use crate::definition::DefinitionHash;
use crate::id::ShardUid;

/// The claim of a change of routes: the mod revision, on the arbiter, of the table that announced it. It never repeats,
/// so what was prepared for one change is never taken for another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Claim(pub i64);

/// The value of a fence. Its mod revision is the route's epoch on the shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The highest reign number that the fence knows of.
    pub n: u64,
    /// What the route owns, by hash.
    pub definition: DefinitionHash,
    /// The shard that the fence was written for.
    pub shard: ShardUid,
    pub state: State,
}

/// What a fence says. `peer` is the other shard of a migration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum State {
    /// This shard rules. The only state under which clients write.
    Open { peer: Option<ShardUid> },
    /// A copy is being made from `peer`, or (`claim`) the route is about to begin here.
    Importing { peer: Option<ShardUid>, claim: Option<Claim> },
    /// No writes, for a moment: a migration to `peer`, or (`claim`) a change of routes.
    Sealed { peer: Option<ShardUid>, claim: Option<Claim> },
    /// The target may open with `n` as long as its fence has the mod revision `target_epoch`; `g` is the last virtual
    /// revision of this shard's reign. `floor` and `since` go into the record of the reign that begins.
    Flipping { target: ShardUid, target_epoch: i64, g: i64, floor: i64, since: i64 },
    /// Ruled before, now follows `peer`.
    Standby { peer: ShardUid },
    /// Rules no more, and holds nothing of the route.
    Retired,
}

impl Fence {
    /// The highest reign that is known to have begun: a flip names the one that it wants to begin.
    pub fn begun(&self) -> u64 {
        match self.state {
            State::Flipping { .. } => self.n.saturating_sub(1),
            _ => self.n,
        }
    }

    /// Whether it is part of a migration.
    pub fn is_migrating(&self) -> bool {
        match self.state {
            State::Open { peer } | State::Sealed { peer, .. } => peer.is_some(),
            State::Importing { claim, .. } => claim.is_none(),
            State::Flipping { .. } | State::Standby { .. } => true,
            State::Retired => false,
        }
    }
}

impl State {
    /// The state's name, as it is stored.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Importing { .. } => "importing",
            Self::Sealed { .. } => "sealed",
            Self::Flipping { .. } => "flipping",
            Self::Standby { .. } => "standby",
            Self::Retired => "retired",
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// The change of routes that this state was written for.
    pub fn claim(&self) -> Option<Claim> {
        match self {
            Self::Importing { claim, .. } | Self::Sealed { claim, .. } => *claim,
            _ => None,
        }
    }
}

/// The fence's JSON object. The state is a text, so that an unknown one is told from a broken value.
#[derive(Debug, Serialize, Deserialize)]
pub struct Body {
    state: String,
    n: u64,
    definition: DefinitionHash,
    shard: ShardUid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peer: Option<ShardUid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claim: Option<Claim>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target_epoch: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    g: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    floor: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<i64>,
}

impl Stored for Fence {
    const WHAT: &'static str = "fence";
    type Body = Body;

    fn to_body(&self) -> Body {
        let peer = match self.state {
            State::Open { peer } | State::Importing { peer, .. } | State::Sealed { peer, .. } => peer,
            State::Flipping { target, .. } => Some(target),
            State::Standby { peer } => Some(peer),
            State::Retired => None,
        };
        let (target_epoch, g, floor, since) = match self.state {
            State::Flipping { target_epoch, g, floor, since, .. } => {
                (Some(target_epoch), Some(g), Some(floor), Some(since))
            }
            _ => (None, None, None, None),
        };
        Body {
            state: self.state.name().to_owned(),
            n: self.n,
            definition: self.definition,
            shard: self.shard,
            peer,
            claim: self.state.claim(),
            target_epoch,
            g,
            floor,
            since,
        }
    }

    fn from_body(body: Body) -> Result<Self, ValueError> {
        let Body { state, n, definition, shard, peer, claim, target_epoch, g, floor, since } = body;
        let missing =
            |field: &str| malformed(Self::WHAT, &format!("{field} is missing in the state {state}"));
        let state = match &state[..] {
            "open" => State::Open { peer },
            "importing" => State::Importing { peer, claim },
            "sealed" => State::Sealed { peer, claim },
            "flipping" => State::Flipping {
                target: peer.ok_or_else(|| missing("peer"))?,
                target_epoch: target_epoch.ok_or_else(|| missing("target_epoch"))?,
                g: g.ok_or_else(|| missing("g"))?,
                floor: floor.unwrap_or(0),
                since: since.unwrap_or(0),
            },
            "standby" => State::Standby { peer: peer.ok_or_else(|| missing("peer"))? },
            "retired" => State::Retired,
            _ => return Err(ValueError::UnknownState(state)),
        };
        Ok(Self { n, definition, shard, state })
    }
}
