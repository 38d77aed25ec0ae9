//! A shard of three members, two of which are stopped.

use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::request::put;
use etcd_prism_tests::topology::Topology;
use tonic::Code;

use crate::MACHINE;
use crate::trial::{Allowed, TIMEOUTS, Trial};

const VICTIM: &str = "events";
/// What etcd answers when a proposal finds no leader all the time that it waits.
const NO_PROPOSAL: (Code, &str) = (Code::DeadlineExceeded, "context deadline exceeded");
const ERRORS: &[(Code, &str)] =
    &[TIMEOUTS[0], TIMEOUTS[1], TIMEOUTS[2], TIMEOUTS[3], TIMEOUTS[4], NO_PROPOSAL];
const ALLOWED: Allowed = Allowed { unharmed: &[], errors: ERRORS, answers: 12 };

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
    // The same words from etcd itself.
    let direct = trial.topology.shard_client(VICTIM).kv().put(put("/registry/events/a", "1")).await;
    let direct = direct.expect_err("a write without a leader");
    assert!(ERRORS.contains(&(direct.code(), direct.message())), "{direct:?}");
    trial.topology.shard(VICTIM).resume();
    trial.end(&ALLOWED).await;
}
