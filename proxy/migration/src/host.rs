//! What every proxy has: it answers the operator's verbs and drives what nobody drives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_prism_control::Ownership;
use etcd_prism_ownership::definition::definitions;
use etcd_prism_ownership::migration::{DriverClaim, Goal};
use etcd_prism_ownership::{ProxyId, ShardUid};
use etcd_prism_routing::Keyspace;
use etcd_prism_upstream::ShardPool;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::lock::Lock;
use crate::run::{Ask, Live, Run, Setup};
use crate::shards::Shards;
use crate::ship::Leases;
use crate::shipping::{Route, Routes, Ships};

mod picture;
mod scan;
mod statuses;
mod verb;

/// How long the end of the proxy waits for drivers to put down what they hold.
const FAREWELL: Duration = Duration::from_secs(3);

/// What a host is made of.
pub struct Deps {
    pub ownership: Arc<Ownership>,
    pub keyspace: Keyspace,
    /// In the order of the shards' ids, and nobody else's.
    pub pools: Vec<ShardPool>,
    pub leases: Arc<dyn Leases>,
}

/// The migrations of this proxy.
pub struct Host {
    own: Arc<Ownership>,
    shards: Shards,
    ships: Ships,
    routes: Routes,
    me: DriverClaim,
    fences: bool,
    active: Mutex<BTreeMap<String, Active>>,
    /// Verbs that may begin a driver come one after the other.
    verbs: tokio::sync::Mutex<()>,
    stop: CancellationToken,
}

/// A driver that runs here.
struct Active {
    asks: mpsc::Sender<Ask>,
    live: watch::Receiver<Live>,
    task: JoinHandle<()>,
    stop: CancellationToken,
    source: ShardUid,
    target: ShardUid,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Host {
    /// Starts nothing yet: [`Self::run`] does.
    pub fn new(deps: Deps) -> Arc<Self> {
        let Deps { ownership, keyspace, pools, leases } = deps;
        let snapshot = ownership.snapshot();
        // Its own text, so it can be read.
        let proxy = snapshot.proxy_id.parse().unwrap_or(ProxyId(0));
        describe_metrics();
        let shards = Shards::new(ownership.clone(), pools.into_iter().map(Arc::new).collect());
        Arc::new(Self {
            ships: Ships::new(ownership.clone(), shards.clone(), leases),
            shards,
            own: ownership,
            routes: routes(&keyspace),
            me: DriverClaim { proxy, name: snapshot.proxy_name },
            fences: snapshot.fences,
            active: Mutex::default(),
            verbs: tokio::sync::Mutex::default(),
            stop: CancellationToken::new(),
        })
    }

    /// Drives what nobody drives, until cancelled; then every driver of this proxy puts down what it holds.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) {
        if self.fences {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = scan::run(&self) => {}
            }
        } else {
            cancel.cancelled().await;
        }
        self.stop.cancel();
        let tasks: Vec<_> = std::mem::take(&mut *self.active.lock()).into_values().map(|a| a.task).collect();
        let ended = futures_util::future::join_all(tasks);
        if tokio::time::timeout(FAREWELL, ended).await.is_err() {
            tracing::warn!("a migration's driver did not end in time: another proxy goes on");
        }
    }

    /// Begins a driver, unless one runs here.
    fn drive(
        self: &Arc<Self>,
        route: &Arc<Route>,
        (source, target): (ShardUid, ShardUid),
        goal: Goal,
        lock: Option<Lock>,
    ) -> mpsc::Sender<Ask> {
        let (asks, received) = mpsc::channel(16);
        let (live, watched) = watch::channel(Live::default());
        // A driver that ends by itself must not end the others.
        let stop = self.stop.child_token();
        let setup = Setup {
            shards: self.shards.clone(),
            ships: self.ships.clone(),
            route: route.clone(),
            source,
            target,
            me: self.me.clone(),
            goal,
            lock,
            stop: stop.clone(),
        };
        let run = Run::new(setup, received, live);
        let task = tokio::spawn(run.go());
        let active = Active { asks: asks.clone(), live: watched, task, stop, source, target };
        if let Some(before) = self.active.lock().insert(route.name.clone(), active) {
            // It has ended, or is about to: its lock is ours.
            drop(before);
        }
        tracing::info!(route = route.name, "migration: this proxy drives it");
        asks
    }

    /// Ends the driver of a route that runs here: what it holds, it puts down.
    async fn put_down(&self, route: &str) {
        let active = self.active.lock().remove(route);
        if let Some(active) = active {
            active.stop.cancel();
            if tokio::time::timeout(FAREWELL, active.task).await.is_err() {
                tracing::warn!(route, "a migration's driver did not end in time: it is superseded");
            }
        }
    }

    /// The driver of a route that runs here.
    fn running(&self, route: &str) -> Option<(mpsc::Sender<Ask>, ShardUid, ShardUid)> {
        let mut active = self.active.lock();
        active.retain(|_, active| !active.task.is_finished());
        active.get(route).map(|active| (active.asks.clone(), active.source, active.target))
    }

    fn live(&self, route: &str) -> Option<Live> {
        let active = self.active.lock();
        let found = active.get(route).filter(|active| !active.task.is_finished())?;
        let live = found.live.borrow().clone();
        Some(live)
    }
}

fn routes(keyspace: &Keyspace) -> Routes {
    let default = keyspace.default_route();
    let mut out = Routes::new();
    for ((id, route), definition) in keyspace.routes().zip(definitions(keyspace)) {
        match Route::new(id, &route.name, definition, id == default) {
            Ok(found) => drop(out.insert(route.name.clone(), Arc::new(found))),
            // Other routes own all that it names.
            Err(error) => tracing::warn!(route = route.name, %error, "the route cannot be migrated"),
        }
    }
    out
}

fn describe_metrics() {
    metrics::describe_gauge!(
        "etcd_prism_migration_lag_revisions",
        "By how many revisions a route's standby is behind its owner, as far as this proxy drives."
    );
    metrics::describe_histogram!(
        "etcd_prism_migration_pause_seconds",
        metrics::Unit::Seconds,
        "How long requests of a route were held by a switch that this proxy drove."
    );
}
