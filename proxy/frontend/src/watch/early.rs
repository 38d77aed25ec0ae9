//! Events that come before their watcher may be told of: a watcher over several shards begins when all of them have
//! created it.

use bytes::Bytes;
use etcd_prism_routing::ShardId;

/// Most bytes kept.
const MAX_BYTES: usize = 1 << 20;

/// A response, or with `more` a part of one whose rest is to come.
#[derive(Debug)]
pub(super) struct Part {
    pub shard: ShardId,
    pub frame: Bytes,
    pub more: bool,
}

/// What is kept back, in the order in which it came.
#[derive(Debug, Default)]
pub(super) struct Early {
    parts: Vec<Part>,
    bytes: usize,
}

impl Early {
    /// Keeps a part. False if there are too many.
    pub(super) fn keep(&mut self, part: Part) -> bool {
        self.bytes += part.frame.len();
        self.parts.push(part);
        self.bytes <= MAX_BYTES
    }

    /// Whether a part of a response of the shard's is kept whose end is not.
    pub(super) fn has_part_of(&self, shard: ShardId) -> bool {
        self.parts.iter().rev().find(|p| p.shard == shard).is_some_and(|p| p.more)
    }

    /// Drops the beginning of a response whose rest will not come: the shard sends it again, whole.
    pub(super) fn forget_part_of(&mut self, shard: ShardId) {
        while let Some(last) = self.parts.iter().rposition(|p| p.shard == shard)
            && self.parts[last].more
        {
            self.bytes -= self.parts.remove(last).frame.len();
        }
    }

    pub(super) fn into_parts(self) -> Vec<Part> {
        self.parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_that_was_cut_off_is_forgotten_from_its_beginning() {
        let mut early = Early::default();
        let parts = [
            (0, "a1", true),
            (1, "b1", true),
            (0, "a2", false),
            (0, "a3", true),
            (1, "b2", true),
            (0, "a4", true),
        ];
        for (shard, text, more) in parts {
            let frame = Bytes::from_static(text.as_bytes());
            assert!(early.keep(Part { shard: ShardId(shard), frame, more }));
        }
        assert!(early.has_part_of(ShardId(0)) && early.has_part_of(ShardId(1)));
        early.forget_part_of(ShardId(0));
        assert!(!early.has_part_of(ShardId(0)) && early.has_part_of(ShardId(1)));
        let left: Vec<Bytes> = early.into_parts().into_iter().map(|p| p.frame).collect();
        assert_eq!(left, ["a1", "b1", "a2", "b2"]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut early = Early::default();
        let part = |more| Part { shard: ShardId(0), frame: vec![0; MAX_BYTES].into(), more };
        assert!(early.keep(part(true)));
        early.forget_part_of(ShardId(0));
        assert!(early.keep(part(false)));
        assert!(!early.keep(part(false)));
    }
}
