//! The comparison finds what differs, and nothing else.

use etcd_prism_migration::ship::{Compared, Difference, Shipper, verify};
use etcd_prism_ownership::keys;
use etcd_prism_proto::etcdserverpb::CompactionRequest;
use etcd_prism_tests::request::{delete, put};

use crate::rig::{ROUTE, Rig, fill, put_op, random_write, write};

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
    assert!(compared.mismatches.is_empty() && compared.next.is_none(), "{compared:?}");
    assert!(compared.keys >= 2000 && pages > 3, "{pages} pages: {compared:?}");
}

#[tokio::test]
async fn every_difference_is_found() {
    let rig = Rig::start().await;
    fill(rig.owner(), 300, "first").await;
    let job = rig.shipment().await;
    let shipper = Shipper::start(job.clone());
    rig.check(&shipper).await;
    shipper.bound(etcd_prism_ownership::migration::Bound::None).await.expect("a shipper");
    let kv = || rig.standby().kv();
    kv().delete_range(delete("/pods/00010")).await.expect("a delete");
    kv().put(put("/pods/00100x", "extra")).await.expect("a put");
    // A key that is written alone is not in step with its record.
    kv().put(put("/pods/00200", "first")).await.expect("a put");
    kv().put(put("/pods/00250", "another")).await.expect("a put");
    kv().delete_range(delete(&keys::provenance(ROUTE, b"/pods/00299"))).await.expect("a delete");
    let found = |compared: Compared| {
        let found = compared.mismatches.into_iter();
        found.map(|m| (m.key.escape_ascii().to_string(), m.difference)).collect::<Vec<_>>()
    };
    let expected = [
        ("/pods/00010", Difference::Missing),
        ("/pods/00100x", Difference::Extra),
        ("/pods/00200", Difference::Numbers),
        ("/pods/00250", Difference::Value),
        ("/pods/00299", Difference::Numbers),
    ];
    let expected = expected.map(|(key, difference)| (key.to_owned(), difference));
    let all = verify(&job, &shipper, b"", |_| ()).await.expect("a comparison");
    assert_eq!(all.keys, 300);
    assert_eq!(found(all), expected);
    // From the middle on.
    let rest = verify(&job, &shipper, b"/pods/00200", |_| ()).await.expect("a comparison");
    assert_eq!(rest.keys, 100);
    assert_eq!(found(rest), expected[2..]);
}
