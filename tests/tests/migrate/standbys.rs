//! What a standby has of a lease is a copy: its loss ends nothing for clients, until the standby rules.

use std::time::Duration;

use etcd_prism_ownership::keys;
use etcd_prism_proto::etcdserverpb::{LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::request::{get, list};
use etcd_prism_tests::wait;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::leases::{grant_for, put_under, renew};
use crate::rig::{PODS, Rig};

const TTL: i64 = 5;
/// Long enough for a lease to end that nobody renews.
const AWAY: Duration = Duration::from_secs(TTL as u64 + 2);

/// Seconds left; `None`: the shard does not have it.
pub async fn left(shard: &Client, id: i64) -> Option<i64> {
    let request = LeaseTimeToLiveRequest { id, keys: false };
    let found = shard.lease().lease_time_to_live(request).await.expect("an answer").into_inner();
    (found.ttl >= 0).then_some(found.ttl)
}

pub async fn gone(shard: &Client, id: i64) {
    wait::until("the lease's end on the shard", async || left(shard, id).await.map_or(Ok(()), Err)).await;
}

/// When the key was created on the shard; 0: it is not there.
async fn created(shard: &Client, name: &str) -> i64 {
    let found = shard.kv().range(get(&[PODS, name].concat())).await.expect("a read").into_inner();
    found.kvs.first().map_or(0, |kv| kv.create_revision)
}

/// The shard has lost the key that it had, whether or not it has it again.
async fn lost(shard: &Client, name: &str, had: i64) {
    wait::until("the key's end on the shard", async || {
        let now = created(shard, name).await;
        if now == had { Err(now) } else { Ok(()) }
    })
    .await;
}

pub async fn there(shard: &Client, name: &str, lease: i64) {
    wait::until("the key on the shard", async || {
        let found = shard.kv().range(get(&[PODS, name].concat())).await.expect("a read").into_inner();
        if found.kvs.first().is_some_and(|kv| kv.lease == lease) { Ok(()) } else { Err(found) }
    })
    .await;
}

/// A client that renews a lease all the time. Each time it is alive.
pub struct Renewing {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Renewing {
    pub fn start(client: &Client, id: i64) -> Self {
        let (client, stop) = (client.clone(), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            while !stopped.is_cancelled() {
                assert_eq!(renew(&client, id).await, TTL, "to the client it has ended");
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        });
        Self { stop, task }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("renewals");
    }
}

/// What a shard remembers of the others: whether they are known to have the lease, and whether as a copy.
async fn listed(shard: &Client, id: i64) -> Vec<(bool, bool)> {
    let prefix = [&keys::lease(id)[..], b"/"].concat();
    let found = shard.kv().range(list(&prefix)).await.expect("a list").into_inner();
    let record = |value: &[u8]| {
        let record: serde_json::Value = serde_json::from_slice(value).expect("a record");
        (record["granted"] == true, record.get("copy_of").is_some())
    };
    found.kvs.iter().map(|kv| record(&kv.value)).collect()
}

const HOLDER: (bool, bool) = (true, false);
const COPY: (bool, bool) = (false, true);

/// It ends for the client if it ends there.
async fn counts_on(shard: &Client, client: &Client, id: i64) {
    shard.lease().lease_revoke(LeaseRevokeRequest { id }).await.expect("its end there");
    assert_eq!(renew(client, id).await, 0, "a shard that rules has lost it");
}

/// The target is away for longer than the lease's time; then it takes over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_outlives_the_absence_of_the_target() {
    let mut rig = Rig::start().await;
    rig.fill(20).await;
    let client = rig.proxies[1].client();
    let lease = grant_for(&client, TTL).await;
    put_under(&mut rig, "held", lease).await;
    let renewing = Renewing::start(&client, lease);
    rig.migrate(0, "create", &["--to", "b"]).await;
    rig.copied(0).await;
    let (a, b) = (rig.shard("a"), rig.shard("b"));
    there(&b, "held", lease).await;
    let had = created(&b, "held").await;
    rig.cluster("b").pause();
    tokio::time::sleep(AWAY).await;
    rig.cluster("b").resume();
    lost(&b, "held", had).await;
    assert_eq!(renew(&client, lease).await, TTL, "it has ended with its copy");
    there(&a, "held", lease).await;
    // It gets it again, with the key.
    put_under(&mut rig, "held", lease).await;
    there(&b, "held", lease).await;
    rig.migrate_soon(0, "switch").await;
    tokio::time::sleep(AWAY).await;
    there(&b, "held", lease).await;
    let found = client.kv().range(get(&[PODS, "held"].concat())).await.expect("a read").into_inner();
    assert_eq!(found.kvs.first(), rig.oracle.now().get([PODS, "held"].concat().as_bytes()));
    renewing.stop().await;
    counts_on(&b, &client, lease).await;
    gone(&a, lease).await;
}

/// The same of the former owner, which had the lease before anybody else; then the way back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_outlives_the_absence_of_the_former_owner() {
    let mut rig = Rig::start().await;
    rig.fill(20).await;
    let client = rig.proxies[1].client();
    let lease = grant_for(&client, TTL).await;
    put_under(&mut rig, "held", lease).await;
    let renewing = Renewing::start(&client, lease);
    rig.migrate(0, "create", &["--to", "b"]).await;
    rig.copied(0).await;
    rig.migrate_soon(0, "switch").await;
    let (a, b) = (rig.shard("a"), rig.shard("b"));
    wait::until("the former owner to be known as a follower", async || {
        let found = listed(&b, lease).await;
        if found.contains(&COPY) { Ok(()) } else { Err(found) }
    })
    .await;
    let had = created(&a, "held").await;
    rig.cluster("a").pause();
    tokio::time::sleep(AWAY).await;
    rig.cluster("a").resume();
    lost(&a, "held", had).await;
    assert_eq!(renew(&client, lease).await, TTL, "it has ended with its copy");
    put_under(&mut rig, "held", lease).await;
    there(&a, "held", lease).await;
    rig.migrate_soon(0, "reverse").await;
    tokio::time::sleep(AWAY).await;
    let found = client.kv().range(get(&[PODS, "held"].concat())).await.expect("a read").into_inner();
    assert_eq!(found.kvs.first(), rig.oracle.now().get([PODS, "held"].concat().as_bytes()));
    renewing.stop().await;
    counts_on(&a, &client, lease).await;
}

/// A client uses it on the shard that had only a copy: then that shard's loss counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_used_counts() {
    let mut rig = Rig::start().await;
    let client = rig.proxies[0].client();
    // The key makes the connection one of shard a, so the lease is granted there, and nowhere else.
    rig.put("first", b"x").await;
    let lease = grant_for(&client, 600).await;
    put_under(&mut rig, "held", lease).await;
    rig.migrate(0, "create", &["--to", "b"]).await;
    rig.copied(0).await;
    let (a, b) = (rig.shard("a"), rig.shard("b"));
    there(&b, "held", lease).await;
    assert!(listed(&a, lease).await.contains(&COPY));
    assert!(
        listed(&b, lease).await.iter().all(|record| *record == HOLDER),
        "who has a copy knows the holders"
    );
    assert_eq!(renew(&client, lease).await, 600);
    assert!(listed(&a, lease).await.contains(&COPY), "a renewal makes no holder of it");
    let mut used = etcd_prism_tests::request::put("/bees/one", "x");
    used.lease = lease;
    client.kv().put(used).await.expect("a put on the other shard");
    assert_eq!(renew(&client, lease).await, 600);
    assert!(!listed(&a, lease).await.contains(&COPY), "a holder is taken for a copy");
    counts_on(&b, &client, lease).await;
    gone(&a, lease).await;
}

/// Nothing is shipped in a pause, and the standby keeps its leases all the same; clients' renewals do not come by there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_migration_keeps_its_leases() {
    let mut rig = Rig::start().await;
    let client = rig.proxies[1].client();
    let lease = grant_for(&client, TTL).await;
    put_under(&mut rig, "held", lease).await;
    let renewing = Renewing::start(&client, lease);
    rig.migrate(0, "create", &["--to", "b"]).await;
    rig.copied(0).await;
    let (a, b) = (rig.shard("a"), rig.shard("b"));
    there(&b, "held", lease).await;
    rig.migrate(0, "pause", &[]).await;
    renewing.stop().await;
    let renewing = Renewing::start(&a, lease);
    tokio::time::sleep(2 * AWAY).await;
    renewing.stop().await;
    assert!(left(&b, lease).await.is_some(), "the standby has lost it");
    there(&b, "held", lease).await;
}

/// A lease that ends on the owner is not kept by its copy, nor revived through it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_ends_with_its_lease() {
    let mut rig = Rig::start().await;
    let client = rig.proxies[1].client();
    let (revoked, lost) = (grant_for(&client, 600).await, grant_for(&client, 600).await);
    put_under(&mut rig, "revoked", revoked).await;
    put_under(&mut rig, "lost", lost).await;
    rig.migrate(0, "create", &["--to", "b"]).await;
    rig.copied(0).await;
    let (a, b) = (rig.shard("a"), rig.shard("b"));
    there(&b, "lost", lost).await;
    client.lease().lease_revoke(LeaseRevokeRequest { id: revoked }).await.expect("a revoke");
    assert_eq!((left(&a, revoked).await, left(&b, revoked).await), (None, None));
    // Past the proxies: only the copy is left, and what else it was granted on.
    a.lease().lease_revoke(LeaseRevokeRequest { id: lost }).await.expect("its end on the owner");
    assert_eq!(renew(&client, lost).await, 0);
    gone(&b, lost).await;
}

/// The lease of a driver's lock is as little of clients' business as those of sessions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lock_of_a_driver_is_invisible_and_untouchable() {
    let rig = Rig::start().await;
    rig.migrate(0, "create", &["--to", "b"]).await;
    rig.copied(0).await;
    let b = rig.shard("b");
    let lock = b.kv().range(get(&keys::driver("pods"))).await.expect("a lock").into_inner();
    let id = lock.kvs.first().expect("a lock").lease;
    assert!(left(&b, id).await.is_some());
    for client in rig.clients() {
        wait::until("the list without it", async || {
            let all = client.lease().lease_leases(LeaseLeasesRequest::default()).await.expect("a list");
            let all = all.into_inner().leases;
            if all.is_empty() { Ok(()) } else { Err(all) }
        })
        .await;
        assert_eq!(left(&client, id).await, None);
        assert_eq!(renew(&client, id).await, 0);
        let refused = client.lease().lease_revoke(LeaseRevokeRequest { id }).await.expect_err("a revoke");
        assert_eq!(refused.code(), Code::NotFound);
    }
    assert!(left(&b, id).await.is_some(), "the driver has lost its lock");
}
