//! Two proxies at once.

use std::time::Duration;

use etcd_prism_proto::etcdserverpb::PutResponse;
use etcd_prism_tests::client::Client;
use etcd_prism_tests::http;
use etcd_prism_tests::request::put;
use tonic::Status;

use crate::site::{NO_LEASE, ON, Site, code_and_text, grant, grant_at, put_leased, revoke, time_to_live};

#[tokio::test]
async fn a_lease_that_several_bring_at_once_is_brought_once() {
    let site = Site::start().await;
    let [(a, on_a), (b, on_b)] = ON;
    let [one, two] = site.clients();
    for round in 0..20 {
        let lease = grant_at(&site.proxies[round % 2], on_a, 600).await;
        let writes = (0..6).map(|i| {
            let client = if i % 2 == 0 { one.clone() } else { two.clone() };
            async move { put_leased(&client, &format!("{on_b}-{round}-{i}"), lease).await }
        });
        for write in futures_util::future::join_all(writes).await {
            write.unwrap_or_else(|refused| panic!("round {round}: {refused:?}"));
        }
        assert_eq!(time_to_live(&one, lease).await.keys.len(), 7);
        for (shard, other) in [(a, b), (b, a)] {
            let key = site.record_key(lease, other).await;
            let records = site.records(shard).await;
            let found = records.iter().find(|kv| kv.key == key).expect("a record");
            assert!(found.value.starts_with(b"{\"format\":1,\"granted\":true"), "{found:?}");
            // Intended, then confirmed; here written once. A second one to bring it would have written again.
            assert_eq!(found.version, if shard == a { 2 } else { 1 }, "{found:?}");
        }
        revoke(&two, lease).await.expect("a revoke");
    }
}

/// Calls of a method that a shard has answered.
async fn answered(site: &Site, shard: &str, method: &str) -> u64 {
    let address = site.shards[shard].endpoints()[0].replace("http://", "");
    let metrics = http::get_ok(&address, "/metrics").await.expect("metrics of a shard");
    let method = format!("grpc_method=\"{method}\"");
    let counts =
        metrics.lines().filter(|l| l.starts_with("grpc_server_handled_total{") && l.contains(&method));
    counts.map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("a count")).sum()
}

/// An API server writes its events with one lease at a time: if each write asked for itself, a new lease would cost every
/// shard a question per write.
#[tokio::test]
async fn a_lease_that_many_writes_need_at_once_is_asked_for_once() {
    const WRITES: usize = 64;
    let site = Site::start().await;
    let [(a, on_a), (b, on_b)] = ON;
    let client = site.proxies[0].client();
    for method in ["LeaseTimeToLive", "LeaseGrant"] {
        let lease = grant_at(&site.proxies[0], on_a, 600).await;
        let before = [answered(&site, a, method).await, answered(&site, b, method).await];
        let writes = (0..WRITES).map(|i| put_leased_at(&client, format!("{on_b}-{method}-{i}"), lease));
        for write in futures_util::future::join_all(writes).await {
            write.expect("a write");
        }
        for (shard, before) in [a, b].into_iter().zip(before) {
            let asked = answered(&site, shard, method).await - before;
            assert!(asked <= 8, "{method} on {shard}: {asked} for {WRITES} writes");
        }
    }
}

async fn put_leased_at(client: &Client, key: String, lease: i64) -> Result<PutResponse, Status> {
    put_leased(client, &key, lease).await
}

/// Revoked through one proxy while the other brings it: whichever is first, it is nowhere in the end. If the one who brings
/// it did not look again after the grant, it would live on alone where it was brought to.
#[tokio::test]
async fn ce28_a_lease_revoked_while_it_is_brought_is_gone() {
    let site = Site::start().await;
    let [(a, on_a), (b, on_b)] = ON;
    let [one, two] = site.clients();
    one.kv().put(put(on_a, "x")).await.expect("a write");
    let mut outcomes = [0, 0];
    for round in 0..60 {
        let lease = grant(&one, 600).await;
        put_leased(&one, on_a, lease).await.expect("a leased key");
        // Dense where an idle machine decides it, and far enough for a busy one.
        let delay = Duration::from_micros(u64::pow(round, 3));
        let (write, revoked) = tokio::join!(put_leased(&two, on_b, lease), async {
            tokio::time::sleep(delay).await;
            revoke(&one, lease).await
        });
        revoked.expect("a revoke");
        match write {
            Ok(_) => outcomes[0] += 1,
            Err(refused) => {
                assert_eq!(code_and_text(&refused), NO_LEASE, "round {round}");
                outcomes[1] += 1;
            }
        }
        for shard in [a, b] {
            let left = time_to_live(&site.direct(shard), lease).await;
            assert_eq!((left.ttl, left.keys.len()), (-1, 0), "round {round}: on {shard}: {left:?}");
        }
    }
    println!("written before the revoke: {}, refused: {}", outcomes[0], outcomes[1]);
    assert!(outcomes.iter().all(|n| *n > 0), "no race: {outcomes:?}");
}

/// The same, but the proxy that revokes is far from the shard that has the lease: the other shards are told first, and get
/// the lease after that. If it did not come back to them, it would live on there.
#[tokio::test]
async fn ce28_a_revoke_that_is_slow_on_its_way_finds_the_lease_that_was_brought_meanwhile() {
    const DELAY: Duration = Duration::from_millis(150);
    let site = Site::start().await;
    let [(a, on_a), (b, on_b)] = ON;
    let road = site.slow_road(a, DELAY).await;
    let through_road = |shard: &str| {
        if shard == a { vec![road.endpoint()] } else { site.shards[shard].endpoints() }
    };
    let proxy = site.proxy("far", through_road).await;
    let (far, near) = (proxy.client(), site.proxies[0].client());
    let mut outcomes = [0, 0];
    // The proxy asks the far shard three times before it tells anybody.
    for round in 8..24 {
        let lease = grant_at(&site.proxies[0], on_a, 600).await;
        // Some of the writes come when the revoke has reached the one shard and not yet the other.
        let (revoked, write) = tokio::join!(revoke(&far, lease), async {
            tokio::time::sleep(DELAY * round / 4).await;
            put_leased(&near, on_b, lease).await
        });
        revoked.expect("a revoke");
        outcomes[usize::from(write.is_err())] += 1;
        let left = time_to_live(&site.direct(b), lease).await;
        assert_eq!((left.ttl, left.keys.len()), (-1, 0), "round {round}: {left:?}");
    }
    println!("written before the revoke: {}, refused: {}", outcomes[0], outcomes[1]);
    assert!(outcomes.iter().all(|n| *n > 0), "no race: {outcomes:?}");
}
