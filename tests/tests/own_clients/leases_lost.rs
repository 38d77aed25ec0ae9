//! A lease that has ended on one shard stays ended there, and ends everywhere.

use etcd_prism_tests::request::put;
use etcd_prism_tests::wait;
use tonic::Code;

use crate::site::{
    NO_LEASE, ON, Site, code_and_text, grant_at, keep_alive, put_leased, revoke, time_to_live,
};

/// A proxy that goes by what it remembers, or by "absent here, alive there", brings the revoked lease back.
#[tokio::test]
async fn ce28_a_lease_revoked_while_a_shard_was_down_does_not_come_back() {
    let mut site = Site::start().await;
    let [(a, on_a), (b, on_b)] = ON;
    site.expect_faults_of(b);
    let lease = grant_at(&site.proxies[0], on_a, 600).await;
    let [one, _] = site.clients();
    put_leased(&one, on_b, lease).await.expect("a write on the other shard");
    site.shard(b).kill();
    let told = revoke(&one, lease).await.expect_err("a shard that has it is down");
    assert_eq!(told.code(), Code::Unavailable, "{told:?}");
    // Where it could be, it was revoked.
    assert_eq!(time_to_live(&site.direct(a), lease).await.ttl, -1);
    // Whoever remembers it is gone.
    site.proxies[0].kill();
    site.shard(b).restart().await;
    assert!(time_to_live(&site.direct(b), lease).await.ttl > 0, "the revoke has not reached it");
    let two = site.proxies[1].client();
    wait::until("b, through the proxy", async || two.kv().put(put(on_b, "x")).await).await;
    let gone = put_leased(&two, on_a, lease).await.expect_err("it was revoked");
    assert_eq!(code_and_text(&gone), NO_LEASE);
    assert_eq!(time_to_live(&site.direct(a), lease).await.ttl, -1, "it came back");
    // Its owner learns of it, and the rest of it ends.
    assert_eq!(keep_alive(&two, lease).await.expect("an answer").ttl, 0);
    wait::until("its end on b", async || {
        let left = time_to_live(&site.direct(b), lease).await.ttl;
        if left == -1 { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test]
async fn ce28_a_revoke_is_told_to_a_shard_that_comes_back() {
    let mut site = Site::start().await;
    let [(a, on_a), (b, on_b)] = ON;
    site.expect_faults_of(b);
    // Granted through one proxy, brought through the other: this one never saw it on b.
    let lease = grant_at(&site.proxies[0], on_a, 600).await;
    let [one, two] = site.clients();
    put_leased(&two, on_b, lease).await.expect("a write on the other shard");
    site.shard(b).kill();
    let told = revoke(&one, lease).await.expect_err("a shard that has it is down");
    assert_eq!(told.code(), Code::Unavailable, "{told:?}");
    // Nothing renews or moves it any more.
    assert_eq!(keep_alive(&one, lease).await.expect("an answer").ttl, 0);
    site.shard(b).restart().await;
    wait::until("its end on b", async || {
        let left = time_to_live(&site.direct(b), lease).await.ttl;
        if left == -1 { Ok(()) } else { Err(left) }
    })
    .await;
    assert_eq!(time_to_live(&site.direct(a), lease).await.ttl, -1);
}

/// By expiry on a shard that was cut off, say.
#[tokio::test]
async fn ce28_a_lease_that_ended_on_one_shard_is_not_granted_there_again() {
    let site = Site::start().await;
    let [(_, on_a), (b, on_b)] = ON;
    let lease = grant_at(&site.proxies[0], on_a, 600).await;
    let [one, two] = site.clients();
    put_leased(&one, on_b, lease).await.expect("a write on the other shard");
    revoke(&site.direct(b), lease).await.expect("its end there");
    // The one remembers that it was there, the other has to read it.
    for client in [&two, &one] {
        let gone = put_leased(client, on_b, lease).await.expect_err("it ended there");
        assert_eq!(code_and_text(&gone), NO_LEASE);
        assert_eq!(time_to_live(&site.direct(b), lease).await.ttl, -1, "it came back");
    }
    assert_eq!(keep_alive(&two, lease).await.expect("an answer").ttl, 0);
}

/// A proxy that has never reached a shard does not know it by the name that the lists have. If it took such a name for that of
/// a shard that is no more, it would say that the lease has ended everywhere.
#[tokio::test]
async fn ce28_a_revoke_is_owed_to_a_shard_that_was_not_identified_yet() {
    let mut site = Site::start().await;
    let [(a, on_a), (b, on_b)] = ON;
    site.expect_faults_of(b);
    let lease = grant_at(&site.proxies[0], on_a, 600).await;
    let [one, _] = site.clients();
    put_leased(&one, on_b, lease).await.expect("a write on the other shard");
    site.shard(b).pause();
    let late = site.proxy("late", |shard| site.shards[shard].endpoints()).await;
    late.expect_log(b);
    let client = late.client();
    wait::until("a, through the late proxy", async || client.kv().put(put(on_a, "x")).await).await;
    let told = revoke(&client, lease).await.expect_err("a shard that has it is away");
    assert_eq!(told.code(), Code::Unavailable, "{told:?}");
    assert_eq!(time_to_live(&site.direct(a), lease).await.ttl, -1);
    site.shard(b).resume();
    wait::until("the lease's end on b", async || {
        let left = time_to_live(&site.direct(b), lease).await.ttl;
        if left < 0 { Ok(()) } else { Err(left) }
    })
    .await;
}
