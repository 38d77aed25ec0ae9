//! Reads and writes of fences and record.

use std::sync::Arc;
use std::time::Duration;

use etcd_prism_control::call;
use etcd_prism_ownership::migration::{Abort, Purge, Throttle};
use etcd_prism_ownership::txn::{Txn, Write};
use etcd_prism_ownership::{ProxyId, ShardUid, State};
use etcd_prism_upstream::{ShardPool, UpstreamError};
use etcd_prism_wire::Code;
use tokio::time::Instant;

use super::{LOOK, PATIENCE, RETRY, Run, now};
use crate::relocate::relocate;
use crate::ship::ShipError;
use crate::view;

/// Between attempts at a shard that refuses a write, within a pause.
const AGAIN: Duration = Duration::from_millis(5);

impl Run {
    pub(super) fn pool(&self, shard: ShardUid) -> Result<Arc<ShardPool>, UpstreamError> {
        self.setup.shards.get(shard)
    }

    async fn view(&self, shard: ShardUid) -> Result<etcd_prism_ownership::migration::View, UpstreamError> {
        view::read(&*self.pool(shard)?, &self.setup.route.name, self.patience()).await
    }

    /// Both shards are read at once: whoever needs one again mostly needs the other too.
    pub(super) async fn read(&mut self, asked: ShardUid) {
        let (source, target) = (self.setup.source, self.setup.target);
        let other = if asked == source { target } else { source };
        let both = self.driver.seen(other).is_none();
        let second = async { if both { Some(self.view(other).await) } else { None } };
        let (first, second) = tokio::join!(self.view(asked), second);
        for (shard, outcome) in [(asked, Some(first)), (other, second)] {
            match outcome {
                Some(Ok(view)) => self.driver.read(shard, view),
                Some(Err(error)) => self.unreachable(shard, &error),
                None => {}
            }
        }
    }

    pub(super) fn unreachable(&mut self, shard: ShardUid, error: &UpstreamError) {
        self.trouble = Some(error.to_string());
        self.driver.unreachable(shard);
    }

    pub(super) async fn write(&mut self, txn: Txn) {
        let writes = |is: fn(&State) -> bool| {
            txn.puts.iter().any(|(_, write)| matches!(write, Write::Fence(fence) if is(&fence.state)))
        };
        if writes(|state| matches!(state, State::Sealed { .. })) {
            // From here on requests may wait.
            (self.sealed, self.caught) = (Some(Instant::now()), None);
            self.steps.clear();
            self.marked = Instant::now();
        }
        let outcome = match self.pool(txn.shard) {
            Ok(pool) => call::write(&pool, &txn, self.patience()).await,
            Err(error) => Err(error),
        };
        let revision = outcome.as_ref().ok().copied().flatten();
        let opened = revision.is_some() && writes(State::is_open);
        self.driver.clock(now());
        self.driver.answered(&txn, revision);
        match outcome {
            Ok(_) => self.trouble = None,
            Err(error) => self.not_written(&txn, error).await,
        }
        if self.sealed.is_some() && revision.is_some() {
            self.mark(if opened { "open" } else { step(&txn) });
            if opened {
                self.pause = self.sealed.take().map(|since| since.elapsed());
                self.tell_pause();
            }
        }
    }

    async fn not_written(&mut self, txn: &Txn, error: UpstreamError) {
        let name = self.setup.shards.name(txn.shard);
        let full = matches!(&error, UpstreamError::Status(status) if status.code == Code::ResourceExhausted);
        self.trouble = Some(format!("shard {name}: {error}"));
        if self.driver.sealed().is_some() {
            if full {
                self.driver.give_up(Abort::Other(format!("shard {name}: {error}")));
            }
            tokio::time::sleep(AGAIN).await;
        } else {
            self.nap(RETRY).await;
        }
    }

    fn tell_pause(&self) {
        if let Some(pause) = self.pause {
            let route = self.setup.route.name.clone();
            metrics::histogram!("etcd_prism_migration_pause_seconds", "route" => route).record(pause);
        }
    }

    /// Looks from time to time whether somebody else has written fences or record.
    pub(super) async fn look(&mut self) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        let (source, target) = (self.setup.source, self.setup.target);
        let found = tokio::join!(self.view(source), self.view(target));
        // A shard that does not answer once is no reason to stop what runs.
        if let (Ok(ours), Ok(theirs)) = found
            && !(self.driver.has_seen(source, Some(&ours)) && self.driver.has_seen(target, Some(&theirs)))
        {
            self.driver.look_again();
            self.driver.read(source, ours);
            self.driver.read(target, theirs);
        }
    }

    pub(super) async fn purge(&mut self, purge: Purge) {
        let throttle = self.throttle();
        let ships = self.setup.ships.clone();
        let route = self.setup.route.clone();
        // Broken off, it begins anew: what is deleted stays so.
        let Some(outcome) = self.unless_asked(ships.purge(&route, purge, &throttle)).await else { return };
        match outcome {
            Ok(_) => {
                self.trouble = None;
                self.driver.purged(purge);
            }
            Err(ShipError::Refused(_)) => self.driver.refused(),
            Err(error) => {
                self.trouble = Some(error.to_string());
                self.nap(RETRY).await;
            }
        }
    }

    /// What came of the work; `None`: it was broken off by an ask, the end of the lock or of the proxy.
    pub(super) async fn unless_asked<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let lost = self.setup.lock.as_ref().map(|lock| lock.lost().clone()).unwrap_or_default();
        let stop = self.setup.stop.clone();
        tokio::select! {
            outcome = work => return Some(outcome),
            ask = self.asks.recv() => match ask {
                Some(ask) => self.take(ask),
                None => stop.cancel(),
            },
            () = lost.cancelled() => {}
            () = stop.cancelled() => {}
        }
        None
    }

    pub(super) fn throttle(&self) -> Throttle {
        self.driver.stored().map(|record| record.options.throttle.clone()).unwrap_or_default()
    }

    pub(super) async fn relocate(&mut self, to: ShardUid) {
        match relocate(&self.setup.shards, &self.setup.route.name, to).await {
            Ok(()) => {
                self.waiting = None;
                self.driver.relocated();
            }
            Err(error) => {
                self.waiting = Some(format!("the table of routes is not written: {error}"));
                self.nap(RETRY).await;
            }
        }
    }

    pub(super) fn say_waiting(&mut self, what: &str, waiting: &[(ProxyId, String)]) {
        let names: Vec<&str> = waiting.iter().map(|(_, name)| &name[..]).collect();
        self.waiting = (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")));
    }

    /// The patience of steps that no client waits for.
    pub(super) fn unhurried() -> Duration {
        PATIENCE
    }
}

/// A write of a switch, for people.
fn step(txn: &Txn) -> &'static str {
    let fence = txn.puts.iter().find_map(|(_, write)| match write {
        Write::Fence(fence) => Some(&fence.state),
        _ => None,
    });
    match fence {
        Some(State::Sealed { .. }) => "seal",
        Some(State::Flipping { .. }) => "decide",
        Some(_) => "fence",
        None => "record",
    }
}
