//! The requests, in the shapes that a kube-apiserver sends.

use bytes::{BufMut, Bytes, BytesMut};
use etcd_prism_proto::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchRequest,
    compare::{CompareResult, CompareTarget, TargetUnion},
    request_op::Request as Operation,
    watch_request::RequestUnion,
};
use prost::Message;

use crate::error::BenchError;

/// The prefix of all keys.
pub(crate) const PREFIX: &str = "/registry/pods/bench/";

/// One gRPC message: no compression, its length, its bytes.
pub(crate) fn frame(message: &impl Message) -> Result<Bytes, BenchError> {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(5 + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).map_err(|_| BenchError::Frame { bytes: length })?);
    message.encode(&mut out)?;
    Ok(out.freeze())
}

pub(crate) fn put(key: Bytes, value: Bytes) -> PutRequest {
    PutRequest { key, value, ..PutRequest::default() }
}

/// The newest value of one key.
pub(crate) fn get(key: Bytes) -> RangeRequest {
    RangeRequest { key, limit: 1, ..RangeRequest::default() }
}

/// Every key below [`PREFIX`].
pub(crate) fn list() -> RangeRequest {
    let (key, range_end) = all();
    RangeRequest { key, range_end, ..RangeRequest::default() }
}

/// A put of a key that must not be there yet.
pub(crate) fn create(key: Bytes, value: Bytes) -> TxnRequest {
    let compare = vec![mod_revision_is(key.clone(), 0)];
    TxnRequest {
        compare,
        success: vec![operation(Operation::RequestPut(put(key, value)))],
        failure: Vec::new(),
    }
}

/// A put of a key that must have been written last at `revision`, else a read of it.
pub(crate) fn update(key: Bytes, value: Bytes, revision: i64) -> TxnRequest {
    let read = RangeRequest { key: key.clone(), ..RangeRequest::default() };
    let compare = vec![mod_revision_is(key.clone(), revision)];
    let failure = vec![operation(Operation::RequestRange(read))];
    TxnRequest { compare, success: vec![operation(Operation::RequestPut(put(key, value)))], failure }
}

/// A watch on every key below [`PREFIX`], from `revision` on.
pub(crate) fn watch(revision: i64) -> WatchRequest {
    let (key, range_end) = all();
    let start_revision = revision;
    let create = WatchCreateRequest { key, range_end, start_revision, progress_notify: true, ..created() };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

/// A watch on one key, from now on.
pub(crate) fn watch_key(key: Bytes) -> WatchRequest {
    let create = WatchCreateRequest { key, ..created() };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

fn created() -> WatchCreateRequest {
    WatchCreateRequest { prev_kv: true, ..WatchCreateRequest::default() }
}

fn all() -> (Bytes, Bytes) {
    // '0' follows '/'.
    let end = format!("{}0", PREFIX.trim_end_matches('/'));
    (Bytes::from_static(PREFIX.as_bytes()), Bytes::from(end))
}

fn mod_revision_is(key: Bytes, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key,
        target_union: Some(TargetUnion::ModRevision(revision)),
        ..Compare::default()
    }
}

fn operation(request: Operation) -> RequestOp {
    RequestOp { request: Some(request) }
}
