//! The whole of a range in key order: the shards' replies put one after the other, without holding them.
//!
//! Messages of one type concatenate to one message: the pairs follow each other, and the last header, `more` and `count`
//! win. The length of a reply is known from its first bytes, so the length of the merged message is known before its
//! first byte is sent, and the replies stream through.

use bytes::Bytes;
use etcd_prism_upstream::{Class, Reply, Retry, UpstreamError, reply, rpc};
use etcd_prism_wire::frame::{self, PREFIX_LEN};
use etcd_prism_wire::patch::Patch;
use etcd_prism_wire::{Code, Status};
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::{COUNT, MORE, Plan, malformed};
use crate::body::ResponseBody;
use crate::error::RequestError;
use crate::kv::forward;
use crate::respond;

/// A segment's reply whose first chunk is here.
struct Part {
    shard: String,
    first: Bytes,
    /// Bytes of the message still to come.
    left: usize,
    reply: Reply,
}

/// Asks all segments that hold keys at once, then sends their replies in key order.
pub(super) async fn stream(plan: Plan<'_>) -> Result<Response<ResponseBody>, RequestError> {
    let filled = plan.segments.iter().zip(&plan.pins.counts).filter(|(_, count)| **count > 0);
    let opens = filled.map(|(segment, _)| async move {
        let frame = plan.request(segment, Patch::new());
        let call = forward::call(plan.cx, rpc::RANGE, frame, Class::Bulk, Retry::OnceElsewhere);
        open(plan.cx.worker.pool(segment.shard), call).await.map_err(|error| match error {
            UpstreamError::BadReply { reason, .. } => malformed(plan.cx, segment.shard, &reason),
            other => other,
        })
    });
    let parts = futures_util::future::try_join_all(opens).await?;
    let tail = Patch::new().int64(MORE, 0).int64(COUNT, plan.total());
    let tail = [plan.header, tail.as_slice()].concat();
    let len = parts.iter().map(|p| p.first.len() + p.left).sum::<usize>() + tail.len();
    if len > reply::MAX_REPLY {
        let text = format!("grpc: trying to send message larger than max ({len} vs. {})", reply::MAX_REPLY);
        return Err(Status::new(Code::ResourceExhausted, text).into());
    }
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let prefix = Bytes::copy_from_slice(&frame::prefix(len));
        if sender.send(Frame::data(prefix)).await.is_err() {
            return;
        }
        for part in parts {
            if let Err(error) = pump(part, &sender).await {
                // The length is promised already: without trailers the client sees the stream break, as it must.
                tracing::debug!(%error, "merged list cut off");
                let status = error.status();
                drop(sender.send(Frame::trailers(respond::trailers(&status))).await);
                return;
            }
        }
        let end =
            [Frame::data(Bytes::from(tail)), Frame::trailers(respond::trailers(&Status::new(Code::Ok, "")))];
        for frame in end {
            if sender.send(frame).await.is_err() {
                return;
            }
        }
    });
    Ok(respond::with_body(ResponseBody::Stream(receiver)))
}

async fn open(
    pool: &etcd_prism_upstream::ShardPool,
    call: etcd_prism_upstream::Call,
) -> Result<Part, UpstreamError> {
    let shard = pool.shard().name.clone();
    let mut reply = pool.call(call).await?;
    if let Some(status) = reply.early_status() {
        return Err(status.into());
    }
    let bad = |reason: String| UpstreamError::BadReply { shard: shard.clone(), reason };
    let mut first = bytes::BytesMut::new();
    while first.len() < PREFIX_LEN {
        let frame = reply.body.frame().await.ok_or_else(|| bad("no message".into()))?;
        let frame = frame.map_err(|e| lost(&shard, &e))?;
        first.extend_from_slice(&frame.into_data().map_err(|_| bad("no message".into()))?);
    }
    let prefix = first.split_to(PREFIX_LEN);
    let prefix = *prefix.first_chunk().ok_or_else(|| bad("no message".into()))?;
    let len = frame::parse_prefix(prefix, reply::MAX_REPLY).map_err(|e| bad(e.to_string()))?;
    let left = len.checked_sub(first.len()).ok_or_else(|| bad("more than one message".into()))?;
    Ok(Part { shard, first: first.freeze(), left, reply })
}

/// Passes one reply on, to its last byte.
async fn pump(mut part: Part, sender: &mpsc::Sender<Frame<Bytes>>) -> Result<(), UpstreamError> {
    let gone = || UpstreamError::Status(Status::new(Code::Canceled, "client is gone"));
    sender.send(Frame::data(part.first)).await.map_err(|_| gone())?;
    loop {
        let Some(frame) = part.reply.body.frame().await else { return Err(lost(&part.shard, &"cut off")) };
        match frame.map_err(|e| lost(&part.shard, &e))?.into_data() {
            Ok(data) => {
                part.left =
                    part.left.checked_sub(data.len()).ok_or_else(|| lost(&part.shard, &"too long"))?;
                sender.send(Frame::data(data)).await.map_err(|_| gone())?;
            }
            Err(frame) => {
                let status = reply::status_of(&frame.into_trailers().unwrap_or_default());
                return match status {
                    Some(status) if status.code == Code::Ok && part.left == 0 => Ok(()),
                    Some(status) if status.code != Code::Ok => Err(status.into()),
                    _ => Err(lost(&part.shard, &"cut off")),
                };
            }
        }
    }
}

fn lost(shard: &str, reason: &dyn std::fmt::Display) -> UpstreamError {
    UpstreamError::ConnectionLost { shard: shard.to_owned(), reason: reason.to_string() }
}
