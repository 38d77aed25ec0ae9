//! A purge, under its epoch.

use etcd_prism_migration::ship::{Intervals, Purged, ShipError, Shipper, probe, purge};
use etcd_prism_ownership::keys;
use etcd_prism_ownership::migration::Throttle;
use etcd_prism_tests::request::list_all;

use crate::rig::{ROUTE, Rig, fill, put_op, raise, write};

#[tokio::test]
async fn a_purge_deletes_the_route_and_nothing_else() {
    let rig = Rig::start().await;
    fill(rig.owner(), 1200, "first").await;
    let others = ["/pod", "/pods", "/pods0", "/zebra"].map(|key| put_op(key, "other"));
    write(rig.standby(), others).await;
    for route in ["pod", "pods2", "podsx"] {
        let key = String::from_utf8_lossy(b"/pods/00001").into_owned();
        let record = keys::provenance(route, key.as_bytes());
        let request = etcd_prism_tests::request::put(&record, "another route's");
        rig.standby().kv().put(request).await.expect("a record");
    }
    let all = async || {
        let found = rig.standby().kv().range(list_all()).await.expect("all keys").into_inner().kvs;
        found
            .into_iter()
            .map(|kv| (kv.key, kv.value))
            .filter(|(key, _)| *key != keys::fence(ROUTE))
            .collect::<Vec<_>>()
    };
    let before = all().await;
    let job = rig.shipment().await;
    let shipper = Shipper::start(job.clone());
    shipper.until(|status| status.whole).await.expect("a copy");
    shipper.stop().await;
    assert!(all().await.len() >= before.len() + 2400);
    let epoch = raise(rig.standby()).await;
    let intervals = Intervals::new(rig.intervals.clone()).expect("intervals");
    let mut told = Vec::new();
    let run =
        purge(&job.to, ROUTE, &intervals, epoch, &Throttle::default(), |purged| told.push(purged)).await;
    let purged = run.expect("a purge");
    assert_eq!(purged, Purged { keys: 1200, records: 1200 });
    assert!(told.len() >= 6 && told.last() == Some(&purged), "{told:?}");
    assert_eq!(all().await, before);
}

#[tokio::test]
async fn an_old_epoch_purges_and_probes_nothing() {
    let rig = Rig::start().await;
    fill(rig.owner(), 10, "first").await;
    let job = rig.shipment().await;
    let old = job.stream.epoch;
    let shipper = Shipper::start(job.clone());
    rig.check(&shipper).await;
    shipper.stop().await;
    let held = rig.held().await;
    probe(&job.to, ROUTE, old).await.expect("a test write");
    let epoch = raise(rig.standby()).await;
    let run = purge(&job.to, ROUTE, &job.intervals, old, &Throttle::default(), |_| ()).await;
    match run {
        Err(ShipError::Refused(refused)) => assert_eq!((refused.epoch, refused.fence), (old, epoch)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(probe(&job.to, ROUTE, old).await, Err(ShipError::Refused(_))));
    assert_eq!(rig.held().await, held);
}
