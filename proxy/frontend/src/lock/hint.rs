//! Learns from a shard that it is time to look again. A hint decides nothing: what it says may be old, and may be false
//! where the shard does not own the keys any more.

use std::time::Duration;

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_prism_proto::etcdserverpb::{WatchCreateRequest, WatchRequest};
use etcd_prism_upstream::pool::OpenStream;
use etcd_prism_upstream::reply::{self, MAX_REPLY, Places};
use etcd_prism_upstream::{UpstreamError, rpc};
use etcd_prism_wire::frame::FrameReader;
use etcd_prism_wire::response;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::context::Context;
use crate::place::Grant;

/// Longest time without a look: for hints that get lost.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Keys of a shard, watched from the moment that this was made.
pub(super) struct Hint {
    grant: Grant,
    shard: String,
    key: Bytes,
    range_end: Bytes,
    /// The stream is over when this is dropped.
    _requests: mpsc::UnboundedSender<Bytes>,
    body: Incoming,
    frames: FrameReader,
    _places: Places,
}

impl Hint {
    /// Starts to watch a range, or one key if `range_end` is empty. Every change after this returned will be noticed.
    pub(super) async fn on(
        cx: &Context,
        grant: &Grant,
        key: Bytes,
        range_end: Bytes,
    ) -> Result<Self, UpstreamError> {
        let pool = cx.worker.pool(grant.shard);
        let shard = pool.shard().name.clone();
        let deadline = Instant::now() + pool.shard().bounds().request_timeout;
        let timed_out = |_| UpstreamError::TimedOut { shard: shard.clone() };
        let opening = async {
            let path = PathAndQuery::from_static(rpc::WATCH);
            // A member that is cut off from its leader would stay silent.
            let metadata = HeaderMap::from_iter([(
                http::HeaderName::from_static("hasleader"),
                HeaderValue::from_static("true"),
            )]);
            let OpenStream { sender, reply, .. } = pool.open(&path, metadata, deadline).await?;
            let (watched, end) = (key.clone(), range_end.clone());
            let create = WatchCreateRequest { key: watched, range_end: end, ..WatchCreateRequest::default() };
            let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
            // It fails only where the stream has just ended, which the reply tells.
            drop(sender.send(rpc::frame_of(&request)));
            let reply = reply.await?;
            if let Some(status) = reply.early_status() {
                return Err(status.into());
            }
            let mut hint = Self {
                grant: grant.clone(),
                shard: shard.clone(),
                key,
                range_end,
                _requests: sender,
                body: reply.body,
                frames: FrameReader::new(MAX_REPLY),
                _places: reply.places,
            };
            hint.created().await?;
            Ok(hint)
        };
        tokio::time::timeout_at(deadline, opening).await.map_err(timed_out)?
    }

    /// Whether it is about these keys, by a right that stands.
    pub(super) fn is_on(&self, cx: &Context, grant: &Grant, key: &[u8], range_end: &[u8]) -> bool {
        self.grant.shard == grant.shard
            && self.grant.stands(cx)
            && self.key == key
            && self.range_end == range_end
    }

    /// Waits until it is time to look again.
    ///
    /// # Errors
    /// The hint is worth nothing any more.
    pub(super) async fn wait(&mut self, cx: &Context) -> Result<(), UpstreamError> {
        let mut changes = cx.ownership().subscribe();
        let grant = self.grant.clone();
        let moved = async {
            while grant.stands(cx) {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            happened = self.event() => happened,
            () = moved => Ok(()),
            () = tokio::time::sleep(LOOK_AGAIN) => Ok(()),
        }
    }

    async fn created(&mut self) -> Result<(), UpstreamError> {
        let message = self.message().await?;
        match response::watch(&message) {
            Ok(view) if view.created && !view.canceled => Ok(()),
            Ok(view) => Err(self.lost(&String::from_utf8_lossy(view.cancel_reason))),
            Err(error) => Err(self.lost(&error)),
        }
    }

    async fn event(&mut self) -> Result<(), UpstreamError> {
        loop {
            let message = self.message().await?;
            match response::watch(&message) {
                Ok(view) if view.canceled => {
                    return Err(self.lost(&String::from_utf8_lossy(view.cancel_reason)));
                }
                Ok(view) if view.events > 0 => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(self.lost(&error)),
            }
        }
    }

    async fn message(&mut self) -> Result<Bytes, UpstreamError> {
        loop {
            match self.frames.next_message() {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(error) => return Err(self.lost(&error)),
            }
            let frame = match self.body.frame().await {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Err(self.lost(&error)),
                None => return Err(self.lost(&"cut off")),
            };
            match frame.into_data() {
                Ok(data) => self.frames.push(data),
                Err(frame) => {
                    let status = reply::status_of(&frame.into_trailers().unwrap_or_default());
                    return Err(status.map_or_else(|| self.lost(&"no status"), Into::into));
                }
            }
        }
    }

    fn lost(&self, reason: &dyn std::fmt::Display) -> UpstreamError {
        UpstreamError::ConnectionLost { shard: self.shard.clone(), reason: reason.to_string() }
    }
}
