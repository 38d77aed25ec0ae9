//! Leases go with their keys.

use std::time::Duration;

use etcd_prism_migration::ship::{Shipper, keep_standby_leases};
use etcd_prism_ownership::migration::Bound;
use etcd_prism_proto::etcdserverpb::{LeaseKeepAliveRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest};
use etcd_prism_tests::client::Client;
use tokio_util::task::AbortOnDropHandle;

use crate::rig::{Rig, grant, leased_op, write};

async fn granted(client: &Client, id: i64) -> Option<i64> {
    let request = LeaseTimeToLiveRequest { id, keys: false };
    let found = client.lease().lease_time_to_live(request).await.expect("a lease").into_inner();
    (found.ttl >= 0).then_some(found.granted_ttl)
}

pub async fn renew(client: &Client, id: i64) {
    let request = tokio_stream::once(LeaseKeepAliveRequest { id });
    let mut reply = client.lease().lease_keep_alive(request).await.expect("a stream").into_inner();
    let reply = reply.message().await.expect("a reply").expect("a reply");
    assert!(reply.ttl > 0, "{reply:?}");
}

#[tokio::test]
async fn a_lease_is_there_before_its_keys_and_ends_with_the_owners() {
    let rig = Rig::start().await;
    let [short, long] = [grant(rig.owner(), 3).await, grant(rig.owner(), 500).await];
    write(rig.owner(), [leased_op("/pods/short", "x", short), leased_op("/pods/long", "x", long)]).await;
    let shipment = rig.shipment().await;
    let [from, to] = [shipment.from.clone(), shipment.to.clone()];
    let keeping =
        keep_standby_leases(shipment.route.clone(), from, (to, rig.sides[1].uid), shipment.leases.clone());
    let _keeping = AbortOnDropHandle::new(tokio::spawn(keeping));
    let shipper = Shipper::start(shipment);
    rig.check(&shipper).await;
    shipper.bound(Bound::None).await.expect("a shipper");
    assert_eq!(granted(rig.standby(), short).await, granted(rig.owner(), short).await);
    assert_eq!(granted(rig.standby(), long).await, Some(500));
    // Clients renew on the owner only. It lives three times as long as it would by itself.
    let end = tokio::time::Instant::now() + Duration::from_secs(9);
    while tokio::time::Instant::now() < end {
        renew(rig.owner(), short).await;
        assert_eq!(rig.keys(rig.standby(), 0).await.len(), 2, "it has ended early");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // Nobody renews it any more.
    shipper.until(|status| status.tally.events >= 1).await.expect("a shipper");
    rig.check(&shipper).await;
    assert_eq!(rig.held().await.keys().collect::<Vec<_>>(), ["/pods/long"]);
}

#[tokio::test]
async fn a_revoke_is_shipped_with_all_its_keys() {
    let rig = Rig::start().await;
    let lease = grant(rig.owner(), 500).await;
    for ten in 0..20 {
        let key = |i: usize| leased_op(&format!("/pods/{ten:02}{i}"), "x", lease);
        write(rig.owner(), (0..10).map(key)).await;
    }
    let shipper = Shipper::start(rig.shipment().await);
    rig.check(&shipper).await;
    assert_eq!(rig.held().await.len(), 200);
    shipper.bound(Bound::None).await.expect("a shipper");
    rig.owner().lease().lease_revoke(LeaseRevokeRequest { id: lease }).await.expect("a revoke");
    rig.check(&shipper).await;
    assert!(rig.held().await.is_empty());
}
