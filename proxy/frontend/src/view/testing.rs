//! Shards made by hand.

use std::sync::Arc;
use tokio::time::Instant;

use etcd_prism_proto::etcdserverpb::{AlarmMember, AlarmType, ResponseHeader, StatusResponse};
use etcd_prism_upstream::endpoint::Seen;

use super::{MemberView, ShardView};

/// A status of member `id`, which leads, of a shard at `revision`.
pub(crate) fn status(id: u64, version: &str, revision: i64) -> StatusResponse {
    StatusResponse {
        header: Some(ResponseHeader { cluster_id: 1, member_id: id, revision, raft_term: 2 }),
        version: version.to_owned(),
        leader: id,
        raft_term: 2,
        db_size: 1000,
        db_size_in_use: 500,
        db_size_quota: 10_000,
        storage_version: "3.6.0".to_owned(),
        ..StatusResponse::default()
    }
}

pub(crate) fn member(status: StatusResponse) -> MemberView {
    let url = format!("http://m{}", status.header.as_ref().map_or(0, |h| h.member_id));
    let seen = Some(Arc::new(Seen { status, at: Instant::now() }));
    MemberView { url, healthy: true, seen }
}

pub(crate) fn shard(name: &str, members: Vec<MemberView>) -> ShardView {
    ShardView { name: name.to_owned(), reachable: true, members, alarms: Vec::new() }
}

/// A shard that was never contacted.
pub(crate) fn unknown(name: &str) -> ShardView {
    let members = vec![MemberView { url: "http://m".to_owned(), healthy: false, seen: None }];
    ShardView { name: name.to_owned(), reachable: false, members, alarms: Vec::new() }
}

pub(crate) fn alarm(member_id: u64, alarm: AlarmType) -> AlarmMember {
    AlarmMember { member_id, alarm: alarm.into() }
}
