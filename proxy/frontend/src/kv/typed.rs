//! Requests of the proxy's own making on clients' keys: placed, fenced and believed like those of clients.

use bytes::{Buf, Bytes};
use etcd_prism_proto::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use etcd_prism_routing::Footprint;
use etcd_prism_upstream::{Class, UpstreamError, rpc};
use etcd_prism_wire::{frame, request};
use prost::Message;

use crate::context::Context;
use crate::error::RequestError;
use crate::kv::exchange::{self, Answer, Ask, Kind};
use crate::kv::{leased, write};
use crate::metrics::Routed;
use crate::place::{self, Grant};

/// Longest reply, in bytes: a few values of etcd's largest.
const MAX_REPLY: usize = 16 << 20;

/// Reads, and tells by what right.
///
/// # Errors
/// As [`exchange::exchange`]; every status that is not OK is one.
pub async fn range(
    cx: &Context,
    footprint: &Footprint,
    request: &RangeRequest,
    what: &str,
    routed: &mut Routed,
) -> Result<(Grant, RangeResponse), RequestError> {
    send(cx, footprint, &ask(Kind::Range, rpc::frame_of(request)), what, &[], routed).await
}

/// Deletes.
///
/// # Errors
/// As [`range`].
pub async fn delete_range(
    cx: &Context,
    footprint: &Footprint,
    request: &DeleteRangeRequest,
    what: &str,
    routed: &mut Routed,
) -> Result<DeleteRangeResponse, RequestError> {
    let request = ask(Kind::DeleteRange, rpc::frame_of(request));
    Ok(send(cx, footprint, &request, what, &[], routed).await?.1)
}

/// Runs a transaction that puts keys under `leases`.
///
/// # Errors
/// As [`range`]; also if the transaction is longer than a client's may be.
pub async fn txn(
    cx: &Context,
    footprint: &Footprint,
    request: &TxnRequest,
    what: &str,
    leases: &[i64],
    routed: &mut Routed,
) -> Result<TxnResponse, RequestError> {
    let frame = rpc::frame_of(request);
    let message = &frame[frame::PREFIX_LEN..];
    let shape = request::txn(message, cx.gateway().limits().max_txn_ops, &mut |_, _| {})?;
    if shape.writes {
        write::check_size(cx, message)?;
    }
    let request = ask(Kind::Txn(&shape), frame.clone());
    Ok(send(cx, footprint, &request, what, leases, routed).await?.1)
}

fn ask(kind: Kind<'_>, frame: Bytes) -> Ask<'_> {
    Ask::new(kind, frame, Class::Unary)
}

/// The reply, whose header is ours already.
async fn send<R: Message + Default>(
    cx: &Context,
    footprint: &Footprint,
    request: &Ask<'_>,
    what: &str,
    leases: &[i64],
    routed: &mut Routed,
) -> Result<(Grant, R), RequestError> {
    place::bounded(place::deadline(cx, footprint), async {
        let (grant, answer) = leased::exchange(cx, footprint, request, what, leases, routed).await?;
        let shard = &cx.worker.pool(grant.shard).shard().name;
        let (message, header) = match answer {
            Answer::Early(headers) => return Err(exchange::early(&headers, shard)),
            Answer::Message(message) => (message, cx.gateway().identity.header_patch.clone()),
            Answer::Parts(parts) => (parts.into_bytes(), cx.gateway().identity.header_patch.clone()),
            Answer::Open(opened) => {
                let header = opened.patch.clone();
                (opened.read(shard, MAX_REPLY).await?, header)
            }
        };
        let bad =
            |e: prost::DecodeError| UpstreamError::BadReply { shard: shard.clone(), reason: e.to_string() };
        let reply = R::decode(message.chain(header)).map_err(bad)?;
        Ok((grant, reply))
    })
    .await
}
