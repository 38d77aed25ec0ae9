//! A shard whose every answer takes five seconds.

use std::sync::Arc;
use std::time::Duration;

use etcd_prism_proto::etcdserverpb::{LeaseGrantRequest, PutRequest};
use etcd_prism_tests::delay::{DelayProxy, Late};
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::proxy::ProxyBuilder;
use etcd_prism_tests::request::put;
use etcd_prism_tests::scratch::Scratch;
use etcd_prism_tests::topology::Topology;
use tokio::time::Instant;

use crate::MACHINE;
use crate::trial::{Allowed, REQUEST_TIMEOUT, SLACK, TIMEOUTS, Trial};

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

/// A write that takes several steps (its lease has to be brought to the shard first) is answered within the same bound.
#[tokio::test]
async fn the_bound_holds_for_all_steps_together() {
    let _machine = MACHINE.lock().await;
    let (topology, relay) = topology().await;
    topology.proxy.expect_log(VICTIM);
    let client = topology.client();
    client.kv().put(put("/registry/configmaps/a", "1")).await.expect("a write elsewhere");
    let lease = client
        .lease()
        .lease_grant(LeaseGrantRequest { id: 0, ttl: 600 })
        .await
        .expect("a lease")
        .into_inner()
        .id;
    relay.set_delay(DELAY);
    let start = Instant::now();
    let write = PutRequest { lease, ..put("/registry/events/a", "1") };
    let refused = client.kv().put(write).await.expect_err("two answers take longer than the bound");
    assert!(start.elapsed() < REQUEST_TIMEOUT + SLACK, "answered after {:?}: {refused:?}", start.elapsed());
    assert!(TIMEOUTS.contains(&(refused.code(), refused.message())), "{refused:?}");
}

/// Four shards, one of them behind a relay.
async fn topology() -> (Topology, DelayProxy) {
    let (scratch, layout) = (Arc::new(Scratch::new()), Layout::four_shards());
    let shards = Topology::shards(&layout, etcd_prism_tests::etcd::EtcdBuilder::new, &scratch).await;
    let relay = DelayProxy::start(&shards[VICTIM].endpoints()[0], Late::Answers).await;
    let mut builder = ProxyBuilder::new("proxy", layout.clone());
    for (name, cluster) in &shards {
        let endpoints = if *name == VICTIM { vec![relay.endpoint()] } else { cluster.endpoints() };
        builder = builder.shard(name, endpoints);
    }
    let proxy = builder.start(&scratch).await;
    (Topology { proxy, shards, layout, scratch }, relay)
}
