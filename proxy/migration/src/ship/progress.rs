//! How far a standby is: stored with every batch, and the rule of what has yet to be applied.

use etcd_prism_ownership::migration::HexKey;
use etcd_prism_ownership::{Stored, ValueError};
use serde::{Deserialize, Serialize};

/// Under `keys::progress`, written in the same transaction as what it speaks of. Raw revisions of the owner; they mean
/// nothing in another reign.
///
/// *Invariant:* for every key below the cursor the standby holds what the owner had at the watermark, or at the revision of
/// the chunk that holds the key if that is higher. At and behind the cursor it holds nothing. While the changes of one
/// revision are applied in several transactions, keys of that revision may be ahead: they are applied again. Keys that ended
/// by themselves on the standby, after it was `looked` there, may be missing: they are put again as they should be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// The owner's reign.
    pub reign: u64,
    /// Everything up to this revision has been applied, as far as its keys have been copied.
    pub watermark: i64,
    /// The first key that is not copied yet; `None`: all are.
    pub cursor: Option<HexKey>,
    /// What was read at a revision above the watermark, in the order of keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunks: Vec<Chunk>,
    /// A revision of the standby's: what ended there by itself until then was put again. 0: not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub looked: i64,
    pub tally: Tally,
    /// The shipper that wrote it, and which of its transactions it was: so it knows its own when an answer was lost.
    pub writer: u64,
    pub batch: u64,
}

/// Keys that were copied at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    pub from: HexKey,
    /// The first key behind it.
    pub to: HexKey,
    pub revision: i64,
}

/// What has been done; for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Keys copied, with the bytes of keys and values.
    pub keys: u64,
    pub bytes: u64,
    /// Changes of the owner applied behind the copy.
    pub events: u64,
    /// Keys written again, because they had ended on the standby by themselves or were found to differ.
    #[serde(default)]
    pub filled: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl Stored for Progress {
    const WHAT: &'static str = "progress of the standby";
    type Body = Self;

    fn to_body(&self) -> Self {
        self.clone()
    }

    fn from_body(body: Self) -> Result<Self, ValueError> {
        Ok(body)
    }
}

impl Progress {
    /// Nothing done yet. `copy`: the first key, if anything is to be copied.
    pub(crate) fn begin(reign: u64, watermark: i64, copy: Option<&[u8]>, writer: u64) -> Self {
        let cursor = copy.map(|first| HexKey(first.to_vec()));
        Self { reign, watermark, cursor, writer, ..Self::default() }
    }

    /// The revision of the owner's that the standby has a key at; `None`: it is not copied yet.
    pub(crate) fn stands_at(&self, key: &[u8]) -> Option<i64> {
        let copied = self.cursor.as_ref().is_none_or(|cursor| key < &cursor.0[..]);
        let at = self.chunks.partition_point(|chunk| &chunk.to.0[..] <= key);
        let chunk = self.chunks.get(at).filter(|chunk| &chunk.from.0[..] <= key);
        copied.then(|| chunk.map_or(self.watermark, |chunk| chunk.revision))
    }

    /// Whether a change of a key at a revision above the watermark has to be applied.
    pub(crate) fn applies(&self, key: &[u8], revision: i64) -> bool {
        self.stands_at(key).is_some_and(|at| revision > at)
    }

    /// The keys from the cursor to `to` were copied at this revision. `done`: no key of the route lies behind.
    pub(crate) fn copied(&mut self, to: &[u8], revision: i64, done: bool) {
        let Some(cursor) = self.cursor.take() else { return };
        if revision > self.watermark && &cursor.0[..] < to {
            match self.chunks.last_mut() {
                Some(last) if last.revision == revision && last.to == cursor => last.to = HexKey(to.to_vec()),
                _ => self.chunks.push(Chunk { from: cursor, to: HexKey(to.to_vec()), revision }),
            }
        }
        if !done {
            self.cursor = Some(HexKey(to.to_vec()));
        }
    }

    /// Everything up to this revision has been applied. Never goes back.
    pub(crate) fn reach(&mut self, revision: i64) {
        self.watermark = self.watermark.max(revision);
        self.chunks.retain(|chunk| chunk.revision > self.watermark);
    }

    /// Whether the standby holds exactly what the owner had at the watermark, but for what ended there by itself.
    pub fn is_whole(&self) -> bool {
        self.cursor.is_none() && self.chunks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn copying() -> Progress {
        Progress::begin(3, 100, Some(b"a"), 7)
    }

    #[test]
    fn what_is_not_copied_yet_is_skipped() {
        let mut progress = copying();
        assert!(!progress.applies(b"a", 101));
        progress.copied(b"m", 100, false);
        assert!(progress.applies(b"l", 101), "read at the watermark: not listed");
        assert!(!progress.applies(b"m", 101) && !progress.applies(b"z", 1000));
        assert!(progress.chunks.is_empty());
    }

    #[test]
    fn what_a_page_has_seen_is_skipped() {
        let mut progress = copying();
        progress.copied(b"c", 105, false);
        progress.copied(b"e", 105, false);
        progress.copied(b"g", 110, false);
        assert_eq!(progress.chunks.len(), 2, "one read at one revision is one chunk");
        for (key, revision, applies) in [
            (b"b", 105, false),
            (b"b", 106, true),
            (b"d", 105, false),
            (b"d", 106, true),
            (b"e", 110, false),
            (b"e", 111, true),
            (b"g", 111, false),
        ] {
            assert_eq!(progress.applies(key, revision), applies, "{key:?} {revision}");
        }
        progress.reach(105);
        assert_eq!(progress.chunks.len(), 1);
        assert!(progress.applies(b"d", 106) && !progress.applies(b"f", 110));
        progress.copied(b"z", 120, true);
        assert!(!progress.is_whole() && progress.cursor.is_none());
        progress.reach(119);
        assert!(!progress.is_whole());
        progress.reach(120);
        assert!(progress.is_whole() && progress.applies(b"zz", 121));
        progress.reach(50);
        assert_eq!(progress.watermark, 120);
    }

    #[test]
    fn it_comes_back() {
        let mut progress = copying();
        progress.copied(b"c\xff", 105, false);
        assert_eq!(Progress::decode(&progress.encode().unwrap()), Ok(progress));
    }

    proptest! {
        /// Whatever pages and events come in whatever order, and whatever is lost on the standby and put again: each change
        /// reaches it once, by a page or as an event.
        #[test]
        fn each_change_arrives_once(
            steps in prop::collection::vec((any::<bool>(), 0u8..8, prop::option::of(0u8..8)), 0..60),
        ) {
            // The owner writes key `k` at each step; pages of two keys are read now and then; events lag behind.
            let mut progress = Progress::begin(1, 0, Some(&[0]), 1);
            let (mut owner, mut standby) = ([0i64; 8], [0i64; 8]);
            let mut log: Vec<(u8, i64)> = Vec::new();
            let mut now = 0;
            let apply = |progress: &mut Progress, standby: &mut [i64; 8], log: &[(u8, i64)]| {
                let Some((key, revision)) = log.iter().find(|(_, r)| *r > progress.watermark).copied() else {
                    return;
                };
                if progress.applies(&[key], revision) {
                    assert!(standby[usize::from(key)] < revision, "applied twice");
                    standby[usize::from(key)] = revision;
                }
                progress.reach(revision);
            };
            for (event, key, lost) in steps {
                now += 1;
                owner[usize::from(key)] = now;
                log.push((key, now));
                if event {
                    apply(&mut progress, &mut standby, &log);
                } else if let Some(HexKey(cursor)) = progress.cursor.clone() {
                    let to = cursor[0] + 2;
                    for key in cursor[0]..to {
                        standby[usize::from(key)] = owner[usize::from(key)];
                    }
                    progress.copied(&[to], now, to == 8);
                }
                // It is read where the standby stands.
                if let Some((key, at)) = lost.and_then(|key| Some((key, progress.stands_at(&[key])?))) {
                    let last = log.iter().rfind(|(k, r)| *k == key && *r <= at);
                    standby[usize::from(key)] = last.map_or(0, |(_, revision)| *revision);
                }
            }
            while progress.watermark < now {
                apply(&mut progress, &mut standby, &log);
            }
            for (key, revision) in owner.iter().enumerate() {
                let copied = progress.cursor.as_ref().is_none_or(|c| key < usize::from(c.0[0]));
                prop_assert_eq!(standby[key], if copied { *revision } else { 0 });
            }
            prop_assert!(progress.chunks.is_empty());
        }
    }
}
