//! What shards send.

use bytes::Bytes;
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::UpstreamError;
use etcd_prism_wire::translate::Pieces;
use etcd_prism_wire::{Status, response};
use tokio::time::Instant;

use super::create::{self, Creating};
use super::cut::Own;
use super::driver::Driver;
use super::early::Part;
use super::link::LinkEvent;
use super::messages;
use super::outbox::Source;
use super::translation::{Events, Translating};
use super::watcher::LegState;
use crate::error::{NO_LEADER, RequestError};
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
        self.translating.remove(&shard);
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
            return self.on_progress_of_all(shard, &message, view.revision);
        }
        // Ids of watchers that were cancelled meanwhile are unknown.
        let Some(&id) = link.legs.get(&view.watch_id) else { return Ok(()) };
        if view.canceled {
            return self.on_canceled(shard, id, &message);
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
            if let Some(creating) = under_way {
                let leg = creating.watcher.leg_mut(shard);
                let identity = &self.cx.worker.gateway.identity;
                let id = messages::INVALID_ID;
                let frame = leg.map(|leg| messages::pass_shown(identity, leg, message, id)).transpose()?;
                self.fail_create(frame, "");
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
        if leg.is_ended() {
            link.await_end(Instant::now(), false);
        }
        if is_creating {
            let message = match &leg.at {
                None => message.clone(),
                Some(at) => at.header(message)?.into_bytes(),
            };
            if let Some(creating) = &mut self.creating {
                creating.created.get_or_insert(message);
            }
            self.complete_create();
        }
        Ok(())
    }

    /// The shard ended a watcher: its start was compacted, usually.
    fn on_canceled(&mut self, shard: ShardId, id: i64, message: &Bytes) -> Result<(), Status> {
        if self.creating.as_ref().is_some_and(|c| c.id == id) {
            // A leg of a watcher over several shards ended before the others began.
            self.fail_create(None, "etcd-prism: a shard ended the watch while it was created");
            return Ok(());
        }
        let identity = &self.cx.worker.gateway.identity;
        if let Some(leg) = self.watchers.get_mut(&id).and_then(|w| w.leg_mut(shard)) {
            let canceled = messages::pass_shown(identity, leg, message, id)?;
            self.push(id, canceled);
        }
        self.forget(id);
        Ok(())
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
                leg.next = leg.within(view.revision) + 1;
                let frame = messages::pass_shown(&gateway.identity, leg, &message, id)?;
                self.push(id, frame);
                self.end_reigns(shard, [id]);
            }
            return Ok(());
        }
        let own = |key: &[u8]| leg.grant.routes().any(|route| route == gateway.keyspace.route_of(key));
        let own: Option<Own<'_>> = if leg.shared_range { Some(&own) } else { None };
        let (kept, count) = leg
            .due()
            .cut(message, view, own)
            .map_err(|e| Self::resumable(format!("etcd-prism: malformed watch response: {e}")))?;
        let upstream_id = leg.upstream_id;
        let events =
            Events { id, upstream_id, count, last: view.last_mod_revision, more: view.fragment, ends };
        let route = leg.grant.routes().next();
        match (&leg.at, route) {
            (Some(at), Some(route)) if count > 0 || ends => {
                self.translating.insert(shard, Translating::new(&self.cx, route, at, kept, events));
            }
            _ => {
                let frame = messages::pass_on(&gateway.identity, &kept, id);
                self.deliver(shard, events, frame);
            }
        }
        Ok(())
    }

    /// A response with events was translated.
    pub(super) fn on_translated(
        &mut self,
        shard: ShardId,
        answer: Result<Pieces, RequestError>,
    ) -> Result<(), Status> {
        let Some(Translating { events, .. }) = self.translating.remove(&shard) else { return Ok(()) };
        let pieces = answer.map_err(|e| {
            let text = e.status().message;
            Self::resumable(format!("etcd-prism: watch response not translated: {text}"))
        })?;
        let frame = messages::pass_pieces_on(&self.cx.gateway().identity, pieces, events.id);
        self.deliver(shard, events, frame);
        Ok(())
    }

    /// A response with events is as the client is to get it.
    fn deliver(&mut self, shard: ShardId, events: Events, frame: Bytes) {
        let Events { id, upstream_id, count, last, more, ends } = events;
        // Cancelled meanwhile, or moved on.
        if self.links.get(&shard).is_none_or(|link| link.legs.get(&upstream_id) != Some(&id)) {
            return;
        }
        if let Some(leg) = self.leg_mut(id, shard).filter(|_| !more) {
            leg.next = leg.next.max(leg.within(last) + 1);
        }
        self.cx.gateway().metrics.watch_events.increment(count as u64);
        if let Some(creating) = self.creating.as_mut().filter(|c| c.id == id) {
            if (count > 0 || (ends && creating.early.has_part_of(shard)))
                && !creating.early.keep(Part { shard, frame, more })
            {
                self.fail_create(
                    None,
                    "etcd-prism: too many events before every shard had created the watcher",
                );
            }
            return;
        }
        // A response that is empty after filtering would look like progress. Only one that the client has a part of must
        // still be ended.
        let source = Source::of(id, shard);
        if count > 0 || (ends && self.outbox.has_part_of(source)) {
            self.outbox.push(source, frame, more);
        }
        if !more {
            self.end_reigns(shard, [id]);
        }
    }
}
