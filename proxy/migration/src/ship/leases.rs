//! The leases of what is shipped: there before the keys that need them, and alive as long as on the owner.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use etcd_prism_ownership::{ShardUid, keys};
use etcd_prism_proto::mvccpb::KeyValue;
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::reply::MAX_REPLY;
use etcd_prism_upstream::{ShardPool, UpstreamError};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use tokio::sync::watch;
use tokio::time::Instant;

use super::intervals::range;
use super::io::Shard;

/// Brings leases to standbys.
pub trait Leases: Send + Sync {
    /// Makes sure that a standby of a route has copies of leases that are alive elsewhere, with the ids and the TTL that they
    /// were granted with, as often as they are lost there; and that they are no more than copies, that is, that their loss
    /// ends nothing before the standby rules. Whether all of them are there now: the others have ended.
    fn bring<'a>(
        &'a self,
        route: &'a str,
        standby: ShardId,
        leases: &'a [i64],
    ) -> BoxFuture<'a, Result<bool, UpstreamError>>;

    /// Does the same with one lease that the standby may have, and says what it has of it then.
    fn keep<'a>(
        &'a self,
        route: &'a str,
        standby: ShardId,
        lease: i64,
    ) -> BoxFuture<'a, Result<Kept, UpstreamError>>;

    /// Takes a route out of the records that the shard `on` has of copies of leases on a shard that was its standby.
    fn release<'a>(
        &'a self,
        route: &'a str,
        standby: ShardUid,
        on: ShardId,
    ) -> BoxFuture<'a, Result<(), UpstreamError>>;
}

/// What a standby has of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// A copy: its loss ends nothing before the standby rules, and everybody who could say otherwise was asked.
    Copy,
    /// More, and not for the route: there are keys under it that the standby rules, or none of the route.
    Own,
    /// Nothing: it has ended.
    Ended,
    /// Not a copy for certain, though it may become one: a shard that remembers it as more is away, say.
    Unknown,
}

/// Seconds of a lease of the standby's own, for keys whose lease has ended on the owner: the delete that goes with that may
/// lie above what is shipped last.
const SHORT: i64 = 5;

/// Leases that are remembered to have been brought; one that is forgotten is brought once more, which changes nothing.
const REMEMBERED: usize = 100_000;

/// The leases of one standby.
pub(crate) struct Bringer {
    leases: Arc<dyn Leases>,
    route: String,
    /// Those that were brought, or had ended, before anything was put under them.
    brought: HashSet<i64>,
    /// By the owner's lease that has ended: the short one in its place.
    short: HashMap<i64, i64>,
    /// How often in a row all were said to be there and were not.
    vain: u32,
}

impl std::fmt::Debug for Bringer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bringer").field("short", &self.short).finish_non_exhaustive()
    }
}

impl Bringer {
    pub(crate) fn new(leases: Arc<dyn Leases>, route: &str) -> Self {
        let (route, brought, short) = (route.to_owned(), HashSet::new(), HashMap::new());
        Self { leases, route, brought, short, vain: 0 }
    }

    /// To be called before anything is put under these leases of the owner's: one that the standby has already, for another
    /// route perhaps, is to be known as what it is from the first key on.
    pub(crate) async fn prepare(
        &mut self,
        standby: &ShardPool,
        wanted: &HashSet<i64>,
    ) -> Result<(), UpstreamError> {
        let new = |lease: &i64| !self.brought.contains(lease) && !self.short.contains_key(lease);
        let mut asked: Vec<i64> = wanted.iter().copied().filter(new).collect();
        if asked.is_empty() {
            return Ok(());
        }
        asked.sort_unstable();
        // One that has ended is refused by the standby, and mended.
        self.leases.bring(&self.route, standby.shard().id, &asked).await?;
        if self.brought.len() > REMEMBERED {
            self.brought.clear();
        }
        self.brought.extend(asked);
        Ok(())
    }

    /// The lease that a key is put under on the standby.
    pub(crate) fn on_standby(&self, lease: i64) -> i64 {
        self.short.get(&lease).copied().unwrap_or(lease)
    }

    pub(crate) fn written(&mut self) {
        self.vain = 0;
    }

    /// The standby said that it lacks one of these leases of the owner's. Gives an error where that is to be tried again
    /// later.
    pub(crate) async fn mend(
        &mut self,
        owner: &ShardPool,
        standby: &ShardPool,
        wanted: &HashSet<i64>,
    ) -> Result<(), UpstreamError> {
        let mut asked: Vec<i64> =
            wanted.iter().copied().filter(|lease| !self.short.contains_key(lease)).collect();
        asked.sort_unstable();
        let all = asked.is_empty() || self.leases.bring(&self.route, standby.shard().id, &asked).await?;
        self.vain += 1;
        if all && !asked.is_empty() && self.vain < 3 {
            return Ok(());
        }
        for lease in wanted {
            if Shard(standby).time_to_live(self.on_standby(*lease)).await?.is_some() {
                continue;
            }
            // Only the owner knows that it has ended. A lease that it still has must be brought.
            if Shard(owner).time_to_live(*lease).await?.is_some() {
                // Granted again since: another lease with the same id.
                self.short.remove(lease);
                self.brought.remove(lease);
                let reason = format!("lease {lease:x} could not be brought there yet");
                return Err(Shard(standby).bad(&reason));
            }
            let short = Shard(standby).grant(SHORT).await?;
            tracing::debug!(
                lease = format_args!("{lease:x}"),
                short = format_args!("{short:x}"),
                "lease has ended"
            );
            self.short.insert(*lease, short);
        }
        Ok(())
    }
}

/// How often the lists of leases are read.
const LOOK: Duration = Duration::from_millis(1000);
/// Renewals under way at once.
const AT_ONCE: usize = 16;
/// How long the standby's copies are kept while the owner does not answer. An etcd that is down ends no lease, and gives each
/// its whole time anew when it is back; so they are kept for as long as an outage may well last.
const SILENCE: Duration = Duration::from_secs(3600);
/// Between two looks whether a copy is known as one.
const AGAIN: Duration = Duration::from_secs(60);
/// Between two looks for copies that were lost.
const RECORDED: Duration = Duration::from_secs(5);

/// Renews, on the standby, the leases that the owner has too, for as long as this future is polled: what is alive on the
/// owner does not end on the standby first. While the owner does not answer, what it had counts as alive, for an hour. Also
/// sees to it that they are no more than copies: what is left of a driver that died, and of the time when the standby ruled.
/// What the standby has in its own right is its clients' to renew: keys of other routes are under it.
pub async fn keep_standby_leases(
    route: String,
    owner: Arc<ShardPool>,
    (standby, uid): (Arc<ShardPool>, ShardUid),
    leases: Arc<dyn Leases>,
) {
    let (told, found) = watch::channel(Found::default());
    let (tell, own) = watch::channel(HashSet::new());
    let id = standby.shard().id;
    tokio::join!(renew(owner, (standby, uid), told, own), look_after(route, id, leases, found, tell));
}

/// Makes copies of what a former owner has of the leases of a route. Those that are settled, because they are copies or not the
/// route's, are added to `settled`. `None`: all are; otherwise one that is not.
///
/// # Errors
/// A shard does not answer.
pub(crate) async fn demote_leases(
    route: &str,
    standby: &ShardPool,
    leases: &dyn Leases,
    settled: &mut HashSet<i64>,
) -> Result<Option<i64>, UpstreamError> {
    let all = Shard(standby).leases().await?;
    let left = all.into_iter().filter(|lease| !settled.contains(lease)).collect::<Vec<_>>();
    let id = standby.shard().id;
    let keep = |lease| async move { (lease, leases.keep(route, id, lease).await) };
    let mut kept = stream::iter(left).map(keep).buffer_unordered(AT_ONCE);
    while let Some((lease, kept)) = kept.next().await {
        match kept? {
            Kept::Copy | Kept::Own | Kept::Ended => drop(settled.insert(lease)),
            Kept::Unknown => return Ok(Some(lease)),
        }
    }
    Ok(None)
}

/// What was found on both shards.
#[derive(Debug, Default)]
struct Found {
    /// Leases that both have.
    both: HashSet<i64>,
    /// Leases that the owner has, with a record that the standby has them, and the standby lacks: copies that were lost, under
    /// which there is no key perhaps. If they stayed away, they would count as lost as soon as the standby rules.
    lost: Vec<i64>,
}

/// The leases that the owner has a record of, that the standby has them.
async fn recorded(owner: &ShardPool, standby: ShardUid) -> Result<Vec<i64>, UpstreamError> {
    let mut request = range(keys::LEASES.key, keys::LEASES.range_end);
    request.keys_only = true;
    let (_, page) = Shard(owner).page(&request, MAX_REPLY).await?;
    let name = format!("/{standby}");
    let lease = |kv: &KeyValue| {
        let rest = kv.key.strip_prefix(keys::LEASES.key)?;
        let id = std::str::from_utf8(rest.strip_suffix(name.as_bytes())?).ok()?;
        i64::from_str_radix(id, 16).ok()
    };
    Ok(page.kvs.iter().filter_map(lease).collect())
}

async fn renew(
    owner: Arc<ShardPool>,
    (standby, uid): (Arc<ShardPool>, ShardUid),
    told: watch::Sender<Found>,
    own: watch::Receiver<HashSet<i64>>,
) {
    let mut recorded_at: Option<Instant> = None;
    let mut alive: HashSet<i64> = HashSet::new();
    let mut heard = Instant::now();
    let mut due: HashMap<i64, Instant> = HashMap::new();
    let mut timer = tokio::time::interval(LOOK);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        match Shard(&owner).leases().await {
            Ok(found) => (alive, heard) = (found.into_iter().collect(), Instant::now()),
            Err(error) => tracing::debug!(%error, "the owner's leases cannot be listed"),
        }
        if heard.elapsed() > SILENCE {
            alive.clear();
        }
        let there = match Shard(&standby).leases().await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "the standby's leases cannot be listed");
                continue;
            }
        };
        let both: HashSet<i64> = there.into_iter().filter(|lease| alive.contains(lease)).collect();
        due.retain(|lease, _| both.contains(lease));
        let now = Instant::now();
        let is_due = |lease: &i64| due.get(lease).is_none_or(|at| *at <= now);
        let now_due: Vec<i64> = {
            let own = own.borrow();
            both.iter().copied().filter(|lease| is_due(lease) && !own.contains(lease)).collect()
        };
        let mut lost = Vec::new();
        if recorded_at.is_none_or(|at| at.elapsed() >= RECORDED) && heard.elapsed() < LOOK {
            recorded_at = Some(now);
            match recorded(&owner, uid).await {
                Ok(found) => lost.extend(found.iter().filter(|id| alive.contains(id) && !both.contains(id))),
                Err(error) => tracing::debug!(%error, "the owner's records of leases cannot be read"),
            }
        }
        told.send_replace(Found { both, lost });
        let standby = &standby;
        let renew = |lease| async move { (lease, Shard(standby).keep_alive(lease).await) };
        let mut renewed = stream::iter(now_due).map(renew).buffer_unordered(AT_ONCE);
        let mut failed = None;
        while let Some((lease, reply)) = renewed.next().await {
            match reply {
                // Thrice in its time.
                Ok(ttl) => {
                    due.insert(
                        lease,
                        now + Duration::from_millis(333) * u32::try_from(ttl).unwrap_or(u32::MAX),
                    );
                }
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            tracing::debug!(%error, "leases of the standby could not be renewed");
        }
    }
}

/// Beside the renewals, which must not wait for it.
async fn look_after(
    route: String,
    standby: ShardId,
    leases: Arc<dyn Leases>,
    mut found: watch::Receiver<Found>,
    own: watch::Sender<HashSet<i64>>,
) {
    let mut looked: HashMap<i64, Instant> = HashMap::new();
    while found.changed().await.is_ok() {
        let now = Instant::now();
        let now_due: Vec<i64> = {
            let Found { both, lost } = &*found.borrow_and_update();
            looked.retain(|lease, _| both.contains(lease));
            own.send_modify(|own| own.retain(|lease| both.contains(lease)));
            let is_due = |lease: &i64| looked.get(lease).is_none_or(|at| now.duration_since(*at) >= AGAIN);
            both.iter().copied().filter(is_due).chain(lost.iter().copied()).collect()
        };
        let (leases, route) = (&leases, &route);
        let look = |lease| async move { (lease, leases.keep(route, standby, lease).await) };
        let mut found = stream::iter(now_due).map(look).buffer_unordered(AT_ONCE);
        while let Some((lease, found)) = found.next().await {
            match found {
                Ok(kept) => {
                    looked.insert(lease, now);
                    own.send_modify(|own| {
                        if kept == Kept::Own {
                            own.insert(lease)
                        } else {
                            own.remove(&lease)
                        };
                    });
                }
                Err(error) => {
                    tracing::debug!(lease = format_args!("{lease:x}"), %error, "whether it is a copy is not known");
                }
            }
        }
    }
}
