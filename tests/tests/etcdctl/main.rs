//! Every etcdctl command that users run, through the proxy over four shards.

mod cluster;
mod concurrency;
mod data;

use etcd_prism_tests::etcdctl::Etcdctl;
use etcd_prism_tests::topology::Topology;

/// Four shards, a proxy, and etcdctl pointed at it.
async fn topology() -> (Topology, Etcdctl) {
    let topology = Topology::four_shards().await;
    let etcdctl = Etcdctl::new(&topology.proxy.endpoint(), &topology.scratch);
    (topology, etcdctl)
}

/// One key on each shard, in key order.
const KEYS: [&str; 4] =
    ["/registry/configmaps/a", "/registry/events/a", "/registry/leases/a", "/registry/pods/a"];
