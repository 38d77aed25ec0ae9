//! The line of revisions of a route that was moved.

use std::ops::RangeInclusive;

use etcd_prism_ownership::timeline::{self, Reign, Timeline};
use etcd_prism_routing::ShardId;
use etcd_prism_wire::translate::{Down, Line, Lookup, Outside};

/// A route's reigns, oldest first, with the shards that they are read on. Immutable; a switch makes another.
///
/// *Invariant:* there are two reigns or more. A route that was never moved has no line: its revisions are its shard's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteLine {
    timeline: Timeline,
    /// By reign; `None` where the shard is not configured any more, or what it had of the route is gone.
    shards: Box<[Option<ShardId>]>,
    /// Nothing at or below this virtual revision can be read.
    floor: i64,
}

/// Where a virtual revision is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// The index of the reign.
    pub reign: usize,
    pub shard: ShardId,
    /// Never below the reign's first. In the present reign it may be above the shard's present revision.
    pub raw: i64,
}

impl RouteLine {
    /// `shards` by reign; what cannot be read any more is at or below `floor`.
    pub fn new(timeline: Timeline, shards: Vec<Option<ShardId>>, floor: i64) -> Self {
        // What is older than a reign that cannot be read is not read either.
        let gone = shards.iter().rposition(Option::is_none);
        let behind = gone.and_then(|i| timeline.reigns().get(i + 1)).map_or(0, |next| next.after);
        Self { timeline, shards: shards.into(), floor: floor.max(behind) }
    }

    /// What lies at or below it is answered as compacted.
    pub fn floor(&self) -> i64 {
        self.floor
    }

    /// The index of the reign that takes writes.
    pub fn present(&self) -> usize {
        self.timeline.reigns().len() - 1
    }

    pub fn reign(&self, at: usize) -> Option<&Reign> {
        self.timeline.reigns().get(at)
    }

    pub fn shard(&self, at: usize) -> Option<ShardId> {
        self.shards.get(at).copied().flatten()
    }

    /// The index of the reign with this number.
    pub fn index(&self, n: u64) -> Option<usize> {
        self.timeline.reigns().iter().position(|reign| reign.n == n)
    }

    /// Where a virtual revision above 0 is read; `None`: compacted.
    pub fn find(&self, revision: i64) -> Option<At> {
        if revision <= self.floor {
            return None;
        }
        match self.timeline.down(revision) {
            timeline::Down::Raw { n, raw, .. } => {
                let reign = self.index(n)?;
                Some(At { reign, shard: self.shard(reign)?, raw })
            }
            timeline::Down::Compacted => None,
        }
    }

    /// The last virtual revision of a reign (G); `None`: it is the present one.
    pub fn last(&self, at: usize) -> Option<i64> {
        self.reign(at + 1).map(|next| next.after)
    }

    /// A reign as the translation of requests and replies needs it.
    pub fn in_reign<P: Fn(&[u8]) -> Lookup>(&self, at: usize, provenance: P) -> Option<ReignLine<'_, P>> {
        let reign = *self.reign(at)?;
        Some(ReignLine { timeline: &self.timeline, reign, last: self.last(at), provenance })
    }
}

/// One reign of a route's line.
#[derive(Debug)]
pub struct ReignLine<'l, P> {
    timeline: &'l Timeline,
    reign: Reign,
    /// Virtual.
    last: Option<i64>,
    provenance: P,
}

impl<P: Fn(&[u8]) -> Lookup> Line for ReignLine<'_, P> {
    fn span(&self) -> RangeInclusive<i64> {
        self.reign.raw_start..=self.last.map_or(i64::MAX, |last| last.saturating_sub(self.reign.offset()))
    }

    fn up(&self, raw: i64) -> Result<i64, Outside> {
        self.timeline.up(self.reign.shard, raw).map_err(|_| Outside { raw })
    }

    fn down(&self, revision: i64) -> Down {
        match self.timeline.down(revision) {
            timeline::Down::Raw { n, raw, .. } if n == self.reign.n => Down::Raw(raw),
            timeline::Down::Raw { .. } => Down::Elsewhere,
            timeline::Down::Compacted => Down::Compacted,
        }
    }

    fn provenance(&self, key: &[u8]) -> Lookup {
        (self.provenance)(key)
    }
}
