//! Watches the fences, the table and the sessions of a shard, so that a seal is seen within milliseconds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_prism_ownership::keys::{self, Key};
use etcd_prism_ownership::route::Observation;
use etcd_prism_ownership::value::{Fence, ReignRecord, Session, Stored, Table};
use etcd_prism_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_prism_proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use etcd_prism_proto::mvccpb::Event;
use etcd_prism_proto::mvccpb::event::EventType;
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::reply::{MAX_REPLY, status_of};
use etcd_prism_upstream::{UpstreamError, rpc};
use etcd_prism_wire::frame::FrameReader;
use http::HeaderMap;
use http::uri::PathAndQuery;
use http_body_util::BodyExt;
use prost::Message;
use tokio::time::Instant;

use crate::call;
use crate::ownership::Ownership;
use crate::state::{State, is_denied};

const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// First wait for the record of a reign before the shard is read for it; each next one is twice as long.
const REIGN_PAUSE: Duration = Duration::from_millis(100);
/// Between attempts at a shard that does not let us read.
const DENIED_BACKOFF: Duration = Duration::from_secs(10);
/// The shard is read anew this often: a watch that hangs is not noticed otherwise.
const REREAD: Duration = Duration::from_secs(15);

pub(crate) async fn run(own: Arc<Ownership>, shard: ShardId) {
    let (mut backoff, mut pause) = (MIN_BACKOFF, REIGN_PAUSE);
    let routes: HashMap<String, usize> =
        own.specs.iter().enumerate().map(|(i, spec)| (spec.name.clone(), i)).collect();
    let watcher = Watcher { own: &own, shard, routes };
    loop {
        match own.read(shard).await {
            Ok(revision) => {
                backoff = MIN_BACKOFF;
                let end = watcher.follow(revision + 1, pause).await;
                pause = if matches!(end, End::NoReign) { (pause * 2).min(REREAD) } else { REIGN_PAUSE };
                tracing::debug!(shard = %watcher.name(), end = %end, "watch of the reserved keys ended");
                // Not at once: a watch that is refused each time must not keep the shard busy.
                tokio::time::sleep(MIN_BACKOFF).await;
            }
            Err(error) => {
                // Nobody answers: what answers next may be another etcd, or this one in an older state. So its session
                // begins anew, with a look at who it is.
                own.lose(shard, "the shard cannot be read");
                let denied = is_denied(&error);
                tracing::debug!(shard = %watcher.name(), %error, "the reserved keys cannot be read");
                tokio::time::sleep(if denied { DENIED_BACKOFF } else { backoff }).await;
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
        }
    }
}

struct Watcher<'a> {
    own: &'a Ownership,
    shard: ShardId,
    /// Indexes by name.
    routes: HashMap<String, usize>,
}

/// Why a watch ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("the stream was closed")]
    Closed,
    #[error("cancelled by the shard: {0}")]
    Cancelled(String),
    #[error("the shard is read again")]
    Reread,
    #[error("the record of a reign did not come with its fence")]
    NoReign,
}

impl Watcher<'_> {
    fn name(&self) -> &str {
        &self.own.pools[usize::from(self.shard.0)].shard().name
    }

    /// Follows the keys from a revision on, until the stream breaks or something asks for a new look.
    async fn follow(&self, from: i64, pause: Duration) -> End {
        let reread = &self.own.signals.shard(self.shard).reread;
        let timer = tokio::time::sleep(REREAD);
        tokio::select! {
            end = self.stream(from) => match end {
                Ok(never) => match never {},
                Err(end) => end,
            },
            () = reread.notified() => End::Reread,
            () = self.lacks_reign(pause) => End::NoReign,
            () = timer => End::Reread,
        }
    }

    /// Until a route has waited so long for the record of its reign. The record was written with the fence, so the watch
    /// brings it, unless the fence was heard of elsewhere.
    async fn lacks_reign(&self, pause: Duration) {
        loop {
            self.own.signals.shard(self.shard).reign.notified().await;
            tokio::time::sleep(pause).await;
            if self.own.state.lock().lacks_reign(self.shard) {
                return;
            }
        }
    }

    async fn stream(&self, from: i64) -> Result<std::convert::Infallible, End> {
        let pool = &self.own.pools[usize::from(self.shard.0)];
        let path = PathAndQuery::from_static(rpc::WATCH);
        let deadline = Instant::now() + self.own.options.patience();
        let open = pool.open(&path, HeaderMap::new(), deadline).await?;
        for create in creates(from) {
            let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
            if open.sender.send(rpc::frame_of(&request)).is_err() {
                return Err(End::Closed);
            }
        }
        let mut reply = tokio::time::timeout_at(deadline, open.reply)
            .await
            .map_err(|_| UpstreamError::TimedOut { shard: self.name().to_owned() })??;
        if let Some(status) = reply.early_status() {
            return Err(UpstreamError::from(status).into());
        }
        let mut frames = FrameReader::new(MAX_REPLY);
        while let Some(frame) = reply.body.frame().await {
            let frame = frame.map_err(|_| End::Closed)?;
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    let status = frame.into_trailers().ok().and_then(|t| status_of(&t));
                    return Err(status.map_or(End::Closed, |status| UpstreamError::from(status).into()));
                }
            };
            frames.push(data);
            while let Some(message) = frames.next_message().map_err(|e| call::bad(pool, e.to_string()))? {
                let response = WatchResponse::decode(message).map_err(|e| call::bad(pool, e.to_string()))?;
                if response.canceled {
                    return Err(End::Cancelled(response.cancel_reason));
                }
                self.take(&response.events)?;
            }
        }
        Err(End::Closed)
    }

    fn take(&self, events: &[Event]) -> Result<(), End> {
        if events.is_empty() {
            return Ok(());
        }
        let own = self.own;
        let identity_changed = own.update(|state| {
            let changed = events.iter().map(|event| self.event(state, event)).fold(false, |a, b| a | b);
            state.identify(&own.upstream);
            changed
        });
        metrics::counter!("etcd_prism_fence_observations_total", "source" => "watch")
            .increment(events.len() as u64);
        // A new identity is read together with the header that goes with it.
        if identity_changed { Err(End::Reread) } else { Ok(()) }
    }

    /// Returns whether the shard's identity changed.
    fn event(&self, state: &mut State, event: &Event) -> bool {
        let Some(kv) = &event.kv else { return false };
        let is_put = event.r#type() == EventType::Put;
        match keys::parse(&kv.key) {
            Some(Key::Fence(route)) => {
                let fence = is_put.then(|| (kv.mod_revision, Fence::decode(&kv.value)));
                let observation = Observation { revision: kv.mod_revision, fence };
                match self.routes.get(route) {
                    Some(route) => state.observe(*route, self.shard, observation),
                    None => state.observe_stranger(route, self.shard, observation),
                }
            }
            Some(Key::Reign { route, n }) => {
                let record = is_put.then(|| ReignRecord::decode(&kv.value));
                state.shard_mut(self.shard).reigns.event(route, n, kv.mod_revision, record.as_ref());
            }
            Some(Key::Table) => {
                state.shard_mut(self.shard).table =
                    is_put.then(|| (kv.mod_revision, Table::decode(&kv.value)));
            }
            Some(Key::Session(proxy)) => {
                let sessions = &mut state.shard_mut(self.shard).sessions;
                if is_put {
                    let session = Session::decode(&kv.value);
                    let name = session.as_ref().map(|s| s.name.clone()).unwrap_or_default();
                    sessions.insert(proxy, (kv.lease, name));
                    for (shard, revision) in session.iter().flat_map(|s| &s.revisions) {
                        state.remember(*shard, *revision);
                    }
                } else {
                    sessions.remove(&proxy);
                    let facts = state.shard_mut(self.shard);
                    if proxy == self.own.id && kv.mod_revision > facts.session_written {
                        // The lease has ended, or somebody removed the key: a driver counts us as gone.
                        facts.session.refused(0);
                    }
                }
            }
            Some(Key::Driver(route)) => {
                let drivers = &mut state.shard_mut(self.shard).drivers;
                if is_put {
                    drivers.insert(route.to_owned(), kv.lease);
                } else {
                    drivers.remove(route);
                }
            }
            Some(Key::Identity) => return true,
            _ => {}
        }
        false
    }
}

/// Watchers that leave out what changes with every write of clients: the marker, leases, samples.
fn creates(start_revision: i64) -> [WatchCreateRequest; 3] {
    let create = |key: &[u8], range_end: &[u8]| WatchCreateRequest {
        key: key.to_vec().into(),
        range_end: range_end.to_vec().into(),
        start_revision,
        ..WatchCreateRequest::default()
    };
    let behind_table = [keys::TABLE, b"\0"].concat();
    // Drivers, fences and the identity lie before the leases; the table lies behind the sessions.
    [
        create(keys::DRIVERS.key, keys::LEASES.key),
        create(keys::REIGNS.key, keys::REIGNS.range_end),
        create(keys::SESSIONS.key, &behind_table),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd_prism_ownership::id::ProxyId;
    use etcd_prism_wire::keys::KeyRange;

    #[test]
    fn what_is_watched() {
        let creates = creates(5);
        let watched = |key: &[u8]| creates.iter().any(|c| KeyRange::new(&c.key, &c.range_end).contains(key));
        let [fence, reign, session, driver] =
            [keys::fence("pods"), keys::reign("pods", 1), keys::session(ProxyId(1)), keys::driver("pods")];
        for key in [&fence[..], &reign, &session, &driver, keys::IDENTITY, keys::TABLE] {
            assert!(watched(key), "{key:?}");
        }
        for key in [&keys::lease(1)[..], keys::MARKER, keys::SAMPLES, b"/registry/pods"] {
            assert!(!watched(key), "{key:?}");
        }
    }
}
