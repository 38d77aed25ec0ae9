//! What flows from the owner to the standby.

use super::super::{CopyPoint, Phase};
use super::{Driver, State};
use crate::id::ShardUid;
use crate::timeline::Reign;

/// Copy and reconcile as they have to run beside the commands. Asked for again after every event: what is not in the answer
/// must stop.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stream {
    pub from: ShardUid,
    pub to: ShardUid,
    /// Every apply is conditional on this mod revision of the standby's fence.
    pub epoch: i64,
    /// Of the owner: what is applied carries `virtual = raw + offset`.
    pub reign: Reign,
    /// While the copy is not done.
    pub copy: Option<CopyPoint>,
    /// Every event above this raw revision of the owner is to be applied.
    pub after: i64,
    pub bound: Bound,
}

/// How far reconcile may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bound {
    None,
    /// Not a step further: G is about to be read.
    Stop,
    /// Nothing above this raw revision: the target's own line begins after it.
    At(i64),
}

impl Driver {
    /// What has to run now; `None`: nothing.
    pub fn stream(&self) -> Option<Stream> {
        let (to, epoch) = self.held.filter(|_| self.stop.is_none())?;
        let from = if to == self.source { self.target } else { self.source };
        let standby = self.view(to).and_then(|view| view.standing(to));
        let owner = self.view(from).and_then(|view| view.standing(from))?;
        if !matches!(owner.fence.state, State::Open { .. } | State::Sealed { .. })
            || standby.is_some_and(|standby| standby.revision != epoch || !standby.follows(&owner))
        {
            return None;
        }
        let (reign, _) = self.reign(from, owner.fence.n).ok()?;
        let (_, record) = self.record()?;
        let moving = matches!(owner.fence.state, State::Sealed { .. });
        let held_back = self.restart.is_some() || record.paused && !moving;
        if held_back || record.options.no_copy || record.phase == Phase::Purge || record.phase.is_over() {
            return None;
        }
        // Checkpoints of another reign are revisions of another shard.
        let at = self.progress.as_ref().map_or(&record.checkpoint, |(checkpoint, _)| checkpoint);
        let current = at.reign == owner.fence.n;
        let copy = (record.phase == Phase::Copy)
            .then(|| if current { at.copy.clone() } else { CopyPoint::default() });
        let begun = if reign.after == 0 { 0 } else { reign.raw_start.saturating_sub(1) };
        let after = if current { at.followed.max(at.copy.revision).max(begun) } else { begun };
        let bound = match &self.switch {
            Some(switch) if matches!(owner.fence.state, State::Sealed { .. }) && switch.drained => {
                switch.raw.map_or(Bound::Stop, Bound::At)
            }
            _ => Bound::None,
        };
        Some(Stream { from, to, epoch, reign, copy, after, bound })
    }
}
