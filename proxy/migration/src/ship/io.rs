//! Calls to the shards.

use std::time::Duration;

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::response_op::Response;
use etcd_prism_proto::etcdserverpb::{
    Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest,
    LeaseKeepAliveResponse, LeaseLeasesRequest, LeaseLeasesResponse, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest, TxnResponse,
};
use etcd_prism_upstream::{Class, Place, Retry, ShardPool, UpstreamError, rpc};
use etcd_prism_wire::Code;
use prost::Message;

/// Longest wait for one answer of a shard.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A shard, and how it is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shard<'a>(pub(crate) &'a ShardPool);

impl Shard<'_> {
    pub(crate) fn name(self) -> String {
        self.0.shard().name.clone()
    }

    async fn send<M: Message, R: Message + Default>(
        self,
        path: &'static str,
        request: &M,
        retry: Retry,
    ) -> Result<R, UpstreamError> {
        let mut call = rpc::call(path, request, retry);
        call.timeout = Some(PATIENCE);
        call.place = Place::Reserved;
        rpc::unary(self.0, call).await
    }

    pub(crate) async fn txn(self, request: &TxnRequest) -> Result<TxnResponse, UpstreamError> {
        self.send(rpc::TXN, request, Retry::Never).await
    }

    /// All ranges at one revision, linearizably.
    pub(crate) async fn read(
        self,
        ranges: Vec<RangeRequest>,
    ) -> Result<(i64, Vec<RangeResponse>), UpstreamError> {
        let wanted = ranges.len();
        let success = ranges.into_iter().map(Request::RequestRange).map(op).collect();
        let request = TxnRequest { success, ..TxnRequest::default() };
        let reply: TxnResponse = self.send(rpc::TXN, &request, Retry::OnceElsewhere).await?;
        let revision = self.revision(&reply)?;
        let ranges = ranges_of(reply);
        if ranges.len() != wanted {
            return Err(self.bad("not the answers that were asked for"));
        }
        Ok((revision, ranges))
    }

    /// One range, whose reply has at most `max` bytes; a larger one is [`is_too_long`]. A large reply must not be in the way
    /// of others, and gives way to clients.
    pub(crate) async fn page(
        self,
        request: &RangeRequest,
        max: usize,
    ) -> Result<(i64, RangeResponse), UpstreamError> {
        let mut call = rpc::call(rpc::RANGE, request, Retry::OnceElsewhere);
        call.timeout = Some(PATIENCE);
        call.class = Class::Bulk;
        let name = &self.0.shard().name;
        let message = self.0.call(call).await?.message_up_to(name, max).await?;
        let reply = RangeResponse::decode(message).map_err(|error| self.bad(&error.to_string()))?;
        let revision = reply.header.as_ref().map(|header| header.revision);
        Ok((revision.ok_or_else(|| self.bad("a reply without a header"))?, reply))
    }

    pub(crate) fn revision(self, reply: &TxnResponse) -> Result<i64, UpstreamError> {
        let revision = reply.header.as_ref().map(|header| header.revision);
        revision.ok_or_else(|| self.bad("a reply without a header"))
    }

    /// Seconds left of a lease; `None`: it is not there.
    pub(crate) async fn time_to_live(self, id: i64) -> Result<Option<i64>, UpstreamError> {
        let request = LeaseTimeToLiveRequest { id, keys: false };
        let reply: LeaseTimeToLiveResponse =
            self.send(rpc::LEASE_TIME_TO_LIVE, &request, Retry::OnceElsewhere).await?;
        Ok(Some(reply.ttl).filter(|ttl| *ttl >= 0))
    }

    pub(crate) async fn leases(self) -> Result<Vec<i64>, UpstreamError> {
        let request = LeaseLeasesRequest {};
        let reply: LeaseLeasesResponse = self.send(rpc::LEASE_LEASES, &request, Retry::OnceElsewhere).await?;
        Ok(reply.leases.into_iter().map(|lease| lease.id).collect())
    }

    /// A new lease of the shard's choice, for so many seconds at least.
    pub(crate) async fn grant(self, ttl: i64) -> Result<i64, UpstreamError> {
        let request = LeaseGrantRequest { ttl, id: 0 };
        let reply: LeaseGrantResponse = self.send(rpc::LEASE_GRANT, &request, Retry::Never).await?;
        if reply.id == 0 {
            return Err(self.bad("a lease without an id"));
        }
        Ok(reply.id)
    }

    /// Renews a lease; the seconds that it was granted for, 0 if it has ended.
    pub(crate) async fn keep_alive(self, id: i64) -> Result<i64, UpstreamError> {
        let request = LeaseKeepAliveRequest { id };
        let reply: LeaseKeepAliveResponse =
            self.send(rpc::LEASE_KEEP_ALIVE, &request, Retry::OnceElsewhere).await?;
        Ok(reply.ttl.max(0))
    }

    pub(crate) fn bad(self, reason: &str) -> UpstreamError {
        UpstreamError::BadReply { shard: self.name(), reason: reason.to_owned() }
    }
}

pub(crate) fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

pub(crate) fn put(key: Bytes, value: Bytes, lease: i64) -> RequestOp {
    op(Request::RequestPut(PutRequest { key, value, lease, ..PutRequest::default() }))
}

pub(crate) fn delete(key: Bytes, range_end: Bytes) -> RequestOp {
    op(Request::RequestDeleteRange(DeleteRangeRequest { key, range_end, prev_kv: false }))
}

pub(crate) fn get(key: Bytes) -> RangeRequest {
    RangeRequest { key, ..RangeRequest::default() }
}

/// `MOD(key) == revision`.
pub(crate) fn unmoved(key: Bytes, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key,
        target_union: Some(TargetUnion::ModRevision(revision)),
        ..Compare::default()
    }
}

/// The answers of a transaction's ranges.
pub(crate) fn ranges_of(reply: TxnResponse) -> Vec<RangeResponse> {
    let range = |op: etcd_prism_proto::etcdserverpb::ResponseOp| match op.response {
        Some(Response::ResponseRange(range)) => Some(range),
        _ => None,
    };
    reply.responses.into_iter().filter_map(range).collect()
}

/// The mod revision of the one key of a range; 0: it is not there.
pub(crate) fn mod_revision(range: Option<&RangeResponse>) -> i64 {
    range.and_then(|range| range.kvs.first()).map_or(0, |kv| kv.mod_revision)
}

/// The shard has not got the lease of a put: nothing was written.
pub(crate) fn lacks_lease(error: &UpstreamError) -> bool {
    has_text(error, Code::NotFound, "etcdserver: requested lease not found")
}

/// The request will never be taken as it is.
pub(crate) fn is_unfit(error: &UpstreamError) -> bool {
    has_text(error, Code::InvalidArgument, "etcdserver: request is too large")
        || has_text(error, Code::InvalidArgument, "etcdserver: too many operations in txn request")
        || is_too_long(error)
}

/// The reply, or the request, is longer than the other side takes.
pub(crate) fn is_too_long(error: &UpstreamError) -> bool {
    has_text(error, Code::ResourceExhausted, "grpc: received message larger than max")
}

fn has_text(error: &UpstreamError, code: Code, text: &str) -> bool {
    matches!(error, UpstreamError::Status(status) if status.code == code && status.message.starts_with(text))
}
