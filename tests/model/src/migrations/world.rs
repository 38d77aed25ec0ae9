//! Everything, and what clients do with it.

use std::sync::Arc;

use etcd_prism_ownership::timeline::Reign;
use etcd_prism_ownership::{ShardUid, State};

use super::{Budget, Late, Proxy, Shard, Slot, Variant, line};

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Wrong {
    pub(super) copy: bool,
    pub(super) above: bool,
    pub(super) stale: bool,
    pub(super) watch: bool,
    pub(super) foreign: bool,
}

/// Everything. Steps change little of it, so states share what stays.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub shards: Vec<Arc<Shard>>,
    pub slots: Vec<Arc<Slot>>,
    pub(super) late: Vec<Arc<Late>>,
    pub(super) proxies: Vec<Arc<Proxy>>,
    pub down: Vec<bool>,
    pub(super) left: Budget,
    /// How many values have been written, each of them acknowledged.
    pub(super) written: u8,
    /// Up to which virtual revision clients have seen the route.
    pub(super) shown: i64,
    pub(super) wrong: Wrong,
}

impl World {
    pub(super) fn reigns(&self) -> Vec<Reign> {
        line::reigns(&self.shards, u64::MAX)
    }

    /// Whether keys of the route may still expire there on their own.
    pub(super) fn rules(&self, shard: usize) -> bool {
        let last = self.reigns().last().map(|reign| reign.shard);
        last == Some(self.shards[shard].id)
            && (self.shards[shard].is_open() || self.shards[shard].is_moving())
    }

    /// Whether another shard is sealed or flipping for this one: before, and after an abort, what ended is found in time.
    pub(super) fn is_granted(&self, shard: usize) -> bool {
        let id = self.shards[shard].id;
        self.shards.iter().any(|s| match s.state() {
            Some(State::Sealed { peer, .. }) => *peer == Some(id),
            Some(State::Flipping { target, .. }) => *target == id,
            _ => false,
        })
    }

    /// Whose driver could bring what is sealed or flipping to rest.
    pub(super) fn behind(&self) -> Option<usize> {
        let moving = self.shards.iter().find(|shard| shard.is_moving())?;
        let peer = match moving.state() {
            Some(State::Sealed { peer: Some(peer), .. } | State::Flipping { target: peer, .. }) => *peer,
            _ => return None,
        };
        // Scripts go from the first shard to one of the others.
        let other = if peer == ShardUid(1) { moving.id } else { peer };
        (0..self.slots.len()).find(|i| self.slots.len() == 1 || other == ShardUid(2) || *i == 1)
    }

    pub(super) fn is_left_behind(&self) -> bool {
        self.slots.iter().all(|slot| slot.driver.is_none()) && self.behind().is_some()
    }

    /// One shard is open, and none sealed or flipping.
    pub fn is_at_rest(&self) -> bool {
        let open = self.shards.iter().filter(|s| s.is_open()).count();
        open == 1 && !self.shards.iter().any(|s| s.is_moving())
    }

    /// Nobody can go on without this shard: a flip to it has been decided, or it is sealed itself.
    pub fn needs(&self, shard: usize) -> bool {
        let id = self.shards[shard].id;
        let flips =
            |s: &Arc<Shard>| matches!(s.state(), Some(State::Flipping { target, .. }) if *target == id);
        self.down[shard] && (self.shards[shard].is_moving() || self.shards.iter().any(flips))
    }

    pub(super) fn may_write(&self, proxy: usize) -> bool {
        let permit = self.proxies[proxy].permit();
        permit.is_some_and(|p| {
            let at = usize::from(p.shard.0);
            !self.down[at] && self.shards[at].epoch() == p.epoch
        })
    }

    pub(super) fn write(&mut self, proxy: usize) {
        let Some(permit) = self.proxies[proxy].permit() else { return };
        let at = usize::from(permit.shard.0);
        self.written += 1;
        let value = Some(self.written);
        let shard = Arc::make_mut(&mut self.shards[at]);
        self.wrong.foreign |= !shard.is_open();
        let raw = shard.put(value);
        let Some(reign) = shard.reign() else { return };
        if let Some((to, epoch)) = self.proxies[proxy].mirror() {
            self.late.push(Arc::new(Late::Apply { to, epoch, at: raw + reign.offset(), value }));
        }
    }

    /// The watcher asks a proxy for everything that it has not seen.
    pub(super) fn watch(&mut self, proxy: usize, variant: Variant) {
        let Some(permit) = self.proxies[proxy].permit() else { return };
        let at = usize::from(permit.shard.0);
        let stands = self.shards[at].sessions[proxy].is_some() || variant == Variant::EventsUnchecked;
        if !stands || self.down[at] {
            return;
        }
        let reigns = self.reigns();
        let known: Vec<_> = reigns.iter().copied().filter(|reign| reign.n <= permit.n).collect();
        let (told, present) = line::events(&self.shards, &known, self.shown);
        let (_, truly) = line::events(&self.shards, &reigns, self.shown);
        if known.len() < reigns.len() {
            // Its reign has ended, and somebody may have written in the next one.
            self.wrong.stale = true;
            let end = reigns.get(known.len()).map_or(truly, |next| next.after);
            self.wrong.above |= present > end;
            let (all, _) = line::events(&self.shards, &reigns, self.shown);
            self.wrong.watch |= !all.starts_with(&told);
        }
        self.wrong.above |= present < self.shown;
        self.shown = present.max(self.shown);
    }

    /// A reign has begun.
    pub(super) fn check_flip(&mut self) {
        let reigns = self.reigns();
        let [.., before, last] = &reigns[..] else { return };
        let shard = |id: ShardUid| self.shards.iter().find(|s| s.id == id);
        if let (Some(from), Some(to)) = (shard(before.shard), shard(last.shard)) {
            // What ended there since is the new reign's to tell.
            self.wrong.copy |= from.at(last.after - before.offset()) != to.at(last.raw_start - 1);
        }
        self.wrong.above |= self.shown > last.after;
    }

    /// What can never succeed any more is as good as lost.
    pub(super) fn forget(&mut self, variant: Variant) {
        let shards = &self.shards;
        self.late.retain(|late| match &**late {
            Late::Txn(txn) => shards[txn.shard.0 as usize - 1].may_handle(txn, variant),
            Late::Purge(purge) => shards[purge.shard.0 as usize - 1].epoch() <= purge.epoch,
            Late::Apply { to, epoch, .. } => shards[*to].epoch() <= *epoch,
        });
        self.late.sort_by_key(|late| format!("{late:?}"));
        self.late.dedup();
    }
}
