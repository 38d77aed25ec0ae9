//! What dies, sleeps or is called off while a route moves.

use std::time::Duration;

use etcd_prism_tests::request::{get, list};
use etcd_prism_tests::wait;

use crate::load::{Load, Watcher};
use crate::rig::{PODS, Rig};

/// The proxy that copies is killed: the other one goes on from what is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_driver_dies_while_it_copies() {
    let mut rig = Rig::start().await;
    rig.fill(400).await;
    let other = [rig.proxies[1].client()];
    let mut watcher = Watcher::open(&other[0], 1).await;
    let load = Load::start(&other, Duration::from_millis(2));
    rig.migrate(0, "create", &["--to", "b", "--keys-per-second", "100"]).await;
    rig.proxies[0].kill();
    rig.migrate(1, "throttle", &["--keys-per-second", "0"]).await;
    rig.copied(1).await;
    // The dead proxy's session has to expire before anything can be sealed.
    rig.migrate_soon(1, "switch").await;
    rig.proxies[0].restart().await;
    let told = load.finish().await;
    let oracle = told.oracle(&rig.oracle);
    told.check_reads(&oracle);
    watcher.check(&oracle).await;
    // The one that was away knows as much.
    let client = rig.proxies[0].client();
    Watcher::open(&client, 1).await.check(&oracle).await;
    let found = client.kv().range(list(PODS)).await.expect("a list").into_inner();
    assert_eq!(found.kvs, oracle.now().values().cloned().collect::<Vec<_>>());
}

/// The proxy that compares is killed: the other one goes on with it, and nobody has to ask again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_driver_dies_while_it_compares() {
    let mut rig = Rig::start().await;
    rig.fill(150).await;
    rig.migrate(0, "create", &["--to", "b"]).await;
    rig.copied(0).await;
    rig.migrate(0, "throttle", &["--keys-per-second", "10"]).await;
    let status = async |proxy| rig.migrate(proxy, "status", &[]).await;
    let begun = wait::until("a part to be compared", async || match status(0).await {
        status if status["counts"]["compared"].as_u64() > Some(0) => Ok(status),
        status => Err(status),
    });
    let begun = tokio::select! {
        begun = begun => begun,
        found = rig.migrate(0, "verify", &[]) => panic!("compared already: {found}"),
    };
    assert_eq!(begun["timings"]["verified"], serde_json::Value::Null, "{begun}");
    rig.proxies[0].kill();
    rig.migrate(1, "throttle", &["--keys-per-second", "0"]).await;
    let status = wait::until("the comparison to end", async || {
        let status = rig.migrate(1, "status", &[]).await;
        if status["timings"]["verified"].is_number() { Ok(status) } else { Err(status) }
    })
    .await;
    assert_eq!(status["counts"]["compared"], 150, "{status}");
}

/// A proxy sleeps through its session and the switch. What it shows when it wakes is of the new owner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_sleeps_through_the_switch() {
    let mut rig = Rig::start().await;
    rig.fill(50).await;
    let sleeper = rig.proxies[1].client();
    let mut watcher = Watcher::open(&sleeper, 1).await;
    rig.migrate(0, "create", &["--to", "b"]).await;
    rig.copied(0).await;
    rig.migrate(0, "switch", &["--dry-run"]).await;
    rig.proxies[1].pause();
    rig.migrate_soon(0, "switch").await;
    rig.put("late", b"written on the new shard").await;
    rig.proxies[1].resume();
    let found = sleeper.kv().range(get(&[PODS, "late"].concat())).await.expect("a read").into_inner();
    assert_eq!(found.kvs.first(), rig.oracle.now().get([PODS, "late"].concat().as_bytes()));
    watcher.check(&rig.oracle).await;
}

/// Called off before the switch: nothing has happened, and the target holds nothing of the route.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_is_called_off() {
    let mut rig = Rig::start().await;
    rig.fill(100).await;
    let clients = rig.clients();
    let mut watcher = Watcher::open(&clients[1], 1).await;
    let load = Load::start(&clients, Duration::from_millis(2));
    for _ in 0..2 {
        rig.migrate(0, "create", &["--to", "b"]).await;
        rig.copied(1).await;
        rig.migrate_soon(1, "verify").await;
        rig.migrate(1, "cancel", &[]).await;
        let left = rig.shard("b").kv().range(list(PODS)).await.expect("a list").into_inner();
        assert_eq!(left.kvs, []);
        let provenance = list(b"\xffprism/prov/");
        let left = rig.shard("b").kv().range(provenance).await.expect("a list").into_inner();
        assert_eq!(left.kvs, []);
    }
    let told = load.finish().await;
    let oracle = told.oracle(&rig.oracle);
    told.check_reads(&oracle);
    watcher.check(&oracle).await;
}
