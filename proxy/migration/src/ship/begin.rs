//! Where shipping begins.

use etcd_prism_ownership::Stored;
use etcd_prism_ownership::keys;

use super::ShipError;
use super::applier::Applier;
use super::commit::{Committed, Writes};
use super::intervals::range;
use super::io::{Shard, get, mod_revision};
use super::progress::Progress;

impl Applier {
    /// Reads how far the standby is; begins anew if what is stored is of an older reign.
    pub(super) async fn begin(&mut self) -> Result<(), ShipError> {
        let keys = [keys::fence(&self.job.route), keys::progress(&self.job.route)];
        let (present, found) = Shard(&self.job.to).read(keys.map(|key| get(key.into())).into()).await?;
        let (fence, stored) = (mod_revision(found.first()), found.get(1).and_then(|range| range.kvs.first()));
        self.stored = stored.map_or(0, |kv| kv.mod_revision);
        let progress = stored.map(|kv| Progress::decode(&kv.value)).transpose()?;
        let reign = self.job.stream.reign.n;
        let newer = progress.as_ref().is_some_and(|progress| progress.reign > reign);
        if fence != self.job.stream.epoch || newer {
            return Err(self.refused(fence, self.stored).into());
        }
        let (owner, _) =
            Shard(&self.job.from).read(vec![get(keys::progress(&self.job.route).into())]).await?;
        match progress {
            Some(progress) if progress.reign == reign => {
                (self.stored_watermark, self.stored_looked) = (progress.watermark, progress.looked);
                self.progress = progress;
            }
            _ => {
                let copies = self.job.stream.copy.is_some();
                let first = self.job.intervals.hull().0.to_vec();
                let watermark = if copies { owner } else { self.job.stream.after };
                let after = Progress::begin(reign, watermark, copies.then_some(&first), self.writer);
                let Committed::At(_) = self.commit(&Writes::default(), after).await? else {
                    return Err(Shard(&self.job.to).bad("it does not take a progress").into());
                };
            }
        }
        let left = match &self.progress.cursor {
            Some(cursor) => Some(self.count(&cursor.0).await?),
            None => None,
        };
        self.watch_standby(present);
        let expected_keys = Some(self.progress.tally.keys + left.unwrap_or(0));
        self.status.send_modify(|status| {
            status.begun = true;
            status.owner = status.owner.max(owner);
            status.expected_keys = expected_keys;
        });
        Ok(())
    }

    /// Keys of the owner from this one on.
    async fn count(&self, from: &[u8]) -> Result<u64, ShipError> {
        let mut keys = 0;
        for (start, end) in self.job.intervals.rests(from) {
            let mut request = range(start, end);
            request.count_only = true;
            let (_, reply) = Shard(&self.job.from).page(&request, 1 << 20).await?;
            keys += reply.count.max(0).unsigned_abs();
        }
        Ok(keys)
    }
}
