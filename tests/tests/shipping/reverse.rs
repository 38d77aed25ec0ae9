//! Back and forth: a standby that ruled before is not copied again, and clients' numbers stay what they were.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_prism_control::RouteLine;
use etcd_prism_migration::ship::{Shipper, verify};
use etcd_prism_ownership::migration::Bound;
use etcd_prism_ownership::value::ProvenanceRecord;
use etcd_prism_ownership::{Reign, Timeline};
use etcd_prism_routing::ShardId;
use rand::Rng;

use crate::rig::{Rig, delete_op, put_op, raise, revision, write};

/// What one etcd would have: by key the value, and the numbers.
#[derive(Default)]
struct Model(BTreeMap<String, (String, ProvenanceRecord)>);

impl Model {
    fn put(&mut self, key: &str, value: &str, revision: i64) {
        let before = self.0.get(key).map(|(_, record)| *record);
        let record = ProvenanceRecord {
            create_revision: before.map_or(revision, |before| before.create_revision),
            mod_revision: revision,
            version: before.map_or(1, |before| before.version + 1),
        };
        self.0.insert(key.to_owned(), (value.to_owned(), record));
    }
}

/// Writes to the owner, and notes what clients see of it.
async fn load(rig: &Rig, owner: usize, reign: Reign, model: &mut Model, count: usize) {
    for _ in 0..count {
        let (key, value, is_put) = {
            let mut rng = rand::rng();
            (
                format!("/pods/{}", rng.random_range(0..60)),
                rng.random::<u32>().to_string(),
                rng.random_bool(0.7),
            )
        };
        let client = &rig.sides[owner].client;
        if is_put {
            let raw = write(client, [put_op(&key, &value)]).await;
            model.put(&key, &value, raw + reign.offset());
        } else {
            write(client, [delete_op(&key)]).await;
            model.0.remove(&key);
        }
    }
}

#[tokio::test]
async fn numbers_stay_over_many_reigns() {
    let rig = Rig::start().await;
    let mut model = Model::default();
    let mut reigns = vec![Reign { n: 1, shard: rig.sides[0].uid, after: 0, raw_start: 1 }];
    let [mut owner, mut standby] = [0, 1];
    for round in 0..7 {
        let reign = *reigns.last().expect("a reign");
        load(&rig, owner, reign, &mut model, 80).await;
        let timeline = Timeline::new(reigns.clone()).expect("a timeline");
        let shards = reigns.iter().map(|r| Some(ShardId(r.shard.0 as u16 - 1))).collect();
        let line = Arc::new(RouteLine::new(timeline, shards, 0));
        let line = (reigns.len() > 1).then(|| (line.clone(), line.present()));
        let epoch = raise(&rig.sides[standby].client).await;
        let job = rig.shipment_of([owner, standby], epoch, reign, line, round == 0);
        let shipper = Shipper::start(job.clone());
        shipper.until(|status| status.whole).await.expect("a standby");
        load(&rig, owner, reign, &mut model, 80).await;
        let compared = verify(&job, &shipper, b"", |_| ()).await.expect("a comparison");
        let wrong = compared.mismatches.count() + compared.repaired.count();
        assert_eq!(wrong, 0, "round {round}: {compared:?}");
        assert_eq!(compared.keys, model.0.len() as u64);
        // The switch.
        shipper.bound(Bound::Stop).await.expect("a shipper");
        let g = revision(&rig.sides[owner].client).await;
        shipper.reach(g).await.expect("a shipper");
        shipper.stop().await;
        check(&rig, standby, &reigns, &model).await;
        let raw_start = raise(&rig.sides[standby].client).await;
        let after = g + reign.offset();
        reigns.push(Reign { n: reign.n + 1, shard: rig.sides[standby].uid, after, raw_start });
        (owner, standby) = (standby, owner);
        // So that the lines do not stay near each other.
        for _ in 0..rand::rng().random_range(0..50) {
            write(&rig.sides[standby].client, [put_op("/other/x", "x")]).await;
        }
    }
}

/// What the standby would show after the switch is what the model has.
async fn check(rig: &Rig, standby: usize, reigns: &[Reign], model: &Model) {
    use etcd_prism_ownership::keys;
    let client = &rig.sides[standby].client;
    let mut found = BTreeMap::new();
    for kv in rig.keys(client, 0).await {
        let key = kv.key.escape_ascii().to_string();
        let record = keys::provenance(crate::rig::ROUTE, &kv.key);
        let request = etcd_prism_tests::request::get(&record);
        let stored = client.kv().range(request).await.expect("a record").into_inner().kvs.into_iter().next();
        let numbers = match stored {
            Some(stored) if stored.mod_revision == kv.mod_revision => {
                assert_eq!(stored.version, kv.version, "{key}");
                ProvenanceRecord::decode(&stored.value).expect("a record")
            }
            // Written when this shard ruled: create and version may still come from a record.
            stored => as_ruled(rig, standby, reigns, &kv, stored.as_ref()),
        };
        found.insert(key, (String::from_utf8(kv.value.to_vec()).expect("text"), numbers));
    }
    assert_eq!(found, model.0);
}

fn as_ruled(
    rig: &Rig,
    standby: usize,
    reigns: &[Reign],
    kv: &etcd_prism_proto::mvccpb::KeyValue,
    stored: Option<&etcd_prism_proto::mvccpb::KeyValue>,
) -> ProvenanceRecord {
    let uid = rig.sides[standby].uid;
    let up = |raw: i64| {
        let reign = reigns.iter().rfind(|reign| reign.shard == uid && reign.raw_start <= raw);
        raw + reign.expect("a reign of this shard").offset()
    };
    match stored.filter(|stored| kv.create_revision <= stored.mod_revision) {
        None => ProvenanceRecord {
            create_revision: up(kv.create_revision),
            mod_revision: up(kv.mod_revision),
            version: kv.version,
        },
        Some(stored) => {
            let record = ProvenanceRecord::decode(&stored.value).expect("a record");
            ProvenanceRecord {
                create_revision: record.create_revision,
                mod_revision: up(kv.mod_revision),
                version: kv.version - stored.version + record.version,
            }
        }
    }
}
