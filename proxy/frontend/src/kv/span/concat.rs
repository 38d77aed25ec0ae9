//! The whole of a range in key order: the replies put one after the other, without holding those that need no translation.
//!
//! Messages of one type concatenate to one message: the pairs follow each other, and the last header, `more` and `count`
//! win. The length of a reply is known from its first bytes, so the length of the merged message is known before its
//! first byte is sent, and the replies stream through.

use bytes::Bytes;
use etcd_prism_routing::Segment;
use etcd_prism_upstream::{Class, UpstreamError, reply};
use etcd_prism_wire::patch::Patch;
use etcd_prism_wire::{Code, Status, frame};
use http::Response;
use http_body::Frame;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{COUNT, MORE, Plan, malformed};
use crate::body::ResponseBody;
use crate::error::RequestError;
use crate::kv::exchange::{self, Answer, Ask, Kind};
use crate::kv::open::Opened;
use crate::kv::parts::Parts;
use crate::place::Group;
use crate::respond;

/// A segment's reply.
struct Part {
    shard: String,
    message: Message,
}

enum Message {
    /// As it comes from the shard.
    Open(Opened),
    /// Translated, and so held whole.
    Whole(Parts),
}

impl Part {
    fn len(&self) -> usize {
        match &self.message {
            Message::Open(opened) => opened.message_len(),
            Message::Whole(parts) => parts.remaining(),
        }
    }

    /// The next bytes of it.
    async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        match &mut self.message {
            Message::Open(opened) => opened.next(&self.shard).await,
            Message::Whole(parts) => Ok(parts.take_next()),
        }
    }
}

/// Asks all segments that hold keys at once, then sends their replies in key order.
pub(super) async fn stream(plan: Plan<'_>) -> Result<Response<ResponseBody>, RequestError> {
    let filled = plan.segments.iter().zip(&plan.pins.counts).filter(|(_, count)| **count > 0);
    let opens = filled.map(|(segment, _)| async move { open(plan, segment).await });
    let parts = futures_util::future::try_join_all(opens).await?;
    let tail = Patch::new().int64(MORE, 0).int64(COUNT, plan.total());
    let tail = [plan.header, tail.as_slice()].concat();
    let len = parts.iter().map(Part::len).sum::<usize>() + tail.len();
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
        for mut part in parts {
            if let Err(error) = pump(&mut part, &sender).await {
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

async fn open(plan: Plan<'_>, segment: &Segment<'_, Group>) -> Result<Part, RequestError> {
    let grant = plan.spans.grant(segment.place)?;
    let shard = plan.cx.worker.pool(grant.shard).shard();
    let request = Ask::new(Kind::Range, plan.request(segment, Patch::new()), Class::Bulk);
    let deadline = Instant::now() + shard.bounds().request_timeout;
    let ask = exchange::ask(plan.cx, grant, &request);
    let name = shard.name.clone();
    let message = match exchange::bounded(plan.cx, grant.shard, deadline, ask).await? {
        Answer::Open(opened) => Message::Open(opened),
        Answer::Parts(parts) => Message::Whole(parts),
        Answer::Early(headers) => return Err(exchange::early(&headers, &name)),
        Answer::Message(_) => return Err(malformed(plan.cx, grant, &"a read cannot fail").into()),
    };
    Ok(Part { shard: name, message })
}

/// Passes one reply on, to its last byte.
async fn pump(part: &mut Part, sender: &mpsc::Sender<Frame<Bytes>>) -> Result<(), UpstreamError> {
    while let Some(data) = part.next().await? {
        if sender.send(Frame::data(data)).await.is_err() {
            return Err(Status::new(Code::Canceled, "client is gone").into());
        }
    }
    Ok(())
}
