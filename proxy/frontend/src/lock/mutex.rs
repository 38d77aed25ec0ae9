//! The Lock service.

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::{DeleteRangeRequest, TxnRequest, TxnResponse};
use etcd_prism_proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};

use super::claim::Claim;
use super::names::{self, Names, created_at, get, put, range_of, read};
use super::patience::Patience;
use super::turn::{Waiting, turn};
use super::unknown;
use crate::context::Context;
use crate::error::RequestError;
use crate::kv::typed;
use crate::metrics::Routed;

const LOCK: &str = "a lock";
/// etcd's text.
const EXPIRED: &str = "mutex: session is expired";

/// Waits until the session holds the lock.
pub(super) async fn lock(
    cx: &Context,
    request: LockRequest,
    routed: &mut Routed,
) -> Result<LockResponse, RequestError> {
    let patience = Patience::of(cx);
    let names = Names::of(cx, &request.name)?;
    let lease = names::session(cx, &names.footprint, request.lease).await?;
    let key = names.key(lease);
    let request = TxnRequest {
        compare: vec![created_at(&key, 0)],
        success: vec![put(&key, Bytes::new(), lease), read(names.oldest())],
        // The session may hold it, or wait for it, already.
        failure: vec![read(get(&key)), read(names.oldest()), put(&key, Bytes::new(), lease)],
    };
    let reply = typed::txn(cx, &names.footprint, &request, LOCK, &[lease], routed).await?;
    let Put { created: revision, written } = put_at(&reply).ok_or_else(malformed)?;
    let oldest = range_of(reply.responses.get(1)).ok_or_else(malformed)?;
    if oldest.kvs.first().is_none_or(|kv| kv.create_revision == revision) {
        return Ok(LockResponse { header: reply.header, key });
    }
    let claim = Claim::of(cx, &names.footprint, &key, written);
    let waiting = Waiting { names: &names, key: &key, revision };
    match turn(cx, &waiting, &patience, routed).await {
        Ok(Some(header)) => {
            claim.keep();
            Ok(LockResponse { header: Some(header), key })
        }
        // The lease may have ended while it waited.
        Ok(None) => {
            claim.keep();
            Err(unknown(EXPIRED))
        }
        Err(error) => {
            claim.give_back().await;
            Err(error)
        }
    }
}

pub(super) async fn unlock(
    cx: &Context,
    request: UnlockRequest,
    routed: &mut Routed,
) -> Result<UnlockResponse, RequestError> {
    let footprint = names::footprint(cx, &request.key)?;
    let request = DeleteRangeRequest { key: request.key, ..DeleteRangeRequest::default() };
    let reply = typed::delete_range(cx, &footprint, &request, LOCK, routed).await?;
    Ok(UnlockResponse { header: reply.header })
}

/// The revisions of a session's key.
pub(super) struct Put {
    pub(super) created: i64,
    pub(super) written: i64,
}

/// By the answer to a transaction that puts the key, and reads it first if it is there.
pub(super) fn put_at(reply: &TxnResponse) -> Option<Put> {
    let written = reply.header?.revision;
    if reply.succeeded {
        return Some(Put { created: written, written });
    }
    let created = range_of(reply.responses.first())?.kvs.first()?.create_revision;
    Some(Put { created, written })
}

pub(super) fn malformed() -> RequestError {
    unknown("etcd-prism: a shard left out a part of its answer")
}
