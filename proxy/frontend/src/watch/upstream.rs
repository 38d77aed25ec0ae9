//! What shards send.

use bytes::Bytes;
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::UpstreamError;
use etcd_prism_wire::{Status, response};

use super::create::{self, Creating};
use super::driver::Driver;
use super::early::Part;
use super::link::LinkEvent;
use super::messages;
use super::outbox::Source;
use super::watcher::LegState;
use crate::error::NO_LEADER;
use crate::metadata;

impl Driver {
    pub(super) fn on_link(&mut self, shard: ShardId, event: LinkEvent) -> Result<(), Status> {
        match event {
            LinkEvent::Opened => {
                self.ask_again(shard);
                Ok(())
            }
            LinkEvent::Message(message) => self.on_message(shard, message),
            LinkEvent::Ended(error) => self.on_ended(shard, &error),
        }
    }

    /// A link is open: every leg it serves is created on it, where the client left off.
    pub(super) fn ask_again(&mut self, shard: ShardId) {
        if let Some(link) = self.links.get_mut(&shard).filter(|l| l.is_open()) {
            for (id, watcher) in &mut self.watchers {
                let request = watcher.create.clone();
                for leg in
                    watcher.legs.iter_mut().filter(|l| l.shard == shard && l.state == LegState::Waiting)
                {
                    create::ask(link, leg, *id, &request);
                }
            }
            // The request goes behind the creates, so the answer covers them.
            if !link.legs.is_empty() && std::mem::take(&mut link.progress_wanted) {
                link.ask_progress(true);
            }
        }
        self.ask_creating();
    }

    /// The stream to a shard ended. Its watchers go on when it is back; only what cannot be mended ends the client's stream.
    fn on_ended(&mut self, shard: ShardId, error: &UpstreamError) -> Result<(), Status> {
        tracing::debug!(shard = %self.cx.worker.pool(shard).shard().name, %error, "watch stream ended");
        self.cx.gateway().metrics.watch_resumes.increment(1);
        if let UpstreamError::Status(status) = error
            && status.message == NO_LEADER
            && metadata::requires_leader(&self.cx.headers)
            && self.all_on(shard)
        {
            return Err(status.clone());
        }
        let here = |id: &i64| self.watchers.get(id).is_some_and(|w| w.legs.iter().any(|l| l.shard == shard));
        let partial = |id: &i64| self.outbox.has_part_of(Source::of(*id, shard));
        if self.watchers.keys().any(|id| here(id) && partial(id)) {
            // The client holds half a response. It forgets it with the stream, and resumes before it.
            return Err(Self::resumable("etcd-prism: a shard's stream broke within a fragmented response"));
        }
        self.legs_lost(shard);
        Ok(())
    }

    /// Marks the legs of a shard as to be created again.
    pub(super) fn legs_lost(&mut self, shard: ShardId) {
        let watchers = self.watchers.values_mut().chain(self.creating.as_mut().map(|c| &mut c.watcher));
        for leg in watchers.flat_map(|w| &mut w.legs).filter(|l| l.shard == shard) {
            leg.lose();
        }
        if let Some(creating) = &mut self.creating {
            creating.early.forget_part_of(shard);
        }
    }

    fn all_on(&self, shard: ShardId) -> bool {
        let watchers = self.watchers.values().chain(self.creating.as_ref().map(|c| &c.watcher));
        watchers.flat_map(|w| &w.legs).all(|l| l.shard == shard)
    }

    /// Passes a shard's message on.
    pub(super) fn pass(
        &mut self,
        shard: ShardId,
        message: Bytes,
        view: &response::Watch<'_>,
    ) -> Result<(), Status> {
        let Some(link) = self.links.get_mut(&shard) else { return Ok(()) };
        link.revision = link.revision.max(view.revision);
        if view.created {
            return self.on_created(shard, &message, view);
        }
        if view.is_progress() && view.watch_id < 0 {
            self.on_progress_of_all(shard, &message, view.revision);
            return Ok(());
        }
        // Ids of watchers that were cancelled meanwhile are unknown.
        let Some(&id) = link.legs.get(&view.watch_id) else { return Ok(()) };
        if view.canceled {
            self.on_canceled(id, &message);
            return Ok(());
        }
        self.on_events(shard, id, message, view)
    }

    fn on_created(
        &mut self,
        shard: ShardId,
        message: &Bytes,
        view: &response::Watch<'_>,
    ) -> Result<(), Status> {
        let Some(link) = self.links.get_mut(&shard) else { return Ok(()) };
        // A create that failed carries no id, but answers come in the order of the requests.
        let Some(asked) = link.asked.pop_front() else { return Ok(()) };
        let Some(&id) = link.legs.get(&asked) else {
            // Given up meanwhile.
            return Ok(());
        };
        let under_way = self.creating.as_mut().filter(|c| c.id == id);
        let is_creating = under_way.is_some();
        if view.canceled {
            link.legs.remove(&asked);
            if is_creating {
                self.fail_create(Some(message), "");
                return Ok(());
            }
            let reason = String::from_utf8_lossy(view.cancel_reason).into_owned();
            return Err(Self::resumable(format!("etcd-prism: a watcher could not be resumed: {reason}")));
        }
        let watcher = match under_way {
            Some(creating) => &mut creating.watcher,
            None => match self.watchers.get_mut(&id) {
                Some(watcher) => watcher,
                None => return Ok(()),
            },
        };
        let request = watcher.create.clone();
        let Some(leg) = watcher.leg_mut(shard).filter(|l| l.upstream_id == asked) else { return Ok(()) };
        // The shard's revision was read after the watcher began. From now: if it is below `next`, nothing that is due can
        // have been missed. From `next`: if that lies in the future, the watcher would hold up progress for its stream,
        // and older versions send it what lies below.
        let asked_wrong = if leg.from_now { view.revision >= leg.next } else { leg.next > view.revision + 1 };
        if asked_wrong {
            link.legs.remove(&asked);
            link.send(messages::cancel(asked));
            leg.from_now = !leg.from_now;
            create::ask(link, leg, id, &request);
            return Ok(());
        }
        leg.state = LegState::Live;
        if is_creating {
            if let Some(creating) = &mut self.creating {
                creating.created.get_or_insert_with(|| message.clone());
            }
            self.complete_create();
        }
        Ok(())
    }

    /// The shard ended a watcher: its start was compacted, usually.
    fn on_canceled(&mut self, id: i64, message: &Bytes) {
        if self.creating.as_ref().is_some_and(|c| c.id == id) {
            // A leg of a watcher over several shards ended before the others began.
            return self.fail_create(None, "etcd-prism: a shard ended the watch while it was created");
        }
        if self.watchers.contains_key(&id) {
            let canceled = messages::pass_on(&self.cx.gateway().identity, message, id);
            self.push(id, canceled);
        }
        let Some(watcher) = self.watchers.remove(&id) else { return };
        self.cx.gateway().metrics.watchers.decrement(1.0);
        for leg in watcher.legs {
            if let Some(link) = self.links.get_mut(&leg.shard) {
                link.wanted -= 1;
                // The shard that ended it is told too: until then it keeps the watcher, never in sync, and with it holds
                // back progress of the whole link.
                if link.legs.remove(&leg.upstream_id).is_some() {
                    link.send(messages::cancel(leg.upstream_id));
                }
            }
        }
    }

    fn on_events(
        &mut self,
        shard: ShardId,
        id: i64,
        message: Bytes,
        view: &response::Watch<'_>,
    ) -> Result<(), Status> {
        let gateway = self.cx.worker.gateway.clone();
        let creating: Option<&mut Creating> = self.creating.as_mut().filter(|c| c.id == id);
        let is_creating = creating.is_some();
        let watcher = match creating {
            Some(creating) => &mut creating.watcher,
            None => match self.watchers.get_mut(&id) {
                Some(watcher) => watcher,
                None => return Ok(()),
            },
        };
        let whole = watcher.is_whole();
        let Some(leg) = watcher.leg_mut(shard) else { return Ok(()) };
        let ends = !view.fragment && leg.in_response;
        leg.in_response = view.fragment;
        if view.is_progress() && !ends {
            // Progress of one watcher. Over several shards there is no revision to tell.
            if whole && !is_creating && leg.may_tell(view.revision) {
                leg.next = view.revision + 1;
                let frame = messages::pass_on(&gateway.identity, &message, id);
                self.push(id, frame);
            }
            return Ok(());
        }
        let (next, shared) = (leg.next, leg.shared_range);
        let own = leg.grant.clone();
        let (frame, left) = if view.events > 0 && (view.first_mod_revision < next || shared) {
            let mut keep = |key: &[u8], revision: i64| {
                revision >= next
                    && (!shared || own.routes().any(|route| route == gateway.keyspace.route_of(key)))
            };
            let (kept, left) = response::filter_events(&message, &mut keep)
                .map_err(|e| Self::resumable(format!("etcd-prism: malformed watch response: {e}")))?;
            (messages::pass_on(&gateway.identity, &kept, id), left)
        } else {
            (messages::pass_on(&gateway.identity, &message, id), view.events)
        };
        if !view.fragment {
            leg.next = leg.next.max(view.last_mod_revision + 1);
        }
        gateway.metrics.watch_events.increment(left as u64);
        if is_creating {
            let more = view.fragment;
            if let Some(creating) = &mut self.creating
                && (left > 0 || (ends && creating.early.has_part_of(shard)))
                && !creating.early.keep(Part { shard, frame, more })
            {
                self.fail_create(
                    None,
                    "etcd-prism: too many events before every shard had created the watcher",
                );
            }
            return Ok(());
        }
        // A response that is empty after filtering would look like progress. Only one that the client has a part of must
        // still be ended.
        let source = Source::of(id, shard);
        if left > 0 || (ends && self.outbox.has_part_of(source)) {
            self.outbox.push(source, frame, view.fragment);
        }
        Ok(())
    }
}
