//! The header of a range over several shards.

use etcd_prism_tests::history::current_revision;
use etcd_prism_tests::request::{list_all, put};
use etcd_prism_tests::topology::Topology;

/// It shows the lowest of the shards' revisions: a watch of any key from there on misses nothing.
#[tokio::test]
async fn a_spanning_range_shows_the_lowest_revision() {
    let topology = Topology::four_shards().await;
    let client = topology.client();
    for lowest in ["events", "leases", "pods", "rest"] {
        let others = topology.layout.routes.iter().filter(|route| route.name != lowest);
        for (count, route) in others.enumerate() {
            let prefix = route.prefixes.first().copied().unwrap_or("/registry/configmaps/");
            for _ in 0..10 * (count + 1) {
                client.kv().put(put(&[prefix, "a"].concat(), "1")).await.expect("a put");
            }
        }
        let least = async || {
            let mut revisions = Vec::new();
            for shard in topology.layout.shards() {
                revisions.push(current_revision(&topology.shard_client(shard)).await);
            }
            revisions.into_iter().min().expect("shards")
        };
        let before = least().await;
        let reply = client.kv().range(list_all()).await.expect("a range over everything").into_inner();
        let after = least().await;
        let shown = reply.header.expect("a header").revision;
        assert!(
            (before..=after).contains(&shown),
            "{shown} is not the lowest of the shards, {before} to {after}"
        );
    }
}
