//! Requests, said shortly.

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest,
    compare::{CompareResult, CompareTarget, TargetUnion},
    request_op::Request,
};

/// The first key after all that begin with `prefix`; `\0` (every key from `prefix` on) where there is none.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(b"\0")
}

fn bytes(text: &(impl AsRef<[u8]> + ?Sized)) -> Bytes {
    Bytes::copy_from_slice(text.as_ref())
}

pub fn get(key: &(impl AsRef<[u8]> + ?Sized)) -> RangeRequest {
    RangeRequest { key: bytes(key), ..Default::default() }
}

pub fn list(prefix: &(impl AsRef<[u8]> + ?Sized)) -> RangeRequest {
    RangeRequest { key: bytes(prefix), range_end: prefix_end(prefix.as_ref()), ..Default::default() }
}

/// Every key there is.
pub fn list_all() -> RangeRequest {
    RangeRequest { key: bytes("\0"), range_end: bytes("\0"), ..Default::default() }
}

pub fn put(key: &(impl AsRef<[u8]> + ?Sized), value: &(impl AsRef<[u8]> + ?Sized)) -> PutRequest {
    PutRequest { key: bytes(key), value: bytes(value), ..Default::default() }
}

pub fn delete(key: &(impl AsRef<[u8]> + ?Sized)) -> DeleteRangeRequest {
    DeleteRangeRequest { key: bytes(key), ..Default::default() }
}

pub fn delete_prefix(prefix: &(impl AsRef<[u8]> + ?Sized)) -> DeleteRangeRequest {
    DeleteRangeRequest { key: bytes(prefix), range_end: prefix_end(prefix.as_ref()), ..Default::default() }
}

/// `Then` ops without a condition.
pub fn txn(success: impl IntoIterator<Item = Request>) -> TxnRequest {
    TxnRequest { success: success.into_iter().map(op).collect(), ..Default::default() }
}

pub fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

/// The compare `mod_revision(key) == revision`.
pub fn mod_revision_is(key: &(impl AsRef<[u8]> + ?Sized), revision: i64) -> Compare {
    Compare {
        key: bytes(key),
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        target_union: Some(TargetUnion::ModRevision(revision)),
        ..Default::default()
    }
}

/// The compare `version(key) == version`.
pub fn version_is(key: &(impl AsRef<[u8]> + ?Sized), version: i64) -> Compare {
    Compare {
        key: bytes(key),
        result: CompareResult::Equal.into(),
        target: CompareTarget::Version.into(),
        target_union: Some(TargetUnion::Version(version)),
        ..Default::default()
    }
}

/// A watch on one key, from now.
pub fn watch(key: &(impl AsRef<[u8]> + ?Sized)) -> WatchCreateRequest {
    WatchCreateRequest { key: bytes(key), ..Default::default() }
}

/// A watch on a prefix, from now, with previous values.
pub fn watch_prefix(prefix: &(impl AsRef<[u8]> + ?Sized)) -> WatchCreateRequest {
    WatchCreateRequest {
        key: bytes(prefix),
        range_end: prefix_end(prefix.as_ref()),
        prev_kv: true,
        ..Default::default()
    }
}
