//! Begins shipments for the drivers of this proxy.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use etcd_prism_control::Ownership;
use etcd_prism_ownership::ShardUid;
use etcd_prism_ownership::definition::{Definition, DefinitionHash, Interval};
use etcd_prism_ownership::migration::{Counts, Purge, Stream, Throttle};
use etcd_prism_routing::RouteId;
use etcd_prism_upstream::{ShardPool, UpstreamError};

use crate::shards::Shards;
use crate::ship::{self, Compared, Intervals, Leases, Limits, NotIntervals, ShipError, Shipment};

/// A route of this proxy's configuration.
#[derive(Debug, Clone)]
pub struct Route {
    pub id: RouteId,
    pub name: String,
    /// All that it owns.
    pub intervals: Vec<Interval>,
    /// It owns what no other route does, `compact_rev_key` among it.
    pub default: bool,
    pub definition: DefinitionHash,
    shipped: Arc<Intervals>,
}

/// By name.
pub(crate) type Routes = BTreeMap<String, Arc<Route>>;

impl Route {
    /// # Errors
    /// The route owns nothing, or what it owns is in no order.
    pub(crate) fn new(
        id: RouteId,
        name: &str,
        owned: Definition,
        default: bool,
    ) -> Result<Self, NotIntervals> {
        let (definition, intervals) = (owned.hash(), owned.intervals);
        let plain = intervals.iter().map(|(start, end)| (start.to_vec(), end.to_vec())).collect();
        let shipped = Arc::new(Intervals::new(plain)?);
        Ok(Self { id, name: name.to_owned(), intervals, default, definition, shipped })
    }
}

/// How far a shipment is, as the driver needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shipped {
    /// Every key was copied, and the log has reached what was read.
    pub copied: bool,
    /// Everything up to this raw revision of the owner is on the standby; `None`: not known yet.
    pub watermark: Option<i64>,
    /// The highest raw revision of the owner that was seen; `None`: none yet.
    pub owner_revision: Option<i64>,
    pub counts: Counts,
    /// Why it is slower than it could be, or does not get on.
    pub slow: Option<String>,
}

impl From<&ship::Shipped> for Shipped {
    fn from(of: &ship::Shipped) -> Self {
        let counts = Counts {
            keys: of.tally.keys,
            bytes: of.tally.bytes,
            followed_events: of.tally.events,
            repaired: of.tally.filled,
            expected_keys: of.expected_keys.unwrap_or(0),
            ..Counts::default()
        };
        Self {
            copied: of.copied && of.whole,
            watermark: of.begun.then_some(of.watermark),
            owner_revision: (of.owner > 0).then_some(of.owner),
            counts,
            slow: of.trouble.clone().or_else(|| of.slow.as_ref().map(ToString::to_string)),
        }
    }
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Verified {
    /// Keys that were compared.
    pub compared: u64,
    pub different: u64,
    /// The first of them, with what differs.
    pub examples: Vec<String>,
    /// Keys that differed, and were put right.
    #[serde(default)]
    pub repaired: u64,
    /// The first of them, with what differed.
    #[serde(default)]
    pub repaired_examples: Vec<String>,
}

impl Verified {
    /// Whether both shards hold the same by now.
    pub fn is_same(&self) -> bool {
        self.different == 0
    }
}

impl From<Compared> for Verified {
    fn from(compared: Compared) -> Self {
        let example = |m: &ship::Mismatch| format!("{} {}", m.key.escape_ascii(), m.difference);
        let examples = |found: &ship::Mismatches| found.named.iter().map(example).collect();
        let (left, repaired) = (&compared.mismatches, &compared.repaired);
        Self {
            compared: compared.keys,
            different: left.count(),
            examples: examples(left),
            repaired: repaired.count(),
            repaired_examples: examples(repaired),
        }
    }
}

/// What shipments are made of.
#[derive(Clone)]
pub(crate) struct Ships {
    own: Arc<Ownership>,
    shards: Shards,
    leases: Arc<dyn Leases>,
}

impl Ships {
    pub(crate) fn new(own: Arc<Ownership>, shards: Shards, leases: Arc<dyn Leases>) -> Self {
        Self { own, shards, leases }
    }

    /// What has to be shipped for the engine.
    ///
    /// # Errors
    /// It cannot begin yet, in words: the route's line has not been read, say.
    pub(crate) fn shipment(
        &self,
        route: &Route,
        stream: &Stream,
        throttle: &Throttle,
    ) -> Result<Shipment, String> {
        let reign = &stream.reign;
        // What was never moved has no line: its revisions are its shard's own.
        let from_line = match reign.after {
            0 => None,
            _ => {
                let line = self.own.route(route.id).line.clone();
                let found = line.and_then(|line| line.index(reign.n).map(|index| (line, index)));
                let unread =
                    || format!("the line of route {} up to reign {} is not read yet", route.name, reign.n);
                Some(found.ok_or_else(unread)?)
            }
        };
        Ok(Shipment {
            route: route.name.clone(),
            intervals: route.shipped.clone(),
            from: self.pool(stream.from)?,
            to: self.pool(stream.to)?,
            from_line,
            stream: stream.clone(),
            limits: Limits::default(),
            throttle: throttle.clone(),
            leases: self.leases.clone(),
        })
    }

    /// Keeps the leases that a standby of the route has copies of, while it is polled.
    ///
    /// # Errors
    /// A shard is not identified yet.
    pub(crate) fn keep_leases(
        &self,
        route: &Route,
        (owner, standby): (ShardUid, ShardUid),
    ) -> Result<impl Future<Output = ()> + Send + 'static, String> {
        let (owner, to) = (self.pool(owner)?, self.pool(standby)?);
        Ok(ship::keep_standby_leases(route.name.clone(), owner, (to, standby), self.leases.clone()))
    }

    /// Makes copies of what a former owner has of the route's leases. `None`: all are; otherwise one that is not.
    ///
    /// # Errors
    /// A shard does not answer, or is not identified yet.
    pub(crate) async fn demote(
        &self,
        route: &Route,
        standby: ShardUid,
        settled: &mut HashSet<i64>,
    ) -> Result<Option<i64>, UpstreamError> {
        let pool = self.shards.get(standby)?;
        ship::demote_leases(&route.name, &pool, &*self.leases, settled).await
    }

    /// Takes the route out of the records of copies on a shard that was its standby. A shard that is away and has nothing
    /// to do with the migration is passed over: what it remembers does no harm while there is a route of that name.
    ///
    /// # Errors
    /// The owner does not answer.
    pub(crate) async fn release(
        &self,
        route: &Route,
        (owner, standby): (ShardUid, ShardUid),
    ) -> Result<(), UpstreamError> {
        for (at, pool) in self.shards.pools().iter().enumerate() {
            let id = self.shards.id_of(at);
            // No shard has a record of itself.
            if id == Some(standby) {
                continue;
            }
            match self.leases.release(&route.name, standby, pool.shard().id).await {
                Err(error) if id == Some(owner) => return Err(error),
                Err(error) => {
                    let (route, shard) = (&route.name, &pool.shard().name);
                    tracing::info!(route, %shard, %error, "its records of leases still name the route: the same verb takes it out");
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Deletes all that a shard holds of the route, under an epoch. How many keys.
    pub(crate) async fn purge(
        &self,
        route: &Route,
        purge: Purge,
        throttle: &Throttle,
    ) -> Result<u64, ShipError> {
        let Purge { shard, epoch } = purge;
        let pool = self.shards.get(shard)?;
        let told = |purged: ship::Purged| {
            tracing::debug!(route = route.name, keys = purged.keys, "purging");
        };
        let purged = ship::purge(&pool, &route.name, &route.shipped, epoch, throttle, told).await?;
        Ok(purged.keys)
    }

    /// Makes a test write on a standby that nothing is shipped to.
    pub(crate) async fn probe(&self, route: &Route, standby: Purge) -> Result<(), ShipError> {
        let pool = self.shards.get(standby.shard)?;
        ship::probe(&pool, &route.name, standby.epoch).await.map(drop)
    }

    fn pool(&self, shard: ShardUid) -> Result<Arc<ShardPool>, String> {
        self.shards.get(shard).map_err(|e| e.to_string())
    }
}
