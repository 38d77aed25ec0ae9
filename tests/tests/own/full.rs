//! A shard above its quota.

use etcd_prism_control::{ApplyError, RouteState, apply};
use etcd_prism_proto::etcdserverpb::alarm_request::AlarmAction;
use etcd_prism_proto::etcdserverpb::{AlarmRequest, CompactionRequest, DefragmentRequest};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::request::{delete_prefix, put};
use tonic::Code;

use crate::apply::options;
use crate::rig::{Node, Rig, Routes, TWO, site, specs};

const QUOTA: u64 = 4 << 20;
const CHUNK: usize = 256 << 10;

/// `pods` owns one prefix more than in [`TWO`], on the same shard.
const MORE: Routes<'static> =
    &[("pods", &["/pods/"], "a"), ("jobs", &["/pods/jobs/"], "a"), ("rest", &[], "b")];

async fn fill(shard: &Client) {
    for i in 0..4 * QUOTA / CHUNK as u64 {
        if let Err(status) = shard.kv().put(put(&format!("/pods/junk/{i}"), &vec![b'x'; CHUNK])).await {
            assert_eq!(status.code(), Code::ResourceExhausted);
            assert_eq!(status.message(), "etcdserver: mvcc: database space exceeded");
            return;
        }
    }
    panic!("the shard took everything");
}

#[tokio::test]
async fn ce27_a_full_shard_is_served_and_says_why_it_cannot_change() {
    let builder = |name: &str| match name {
        "a" => EtcdBuilder::new(name).quota(QUOTA),
        _ => EtcdBuilder::new(name),
    };
    let rig = Rig::start_with(&["a", "b"], builder).await;
    let node = rig.node(TWO);
    node.until_served().await;
    fill(&rig.client("a")).await;
    // The naive way is refused: a top-level Put, and a new lease.
    let status = rig.client("a").kv().put(put("/pods/x", "1")).await.expect_err("a full shard");
    assert_eq!(status.code(), Code::ResourceExhausted);
    let late = rig.node(TWO);
    late.until("the fences, and a reason", |s| {
        let full = s.shards[0].session_error.as_ref().is_some_and(|e| e.contains("full"));
        full && s.shards[1].session && s.not_served().next().is_none()
    })
    .await;
    assert!(!late.own.session_valid(late.shard("a")), "its reads have to be fenced");
    assert_eq!(late.route("pods").state, RouteState::Served, "writes need no session");
    // Later etcds count nested puts, too: a change says so at once, and leaves everything as it is.
    let config = rig.config(MORE);
    let run = async || apply(&site(&config), &specs(&config), &options(), &mut |_| {}).await;
    let error = run().await.expect_err("a full shard");
    assert!(
        matches!(&error, ApplyError::Stopped(_)) && error.to_string().contains("shard a is full"),
        "{error}"
    );
    assert!(node.own.session_valid(node.shard("a")), "a session is renewed on a full shard");
    assert!(node.snapshot().not_served().next().is_none());
    make_room(&rig.client("a")).await;
    let applied = run().await.expect("a change");
    assert!(applied.paused.is_some() && applied.generation == 2);
    Node::start(&config).until_served().await;
    assert!(node.refused("pods").await.contains("route apply"));
}

/// What an operator does: delete, compact, defragment, disarm.
async fn make_room(shard: &Client) {
    let reply = shard.kv().delete_range(delete_prefix("/pods/junk")).await.expect("a deletion").into_inner();
    let revision = reply.header.expect("a header").revision;
    shard.kv().compact(CompactionRequest { revision, physical: true }).await.expect("a compaction");
    shard.maintenance().defragment(DefragmentRequest::default()).await.expect("a defragmentation");
    let alarms =
        shard.maintenance().alarm(AlarmRequest::default()).await.expect("the alarms").into_inner().alarms;
    for alarm in alarms {
        let action = AlarmAction::Deactivate.into();
        let request = AlarmRequest { action, member_id: alarm.member_id, alarm: alarm.alarm };
        shard.maintenance().alarm(request).await.expect("an alarm disarmed");
    }
}
