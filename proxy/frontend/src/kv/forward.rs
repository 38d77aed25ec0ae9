//! Sends a call to one shard and passes the reply on.

use bytes::{Bytes, BytesMut};
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::reply::{self, MAX_REPLY};
use etcd_prism_upstream::{Call, Class, Place, Reply, Retry, UpstreamError};
use etcd_prism_wire::Code;
use etcd_prism_wire::frame::{self, PREFIX_LEN};
use http::Response;
use http::uri::PathAndQuery;
use http_body_util::BodyExt;

use crate::body::{BodyError, Forward, ResponseBody};
use crate::context::Context;
use crate::error::RequestError;
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
        let reply = pool.call(call).await?;
        pass_on(cx, &pool.shard().name, reply, eager(class), retry).await
    };
    tokio::time::timeout(bound, exchange)
        .await
        .unwrap_or_else(|_| Err(UpstreamError::TimedOut { shard: pool.shard().name.clone() }))
        .map_err(RequestError::from)
}

async fn pass_on(
    cx: &Context,
    shard: &str,
    mut reply: Reply,
    eager: usize,
    retry: Retry,
) -> Result<Response<ResponseBody>, UpstreamError> {
    if reply.early_status().is_some() {
        return Ok(respond::early(reply.headers));
    }
    let bad = |reason: &str| UpstreamError::BadReply { shard: shard.to_owned(), reason: reason.to_owned() };
    let lost = |reason: &dyn std::fmt::Display| UpstreamError::ConnectionLost {
        shard: shard.to_owned(),
        reason: reason.to_string(),
    };
    let mut first = Bytes::new();
    loop {
        let Some(frame) = reply.body.frame().await else { return Err(lost(&"ended without a status")) };
        match frame.map_err(|e| lost(&e))?.into_data() {
            Ok(data) => first = join(first, data),
            Err(frame) => {
                // A status without a message: a refusal, never a success.
                let trailers = frame.into_trailers().unwrap_or_default();
                let refused = reply::status_of(&trailers).is_some_and(|s| s.code != Code::Ok);
                return if refused { Ok(respond::early(trailers)) } else { Err(bad("no message")) };
            }
        }
        let Some(prefix) = first.first_chunk::<PREFIX_LEN>() else { continue };
        let len = PREFIX_LEN + frame::parse_prefix(*prefix, MAX_REPLY).map_err(|e| bad(&e.to_string()))?;
        if first.len() >= len || len > eager {
            break;
        }
    }
    let patch = cx.gateway().identity.header_patch.clone();
    let cut_off = match retry {
        Retry::OnceElsewhere => BodyError::unavailable,
        Retry::Never => BodyError::internal,
    };
    let forward = Forward::new(first, reply, patch, cut_off).ok_or_else(|| bad("more than one message"))?;
    if forward.left > 0 {
        return Ok(respond::with_body(ResponseBody::Forward(Box::new(forward))));
    }
    let Forward { head, mut body, .. } = forward;
    loop {
        let Some(frame) = body.frame().await else { return Err(lost(&"ended without a status")) };
        match frame.map_err(|e| lost(&e))?.into_trailers() {
            Ok(trailers) => {
                if reply::status_of(&trailers).is_none() {
                    return Err(bad("no grpc-status"));
                }
                return Ok(respond::with_body(ResponseBody::Ready { data: head, trailers: Some(trailers) }));
            }
            Err(frame) if frame.data_ref().is_some_and(|d| !d.is_empty()) => {
                return Err(bad("more than one message"));
            }
            Err(_) => {}
        }
    }
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
