//! A shard that does not run: its connections stay open, and nothing answers.

use etcd_prism_tests::topology::Topology;

use crate::MACHINE;
use crate::trial::{Allowed, TIMEOUTS, Trial};

const ALLOWED: Allowed = Allowed { unharmed: &[], errors: TIMEOUTS, answers: 40 };

#[tokio::test]
async fn a_stopped_shard_harms_nobody_else() {
    stop("events").await;
}

/// The home shard: Status, leases and probes are answered without it.
#[tokio::test]
async fn a_stopped_home_shard_harms_nobody_else() {
    stop("rest").await;
}

async fn stop(victim: &'static str) {
    let _machine = MACHINE.lock().await;
    let mut trial = Trial::begin(Topology::four_shards().await, victim).await;
    let mark = trial.samples().mark();
    trial.topology.shard(victim).pause();
    trial.endure(mark, &ALLOWED).await;
    trial.topology.shard(victim).resume();
    trial.end(&ALLOWED).await;
}
