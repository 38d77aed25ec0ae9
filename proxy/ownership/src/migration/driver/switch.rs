//! From the seal to the decision.

use super::super::{Abort, Reason, rows};
use super::decide::Pair;
use super::{Command, Driver, Goal};

impl Driver {
    /// The owner is sealed.
    pub(super) fn switching(&mut self, pair: &Pair) -> Result<Command, Reason> {
        self.claimed = true;
        let ours = self.switch.as_ref().is_some_and(|switch| switch.seal == pair.owner.revision);
        let standby = pair.standby.as_ref().map(|standby| (standby.shard, standby.revision));
        if !ours && self.held.is_some() && standby.is_some() && self.held != standby {
            // Whoever has taken over has sealed it, and may be about to switch.
            return Err(Reason::Superseded);
        }
        if let Some(why) = self.against(pair) {
            self.give_up(why);
            return self.row(rows::abort(&self.route, &pair.owner));
        }
        let (Some(switch), Some((standby, epoch))) = (&self.switch, self.held) else {
            return self.row(rows::abort(&self.route, &pair.owner));
        };
        let (shard, seal) = (pair.owner.shard, switch.seal);
        if !switch.drained {
            return Ok(Command::ListSessions { shard, seal, waiting: self.waiting.clone() });
        }
        let Some(raw) = switch.raw else { return Ok(Command::ReadRevision { shard, seal }) };
        let no_copy = self.record().is_some_and(|(_, record)| record.options.no_copy);
        if switch.caught_up.is_none() && !no_copy {
            return Ok(Command::CatchUp { seal, raw });
        }
        if !switch.probed {
            return Ok(Command::Probe { standby, seal, epoch });
        }
        let (reign, floor) = self.reign(shard, pair.owner.fence.n)?;
        let g = raw.saturating_add(reign.offset());
        // Whoever has seen anything of data that is dropped must list again.
        let floor = if no_copy { g } else { floor };
        // Where nothing was copied, nothing can have ended since.
        let since = switch.caught_up.unwrap_or(0);
        self.row(rows::decide(&self.route, &pair.owner, epoch, (g, floor, since)))
    }

    /// What speaks against going on with this seal.
    fn against(&self, pair: &Pair) -> Option<Abort> {
        if let Some(why) = &self.given_up {
            return Some(why.clone());
        }
        if self.switch.as_ref().map(|s| s.seal) != Some(pair.owner.revision) {
            // A switch is never taken over: what its driver knew of it is gone, and clients are waiting.
            return Some(Abort::NoDriver);
        }
        if !matches!(self.goal, Goal::Switch { to } if to == pair.other) {
            return Some(Abort::Asked);
        }
        let Some(standby) = &pair.standby else { return Some(Abort::TargetUnreachable) };
        if self.held != Some((standby.shard, standby.revision)) || !standby.follows(&pair.owner) {
            return Some(Abort::Superseded);
        }
        None
    }
}
