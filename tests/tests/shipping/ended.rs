//! A lease that has ended, and keys that ended by themselves.

use etcd_prism_migration::ship::Shipper;
use etcd_prism_ownership::migration::Bound;
use etcd_prism_tests::request::get;
use etcd_prism_tests::wait;

use crate::rig::{Rig, delete_op, grant, leased_op, put_op, write};

#[tokio::test]
async fn a_lease_that_ended_before_its_key_was_shipped() {
    let rig = Rig::start().await;
    let shipper = Shipper::start(rig.shipment().await);
    shipper.until(|status| status.whole).await.expect("a copy");
    shipper.bound(Bound::Stop).await.expect("a shipper");
    let lease = grant(rig.owner(), 60).await;
    let g = write(rig.owner(), [leased_op("/pods/leased", "x", lease), put_op("/pods/plain", "x")]).await;
    // The delete lies above G: it is never shipped.
    rig.end(0, lease).await;
    shipper.reach(g).await.expect("a shipper");
    let held = rig.keys(rig.standby(), 0).await;
    let leased = held.iter().find(|kv| kv.key == "/pods/leased").expect("the key");
    assert!(leased.lease != 0 && leased.lease != lease, "{leased:?}");
    wait::until("its end", async || {
        let found = rig.standby().kv().range(get("/pods/leased")).await.expect("a read").into_inner();
        if found.kvs.is_empty() { Ok(()) } else { Err(found) }
    })
    .await;
    assert!(rig.keys(rig.standby(), 0).await.iter().any(|kv| kv.key == "/pods/plain"));
}

#[tokio::test]
async fn a_key_that_ended_on_the_standby_and_is_written_again() {
    let rig = Rig::start().await;
    let lease = grant(rig.owner(), 60).await;
    for _ in 0..3 {
        write(rig.owner(), [leased_op("/pods/1", "x", lease), leased_op("/pods/2", "x", lease)]).await;
    }
    let shipper = Shipper::start(rig.shipment().await);
    rig.check(&shipper).await;
    // As if nobody had renewed it: the keys end, their records stay.
    rig.end(1, lease).await;
    assert!(rig.keys(rig.standby(), 0).await.is_empty());
    write(rig.owner(), [put_op("/pods/1", "y"), delete_op("/pods/2")]).await;
    shipper.bound(Bound::None).await.expect("a shipper");
    write(rig.owner(), [put_op("/pods/2", "y")]).await;
    rig.check(&shipper).await;
}
