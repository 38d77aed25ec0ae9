//! Keys under leases: they die once, not early, and everybody is told.

use std::time::Duration;

use etcd_prism_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, PutRequest,
};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::request::{get, put};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::load::Watcher;
use crate::rig::{PODS, Rig};

const TTL: i64 = 6;

async fn grant(client: &Client) -> i64 {
    grant_for(client, TTL).await
}

pub async fn grant_for(client: &Client, ttl: i64) -> i64 {
    let request = LeaseGrantRequest { ttl, id: 0 };
    client.lease().lease_grant(request).await.expect("a lease").into_inner().id
}

pub async fn renew(client: &Client, id: i64) -> i64 {
    let request = tokio_stream::once(LeaseKeepAliveRequest { id });
    let mut answers = client.lease().lease_keep_alive(request).await.expect("a stream").into_inner();
    answers.message().await.expect("an answer").expect("an answer").ttl
}

async fn renew_on(client: Client, id: i64) {
    loop {
        renew(&client, id).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

pub async fn put_under(rig: &mut Rig, name: &str, lease: i64) {
    let key = [PODS, name].concat();
    let request = PutRequest { lease, ..put(&key, name) };
    let reply = rig.proxies[0].client().kv().put(request).await.expect("a put").into_inner();
    rig.oracle.put(&key, name.as_bytes(), lease, reply.header.expect("a header").revision);
}

/// Waits until the key is gone; then the oracle learns from a watch at which revision, and the watch must agree with it.
async fn died(rig: &mut Rig, watcher: &mut Watcher, name: &str) {
    let key = [PODS, name].concat();
    let revision = watcher.deletion_of(&key).await;
    rig.oracle.delete(&key, revision);
    let found = rig.proxies[1].client().kv().range(get(&key)).await.expect("a read").into_inner();
    assert_eq!(found.kvs, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_go_with_their_keys() {
    let mut rig = Rig::start().await;
    rig.fill(20).await;
    let client = rig.proxies[1].client();
    let mut watcher = Watcher::open(&client, 1).await;
    let (kept, revoked, left) = (grant(&client).await, grant(&client).await, grant(&client).await);
    put_under(&mut rig, "kept", kept).await;
    put_under(&mut rig, "revoked", revoked).await;
    put_under(&mut rig, "left", left).await;
    rig.migrate(0, "create", &["--to", "b"]).await;
    assert_eq!(renew(&client, kept).await, TTL);
    assert_eq!(renew(&client, left).await, TTL);
    rig.migrate(0, "switch", &[]).await;
    let since = Instant::now();
    client.lease().lease_revoke(LeaseRevokeRequest { id: revoked }).await.expect("a revoke");
    died(&mut rig, &mut watcher, "revoked").await;
    assert_eq!(renew(&client, kept).await, TTL);
    // Nobody renews it any more. The other one must not end beside it.
    let renewing = AbortOnDropHandle::new(tokio::spawn(renew_on(client.clone(), kept)));
    died(&mut rig, &mut watcher, "left").await;
    drop(renewing);
    assert!(since.elapsed() > Duration::from_secs(2), "it died early, after {:?}", since.elapsed());
    // As it is told, so it is: with one deletion each.
    rig.put("after", b"x").await;
    watcher.check(&rig.oracle).await;
    // And back: what was written under a lease on the new shard.
    assert_eq!(renew(&client, kept).await, TTL);
    put_under(&mut rig, "kept", kept).await;
    rig.migrate(1, "reverse", &[]).await;
    assert_eq!(renew(&client, kept).await, TTL);
    let found = client.kv().range(get(&[PODS, "kept"].concat())).await.expect("a read").into_inner();
    assert_eq!(found.kvs.first(), rig.oracle.now().get([PODS, "kept"].concat().as_bytes()));
    client.lease().lease_revoke(LeaseRevokeRequest { id: kept }).await.expect("a revoke");
    died(&mut rig, &mut watcher, "kept").await;
    rig.put("end", b"x").await;
    watcher.check(&rig.oracle).await;
}
