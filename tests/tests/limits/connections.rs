//! As many connections as a large cluster has: API servers open one or more for every resource.

use std::sync::Arc;

use etcd_prism_proto::etcdserverpb::RangeResponse;
use etcd_prism_tests::raw::RawConnection;
use etcd_prism_tests::request::{get, put};
use etcd_prism_tests::topology::Topology;
use etcd_prism_tests::wait;
use prost::Message;
use tokio::sync::Semaphore;

const CONNECTIONS: usize = 2_000;
/// Opened at the same time: the listener's queue is the kernel's, not what is tried here.
const AT_ONCE: usize = 100;
/// What a connection may cost the proxy.
const EACH: u64 = 64 << 10;

#[tokio::test]
async fn two_thousand_connections_that_all_work() {
    let topology = Topology::four_shards().await;
    let address = topology.proxy.endpoint().replace("http://", "");
    let before = topology.proxy.rss();
    let opening = Arc::new(Semaphore::new(AT_ONCE));
    let mut clients = tokio::task::JoinSet::new();
    for index in 0..CONNECTIONS {
        let (address, opening) = (address.clone(), opening.clone());
        clients.spawn(async move {
            let _turn = opening.acquire_owned().await.expect("a turn");
            let connection = RawConnection::connect(&address).await;
            work(&connection, index).await;
            connection
        });
    }
    // They stay open while the others come.
    let connections = clients.join_all().await;
    let grown = topology.proxy.rss().saturating_sub(before);
    println!(
        "{CONNECTIONS} connections: the proxy grew by {} MiB, {} KiB each",
        grown >> 20,
        grown / 1024 / CONNECTIONS as u64
    );
    assert!(grown < CONNECTIONS as u64 * EACH, "{grown} bytes");
    let open = || async { metric(&topology.proxy.metrics().await, "connections") };
    assert!(open().await >= CONNECTIONS as f64);
    let mut clients = tokio::task::JoinSet::new();
    for (index, connection) in connections.into_iter().enumerate() {
        clients.spawn(async move { work(&connection, index).await });
    }
    clients.join_all().await;
    wait::until("the connections to be gone", async || {
        let left = open().await;
        if left < 10.0 { Ok(()) } else { Err(left) }
    })
    .await;
}

/// A write and reads of it, on each route in turn.
async fn work(connection: &RawConnection, index: usize) {
    let route = ["events", "leases", "pods", "configmaps"][index % 4];
    let key = format!("/registry/{route}/{index}");
    let written = connection.call("/etcdserverpb.KV/Put", &put(&key, &key).encode_to_vec()).await;
    assert!(written.is_ok(), "{index}: {written:?}");
    let read = connection.call("/etcdserverpb.KV/Range", &get(&key).encode_to_vec()).await;
    let read = RangeResponse::decode(read.message()).expect("a reply");
    assert_eq!(read.kvs[0].value, key);
}

/// The sum of a metric's series whose name ends in `name`.
fn metric(text: &str, name: &str) -> f64 {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let values: Vec<f64> = lines
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(series, _)| series.split('{').next().is_some_and(|metric| metric.ends_with(name)))
        .map(|(_, value)| value.parse().expect("a number"))
        .collect();
    assert!(!values.is_empty(), "no metric ends in {name}");
    values.iter().sum()
}

/// Above the limit the newest is refused, the others go on, and there is room again when one goes.
#[tokio::test]
async fn the_newest_connection_above_the_limit_is_refused() {
    const LIMIT: usize = 10;
    let change = |proxy: etcd_prism_tests::proxy::ProxyBuilder| {
        proxy.listen_extra(&format!("max_connections = {LIMIT}\n"))
    };
    let layout = etcd_prism_tests::layout::Layout::four_shards();
    let topology = Topology::start_with(layout, etcd_prism_tests::etcd::EtcdBuilder::new, change).await;
    topology.proxy.expect_log("too many are open");
    let address = topology.proxy.endpoint().replace("http://", "");
    let mut connections = Vec::new();
    wait::until("all places to be taken", async || {
        let connection = RawConnection::connect(&address).await;
        let answer =
            connection.call("/etcdserverpb.KV/Range", &get("/registry/pods/a").encode_to_vec()).await;
        let refused = answer.error.is_some();
        if refused {
            return Ok(());
        }
        connections.push(connection);
        Err(connections.len())
    })
    .await;
    assert!((LIMIT - 2..=LIMIT).contains(&connections.len()), "{}", connections.len());
    for (index, connection) in connections.iter().enumerate() {
        work(connection, index).await;
    }
    connections.pop();
    wait::until("a place to come free", async || {
        let answer = RawConnection::connect(&address)
            .await
            .call("/etcdserverpb.KV/Range", &get("/registry/pods/a").encode_to_vec())
            .await;
        if answer.is_ok() { Ok(()) } else { Err(answer) }
    })
    .await;
}
