//! The comparison of a standby with its owner. What differs is put right.

use std::sync::Arc;

use bytes::Bytes;
use etcd_prism_control::RouteLine;
use etcd_prism_ownership::timeline::{Reign, Timeline};
use etcd_prism_ownership::value::ProvenanceRecord;
use etcd_prism_proto::mvccpb::KeyValue;
use etcd_prism_upstream::UpstreamError;
use tokio::time::Instant;

use super::copy::{MAX_BACKOFF, PageSize};
use super::intervals::{after, range};
use super::io::{Shard, get, is_too_long};
use super::numbers::Numbers;
use super::pace::Pace;
use super::{Aligned, ShipError, Shipment, Shipper};

mod pages;

use pages::differences;

/// Mismatches that are named.
const NAMED: usize = 100;
const MIN_BACKOFF: std::time::Duration = std::time::Duration::from_millis(100);

/// How far a comparison is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Compared {
    pub keys: u64,
    /// The first key that was not compared yet, to begin with next time; `None`: all were.
    pub next: Option<Vec<u8>>,
    /// What differed, and does not any more.
    pub repaired: Mismatches,
    /// What still differs.
    pub mismatches: Mismatches,
}

/// Keys that are not the same on both shards.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mismatches {
    /// The first of them, 100 at most.
    pub named: Vec<Mismatch>,
    /// Those that are not named.
    pub more: u64,
}

impl Mismatches {
    pub fn count(&self) -> u64 {
        self.more + self.named.len() as u64
    }

    fn add(&mut self, mismatches: Vec<Mismatch>) {
        for mismatch in mismatches {
            if self.named.len() < NAMED {
                self.named.push(mismatch);
            } else {
                self.more += 1;
            }
        }
    }
}

/// A key that is not the same on both shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    pub key: Bytes,
    pub difference: Difference,
}

/// How a key differs on the standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    #[error("is missing")]
    Missing,
    /// Others than proxies wrote it where no reign of the route is, or its provenance is gone.
    #[error("has revisions on the owner that cannot be told")]
    Unreadable,
    #[error("is not on the owner")]
    Extra,
    #[error("has another value")]
    Value,
    #[error("has another lease")]
    Lease,
    /// Of create revision, mod revision and version, as clients would see them after a switch.
    #[error("would be shown with other revisions or another version")]
    Numbers,
}

/// Compares key by key, value, lease and the numbers that clients know, from the key `from` on (empty: from the first). Both
/// shards are read in the past, at a state that both have at the end of one batch; writes go on. Where compaction overtakes
/// that, a new state is taken. What differs is looked at once more, written anew on the standby, and looked at again. A shard
/// that does not answer is waited for; `told` hears how far it is.
///
/// # Errors
/// The shipper has ended.
pub async fn verify(
    job: &Shipment,
    shipper: &Shipper,
    from: &[u8],
    mut told: impl FnMut(&Compared),
) -> Result<Compared, ShipError> {
    let throttle = || shipper.orders.borrow().throttle.clone();
    let mut verify = Verify {
        job,
        shipper,
        compared: Compared { next: Some(from.to_vec()), ..Compared::default() },
        size: PageSize::default(),
        pace: Pace::new(throttle()),
        point: None,
    };
    let mut backoff = MIN_BACKOFF;
    loop {
        verify.pace.change(throttle());
        match verify.page().await {
            Ok(true) => break,
            Ok(false) => {
                backoff = MIN_BACKOFF;
                told(&verify.compared);
                tokio::time::sleep_until(verify.pace.next()).await;
            }
            Err(error) => {
                verify.again_after(error)?;
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
        }
    }
    told(&verify.compared);
    Ok(verify.compared)
}

/// A state of both shards.
struct Point {
    at: Aligned,
    /// The line as if the standby had taken over at that state.
    line: Arc<RouteLine>,
    reign: usize,
}

struct Verify<'a> {
    job: &'a Shipment,
    shipper: &'a Shipper,
    compared: Compared,
    size: PageSize,
    pace: Pace,
    point: Option<Point>,
}

impl Verify<'_> {
    /// Compares one page. True: there is none left.
    async fn page(&mut self) -> Result<bool, ShipError> {
        let Some(cursor) = self.compared.next.clone() else { return Ok(true) };
        let intervals = self.job.intervals.clone();
        let Some((start, end)) = intervals.rest(&cursor) else {
            self.compared.next = None;
            return Ok(true);
        };
        let Some((next, keys, found)) = self.compare(start, end).await? else { return Ok(false) };
        self.put_right(found).await?;
        self.compared.keys += keys;
        self.compared.next = Some(next);
        Ok(false)
    }

    /// What differs is written anew, unless it does not differ any more: a key whose lease has just ended is under another one
    /// on the standby for a moment.
    async fn put_right(&mut self, found: Vec<Mismatch>) -> Result<(), ShipError> {
        let mut found = self.look_again(found).await?;
        if found.is_empty() {
            return Ok(());
        }
        // What nobody can number cannot be written either.
        let writable = found.iter().filter(|mismatch| mismatch.difference != Difference::Unreadable);
        self.shipper.repair(writable.map(|mismatch| mismatch.key.clone()).collect()).await?;
        let left = self.look_again(found.clone()).await?;
        found.retain(|mismatch| !left.iter().any(|left| left.key == mismatch.key));
        self.compared.repaired.add(found);
        self.compared.mismatches.add(left);
        Ok(())
    }

    /// Those that differ at a new state too, however long it takes to look at them.
    async fn look_again(&mut self, found: Vec<Mismatch>) -> Result<Vec<Mismatch>, ShipError> {
        let mut backoff = MIN_BACKOFF;
        while !found.is_empty() {
            match self.look_at(&found).await {
                Ok(left) => return Ok(left),
                Err(error) => self.again_after(error)?,
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
        Ok(found)
    }

    /// What differs from `start` on, up to the key that is given, and how many keys the owner has there; `None`: too much at
    /// once.
    async fn compare(
        &mut self,
        start: &[u8],
        end: &[u8],
    ) -> Result<Option<(Vec<u8>, u64, Vec<Mismatch>)>, ShipError> {
        if self.point.is_none() {
            self.point = Some(self.align().await?);
        }
        let Some(point) = &self.point else { return Ok(None) };
        let (owner, standby) = (Shard(&self.job.from), Shard(&self.job.to));
        let sent = Instant::now();
        let mut pages = Vec::with_capacity(2);
        for (shard, revision) in [(owner, point.at.owner), (standby, point.at.standby)] {
            let mut request = range(start, end);
            (request.limit, request.revision) = (self.size.limit(), revision);
            match shard.page(&request, self.size.max()).await {
                Err(error) if request.limit > 1 && is_too_long(&error) => {
                    self.size.was_too_long();
                    return Ok(None);
                }
                page => pages.push(page?.1),
            }
        }
        let time = sent.elapsed();
        let [ours, theirs] = &mut pages[..] else { return Ok(None) };
        let bytes: usize = ours.kvs.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
        self.size.saw(ours.kvs.len(), bytes);
        // Where one page ends early, what the other has behind that belongs to the next ones.
        let ends =
            [&*ours, &*theirs].map(|page| page.kvs.last().filter(|_| page.more).map(|kv| after(&kv.key)));
        let next = ends.into_iter().flatten().min().unwrap_or_else(|| end.to_vec());
        for page in [&mut *ours, &mut *theirs] {
            page.kvs.retain(|kv| kv.key[..] < next[..]);
        }
        let ours = self.known(self.on_owner(), &ours.kvs).await?;
        let theirs = self.known(self.on_standby(point), &theirs.kvs).await?;
        let found = differences(&ours, &theirs);
        let keys = ours.len() as u64;
        self.pace.took(&self.job.from.shard().name, time);
        self.pace.spent(keys, bytes as u64);
        Ok(Some((next, keys, found)))
    }

    async fn look_at(&self, found: &[Mismatch]) -> Result<Vec<Mismatch>, ShipError> {
        let point = self.align().await?;
        let mut left = Vec::new();
        for mismatch in found {
            let one = |revision| {
                let mut request = get(mismatch.key.clone());
                request.revision = revision;
                request
            };
            let max = etcd_prism_upstream::reply::MAX_REPLY;
            let (_, ours) = Shard(&self.job.from).page(&one(point.at.owner), max).await?;
            let (_, theirs) = Shard(&self.job.to).page(&one(point.at.standby), max).await?;
            let ours = self.known(self.on_owner(), &ours.kvs).await?;
            let theirs = self.known(self.on_standby(&point), &theirs.kvs).await?;
            left.extend(differences(&ours, &theirs));
        }
        Ok(left)
    }

    async fn align(&self) -> Result<Point, ShipError> {
        let job = self.job;
        let (first, _) = job.intervals.hull();
        let mut request = get(super::intervals::first(first));
        request.keys_only = true;
        let (present, _) = Shard(&job.from).read(vec![request]).await?;
        let at = self.shipper.align(present).await?;
        let mut reigns: Vec<Reign> = match &job.from_line {
            Some((line, reign)) => (0..=*reign).filter_map(|i| line.reign(i).copied()).collect(),
            None => vec![Reign { shard: job.stream.from, after: 0, raw_start: 1, ..job.stream.reign }],
        };
        let last = reigns.last().map_or(job.stream.reign, |reign| *reign);
        let g = at.owner.saturating_add(last.offset());
        reigns.push(Reign { n: last.n + 1, shard: job.stream.to, after: g, raw_start: at.standby + 1 });
        let shards = vec![Some(job.to.shard().id); reigns.len()];
        let reign = reigns.len() - 1;
        let line = Arc::new(RouteLine::new(Timeline::new(reigns)?, shards, 0));
        Ok(Point { at, line, reign })
    }

    fn on_owner(&self) -> Numbers<'_> {
        let job = self.job;
        let line = job.from_line.as_ref().map(|(line, reign)| (line, *reign));
        Numbers { route: &job.route, shard: &job.from, line, at: None }
    }

    fn on_standby<'p>(&self, point: &'p Point) -> Numbers<'p>
    where
        Self: 'p,
    {
        let line = Some((&point.line, point.reign));
        Numbers { route: &self.job.route, shard: &self.job.to, line, at: Some(point.at.standby) }
    }

    /// Keys with what clients know of them; `None`: it makes no sense.
    async fn known<'k>(
        &self,
        numbers: Numbers<'_>,
        kvs: &'k [KeyValue],
    ) -> Result<Vec<(&'k KeyValue, Option<ProvenanceRecord>)>, ShipError> {
        match numbers.of(kvs).await {
            Ok(found) => return Ok(kvs.iter().zip(found.into_iter().map(Some)).collect()),
            Err(ShipError::Translate { .. } | ShipError::Stored(_)) => {}
            Err(error) => return Err(error),
        }
        // One of them is wrong: which?
        let mut out = Vec::with_capacity(kvs.len());
        for kv in kvs {
            let found = match numbers.of([kv]).await {
                Ok(found) => found.first().copied(),
                Err(ShipError::Translate { .. } | ShipError::Stored(_)) => None,
                Err(error) => return Err(error),
            };
            out.push((kv, found));
        }
        Ok(out)
    }

    /// What can be tried again is.
    fn again_after(&mut self, error: ShipError) -> Result<(), ShipError> {
        let ShipError::Upstream(error) = error else { return Err(error) };
        if is_compacted(&error) {
            self.point = None;
        }
        tracing::debug!(route = %self.job.route, %error, "the comparison is tried again");
        Ok(())
    }
}

/// Nothing was done, if all that is wrong is that what was to be read is compacted.
pub(super) fn unless_compacted(done: Result<bool, ShipError>) -> Result<bool, ShipError> {
    match done {
        Err(ShipError::Upstream(error)) if is_compacted(&error) => Ok(false),
        done => done,
    }
}

fn is_compacted(error: &UpstreamError) -> bool {
    const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
    matches!(error, UpstreamError::Status(status) if status.message == COMPACTED)
}
