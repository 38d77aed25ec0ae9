//! The comparison finds what differs, and nothing else, and puts it right.

use std::time::Duration;

use bytes::Bytes;
use etcd_prism_migration::ship::{Compared, Difference, Mismatches, Shipment, Shipper, verify};
use etcd_prism_ownership::keys;
use etcd_prism_ownership::migration::Bound;
use etcd_prism_proto::etcdserverpb::CompactionRequest;
use etcd_prism_tests::request::{delete, put};

use crate::rig::{ROUTE, Rig, alone, fill, put_op, random_write, write};

#[tokio::test]
async fn equal_under_load_and_across_compaction() {
    let rig = Rig::start().await;
    fill(rig.owner(), 3000, "first").await;
    let job = rig.shipment().await;
    let shipper = Shipper::start(job.clone());
    shipper.until(|status| status.whole).await.expect("a copy");
    let client = rig.owner().clone();
    let load = tokio::spawn(async move {
        loop {
            random_write(&client, 3500).await;
        }
    });
    let mut pages = 0;
    let (owner, standby) = (rig.owner().clone(), rig.standby().clone());
    let compared = verify(&job, &shipper, b"", |_| {
        pages += 1;
        if pages == 2 {
            // Both have forgotten the state that was looked at.
            for client in [owner.clone(), standby.clone()] {
                tokio::spawn(async move {
                    let last = write(&client, [put_op("/other/x", "x")]).await;
                    let request = CompactionRequest { revision: last, physical: false };
                    client.kv().compact(request).await.expect("compaction");
                });
            }
        }
    })
    .await
    .expect("a comparison");
    load.abort();
    assert_eq!((compared.mismatches.count(), compared.repaired.count()), (0, 0), "{compared:?}");
    assert!(compared.keys >= 2000 && pages > 3 && compared.next.is_none(), "{pages} pages: {compared:?}");
}

/// 300 keys on both shards, and the shipper that follows.
async fn followed(rig: &Rig) -> (Shipment, Shipper) {
    fill(rig.owner(), 300, "first").await;
    let job = rig.shipment().await;
    let shipper = Shipper::start(job.clone());
    rig.check(&shipper).await;
    shipper.bound(Bound::None).await.expect("a shipper");
    (job, shipper)
}

/// One key of each kind of difference, written on the standby past the shipper.
async fn spoil(rig: &Rig) -> Vec<(String, Difference)> {
    let kv = || rig.standby().kv();
    kv().put(put("/pods/00100x", "extra")).await.expect("a put");
    kv().put(put("/pods/00150x", "extra")).await.expect("a put");
    kv().put(put(&keys::provenance(ROUTE, b"/pods/00150x"), "no record")).await.expect("a put");
    // A key that is written alone is not in step with its record.
    kv().put(put("/pods/00200", "first")).await.expect("a put");
    kv().put(put("/pods/00250", "another")).await.expect("a put");
    kv().delete_range(delete(&keys::provenance(ROUTE, b"/pods/00299"))).await.expect("a delete");
    let expected = [
        ("/pods/00100x", Difference::Extra),
        ("/pods/00150x", Difference::Extra),
        ("/pods/00200", Difference::Numbers),
        ("/pods/00250", Difference::Value),
        ("/pods/00299", Difference::Numbers),
    ];
    expected.map(|(key, difference)| (key.to_owned(), difference)).into()
}

fn named(found: &Mismatches) -> Vec<(String, Difference)> {
    found.named.iter().map(|m| (m.key.escape_ascii().to_string(), m.difference)).collect()
}

async fn compare(job: &Shipment, shipper: &Shipper, from: &[u8]) -> Compared {
    verify(job, shipper, from, |_| ()).await.expect("a comparison")
}

#[tokio::test]
async fn every_difference_is_found_and_put_right() {
    let rig = Rig::start().await;
    let (job, shipper) = followed(&rig).await;
    let expected = spoil(&rig).await;
    // From the middle on.
    let rest = compare(&job, &shipper, b"/pods/00200").await;
    assert_eq!((rest.keys, named(&rest.repaired)), (100, expected[2..].to_vec()));
    let all = compare(&job, &shipper, b"").await;
    assert_eq!((all.keys, named(&all.repaired)), (300, expected[..2].to_vec()));
    assert_eq!(rest.mismatches.count() + all.mismatches.count(), 0);
    rig.check(&shipper).await;
    assert_eq!(shipper.status().borrow().tally.filled, 5);
    shipper.bound(Bound::None).await.expect("a shipper");
    assert_eq!(compare(&job, &shipper, b"").await.repaired, Mismatches::default());
}

/// More than are named, and more than one transaction holds.
#[tokio::test]
async fn every_key_differs() {
    let rig = Rig::start().await;
    let (job, shipper) = followed(&rig).await;
    for i in 0..300 {
        let key = format!("/pods/{i:05}");
        write(rig.standby(), [put_op(&key, "wrong")]).await;
    }
    let all = compare(&job, &shipper, b"").await;
    assert_eq!((all.repaired.named.len(), all.repaired.count(), all.mismatches.count()), (100, 300, 0));
    rig.check(&shipper).await;
}

/// A key that is changed again and again is reported.
#[tokio::test]
async fn what_cannot_be_put_right_is_told() {
    let rig = Rig::start().await;
    let (job, shipper) = followed(&rig).await;
    let mut spoilers = tokio::task::JoinSet::new();
    for i in 0..8 {
        let client = rig.standby().clone();
        spoilers.spawn(async move {
            loop {
                client.kv().put(put("/pods/00100", &format!("spoilt {i}"))).await.expect("a put");
            }
        });
    }
    rig.standby().kv().put(put("/pods/00200", "wrong")).await.expect("a put");
    let found = compare(&job, &shipper, b"").await;
    assert_eq!(named(&found.mismatches), [("/pods/00100".to_owned(), Difference::Value)]);
    assert_eq!(named(&found.repaired), [("/pods/00200".to_owned(), Difference::Value)]);
    spoilers.shutdown().await;
    let found = compare(&job, &shipper, b"").await;
    assert_eq!((found.mismatches.count(), found.repaired.count()), (0, 1));
    rig.check(&shipper).await;
}

/// A key that is deleted in order to be written anew is not forgotten by whoever goes on.
#[tokio::test]
async fn a_shipper_dies_while_it_repairs() {
    let rig = Rig::start().await;
    let (job, mut shipper) = followed(&rig).await;
    for round in 0..30 {
        spoil(&rig).await;
        let keys = ["/pods/00200", "/pods/00250", "/pods/00299"];
        let keys = keys.iter().map(|key| Bytes::from_static(key.as_bytes())).collect();
        let time = Duration::from_micros(round * 400);
        tokio::time::timeout(time, shipper.repair(keys)).await.ok();
        shipper.stop().await;
        shipper = alone(&job).await;
        let held = rig.keys(rig.standby(), 0).await;
        let held = held.iter().filter(|kv| !kv.key.ends_with(b"x")).count();
        assert_eq!(held, 300, "round {round}");
    }
    compare(&job, &shipper, b"").await;
    rig.check(&shipper).await;
}
