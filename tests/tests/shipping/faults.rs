//! Whatever ends a shipper or a shard, nothing is lost, repeated or out of order.

use std::collections::HashMap;
use std::time::Duration;

use etcd_prism_migration::ship::{ShipError, Shipper};
use etcd_prism_ownership::keys;
use etcd_prism_ownership::migration::{Bound, Throttle};
use etcd_prism_ownership::value::ProvenanceRecord;
use etcd_prism_proto::etcdserverpb::CompactionRequest;
use rand::Rng;

use crate::rig::{ROUTE, Rig, alone, fill, put_op, random_write, revision, write};

#[tokio::test]
async fn a_shipper_that_is_dropped_anywhere() {
    let rig = Rig::start().await;
    fill(rig.owner(), 600, "first").await;
    let job = rig.shipment().await;
    let client = rig.owner().clone();
    let load = tokio::spawn(async move {
        loop {
            random_write(&client, 800).await;
        }
    });
    let mut refused = 0;
    for round in 0..40 {
        let mut job = job.clone();
        // Slow enough that the copy does not end in the first rounds.
        job.throttle = Throttle { keys_per_second: if round < 20 { 500 } else { 0 }, ..Throttle::default() };
        let shipper = Shipper::start(job);
        let time = rand::rng().random_range(1..60);
        match tokio::time::timeout(Duration::from_millis(time), shipper.until(|_| false)).await {
            // What the one before had under way came late.
            Ok(Err(ShipError::Refused(_))) => refused += 1,
            Ok(ended) => panic!("{ended:?}"),
            Err(_) => {}
        }
        if round % 3 == 0 {
            shipper.stop().await;
        }
    }
    assert!(refused < 20, "{refused}");
    load.abort();
    load.await.expect_err("it writes for ever");
    let shipper = alone(&job).await;
    rig.check(&shipper).await;
    nothing_was_repeated(&rig).await;
}

/// The standby's history of each key's record goes up, revision after revision.
async fn nothing_was_repeated(rig: &Rig) {
    let mut last: HashMap<Vec<u8>, i64> = HashMap::new();
    let mut seen = 0;
    let present = revision(rig.standby()).await;
    for at in 1..=present {
        let mut request = etcd_prism_tests::request::list(&keys::provenance(ROUTE, b""));
        (request.revision, request.min_mod_revision) = (at, at);
        for kv in rig.standby().kv().range(request).await.expect("records").into_inner().kvs {
            let record = ProvenanceRecord::decode(&kv.value).expect("a record");
            let before = last.insert(kv.key.to_vec(), record.mod_revision);
            assert!(before.is_none_or(|before| before < record.mod_revision), "{kv:?} after {before:?}");
            seen += 1;
        }
    }
    assert!(seen > 600, "{seen}");
}

#[tokio::test]
async fn a_new_epoch_ends_it() {
    let rig = Rig::start().await;
    fill(rig.owner(), 20, "first").await;
    let shipper = Shipper::start(rig.shipment().await);
    shipper.until(|status| status.whole).await.expect("a copy");
    let epoch = rig.raise(1).await;
    write(rig.owner(), [put_op("/pods/late", "late")]).await;
    match shipper.until(|_| false).await {
        Err(ShipError::Refused(refused)) => assert_eq!(refused.fence, epoch),
        other => panic!("{other:?}"),
    }
    assert!(!rig.held().await.contains_key("/pods/late"));
    // Whoever holds the new epoch goes on.
    let job = rig.shipment().await;
    rig.check(&Shipper::start(job)).await;
}

#[tokio::test]
async fn somebody_else_writes_the_progress() {
    let rig = Rig::start().await;
    fill(rig.owner(), 20, "first").await;
    let job = rig.shipment().await;
    let one = Shipper::start(job.clone());
    one.until(|status| status.whole).await.expect("a copy");
    let two = Shipper::start(job);
    two.until(|status| status.whole).await.expect("a copy");
    two.probe().await.expect("a shipper");
    write(rig.owner(), [put_op("/pods/1", "x")]).await;
    let ends = tokio::select! {
        ended = one.until(|_| false) => ended,
        ended = two.until(|_| false) => ended,
    };
    assert!(matches!(ends, Err(ShipError::Refused(_))), "{ends:?}");
}

#[tokio::test]
async fn what_is_compacted_cannot_be_shipped() {
    let rig = Rig::start().await;
    fill(rig.owner(), 20, "first").await;
    let job = rig.shipment().await;
    let shipper = Shipper::start(job.clone());
    shipper.until(|status| status.whole).await.expect("a copy");
    let g = rig.check(&shipper).await;
    shipper.stop().await;
    let compact = async |revision| {
        let request = CompactionRequest { revision, physical: false };
        rig.owner().kv().compact(request).await.expect("compaction");
    };
    // Up to what was shipped it does no harm.
    write(rig.owner(), [put_op("/pods/1", "x")]).await;
    compact(g + 1).await;
    let shipper = Shipper::start(job.clone());
    rig.check(&shipper).await;
    let watermark = shipper.stop().await.watermark;
    write(rig.owner(), [put_op("/pods/1", "y")]).await;
    let last = write(rig.owner(), [put_op("/pods/1", "z")]).await;
    compact(last).await;
    let shipper = Shipper::start(job);
    match shipper.until(|_| false).await {
        Err(ShipError::Compacted { watermark: at, compacted, .. }) => {
            assert_eq!((at, compacted), (watermark, last));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn shards_that_are_killed_and_stopped() {
    let mut rig = Rig::start().await;
    fill(rig.owner(), 2000, &"v".repeat(500)).await;
    let shipper = Shipper::start(rig.shipment().await);
    for round in 0..4 {
        shipper.until(|status| status.begun).await.expect("a shipper");
        for i in 0..50 {
            write(rig.owner(), [put_op(&format!("/pods/{i:05}"), &format!("round {round}"))]).await;
        }
        let side = round % 2;
        rig.sides[side].cluster.kill();
        shipper.until(|status| status.trouble.is_some()).await.expect("a shipper");
        rig.sides[side].cluster.restart().await;
        let last = write(rig.owner(), [put_op("/pods/00000", "after")]).await;
        shipper
            .until(|status| status.watermark >= last && status.trouble.is_none())
            .await
            .expect("a shipper");
    }
    rig.check(&shipper).await;
}

#[tokio::test]
async fn stop_waits_for_what_is_under_way() {
    let mut rig = Rig::start().await;
    fill(rig.owner(), 20, "first").await;
    let shipper = Shipper::start(rig.shipment().await);
    shipper.until(|status| status.whole).await.expect("a copy");
    rig.sides[1].cluster.pause();
    write(rig.owner(), [put_op("/pods/1", "under way")]).await;
    // The standby may or may not apply it when it wakes up.
    let order = tokio::time::timeout(Duration::from_secs(1), shipper.bound(Bound::Stop)).await;
    rig.sides[1].cluster.resume();
    if order.is_err() {
        shipper.bound(Bound::Stop).await.expect("a shipper");
    }
    let before = revision(rig.standby()).await;
    let last = write(rig.owner(), [put_op("/pods/2", "later")]).await;
    shipper.until(|status| status.owner >= last).await.expect("a shipper");
    assert_eq!(revision(rig.standby()).await, before);
    shipper.bound(Bound::None).await.expect("a shipper");
    rig.check(&shipper).await;
}
