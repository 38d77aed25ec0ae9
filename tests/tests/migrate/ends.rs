//! Leases that a shard has had for a route, once the route has left it; and those that it has for more than one.

use std::collections::BTreeSet;

use etcd_prism_ownership::keys;
use etcd_prism_proto::etcdserverpb::{LeaseRevokeRequest, PutRequest};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::migration;
use etcd_prism_tests::request::{list, put};
use etcd_prism_tests::wait;
use tonic::Code;

use crate::leases::{grant_for, put_under, renew};
use crate::rig::Rig;
use crate::standbys::{Renewing, gone, left, there};

const LONG: i64 = 600;
const QUOTA: u64 = 4 << 20;
const CHUNK: usize = 256 << 10;

async fn put_at(client: &Client, key: &str, lease: i64) -> Result<(), tonic::Status> {
    client.kv().put(PutRequest { lease, ..put(key, "x") }).await.map(drop)
}

/// The identity of a shard.
async fn identity(shard: &Client) -> String {
    let found = shard.kv().range(list(keys::IDENTITY)).await.expect("a read").into_inner();
    let value: serde_json::Value = serde_json::from_slice(&found.kvs[0].value).expect("an identity");
    value["id"].as_str().expect("an identity").to_owned()
}

/// What a shard remembers of another for a lease: whether it is more than a copy, and the routes that a copy is for.
async fn remembered(shard: &Client, lease: i64, of: &str) -> Option<(bool, BTreeSet<String>)> {
    let key = [&keys::lease(lease)[..], b"/", of.as_bytes()].concat();
    let found = shard.kv().range(list(&key)).await.expect("a read").into_inner();
    let record: serde_json::Value = serde_json::from_slice(&found.kvs.first()?.value).expect("a record");
    let names = record["copy_of"].as_array().into_iter().flatten();
    let names = names.map(|name| name.as_str().expect("a name").to_owned()).collect();
    Some((record["granted"] == true, names))
}

fn copy_of(names: &[&str]) -> Option<(bool, BTreeSet<String>)> {
    Some((false, names.iter().map(|name| (*name).to_owned()).collect()))
}

/// The shard loses it, which is nothing to the client.
async fn counts_for_nothing_on(shard: &Client, client: &Client, lease: i64) {
    assert!(left(shard, lease).await.is_some(), "it is to be lost yet");
    shard.lease().lease_revoke(LeaseRevokeRequest { id: lease }).await.expect("its end there");
    assert_eq!(renew(client, lease).await, LONG, "it has ended with what was left on a shard");
}

/// A lease with keys of `pods` and on shard `c`, granted on `a`.
async fn on_a_and_c(rig: &mut Rig) -> i64 {
    let client = rig.proxies[0].client();
    // The key makes the connection one of shard a.
    rig.put("first", b"x").await;
    let lease = grant_for(&client, LONG).await;
    put_under(rig, "held", lease).await;
    put_at(&client, "/cats/one", lease).await.expect("a put on the third shard");
    lease
}

/// Once its keys are gone, nobody could tell any more that the former owner need not have the lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn complete_waits_until_the_former_owner_is_no_holder() {
    let mut rig = Rig::start().await;
    let lease = on_a_and_c(&mut rig).await;
    let client = rig.proxies[0].client();
    let (a, b, c) = (rig.shard("a"), rig.shard("b"), rig.shard("c"));
    let of_a = identity(&a).await;
    rig.migrate(0, "create", &["--to", "b"]).await;
    rig.copied(0).await;
    // It remembers that a has the lease, and cannot be told otherwise.
    rig.cluster("c").pause();
    rig.migrate_soon(0, "switch").await;
    let admin = rig.proxies[0].admin();
    let completing = tokio::spawn(async move { migration::run_at(&admin, "complete", "pods", &[]).await });
    wait::until("the reason", async || {
        let status = rig.migrate(0, "status", &[]).await.to_string();
        if status.contains("--abandon does not wait") { Ok(()) } else { Err(status) }
    })
    .await;
    there(&a, "held", lease).await;
    rig.cluster("c").resume();
    let (done, text) = completing.await.expect("the verb");
    assert!(done, "{text}");
    for shard in [&b, &c] {
        assert_eq!(remembered(shard, lease, &of_a).await, copy_of(&[]));
    }
    counts_for_nothing_on(&a, &client, lease).await;
    there(&b, "held", lease).await;
    // And it can be used there again.
    put_at(&client, "/cats/two", lease).await.expect("a put");
    rig.migrate(1, "create", &["--to", "a"]).await;
    rig.copied(1).await;
    there(&a, "held", lease).await;
    assert_eq!(remembered(&b, lease, &of_a).await, copy_of(&["pods"]));
}

/// A record that named a route for ever would count once there is no route of that name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_migration_leaves_no_copy_that_is_for_its_route() {
    let mut rig = Rig::start().await;
    let lease = on_a_and_c(&mut rig).await;
    let client = rig.proxies[0].client();
    let (a, b, c) = (rig.shard("a"), rig.shard("b"), rig.shard("c"));
    let of_b = identity(&b).await;
    rig.migrate(0, "create", &["--to", "b"]).await;
    rig.copied(0).await;
    assert_eq!(remembered(&a, lease, &of_b).await, copy_of(&["pods"]));
    rig.migrate(0, "cancel", &[]).await;
    for shard in [&a, &c] {
        assert_eq!(remembered(shard, lease, &of_b).await, copy_of(&[]));
    }
    assert_eq!(renew(&client, lease).await, LONG);
    assert_eq!(remembered(&a, lease, &of_b).await, copy_of(&[]), "a renewal makes more of it");
    counts_for_nothing_on(&b, &client, lease).await;
    // A client that needs it there gets it, and then it counts.
    put_at(&client, "/bees/one", lease).await.expect("a put");
    assert_eq!(remembered(&a, lease, &of_b).await, Some((true, BTreeSet::new())));
}

/// Two drivers, each for its own route, have the same shard for a standby.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_for_every_route_that_follows_there() {
    let mut rig = Rig::start().await;
    let lease = on_a_and_c(&mut rig).await;
    let (a, b) = (rig.shard("a"), rig.shard("b"));
    let of_a = identity(&a).await;
    let cats = |verb, args: &'static [&'static str]| migration::migrate(&rig.proxies[1], verb, "cats", args);
    cats("create", &["--to", "a"]).await;
    migration::copied(&rig.proxies[1], "cats").await;
    rig.migrate(0, "create", &["--to", "b"]).await;
    rig.copied(0).await;
    rig.migrate_soon(0, "switch").await;
    let found = wait::until("the former owner to be known as a follower", async || {
        let found = remembered(&b, lease, &of_a).await;
        if found.as_ref().is_some_and(|(granted, _)| !granted) { Ok(found) } else { Err(found) }
    })
    .await;
    assert_eq!(found, copy_of(&["cats", "pods"]));
    // One of them ends there.
    rig.migrate(0, "complete", &[]).await;
    assert_eq!(remembered(&b, lease, &of_a).await, copy_of(&["cats"]));
}

/// What a shard has in its own right is its clients' to keep alive: a driver does not know whether they live.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_keeps_copies_alive_and_nothing_else() {
    const TTL: i64 = 5;
    let mut rig = Rig::start().await;
    let client = rig.proxies[0].client();
    let (copied, used) = (grant_for(&client, TTL).await, grant_for(&client, TTL).await);
    put_under(&mut rig, "copied", copied).await;
    put_under(&mut rig, "used", used).await;
    put_at(&client, "/bees/one", used).await.expect("a put");
    let (a, b) = (rig.shard("a"), rig.shard("b"));
    // Past the proxies.
    let renewing = [Renewing::start(&a, copied), Renewing::start(&a, used)];
    rig.migrate(0, "create", &["--to", "b"]).await;
    rig.copied(0).await;
    gone(&b, used).await;
    assert!(left(&b, copied).await.is_some(), "the standby has lost its copy");
    there(&b, "copied", copied).await;
    for one in renewing {
        one.stop().await;
    }
}

/// A copy counts for nothing, so that its shard is full must not be in the way of others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_standby_is_not_in_the_way_of_a_third_shard() {
    let quota = |name: &str| match name {
        "b" => EtcdBuilder::new(name).quota(QUOTA),
        _ => EtcdBuilder::new(name),
    };
    let mut rig = Rig::start_with(2, quota).await;
    let client = rig.proxies[0].client();
    let lease = grant_for(&client, LONG).await;
    put_under(&mut rig, "held", lease).await;
    rig.migrate(0, "create", &["--to", "b"]).await;
    rig.copied(0).await;
    let b = rig.shard("b");
    there(&b, "held", lease).await;
    let mut full = None;
    for i in 0..4 * QUOTA / CHUNK as u64 {
        full = b.kv().put(put(&format!("/bees/junk/{i}"), &vec![b'x'; CHUNK])).await.err();
        if full.is_some() {
            break;
        }
    }
    assert_eq!(full.expect("a full shard").code(), Code::ResourceExhausted);
    put_at(&client, "/cats/one", lease).await.expect("a put on a shard that is not full");
    assert_eq!(renew(&client, lease).await, LONG);
}
