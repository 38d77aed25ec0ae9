//! Replies of shards.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use etcd_prism_wire::frame::{self, FrameReader, PREFIX_LEN};
use etcd_prism_wire::{Code, Status};
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::connector::StreamGuard;
use crate::error::UpstreamError;

/// The longest message etcd sends: grpc-go's limit is the largest int32.
pub const MAX_REPLY: usize = i32::MAX as usize;

/// Longest silence of a shard in the middle of a reply that is read whole.
const STALL: Duration = Duration::from_secs(10);

/// The head of a shard's answer and its body, still on the way.
#[derive(Debug)]
pub struct Reply {
    pub headers: HeaderMap,
    pub body: Incoming,
    pub places: Places,
}

/// What the reply holds until it is over.
#[derive(Debug)]
pub struct Places {
    pub(crate) _stream: StreamGuard,
}

impl Reply {
    pub(crate) fn new(
        shard: &str,
        response: Response<Incoming>,
        places: Places,
    ) -> Result<Self, UpstreamError> {
        let (head, body) = response.into_parts();
        // grpc-go answers a request that it cannot read with an HTTP error and a gRPC status: the status is for the client.
        if head.status != http::StatusCode::OK && status_of(&head.headers).is_none_or(|s| s.code == Code::Ok)
        {
            let reason = format!("HTTP status {}", head.status);
            return Err(UpstreamError::BadReply { shard: shard.to_owned(), reason });
        }
        Ok(Self { headers: head.headers, body, places })
    }

    /// The status of an answer that consists of headers only; etcd answers every failed unary call this way.
    pub fn early_status(&self) -> Option<Status> {
        status_of(&self.headers)
    }

    /// Reads a unary reply whole: its one message. A status other than OK is an error.
    pub async fn message(self, shard: &str) -> Result<Bytes, UpstreamError> {
        self.message_up_to(shard, MAX_REPLY).await
    }

    /// The same, for a message of at most `max` bytes. A shard that stops in the middle is given [`STALL`].
    pub async fn message_up_to(mut self, shard: &str, max: usize) -> Result<Bytes, UpstreamError> {
        if let Some(status) = self.early_status() {
            return Err(status.into());
        }
        let bad =
            |reason: &str| UpstreamError::BadReply { shard: shard.to_owned(), reason: reason.to_owned() };
        let mut chunks = Chunks::default();
        let stalled = |_| UpstreamError::TimedOut { shard: shard.to_owned() };
        while let Some(frame) = tokio::time::timeout(STALL, self.body.frame()).await.map_err(stalled)? {
            let frame = frame.map_err(|e| lost(shard, &e))?;
            match frame.into_data() {
                Ok(data) => {
                    chunks.push(data);
                    if chunks.len() > max + PREFIX_LEN {
                        let text =
                            format!("grpc: received message larger than max ({} vs. {max})", chunks.len());
                        return Err(Status::new(Code::ResourceExhausted, text).into());
                    }
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let status = status_of(&trailers).ok_or_else(|| bad("no grpc-status"))?;
                    if status.code != Code::Ok {
                        return Err(status.into());
                    }
                    let body = chunks.join();
                    if body.len() < PREFIX_LEN {
                        return Err(bad("no message"));
                    }
                    let mut reader = FrameReader::new(MAX_REPLY);
                    reader.push(body);
                    let message = reader.next_message().map_err(|e| bad(&e.to_string()))?;
                    return message
                        .filter(|_| reader.is_empty())
                        .ok_or_else(|| bad("not exactly one message"));
                }
            }
        }
        Err(lost(shard, &"ended without a status"))
    }
}

/// The status in a header or trailer map, if it has one.
pub fn status_of(headers: &HeaderMap) -> Option<Status> {
    let code = headers.get("grpc-status")?;
    let message = headers.get("grpc-message").map_or(&b""[..], |m| m.as_bytes());
    Some(Status::from_headers(code.as_bytes(), message))
}

pub(crate) fn lost(shard: &str, reason: &dyn std::fmt::Display) -> UpstreamError {
    UpstreamError::ConnectionLost { shard: shard.to_owned(), reason: reason.to_string() }
}

/// The declared length of a message is believed up to this many bytes; more room is taken as the bytes come.
const RESERVE: usize = 16 << 20;

/// Body chunks; a body of one chunk, the usual one, is not copied.
#[derive(Debug, Default)]
struct Chunks {
    first: Bytes,
    rest: BytesMut,
}

impl Chunks {
    fn push(&mut self, chunk: Bytes) {
        if self.first.is_empty() && self.rest.is_empty() {
            self.first = chunk;
        } else {
            if self.rest.is_empty() {
                let declared =
                    self.first.first_chunk().map_or(0, |p| frame::parse_prefix(*p, MAX_REPLY).unwrap_or(0));
                self.rest.reserve((PREFIX_LEN + declared).min(RESERVE));
                self.rest.extend_from_slice(&std::mem::take(&mut self.first));
            }
            self.rest.extend_from_slice(&chunk);
        }
    }

    fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    fn join(self) -> Bytes {
        if self.rest.is_empty() { self.first } else { self.rest.freeze() }
    }
}
