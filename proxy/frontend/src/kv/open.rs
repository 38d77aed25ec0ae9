//! The beginning of a shard's reply: how long the client's own message in it is, and where it lies.

use bytes::{Bytes, BytesMut};
use etcd_prism_upstream::reply::{self, MAX_REPLY};
use etcd_prism_upstream::{Call, Reply, ShardPool, UpstreamError};
use etcd_prism_wire::fence::{self, Form, Start};
use etcd_prism_wire::frame::{self, PREFIX_LEN};
use etcd_prism_wire::patch;
use etcd_prism_wire::{Code, Status};
use http::HeaderMap;
use http_body_util::BodyExt;

use crate::identity::Identity;

/// Longest reply to a transaction that failed and has to be looked at: [`fence::MAX_FAILURE_GETS`] values of etcd's
/// largest, with room to spare.
const MAX_FAILED: usize = 32 << 20;

/// A reply whose message is for the client.
#[derive(Debug)]
pub struct Opened {
    /// The beginning of the client's message.
    pub first: Bytes,
    /// Bytes of it still to come.
    pub left: usize,
    /// Bytes behind it that are not the client's.
    pub trailing: usize,
    /// What makes its header ours.
    pub patch: Bytes,
    /// The message's own header says nothing: `patch` has the revision.
    pub is_headless: bool,
    pub reply: Reply,
}

/// How a shard answered.
#[derive(Debug)]
pub enum Opening {
    /// With a status.
    Early(HeaderMap),
    Open(Opened),
    /// A fenced transaction failed: its whole message, and its revision.
    Failed(Bytes),
}

/// Sends a call, built as `form` if it is fenced, and reads until it is known what came.
pub async fn open(
    pool: &ShardPool,
    call: Call,
    form: Option<Form>,
    identity: &Identity,
) -> Result<Opening, UpstreamError> {
    let shard = &pool.shard().name;
    let bad = |reason: &str| UpstreamError::BadReply { shard: shard.clone(), reason: reason.to_owned() };
    let mut reply = pool.call(call).await?;
    if reply.early_status().is_some() {
        return Ok(Opening::Early(reply.headers));
    }
    let mut first = Bytes::new();
    loop {
        match next(&mut reply, shard).await? {
            Next::Data(data) => first = join(first, data),
            // A status without a message: a refusal, never a success.
            Next::Trailers(trailers) => {
                let refused = reply::status_of(&trailers).is_some_and(|s| s.code != Code::Ok);
                return if refused { Ok(Opening::Early(trailers)) } else { Err(bad("no message")) };
            }
        }
        let Some(prefix) = first.first_chunk::<PREFIX_LEN>() else { continue };
        let len = frame::parse_prefix(*prefix, MAX_REPLY).map_err(|e| bad(&e.to_string()))?;
        if first.len() > PREFIX_LEN + len {
            return Err(bad("more than one message"));
        }
        let (skip, own, patch, is_headless) = match form {
            None => (0, len, identity.header_patch.clone(), false),
            Some(form) => {
                let start = fence::start(form, len, &first[PREFIX_LEN..]).map_err(|e| bad(&e.to_string()))?;
                match start {
                    Start::More => continue,
                    Start::Failed => return whole(reply, first, len, shard).await.map(Opening::Failed),
                    Start::Passed { skip, len, .. } if form == Form::Appended => {
                        (skip, len, identity.header_patch.clone(), false)
                    }
                    Start::Passed { skip, len, revision, raft_term } => {
                        let (cluster, member) = (identity.cluster_id, identity.member_id);
                        let patch = patch::header_of(cluster, member, revision, raft_term);
                        (skip, len, patch.into_bytes(), true)
                    }
                }
            }
        };
        let start = (PREFIX_LEN + skip).min(first.len());
        let end = (PREFIX_LEN + skip + own).min(first.len());
        let come = end - start;
        if come == 0 && own > 0 {
            // Ours so far.
            continue;
        }
        let left = own - come;
        let trailing = PREFIX_LEN + len - first.len() - left;
        let first = first.slice(start..end);
        return Ok(Opening::Open(Opened { first, left, trailing, patch, is_headless, reply }));
    }
}

impl Opened {
    /// Reads the rest of the client's message, at most `max` bytes of it in all, and the end of the reply.
    pub async fn read(mut self, shard: &str, max: usize) -> Result<Bytes, UpstreamError> {
        let len = self.first.len() + self.left;
        if len > max {
            let text = format!("grpc: received message larger than max ({len} vs. {max})");
            return Err(Status::new(Code::ResourceExhausted, text).into());
        }
        let mut message = std::mem::take(&mut self.first);
        if self.left > 0 {
            let mut joined = BytesMut::with_capacity(len);
            joined.extend_from_slice(&message);
            self.read_into(&mut joined, shard).await?;
            message = joined.freeze();
        } else {
            self.read_into(&mut BytesMut::new(), shard).await?;
        }
        end(&mut self.reply, shard).await?;
        Ok(message)
    }

    /// [`Self::read`], the revision in the message's header wherever the shard put it.
    pub async fn read_with_header(self, shard: &str, max: usize) -> Result<Bytes, UpstreamError> {
        let header = self.is_headless.then(|| self.patch.clone());
        let message = self.read(shard, max).await?;
        Ok(match header {
            Some(header) => join(message, header),
            None => message,
        })
    }

    /// The next piece of the client's message; `None` behind the last one, once the reply has ended well.
    pub async fn next(&mut self, shard: &str) -> Result<Option<Bytes>, UpstreamError> {
        if !self.first.is_empty() {
            return Ok(Some(std::mem::take(&mut self.first)));
        }
        while self.left + self.trailing > 0 {
            let mut data = more(&mut self.reply, shard, self.left + self.trailing).await?;
            let own = data.len().min(self.left);
            self.left -= own;
            self.trailing -= data.len() - own;
            data.truncate(own);
            if !data.is_empty() {
                return Ok(Some(data));
            }
        }
        end(&mut self.reply, shard).await?;
        Ok(None)
    }

    /// Bytes of the client's message.
    pub fn message_len(&self) -> usize {
        self.first.len() + self.left
    }

    /// Reads the rest of the message, the client's part of it behind what is in `out`.
    pub async fn read_into(&mut self, out: &mut BytesMut, shard: &str) -> Result<(), UpstreamError> {
        while self.left + self.trailing > 0 {
            let data = more(&mut self.reply, shard, self.left + self.trailing).await?;
            let own = data.len().min(self.left);
            out.extend_from_slice(&data[..own]);
            self.left -= own;
            self.trailing -= data.len() - own;
        }
        Ok(())
    }
}

/// The rest of a message of which `first` holds the beginning, and its prefix.
async fn whole(mut reply: Reply, first: Bytes, len: usize, shard: &str) -> Result<Bytes, UpstreamError> {
    if len > MAX_FAILED {
        let reason = format!("a failed transaction answers {len} bytes");
        return Err(UpstreamError::BadReply { shard: shard.to_owned(), reason });
    }
    let mut message = first.slice(PREFIX_LEN..);
    while message.len() < len {
        let data = more(&mut reply, shard, len - message.len()).await?;
        message = join(message, data);
    }
    end(&mut reply, shard).await?;
    Ok(message)
}

enum Next {
    Data(Bytes),
    Trailers(HeaderMap),
}

async fn next(reply: &mut Reply, shard: &str) -> Result<Next, UpstreamError> {
    let Some(frame) = reply.body.frame().await else { return Err(lost(shard, &"ended without a status")) };
    match frame.map_err(|e| lost(shard, &e))?.into_data() {
        Ok(data) => Ok(Next::Data(data)),
        Err(frame) => Ok(Next::Trailers(frame.into_trailers().unwrap_or_default())),
    }
}

/// At most `max` bytes more of a message.
async fn more(reply: &mut Reply, shard: &str, max: usize) -> Result<Bytes, UpstreamError> {
    match next(reply, shard).await? {
        Next::Data(data) if data.len() <= max => Ok(data),
        Next::Data(_) => Err(lost(shard, &"more than one message")),
        Next::Trailers(trailers) => match reply::status_of(&trailers) {
            Some(status) if status.code != Code::Ok => Err(status.into()),
            _ => Err(lost(shard, &"message cut off")),
        },
    }
}

/// The end of a reply whose message was read.
pub(super) async fn end(reply: &mut Reply, shard: &str) -> Result<HeaderMap, UpstreamError> {
    loop {
        match next(reply, shard).await? {
            Next::Data(data) if data.is_empty() => {}
            Next::Data(_) => return Err(lost(shard, &"more than one message")),
            Next::Trailers(trailers) => {
                return match reply::status_of(&trailers) {
                    Some(status) if status.code == Code::Ok => Ok(trailers),
                    Some(status) => Err(status.into()),
                    None => Err(lost(shard, &"no grpc-status")),
                };
            }
        }
    }
}

pub(super) fn lost(shard: &str, reason: &dyn std::fmt::Display) -> UpstreamError {
    UpstreamError::ConnectionLost { shard: shard.to_owned(), reason: reason.to_string() }
}

fn join(first: Bytes, more: Bytes) -> Bytes {
    if first.is_empty() {
        return more;
    }
    // Reuses the first buffer's room where it is the only holder.
    let mut joined = first.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    joined.extend_from_slice(&more);
    joined.freeze()
}
