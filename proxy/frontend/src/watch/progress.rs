//! Progress: "everything up to this revision was sent".

use bytes::Bytes;
use etcd_prism_routing::ShardId;

use super::driver::Driver;
use super::messages;
use super::watcher::{LegState, Watcher};

/// The id that means every watcher of the stream.
const ALL: i64 = -1;

impl Driver {
    /// The client asks for progress: every shard with a watcher of this stream is asked.
    pub(super) fn request_progress(&mut self) {
        for link in self.links.values_mut() {
            if link.is_open() && !link.legs.is_empty() {
                link.send(messages::progress_request());
            } else {
                link.progress_wanted = true;
            }
        }
    }

    /// A shard answers for all its watchers of this stream, at `revision`. etcd answers only when all of them are in sync,
    /// and behind their events.
    pub(super) fn on_progress_of_all(&mut self, shard: ShardId, message: &Bytes, revision: i64) {
        let identity = &self.cx.gateway().identity;
        let covered = |w: &Watcher| {
            w.is_whole() && w.legs.iter().all(|l| l.shard == shard && l.state == LegState::Live && l.next <= revision + 1)
        };
        // One answer for all is read by clients as progress of every watcher: only right on one route, all covered.
        let mut routes = self.watchers.values().map(|w| w.route);
        let first = routes.next().flatten();
        let one_route = first.is_some() && routes.all(|r| r == first);
        if one_route && self.watchers.values().all(covered) {
            self.push(messages::pass_on(identity, message, ALL));
        } else {
            for (id, _) in self.watchers.iter().filter(|(_, w)| covered(w)) {
                self.push(messages::pass_on(identity, message, *id));
            }
        }
        for watcher in self.watchers.values_mut().filter(|w| covered(w)) {
            watcher.legs.iter_mut().for_each(|leg| leg.next = revision + 1);
        }
    }
}
