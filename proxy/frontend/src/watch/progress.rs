//! Progress: "everything up to this revision was sent".

use bytes::Bytes;
use etcd_prism_routing::ShardId;

use super::driver::Driver;
use super::messages;

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
    pub(super) fn on_progress_of_all(&mut self, shard: ShardId, message: &Bytes, revision: i64) {
        let for_client = self.links.get_mut(&shard).is_some_and(|link| link.progress_answered());
        if for_client {
            self.tell_progress(shard, message, revision);
        }
        let watchers = self.watchers.values_mut().chain(self.creating.as_mut().map(|c| &mut c.watcher));
        for watcher in watchers {
            let covered = watcher.is_covered(shard, revision);
            for leg in watcher.legs.iter_mut().filter(|l| l.shard == shard) {
                leg.stale_progress = leg.stale_progress.saturating_sub(1);
                if covered {
                    leg.next = revision + 1;
                }
            }
        }
    }

    fn tell_progress(&mut self, shard: ShardId, message: &Bytes, revision: i64) {
        // One answer for all is read by clients as progress of every watcher: only right on one route, all covered.
        let mut routes = self.watchers.values().map(|w| w.route);
        let first = routes.next().flatten();
        let one_route = first.is_some() && routes.all(|r| r == first);
        let covered: Vec<i64> =
            self.watchers.iter().filter(|(_, w)| w.is_covered(shard, revision)).map(|(id, _)| *id).collect();
        let ids = if one_route && covered.len() == self.watchers.len() { vec![ALL] } else { covered };
        for id in ids {
            let frame = messages::pass_on(&self.cx.gateway().identity, message, id);
            self.push(id, frame);
        }
    }
}
