//! Keys that end by themselves on the standby come back.

use std::time::Duration;

use etcd_prism_migration::ship::{Intervals, Shipper};
use etcd_prism_ownership::migration::{Bound, Throttle};
use etcd_prism_proto::etcdserverpb::LeaseTimeToLiveRequest;
use etcd_prism_tests::client::Client;
use etcd_prism_tests::wait;
use tokio::time::Instant;

use crate::rig::{
    ROUTE, Rig, alone, assert_same, delete_op, fill, grant, leased_op, put_op, raise, random_write, revision,
    write,
};

/// A key without a lease, and three under one that goes on on the owner.
async fn leased(rig: &Rig) -> i64 {
    let lease = grant(rig.owner(), 500).await;
    write(rig.owner(), [put_op("/pods/0", "x")]).await;
    for i in 1..4 {
        // Versions that differ from key to key.
        for _ in 0..i {
            write(rig.owner(), [leased_op(&format!("/pods/{i}"), "x", lease)]).await;
        }
    }
    lease
}

/// The standby is what the owner is, without any write of the owner's in between.
async fn comes_back(rig: &Rig) {
    wait::until("all keys", async || {
        let missing = rig.keys(rig.owner(), 0).await.len() - rig.keys(rig.standby(), 0).await.len();
        if missing == 0 { Ok(()) } else { Err(missing) }
    })
    .await;
    assert_same(&rig.owned(0).await, &rig.held().await);
}

async fn is_alive(client: &Client, id: i64) -> bool {
    let request = LeaseTimeToLiveRequest { id, keys: false };
    client.lease().lease_time_to_live(request).await.expect("a lease").into_inner().ttl >= 0
}

#[tokio::test]
async fn what_ends_while_it_is_shipped() {
    let rig = Rig::start().await;
    let lease = leased(&rig).await;
    let shipper = Shipper::start(rig.shipment().await);
    rig.check(&shipper).await;
    shipper.bound(Bound::None).await.expect("a shipper");
    for _ in 0..3 {
        rig.end(1, lease).await;
        comes_back(&rig).await;
        assert!(is_alive(rig.standby(), lease).await, "under the same lease");
    }
    rig.check(&shipper).await;
    assert_eq!(shipper.stop().await.tally.filled, 9);
}

/// Nobody renews it on the standby: it expires there as leases do.
#[tokio::test]
async fn what_expires_while_nobody_ships() {
    let rig = Rig::start().await;
    let job = rig.shipment().await;
    let lease = grant(rig.owner(), 2).await;
    write(rig.owner(), [leased_op("/pods/1", "x", lease), put_op("/pods/2", "x")]).await;
    let shipper = Shipper::start(job.clone());
    rig.check(&shipper).await;
    shipper.stop().await;
    // The lease goes on on the owner only.
    let owner = rig.owner().clone();
    let renewing = tokio::spawn(async move {
        loop {
            crate::leases::renew(&owner, lease).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    wait::until("its end", async || if is_alive(rig.standby(), lease).await { Err(()) } else { Ok(()) })
        .await;
    assert_eq!(rig.keys(rig.standby(), 0).await.len(), 1);
    let shipper = Shipper::start(job);
    comes_back(&rig).await;
    rig.check(&shipper).await;
    renewing.abort();
}

#[tokio::test]
async fn the_next_shipper_goes_on_where_the_last_one_looked() {
    let rig = Rig::start().await;
    let lease = leased(&rig).await;
    let job = rig.shipment().await;
    let shipper = Shipper::start(job.clone());
    rig.check(&shipper).await;
    shipper.bound(Bound::None).await.expect("a shipper");
    rig.end(1, lease).await;
    comes_back(&rig).await;
    shipper.align(0).await.expect("a shipper");
    shipper.stop().await;
    let looked = rig.progress().await.looked;
    assert!(looked > 0, "it is not known where to go on");
    rig.end(1, lease).await;
    assert_eq!(rig.keys(rig.standby(), 0).await.len(), 1);
    let shipper = Shipper::start(job);
    comes_back(&rig).await;
    shipper.align(0).await.expect("a shipper");
    assert!(rig.progress().await.looked > looked);
    rig.check(&shipper).await;
}

/// The watch of the standby cannot be resumed: keys are compared, page by page.
#[tokio::test]
async fn the_standby_is_compacted_in_between() {
    let mut rig = Rig::start().await;
    let pair = |start: &str, end: &str| (start.into(), end.into());
    rig.intervals = vec![pair("/leases/", "/leases0"), pair("/pods/", "/pods0")];
    fill(rig.owner(), 1300, "first").await;
    let lease = leased(&rig).await;
    let last = ["/leases/a", "/leases/z", "/pods/00700x", "/pods/zzz"];
    write(rig.owner(), last.map(|key| leased_op(key, "x", lease))).await;
    let job = rig.shipment().await;
    let shipper = Shipper::start(job.clone());
    rig.check(&shipper).await;
    shipper.stop().await;
    rig.end(1, lease).await;
    write(rig.standby(), [put_op("/other/x", "x")]).await;
    rig.compact(1).await;
    let shipper = Shipper::start(job);
    comes_back(&rig).await;
    // It goes on as after any other beginning.
    rig.end(1, lease).await;
    comes_back(&rig).await;
    rig.check(&shipper).await;
    assert_eq!(shipper.stop().await.tally.filled, 14);
}

/// The watch is behind when the standby is compacted: its member was away.
#[tokio::test]
async fn the_standby_is_compacted_while_the_watch_is_broken() {
    let mut rig = Rig::start().await;
    let lease = leased(&rig).await;
    let shipper = Shipper::start(rig.shipment().await);
    rig.check(&shipper).await;
    shipper.bound(Bound::None).await.expect("a shipper");
    for _ in 0..3 {
        rig.sides[1].cluster.kill();
        shipper.until(|status| status.trouble.is_some()).await.expect("a shipper");
        rig.sides[1].cluster.restart().await;
        rig.end(1, lease).await;
        write(rig.standby(), [put_op("/other/x", "x")]).await;
        rig.compact(1).await;
        comes_back(&rig).await;
    }
    rig.check(&shipper).await;
}

#[tokio::test]
async fn what_the_owner_deletes_meanwhile_stays_away() {
    let rig = Rig::start().await;
    let lease = leased(&rig).await;
    let shipper = Shipper::start(rig.shipment().await);
    rig.check(&shipper).await;
    shipper.bound(Bound::Stop).await.expect("a shipper");
    rig.end(1, lease).await;
    shipper.until(|status| status.holes == 3).await.expect("a shipper");
    write(rig.owner(), [delete_op("/pods/1"), leased_op("/pods/2", "y", lease)]).await;
    shipper.bound(Bound::None).await.expect("a shipper");
    rig.check(&shipper).await;
    assert_eq!(rig.held().await.keys().collect::<Vec<_>>(), ["/pods/0", "/pods/2", "/pods/3"]);
}

/// A switch gets them all as of G, whatever the owner's shard has done since, and knows where the next reign begins.
#[tokio::test]
async fn what_ends_under_a_bound() {
    let rig = Rig::start().await;
    let lease = leased(&rig).await;
    let shipper = Shipper::start(rig.shipment().await);
    shipper.until(|status| status.whole).await.expect("a copy");
    shipper.bound(Bound::Stop).await.expect("a shipper");
    let g = write(rig.owner(), [leased_op("/pods/1", "last", lease)]).await;
    let owned = rig.owned(g).await;
    rig.end(1, lease).await;
    // Behind G it ends on the owner, too.
    rig.end(0, lease).await;
    let settled = shipper.reach(g).await.expect("a shipper");
    let held = rig.held().await;
    assert_eq!(held.keys().collect::<Vec<_>>(), owned.keys().collect::<Vec<_>>());
    for (key, (value, _, record)) in &owned {
        assert_eq!((&held[key].0, &held[key].2), (value, record), "{key}");
    }
    assert_eq!(settled.standby_revision, revision(rig.standby()).await, "the last write of all");
    // From here on it is the next reign's: these end by the short leases that they were given.
    let gone = async || rig.keys(rig.standby(), 0).await.len() == 1;
    wait::until("their end", async || if gone().await { Ok(()) } else { Err(()) }).await;
    shipper.until(|status| status.holes > 0).await.expect("a shipper");
    assert_eq!(shipper.settle(g).await.expect("a shipper"), settled, "asked again");
    assert!(gone().await, "the next reign's deletes were undone");
    // The switch was given up.
    shipper.bound(Bound::None).await.expect("a shipper");
    rig.check(&shipper).await;
}

/// Clients wait for it: both watches are asked how far they are, and not waited for.
#[tokio::test]
async fn a_bound_is_reached_at_once() {
    let rig = Rig::start().await;
    leased(&rig).await;
    let shipper = Shipper::start(rig.shipment().await);
    rig.check(&shipper).await;
    let mut taken = Duration::ZERO;
    for i in 0..20 {
        shipper.bound(Bound::None).await.expect("a shipper");
        let g = write(rig.owner(), [put_op("/pods/0", &i.to_string())]).await;
        shipper.bound(Bound::Stop).await.expect("a shipper");
        let begun = Instant::now();
        shipper.reach(g).await.expect("a shipper");
        taken += begun.elapsed();
    }
    // Each watch tells by itself twice a second.
    assert!(taken < Duration::from_millis(20 * 150), "{taken:?}");
}

#[tokio::test]
async fn what_ends_after_it_was_settled_and_given_up() {
    let rig = Rig::start().await;
    let lease = leased(&rig).await;
    let shipper = Shipper::start(rig.shipment().await);
    rig.check(&shipper).await;
    rig.end(1, lease).await;
    shipper.until(|status| status.holes == 3).await.expect("a shipper");
    assert_eq!(rig.keys(rig.standby(), 0).await.len(), 1);
    shipper.bound(Bound::None).await.expect("a shipper");
    comes_back(&rig).await;
    rig.check(&shipper).await;
}

#[tokio::test]
async fn what_ends_while_it_is_copied() {
    let rig = Rig::start().await;
    fill(rig.owner(), 400, "first").await;
    let lease = grant(rig.owner(), 500).await;
    let keys = ["/pods/00000x", "/pods/00005x", "/pods/00200x", "/pods/00399x"];
    write(rig.owner(), keys.map(|key| leased_op(key, "x", lease))).await;
    let mut job = rig.shipment().await;
    job.throttle = Throttle { keys_per_second: 40, ..Throttle::default() };
    let shipper = Shipper::start(job);
    shipper.until(|status| status.tally.keys >= 10).await.expect("a copy");
    rig.end(1, lease).await;
    let status = shipper.until(|status| status.tally.filled > 0).await.expect("a copy");
    assert!(!status.copied, "the copy was over before anything could happen: {status:?}");
    shipper.throttle(Throttle::default());
    rig.check(&shipper).await;
}

/// Leases end on the standby over and over, while the owner is written to and shippers are dropped anywhere.
#[tokio::test]
async fn whatever_ends_whenever() {
    let rig = Rig::start().await;
    let mut leases = Vec::new();
    for i in 0..20 {
        let lease = grant(rig.owner(), 500).await;
        let keys = (0..15).map(|k| leased_op(&format!("/pods/{:05}", 100 + i * 15 + k), "leased", lease));
        write(rig.owner(), keys).await;
        leases.push(lease);
    }
    let client = rig.owner().clone();
    let load = tokio::spawn(async move {
        loop {
            random_write(&client, 150).await;
        }
    });
    let job = rig.shipment().await;
    for round in 0..12 {
        // What the one before had under way may come late, and end this one.
        let shipper = Shipper::start(job.clone());
        for lease in leases.iter().skip(round % 3).step_by(3) {
            // It may not be there: no key under it was written since.
            let request = etcd_prism_proto::etcdserverpb::LeaseRevokeRequest { id: *lease };
            rig.standby().lease().lease_revoke(request).await.ok();
        }
        if round % 4 == 3 {
            rig.compact(1).await;
        }
        tokio::time::timeout(Duration::from_millis(700), shipper.until(|_| false)).await.ok();
        shipper.stop().await;
    }
    load.abort();
    load.await.expect_err("it writes for ever");
    let shipper = alone(&job).await;
    rig.check(&shipper).await;
    assert!(shipper.stop().await.tally.filled > 0, "what ended has not come back");
}

/// Another route's shard-wide traffic does not count, and a purge is no hole.
#[tokio::test]
async fn deletes_of_others_are_left_alone() {
    let rig = Rig::start().await;
    let lease = leased(&rig).await;
    let job = rig.shipment().await;
    let shipper = Shipper::start(job.clone());
    rig.check(&shipper).await;
    shipper.stop().await;
    let epoch = raise(rig.standby()).await;
    let intervals = Intervals::new(rig.intervals.clone()).expect("intervals");
    let purge = etcd_prism_migration::ship::purge(&job.to, ROUTE, &intervals, epoch, &job.throttle, |_| ());
    purge.await.expect("a purge");
    let shipper = Shipper::start(rig.shipment().await);
    rig.check(&shipper).await;
    shipper.bound(Bound::None).await.expect("a shipper");
    // Its own deletes are none either.
    let last = write(rig.owner(), [delete_op("/pods/1"), delete_op("/pods/0")]).await;
    shipper.until(|status| status.watermark >= last).await.expect("a shipper");
    rig.check(&shipper).await;
    assert!(is_alive(rig.owner(), lease).await);
    assert_eq!(shipper.stop().await.tally.filled, 0);
}
