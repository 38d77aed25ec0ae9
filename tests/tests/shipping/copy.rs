//! The copy, while the owner goes on.

use std::time::Duration;

use etcd_prism_migration::ship::{Shipper, Slow};
use etcd_prism_ownership::migration::Throttle;

use crate::rig::{Rig, delete_op, fill, put_op, random_write, write};

/// Writes until it is dropped.
fn load(rig: &Rig, keys: u32, writers: usize) -> tokio::task::JoinSet<()> {
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..writers {
        let client = rig.owner().clone();
        load.spawn(async move {
            loop {
                random_write(&client, keys).await;
            }
        });
    }
    load
}

#[tokio::test]
async fn a_copy_under_load_is_exact() {
    let rig = Rig::start().await;
    fill(rig.owner(), 1500, "first").await;
    let mut load = load(&rig, 1800, 3);
    let shipper = Shipper::start(rig.shipment().await);
    shipper.until(|status| status.whole && status.tally.events > 500).await.expect("a copy");
    load.shutdown().await;
    rig.check(&shipper).await;
    let status = shipper.stop().await;
    assert!(status.tally.keys >= 1000, "{status:?}");
    assert!(status.expected_keys.is_some_and(|keys| keys >= 1000), "{status:?}");
}

#[tokio::test]
async fn what_happens_on_either_side_of_the_cursor() {
    let rig = Rig::start().await;
    fill(rig.owner(), 400, "first").await;
    let mut job = rig.shipment().await;
    job.throttle = Throttle { keys_per_second: 40, ..Throttle::default() };
    let shipper = Shipper::start(job);
    let status = shipper.until(|status| status.tally.keys >= 10).await.expect("a copy");
    assert!(!status.copied && !status.whole);
    // The first keys have been copied, the last ones have not.
    for key in ["/pods/00001", "/pods/00399"] {
        write(rig.owner(), [put_op(key, "second")]).await;
    }
    for key in ["/pods/00002", "/pods/00398"] {
        write(rig.owner(), [delete_op(key)]).await;
    }
    for key in ["/pods/000010", "/pods/003990"] {
        write(rig.owner(), [put_op(key, "new")]).await;
    }
    let status = shipper.until(|status| status.slow == Some(Slow::Rate)).await.expect("a copy");
    assert!(!status.copied, "the copy was over before anything could happen: {status:?}");
    shipper.throttle(Throttle::default());
    rig.check(&shipper).await;
}

#[tokio::test]
async fn several_intervals_and_nothing_between_them() {
    let mut rig = Rig::start().await;
    let pair = |start: &str, end: &str| (start.into(), end.into());
    rig.intervals = vec![pair("/leases", "/leases\0"), pair("/pods", "/pods\0"), pair("/pods/", "/pods0")];
    for key in ["/leases", "/leases/other", "/node", "/pods", "/pods!", "/pods/1", "/pods0", "/z"] {
        write(rig.owner(), [put_op(key, "first")]).await;
    }
    let shipper = Shipper::start(rig.shipment().await);
    shipper.until(|status| status.whole).await.expect("a copy");
    for key in ["/leases", "/node", "/pods!", "/pods/2", "/pods0"] {
        write(rig.owner(), [put_op(key, "second")]).await;
    }
    rig.check(&shipper).await;
    let held = rig.held().await;
    assert_eq!(held.keys().collect::<Vec<_>>(), ["/leases", "/pods", "/pods/1", "/pods/2"]);
    rig.intervals = vec![pair("/node", "/node0"), pair("/pods!", "/pods\""), pair("/pods0", "/zz")];
    assert!(rig.keys(rig.standby(), 0).await.is_empty(), "keys of others were copied");
}

#[tokio::test]
async fn a_route_without_keys() {
    let rig = Rig::start().await;
    let shipper = Shipper::start(rig.shipment().await);
    rig.check(&shipper).await;
}

#[tokio::test]
async fn the_largest_values_that_a_client_may_write() {
    // The owner takes 1.5 MiB of a client; the standby some KiB more.
    let rig = Rig::start().await;
    let value = "v".repeat((3 << 19) - 200);
    for i in 0..12 {
        write(rig.owner(), [put_op(&format!("/pods/{i:02}"), if i % 4 == 3 { "small" } else { &value })])
            .await;
    }
    let shipper = Shipper::start(rig.shipment().await);
    shipper.until(|status| status.whole).await.expect("a copy");
    for i in [1, 3, 20] {
        write(rig.owner(), [put_op(&format!("/pods/{i:02}"), &value)]).await;
    }
    rig.check(&shipper).await;
}

#[tokio::test]
async fn what_no_transaction_holds_is_named() {
    let rig = Rig::start_with(|builder| {
        // The first shard takes more than the second one, which is given its flag last.
        let is_second = format!("{builder:?}").contains("\"b\"");
        if is_second { builder.flag("--max-request-bytes=100000") } else { builder }
    })
    .await;
    fill(rig.owner(), 200, &"v".repeat(2000)).await;
    write(rig.owner(), [put_op("/pods/large", &"v".repeat(150_000))]).await;
    let shipper = Shipper::start(rig.shipment().await);
    let error = shipper.until(|status| status.whole).await.expect_err("a key that does not fit");
    assert!(error.to_string().contains("/pods/large"), "{error}");
    let status = tokio::time::timeout(Duration::from_secs(5), shipper.stop()).await.expect("an end");
    assert!(status.tally.keys >= 200, "smaller transactions were taken: {status:?}");
}
