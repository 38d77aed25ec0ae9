//! Which fences a change concerns, and which keys change shards.

use std::collections::{BTreeMap, BTreeSet};

use crate::definition::{DefinitionHash, Diff, Interval, Layout, Moved, Place, RouteChange};
use crate::id::ShardUid;

/// A fence that the change concerns.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct At {
    pub route: String,
    pub shard: ShardUid,
    /// What the route owns: now, where it is sealed; then, where it begins.
    pub definition: DefinitionHash,
}

/// What a change does to fences and keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Plan {
    pub diff: Diff,
    /// Open now, with the present definition: to be sealed.
    pub seals: BTreeSet<At>,
    /// Where a route begins.
    pub begins: BTreeSet<At>,
    /// Where a route stays and owns other keys then.
    pub stays: BTreeSet<At>,
}

impl Plan {
    pub fn new(from: &Layout, to: &Layout) -> Self {
        let diff = Diff::new(from, to);
        let (mut seals, mut begins, mut stays) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let at = |layout: &Layout, name: &str| {
            let route = layout.route(name)?;
            Some(At { route: name.to_owned(), shard: route.shard, definition: route.definition.hash() })
        };
        for change in &diff.routes {
            let name = change.route();
            seals.extend(at(from, name));
            match change {
                RouteChange::Changed { from, to: here, .. } if from.shard == here.shard => {
                    stays.extend(at(to, name));
                }
                _ => begins.extend(at(to, name)),
            }
        }
        Self { diff, seals, begins, stays }
    }

    /// By shard, the intervals of which no key may exist there: those that leave it or come to it.
    pub fn crossing(&self) -> BTreeMap<ShardUid, Vec<Interval>> {
        let mut out: BTreeMap<ShardUid, Vec<Interval>> = BTreeMap::new();
        for moved in self.diff.moved.iter().filter(|m| m.changes_shard()) {
            for shard in [moved.from.shard, moved.to.shard] {
                out.entry(shard).or_default().push(moved.interval.clone());
            }
        }
        out
    }

    /// By route that gets keys, the floor that its reign needs: whoever watched these keys on another shard, up to `seen`
    /// there, has to list again, and so has whoever had to before. A route that stays is not in it if its floor, as given
    /// by `floor`, is high enough: its reign goes on.
    pub fn floors(
        &self,
        seen: &dyn Fn(&Place) -> i64,
        floor: &dyn Fn(&Place) -> i64,
    ) -> BTreeMap<String, i64> {
        let mut out = BTreeMap::new();
        for at in self.begins.iter().chain(&self.stays) {
            let here = Place { route: at.route.clone(), shard: at.shard };
            let before = if self.stays.contains(at) { floor(&here) } else { 0 };
            let needed = self.gains(&at.route).map(|m| match m.changes_shard() {
                true => seen(&m.from),
                false => floor(&m.from),
            });
            let needed = needed.max().unwrap_or(0);
            if needed > before {
                out.insert(at.route.clone(), needed);
            }
        }
        out
    }

    /// The intervals that a route gets.
    pub fn gains(&self, route: &str) -> impl Iterator<Item = &Moved> {
        self.diff.moved.iter().filter(move |m| m.to.route == route)
    }
}
