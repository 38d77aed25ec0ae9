//! Keys that ended by themselves on the standby: their lease could not be renewed there in time, or nobody drove.
//!
//! Every delete on the standby that is not the shipper's own is noted, and what is noted is looked at: a key that is missing
//! is put again as the owner had it at the state that the standby is at. Whatever is noted by mistake does no harm.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::pending::Change;
use super::progress::Progress;

/// Keys that are noted; the watch is not read beyond it, but for what one message brings.
const MOST: usize = 10_000;
/// Own deletes that the watch has not told yet. Those that are forgotten are looked at like others.
const OWN: usize = 100_000;
/// What ends on both shards has mostly been shipped by then.
const DELAY: Duration = Duration::from_millis(250);

/// What is known of them.
#[derive(Debug, Default)]
pub(crate) struct Holes {
    noted: BTreeMap<Bytes, Hole>,
    /// Deletes on the standby are noted up to this revision of the standby's.
    seen: i64,
    /// The revisions of this shipper's own deletes behind that.
    own: BTreeSet<i64>,
    /// All keys have to be compared, from this one on: what ended before the watch began is not known otherwise.
    sweep: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
struct Hole {
    /// The revision of the standby's at which it ended, or an earlier one.
    since: i64,
    due: Instant,
    /// To be written anew, whether it is there or not.
    forced: bool,
}

impl Holes {
    /// A watch begins behind this revision of the standby's. What was noted stays.
    pub(crate) fn begin(&mut self, seen: i64) {
        self.seen = seen;
    }

    /// The same, where it is not known what ended before: all keys are compared, from the first one on.
    pub(crate) fn begin_with_all(&mut self, seen: i64, first: &[u8]) {
        self.begin(seen);
        self.sweep = Some(first.to_vec());
    }

    /// The next key that has to be compared; `None`: all were.
    pub(crate) fn sweep(&self) -> Option<&[u8]> {
        self.sweep.as_deref()
    }

    /// All keys before `next` were compared, and these are missing. `None`: there are no others.
    pub(crate) fn swept(&mut self, next: Option<Vec<u8>>, missing: Vec<Bytes>) {
        for key in missing {
            self.add(key, 0, Duration::ZERO, false);
        }
        self.sweep = next;
    }

    /// This shipper has deleted something at this revision.
    pub(crate) fn deleted(&mut self, revision: i64) {
        if revision > self.seen {
            self.own.insert(revision);
        }
        if self.own.len() > OWN {
            self.own.pop_first();
        }
    }

    /// What the watch has told, and how far it is.
    pub(crate) fn note(&mut self, changes: Vec<Change>, seen: i64, progress: &Progress) {
        for change in changes {
            let foreign = !self.own.contains(&change.revision);
            if foreign && change.put.is_none() && progress.stands_at(&change.key).is_some() {
                self.add(change.key, change.revision, DELAY, false);
            }
        }
        self.seen = self.seen.max(seen);
        self.own = self.own.split_off(&self.seen.saturating_add(1));
    }

    /// The key is to be written anew as the owner has it.
    pub(crate) fn force(&mut self, key: Bytes) {
        self.add(key, 0, Duration::ZERO, true);
    }

    fn add(&mut self, key: Bytes, since: i64, delay: Duration, forced: bool) {
        let due = Instant::now() + delay;
        let hole = self.noted.entry(key).or_insert(Hole { since, due, forced });
        hole.since = hole.since.min(since);
        hole.due = hole.due.min(due);
        hole.forced |= forced;
    }

    pub(crate) fn is_forced(&self, key: &Bytes) -> bool {
        self.noted.get(key).is_some_and(|hole| hole.forced)
    }

    /// The standby has the key as it should.
    pub(crate) fn forget(&mut self, key: &Bytes) {
        self.noted.remove(key);
    }

    /// Whether nothing is known to be missing, or not known to be there.
    pub(crate) fn is_empty(&self) -> bool {
        self.noted.is_empty() && self.sweep.is_none()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.noted.len() >= MOST
    }

    pub(crate) fn len(&self) -> usize {
        self.noted.len()
    }

    /// Deletes on the standby are noted up to this revision of the standby's.
    pub(crate) fn seen(&self) -> i64 {
        self.seen
    }

    /// As [`Progress::looked`].
    pub(crate) fn looked(&self) -> i64 {
        // A forced one may have been deleted to be put again: whoever goes on has to find it.
        if self.sweep.is_some() || self.noted.values().any(|hole| hole.forced) {
            return 0;
        }
        let first = self.noted.values().map(|hole| hole.since - 1).min();
        first.map_or(self.seen, |first| first.min(self.seen)).max(0)
    }

    /// Some keys that are to be looked at now, and the revision of the owner's that the standby has them at.
    pub(crate) fn due(&self, progress: &Progress, most: usize, at_once: bool) -> Option<(i64, Vec<Bytes>)> {
        let now = Instant::now();
        let due = self.noted.iter().filter(|(_, hole)| at_once || hole.due <= now);
        let mut due = due.filter_map(|(key, _)| Some((progress.stands_at(key)?, key)));
        let (at, first) = due.next()?;
        let others = due.filter(|(other, _)| *other == at).map(|(_, key)| key);
        Some((at, std::iter::once(first).chain(others).take(most).cloned().collect()))
    }
}

#[cfg(test)]
mod tests;
