//! Shards that are down when the proxy starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_prism_proto::etcdserverpb::{LeaseGrantRequest, MemberListRequest, StatusRequest};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::ports::Port;
use etcd_prism_tests::proxy::ProxyBuilder;
use etcd_prism_tests::request::{get, list, put, watch_prefix};
use etcd_prism_tests::scratch::Scratch;
use etcd_prism_tests::topology::Topology;
use etcd_prism_tests::wait;
use etcd_prism_tests::watch_stream::WatchStream;
use tonic::{Code, Status};

use crate::load::prefix_of;

const TIMED_OUT: (Code, &str) = (Code::Unavailable, "etcdserver: request timed out");

/// The listener accepts, what needs no shard is answered, and the rest gets etcd's own error.
#[tokio::test]
async fn with_every_shard_down_the_proxy_answers() {
    let (scratch, layout) = (Arc::new(Scratch::new()), Layout::four_shards());
    let ports: BTreeMap<&str, Port> =
        layout.shards().into_iter().map(|name| (name, Port::reserve())).collect();
    let mut builder = ProxyBuilder::new("proxy", layout.clone());
    for (name, port) in &ports {
        builder = builder.shard(name, vec![port.url()]);
    }
    let proxy = builder.start_unready(&scratch);
    for name in layout.shards() {
        proxy.expect_log(name);
    }
    let client = proxy.client();
    // It is there before any shard is.
    let members = wait::until("the listener", async || {
        client.cluster().member_list(MemberListRequest::default()).await
    })
    .await;
    assert_eq!(members.into_inner().members.len(), 1);
    // Kubernetes asks for the version once and believes it, so there is no guess.
    let status =
        client.maintenance().status(StatusRequest::default()).await.expect_err("no shard was ever seen");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let read = client.kv().range(get("/registry/pods/a")).await.expect_err("a read");
    assert_eq!((read.code(), read.message()), TIMED_OUT);
    let write = client.kv().put(put("/registry/pods/a", "1")).await.expect_err("a write");
    assert_eq!((write.code(), write.message()), TIMED_OUT);
    let lease = client.lease().lease_grant(LeaseGrantRequest { id: 0, ttl: 60 }).await.expect_err("a lease");
    assert_eq!((lease.code(), lease.message()), TIMED_OUT);
}

/// A proxy that starts while a shard is down serves the others, and that one when it comes. Only the very first start, which
/// makes the fences, needs every shard.
#[tokio::test]
async fn with_one_shard_down_the_proxy_serves_the_others() {
    const DOWN: &str = "events";
    let (scratch, layout) = (Arc::new(Scratch::new()), Layout::four_shards());
    let mut shards = Topology::shards(&layout, EtcdBuilder::new, &scratch).await;
    let proxy = |name| {
        let proxy = ProxyBuilder::new(name, layout.clone());
        shards.iter().fold(proxy, |proxy, (name, cluster)| proxy.shard(name, cluster.endpoints()))
    };
    let (first, second) = (proxy("first"), proxy("second"));
    drop(first.start(&scratch).await);
    shards.get_mut(DOWN).expect("the shard").kill();
    let proxy = second.start_unready(&scratch);
    proxy.expect_log(DOWN);
    let client = proxy.client();
    for route in ["leases", "pods", "rest"] {
        wait::until(&format!("route {route}"), async || serve(&client, route).await).await;
    }
    let lease = client.lease().lease_grant(LeaseGrantRequest { id: 0, ttl: 60 }).await;
    lease.expect("a lease does not need every shard");
    let refused = client
        .kv()
        .range(get(&format!("{}a", prefix_of(DOWN))))
        .await
        .expect_err("a read of the shard that is down");
    assert_eq!((refused.code(), refused.message()), TIMED_OUT);
    let status =
        client.maintenance().status(StatusRequest::default()).await.expect_err("a shard was never seen");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");

    shards.get_mut(DOWN).expect("the shard").restart().await;
    wait::until("the shard that was down", async || serve(&client, DOWN).await).await;
    let status =
        wait::until("Status", async || client.maintenance().status(StatusRequest::default()).await).await;
    assert!(status.into_inner().version.starts_with("3."));
}

/// Writes, reads, lists and watches once.
async fn serve(client: &Client, route: &str) -> Result<(), Status> {
    let key = format!("{}a", prefix_of(route));
    client.kv().put(put(&key, "1")).await?;
    let found = client.kv().range(list(prefix_of(route))).await?.into_inner();
    assert_eq!(found.kvs.len(), 1, "{found:?}");
    let mut stream = WatchStream::open(client);
    let mut request = watch_prefix(prefix_of(route));
    request.start_revision = found.kvs[0].mod_revision;
    stream.create(request).await;
    assert_eq!(stream.next().await.events.len(), 1);
    Ok(())
}
