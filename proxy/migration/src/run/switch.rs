//! The commands of a switch.

use std::time::Duration;

use etcd_prism_ownership::migration::{Abort, Lists, Purge};
use etcd_prism_ownership::{ProxyId, ShardUid};
use etcd_prism_upstream::UpstreamError;
use tokio::time::Instant;

use super::{RETRY, Run, TICK};
use crate::ship::{Settled, ShipError, Shipped};
use crate::verbs::StepTime;
use crate::view;

/// Between two looks at the sessions while clients wait.
const POLL: Duration = Duration::from_millis(2);
/// How long the standby may take to reach the owner's revision before a switch, at one look.
const CLOSE: Duration = Duration::from_secs(1);

impl Run {
    /// Notes how long the step took that ends here.
    pub(super) fn mark(&mut self, step: &str) {
        let ms = self.marked.elapsed().as_secs_f64() * 1000.0;
        self.marked = Instant::now();
        self.steps.push(StepTime { step: step.to_owned(), ms });
    }

    pub(super) async fn list_followers(&mut self, waiting: Vec<(ProxyId, String)>) {
        if !waiting.is_empty() {
            self.say_waiting("these proxies do not follow yet", &waiting);
            self.nap(TICK).await;
        }
        // The fence that is followed may have moved on meanwhile.
        let Some((owner, standby)) = self.sides() else { return self.driver.look_again() };
        let (Ok(ours), Ok(theirs)) = (self.pool(owner), self.pool(standby)) else {
            return self.driver.look_again();
        };
        let patience = Self::unhurried();
        let (ours, theirs) = tokio::join!(view::sessions(&ours, patience), view::sessions(&theirs, patience));
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => {
                self.driver.listed(&Lists { owner: ours, standby: theirs });
                self.trouble = None;
            }
            (Err(error), _) => self.unreachable(owner, &error),
            (_, Err(error)) => self.unreachable(standby, &error),
        }
    }

    /// Owner and standby, as far as something runs from one to the other, or as their fences say.
    pub(super) fn sides(&self) -> Option<(ShardUid, ShardUid)> {
        let (source, target) = (self.setup.source, self.setup.target);
        let open = |shard| {
            let fence = self.driver.seen(shard)?.fence.as_ref()?.1.as_ref().ok()?;
            Some(fence.state.is_open())
        };
        match (open(source), open(target)) {
            (Some(true), _) => Some((source, target)),
            (_, Some(true)) => Some((target, source)),
            _ => None,
        }
    }

    /// The standby takes writes and is close behind.
    pub(super) async fn prove(&mut self, standby: ShardUid, epoch: i64) {
        let written = match self.test_write(Purge { shard: standby, epoch }).await {
            Ok(written) => written,
            Err(ShipError::Refused(_)) => return self.driver.refused(),
            Err(error) => {
                self.waiting = Some(error.to_string());
                return self.nap(RETRY).await;
            }
        };
        if self.driver.stored().is_some_and(|record| record.options.no_copy) {
            return self.driver.proved(epoch);
        }
        let owner = if standby == self.setup.source { self.setup.target } else { self.setup.source };
        let route = self.setup.route.name.clone();
        let read = match self.pool(owner) {
            Ok(pool) => view::revision(&pool, &route, Self::unhurried()).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(revision) if self.reach(CLOSE, |s| s.begun && s.whole && s.watermark >= revision).await => {
                // Under the seal there is no time to wait for a watch that broke.
                if !self.reach(CLOSE, |s| s.seen >= written).await {
                    self.waiting = Some("what ends on the standby by itself is not heard of yet".to_owned());
                    return self.nap(RETRY).await;
                }
                self.waiting = None;
                self.driver.proved(epoch);
            }
            Ok(revision) => {
                let behind = self.watermark().map(|watermark| revision.saturating_sub(watermark));
                let lag = behind.map_or_else(|| "an unknown number of".to_owned(), |lag| lag.to_string());
                self.waiting = Some(format!("the standby is {lag} revisions behind"));
                self.nap(RETRY).await;
            }
            Err(error) => self.unreachable(owner, &error),
        }
    }

    pub(super) fn watermark(&self) -> Option<i64> {
        self.ship.as_ref().and_then(|active| active.shipped().watermark)
    }

    /// Waits until the shipment is as wanted; `false`: it is not yet, or has ended.
    async fn reach(&self, patience: Duration, wanted: impl Fn(&Shipped) -> bool) -> bool {
        let Some(active) = &self.ship else { return false };
        matches!(tokio::time::timeout(patience, active.shipper().until(wanted)).await, Ok(Ok(_)))
    }

    /// Waits until the standby holds what the owner had at this revision and nothing more is written there; `None`: it is not
    /// so far yet, or shipping has ended.
    async fn settle(&self, raw: i64) -> Option<Settled> {
        let active = self.ship.as_ref()?;
        tokio::time::timeout(self.patience(), active.shipper().settle(raw)).await.ok()?.ok()
    }

    /// Where something is shipped, its own order has to be kept to.
    ///
    /// Gives the revision that it was written at; 0 where nothing is shipped.
    async fn test_write(&self, standby: Purge) -> Result<i64, ShipError> {
        let write = async {
            match &self.ship {
                Some(active) => active.shipper().probe().await,
                None => self.setup.ships.probe(&self.setup.route, standby).await.map(|()| 0),
            }
        };
        let shard = self.setup.shards.name(standby.shard);
        let late = |_| ShipError::Upstream(UpstreamError::TimedOut { shard });
        tokio::time::timeout(self.patience(), write).await.map_err(late)?
    }

    pub(super) async fn list_sessions(
        &mut self,
        shard: ShardUid,
        seal: i64,
        waiting: Vec<(ProxyId, String)>,
    ) {
        self.say_waiting("these proxies have not let go yet", &waiting);
        if !waiting.is_empty() {
            tokio::time::sleep(POLL).await;
        }
        let listed = match self.pool(shard) {
            Ok(pool) => view::sessions(&pool, self.patience()).await,
            Err(error) => Err(error),
        };
        match listed {
            Ok(list) => self.driver.drained(seal, &list),
            Err(error) => self.unreachable(shard, &error),
        }
    }

    pub(super) async fn read_revision(&mut self, shard: ShardUid, seal: i64) {
        if !self.is_stopped() {
            // It has not said yet that it stands still: the clock bounds the wait.
            return tokio::time::sleep(POLL).await;
        }
        self.mark("proxies let go");
        self.waiting = None;
        let read = match self.pool(shard) {
            Ok(pool) => view::revision(&pool, &self.setup.route.name, self.patience()).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(raw) => self.driver.revision(seal, raw),
            Err(error) => self.unreachable(shard, &error),
        }
    }

    pub(super) async fn catch_up(&mut self, seal: i64, raw: i64) {
        if let Some(settled) = self.settle(raw).await {
            self.caught = Some(seal);
            self.driver.caught_up(seal, raw, settled.standby_revision);
            self.mark("standby caught up");
            return;
        }
        let behind = self.watermark().map(|watermark| raw.saturating_sub(watermark));
        self.waiting = behind.map(|lag| format!("the standby is {lag} revisions behind"));
        if self.ship.is_none() {
            self.driver
                .give_up(Abort::Other("nothing runs that would bring the standby up to date".to_owned()));
        }
    }

    pub(super) async fn probe(&mut self, standby: ShardUid, seal: i64, epoch: i64) {
        // What brought it up to date was a write under the epoch already.
        if self.caught != Some(seal) {
            match self.test_write(Purge { shard: standby, epoch }).await {
                Ok(_) => {}
                Err(ShipError::Refused(_)) => return self.driver.refused(),
                Err(error) => {
                    self.trouble = Some(error.to_string());
                    return self.driver.give_up(Abort::TargetUnreachable);
                }
            }
        }
        let read = match self.pool(standby) {
            Ok(pool) => view::read(&pool, &self.setup.route.name, self.patience()).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(view) => self.driver.probed(standby, seal, epoch, true, view),
            Err(error) => {
                self.trouble = Some(error.to_string());
                self.driver.give_up(Abort::TargetUnreachable);
            }
        }
        self.mark("standby probed");
    }
}
