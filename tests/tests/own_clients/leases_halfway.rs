//! Leases on their way to a second shard, when something goes wrong on the way.

use std::time::{Duration, Instant};

use etcd_prism_proto::etcdserverpb::{DeleteRangeRequest, LeaseGrantRequest};
use etcd_prism_tests::delay::DelayProxy;
use etcd_prism_tests::proxy::Proxy;
use etcd_prism_tests::request::{get, put};
use etcd_prism_tests::wait;
use tokio::time::timeout;
use tonic::Code;

use crate::site::{
    NO_LEASE, ON, Site, code_and_text, grant_at, keep_alive, put_leased, revoke, time_to_live,
};

/// Of the far proxy to the shard that lacks the lease.
const FAR: Duration = Duration::from_millis(800);

/// Both shards know of each other, and that it was granted.
async fn assert_whole(site: &Site, lease: i64) {
    let [(a, _), (b, _)] = ON;
    for (shard, other) in [(a, b), (b, a)] {
        let record = site.until_recorded(lease, shard, other).await;
        assert!(record.value.starts_with(b"{\"format\":1,\"granted\":true"), "on {shard}: {record:?}");
    }
}

/// A proxy whose requests to `b` are long on their way.
async fn far(site: &Site, road: &DelayProxy) -> Proxy {
    let through_road = |shard: &str| {
        if shard == "b" { vec![road.endpoint()] } else { site.shards[shard].endpoints() }
    };
    site.proxy("far", through_road).await
}

/// The shard that a lease comes from stops answering when the lease has been granted on the other: whoever brought it cannot
/// know whether it still counts. If it took the lease back, it would delete what others have written under it by then.
#[tokio::test]
async fn ce28_a_lease_whose_origin_went_silent_is_not_taken_from_those_who_use_it() {
    let mut site = Site::start().await;
    let [(a, on_a), (b, on_b)] = ON;
    site.expect_faults_of(a);
    let road = site.slow_road(b, FAR).await;
    let far = far(&site, &road).await;
    far.expect_log(a);
    far.expect_log(b);
    let (brings, near) = (far.client(), site.proxies[0].client());
    let lease = grant_at(&site.proxies[0], on_a, 600).await;
    let write = tokio::spawn({
        let client = brings.clone();
        async move { put_leased(&client, &format!("{on_b}-far"), lease).await }
    });
    site.until_recorded(lease, a, b).await;
    // The grant is on its way.
    site.shard(a).pause();
    let direct = site.direct(b);
    wait::until("the lease on b", async || {
        let left = time_to_live(&direct, lease).await.ttl;
        if left > 0 { Ok(()) } else { Err(left) }
    })
    .await;
    put_leased(&near, on_b, lease).await.expect("a write where the lease is");
    let refused = write.await.expect("a task").expect_err("whether the lease counts is not known");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    // The proxy looks three times, for two seconds each, before it gives up.
    let until = Instant::now() + Duration::from_secs(6);
    while Instant::now() < until {
        let found = direct.kv().range(get(on_b)).await.expect("a read").into_inner();
        assert_eq!(found.count, 1, "what was written and acknowledged is gone");
        assert_eq!(keep_alive(&near, lease).await.expect("an answer").ttl, 600, "said to be gone");
    }
    site.shard(a).resume();
    wait::until("a", async || site.direct(a).kv().range(get(on_a)).await).await;
    // And it goes on, everywhere.
    wait::until("the write of the far proxy", async || {
        let again = put_leased(&brings, &format!("{on_b}-far"), lease).await;
        assert!(!matches!(&again, Err(e) if e.code() == Code::NotFound), "{again:?}");
        again
    })
    .await;
    for client in [&near, &brings] {
        assert_eq!(keep_alive(client, lease).await.expect("an answer").ttl, 600);
    }
    assert_whole(&site, lease).await;
    revoke(&near, lease).await.expect("a revoke");
}

/// Where it certainly has ended, it has to go: it would live on alone, and nobody would tell.
#[tokio::test]
async fn ce28_a_lease_that_ended_while_it_was_brought_is_taken_back() {
    let site = Site::start().await;
    let [(a, on_a), (b, on_b)] = ON;
    let road = site.slow_road(b, FAR).await;
    let far = far(&site, &road).await;
    let brings = far.client();
    let lease = grant_at(&site.proxies[0], on_a, 600).await;
    let write = tokio::spawn(async move { put_leased(&brings, on_b, lease).await });
    site.until_recorded(lease, a, b).await;
    revoke(&site.direct(a), lease).await.expect("its end there");
    let gone = write.await.expect("a task").expect_err("it has ended");
    assert_eq!(code_and_text(&gone), NO_LEASE);
    assert_eq!(time_to_live(&site.direct(b), lease).await.ttl, -1, "it lives on");
}

/// Nobody knows whether the grant was done, so its record has to stay. If that kept everybody from bringing the lease, it
/// could not come to that shard for as long as it lives.
#[tokio::test]
async fn ce28_a_grant_that_was_lost_on_its_way_is_done_again() {
    let mut site = Site::start().await;
    let [(a, on_a), (b, on_b)] = ON;
    site.expect_faults_of(b);
    let road = site.slow_road(b, FAR).await;
    let far = far(&site, &road).await;
    far.expect_log(b);
    let (brings, near) = (far.client(), site.proxies[0].client());
    let lease = grant_at(&site.proxies[0], on_a, 600).await;
    let write = tokio::spawn(async move { put_leased(&brings, on_b, lease).await });
    let key = site.until_recorded(lease, a, b).await.key;
    site.shard(b).kill();
    let refused = write.await.expect("a task").expect_err("the shard died");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    let left = site.direct(a).kv().range(get(&key)).await.expect("a read").into_inner().kvs;
    assert!(left[0].value.starts_with(b"{\"format\":1,\"granted\":false"), "{left:?}");
    site.shard(b).restart().await;
    assert_eq!(
        time_to_live(&site.direct(b), lease).await.ttl,
        -1,
        "granted after all, so this shows nothing"
    );
    wait::until("b, through the proxy", async || near.kv().put(put(on_b, "x")).await).await;
    put_leased(&near, on_b, lease).await.expect("the lease is alive");
    assert_whole(&site, lease).await;
}

/// Whoever brought it died between the grant and the lists. The next renewal completes them: otherwise the copy would know of
/// no other, and live on alone when the first one ends.
#[tokio::test]
async fn ce28_lists_that_were_left_unfinished_are_completed() {
    let site = Site::start().await;
    let [(a, on_a), (b, on_b)] = ON;
    let [one, two] = site.clients();
    // By a renewal, and by a write that met the shard before the lease came.
    for by_renewal in [true, false] {
        let lease = grant_at(&site.proxies[0], on_a, 600).await;
        site.intend(lease, a, b, 7, 0).await;
        let grant = LeaseGrantRequest { id: lease, ttl: 600 };
        let direct = site.direct(b);
        if by_renewal {
            direct.lease().lease_grant(grant).await.expect("the writer's grant");
            put_leased(&one, on_b, lease).await.expect("a write where the lease is");
            assert_eq!(keep_alive(&two, lease).await.expect("an answer").ttl, 600);
        } else {
            let client = two.clone();
            let mut write = tokio::spawn(async move { put_leased(&client, on_b, lease).await });
            let early = timeout(Duration::from_millis(300), &mut write).await;
            assert!(early.is_err(), "it did not wait: {early:?}");
            direct.lease().lease_grant(grant).await.expect("the writer's grant");
            write.await.expect("a task").expect("the write");
        }
        assert_whole(&site, lease).await;
        // Which is what counts: it ends where it was, and so it ends.
        revoke(&site.direct(a), lease).await.expect("its end there");
        assert_eq!(keep_alive(&two, lease).await.expect("an answer").ttl, 0);
        wait::until("its end on b", async || {
            let left = time_to_live(&site.direct(b), lease).await.ttl;
            if left == -1 { Ok(()) } else { Err(left) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_writer_that_died_is_followed_and_one_from_long_ago_is_not() {
    let site = Site::start().await;
    let [(a, on_a), (b, on_b)] = ON;
    let two = site.proxies[1].client();
    let lease = grant_at(&site.proxies[0], on_a, 600).await;
    site.intend(lease, a, b, 7, 1000).await;
    let started = Instant::now();
    put_leased(&two, on_b, lease).await.expect("the write, when the other was waited for");
    assert!(started.elapsed() >= Duration::from_secs(1), "it was not waited for: {:?}", started.elapsed());
    assert_whole(&site, lease).await;
    // Had that one granted the lease, it could have ended on b by now.
    let lease = grant_at(&site.proxies[0], on_a, 600).await;
    site.intend(lease, a, b, 7, 400_000).await;
    let gone = put_leased(&two, on_b, lease).await.expect_err("it may have ended there");
    assert_eq!(code_and_text(&gone), NO_LEASE);
    assert_eq!(time_to_live(&site.direct(b), lease).await.ttl, -1, "it was taken over");
    // The lease itself goes on where it is.
    assert_eq!(keep_alive(&two, lease).await.expect("a renewal").ttl, 600);
    put_leased(&two, on_a, lease).await.expect("a write");
}

/// Somebody was bringing it and was refused by the shard, say. That says nothing of whoever waits for it.
#[tokio::test]
async fn a_record_that_is_withdrawn_is_no_end() {
    let site = Site::start().await;
    let [(a, on_a), (b, on_b)] = ON;
    let two = site.proxies[1].client();
    let lease = grant_at(&site.proxies[0], on_a, 600).await;
    // So old that it would not be taken over.
    site.intend(lease, a, b, 7, 400_000).await;
    let mut write = tokio::spawn(async move { put_leased(&two, on_b, lease).await });
    let early = timeout(Duration::from_millis(300), &mut write).await;
    assert!(early.is_err(), "it did not wait: {early:?}");
    let key = site.record_key(lease, b).await;
    let request = DeleteRangeRequest { key: key.into(), ..DeleteRangeRequest::default() };
    site.direct(a).kv().delete_range(request).await.expect("the record withdrawn");
    write.await.expect("a task").expect("the write");
    assert_whole(&site, lease).await;
}

/// As long as others get on with it, nobody can tell that it will not come.
#[tokio::test]
async fn a_wait_that_is_too_long_is_not_said_to_be_an_end() {
    let site = Site::start().await;
    let [(a, on_a), (b, on_b)] = ON;
    let two = site.proxies[1].client();
    let lease = grant_at(&site.proxies[0], on_a, 600).await;
    site.intend(lease, a, b, 0, 0).await;
    let mut write = tokio::spawn(async move { put_leased(&two, on_b, lease).await });
    let mut writer = 0;
    let refused = loop {
        writer += 1;
        site.intend(lease, a, b, writer, 0).await;
        if let Ok(end) = timeout(Duration::from_millis(100), &mut write).await {
            break end.expect("a task").expect_err("others are at it");
        }
    };
    assert_eq!(code_and_text(&refused), (Code::Unavailable, "etcdserver: request timed out"));
    assert_eq!(time_to_live(&site.direct(b), lease).await.ttl, -1);
}
