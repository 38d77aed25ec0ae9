//! The standby's leases are kept for as long as there is a standby, also while nothing is shipped: in a pause, and from the
//! decision until the flip.

use std::collections::HashSet;
use std::time::Duration;

use etcd_prism_ownership::migration::Phase;
use etcd_prism_ownership::{ShardUid, State};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{RETRY, Run, Until};

/// How long the operator waits until what the former owner has of leases are copies. The driver waits longer.
const PATIENT: Duration = Duration::from_secs(30);

/// Keeps leases while it lives.
pub(super) struct Keeper {
    sides: (ShardUid, ShardUid),
    _task: AbortOnDropHandle<()>,
}

/// How far the leases of a former owner that is to be retired are.
#[derive(Debug, Default)]
pub(super) struct Demotion {
    since: Option<Instant>,
    /// Copies, and those that are not the route's.
    settled: HashSet<i64>,
}

impl Run {
    /// What the former owner has of leases becomes copies, before its keys are gone.
    pub(super) async fn demote(&mut self, standby: ShardUid) {
        let (ships, route) = (self.setup.ships.clone(), self.setup.route.clone());
        let mut demotion = std::mem::take(&mut self.demotion);
        let since = *demotion.since.get_or_insert_with(Instant::now);
        let outcome = self.unless_asked(ships.demote(&route, standby, &mut demotion.settled)).await;
        self.demotion = demotion;
        let name = self.setup.shards.name(standby);
        let why = match outcome {
            None => return,
            Some(Ok(None)) => {
                (self.waiting, self.trouble) = (None, None);
                return self.driver.demoted();
            }
            Some(Ok(Some(lease))) => {
                format!(
                    "shard {name} has lease {lease:x}, and not every shard can be told that it is only a copy"
                )
            }
            Some(Err(error)) => format!("the leases of shard {name}: {error}"),
        };
        let why = format!("{why} (--abandon does not wait for that)");
        if since.elapsed() > PATIENT {
            let (late, others) = self.pending.drain(..).partition(|p| matches!(p.until, Until::Ended));
            self.pending = others;
            self.refuse(late, &format!("it goes on, but waits: {why}"));
        }
        self.waiting = Some(why);
        // The standby may have gone away meanwhile, or another driver have come.
        self.look().await;
        self.nap(RETRY).await;
    }

    /// No record of a lease names the route any more that has ended on this shard.
    pub(super) async fn release(&mut self, standby: ShardUid) {
        let (source, target) = (self.setup.source, self.setup.target);
        let owner = if standby == source { target } else { source };
        let (ships, route) = (self.setup.ships.clone(), self.setup.route.clone());
        match self.unless_asked(ships.release(&route, (owner, standby))).await {
            None => {}
            Some(Ok(())) => {
                (self.waiting, self.trouble) = (None, None);
                self.driver.released();
            }
            Some(Err(error)) => {
                self.waiting = Some(error.to_string());
                self.nap(RETRY).await;
            }
        }
    }

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
