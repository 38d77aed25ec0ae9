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
    pub(super) fn into_message(self) -> Bytes {
        self.message
    }

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
        if self.concerned(shard, &view).iter().any(|g| !g.stands(&self.cx)) {
            // It came before the news did. It is looked at again behind what the news set free.
            self.on_ownership()?;
            if let Some(link) = self.links.get_mut(&shard).filter(|link| link.is_open()) {
                link.give_later(message);
            }
            return Ok(());
        }
        if self.leg_of(shard, &view).is_some_and(|leg| leg.state == LegState::Paused) {
            let kept = self.links.get_mut(&shard).is_some_and(|link| link.keep(message));
            return if kept { Ok(()) } else { self.hold(shard) };
        }
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

    /// The leg that a message is for, if it is for one.
    fn leg_of(&self, shard: ShardId, view: &response::Watch<'_>) -> Option<&Leg> {
        let link = self.links.get(&shard)?;
        let upstream_id = if view.created { link.asked.front()? } else { &view.watch_id };
        let id = link.legs.get(upstream_id)?;
        let creating = self.creating.as_ref().filter(|c| c.id == *id).map(|c| &c.watcher);
        let watcher = self.watchers.get(id).or(creating)?;
        watcher.legs.iter().find(|l| l.shard == shard)
    }

    /// By what right a message may be passed on: that of the one leg that it is for, or of all.
    fn concerned(&self, shard: ShardId, view: &response::Watch<'_>) -> SmallVec<[&Grant; 1]> {
        if view.is_progress() && view.watch_id < 0 {
            return self.grants(shard);
        }
        self.leg_of(shard, view).filter(|leg| leg.needs_right()).map(|leg| &leg.grant).into_iter().collect()
    }

    /// Of all legs that the shard is asked for.
    fn grants(&self, shard: ShardId) -> SmallVec<[&Grant; 1]> {
        let asked = self.legs().filter(|leg| leg.shard == shard && leg.needs_right());
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
}
