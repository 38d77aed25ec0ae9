//! The copy, page after page.

use std::time::Duration;

use bytes::Bytes;
use etcd_prism_ownership::migration::Bound;
use etcd_prism_ownership::value::ProvenanceRecord;
use etcd_prism_proto::etcdserverpb::RangeResponse;
use etcd_prism_proto::mvccpb::KeyValue;
use etcd_prism_upstream::reply::MAX_REPLY;
use tokio::time::Instant;

use super::applier::Applier;
use super::commit::{Committed, Write, Writes};
use super::intervals::{after, range};
use super::io::{Shard, is_too_long};
use super::pending::cost;
use super::{Limits, ShipError};

/// Pages whose changes the log has not reached yet: what is stored with each batch stays small.
const MAX_CHUNKS: usize = 32;

impl Applier {
    pub(super) fn must_wait_for_log(&self) -> bool {
        self.progress.chunks.len() >= MAX_CHUNKS
    }

    /// Copies one page, if it is time for one. Whether there was something to do.
    pub(super) async fn copy(&mut self) -> Result<bool, ShipError> {
        let Some(cursor) = self.progress.cursor.clone() else { return Ok(false) };
        let waits = self.must_wait_for_log() || self.holes.sweep().is_some();
        if self.bound != Bound::None || waits || self.pace.next() > Instant::now() {
            return Ok(false);
        }
        let intervals = self.job.intervals.clone();
        let Some((start, end)) = intervals.rest(&cursor.0) else {
            // Only a progress that nobody has written says so.
            self.finish_page(&[], &[], intervals.hull().1.to_vec(), self.progress.watermark, true).await?;
            return Ok(true);
        };
        let Some((revision, page)) = self.read_page(start, end).await? else { return Ok(true) };
        if revision < self.progress.watermark {
            return Err(Shard(&self.job.from).bad("it answered with an old state").into());
        }
        let records = self.numbers().of(&page.kvs).await?;
        let (to, done) = match page.kvs.last() {
            Some(last) if page.more => (after(&last.key), false),
            _ => (end.to_vec(), intervals.rest(end).is_none()),
        };
        self.finish_page(&page.kvs, &records, to, revision, done).await?;
        Ok(true)
    }

    /// A page at the owner's present revision; `None`: it was too long, the next one is shorter.
    async fn read_page(
        &mut self,
        start: &[u8],
        end: &[u8],
    ) -> Result<Option<(i64, RangeResponse)>, ShipError> {
        let mut request = range(start, end);
        request.limit = self.page_size.limit();
        let sent = Instant::now();
        let found = match Shard(&self.job.from).page(&request, self.page_size.max()).await {
            Err(error) if request.limit > 1 && is_too_long(&error) => {
                self.page_size.was_too_long();
                return Ok(None);
            }
            found => found?,
        };
        self.pace.took(&self.job.from.shard().name, sent.elapsed());
        self.page_size
            .saw(found.1.kvs.len(), found.1.kvs.iter().map(|kv| kv.value.len() + kv.key.len()).sum());
        Ok(Some(found))
    }

    /// Puts what was read at `revision` up to the key `to`. What a new order cuts off is read again later: nothing else may be
    /// applied between the reading of a page and its last put.
    async fn finish_page(
        &mut self,
        kvs: &[KeyValue],
        records: &[ProvenanceRecord],
        to: Vec<u8>,
        revision: i64,
        done: bool,
    ) -> Result<(), ShipError> {
        let mut rest = kvs;
        let mut records = records;
        loop {
            let now = fitting(rest, &self.limits);
            let (kvs_now, later) = rest.split_at(now);
            let (records_now, records_later) = records.split_at(now.min(records.len()));
            let is_last = later.is_empty();
            let put =
                |(kv, record): (&KeyValue, &ProvenanceRecord)| Write::Put { kv: kv.clone(), record: *record };
            let writes = kvs_now.iter().zip(records_now).map(put).collect();
            let (keys, bytes) = (kvs_now.len() as u64, kvs_now.iter().map(bytes_of).sum());
            let mut progress = self.progress.clone();
            match kvs_now.last() {
                Some(last) if !is_last => progress.copied(&after(&last.key), revision, false),
                _ => progress.copied(&to, revision, done),
            }
            progress.tally.keys += keys;
            progress.tally.bytes += bytes;
            match self.commit(&Writes { writes, unmoved: Vec::new() }, progress).await? {
                Committed::At(_) => {}
                Committed::Moved => {
                    return Err(Shard(&self.job.to).bad("it decided without a reason").into());
                }
                Committed::Unfit(status) => return self.shrink(now, first_key(kvs_now), status),
            }
            self.copied += keys;
            self.pace.spent(keys, bytes);
            if is_last || self.is_bound() {
                return Ok(());
            }
            (rest, records) = (later, records_later);
        }
    }
}

fn first_key(kvs: &[KeyValue]) -> Option<&Bytes> {
    kvs.first().map(|kv| &kv.key)
}

fn bytes_of(kv: &KeyValue) -> u64 {
    (kv.key.len() + kv.value.len()) as u64
}

/// How many of the keys fit into one transaction. One does, however large.
fn fitting(kvs: &[KeyValue], limits: &Limits) -> usize {
    let mut bytes = 0;
    let fits = |kv: &&KeyValue| {
        bytes += cost(kv);
        bytes <= limits.bytes
    };
    let fitting = kvs.iter().take(limits.keys()).take_while(fits).count();
    fitting.max(1).min(kvs.len())
}

/// How many keys are read at once: few bytes, whatever the size of the values.
#[derive(Debug)]
pub(crate) struct PageSize {
    limit: usize,
}

/// What a page should have, in bytes.
const AIM: usize = 512 << 10;
/// What it may have.
const MAX: usize = 16 << 20;
const FIRST: usize = 10;
const MOST: usize = 4096;

impl Default for PageSize {
    fn default() -> Self {
        Self { limit: FIRST }
    }
}

impl PageSize {
    pub(crate) fn limit(&self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX)
    }

    /// The longest reply that is taken, in bytes. A single key is taken however large it is.
    pub(crate) fn max(&self) -> usize {
        if self.limit == 1 { MAX_REPLY } else { MAX }
    }

    pub(crate) fn was_too_long(&mut self) {
        self.limit = (self.limit / 8).max(1);
    }

    /// A page of so many keys had so many bytes. Grows slowly: the next keys may be much larger.
    pub(crate) fn saw(&mut self, keys: usize, bytes: usize) {
        if let Some(size) = bytes.checked_div(keys) {
            let fitting = AIM / size.max(1);
            self.limit = fitting.min(self.limit * 4).clamp(1, MOST);
        }
    }
}

/// Longest wait of a comparison or a purge between two attempts.
pub(super) const MAX_BACKOFF: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(len: usize) -> KeyValue {
        KeyValue { key: b"k".to_vec().into(), value: vec![0; len].into(), ..KeyValue::default() }
    }

    #[test]
    fn pages_follow_the_size_of_values() {
        let mut size = PageSize::default();
        assert_eq!(size.limit(), 10);
        size.saw(10, 1000);
        size.saw(40, 4000);
        assert_eq!(size.limit(), 160);
        for _ in 0..5 {
            size.saw(100, 10_000);
        }
        assert_eq!(size.limit(), 4096);
        size.was_too_long();
        assert_eq!(size.limit(), 512);
        size.saw(4, 6 << 20);
        assert_eq!((size.limit(), size.max()), (1, MAX_REPLY));
        size.saw(1, 100);
        assert_eq!((size.limit(), size.max()), (4, MAX));
    }

    #[test]
    fn a_page_is_cut_to_transactions() {
        let limits = Limits { ops: 7, bytes: 1000 };
        assert_eq!(fitting(&vec![kv(1); 9], &limits), 3, "operations");
        assert_eq!(fitting(&[kv(300), kv(300), kv(300)], &limits), 2, "bytes");
        assert_eq!(fitting(&[kv(5000), kv(1)], &limits), 1, "one at least");
        assert_eq!(fitting(&[], &limits), 0);
    }
}
