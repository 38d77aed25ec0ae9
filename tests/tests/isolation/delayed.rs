//! A shard whose every answer takes five seconds.

use std::sync::Arc;
use std::time::Duration;

use etcd_prism_tests::delay::DelayProxy;
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::proxy::ProxyBuilder;
use etcd_prism_tests::scratch::Scratch;
use etcd_prism_tests::topology::Topology;

use crate::MACHINE;
use crate::trial::{Allowed, TIMEOUTS, Trial};

const VICTIM: &str = "events";
const DELAY: Duration = Duration::from_secs(5);
const ALLOWED: Allowed = Allowed { unharmed: &[], errors: TIMEOUTS, answers: 20 };

#[tokio::test]
async fn a_slow_shard_harms_nobody_else() {
    let _machine = MACHINE.lock().await;
    let (topology, relay) = topology().await;
    let trial = Trial::begin(topology, VICTIM).await;
    let mark = trial.samples().mark();
    relay.set_delay(DELAY);
    trial.endure(mark, &ALLOWED).await;
    relay.set_delay(Duration::ZERO);
    trial.end(&ALLOWED).await;
}

/// Four shards, one of them behind a relay.
async fn topology() -> (Topology, DelayProxy) {
    let (scratch, layout) = (Arc::new(Scratch::new()), Layout::four_shards());
    let shards = Topology::shards(&layout, etcd_prism_tests::etcd::EtcdBuilder::new, &scratch).await;
    let relay = DelayProxy::start(&shards[VICTIM].endpoints()[0]).await;
    let mut builder = ProxyBuilder::new("proxy", layout.clone());
    for (name, cluster) in &shards {
        let endpoints = if *name == VICTIM { vec![relay.endpoint()] } else { cluster.endpoints() };
        builder = builder.shard(name, endpoints);
    }
    let proxy = builder.start(&scratch).await;
    (Topology { proxy, shards, layout, scratch }, relay)
}
