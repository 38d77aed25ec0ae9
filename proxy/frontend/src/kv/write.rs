//! Put, DeleteRange and Txn.

use bytes::Bytes;
use etcd_prism_routing::Footprint;
use etcd_prism_upstream::Class;
use etcd_prism_wire::keys::RESERVED;
use etcd_prism_wire::request::{self, Use};
use etcd_prism_wire::{frame, patch};
use http::Response;

use crate::body::ResponseBody;
use crate::compaction::COMPACT_REV_KEY;
use crate::context::Context;
use crate::error::RequestError;
use crate::kv::exchange::{Ask, Kind, PRESENT};
use crate::kv::{forward, leased};
use crate::metrics::Routed;
use crate::place;
use crate::unary::UnaryRequest;

/// What etcd wraps around a request before it measures it, in bytes: the raft header with a 64-bit id, and the tag and
/// length of the request.
const RAFT_OVERHEAD: usize = 17;

type Reply = Result<Response<ResponseBody>, RequestError>;

pub async fn put(cx: &Context, request: UnaryRequest, routed: &mut Routed) -> Reply {
    let put = request::put(request.message())?;
    check_size(cx, request.message())?;
    refuse_reserved(put.key)?;
    let footprint = Footprint::one(cx.gateway().keyspace.route_of(put.key));
    let leases: &[i64] = if put.lease == 0 { &[] } else { &[put.lease] };
    let ask = ask(Kind::Put, request.frame.clone());
    send(cx, &footprint, &ask, "a put", leases, routed).await
}

pub async fn delete_range(cx: &Context, request: UnaryRequest, routed: &mut Routed) -> Reply {
    let keys = request::delete_range(request.message())?;
    check_size(cx, request.message())?;
    refuse_reserved(keys.key)?;
    let footprint = Footprint::of(&cx.gateway().keyspace, keys.clamped().unwrap_or_default());
    let clamp = patch::clamp(patch::RANGE_KEYS, keys).unwrap_or_default();
    let ask = ask(Kind::DeleteRange, request.patched(clamp.as_slice()));
    send(cx, &footprint, &ask, "a deletion of a range", &[], routed).await
}

pub async fn txn(cx: &Context, request: UnaryRequest, routed: &mut Routed) -> Reply {
    let keyspace = &cx.gateway().keyspace;
    let mut footprint = Footprint::default();
    let mut leases = Vec::new();
    let (mut reserved_write, mut must_clamp, mut oldest) = (false, false, PRESENT);
    let mut announces = false;
    let shape = request::txn(request.message(), cx.gateway().limits().max_txn_ops, &mut |used, keys| {
        reserved_write |= used.writes() && keys.key.first() == Some(&RESERVED);
        must_clamp |= keys.touches_reserved();
        announces |= used.writes() && keys.key == COMPACT_REV_KEY;
        match used {
            Use::Put { lease } if lease != 0 && !leases.contains(&lease) => leases.push(lease),
            Use::Read { revision } if revision > 0 => oldest = oldest.min(revision),
            _ => {}
        }
        // An empty key is an error that any shard reports.
        if !keys.key.is_empty()
            && let Some(visible) = keys.clamped()
        {
            footprint.add_range(keyspace, visible);
        }
    })?;
    if reserved_write {
        return Err(RequestError::Reserved);
    }
    if shape.writes {
        check_size(cx, request.message())?;
    }
    let frame = if must_clamp {
        frame::encode(&[&patch::clamp_txn(request.message())?])
    } else {
        request.frame.clone()
    };
    let mut ask = Ask { revision: oldest, ..ask(Kind::Txn(&shape), frame) };
    // A transaction that only reads may be as large as a list.
    if !shape.writes && request.frame.len() >= 512 {
        ask.class = Class::Bulk;
    }
    let reply = send(cx, &footprint.or_default(keyspace), &ask, "a transaction", &leases, routed).await;
    if announces && reply.is_ok() {
        cx.gateway().samples.announce();
    }
    reply
}

fn ask(kind: Kind<'_>, frame: Bytes) -> Ask<'_> {
    Ask::new(kind, frame, Class::Unary)
}

/// Sends a request that belongs on one shard.
async fn send(
    cx: &Context,
    footprint: &Footprint,
    ask: &Ask<'_>,
    what: &str,
    leases: &[i64],
    routed: &mut Routed,
) -> Reply {
    // One bound for all steps: the client's own deadline is not much later.
    let deadline = place::deadline(cx, footprint);
    place::bounded(deadline, async {
        let (grant, answer) = leased::exchange(cx, footprint, ask, what, leases, routed).await?;
        forward::answer(cx, &grant, answer, ask).await
    })
    .await
}

fn refuse_reserved(key: &[u8]) -> Result<(), RequestError> {
    if key.first() == Some(&RESERVED) { Err(RequestError::Reserved) } else { Ok(()) }
}

/// etcd's limit on a request, kept here because shards are given more room than clients are.
pub(super) fn check_size(cx: &Context, message: &[u8]) -> Result<(), RequestError> {
    let size = message.len() + RAFT_OVERHEAD;
    if size > cx.gateway().limits().max_request_bytes { Err(RequestError::TooLarge) } else { Ok(()) }
}
