//! A shard above its quota.

use etcd_prism_proto::etcdserverpb::alarm_request::AlarmAction;
use etcd_prism_proto::etcdserverpb::{AlarmRequest, CompactionRequest, DefragmentRequest};
use etcd_prism_proto::mvccpb::event::EventType;
use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::proxy::Proxy;
use etcd_prism_tests::request::{delete, delete_prefix, get, put, watch_prefix};
use etcd_prism_tests::watch_check::is_progress;
use etcd_prism_tests::watch_stream::WatchStream;
use tonic::Code;

use crate::site::{PODS, Site, TWO, revision_of, until_session, until_shard};

const QUOTA: u64 = 4 << 20;
const CHUNK: usize = 256 << 10;
const JUNK: &str = "/registry/pods/junk/";
const NO_SPACE: (Code, &str) = (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");

/// The naive version needs a lease to read, which a full shard does not grant: nobody sees what could be deleted.
#[tokio::test]
async fn a_full_shard_is_read_and_watched_and_refuses_writes() {
    let shard = |name: &str| match name {
        "a" => EtcdBuilder::new(name).quota(QUOTA),
        _ => EtcdBuilder::new(name),
    };
    let site = Site::start_with(&["a", "b"], shard).await;
    let mut one = site.proxy("one", TWO).await;
    for name in ["x", "y"] {
        one.client().kv().put(put(&format!("{PODS}{name}"), "1")).await.expect("a write");
    }
    fill(&site.direct("a")).await;
    // The session of before is renewed. A proxy that starts now gets none.
    let late = site.proxy("late", TWO).await;
    let full = |shard: &etcd_prism_control::ShardSnapshot| {
        !shard.session && shard.session_error.as_ref().is_some_and(|error| error.contains("full"))
    };
    until_shard(&late, "a", "no session for want of space", full).await;
    until_session(&one, "a").await;
    let mut watches = Vec::new();
    for proxy in [&one, &late] {
        watches.push(serves_what_it_can(proxy).await);
    }
    assert!(fenced_reads(&late).await > 0, "a read without a session has to carry the fence");

    one.client().kv().delete_range(delete("/registry/pods/x")).await.expect("deletions pass");
    for watch in &mut watches {
        let response = watch.wait_for("the deletion", |r| !r.events.is_empty()).await;
        assert_eq!(response.events[0].r#type(), EventType::Delete);
        watch.send_progress_request();
        watch.wait_for("progress", is_progress).await;
    }
    let found = late.client().kv().range(get("/registry/pods/x")).await.expect("a read").into_inner();
    assert!(found.kvs.is_empty(), "a read of before the deletion");

    // It loses its session, and gets none as long as there is no room.
    one.restart().await;
    until_shard(&one, "a", "no session for want of space", full).await;
    serves_what_it_can(&one).await;
    make_room(&site.direct("a")).await;
    for proxy in [&one, &late] {
        until_session(proxy, "a").await;
    }
    late.client().kv().put(put("/registry/pods/z", "1")).await.expect("a write once there is room");
    let again =
        watches[1].wait_for("a write", |r| r.events.iter().any(|e| e.r#type() == EventType::Put)).await;
    assert_eq!(again.events[0].kv.as_ref().expect("a key").key, "/registry/pods/z");
}

/// Reads, refused writes and another route. A watch that goes on.
async fn serves_what_it_can(proxy: &Proxy) -> WatchStream {
    let client = proxy.client();
    let found =
        client.kv().range(get("/registry/pods/y")).await.expect("a read of a full shard").into_inner();
    assert_eq!(found.kvs.len(), 1);
    let refused = client.kv().put(put("/registry/pods/x", "2")).await.expect_err("a write on a full shard");
    assert_eq!((refused.code(), refused.message()), NO_SPACE);
    client.kv().put(put("/registry/other", "1")).await.expect("a write elsewhere");
    let mut watch = WatchStream::open(&client);
    watch.create(watch_prefix(PODS)).await;
    watch
}

async fn fenced_reads(proxy: &Proxy) -> u64 {
    let metrics = proxy.metrics().await;
    let line = metrics.lines().find_map(|line| line.strip_prefix("etcd_prism_fenced_reads_total "));
    line.expect("the metric").parse().expect("a number")
}

async fn fill(shard: &Client) {
    for i in 0..4 * QUOTA / CHUNK as u64 {
        if let Err(status) = shard.kv().put(put(&format!("{JUNK}{i}"), &vec![b'x'; CHUNK])).await {
            assert_eq!((status.code(), status.message()), NO_SPACE);
            return;
        }
    }
    panic!("the shard took everything");
}

/// What an operator does: delete, compact, defragment, disarm.
async fn make_room(shard: &Client) {
    let reply = shard.kv().delete_range(delete_prefix(JUNK)).await.expect("a deletion").into_inner();
    let revision = revision_of(reply.header);
    shard.kv().compact(CompactionRequest { revision, physical: true }).await.expect("a compaction");
    shard.maintenance().defragment(DefragmentRequest::default()).await.expect("a defragmentation");
    let alarms = shard.maintenance().alarm(AlarmRequest::default()).await.expect("the alarms").into_inner();
    assert!(!alarms.alarms.is_empty(), "a full shard raises an alarm");
    for alarm in alarms.alarms {
        let action = AlarmAction::Deactivate.into();
        let request = AlarmRequest { action, member_id: alarm.member_id, alarm: alarm.alarm };
        shard.maintenance().alarm(request).await.expect("an alarm disarmed");
    }
}
