//! The standby's leases are kept for as long as there is a standby, also while nothing is shipped: in a pause, and from the
//! decision until the flip.

use etcd_prism_ownership::migration::Phase;
use etcd_prism_ownership::{ShardUid, State};
use tokio_util::task::AbortOnDropHandle;

use super::Run;

/// Keeps leases while it lives.
pub(super) struct Keeper {
    sides: (ShardUid, ShardUid),
    _task: AbortOnDropHandle<()>,
}

impl Run {
    /// Keeps the leases of whoever is the standby now. What cannot be told at the moment stays as it is.
    pub(super) fn keep_leases(&mut self) {
        let Some(record) = self.driver.stored() else { return };
        if record.options.no_copy || record.phase == Phase::Purge || record.phase.is_over() {
            self.keeper = None;
            return;
        }
        let Some(sides) = self.sides() else { return };
        let fence = self.driver.seen(sides.1).and_then(|view| view.fence.as_ref()?.1.as_ref().ok());
        let Some(fence) = fence else { return };
        let follows = matches!(fence.state, State::Importing { .. } | State::Standby { .. });
        if !follows || self.keeper.as_ref().is_some_and(|keeper| keeper.sides != sides) {
            self.keeper = None;
        }
        if follows
            && self.keeper.is_none()
            && self.setup.lock.is_some()
            && let Ok(keeping) = self.setup.ships.keep_leases(&self.setup.route, sides)
        {
            self.keeper = Some(Keeper { sides, _task: AbortOnDropHandle::new(tokio::spawn(keeping)) });
        }
    }
}
