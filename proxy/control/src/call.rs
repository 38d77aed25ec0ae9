//! Calls to the shards.

use std::time::Duration;

use etcd_prism_ownership::txn::Txn;
use etcd_prism_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::response_op::Response;
use etcd_prism_proto::etcdserverpb::{
    Compare, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseRevokeRequest, LeaseRevokeResponse, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest,
    TxnResponse,
};
use etcd_prism_upstream::{Place, Retry, ShardPool, UpstreamError, rpc};
use etcd_prism_wire::Code;
use etcd_prism_wire::keys::KeyRange;
use prost::Message;

/// What a reply's header says, with the answers of the ops.
#[derive(Debug)]
pub struct Answers {
    pub revision: i64,
    pub cluster_id: u64,
    pub succeeded: bool,
    pub ranges: Vec<RangeResponse>,
}

/// A linearizable read of all keys of a range.
pub fn range(keys: KeyRange<'_>) -> RangeRequest {
    RangeRequest {
        key: keys.key.to_vec().into(),
        range_end: keys.range_end.to_vec().into(),
        ..RangeRequest::default()
    }
}

/// All ranges at one revision, linearizably.
pub async fn read(
    pool: &ShardPool,
    ranges: Vec<RangeRequest>,
    patience: Duration,
) -> Result<Answers, UpstreamError> {
    let wanted = ranges.len();
    let success = ranges.into_iter().map(|range| op(Request::RequestRange(range))).collect();
    let request = TxnRequest { success, ..TxnRequest::default() };
    let answers = answers(pool, send(pool, rpc::TXN, &request, Retry::OnceElsewhere, patience).await?)?;
    if answers.ranges.len() != wanted {
        return Err(bad(pool, format!("{} answers to {wanted} ranges", answers.ranges.len())));
    }
    Ok(answers)
}

/// Sends a conditional write of the engines. `Some` is the revision that it was applied at, `None` that a compare failed.
pub async fn write(pool: &ShardPool, txn: &Txn, patience: Duration) -> Result<Option<i64>, UpstreamError> {
    let mut puts = Vec::with_capacity(txn.puts.len());
    for (key, value) in &txn.puts {
        let value = value.encode().map_err(|e| bad(pool, e.to_string()))?;
        puts.push(PutRequest { key: key.clone().into(), value: value.into(), ..PutRequest::default() });
    }
    let first = txn.compares.first().map(|(key, _)| range(KeyRange::single(key)));
    let answers = put_if(pool, &txn.compares, puts, first, patience).await?;
    Ok(answers.succeeded.then_some(answers.revision))
}

/// `If MOD(key) = revision for each Then puts Else seen`. The puts are nested: a full etcd 3.5.30 lets these
/// pass. 3.5.35 and 3.7.3 count them like others.
pub async fn put_if(
    pool: &ShardPool,
    compares: &[(Vec<u8>, i64)],
    puts: Vec<PutRequest>,
    seen: Option<RangeRequest>,
    patience: Duration,
) -> Result<Answers, UpstreamError> {
    let compare = |(key, revision): &(Vec<u8>, i64)| Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: key.clone().into(),
        target_union: Some(TargetUnion::ModRevision(*revision)),
        ..Compare::default()
    };
    let puts = puts.into_iter().map(|put| op(Request::RequestPut(put))).collect();
    let nested = TxnRequest { success: puts, ..TxnRequest::default() };
    let request = TxnRequest {
        compare: compares.iter().map(compare).collect(),
        success: vec![op(Request::RequestTxn(nested))],
        failure: seen.into_iter().map(|range| op(Request::RequestRange(range))).collect(),
    };
    answers(pool, send(pool, rpc::TXN, &request, Retry::Never, patience).await?)
}

/// Asks for a lease; its id and TTL in seconds.
pub async fn grant(pool: &ShardPool, ttl: i64, patience: Duration) -> Result<(i64, i64), UpstreamError> {
    let request = LeaseGrantRequest { ttl, id: 0 };
    let reply: LeaseGrantResponse = send(pool, rpc::LEASE_GRANT, &request, Retry::Never, patience).await?;
    if reply.id == 0 || reply.ttl <= 0 {
        return Err(bad(pool, format!("lease {} granted for {} s", reply.id, reply.ttl)));
    }
    Ok((reply.id, reply.ttl))
}

/// Renews a lease; its TTL in seconds, 0 if it has ended, and a revision that the shard has reached. A stream of one
/// message, which looks like a unary call.
pub async fn keep_alive(pool: &ShardPool, id: i64, patience: Duration) -> Result<(i64, i64), UpstreamError> {
    let request = LeaseKeepAliveRequest { id };
    let reply: LeaseKeepAliveResponse =
        send(pool, rpc::LEASE_KEEP_ALIVE, &request, Retry::OnceElsewhere, patience).await?;
    Ok((reply.ttl.max(0), reply.header.map_or(0, |header| header.revision)))
}

pub async fn revoke(pool: &ShardPool, id: i64, patience: Duration) -> Result<(), UpstreamError> {
    let request = LeaseRevokeRequest { id };
    let _: LeaseRevokeResponse = send(pool, rpc::LEASE_REVOKE, &request, Retry::Never, patience).await?;
    Ok(())
}

async fn send<M: Message, R: Message + Default>(
    pool: &ShardPool,
    path: &'static str,
    request: &M,
    retry: Retry,
    patience: Duration,
) -> Result<R, UpstreamError> {
    let mut call = rpc::call(path, request, retry);
    call.timeout = Some(patience);
    // A flood of clients' requests must not cost the session.
    call.place = Place::Reserved;
    rpc::unary(pool, call).await
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn answers(pool: &ShardPool, reply: TxnResponse) -> Result<Answers, UpstreamError> {
    let header = reply.header.ok_or_else(|| bad(pool, "a reply without a header".to_owned()))?;
    let range = |op: etcd_prism_proto::etcdserverpb::ResponseOp| match op.response {
        Some(Response::ResponseRange(range)) => Some(range),
        _ => None,
    };
    Ok(Answers {
        revision: header.revision,
        cluster_id: header.cluster_id,
        succeeded: reply.succeeded,
        ranges: reply.responses.into_iter().filter_map(range).collect(),
    })
}

/// Whether the shard refuses writes and leases because it is above its quota.
pub fn is_full(error: &UpstreamError) -> bool {
    const FULL: &str = "etcdserver: mvcc: database space exceeded";
    matches!(error, UpstreamError::Status(status) if status.code == Code::ResourceExhausted && status.message == FULL)
}

pub fn bad(pool: &ShardPool, reason: String) -> UpstreamError {
    UpstreamError::BadReply { shard: pool.shard().name.clone(), reason }
}
