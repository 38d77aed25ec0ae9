//! Creating a watcher.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use etcd_prism_routing::{Footprint, ShardId};
use etcd_prism_wire::request::WatchCreate;
use etcd_prism_wire::{KeyRange, patch};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::driver::Driver;
use super::early::{Early, Part};
use super::link::Link;
use super::messages;
use super::outbox::Source;
use super::placing::Unplaced;
use super::rights::present;
use super::watcher::{Leg, LegState, Legs, Watcher};
use crate::error::RequestError;
use crate::place::{Grant, Placement};

/// How long a create may keep others on its stream waiting.
const PATIENCE: Duration = Duration::from_secs(5);

type Revisions = Pin<Box<dyn Future<Output = Result<Vec<(ShardId, i64)>, RequestError>> + Send>>;
type Placing = Pin<Box<dyn Future<Output = Result<Placement, RequestError>> + Send>>;

/// The create that is under way.
pub(super) struct Creating {
    pub id: i64,
    pub watcher: Watcher,
    /// The keys that clients may see of those that it asks for.
    key: Bytes,
    range_end: Bytes,
    /// The start revision that it asks for; 0: now.
    start: i64,
    footprint: Footprint,
    placing: Option<Placing>,
    pub deadline: Instant,
    /// The shards' present, for a create that starts there.
    revisions: Option<Revisions>,
    /// The revision that `created` tells, if not the shard's own.
    pub answer_revision: Option<i64>,
    /// The first `created` of a shard.
    pub created: Option<Bytes>,
    /// Events that came before `created` could be sent.
    pub early: Early,
}

impl Creating {
    pub(super) fn poll_placing(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Placement, RequestError>> {
        let Some(placing) = &mut self.placing else { return Poll::Pending };
        let answer = std::task::ready!(placing.as_mut().poll(cx));
        self.placing = None;
        Poll::Ready(answer)
    }

    pub(super) fn poll_revisions(
        &mut self,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Result<Vec<(ShardId, i64)>, RequestError>> {
        let Some(revisions) = &mut self.revisions else { return Poll::Pending };
        let answer = std::task::ready!(revisions.as_mut().poll(cx));
        self.revisions = None;
        Poll::Ready(answer)
    }
}

impl Driver {
    /// Starts a create; `raw` is the client's message.
    pub(super) fn start_create(&mut self, create: &WatchCreate<'_>, raw: Bytes) {
        let id = match create.watch_id {
            0 => self.free_id(),
            chosen => chosen,
        };
        if self.watchers.contains_key(&id) {
            return self.fail_create(None, "mvcc: duplicate watch ID provided on the WatchStream");
        }
        // etcd reads an empty key as the smallest one.
        let key = if create.keys.key.is_empty() { b"\0" } else { create.keys.key };
        let keys = KeyRange::new(key, create.keys.range_end);
        let keys = keys.clamped().unwrap_or(patch::NOTHING);
        let footprint = Footprint::of(&self.cx.gateway().keyspace, keys);
        let route = match footprint.routes() {
            [route] => Some(*route),
            _ => None,
        };
        self.creating = Some(Creating {
            id,
            watcher: Watcher { create: raw, route, legs: SmallVec::new() },
            key: Bytes::copy_from_slice(keys.key),
            range_end: Bytes::copy_from_slice(keys.range_end),
            start: create.start_revision,
            placing: Some(self.place(footprint.clone())),
            footprint,
            deadline: Instant::now() + PATIENCE,
            revisions: None,
            answer_revision: None,
            created: None,
            early: Early::default(),
        });
    }

    fn place(&self, footprint: Footprint) -> Placing {
        let cx = self.cx.clone();
        Box::pin(async move { Placement::of(&cx, &footprint, Instant::now() + PATIENCE).await })
    }

    /// It is known where the watcher is to be created.
    pub(super) fn on_placed(&mut self, placement: Result<Placement, RequestError>) {
        let Some(creating) = &self.creating else { return };
        let keys = KeyRange::new(&creating.key, &creating.range_end);
        let legs = match placement {
            Ok(Placement::One(grant)) => self.leg_of_one(&grant, keys, creating.start),
            Ok(Placement::Spans(spans)) => self.legs_of_several(&spans, keys, creating.start),
            Err(error) => Err(error.into()),
        };
        let start = creating.start;
        let legs = match legs {
            Ok(legs) => legs,
            Err(Unplaced::Void) => return self.place_again(),
            Err(Unplaced::Compacted(revision)) => return self.start_was_compacted(revision),
            Err(Unplaced::Refused(reason)) => return self.fail_create(None, &reason),
        };
        for leg in &legs {
            self.links.entry(leg.shard).or_insert_with(|| Link::new(leg.shard)).wanted += 1;
        }
        let grants = legs.iter().map(|l| l.grant.clone()).collect();
        let revisions = (start == 0).then(|| self.present(grants));
        if let Some(creating) = &mut self.creating {
            creating.watcher.legs = legs;
            creating.revisions = revisions;
        }
        self.ask_creating();
    }

    /// Places the create under way anew: its client was told nothing yet.
    pub(super) fn place_again(&mut self) {
        let Some(creating) = &mut self.creating else { return };
        creating.revisions = None;
        creating.answer_revision = None;
        creating.created = None;
        creating.early = Early::default();
        let footprint = creating.footprint.clone();
        let legs = std::mem::take(&mut creating.watcher.legs);
        self.drop_legs(legs);
        let placing = self.place(footprint);
        if let Some(creating) = &mut self.creating {
            creating.placing = Some(placing);
        }
    }

    /// Ends what links have of the legs of a watcher that is no more. The shard that ended one itself is told too: until
    /// then it keeps the watcher, never in sync, and with it holds back progress of the whole link.
    pub(super) fn drop_legs(&mut self, legs: Legs) {
        for leg in legs {
            if let Some(link) = self.links.get_mut(&leg.shard) {
                link.wanted -= 1;
                if link.legs.remove(&leg.upstream_id).is_some() {
                    link.send(messages::cancel(leg.upstream_id));
                }
            }
        }
    }

    /// The history of the route at that revision cannot be read: it was another shard's, and is gone or not known.
    fn start_was_compacted(&mut self, compact_revision: i64) {
        let Some(creating) = self.creating.take() else { return };
        let identity = &self.cx.gateway().identity;
        let created = messages::created_at(identity, creating.id, compact_revision);
        let canceled = messages::compacted(identity, creating.id, compact_revision);
        self.push(creating.id, created);
        self.push(creating.id, canceled);
    }

    /// The present revisions of shards. A watcher that starts now is pinned there at once, so that it can be resumed
    /// exactly however early its stream breaks.
    fn present(&self, grants: Vec<Grant>) -> Revisions {
        let cx = self.cx.clone();
        Box::pin(async move {
            let reads = grants.iter().map(|grant| async { Ok((grant.shard, present(&cx, grant).await?)) });
            futures_util::future::try_join_all(reads).await
        })
    }

    pub(super) fn on_revisions(&mut self, answer: Result<Vec<(ShardId, i64)>, RequestError>) {
        let Some(creating) = &mut self.creating else { return };
        match answer {
            Ok(revisions) => {
                for (shard, revision) in revisions {
                    if let Some(leg) = creating.watcher.leg_mut(shard) {
                        let shown = leg.shown(revision);
                        creating.answer_revision =
                            creating.answer_revision.map_or(Some(shown), |least| Some(least.min(shown)));
                        leg.next = leg.at.as_ref().map_or(revision, |at| revision.max(at.span.first())) + 1;
                        leg.progress_from = revision;
                        // Checked when the shard answers: nothing may have been written in between.
                        leg.from_now = true;
                    }
                }
                self.ask_creating();
            }
            Err(RequestError::Void) => self.place_again(),
            Err(error) => {
                tracing::debug!(%error, "watch: present revision");
                let grants = creating.watcher.legs.iter().map(|l| l.grant.clone()).collect();
                let retry = self.present(grants);
                // Not in a tight loop: a shard that refuses at once is asked again after a moment.
                let retry: Revisions = Box::pin(async move {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    retry.await
                });
                if let Some(creating) = &mut self.creating {
                    creating.revisions = Some(retry);
                }
            }
        }
    }

    /// Asks the shards for the legs of the create under way, where their links are open.
    pub(super) fn ask_creating(&mut self) {
        let Some(creating) = &mut self.creating else { return };
        // The present is still being read.
        if creating.watcher.legs.iter().any(|l| l.next == 0) {
            return;
        }
        let (id, watcher) = (creating.id, &mut creating.watcher);
        for leg in watcher.legs.iter_mut().filter(|l| l.state == LegState::Waiting) {
            if let Some(link) = self.links.get_mut(&leg.shard).filter(|l| l.is_open()) {
                ask(link, leg, id, &watcher.create);
            }
        }
    }

    /// All shards have created it: the client is told, then gets what was held back.
    pub(super) fn complete_create(&mut self) {
        let Some(creating) = self.creating.take_if(|c| c.watcher.is_live()) else { return };
        let message = creating.created.unwrap_or_default();
        let identity = &self.cx.gateway().identity;
        let created = messages::created(identity, &message, creating.id, creating.answer_revision);
        self.push(creating.id, created);
        for Part { shard, frame, more } in creating.early.into_parts() {
            self.outbox.push(Source::of(creating.id, shard), frame, more);
        }
        self.cx.gateway().metrics.watchers.increment(1.0);
        self.watchers.insert(creating.id, creating.watcher);
    }

    /// The create under way has failed: `created` and `canceled` in one. `message` is the shard's own answer, as a frame.
    pub(super) fn fail_create(&mut self, message: Option<Bytes>, reason: &str) {
        let frame = message.unwrap_or_else(|| {
            messages::create_failed(&self.cx.gateway().identity, self.newest_shown(), reason)
        });
        self.push(messages::INVALID_ID, frame);
        if let Some(creating) = self.creating.take() {
            self.drop_legs(creating.watcher.legs);
        }
    }

    /// Nothing newer than what the client was shown.
    fn newest_shown(&self) -> i64 {
        if self.legs().all(|leg| leg.at.is_none()) {
            return self.links.values().map(|l| l.revision).fold(1, i64::max);
        }
        // What shards call their own revisions says nothing of a line that is not theirs alone.
        let shown = |leg: &Leg| self.links.get(&leg.shard).map_or(0, |link| leg.shown(link.revision));
        self.legs().map(shown).fold(1, i64::max)
    }

    /// The create under way has taken too long. Alone on its stream it may go on waiting, as on an etcd that is down;
    /// otherwise it must not hold up the others.
    pub(super) fn on_timer(&mut self) {
        let others = self.has_waiting() || !self.watchers.is_empty();
        // A client that does not read keeps its own links closed.
        let patient = self.lagging || !others;
        let Some(creating) = self.creating.as_mut().filter(|c| c.deadline <= Instant::now()) else { return };
        if patient {
            creating.deadline = Instant::now() + PATIENCE / 10;
            return;
        }
        if creating.watcher.legs.is_empty() {
            return self.fail_create(None, "etcd-prism: its route is not served yet");
        }
        let names: Vec<String> = creating
            .watcher
            .legs
            .iter()
            .filter(|l| l.state != LegState::Live)
            .map(|l| self.cx.worker.pool(l.shard).shard().name.clone())
            .collect();
        self.fail_create(None, &format!("etcd-prism: no answer from shard {}", names.join(", ")));
    }

    fn free_id(&mut self) -> i64 {
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        let id = self.next_id;
        self.next_id += 1;
        id
    }
}

/// Sends a leg's create.
pub(super) fn ask(link: &mut Link, leg: &mut Leg, id: i64, create: &[u8]) {
    leg.in_response = false;
    leg.stale_progress = link.progress_under_way();
    leg.upstream_id = link.next_id();
    leg.state = LegState::Asked;
    link.legs.insert(leg.upstream_id, id);
    link.asked.push_back(leg.upstream_id);
    link.send(messages::create(create, leg));
}
