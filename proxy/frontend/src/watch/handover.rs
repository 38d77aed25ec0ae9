//! From one reign to the next: a watcher gets what is left of a reign that has ended, then goes on where its route is now,
//! under the same id and without a word.

use etcd_prism_routing::ShardId;
use tokio::time::Instant;

use super::driver::Driver;
use super::line::{InReign, Start};
use super::link::Link;
use super::messages;
use super::watcher::LegState;
use crate::place::Grant;

impl Driver {
    /// The reign of a leg has ended. What it still gets of it cannot change any more, so it needs no right.
    pub(super) fn end_of_reign(&mut self, id: i64, shard: ShardId, grant: Grant, at: InReign) {
        let next = at.line.shard(at.reign + 1);
        let Some(leg) = self.leg_mut(id, shard) else { return };
        leg.grant = grant;
        leg.at = Some(at);
        leg.state = match leg.state {
            LegState::Held => LegState::Waiting,
            LegState::Paused => LegState::Live,
            state => state,
        };
        if leg.is_over() {
            return self.end_reigns(shard, [id]);
        }
        if let Some(link) = self.links.get_mut(&shard) {
            link.await_end(Instant::now(), true);
        }
        // By the time that it is needed it may be open.
        if let Some(next) = next.filter(|_| !self.lagging) {
            let link = self.links.entry(next).or_insert_with(|| Link::new(next));
            link.open(&self.cx.worker, &self.metadata);
        }
    }

    /// Asks the shards that have legs of ended reigns how far they are, where that is due: once per link.
    pub(super) fn ask_ends(&mut self) {
        let now = Instant::now();
        let due = self.links.values().filter(|l| l.end_due().is_some_and(|at| at <= now));
        let due: Vec<ShardId> = due.map(|l| l.shard).collect();
        for shard in due {
            let waits =
                self.legs().any(|leg| leg.shard == shard && leg.is_ended() && leg.state == LegState::Live);
            if let Some(link) = self.links.get_mut(&shard) {
                let open = link.is_open();
                link.ask_end(now, waits && open);
            }
        }
    }

    /// Hands over those of these watchers that have all of their reign on this shard.
    pub(super) fn end_reigns(&mut self, shard: ShardId, ids: impl IntoIterator<Item = i64>) {
        let mut to: Vec<ShardId> = Vec::new();
        for id in ids {
            to.extend(self.hand_over(id, shard));
        }
        to.sort_unstable();
        to.dedup();
        for shard in to {
            self.ask_again(shard);
        }
    }

    /// Gives the shard that the watcher goes on at.
    fn hand_over(&mut self, id: i64, shard: ShardId) -> Option<ShardId> {
        let leg = self.watchers.get(&id)?.legs.iter().find(|l| l.shard == shard)?;
        let at = leg.at.clone().filter(|_| leg.is_over() && !leg.in_response)?;
        // A start that lay in the future when the reign ended is still to come.
        let last = at.line.last(at.reign)?;
        let position = at.span.up(leg.next).max(last.saturating_add(1));
        let progress_from = at.span.up(leg.progress_from);
        let Some(start) = Start::find(&at.line, position) else {
            self.tell_compacted(id, at.line.floor() + 1);
            return None;
        };
        let cx = self.cx.clone();
        let leg = self.leg_mut(id, shard)?;
        let upstream_id = std::mem::take(&mut leg.upstream_id);
        let span = start.at.span;
        leg.shard = start.shard;
        // The flip wrote no client's key: without its revision the watch of a quiet shard is in sync at once.
        let is_flip =
            !span.is_ended() && leg.grant.shard == start.shard && leg.grant.wrote_fence_at(start.raw);
        leg.next = if is_flip { start.raw + 1 } else { start.raw };
        leg.progress_from = span.down(progress_from);
        leg.from_now = !span.is_ended();
        leg.stale_progress = 0;
        leg.at = Some(start.at);
        leg.state = match leg.is_ended() || leg.grant.stands(&cx) {
            true => LegState::Waiting,
            false => LegState::Held,
        };
        tracing::debug!(
            watcher = id,
            from = %self.cx.worker.pool(shard).shard().name,
            to = %self.cx.worker.pool(start.shard).shard().name,
            position,
            "watch handed over"
        );
        self.links.entry(start.shard).or_insert_with(|| Link::new(start.shard)).wanted += 1;
        if self.leave(shard, upstream_id)
            && let Some(link) = self.links.get_mut(&start.shard)
        {
            link.progress_wanted = true;
        }
        Some(start.shard)
    }

    /// Takes a leg off a link. True if the client waits for progress that will not come from there.
    fn leave(&mut self, shard: ShardId, upstream_id: i64) -> bool {
        let Some(link) = self.links.get_mut(&shard) else { return false };
        link.wanted -= 1;
        let had = link.legs.remove(&upstream_id).is_some();
        if link.wanted > 0 {
            if had {
                link.send(messages::cancel(upstream_id));
            }
            return false;
        }
        let owes = link.owes_progress();
        link.leave();
        self.gates.remove(&shard);
        self.translating.remove(&shard);
        owes
    }

    /// Ends a watcher that cannot go on where its client left off: the client lists again.
    pub(super) fn tell_compacted(&mut self, id: i64, compact_revision: i64) {
        self.forget(id);
        self.outbox.forget(id);
        let frame = messages::compacted(&self.cx.gateway().identity, id, compact_revision);
        self.push(id, frame);
    }

    /// Takes a watcher off the stream.
    pub(super) fn forget(&mut self, id: i64) {
        let Some(watcher) = self.watchers.remove(&id) else { return };
        self.cx.gateway().metrics.watchers.decrement(1.0);
        self.drop_legs(watcher.legs);
    }
}
