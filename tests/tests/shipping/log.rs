//! The log: bounds, large revisions, idle routes.

use etcd_prism_migration::ship::Shipper;
use etcd_prism_ownership::migration::Bound;
use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_tests::request::delete_prefix;

use crate::rig::{Rig, assert_same, delete_op, fill, put_op, revision, write};

#[tokio::test]
async fn a_bound_is_kept_to_the_revision() {
    let rig = Rig::start().await;
    fill(rig.owner(), 20, "first").await;
    let shipper = Shipper::start(rig.shipment().await);
    shipper.until(|status| status.whole).await.expect("a copy");
    shipper.bound(Bound::Stop).await.expect("a shipper");
    let before = revision(rig.standby()).await;
    let g = write(rig.owner(), [put_op("/pods/00001", "below"), delete_op("/pods/00002")]).await;
    let above = write(rig.owner(), [put_op("/pods/00003", "above")]).await;
    // It hears of both, and applies none.
    shipper.until(|status| status.owner >= above).await.expect("a shipper");
    assert_eq!(revision(rig.standby()).await, before, "applied in spite of the bound");
    shipper.reach(g).await.expect("a shipper");
    assert_same(&rig.owned(g).await, &rig.held().await);
    assert_eq!(rig.held().await["/pods/00003"].0, b"first");
    // The switch was aborted.
    shipper.bound(Bound::None).await.expect("a shipper");
    shipper.until(|status| status.watermark >= above).await.expect("a shipper");
    assert_same(&rig.owned(above).await, &rig.held().await);
}

#[tokio::test]
async fn the_watermark_of_an_idle_route_follows_the_owner() {
    let rig = Rig::start().await;
    let job = rig.shipment().await;
    let shipper = Shipper::start(job.clone());
    shipper.until(|status| status.whole).await.expect("a copy");
    let mut last = 0;
    for _ in 0..20 {
        last = write(rig.owner(), [put_op("/other", "x")]).await;
    }
    let status = shipper.until(|status| status.watermark >= last).await.expect("a shipper");
    assert_eq!(status.lag(), Some(0));
    // What an idle route stores is exact where it has to be.
    shipper.reach(last).await.expect("a shipper");
    let status = shipper.stop().await;
    assert_eq!(status.watermark, last);
    let again = Shipper::start(job);
    let status = again.until(|status| status.begun).await.expect("a shipper");
    assert_eq!(status.expected_keys, Some(0));
    assert_eq!(again.align(0).await.expect("a shipper").owner, last, "what was stored");
}

#[tokio::test]
async fn a_revision_that_fits_into_no_transaction() {
    let rig = Rig::start().await;
    fill(rig.owner(), 700, "first").await;
    let shipper = Shipper::start(rig.shipment().await);
    shipper.until(|status| status.whole).await.expect("a copy");
    // 700 keys end in one revision; 140 begin in another one.
    write(rig.owner(), [Request::RequestDeleteRange(delete_prefix("/pods/"))]).await;
    write(rig.owner(), (0..140).map(|i| put_op(&format!("/pods/{i:05}"), "second"))).await;
    rig.check(&shipper).await;
    assert_eq!(rig.held().await.len(), 140);
}

#[tokio::test]
async fn a_key_that_ends_and_begins_in_one_batch() {
    let rig = Rig::start().await;
    let shipper = Shipper::start(rig.shipment().await);
    shipper.until(|status| status.whole).await.expect("a copy");
    shipper.bound(Bound::Stop).await.expect("a shipper");
    for _ in 0..3 {
        write(rig.owner(), [put_op("/pods/1", "x")]).await;
        write(rig.owner(), [put_op("/pods/1", "y")]).await;
        write(rig.owner(), [delete_op("/pods/1")]).await;
        write(rig.owner(), [put_op("/pods/1", "z"), put_op("/pods/2", "z")]).await;
    }
    shipper.bound(Bound::None).await.expect("a shipper");
    rig.check(&shipper).await;
}

#[tokio::test]
async fn a_state_that_both_have() {
    let rig = Rig::start().await;
    fill(rig.owner(), 50, "first").await;
    let shipper = Shipper::start(rig.shipment().await);
    for i in 0..20 {
        let at_least = write(rig.owner(), [put_op(&format!("/pods/{i:05}"), "second")]).await;
        let aligned = shipper.align(at_least).await.expect("a shipper");
        assert!(aligned.owner >= at_least);
        let values = |kvs: Vec<etcd_prism_proto::mvccpb::KeyValue>| {
            kvs.into_iter().map(|kv| (kv.key, kv.value)).collect::<Vec<_>>()
        };
        let owned = values(rig.keys(rig.owner(), aligned.owner).await);
        assert_eq!(owned, values(rig.keys(rig.standby(), aligned.standby).await));
    }
    let before = revision(rig.standby()).await;
    assert!(shipper.probe().await.expect("a shipper") > before);
}
