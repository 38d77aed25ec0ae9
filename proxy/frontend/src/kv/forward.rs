//! Sends a call to one shard and passes the reply on.

use bytes::{Bytes, BytesMut};
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::{Call, Class, Place, Retry, UpstreamError};
use etcd_prism_wire::frame::{self, PREFIX_LEN};
use http::Response;
use http::uri::PathAndQuery;

use crate::body::{BodyError, Forward, ResponseBody};
use crate::context::Context;
use crate::error::RequestError;
use crate::kv::exchange::{Answer, Ask};
use crate::kv::open::{self, Opened, Opening};
use crate::place::Grant;
use crate::{metadata, respond};

/// Replies up to this size are read whole before they are passed on, so that their data and trailers leave in one write.
/// On connections shared by small requests the bound is higher: there a client that does not read must not hold the
/// window of the others.
fn eager(class: Class) -> usize {
    match class {
        Class::Unary => 4 << 20,
        Class::Bulk | Class::Watch => 64 << 10,
    }
}

/// A call with the client's metadata.
pub fn call(cx: &Context, path: &'static str, frame: Bytes, class: Class, retry: Retry) -> Call {
    Call {
        path: PathAndQuery::from_static(path),
        metadata: metadata::upstream(&cx.headers),
        frame,
        class,
        retry,
        timeout: None,
        place: Place::Counted,
    }
}

/// Sends the call and passes the reply on, its header patched.
pub async fn unary(cx: &Context, shard: ShardId, call: Call) -> Result<Response<ResponseBody>, RequestError> {
    let pool = cx.worker.pool(shard);
    cx.connection.used(shard);
    let (class, retry) = (call.class, call.retry);
    let bound = call.timeout.unwrap_or(pool.shard().bounds().request_timeout);
    let exchange = async {
        match open::open(pool, call, None, &cx.gateway().identity).await? {
            Opening::Early(headers) => Ok(respond::early(headers)),
            Opening::Open(opened) => pass_on(&pool.shard().name, opened, class, retry).await,
            Opening::Failed(message) => Ok(message_of(cx, &message)),
        }
    };
    tokio::time::timeout(bound, exchange)
        .await
        .unwrap_or_else(|_| Err(UpstreamError::TimedOut { shard: pool.shard().name.clone() }))
        .map_err(RequestError::from)
}

/// Passes on what an [`exchange`](crate::kv::exchange) brought. How long the shard may take over it is the caller's to bound.
pub async fn answer(
    cx: &Context,
    grant: &Grant,
    answer: Answer,
    ask: &Ask<'_>,
) -> Result<Response<ResponseBody>, RequestError> {
    match answer {
        Answer::Early(headers) => Ok(respond::early(headers)),
        Answer::Message(message) => Ok(message_of(cx, &message)),
        Answer::Parts(parts) => Ok(parts.into_response(&cx.gateway().identity.header_patch)),
        Answer::Open(opened) => {
            let shard = &cx.worker.pool(grant.shard).shard().name;
            Ok(pass_on(shard, opened, ask.class, ask.kind.retry()).await?)
        }
    }
}

/// A message that was read whole, its header made ours.
fn message_of(cx: &Context, message: &[u8]) -> Response<ResponseBody> {
    respond::message(&[message, &cx.gateway().identity.header_patch])
}

/// A reply of moderate size is read whole, a larger one passes through.
async fn pass_on(
    shard: &str,
    mut opened: Opened,
    class: Class,
    retry: Retry,
) -> Result<Response<ResponseBody>, UpstreamError> {
    let len = opened.first.len() + opened.left;
    if opened.left > 0 && len > eager(class) {
        let cut_off = match retry {
            Retry::OnceElsewhere => BodyError::unavailable,
            Retry::Never => BodyError::internal,
        };
        return Ok(respond::with_body(ResponseBody::Forward(Box::new(Forward::new(opened, cut_off)))));
    }
    let mut head = BytesMut::with_capacity(PREFIX_LEN + len + opened.patch.len());
    head.extend_from_slice(&frame::prefix(len + opened.patch.len()));
    head.extend_from_slice(&opened.first);
    opened.read_into(&mut head, shard).await?;
    head.extend_from_slice(&opened.patch);
    let trailers = open::end(&mut opened.reply, shard).await?;
    Ok(respond::with_body(ResponseBody::Ready { data: Some(head.freeze()), trailers: Some(trailers) }))
}
