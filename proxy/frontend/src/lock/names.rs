//! The keys of a lock or an election.

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_prism_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::response_op::Response;
use etcd_prism_proto::etcdserverpb::{
    Compare, LeaseGrantRequest, PutRequest, RangeRequest, RangeResponse, RequestOp, ResponseOp,
};
use etcd_prism_routing::Footprint;
use etcd_prism_wire::KeyRange;
use etcd_prism_wire::keys::{RESERVED, prefix_end};

use crate::context::Context;
use crate::error::RequestError;
use crate::lease;

/// The TTL of the leases that are made for sessions without one, in seconds: that of etcd's client library.
const SESSION_TTL: i64 = 60;

/// All keys that compete for one name.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) prefix: Bytes,
    pub(super) end: Bytes,
    /// Of all of them: a name whose keys lie on several shards has no order.
    pub(super) footprint: Footprint,
}

impl Names {
    /// # Errors
    /// The name is reserved.
    pub(super) fn of(cx: &Context, name: &[u8]) -> Result<Self, RequestError> {
        refuse_reserved(name)?;
        let prefix = Bytes::from([name, b"/"].concat());
        let end = Bytes::from(prefix_end(&prefix));
        let footprint = Footprint::of(&cx.gateway().keyspace, KeyRange::new(&prefix, &end));
        Ok(Self { prefix, end, footprint })
    }

    /// The key of a session.
    pub(super) fn key(&self, lease: i64) -> Bytes {
        Bytes::from([&self.prefix[..], hex(lease).as_bytes()].concat())
    }

    fn range(&self, order: SortOrder) -> RangeRequest {
        RangeRequest {
            key: self.prefix.clone(),
            range_end: self.end.clone(),
            limit: 1,
            sort_order: order.into(),
            sort_target: SortTarget::Create.into(),
            ..RangeRequest::default()
        }
    }

    /// Reads the oldest key.
    pub(super) fn oldest(&self) -> RangeRequest {
        self.range(SortOrder::Ascend)
    }

    /// Reads the youngest key that is older than one created at `revision`.
    pub(super) fn ahead_of(&self, revision: i64) -> RangeRequest {
        RangeRequest { max_create_revision: revision - 1, ..self.range(SortOrder::Descend) }
    }
}

/// As Go writes a signed number in hexadecimal.
fn hex(lease: i64) -> String {
    let sign = if lease < 0 { "-" } else { "" };
    format!("{sign}{:x}", lease.unsigned_abs())
}

/// The footprint of one key.
pub(super) fn footprint(cx: &Context, key: &[u8]) -> Result<Footprint, RequestError> {
    refuse_reserved(key)?;
    Ok(Footprint::one(cx.gateway().keyspace.route_of(key)))
}

fn refuse_reserved(key: &[u8]) -> Result<(), RequestError> {
    if key.first() == Some(&RESERVED) { Err(RequestError::Reserved) } else { Ok(()) }
}

/// The lease of a session: its own, or a new one where the keys are.
pub(super) async fn session(cx: &Context, footprint: &Footprint, lease: i64) -> Result<i64, RequestError> {
    if lease != 0 {
        return Ok(lease);
    }
    if let Some(route) = footprint.routes().first() {
        cx.connection.used(cx.gateway().shard_of(*route));
    }
    let request = LeaseGrantRequest { ttl: SESSION_TTL, id: 0 };
    Ok(lease::grant(cx, request).await?.id)
}

/// `create_revision(key) == revision`; 0: there is no such key.
pub(super) fn created_at(key: &Bytes, revision: i64) -> Compare {
    compare(key, CompareTarget::Create, TargetUnion::CreateRevision(revision))
}

/// `mod_revision(key) == revision`.
pub(super) fn modified_at(key: &Bytes, revision: i64) -> Compare {
    compare(key, CompareTarget::Mod, TargetUnion::ModRevision(revision))
}

fn compare(key: &Bytes, target: CompareTarget, value: TargetUnion) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: key.clone(),
        target_union: Some(value),
        ..Compare::default()
    }
}

pub(super) fn put(key: &Bytes, value: Bytes, lease: i64) -> RequestOp {
    let put = PutRequest { key: key.clone(), value, lease, ..PutRequest::default() };
    RequestOp { request: Some(Request::RequestPut(put)) }
}

pub(super) fn read(range: RangeRequest) -> RequestOp {
    RequestOp { request: Some(Request::RequestRange(range)) }
}

/// A read of one key.
pub(super) fn get(key: &Bytes) -> RangeRequest {
    RangeRequest { key: key.clone(), ..RangeRequest::default() }
}

/// The answer to a read of a transaction.
pub(super) fn range_of(response: Option<&ResponseOp>) -> Option<&RangeResponse> {
    match response?.response.as_ref()? {
        Response::ResponseRange(range) => Some(range),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::hex;

    #[test]
    fn leases_are_written_as_go_does() {
        for (lease, text) in [
            (0x694d_71dd_acef_de09, "694d71ddacefde09"),
            (10, "a"),
            (-1, "-1"),
            (i64::MIN, "-8000000000000000"),
        ] {
            assert_eq!(hex(lease), text);
        }
    }
}
