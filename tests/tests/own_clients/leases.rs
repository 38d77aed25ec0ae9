//! Leases that are brought to a second shard, and what is written there for it.

use std::collections::BTreeMap;

use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::request::put;
use etcd_prism_tests::wait;
use tonic::Code;

use crate::site::{
    NO_LEASE, ON, Site, code_and_text, grant_at, keep_alive, put_leased, revoke, time_to_live,
};

/// With the TTL that is left, a lease of an hour that was brought late would end between two renewals.
#[tokio::test]
async fn ce06_a_lease_is_brought_with_its_granted_ttl() {
    let site = Site::start().await;
    let [(a, on_a), (b, on_b)] = ON;
    let lease = grant_at(&site.proxies[0], on_a, 30).await;
    wait::until("a part of the TTL to pass", async || {
        let left = time_to_live(&site.direct(a), lease).await.ttl;
        if left <= 27 { Ok(()) } else { Err(left) }
    })
    .await;
    let [one, two] = site.clients();
    put_leased(&two, on_b, lease).await.expect("a write on the other shard");
    let brought = time_to_live(&site.direct(b), lease).await;
    assert_eq!(brought.granted_ttl, 30, "{brought:?}");
    assert!(brought.ttl > 27, "{brought:?}");
    // To clients it is one lease: the lower TTL, and every key of theirs.
    let shown = time_to_live(&one, lease).await;
    assert_eq!((shown.granted_ttl, shown.keys), (30, vec![on_b.into(), on_a.into()]));
    assert!(shown.ttl <= 27, "{}", shown.ttl);
    assert_eq!(keep_alive(&one, lease).await.expect("a renewal").ttl, 30);
    assert!(time_to_live(&site.direct(a), lease).await.ttl > 27, "renewed on both");
}

#[tokio::test]
async fn every_copy_of_a_lease_knows_the_others_and_the_records_end_with_it() {
    let site = Site::start().await;
    let [(a, on_a), (b, on_b)] = ON;
    let [one, two] = site.clients();
    let lease = grant_at(&site.proxies[0], on_a, 600).await;
    assert!(site.records(a).await.is_empty() && site.records(b).await.is_empty(), "one copy needs none");
    put_leased(&two, on_b, lease).await.expect("a write on the other shard");
    for (shard, other) in [(a, b), (b, a)] {
        let records = site.records(shard).await;
        let keys: BTreeMap<_, _> = records.iter().map(|kv| (kv.key.to_vec(), kv.lease)).collect();
        let key = site.record_key(lease, other).await;
        assert_eq!(keys, BTreeMap::from([(key, lease)]), "on {shard}");
        let value = String::from_utf8_lossy(&records[0].value).into_owned();
        assert!(value.starts_with("{\"format\":1,\"granted\":true"), "{value}");
    }
    // Once is enough.
    put_leased(&one, "/registry/events/y", lease).await.expect("another write");
    assert_eq!((site.records(a).await[0].version, site.records(b).await.len()), (2, 1));
    revoke(&one, lease).await.expect("a revoke");
    assert!(site.records(a).await.is_empty() && site.records(b).await.is_empty());
    for client in site.clients() {
        for key in [on_a, on_b] {
            let gone = put_leased(&client, key, lease).await.expect_err("a write under a lease that is gone");
            assert_eq!(code_and_text(&gone), NO_LEASE);
        }
    }
}

/// Whether the lease is alive where nobody answers is not known, so it is neither granted anew nor said to be gone.
#[tokio::test]
async fn a_holder_that_is_down_makes_the_write_unavailable() {
    let mut site = Site::start().await;
    let [(a, on_a), (_, on_b)] = ON;
    site.expect_faults_of(a);
    let lease = grant_at(&site.proxies[0], on_a, 600).await;
    let [one, two] = site.clients();
    two.kv().put(put(on_b, "served")).await.expect("a write");
    site.shard(a).kill();
    for client in [&one, &two] {
        let refused = put_leased(client, on_b, lease).await.expect_err("its lease cannot be asked for");
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    }
    assert_eq!(time_to_live(&site.direct("b"), lease).await.ttl, -1, "granted on a guess");
    site.shard(a).restart().await;
    wait::until("the write", async || put_leased(&two, on_b, lease).await).await;
}

/// Of a shard that is full, in MiB.
const QUOTA: u64 = 16;

async fn fill(site: &Site, shard: &str) {
    let client = site.direct(shard);
    wait::until("a full shard", async || {
        let big = put("/big", &vec![b'x'; 1 << 20]);
        match client.kv().put(big).await {
            Err(status) if status.code() == Code::ResourceExhausted => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// etcd counts a record against its quota, however it is written.
#[tokio::test]
async fn a_holder_that_is_full_says_so_and_nothing_is_left_behind() {
    let routes = [
        ("pods", "/registry/pods/", "a"),
        ("events", "/registry/events/", "b"),
        ("secrets", "/registry/secrets/", "c"),
    ];
    let site = Site::start_on(&routes, |name| EtcdBuilder::new(name).quota(QUOTA << 20)).await;
    let [(_, on_a), (b, on_b)] = ON;
    let on_c = "/registry/secrets/x";
    let [one, two] = site.clients();
    let lease = grant_at(&site.proxies[0], on_a, 600).await;
    put_leased(&one, on_c, lease).await.expect("a write on another shard");
    // Records are written in the order of the shards' identities, so here one is there when the other is refused.
    let mut holders = ["a", "c"];
    if site.identity("a").await > site.identity("c").await {
        holders.reverse();
    }
    let [first, full] = holders;
    site.expect_faults_of(full);
    fill(&site, full).await;
    let refused = put_leased(&two, on_b, lease).await.expect_err("the record does not fit");
    assert_eq!(
        code_and_text(&refused),
        (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded")
    );
    assert_eq!(time_to_live(&site.direct(b), lease).await.ttl, -1);
    let keys: Vec<_> = site.records(first).await.into_iter().map(|kv| kv.key.to_vec()).collect();
    assert_eq!(keys, [site.record_key(lease, full).await], "a record of a lease that was not granted");
    // A lease of the shard itself is not concerned.
    let own = grant_at(&site.proxies[1], on_b, 600).await;
    put_leased(&two, on_b, own).await.expect("a write");
}
