//! The per-route engine of one proxy: what it has seen of the route's fences goes in, whether and where the route may be
//! served comes out.

use std::sync::Arc;

use etcd_prism_routing::ShardId;

use crate::definition::DefinitionHash;
use crate::id::ShardUid;
use crate::identity::IdentityProblem;
use crate::value::{Fence, State, ValueError};

mod decide;
mod reason;

pub use reason::Reason;

/// What a reply, a refused write or an event said of a route's fence on a shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Observation {
    /// When the shard was in this state: the reply's header revision; of a watch event the key's own mod revision.
    pub revision: i64,
    /// The fence's mod revision and value; `None` if there was none.
    pub fence: Option<(i64, Result<Fence, ValueError>)>,
}

/// Where writes go, and what they are conditional on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Permit {
    pub shard: ShardId,
    /// The fence's mod revision: every write carries `MOD(fence) == epoch`. Never 0.
    pub epoch: i64,
    /// The reign.
    pub n: u64,
}

/// Where a write that was committed under a permit is applied as well, before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mirror {
    pub shard: ShardId,
    /// Of the standby's fence: every apply carries `MOD(fence) == epoch`.
    pub epoch: i64,
}

/// Whether a route may be served.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answer {
    Permit(Permit),
    /// Not now: hold the request for a bounded time.
    Wait(Reason),
    /// Not before an operator has acted.
    Refuse(Reason),
}

/// Proof that a seal was seen, and so that this proxy no longer serves the route on that shard under an older epoch.
/// Only [`RouteEngine::seal`] makes one; [`crate::Session::acknowledge`] takes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Seal {
    route: Arc<str>,
    revision: i64,
}

impl Seal {
    pub fn route(&self) -> &str {
        &self.route
    }

    /// The seal's mod revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }
}

/// That this proxy knows where to apply its writes. [`RouteEngine::following`] makes it; [`crate::Session::follow`] takes it
/// once the proxy can apply there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Following {
    route: Arc<str>,
    revision: i64,
}

impl Following {
    pub fn route(&self) -> &str {
        &self.route
    }

    /// The mod revision of the standby's fence.
    pub fn revision(&self) -> i64 {
        self.revision
    }
}

/// A shard whose fence is behind what another one knows, and matters. It must be read again, linearizably, before anything is
/// made of it: it may only have been read too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Suspect {
    pub shard: ShardId,
    /// The reign that is known elsewhere.
    known: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Seen {
    Nothing,
    Absent,
    Fence {
        mod_revision: i64,
        value: Result<Fence, ValueError>,
    },
    /// The fence was at `known`, and knew of reign `n`, and at a later time at `found`.
    WentBack {
        known: i64,
        found: i64,
        n: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Slot {
    name: String,
    id: Option<ShardUid>,
    problem: Option<IdentityProblem>,
    seen: Seen,
    /// The open fence was read again when this reign was known to have begun elsewhere.
    confirmed: u64,
}

/// The engine. Observations may come in any order and any number of times: of two of one fence the higher mod revision
/// wins.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RouteEngine {
    name: Arc<str>,
    definition: DefinitionHash,
    /// By [`ShardId`].
    slots: Vec<Slot>,
    table: Option<String>,
    answer: Answer,
    mirror: Option<Mirror>,
    alarms: Vec<Reason>,
    generation: u64,
}

impl RouteEngine {
    /// A route of this proxy's own table, with the names of all shards by [`ShardId`].
    pub fn new(name: &str, definition: DefinitionHash, shards: &[String]) -> Self {
        let slot = |name: &String| Slot {
            name: name.clone(),
            id: None,
            problem: None,
            seen: Seen::Nothing,
            confirmed: 0,
        };
        let slots: Vec<Slot> = shards.iter().map(slot).collect();
        let answer = Answer::Wait(Reason::Unread { shards: shards.to_vec() });
        let alarms = Vec::new();
        Self {
            name: name.into(),
            definition,
            slots,
            table: None,
            answer,
            mirror: None,
            alarms,
            generation: 1,
        }
    }

    /// A route that is not in this proxy's table but has fences. It is never served; its seals have to be acknowledged all
    /// the same, or nobody could ever end a route that some proxies have already forgotten.
    pub fn stranger(name: &str, shards: &[String]) -> Self {
        let mut engine = Self::new(name, DefinitionHash([0; 32]), shards);
        engine.set_table(Some("this proxy's table does not have the route".to_owned()));
        engine
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    #[inline]
    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    #[inline]
    pub fn permit(&self) -> Option<Permit> {
        match self.answer {
            Answer::Permit(permit) => Some(permit),
            _ => None,
        }
    }

    /// Where writes under the permit are applied as well: while a migration goes on and its standby is known. The owner
    /// alone decides what a write does.
    #[inline]
    pub fn mirror(&self) -> Option<Mirror> {
        self.mirror
    }

    /// The same, to be acknowledged at that shard.
    pub fn following(&self, shard: ShardId) -> Option<Following> {
        let mirror = self.mirror.filter(|mirror| mirror.shard == shard)?;
        Some(Following { route: self.name.clone(), revision: mirror.epoch })
    }

    /// Rises with every change of the answer. An answer, event or progress of a shard that was asked for under another
    /// generation is dropped.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What is wrong although the route may be served; for logs and `status`.
    pub fn alarms(&self) -> &[Reason] {
        &self.alarms
    }

    /// Tells which shard answers under this index, once its identity was read and compared. A shard that turns out to be
    /// another one keeps nothing of what was seen under its name.
    pub fn identify(&mut self, shard: ShardId, id: ShardUid) {
        if let Some(slot) = self.slot(shard)
            && slot.id != Some(id)
        {
            if slot.id.is_some() {
                slot.seen = Seen::Nothing;
                slot.confirmed = 0;
            }
            slot.id = Some(id);
            self.decide();
        }
    }

    /// Sets or clears what is wrong with a shard.
    pub fn set_problem(&mut self, shard: ShardId, problem: Option<IdentityProblem>) {
        if let Some(slot) = self.slot(shard) {
            slot.problem = problem;
            self.decide();
        }
    }

    /// Sets or clears what is wrong with the table as a whole.
    pub fn set_table(&mut self, problem: Option<String>) {
        self.table = problem;
        self.decide();
    }

    /// Follows a new configuration.
    pub fn set_definition(&mut self, definition: DefinitionHash) {
        self.definition = definition;
        self.decide();
    }

    /// Takes what was seen of the fence on a shard.
    pub fn observe(&mut self, shard: ShardId, observation: Observation) {
        if let Some(slot) = self.slot(shard)
            && slot.take(observation)
        {
            self.decide();
        }
    }

    /// Takes the answer to a linearizable read that was begun after the engine named the suspect.
    pub fn confirm(&mut self, suspect: Suspect, observation: Observation) {
        if let Some(slot) = self.slot(suspect.shard) {
            slot.take(observation);
            slot.confirmed = slot.confirmed.max(suspect.known);
            self.decide();
        }
    }

    /// Forgets what was seen of a shard, on an operator's word (`shard accept`).
    pub fn accept(&mut self, shard: ShardId) {
        if let Some(slot) = self.slot(shard) {
            slot.seen = Seen::Nothing;
            slot.confirmed = 0;
            self.decide();
        }
    }

    /// Whether the shard has, or had, a fence of the route, whatever it says.
    pub fn has_fence(&self, shard: ShardId) -> bool {
        let seen = self.slots.get(usize::from(shard.0)).map(|slot| &slot.seen);
        matches!(seen, Some(Seen::Fence { .. } | Seen::WentBack { .. }))
    }

    /// The fence as last seen on a shard.
    pub fn fence(&self, shard: ShardId) -> Option<(i64, &Fence)> {
        match &self.slots.get(usize::from(shard.0))?.seen {
            Seen::Fence { mod_revision, value: Ok(fence) } => Some((*mod_revision, fence)),
            _ => None,
        }
    }

    /// The seal that stands on a shard, to be acknowledged.
    pub fn seal(&self, shard: ShardId) -> Option<Seal> {
        let (revision, fence) = self.fence(shard)?;
        // The engine keeps one fence per shard, the newest: while that is a seal, no older epoch of it is permitted.
        let sealed = matches!(fence.state, State::Sealed { .. });
        sealed.then(|| Seal { route: self.name.clone(), revision })
    }

    /// Shards to be read again: see [`Self::confirm`].
    pub fn suspects(&self) -> Vec<Suspect> {
        decide::suspects(&self.slots)
    }

    fn slot(&mut self, shard: ShardId) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(shard.0))
    }

    fn decide(&mut self) {
        let (answer, alarms) = decide::decide(&self.slots, self.definition, self.table.as_deref());
        self.mirror = decide::mirror(&self.slots, &answer);
        self.alarms = alarms;
        if answer != self.answer {
            self.answer = answer;
            self.generation += 1;
        }
    }
}

impl Slot {
    /// The highest reign that its fence knows to have begun.
    fn begun(&self) -> u64 {
        match &self.seen {
            Seen::Fence { value: Ok(fence), .. } => fence.begun(),
            Seen::WentBack { n, .. } => *n,
            _ => 0,
        }
    }

    /// Whether it was read, but not since this reign was known to have begun.
    fn is_behind(&self, known: u64) -> bool {
        let read = matches!(self.seen, Seen::Absent | Seen::Fence { value: Ok(_), .. });
        read && self.begun() < known && self.confirmed < known
    }

    /// Returns whether it changes anything.
    fn take(&mut self, observation: Observation) -> bool {
        let Observation { revision, fence } = observation;
        let (known, n) = match &self.seen {
            Seen::Nothing | Seen::Absent => (0, 0),
            Seen::Fence { mod_revision, value } => (*mod_revision, value.as_ref().map_or(0, Fence::begun)),
            // Nothing is believed of a shard that went back before an operator has accepted it.
            Seen::WentBack { .. } => return false,
        };
        let found = fence.as_ref().map_or(0, |(mod_revision, _)| *mod_revision);
        let seen = match fence {
            Some((mod_revision, value)) if found > known => Seen::Fence { mod_revision, value },
            None if known == 0 => Seen::Absent,
            // Fences are never deleted and their revisions only rise, so this is an old answer or an old shard.
            _ if found < known && revision >= known => Seen::WentBack { known, found, n },
            _ => return false,
        };
        let changed = seen != self.seen;
        self.seen = seen;
        changed
    }
}

#[cfg(test)]
mod tests;
