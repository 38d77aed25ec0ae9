//! Whether what shards send may be passed on.
//!
//! A shard's message is believed after it has arrived, if the routes that it concerns are still served as they were when
//! their watchers were created, and the session at the shard stands. Without a session the message waits until a read that
//! carries the routes' fences has succeeded at its revision or a later one.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::RangeRequest;
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::{Class, rpc};
use etcd_prism_wire::keys::CLIENT_END;
use etcd_prism_wire::{Status, response};
use smallvec::SmallVec;

use super::driver::Driver;
use super::outbox::Source;
use super::watcher::{Leg, LegState};
use crate::context::Context;
use crate::error::RequestError;
use crate::kv::exchange;
use crate::place::Grant;

/// Between two questions of which the first could not be answered.
const RETRY: Duration = Duration::from_millis(100);
/// A reply without pairs fits easily.
const MAX_REPLY: usize = 4096;

pub(super) type Revision = Pin<Box<dyn Future<Output = Result<i64, RequestError>> + Send>>;

/// A message that waits for leave.
pub(super) struct Gate {
    message: Bytes,
    revision: i64,
    ask: Revision,
}

impl Gate {
    pub(super) fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<i64, RequestError>> {
        self.ask.as_mut().poll(cx)
    }
}

/// The present revision of a shard, read by right of `grant`.
pub(super) async fn present(cx: &Context, grant: &Grant) -> Result<i64, RequestError> {
    let request = RangeRequest { key: CLIENT_END.into(), count_only: true, ..RangeRequest::default() };
    let reply = exchange::read_raw(cx, grant, rpc::frame_of(&request), Class::Unary, MAX_REPLY).await?;
    Ok(response::revision(&reply)?)
}

impl Driver {
    /// A shard's message has arrived.
    pub(super) fn on_message(&mut self, shard: ShardId, message: Bytes) -> Result<(), Status> {
        let scanned = message.clone();
        let view = match response::watch(&scanned) {
            Ok(view) => view,
            Err(error) => {
                let name = &self.cx.worker.pool(shard).shard().name;
                return Err(Self::resumable(format!(
                    "etcd-prism: shard {name} sent a malformed watch response: {error}"
                )));
            }
        };
        let concerned = self.concerned(shard, &view);
        if concerned.iter().all(|g| g.may_release(&self.cx)) {
            drop(concerned);
            return self.pass(shard, message, &view);
        }
        let grant = Grant::merged(shard, concerned);
        if !grant.stands(&self.cx) {
            return self.hold(shard);
        }
        let ask = self.ask_leave(grant, Duration::ZERO);
        self.gates.insert(shard, Gate { message, revision: view.revision, ask });
        Ok(())
    }

    /// By what right a message may be passed on: that of the one leg that it is for, or of all.
    fn concerned(&self, shard: ShardId, view: &response::Watch<'_>) -> SmallVec<[&Grant; 1]> {
        if view.is_progress() && view.watch_id < 0 {
            return self.grants(shard);
        }
        let Some(link) = self.links.get(&shard) else { return SmallVec::new() };
        let upstream_id = if view.created { link.asked.front() } else { Some(&view.watch_id) };
        let Some(id) = upstream_id.and_then(|id| link.legs.get(id)) else { return SmallVec::new() };
        let creating = self.creating.as_ref().filter(|c| c.id == *id).map(|c| &c.watcher);
        let watcher = self.watchers.get(id).or(creating);
        let leg = watcher.and_then(|w| w.legs.iter().find(|l| l.shard == shard));
        leg.map(|leg| &leg.grant).into_iter().collect()
    }

    /// Of all legs that the shard is asked for.
    fn grants(&self, shard: ShardId) -> SmallVec<[&Grant; 1]> {
        let asked = self.legs().filter(|leg| leg.shard == shard && leg.state != LegState::Held);
        asked.map(|leg| &leg.grant).collect()
    }

    fn ask_leave(&self, grant: Grant, after: Duration) -> Revision {
        let cx = self.cx.clone();
        Box::pin(async move {
            tokio::time::sleep(after).await;
            present(&cx, &grant).await
        })
    }

    /// The question whether a message may be passed on was answered.
    pub(super) fn on_gate(
        &mut self,
        shard: ShardId,
        answer: Result<i64, RequestError>,
    ) -> Result<(), Status> {
        let Some(gate) = self.gates.remove(&shard) else { return Ok(()) };
        match answer {
            Ok(revision) if revision >= gate.revision => match response::watch(&gate.message.clone()) {
                Ok(view) => self.pass(shard, gate.message, &view),
                Err(_) => Ok(()),
            },
            other => {
                tracing::debug!(answer = ?other.map_err(|e| e.to_string()), "watch: leave to pass a message on");
                let grant = Grant::merged(shard, self.grants(shard));
                if !grant.stands(&self.cx) {
                    return self.hold(shard);
                }
                let ask = self.ask_leave(grant, RETRY);
                self.gates.insert(shard, Gate { ask, ..gate });
                Ok(())
            }
        }
    }

    /// Ownership has changed somewhere: whatever is not served any more as it was is held back, and what may go on does.
    pub(super) fn on_ownership(&mut self) -> Result<(), Status> {
        let fallen = self.legs().filter(|leg| leg.state != LegState::Held && !leg.grant.stands(&self.cx));
        let mut fallen: Vec<ShardId> = fallen.map(|leg| leg.shard).collect();
        fallen.sort_unstable();
        fallen.dedup();
        for shard in fallen {
            self.hold(shard)?;
        }
        self.release()
    }

    /// Drops what is on its way from a shard, because some of it was asked for by a right that is gone. Nothing is lost:
    /// every watcher goes on where its client left off, those of other routes at once.
    fn hold(&mut self, shard: ShardId) -> Result<(), Status> {
        let partial = |id: &i64| self.outbox.has_part_of(Source::of(*id, shard));
        if self.watchers.keys().any(partial) {
            return Err(Self::resumable("etcd-prism: ownership changed within a fragmented response"));
        }
        self.gates.remove(&shard);
        if let Some(link) = self.links.get_mut(&shard) {
            link.close();
        }
        self.legs_lost(shard);
        let cx = self.cx.clone();
        for leg in self.legs_mut().filter(|leg| leg.shard == shard && !leg.grant.stands(&cx)) {
            leg.state = LegState::Held;
        }
        self.release()
    }

    /// Lets legs go on whose routes are served again where they were.
    fn release(&mut self) -> Result<(), Status> {
        let cx = self.cx.clone();
        let mut released: SmallVec<[ShardId; 1]> = SmallVec::new();
        for leg in self.legs_mut().filter(|leg| leg.state == LegState::Held) {
            match leg.grant.renewed(&cx) {
                Ok(Some(grant)) if grant.shard == leg.shard && leg.may_resume(grant.floor()) => {
                    leg.grant = grant;
                    leg.state = LegState::Waiting;
                    released.push(leg.shard);
                }
                // Clients resume on a new stream, which finds the route where it is now.
                Ok(Some(_)) => return Err(Self::resumable("etcd-prism: the route has moved")),
                Ok(None) => {}
                Err(error) => return Err(Self::resumable(error.status().message)),
            }
        }
        released.sort_unstable();
        released.dedup();
        for shard in released {
            // Where the link is open already. Otherwise they are asked for when it is.
            self.ask_again(shard);
        }
        Ok(())
    }

    fn legs(&self) -> impl Iterator<Item = &Leg> {
        let creating = self.creating.as_ref().map(|c| &c.watcher);
        self.watchers.values().chain(creating).flat_map(|w| &w.legs)
    }

    fn legs_mut(&mut self) -> impl Iterator<Item = &mut Leg> {
        self.watchers
            .values_mut()
            .chain(self.creating.as_mut().map(|c| &mut c.watcher))
            .flat_map(|w| &mut w.legs)
    }
}
