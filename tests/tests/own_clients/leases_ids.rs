//! Which keys and which lease an id stands for.

use etcd_prism_proto::etcdserverpb::{LeaseGrantRequest, PutRequest};
use etcd_prism_tests::request::put;
use etcd_prism_tests::wait;
use tonic::Code;

use crate::fences::{raise, seal};
use crate::site::{
    NO_LEASE, ON, Site, code_and_text, grant_at, keep_alive, put_leased, revoke, time_to_live,
};

/// A shard may still have keys of a route that has moved away from it.
#[tokio::test]
async fn a_lease_shows_the_keys_of_the_shard_that_owns_them() {
    let site = Site::start().await;
    let [(a, on_a), (b, on_b)] = ON;
    let [one, two] = site.clients();
    let lease = grant_at(&site.proxies[0], on_a, 600).await;
    put_leased(&two, on_b, lease).await.expect("a write on the other shard");
    for (shard, key) in [(b, on_a), (b, "/registry/pods/gone"), (a, "/registry/events/gone")] {
        let copy = PutRequest { lease, ..put(key, "copy") };
        site.direct(shard).kv().put(copy).await.expect("a copy");
    }
    for client in [&one, &two] {
        assert_eq!(time_to_live(client, lease).await.keys, [on_b, on_a]);
    }
    // Where the keys are on the move, who has them cannot be told.
    let open = seal(&site.direct(b), "events").await;
    let asked = etcd_prism_proto::etcdserverpb::LeaseTimeToLiveRequest { id: lease, keys: true };
    let refused = one.lease().lease_time_to_live(asked).await.expect_err("sealed");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    raise(&site.direct(b), "events", &open).await;
    assert_eq!(time_to_live(&one, lease).await.keys, [on_b, on_a]);
}

/// Revoked everywhere at once, the lease would take keys from a shard that is sealed: whoever copies them would not see it,
/// and nobody who watches would be told.
#[tokio::test]
async fn ce37_a_revoke_is_held_while_a_route_of_its_keys_is_sealed() {
    let site = Site::start().await;
    let [(a, on_a), (b, on_b)] = ON;
    let [one, two] = site.clients();
    let lease = grant_at(&site.proxies[0], on_a, 600).await;
    put_leased(&one, on_b, lease).await.expect("a write on the other shard");
    let shard = site.direct(b);
    let open = seal(&shard, "events").await;
    for client in [&one, &two] {
        let held = revoke(client, lease).await.expect_err("a route that is sealed");
        assert_eq!(held.code(), Code::Unavailable, "{held:?}");
        for (shard, key) in [(a, on_a), (b, on_b)] {
            let left = time_to_live(&site.direct(shard), lease).await;
            assert!(left.ttl > 0 && left.keys.iter().any(|k| k == key), "on {shard}: {left:?}");
        }
    }
    // One that waits goes through when the route is open again.
    let client = two.clone();
    let waits = tokio::spawn(async move { revoke(&client, lease).await });
    raise(&shard, "events", &open).await;
    waits.await.expect("a task").expect("a revoke");
    for shard in [a, b] {
        assert_eq!(time_to_live(&site.direct(shard), lease).await.ttl, -1, "on {shard}");
    }
}

/// A proxy that remembers where a lease was would say of a new one of that id that it has ended, and revoke it.
#[tokio::test]
async fn an_id_that_is_granted_again_is_another_lease() {
    const ID: i64 = 0x7abc;
    let site = Site::start().await;
    let [(_, on_a), (b, on_b)] = ON;
    let [one, two] = site.clients();
    let grant = LeaseGrantRequest { id: ID, ttl: 600 };
    two.lease().lease_grant(grant).await.expect("a lease");
    for key in [on_a, on_b] {
        put_leased(&one, key, ID).await.expect("a leased key");
    }
    // The first proxy has seen it on both shards, and not its end.
    assert_eq!(keep_alive(&one, ID).await.expect("a renewal").ttl, 600);
    revoke(&two, ID).await.expect("a revoke");
    two.lease().lease_grant(grant).await.expect("another lease");
    assert_eq!(keep_alive(&one, ID).await.expect("an answer").ttl, 600, "said to be gone");
    put_leased(&one, on_b, ID).await.expect("a key on b");
    assert_eq!(keep_alive(&one, ID).await.expect("a renewal").ttl, 600);
    assert_eq!(time_to_live(&two, ID).await.keys, [on_b]);
    assert!(time_to_live(&site.direct(b), ID).await.ttl > 0);
    revoke(&two, ID).await.expect("a revoke");
}

/// What is still to be told to a shard that is down concerns what that shard has.
#[tokio::test]
async fn a_revoke_that_is_owed_does_not_end_the_next_lease_of_that_id() {
    const ID: i64 = 0x7abd;
    let mut site = Site::start().await;
    let [(_, on_a), (b, on_b)] = ON;
    site.expect_faults_of(b);
    let [one, two] = site.clients();
    let grant = LeaseGrantRequest { id: ID, ttl: 600 };
    one.lease().lease_grant(grant).await.expect("a lease");
    for key in [on_a, on_b] {
        put_leased(&one, key, ID).await.expect("a leased key");
    }
    site.shard(b).kill();
    let told = revoke(&one, ID).await.expect_err("a shard that has it is down");
    assert_eq!(told.code(), Code::Unavailable, "{told:?}");
    assert_eq!(keep_alive(&one, ID).await.expect("an answer").ttl, 0);
    two.lease().lease_grant(grant).await.expect("another lease");
    assert_eq!(keep_alive(&one, ID).await.expect("an answer").ttl, 600, "said to be gone");
    put_leased(&one, on_a, ID).await.expect("a key of the new one");
    site.shard(b).restart().await;
    wait::until("the end of the old one on b", async || {
        let left = time_to_live(&site.direct(b), ID).await.ttl;
        if left == -1 { Ok(()) } else { Err(left) }
    })
    .await;
    assert_eq!(keep_alive(&one, ID).await.expect("an answer").ttl, 600);
    wait::until("b, through the proxy", async || one.kv().put(put(on_b, "x")).await).await;
    put_leased(&one, on_b, ID).await.expect("a key on b");
    revoke(&two, ID).await.expect("a revoke");
    let gone = put_leased(&one, on_b, ID).await.expect_err("it is gone");
    assert_eq!(code_and_text(&gone), NO_LEASE);
}
