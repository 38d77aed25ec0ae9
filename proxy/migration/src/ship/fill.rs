//! What ended by itself on the standby is put there again.

use bytes::Bytes;
use etcd_prism_ownership::keys;
use etcd_prism_ownership::migration::Bound;
use tokio_util::task::AbortOnDropHandle;

use super::ShipError;
use super::applier::Applier;
use super::events::Standing;
use super::feed::{Feed, News};
use super::intervals::{after, range};
use super::io::{Shard, get};
use super::pending::{Change, cost};

/// Keys that are compared at once.
const PAGE: i64 = 500;
/// The longest reply with their names, in bytes: etcd takes keys of up to its `--max-request-bytes`.
const MAX: usize = 64 << 20;

impl Applier {
    /// Whether the standby holds exactly what the owner had at the watermark, as far as anybody knows.
    pub(super) fn is_whole(&self) -> bool {
        self.progress.is_whole() && self.holes.is_empty()
    }

    /// Watches deletes on the standby, from where the stored progress says, at this revision of the standby's.
    pub(super) fn watch_standby(&mut self, present: i64) {
        match self.progress.looked {
            // Above it: what is stored is of a shard that was restored.
            looked if looked > 0 && looked <= present => self.holes.begin(looked),
            _ => self.holes.begin_with_all(present, self.job.intervals.hull().0),
        }
        self.spawn_watch();
    }

    /// Begins the watch anew where it has ended: the standby has compacted what was to come next.
    pub(super) async fn watch_again(&mut self) -> Result<(), ShipError> {
        if self.standby_feed.is_none() {
            let progress = keys::progress(&self.job.route);
            let (present, _) = Shard(&self.job.to).read(vec![get(progress.into())]).await?;
            tracing::debug!(route = %self.job.route, "the standby has compacted its history: all keys are compared");
            self.holes.begin_with_all(present, self.job.intervals.hull().0);
            self.spawn_watch();
        }
        Ok(())
    }

    fn spawn_watch(&mut self) {
        let feed = Feed {
            shard: self.job.to.clone(),
            intervals: self.job.intervals.clone(),
            only_deletes: true,
            out: self.standby_out.clone(),
            hurry: self.standby_hurry.clone(),
        };
        self.standby_feed = Some(AbortOnDropHandle::new(tokio::spawn(feed.run(self.holes.seen()))));
    }

    pub(super) fn hear_standby(&mut self, news: News) {
        match news {
            News::Log { changes, complete, .. } => {
                self.holes.note(changes, complete, &self.progress);
                self.standby_trouble = None;
            }
            News::Trouble(error) => {
                tracing::debug!(route = %self.job.route, %error, "the watch on the standby broke");
                self.standby_trouble = Some(error);
            }
            News::Compacted(_) => self.standby_feed = None,
        }
    }

    /// Looks at some of the keys that are noted, and puts those that are missing. Whether there was something to do.
    ///
    /// Each is read at the very revision that the standby has it at: the watermark, or that of its chunk. So nothing has to be
    /// remembered of it, no bound is overstepped, and the log goes on from there.
    pub(super) async fn fill(&mut self) -> Result<bool, ShipError> {
        // Within a revision keys may be ahead of the watermark.
        if self.bound == Bound::Stop || self.settled.is_some() || self.is_within_revision() {
            return Ok(false);
        }
        let most = self.limits.keys().min(usize::try_from(self.page_size.limit()).unwrap_or(1));
        let due = self.holes.due(&self.progress, most, self.bound != Bound::None);
        let Some((at, keys)) = due.filter(|(at, _)| *at > 0) else { return Ok(false) };
        let changes = self.as_owned(keys, at).await?;
        let standing = self.standing(&changes).await?;
        let mut wrong = Vec::new();
        let mut bytes = 0;
        for (change, standing) in changes.into_iter().zip(standing) {
            if !self.is_wrong(&change, &standing) {
                self.holes.forget(&change.key);
                continue;
            }
            bytes += change.put.as_ref().map_or(0, cost);
            // The others come next.
            if wrong.is_empty() || bytes <= self.limits.bytes {
                wrong.push(change);
            }
        }
        let mut after = self.progress.clone();
        after.tally.filled += wrong.len() as u64;
        if !wrong.is_empty() && self.bring(&wrong, after).await? {
            tracing::debug!(route = %self.job.route, keys = wrong.len(), "put again on the standby");
            wrong.iter().for_each(|change| self.holes.forget(&change.key));
        }
        Ok(true)
    }

    fn is_wrong(&self, change: &Change, standing: &Standing) -> bool {
        match &change.put {
            Some(_) => !standing.has_key() || self.holes.is_forced(&change.key),
            None => !standing.is_absent(),
        }
    }

    /// What the owner had under these keys at a revision.
    async fn as_owned(&mut self, keys: Vec<Bytes>, at: i64) -> Result<Vec<Change>, ShipError> {
        let read = |key: &Bytes| {
            let mut range = get(key.clone());
            range.revision = at;
            range
        };
        // An error where it is compacted, until the watermark has moved on.
        let (_, found) = Shard(&self.job.from).read(keys.iter().map(read).collect()).await?;
        let found = found.into_iter().map(|range| range.kvs.into_iter().next());
        let changes: Vec<Change> =
            keys.into_iter().zip(found).map(|(key, put)| Change { key, revision: at, put }).collect();
        let sizes = changes.iter().filter_map(|c| c.put.as_ref()).map(|kv| kv.key.len() + kv.value.len());
        self.page_size.saw(sizes.clone().count(), sizes.sum());
        Ok(changes)
    }

    /// Compares a page of names, where it is not known what ended on the standby. Whether there was something to do.
    pub(super) async fn sweep(&mut self) -> Result<bool, ShipError> {
        let Some(from) = self.holes.sweep().map(<[u8]>::to_vec) else { return Ok(false) };
        // All keys have to be at the watermark, so that both sides can be read there.
        let at = self.progress.watermark;
        let apart = !self.progress.chunks.is_empty() || self.is_within_revision();
        if apart || at == 0 || self.holes.is_full() {
            return Ok(false);
        }
        let intervals = self.job.intervals.clone();
        let cursor = self.progress.cursor.clone();
        let is_copied = |start: &[u8]| cursor.as_ref().is_none_or(|cursor| start < &cursor.0[..]);
        let Some((start, end)) = intervals.rest(&from).filter(|(start, _)| is_copied(start)) else {
            self.holes.swept(None, Vec::new());
            return Ok(true);
        };
        let end = cursor.as_ref().map_or(end, |cursor| end.min(&cursor.0[..]));
        let mut request = range(start, end);
        (request.keys_only, request.limit, request.revision) = (true, PAGE, at);
        let (_, ours) = Shard(&self.job.from).page(&request, MAX).await?;
        request.revision = 0;
        let (_, theirs) = Shard(&self.job.to).page(&request, MAX).await?;
        // Where one page ends early, what the other has behind that belongs to the next ones.
        let ends =
            [&ours, &theirs].map(|page| page.kvs.last().filter(|_| page.more).map(|kv| after(&kv.key)));
        let next = ends.into_iter().flatten().min().unwrap_or_else(|| end.to_vec());
        let is_there = |key: &Bytes| theirs.kvs.binary_search_by(|kv| kv.key.cmp(key)).is_ok();
        let compared = ours.kvs.into_iter().map(|kv| kv.key).take_while(|key| key[..] < next[..]);
        let missing = compared.filter(|key| !is_there(key)).collect();
        self.holes.swept(Some(next), missing);
        Ok(true)
    }
}
