//! Changes of the owner that wait to be applied, and the batches that they are applied in.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use etcd_prism_proto::mvccpb::KeyValue;

use super::Limits;
use super::progress::Progress;

/// What every written key costs beside its bytes: its provenance record, tags and lengths.
const OVERHEAD: usize = 96;

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: Bytes,
    pub(crate) revision: i64,
    /// `None`: deleted.
    pub(crate) put: Option<KeyValue>,
}

impl Change {
    fn cost(&self) -> usize {
        self.put.as_ref().map_or(2 * self.key.len() + OVERHEAD, cost)
    }
}

/// Bytes that a put takes in a transaction: the key is there twice.
pub(crate) fn cost(kv: &KeyValue) -> usize {
    2 * kv.key.len() + kv.value.len() + OVERHEAD
}

/// Whole revisions of the owner, in order.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    queue: VecDeque<Change>,
    /// Everything up to this revision is here, or was.
    complete: i64,
    bytes: usize,
    /// The revision of the last change that was applied.
    applied: i64,
}

/// What one transaction is to apply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The last change of each key.
    pub(crate) changes: Vec<Change>,
    /// How many changes of the queue it covers.
    pub(crate) taken: usize,
    /// What the watermark is once it is applied: never in the middle of a revision.
    pub(crate) watermark: i64,
}

impl Pending {
    pub(crate) fn new(watermark: i64) -> Self {
        Self { complete: watermark, ..Self::default() }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the changes up to a revision. What was there before is left out.
    pub(crate) fn push(&mut self, changes: Vec<Change>, complete: i64) {
        for change in changes {
            if change.revision > self.complete {
                self.bytes += change.cost();
                self.queue.push_back(change);
            }
        }
        self.complete = self.complete.max(complete);
    }

    /// What can be applied next, nothing of it above `last`. A revision that fits into a transaction is not divided.
    pub(crate) fn batch(&self, progress: &Progress, last: i64, limits: &Limits) -> Batch {
        let mut changes = Changes::default();
        let mut taken = 0;
        while let Some(next) = self.queue.get(taken).filter(|next| next.revision <= last) {
            let of_revision = self.queue.iter().skip(taken).take_while(|c| c.revision == next.revision);
            let applies = |change: &&Change| progress.applies(&change.key, change.revision);
            let (len, bytes) = changes.with(of_revision.clone().filter(applies));
            if len <= limits.keys() && bytes <= limits.bytes {
                of_revision.clone().filter(applies).for_each(|change| changes.add(change));
                taken += of_revision.count();
                continue;
            }
            if changes.list.is_empty() {
                for change in of_revision {
                    if applies(&change) {
                        let (len, bytes) = changes.with(std::iter::once(change));
                        let fits = len <= limits.keys() && bytes <= limits.bytes;
                        if !fits && !changes.list.is_empty() {
                            break;
                        }
                        changes.add(change);
                    }
                    taken += 1;
                }
            }
            break;
        }
        let reached = self.queue.get(taken).map_or(self.complete, |next| next.revision - 1);
        Batch { changes: changes.list, taken, watermark: reached.min(last).max(progress.watermark) }
    }

    /// A batch was applied.
    pub(crate) fn drop_first(&mut self, taken: usize) {
        for change in self.queue.drain(..taken.min(self.queue.len())) {
            self.bytes = self.bytes.saturating_sub(change.cost());
            self.applied = change.revision;
        }
    }

    /// Whether a part of a revision was applied, and the rest of it was not.
    pub(crate) fn is_within_revision(&self) -> bool {
        self.queue.front().is_some_and(|next| next.revision == self.applied)
    }
}

/// The last changes of keys.
#[derive(Default)]
struct Changes<'a> {
    list: Vec<Change>,
    places: HashMap<&'a Bytes, usize>,
    bytes: usize,
}

impl<'a> Changes<'a> {
    /// How many keys and bytes it would have with these.
    fn with(&self, more: impl Iterator<Item = &'a Change>) -> (usize, usize) {
        more.fold((self.list.len(), self.bytes), |(len, bytes), change| match self.earlier(change) {
            Some(earlier) => (len, bytes + change.cost().saturating_sub(earlier.cost())),
            None => (len + 1, bytes + change.cost()),
        })
    }

    fn earlier(&self, change: &Change) -> Option<&Change> {
        self.places.get(&change.key).and_then(|at| self.list.get(*at))
    }

    fn add(&mut self, change: &'a Change) {
        match self.places.get(&change.key).and_then(|at| self.list.get_mut(*at)) {
            Some(earlier) => {
                self.bytes = (self.bytes + change.cost()).saturating_sub(earlier.cost());
                *earlier = change.clone();
            }
            None => {
                self.bytes += change.cost();
                self.places.insert(&change.key, self.list.len());
                self.list.push(change.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { ops: 7, bytes: 10_000 };

    fn change(key: &str, revision: i64, value: Option<usize>) -> Change {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let put = value.map(|len| KeyValue {
            key: key.clone(),
            mod_revision: revision,
            value: vec![0; len].into(),
            ..KeyValue::default()
        });
        Change { key, revision, put }
    }

    fn pending(changes: Vec<Change>, complete: i64) -> Pending {
        let mut pending = Pending::new(0);
        pending.push(changes, complete);
        pending
    }

    fn all() -> Progress {
        Progress::begin(1, 0, None, 1)
    }

    fn keys(batch: &Batch) -> Vec<(&[u8], i64)> {
        batch.changes.iter().map(|change| (&change.key[..], change.revision)).collect()
    }

    #[test]
    fn the_last_change_of_a_key_wins() {
        let changes = vec![change("a", 5, Some(1)), change("b", 5, Some(1)), change("a", 6, None)];
        let batch = pending(changes, 9).batch(&all(), i64::MAX, &LIMITS);
        assert_eq!(keys(&batch), [(&b"a"[..], 6), (b"b", 5)]);
        assert_eq!((batch.taken, batch.watermark), (3, 9));
    }

    #[test]
    fn a_batch_ends_with_the_operations() {
        let changes = ["a", "b", "c", "d", "e"].iter().zip(5..).map(|(k, r)| change(k, r, Some(1))).collect();
        let mut pending = pending(changes, 20);
        let batch = pending.batch(&all(), i64::MAX, &LIMITS);
        assert_eq!((batch.changes.len(), batch.taken, batch.watermark), (3, 3, 7));
        pending.drop_first(batch.taken);
        let batch = pending.batch(&all(), i64::MAX, &LIMITS);
        assert_eq!((batch.changes.len(), batch.watermark), (2, 20));
        pending.drop_first(batch.taken);
        assert_eq!(pending.bytes(), 0);
    }

    #[test]
    fn the_watermark_does_not_split_a_revision() {
        let changes = ["a", "b", "c", "d", "e"].iter().map(|k| change(k, 5, None)).collect();
        let mut pending = pending(changes, 5);
        let batch = pending.batch(&all(), i64::MAX, &LIMITS);
        assert_eq!((batch.changes.len(), batch.watermark), (3, 4));
        pending.drop_first(batch.taken);
        assert!(pending.is_within_revision());
        let batch = pending.batch(&all(), i64::MAX, &LIMITS);
        assert_eq!(batch.watermark, 5);
        pending.drop_first(batch.taken);
        assert!(!pending.is_within_revision());
    }

    #[test]
    fn a_revision_that_fits_is_not_divided() {
        let mut changes = vec![change("a", 5, None), change("b", 5, None)];
        changes.extend(["c", "d", "e"].map(|key| change(key, 6, None)));
        let mut pending = pending(changes, 6);
        let batch = pending.batch(&all(), i64::MAX, &LIMITS);
        assert_eq!((batch.changes.len(), batch.taken, batch.watermark), (2, 2, 5));
        pending.drop_first(batch.taken);
        let batch = pending.batch(&all(), i64::MAX, &LIMITS);
        assert_eq!((batch.changes.len(), batch.watermark), (3, 6));
    }

    #[test]
    fn a_batch_ends_with_the_bytes_but_takes_one_change_however_large() {
        let changes =
            vec![change("a", 5, Some(20_000)), change("b", 6, Some(9_000)), change("c", 7, Some(9_000))];
        let mut pending = pending(changes, 7);
        for (key, watermark) in [(b"a", 5), (b"b", 6), (b"c", 7)] {
            let batch = pending.batch(&all(), i64::MAX, &LIMITS);
            assert_eq!((keys(&batch), batch.watermark), (vec![(&key[..], watermark)], watermark));
            pending.drop_first(batch.taken);
        }
    }

    #[test]
    fn a_larger_change_of_the_same_key_waits_for_the_next_batch() {
        let changes = vec![change("a", 5, Some(1)), change("b", 6, Some(1)), change("a", 7, Some(20_000))];
        let batch = pending(changes, 7).batch(&all(), i64::MAX, &LIMITS);
        assert_eq!((keys(&batch), batch.watermark), (vec![(&b"a"[..], 5), (b"b", 6)], 6));
    }

    #[test]
    fn nothing_above_the_bound() {
        let changes = vec![change("a", 5, Some(1)), change("b", 8, Some(1))];
        let pending = pending(changes, 9);
        let batch = pending.batch(&all(), 7, &LIMITS);
        assert_eq!((keys(&batch), batch.watermark), (vec![(&b"a"[..], 5)], 7));
        assert_eq!(pending.batch(&all(), 4, &LIMITS).watermark, 4);
        // The progress of an idle route reaches the bound and goes no further.
        assert_eq!(Pending::new(9).batch(&all(), 7, &LIMITS).watermark, 7);
    }

    #[test]
    fn what_is_not_copied_moves_the_watermark_only() {
        let progress = Progress::begin(1, 0, Some(b"b"), 1);
        let changes = (1..=50).map(|revision| change("c", revision, Some(1))).collect();
        let batch = pending(changes, 50).batch(&progress, i64::MAX, &LIMITS);
        assert_eq!((batch.changes.len(), batch.taken, batch.watermark), (0, 50, 50));
    }

    #[test]
    fn what_comes_again_is_left_out() {
        let mut pending = pending(vec![change("a", 5, Some(1))], 6);
        pending.push(vec![change("a", 5, Some(1)), change("b", 7, None)], 7);
        assert_eq!(pending.batch(&all(), i64::MAX, &LIMITS).taken, 2);
        pending.push(Vec::new(), 3);
        assert_eq!(pending.complete, 7);
    }
}
