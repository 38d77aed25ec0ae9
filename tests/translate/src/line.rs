//! One reign of the route, as the translation asks for it.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use etcd_prism_ownership::timeline::{self, Reign, Timeline};
use etcd_prism_wire::translate::{Down, Line, Lookup, Outside};

use crate::Rules;

pub struct ReignLine<'a> {
    pub timeline: &'a Timeline,
    pub reign: Reign,
    pub provenance: &'a HashMap<String, Lookup>,
    pub rules: Rules,
}

impl ReignLine<'_> {
    fn next(&self) -> Option<&Reign> {
        self.timeline.reigns().iter().find(|reign| reign.n == self.reign.n + 1)
    }
}

impl Line for ReignLine<'_> {
    fn span(&self) -> RangeInclusive<i64> {
        let last = self.next().map_or(i64::MAX, |next| next.after - self.reign.offset());
        self.reign.raw_start..=last
    }

    fn up(&self, raw: i64) -> Result<i64, Outside> {
        if !self.rules.span_by_shard {
            return Ok(raw + self.reign.offset());
        }
        self.timeline.up(self.reign.shard, raw).map_err(|_| Outside { raw })
    }

    fn down(&self, revision: i64) -> Down {
        match self.timeline.down(revision) {
            timeline::Down::Raw { n, raw, .. } if n == self.reign.n => {
                let unclamped = revision - self.reign.offset();
                Down::Raw(if self.rules.gap_is_clamped { raw } else { unclamped })
            }
            timeline::Down::Raw { .. } => Down::Elsewhere,
            timeline::Down::Compacted => Down::Compacted,
        }
    }

    fn provenance(&self, key: &[u8]) -> Lookup {
        let key = std::str::from_utf8(key).unwrap_or_default();
        self.provenance.get(key).copied().unwrap_or(Lookup::Unread)
    }
}
