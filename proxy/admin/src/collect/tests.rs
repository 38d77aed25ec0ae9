use etcd_prism_frontend::view::MemberView;
use etcd_prism_proto::etcdserverpb::{AlarmType, ResponseHeader, StatusResponse};
use etcd_prism_upstream::endpoint::Seen;

use super::*;

fn member(id: u64, version: &str, leader: u64, revision: i64) -> MemberView {
    let status = StatusResponse {
        header: Some(ResponseHeader { cluster_id: 0xc1, member_id: id, revision, raft_term: 7 }),
        version: version.to_owned(),
        leader,
        raft_term: 7,
        db_size: 100,
        db_size_in_use: 50,
        db_size_quota: 1000,
        errors: vec!["memberID:1 alarm:NOSPACE ".to_owned()],
        ..StatusResponse::default()
    };
    MemberView {
        url: format!("http://m{id}"),
        healthy: true,
        seen: Some(Arc::new(Seen { status, at: tokio::time::Instant::now() })),
    }
}

fn traffic() -> Traffic {
    let compaction = (Some(Duration::from_millis(61_500)), 2);
    Traffic { home: true, in_flight: 3, max_in_flight: 100, breaker_open: false, compaction }
}

#[test]
fn a_shard_as_it_was_last_seen() {
    let lost = MemberView { url: "http://m3".to_owned(), healthy: false, seen: None };
    let view = ShardView {
        name: "pods".to_owned(),
        reachable: true,
        members: vec![member(0x1f, "3.7.1", 0x2f, 90), member(0x2f, "3.6.5", 0x2f, 80), lost],
        alarms: vec![AlarmMember { member_id: 0x1f, alarm: AlarmType::Nospace.into() }],
    };
    let shard = shard_report(&view, &traffic());
    // The leader's revision, the lowest version.
    assert_eq!((shard.revision, shard.version.as_deref()), (80, Some("3.6.5")));
    assert_eq!(shard.support.verdict, Verdict::Old);
    assert!(shard.support.reason.is_some());
    assert_eq!(shard.endpoints.iter().map(|e| e.leader).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(shard.endpoints[0].errors, ["memberID:1 alarm:NOSPACE"]);
    assert_eq!((shard.endpoints[0].member_id.as_str(), shard.endpoints[0].cluster_id.as_str()), ("1f", "c1"));
    assert_eq!(
        shard.endpoints[2],
        report::Endpoint { url: "http://m3".to_owned(), ..report::Endpoint::default() }
    );
    assert_eq!(shard.best().map(|e| e.url.as_str()), Some("http://m47"));
    assert_eq!(shard.alarms, [report::Alarm { member_id: "1f".to_owned(), alarm: "NOSPACE".to_owned() }]);
    assert_eq!((shard.seconds_since_compaction, shard.compactions_skipped), (Some(61), 2));
}

#[test]
fn a_shard_that_was_never_contacted() {
    let lost = MemberView { url: "http://m3".to_owned(), healthy: false, seen: None };
    let view =
        ShardView { name: "pods".to_owned(), reachable: false, members: vec![lost], alarms: Vec::new() };
    let shard = shard_report(&view, &traffic());
    assert_eq!((shard.revision, shard.version.as_ref(), shard.has_leader), (0, None, false));
    assert_eq!(shard.support, report::Support { verdict: Verdict::Unknown, reason: None });
    assert_eq!(shard.best(), None);
}

#[test]
fn an_endpoint_that_leads_elsewhere_is_marked() {
    let mut endpoints = [1, 2].map(|id| endpoint(&member(id, "3.7.1", 1, 90)));
    let strays = [("http://gone".to_owned(), 0xc8), ("http://m2".to_owned(), 0xc9)];
    mark(&mut endpoints, strays.into_iter());
    assert_eq!(endpoints.map(|e| e.elsewhere), [None, Some("c9".to_owned())]);
}
