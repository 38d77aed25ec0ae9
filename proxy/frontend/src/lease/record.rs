//! Which shards have had a lease, as the shards themselves remember it.
//!
//! Every shard that has a lease holds one key for each *other* shard that has had it, under the lease itself: so every copy
//! of a lease carries the whole list, and the list ends with the lease. A record is written before the lease is granted
//! where it says, and confirmed after.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use etcd_prism_ownership::ShardUid;
use etcd_prism_ownership::keys;
use etcd_prism_ownership::value::{Stored, ValueError};
use etcd_prism_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest, TxnResponse,
};
use etcd_prism_upstream::{Retry, ShardPool, UpstreamError, rpc};
use etcd_prism_wire::keys::prefix_end;
use serde::{Deserialize, Serialize};

use super::HOLDER_PATIENCE;
use crate::error::LEASE_NOT_FOUND;

/// Records that are read at once.
const PAGE: i64 = 1000;

/// What one shard remembers of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The lease was granted there. Until then it may be, or never have been.
    pub(super) granted: bool,
    /// Who wrote it: tells two that write the same.
    pub(super) writer: u64,
    /// When, by the writer's clock, in milliseconds since the epoch.
    at: i64,
    /// What is there is a copy, for keys of these routes. It counts where the shard rules one of them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) copy_of: BTreeSet<String>,
    /// What may still be there is a copy for no route at all: it counts for nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    released: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Record {
    /// Before the grant.
    pub(super) fn intended() -> Self {
        Self { granted: false, writer: rand::random(), at: now(), copy_of: BTreeSet::new(), released: false }
    }

    /// Before a copy is granted, and for as long as it is no more than that. For no route: where migrations have ended.
    pub(super) fn copy(of: BTreeSet<String>) -> Self {
        Self { released: of.is_empty(), copy_of: of, ..Self::intended() }
    }

    pub(super) fn is_copy(&self) -> bool {
        !self.granted && (self.released || !self.copy_of.is_empty())
    }

    /// Of two records of one copy: it is for the routes of both.
    pub(super) fn join(&mut self, other: &Self) {
        self.copy_of.extend(other.copy_of.iter().cloned());
        self.released = self.copy_of.is_empty();
    }

    /// After it.
    pub(super) fn granted() -> Self {
        Self { granted: true, writer: 0, ..Self::intended() }
    }

    /// Whether a lease of that TTL, had it been granted when this was written, would certainly not have expired yet. Half of
    /// the TTL is left for clocks that differ.
    pub(super) fn is_young(&self, ttl: i64) -> bool {
        let half = ttl.saturating_mul(1000) / 2;
        now().saturating_sub(self.at).saturating_abs() < half
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Stored for Record {
    const WHAT: &'static str = "lease record";
    type Body = Self;

    fn to_body(&self) -> Self {
        self.clone()
    }

    fn from_body(body: Self) -> Result<Self, ValueError> {
        Ok(body)
    }
}

/// The records of one lease on one shard.
pub(super) type List = BTreeMap<ShardUid, Record>;

/// What became of an attempt to write the first record.
#[derive(Debug)]
pub(super) enum Created {
    /// It is ours.
    Ours,
    /// Somebody else was first.
    Known,
    /// The shard has no such lease any more.
    NoLease,
}

fn prefix(id: i64) -> Vec<u8> {
    [&keys::lease(id)[..], b"/"].concat()
}

fn key(id: i64, of: ShardUid) -> Bytes {
    Bytes::from([&prefix(id)[..], of.to_string().as_bytes()].concat())
}

fn put(pool: &ShardPool, id: i64, of: ShardUid, record: &Record) -> Result<RequestOp, UpstreamError> {
    let value = record.encode().map_err(|e| bad(pool, &e))?;
    let put = PutRequest { key: key(id, of), value: value.into(), lease: id, ..PutRequest::default() };
    Ok(RequestOp { request: Some(Request::RequestPut(put)) })
}

/// Reads the records that a shard holds of a lease; none if it does not have it.
pub(super) async fn list(pool: &ShardPool, id: i64) -> Result<List, UpstreamError> {
    let prefix = prefix(id);
    let range_end = prefix_end(&prefix).into();
    let request = RangeRequest { key: prefix.clone().into(), range_end, ..RangeRequest::default() };
    let mut call = rpc::call(rpc::RANGE, &request, Retry::OnceElsewhere);
    call.timeout = Some(HOLDER_PATIENCE);
    let reply: RangeResponse = rpc::unary(pool, call).await?;
    let mut out = List::new();
    for kv in reply.kvs {
        let of = kv.key.strip_prefix(&prefix[..]).and_then(|uid| std::str::from_utf8(uid).ok()?.parse().ok());
        let of = of.ok_or_else(|| bad(pool, &"a lease record under a strange key"))?;
        out.insert(of, Record::decode(&kv.value).map_err(|e| bad(pool, &e))?);
    }
    Ok(out)
}

/// The records that one shard holds of another, of all leases from one on; with the lease to go on from, if there are more.
pub(super) async fn all_of(
    pool: &ShardPool,
    of: ShardUid,
    from: &[u8],
) -> Result<(Vec<(i64, Record)>, Option<Vec<u8>>), UpstreamError> {
    let mut request =
        RangeRequest { key: Bytes::copy_from_slice(from), limit: PAGE, ..RangeRequest::default() };
    request.range_end = Bytes::from_static(keys::LEASES.range_end);
    let mut call = rpc::call(rpc::RANGE, &request, Retry::OnceElsewhere);
    call.timeout = Some(HOLDER_PATIENCE);
    let reply: RangeResponse = rpc::unary(pool, call).await?;
    let next = reply.kvs.last().filter(|_| reply.more).map(|kv| [&kv.key[..], b"\0"].concat());
    let name = format!("/{of}");
    let mut out = Vec::new();
    for kv in reply.kvs {
        let id = kv.key.strip_prefix(keys::LEASES.key).and_then(|rest| rest.strip_suffix(name.as_bytes()));
        let Some(id) = id else { continue };
        let id = std::str::from_utf8(id).ok().and_then(|id| u64::from_str_radix(id, 16).ok());
        let id = id.ok_or_else(|| bad(pool, &"a lease record under a strange key"))?;
        out.push((id.cast_signed(), Record::decode(&kv.value).map_err(|e| bad(pool, &e))?));
    }
    Ok((out, next))
}

/// Writes the first record of a shard, under the lease.
pub(super) async fn create(
    pool: &ShardPool,
    id: i64,
    of: ShardUid,
    record: &Record,
) -> Result<Created, UpstreamError> {
    let absent = compare(id, of, CompareTarget::Create, TargetUnion::CreateRevision(0));
    let request =
        TxnRequest { compare: vec![absent], success: vec![put(pool, id, of, record)?], failure: Vec::new() };
    created(txn(pool, &request).await)
}

fn created(reply: Result<TxnResponse, UpstreamError>) -> Result<Created, UpstreamError> {
    match reply {
        Ok(reply) if reply.succeeded => Ok(Created::Ours),
        Ok(_) => Ok(Created::Known),
        Err(error) if lacks(&error) => Ok(Created::NoLease),
        Err(error) => Err(error),
    }
}

/// Writes the first record in place of another one's.
pub(super) async fn replace(
    pool: &ShardPool,
    id: i64,
    of: ShardUid,
    seen: &Record,
    record: &Record,
) -> Result<Created, UpstreamError> {
    let request = TxnRequest {
        compare: vec![is(pool, id, of, seen)?],
        success: vec![put(pool, id, of, record)?],
        failure: Vec::new(),
    };
    created(txn(pool, &request).await)
}

/// Deletes a record, if it is this one.
pub(super) async fn withdraw(
    pool: &ShardPool,
    id: i64,
    of: ShardUid,
    record: &Record,
) -> Result<(), UpstreamError> {
    let delete = DeleteRangeRequest { key: key(id, of), ..DeleteRangeRequest::default() };
    let request = TxnRequest {
        compare: vec![is(pool, id, of, record)?],
        success: vec![RequestOp { request: Some(Request::RequestDeleteRange(delete)) }],
        failure: Vec::new(),
    };
    txn(pool, &request).await.map(drop)
}

/// Writes records, whatever is there. False: the shard has no such lease any more.
pub(super) async fn write(pool: &ShardPool, id: i64, records: &List) -> Result<bool, UpstreamError> {
    let success: Result<Vec<_>, _> = records.iter().map(|(of, record)| put(pool, id, *of, record)).collect();
    match txn(pool, &TxnRequest { success: success?, ..TxnRequest::default() }).await {
        Ok(_) => Ok(true),
        Err(error) if lacks(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is(pool: &ShardPool, id: i64, of: ShardUid, record: &Record) -> Result<Compare, UpstreamError> {
    let value = record.encode().map_err(|e| bad(pool, &e))?;
    Ok(compare(id, of, CompareTarget::Value, TargetUnion::Value(value.into())))
}

fn compare(id: i64, of: ShardUid, target: CompareTarget, value: TargetUnion) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: key(id, of),
        target_union: Some(value),
        ..Compare::default()
    }
}

async fn txn(pool: &ShardPool, request: &TxnRequest) -> Result<TxnResponse, UpstreamError> {
    let mut call = rpc::call(rpc::TXN, request, Retry::Never);
    call.timeout = Some(HOLDER_PATIENCE);
    rpc::unary(pool, call).await
}

fn lacks(error: &UpstreamError) -> bool {
    matches!(error, UpstreamError::Status(status) if status.message == LEASE_NOT_FOUND)
}

fn bad(pool: &ShardPool, reason: &dyn std::fmt::Display) -> UpstreamError {
    UpstreamError::BadReply { shard: pool.shard().name.clone(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_proxys_own() {
        let key = key(0x1234, ShardUid(5));
        assert_eq!(&key[..], b"\xffprism/lease/0000000000001234/00000000000000000000000000000005");
        assert!(keys::LEASES.contains(&key));
        // No id's list lies within that of another.
        assert!(!key.starts_with(&prefix(0x123)));
    }

    #[test]
    fn records_come_back() {
        let intended = Record::intended();
        assert_eq!(Record::decode(&intended.encode().unwrap()), Ok(intended.clone()));
        assert!(!intended.granted && Record::granted().granted);
        let copy = Record::copy(BTreeSet::from(["pods".to_owned()]));
        assert_eq!(Record::decode(&copy.encode().unwrap()), Ok(copy.clone()));
        assert!(copy.is_copy() && !intended.is_copy() && !Record::granted().is_copy());
        let released = Record::copy(BTreeSet::new());
        assert_eq!(Record::decode(&released.encode().unwrap()), Ok(released.clone()));
        assert!(released.is_copy() && released != intended);
        let mut joined = released.clone();
        joined.join(&copy);
        assert_eq!(joined.copy_of, copy.copy_of);
        assert!(joined.is_copy() && !joined.released);
        assert_ne!(intended, Record::intended(), "two writers are told apart");
        assert!(Record::decode(br#"{"format":2,"granted":true,"writer":1,"at":1}"#).is_err());
    }

    #[test]
    fn a_record_is_young_for_half_the_ttl() {
        let written = |seconds_ago: i64| Record { at: now() - seconds_ago * 1000, ..Record::intended() };
        assert!(written(0).is_young(2) && written(4).is_young(10) && written(-4).is_young(10));
        assert!(!written(6).is_young(10) && !written(-6).is_young(10) && !written(0).is_young(0));
        assert!(!Record { at: i64::MIN, ..Record::intended() }.is_young(i64::MAX));
    }
}
