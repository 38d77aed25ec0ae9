//! A shard above its quota: it refuses writes, serves reads and deletes, and grants no leases.

use etcd_prism_proto::etcdserverpb::alarm_request::AlarmAction;
use etcd_prism_proto::etcdserverpb::{AlarmRequest, CompactionRequest, DefragmentRequest};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::request::{delete_prefix, put};
use etcd_prism_tests::topology::Topology;
use tonic::{Code, Status};

use crate::MACHINE;
use crate::trial::{Allowed, Trial};

const VICTIM: &str = "events";
const QUOTA: u64 = 24 << 20;
const CHUNK: usize = 1 << 20;
const NO_SPACE: (Code, &str) = (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
const ALLOWED: Allowed = Allowed { unharmed: &["get", "list", "delete"], errors: &[NO_SPACE], answers: 60 };

#[tokio::test]
async fn a_full_shard_harms_nobody_else() {
    let _machine = MACHINE.lock().await;
    let shard = |name: &str| {
        if name == VICTIM { EtcdBuilder::new(name).quota(QUOTA) } else { EtcdBuilder::new(name) }
    };
    let topology = Topology::start_with(Layout::four_shards(), shard, |proxy| proxy).await;
    let direct = topology.shard_client(VICTIM);
    // Room that can be had back later without touching what the trial writes.
    for _ in 0..QUOTA / CHUNK as u64 / 2 {
        direct.kv().put(put("junk", &vec![b'x'; CHUNK])).await.expect("room for junk");
    }
    let reply = direct.kv().delete_range(delete_prefix("junk")).await.expect("a deletion").into_inner();
    let junk = reply.header.expect("a header").revision;
    let trial = Trial::begin(topology, VICTIM).await;
    let mark = trial.samples().mark();
    fill(&direct).await;
    trial.endure(mark, &ALLOWED).await;
    make_room(&direct, junk).await;
    trial.end(&ALLOWED).await;
}

/// Writes until the shard raises its alarm.
async fn fill(shard: &Client) {
    let mut refused = None;
    for _ in 0..2 * QUOTA / CHUNK as u64 {
        if let Err(status) = shard.kv().put(put("junk", &vec![b'x'; CHUNK])).await {
            refused = Some(status);
            break;
        }
    }
    let refused: Status = refused.expect("a shard that is full");
    assert_eq!((refused.code(), refused.message()), NO_SPACE);
}

/// What an operator does: compact, defragment, disarm.
async fn make_room(shard: &Client, revision: i64) {
    shard.kv().compact(CompactionRequest { revision, physical: true }).await.expect("a compaction");
    shard.maintenance().defragment(DefragmentRequest::default()).await.expect("a defragmentation");
    let get = AlarmRequest::default();
    let alarms = shard.maintenance().alarm(get).await.expect("the alarms").into_inner().alarms;
    assert!(!alarms.is_empty(), "a full shard raises an alarm");
    for alarm in alarms {
        let action = AlarmAction::Deactivate.into();
        let request = AlarmRequest { action, member_id: alarm.member_id, alarm: alarm.alarm };
        shard.maintenance().alarm(request).await.expect("an alarm disarmed");
    }
}
