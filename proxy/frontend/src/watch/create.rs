//! Creating a watcher.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::{RangeRequest, RangeResponse};
use etcd_prism_routing::{Placement, ShardId};
use etcd_prism_upstream::{UpstreamError, rpc};
use etcd_prism_wire::keys::CLIENT_END;
use etcd_prism_wire::request::WatchCreate;
use etcd_prism_wire::{KeyRange, patch};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::driver::Driver;
use super::link::Link;
use super::messages;
use super::outbox::Source;
use super::watcher::{Leg, LegState, Watcher};
use crate::error::route_names;

/// How long a create may keep others on its stream waiting.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of events held for a watcher over several shards until all of them have created it.
const MAX_HELD: usize = 1 << 20;

type Revisions = Pin<Box<dyn Future<Output = Result<Vec<(ShardId, i64)>, UpstreamError>> + Send>>;

/// The create that is under way.
pub(super) struct Creating {
    pub id: i64,
    pub watcher: Watcher,
    pub deadline: Instant,
    /// The shards' present, for a create that starts there.
    revisions: Option<Revisions>,
    /// The revision that `created` tells, if not the shard's own.
    pub answer_revision: Option<i64>,
    /// The first `created` of a shard.
    pub created: Option<Bytes>,
    /// Events that came before `created` could be sent; whether each is a fragment with more to come.
    held: Vec<(ShardId, Bytes, bool)>,
    held_bytes: usize,
}

impl Creating {
    pub(super) fn poll_revisions(
        &mut self,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Result<Vec<(ShardId, i64)>, UpstreamError>> {
        let Some(revisions) = &mut self.revisions else { return Poll::Pending };
        let answer = std::task::ready!(revisions.as_mut().poll(cx));
        self.revisions = None;
        Poll::Ready(answer)
    }

    /// Keeps events back until `created` was sent. False if there are too many.
    pub(super) fn hold(&mut self, shard: ShardId, frame: Bytes, more: bool) -> bool {
        self.held_bytes += frame.len();
        self.held.push((shard, frame, more));
        self.held_bytes <= MAX_HELD
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
        let keyspace = &self.cx.gateway().keyspace;
        let (route, legs): (_, SmallVec<[Leg; 1]>) = match keyspace.place(keys) {
            Placement::One { shard, route, single_route } => {
                let leg = leg(shard, keys, create.start_revision, false);
                (single_route.then_some(route), SmallVec::from_iter([leg]))
            }
            Placement::Spans(routes) if create.start_revision != 0 => {
                let names = route_names(keyspace, &routes);
                let reason = format!(
                    "etcd-prism: a watch with a start revision cannot span the routes {names}: \
                     each has a line of revisions of its own"
                );
                return self.fail_create(None, &reason);
            }
            // One leg per shard over everything in between, so that a revision stays in one response.
            Placement::Spans(_) => {
                let mut legs: SmallVec<[Leg; 1]> = SmallVec::new();
                for segment in keyspace.segments(keys) {
                    match legs.iter_mut().find(|l: &&mut Leg| l.shard == segment.shard) {
                        Some(leg) => leg.range_end = Bytes::copy_from_slice(segment.keys.range_end),
                        None => legs.push(leg(segment.shard, segment.keys, 0, true)),
                    }
                }
                (None, legs)
            }
        };
        for leg in &legs {
            self.links.entry(leg.shard).or_insert_with(|| Link::new(leg.shard)).wanted += 1;
        }
        let revisions =
            (create.start_revision == 0).then(|| self.present(legs.iter().map(|l| l.shard).collect()));
        self.creating = Some(Creating {
            id,
            watcher: Watcher { create: raw, route, legs },
            deadline: Instant::now() + PATIENCE,
            revisions,
            answer_revision: None,
            created: None,
            held: Vec::new(),
            held_bytes: 0,
        });
        self.ask_creating();
    }

    /// The present revisions of shards. A watcher that starts now is pinned there at once, so that it can be resumed
    /// exactly however early its stream breaks.
    fn present(&self, shards: Vec<ShardId>) -> Revisions {
        let worker = self.cx.worker.clone();
        Box::pin(async move {
            let reads = shards.iter().map(|shard| async {
                let request =
                    RangeRequest { key: CLIENT_END.into(), count_only: true, ..RangeRequest::default() };
                let reply: RangeResponse = rpc::read(worker.pool(*shard), rpc::RANGE, &request).await?;
                Ok((*shard, reply.header.map_or(0, |h| h.revision)))
            });
            futures_util::future::try_join_all(reads).await
        })
    }

    pub(super) fn on_revisions(&mut self, answer: Result<Vec<(ShardId, i64)>, UpstreamError>) {
        let Some(creating) = &mut self.creating else { return };
        match answer {
            Ok(revisions) => {
                creating.answer_revision = revisions.iter().map(|(_, r)| *r).min();
                for (shard, revision) in revisions {
                    if let Some(leg) = creating.watcher.leg_mut(shard) {
                        leg.next = revision + 1;
                        leg.progress_from = revision;
                        // Checked when the shard answers: nothing may have been written in between.
                        leg.from_now = true;
                    }
                }
                self.ask_creating();
            }
            Err(error) => {
                tracing::debug!(%error, "watch: present revision");
                let shards = creating.watcher.legs.iter().map(|l| l.shard).collect();
                let retry = self.present(shards);
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
        for (shard, frame, more) in creating.held {
            self.outbox.push(Source::of(creating.id, shard), frame, more);
        }
        self.cx.gateway().metrics.watchers.increment(1.0);
        self.watchers.insert(creating.id, creating.watcher);
    }

    /// The create under way has failed: `created` and `canceled` in one. `message` is the shard's own answer.
    pub(super) fn fail_create(&mut self, message: Option<&Bytes>, reason: &str) {
        let identity = &self.cx.gateway().identity;
        let frame = match message {
            Some(message) => messages::pass_on(identity, message, messages::INVALID_ID),
            None => {
                let seen = self.cx.gateway().home().seen();
                let revision = seen.and_then(|s| s.status.header.as_ref().map(|h| h.revision)).unwrap_or(1);
                messages::create_failed(identity, revision, reason)
            }
        };
        self.push(messages::INVALID_ID, frame);
        let Some(creating) = self.creating.take() else { return };
        for leg in creating.watcher.legs {
            if let Some(link) = self.links.get_mut(&leg.shard) {
                link.wanted -= 1;
                if link.legs.remove(&leg.upstream_id).is_some() {
                    link.send(messages::cancel(leg.upstream_id));
                }
            }
        }
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

fn leg(shard: ShardId, keys: KeyRange<'_>, start: i64, shared_range: bool) -> Leg {
    Leg {
        shard,
        key: Bytes::copy_from_slice(keys.key),
        range_end: Bytes::copy_from_slice(keys.range_end),
        upstream_id: 0,
        state: LegState::Waiting,
        next: start,
        progress_from: start,
        from_now: false,
        in_response: false,
        stale_progress: 0,
        shared_range,
    }
}
