//! A route's virtual line: its reigns, and the way between virtual and raw revisions.

use serde::{Deserialize, Serialize};

use crate::id::ShardUid;
use crate::value::ReignRecord;

/// A span of a route's line that one shard serves: `virtual = raw + offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reign {
    pub n: u64,
    pub shard: ShardUid,
    /// The last virtual revision before this reign (G).
    pub after: i64,
    /// The first raw revision that may be shown (F), as of the reign's record. Where nothing ruled before,
    /// everything that the shard holds is the route's, from raw revision 1 on.
    pub raw_start: i64,
}

impl Reign {
    /// From its record and the record's mod revision.
    pub fn new(record: &ReignRecord, mod_revision: i64) -> Self {
        let raw_start = if record.after == 0 { 1 } else { record.raw_start(mod_revision) };
        Self { n: record.n, shard: record.shard, after: record.after, raw_start }
    }

    /// What is added to a raw revision. Never negative: where the raw line is ahead of the virtual one, the virtual one
    /// jumps up to it.
    pub fn offset(&self) -> i64 {
        (self.after.saturating_add(1).saturating_sub(self.raw_start)).max(0)
    }
}

/// A virtual revision, found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// On this shard, at this raw revision. It is in the future if it is above the shard's present one.
    Raw { shard: ShardUid, n: u64, raw: i64 },
    /// Below the first reign that is known: compacted.
    Compacted,
}

/// Why reigns make no timeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TimelineError {
    #[error("there are no reigns")]
    Empty,
    #[error("reign {0} begins at raw revision {1}")]
    Start(u64, i64),
    #[error("reign {0} is followed by reign {1}")]
    Gap(u64, u64),
    #[error("reign {0} ends before it begins")]
    Order(u64),
    #[error("reign {0} begins on its shard before an earlier one there has ended")]
    Overlap(u64),
}

/// A raw revision that lies in no reign of its shard: a bug, or a shard that others wrote to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("raw revision {raw} of shard {shard} lies in no reign of the route")]
pub struct Outside {
    shard: ShardUid,
    raw: i64,
}

/// A route's reigns, oldest first; the last is the present one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Timeline {
    reigns: Box<[Reign]>,
}

impl Timeline {
    /// # Errors
    /// The reigns do not follow each other.
    pub fn new(reigns: Vec<Reign>) -> Result<Self, TimelineError> {
        if reigns.is_empty() {
            return Err(TimelineError::Empty);
        }
        for (i, reign) in reigns.iter().enumerate() {
            if reign.raw_start < 1 || reign.after < 0 {
                return Err(TimelineError::Start(reign.n, reign.raw_start));
            }
            let Some(next) = reigns.get(i + 1) else { break };
            if reign.n.checked_add(1) != Some(next.n) {
                return Err(TimelineError::Gap(reign.n, next.n));
            }
            // A reign shows at least the revision that it begins with.
            if next.after < reign.raw_start.saturating_add(reign.offset()) {
                return Err(TimelineError::Order(reign.n));
            }
            let raw_end = next.after - reign.offset();
            if reigns[i + 1..].iter().any(|r| r.shard == reign.shard && r.raw_start <= raw_end) {
                return Err(TimelineError::Overlap(next.n));
            }
        }
        Ok(Self { reigns: reigns.into() })
    }

    /// Oldest first.
    pub fn reigns(&self) -> &[Reign] {
        &self.reigns
    }

    /// Whether virtual and raw revisions are the same, so that bytes pass through: one reign, from the beginning.
    #[inline]
    pub fn is_identity(&self) -> bool {
        matches!(&*self.reigns, [only] if only.raw_start == 1 && only.after == 0)
    }

    /// The virtual revision of a raw one; 0 (never written) stays 0.
    ///
    /// # Errors
    /// The raw revision lies in no reign of that shard.
    pub fn up(&self, shard: ShardUid, raw: i64) -> Result<i64, Outside> {
        if raw == 0 {
            return Ok(0);
        }
        let mut spans =
            self.reigns.iter().enumerate().filter(|(_, r)| r.shard == shard && raw >= r.raw_start);
        // Spans of one shard do not overlap: only the last that begins early enough can hold it.
        let last = spans.next_back().filter(|(i, reign)| match self.reigns.get(i + 1) {
            Some(next) => raw <= next.after - reign.offset(),
            None => true,
        });
        last.and_then(|(_, reign)| raw.checked_add(reign.offset())).ok_or(Outside { shard, raw })
    }

    /// Where a virtual revision is; 0 (the present) is 0 on the present shard.
    pub fn down(&self, revision: i64) -> Down {
        let Some(present) = self.reigns.last() else { return Down::Compacted };
        if revision == 0 {
            return Down::Raw { shard: present.shard, n: present.n, raw: 0 };
        }
        let Some(reign) = self.reigns.iter().rev().find(|r| revision > r.after) else {
            return Down::Compacted;
        };
        // Between G and the first raw revision lies what was copied, half of it perhaps: never shown.
        let raw = (revision - reign.offset()).max(reign.raw_start);
        Down::Raw { shard: reign.shard, n: reign.n, raw }
    }
}

#[cfg(test)]
mod tests;
