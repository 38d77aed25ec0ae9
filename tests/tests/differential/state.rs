//! What a run knows about both sides: how revisions and lease ids correspond.

use std::collections::{BTreeMap, BTreeSet};

use etcd_prism_tests::layout::Layout;

use crate::revisions::RevisionMap;

/// Revisions from here on are in nobody's past: they stand for themselves on both sides.
pub(crate) const FUTURE: i64 = 1 << 40;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) layout: Layout,
    // By shard: routes of one shard share its line.
    lines: BTreeMap<&'static str, RevisionMap>,
    // The reference's lease ids, with the subject's.
    leases: BTreeMap<i64, i64>,
    // One for each side, from its first reply.
    clusters: [Option<u64>; 2],
    /// The reference's compact revision; 0 before the first compaction.
    pub(crate) compacted: i64,
    // The subject's compact revisions, by shard: each shard is compacted at a revision of its own.
    compacted_shards: BTreeMap<&'static str, i64>,
}

impl State {
    pub(crate) fn new(layout: Layout) -> Self {
        let lines = layout.shards().into_iter().map(|shard| (shard, RevisionMap::default())).collect();
        Self {
            layout,
            lines,
            leases: BTreeMap::new(),
            clusters: [None, None],
            compacted: 0,
            compacted_shards: BTreeMap::new(),
        }
    }

    /// The line of revisions of `route`.
    pub(crate) fn revisions(&self, route: &str) -> &RevisionMap {
        &self.lines[self.layout.shard_of(route)]
    }

    pub(crate) fn observe_write(&mut self, route: &str, reference: i64, subject: i64) -> Result<(), String> {
        self.line(route).observe_write(reference, subject).map_err(|error| format!("route {route}: {error}"))
    }

    pub(crate) fn observe_header(&mut self, route: &str, reference: i64, subject: i64) -> Result<(), String> {
        self.line(route).observe_header(reference, subject).map_err(|error| format!("route {route}: {error}"))
    }

    fn line(&mut self, route: &str) -> &mut RevisionMap {
        let shard = self.layout.shard_of(route);
        self.lines.get_mut(shard).expect("a shard of the layout")
    }

    /// The subject's revision for one of the reference's, in the line of `routes` (which share a shard). Numbers that no
    /// write or read has shown stand for themselves.
    pub(crate) fn translate(&self, routes: &BTreeSet<&'static str>, reference: i64) -> i64 {
        let find = || routes.iter().find_map(|route| self.revisions(route).translate(reference));
        if reference <= 0 || reference >= FUTURE { reference } else { find().unwrap_or(reference) }
    }

    /// The same for the start revision of a watch.
    pub(crate) fn translate_start(&self, routes: &BTreeSet<&'static str>, reference: i64) -> i64 {
        let find = || routes.iter().find_map(|route| self.revisions(route).translate_start(reference));
        if reference <= 0 || reference >= FUTURE { reference } else { find().unwrap_or(reference) }
    }

    /// Two ids for one lease: agreed on from the first time that they are seen together.
    pub(crate) fn observe_lease(&mut self, reference: i64, subject: i64) -> Result<(), String> {
        if reference == 0 || subject == 0 {
            return if reference == subject {
                Ok(())
            } else {
                Err(format!("lease {reference} became {subject}"))
            };
        }
        let known = *self.leases.entry(reference).or_insert(subject);
        if known == subject { Ok(()) } else { Err(format!("lease {reference} was {known} and is {subject}")) }
    }

    /// The subject's id for one of the reference's; an id that the run made up itself stands for itself.
    pub(crate) fn translate_lease(&self, reference: i64) -> i64 {
        self.leases.get(&reference).copied().unwrap_or(reference)
    }

    /// A cluster id must be set, and the same in every reply of a side.
    pub(crate) fn observe_clusters(&mut self, ids: [u64; 2]) -> Result<(), String> {
        for (known, id) in self.clusters.iter_mut().zip(ids) {
            let first = *known.get_or_insert(id);
            if id == 0 || id != first {
                return Err(format!("cluster id {id:x} after {first:x}"));
            }
        }
        Ok(())
    }

    /// After a compaction at `reference`: reads below it are not looked at any more.
    pub(crate) fn compact(&mut self, reference: i64) {
        self.compacted = reference;
        for map in self.lines.values_mut() {
            map.forget_below(reference);
        }
    }

    /// The subject has compacted the shard of `route` at `subject`, which must not reach what the reference still has.
    pub(crate) fn compact_shard(&mut self, route: &str, subject: i64) -> Result<(), String> {
        let kept = self.revisions(route).writes().find(|revision| *revision >= self.compacted);
        let kept = kept.and_then(|revision| self.revisions(route).translate(revision));
        if kept.is_some_and(|kept| kept < subject) {
            return Err(format!(
                "route {route} is compacted at {subject}, but its revision {kept:?} must be kept"
            ));
        }
        self.compacted_shards.insert(self.layout.shard_of(route), subject);
        Ok(())
    }

    /// The subject's compact revision of `route`, as far as it is known.
    pub(crate) fn compacted_shard(&self, route: &str) -> i64 {
        self.compacted_shards.get(self.layout.shard_of(route)).copied().unwrap_or(0)
    }
}
