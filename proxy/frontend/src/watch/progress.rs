//! Progress: "everything up to this revision was sent".

use bytes::Bytes;
use etcd_prism_routing::ShardId;
use etcd_prism_wire::Status;

use super::driver::Driver;
use super::messages;
use super::watcher::{Leg, LegState};

/// The id that means every watcher of the stream.
const ALL: i64 = -1;

impl Driver {
    /// The client asks for progress: every shard with a watcher of this stream is asked.
    pub(super) fn request_progress(&mut self) {
        for link in self.links.values_mut() {
            if link.is_open() && !link.legs.is_empty() {
                link.ask_progress(true);
            } else {
                link.progress_wanted = true;
            }
        }
    }

    /// Asks on the proxy's own account, so that watchers without events know where to resume: an old position may be
    /// compacted by the time it is needed.
    pub(super) fn keep_positions_fresh(&mut self) {
        for link in self.links.values_mut().filter(|l| l.is_open() && !l.legs.is_empty()) {
            link.ask_progress(false);
        }
    }

    /// A shard answers for all its watchers of this stream, at `revision`. etcd answers only when all of them are in sync,
    /// and behind their events.
    pub(super) fn on_progress_of_all(
        &mut self,
        shard: ShardId,
        message: &Bytes,
        revision: i64,
    ) -> Result<(), Status> {
        let for_client = self.links.get_mut(&shard).is_some_and(|link| link.progress_answered());
        if for_client {
            self.tell_progress(shard, message, revision)?;
            let paused = |leg: &Leg| leg.shard == shard && leg.state == LegState::Paused;
            if self.legs().any(paused)
                && let Some(link) = self.links.get_mut(&shard)
            {
                link.progress_wanted = true;
            }
        }
        let creating = self.creating.as_mut().map(|c| (c.id, &mut c.watcher));
        let watchers = self.watchers.iter_mut().map(|(id, w)| (*id, w)).chain(creating);
        let mut over: Vec<i64> = Vec::new();
        for (id, watcher) in watchers {
            let covered = watcher.is_covered(shard, revision);
            for leg in watcher.legs.iter_mut().filter(|l| l.shard == shard) {
                leg.stale_progress = leg.stale_progress.saturating_sub(1);
                if covered {
                    leg.next = leg.within(revision) + 1;
                }
                if leg.is_over() {
                    over.push(id);
                }
            }
        }
        self.end_reigns(shard, over);
        Ok(())
    }

    fn tell_progress(&mut self, shard: ShardId, message: &Bytes, revision: i64) -> Result<(), Status> {
        let covered = self.watchers.iter().filter(|(_, w)| w.is_covered(shard, revision));
        let covered: Vec<(i64, &Leg)> =
            covered.filter_map(|(id, w)| w.legs.first().map(|leg| (*id, leg))).collect();
        // One answer for all is read by clients as progress of every watcher: only right on one route, in one reign, all
        // covered.
        let mut routes = self.watchers.values().map(|w| w.route);
        let first = routes.next().flatten();
        let one_route = first.is_some() && routes.all(|r| r == first);
        let mut reigns = covered.iter().map(|(_, leg)| leg.at.as_ref().map(|at| at.reign));
        let one_reign = reigns.next().is_some_and(|first| reigns.all(|reign| reign == first));
        let identity = &self.cx.gateway().identity;
        let frames: Vec<(i64, Bytes)> = if one_route && one_reign && covered.len() == self.watchers.len() {
            let leg = covered.first().map(|(_, leg)| messages::pass_shown(identity, leg, message, ALL));
            Vec::from_iter(leg.transpose()?.map(|frame| (ALL, frame)))
        } else {
            let frames = covered
                .iter()
                .map(|(id, leg)| messages::pass_shown(identity, leg, message, *id).map(|frame| (*id, frame)));
            frames.collect::<Result<_, _>>()?
        };
        for (id, frame) in frames {
            self.push(id, frame);
        }
        Ok(())
    }
}
