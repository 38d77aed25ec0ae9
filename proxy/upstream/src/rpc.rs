//! Typed calls to a shard, for everything off the hot path.

use bytes::Bytes;
use etcd_prism_wire::frame;
use http::HeaderMap;
use http::uri::PathAndQuery;
use prost::Message;

use crate::error::UpstreamError;
use crate::pool::{Call, Class, Place, Retry, ShardPool};

/// Paths of the methods that the proxy itself calls.
pub const AUTHENTICATE: &str = "/etcdserverpb.Auth/Authenticate";
pub const STATUS: &str = "/etcdserverpb.Maintenance/Status";
pub const ALARM: &str = "/etcdserverpb.Maintenance/Alarm";
pub const PUT: &str = "/etcdserverpb.KV/Put";
pub const DELETE_RANGE: &str = "/etcdserverpb.KV/DeleteRange";
pub const TXN: &str = "/etcdserverpb.KV/Txn";
pub const RANGE: &str = "/etcdserverpb.KV/Range";
pub const WATCH: &str = "/etcdserverpb.Watch/Watch";
pub const COMPACT: &str = "/etcdserverpb.KV/Compact";
pub const LEASE_GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
pub const LEASE_REVOKE: &str = "/etcdserverpb.Lease/LeaseRevoke";
pub const LEASE_KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
pub const LEASE_TIME_TO_LIVE: &str = "/etcdserverpb.Lease/LeaseTimeToLive";
pub const LEASE_LEASES: &str = "/etcdserverpb.Lease/LeaseLeases";

/// A call of ours: no metadata, the shard's own bound.
pub fn call<M: Message>(path: &'static str, request: &M, retry: Retry) -> Call {
    Call {
        path: PathAndQuery::from_static(path),
        metadata: HeaderMap::new(),
        frame: frame_of(request),
        class: Class::Unary,
        retry,
        timeout: None,
        place: Place::Counted,
    }
}

/// A message as a gRPC frame.
pub fn frame_of<M: Message>(message: &M) -> Bytes {
    frame::encode(&[&message.encode_to_vec()])
}

/// Sends a typed request that may be sent again elsewhere (a read, or one whose repetition is harmless) and decodes the
/// reply.
pub async fn read<M: Message, R: Message + Default>(
    pool: &ShardPool,
    path: &'static str,
    request: &M,
) -> Result<R, UpstreamError> {
    unary(pool, call(path, request, Retry::OnceElsewhere)).await
}

/// Sends a typed request that is never sent twice and decodes the reply.
pub async fn write<M: Message, R: Message + Default>(
    pool: &ShardPool,
    path: &'static str,
    request: &M,
) -> Result<R, UpstreamError> {
    unary(pool, call(path, request, Retry::Never)).await
}

/// Sends a call and decodes its reply; the whole of it is within the call's bound.
pub async fn unary<R: Message + Default>(pool: &ShardPool, call: Call) -> Result<R, UpstreamError> {
    let shard = &pool.shard().name;
    let bound = call.timeout.unwrap_or(pool.shard().bounds().request_timeout);
    let exchange = async { pool.call(call).await?.message(shard).await };
    let message = tokio::time::timeout(bound, exchange)
        .await
        .map_err(|_| UpstreamError::TimedOut { shard: shard.clone() })??;
    decode(shard, message)
}

pub(crate) async fn unary_without_token<M: Message, R: Message + Default>(
    pool: &ShardPool,
    path: &'static str,
    request: &M,
) -> Result<R, UpstreamError> {
    let shard = &pool.shard().name;
    let reply = pool.send(&call(path, request, Retry::OnceElsewhere), HeaderMap::new()).await?;
    decode(shard, reply.message(shard).await?)
}

fn decode<R: Message + Default>(shard: &str, message: Bytes) -> Result<R, UpstreamError> {
    R::decode(message).map_err(|e| UpstreamError::BadReply { shard: shard.to_owned(), reason: e.to_string() })
}
