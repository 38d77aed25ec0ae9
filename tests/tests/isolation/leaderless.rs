//! A shard of three members, two of which are stopped.

use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::topology::Topology;

use crate::MACHINE;
use crate::trial::{Allowed, TIMEOUTS, Trial};

const VICTIM: &str = "events";
const ALLOWED: Allowed = Allowed { unharmed: &[], errors: TIMEOUTS, answers: 20 };

#[tokio::test]
async fn a_shard_without_a_leader_harms_nobody_else() {
    let _machine = MACHINE.lock().await;
    let shard = |name: &str| EtcdBuilder::new(name).members(if name == VICTIM { 3 } else { 1 });
    let topology = Topology::start_with(Layout::four_shards(), shard, |proxy| proxy).await;
    let mut trial = Trial::begin(topology, VICTIM).await;
    let mark = trial.samples().mark();
    for member in &mut trial.topology.shard(VICTIM).members()[1..] {
        member.pause();
    }
    trial.endure(mark, &ALLOWED).await;
    trial.topology.shard(VICTIM).resume();
    trial.end(&ALLOWED).await;
}
