//! The owner's log, applied.

use bytes::Bytes;
use etcd_prism_ownership::keys;
use etcd_prism_ownership::migration::Bound;
use etcd_prism_proto::etcdserverpb::RangeResponse;

use super::ShipError;
use super::applier::Applier;
use super::commit::{Committed, Write, Writes};
use super::io::{Shard, get};
use super::pending::{Batch, Change};
use super::progress::Progress;

/// How often key and record are deleted in order to be in step. Whoever writes one of them each time does what must not be
/// done; a comparison finds it.
const TRIES: u32 = 10;

/// A key and its record as the standby has them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// Mod revision and version; 0: not there.
    key: (i64, i64),
    record: (i64, i64),
    lease: i64,
}

impl Standing {
    fn of(key: &RangeResponse, record: &RangeResponse) -> Self {
        let numbers =
            |range: &RangeResponse| range.kvs.first().map_or((0, 0), |kv| (kv.mod_revision, kv.version));
        let lease = key.kvs.first().map_or(0, |kv| kv.lease);
        Self { key: numbers(key), record: numbers(record), lease }
    }

    pub(super) fn has_key(&self) -> bool {
        self.key.0 != 0
    }

    pub(super) fn is_absent(&self) -> bool {
        self.key.0 == 0 && self.record.0 == 0
    }

    /// Whether the versions of both are the same after both are written.
    fn is_in_step(&self) -> bool {
        self.key == self.record
    }
}

/// What became of keys that were not in step with their records.
enum Step {
    Ready,
    /// They were deleted: look again.
    Again,
    /// The batch has to be smaller.
    Shrunk,
}

impl Applier {
    /// Applies one batch of changes, if there is one and the bound allows it. Whether there was something to do.
    pub(super) async fn apply(&mut self) -> Result<bool, ShipError> {
        let last = match self.bound {
            Bound::None => i64::MAX,
            Bound::Stop => return Ok(false),
            Bound::At(raw) => raw,
        };
        let batch = self.pending.batch(&self.progress, last, &self.limits);
        if batch.changes.is_empty() {
            self.progress.reach(batch.watermark);
            self.pending.drop_first(batch.taken);
            return Ok(batch.taken > 0);
        }
        if self.bring(&batch.changes, self.after(&batch)).await? {
            self.pending.drop_first(batch.taken);
            batch.changes.iter().for_each(|change| self.holes.forget(&change.key));
        }
        Ok(true)
    }

    /// Writes keys with their records, and stores the progress that goes with them. False: it has to be less at once.
    pub(super) async fn bring(&mut self, changes: &[Change], after: Progress) -> Result<bool, ShipError> {
        let mut writes = Writes { writes: self.writes(changes).await?, unmoved: Vec::new() };
        let mut tries = 0;
        loop {
            let standing = self.standing(changes).await?;
            writes.unmoved = leased(changes, &standing);
            if tries < TRIES {
                match self.bring_in_step(changes, &standing).await? {
                    Step::Ready => {}
                    Step::Again => {
                        tries += 1;
                        continue;
                    }
                    Step::Shrunk => return Ok(false),
                }
            } else {
                tracing::warn!(route = %self.job.route, "somebody else writes to the standby all the time");
            }
            match self.commit(&writes, after.clone()).await? {
                Committed::At(_) => return Ok(true),
                // A lease ended in between.
                Committed::Moved => {}
                Committed::Unfit(status) => {
                    self.shrink(changes.len(), changes.first().map(|change| &change.key), status)?;
                    return Ok(false);
                }
            }
        }
    }

    fn after(&self, batch: &Batch) -> Progress {
        let mut after = self.progress.clone();
        after.reach(batch.watermark);
        after.tally.events += batch.changes.len() as u64;
        after
    }

    async fn writes(&self, changes: &[Change]) -> Result<Vec<Write>, ShipError> {
        let puts = changes.iter().filter_map(|change| change.put.as_ref());
        let mut records = self.numbers().of(puts).await?.into_iter();
        let write = |change: &Change| match &change.put {
            Some(kv) => {
                let record = records.next()?;
                Some(Write::Put { kv: kv.clone(), record })
            }
            None => Some(Write::Delete(change.key.clone())),
        };
        let writes: Option<Vec<Write>> = changes.iter().map(write).collect();
        writes.ok_or_else(|| Shard(&self.job.from).bad("fewer numbers than keys").into())
    }

    pub(super) async fn standing(&self, changes: &[Change]) -> Result<Vec<Standing>, ShipError> {
        let read = |key: Bytes| {
            let mut range = get(key);
            range.keys_only = true;
            range
        };
        let keys = changes.iter().map(|change| &change.key);
        let pair = |key: &Bytes| [key.clone(), keys::provenance(&self.job.route, key).into()];
        let (_, found) = Shard(&self.job.to).read(keys.flat_map(pair).map(read).collect()).await?;
        Ok(found.as_chunks::<2>().0.iter().map(|[key, record]| Standing::of(key, record)).collect())
    }

    /// Deletes keys and records whose versions are not the same: they were written when this shard ruled, or the key's lease
    /// has ended.
    async fn bring_in_step(&mut self, changes: &[Change], standing: &[Standing]) -> Result<Step, ShipError> {
        let out_of_step = changes.iter().zip(standing).filter(|(_, standing)| !standing.is_in_step());
        let out_of_step: Vec<(&Change, &Standing)> = out_of_step.collect();
        if out_of_step.is_empty() {
            return Ok(Step::Ready);
        }
        let deletes = out_of_step.iter().map(|(change, _)| Write::Delete(change.key.clone()));
        // Unconditionally: whatever the key has become, it is written anew right after.
        let writes = Writes { writes: deletes.collect(), unmoved: Vec::new() };
        match self.commit(&writes, self.progress.clone()).await? {
            Committed::Unfit(status) => {
                let first = changes.first().map(|change| &change.key);
                self.shrink(changes.len(), first, status)?;
                Ok(Step::Shrunk)
            }
            Committed::At(_) | Committed::Moved => Ok(Step::Again),
        }
    }

    /// Whether a part of a revision has been applied.
    pub(super) fn is_within_revision(&self) -> bool {
        self.pending.is_within_revision()
    }
}

/// The keys that may end by themselves on the standby, and put key and record out of step.
fn leased(changes: &[Change], standing: &[Standing]) -> Vec<(Bytes, i64)> {
    let leased = changes.iter().zip(standing).filter(|(_, standing)| standing.lease != 0);
    leased.map(|(change, standing)| (change.key.clone(), standing.key.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_step() {
        let standing = |key, record| Standing { key, record, lease: 0 };
        assert!(standing((0, 0), (0, 0)).is_in_step());
        assert!(standing((7, 2), (7, 2)).is_in_step());
        for (key, record) in [
            // Written as the owner, created as the owner, ended by its lease, written again after that.
            ((9, 3), (7, 2)),
            ((9, 1), (0, 0)),
            ((0, 0), (7, 2)),
            ((9, 1), (9, 2)),
        ] {
            assert!(!standing(key, record).is_in_step());
        }
    }
}
