//! Ten thousand watchers: every one of them gets its event, and nothing else.

use std::collections::BTreeSet;

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::request_op::Request as Op;
use etcd_prism_tests::client::Client;
use etcd_prism_tests::request::{put, txn, watch};
use etcd_prism_tests::topology::Topology;
use etcd_prism_tests::watch_stream::WatchStream;

const CONNECTIONS: usize = 100;
const ON_EACH: usize = 100;
/// What a watcher may cost the proxy.
const EACH: u64 = 24 << 10;

/// The key that watcher `number` of connection `connection` watches. All routes have some of each stream's watchers.
fn key(connection: usize, number: usize) -> String {
    let route = ["events", "leases", "pods", "configmaps"][number % 4];
    format!("/registry/{route}/{connection:03}-{number:03}")
}

/// Half of the connections have all their watchers on one stream, the others one stream for each.
#[tokio::test]
async fn ten_thousand_watchers_get_their_events() {
    let topology = Topology::four_shards().await;
    let before = topology.proxy.rss();
    let mut opening = tokio::task::JoinSet::new();
    for connection in 0..CONNECTIONS {
        let client = topology.client();
        opening.spawn(async move {
            let streams = if connection % 2 == 0 { 1 } else { ON_EACH };
            open(&client, connection, streams).await
        });
    }
    let mut streams: Vec<Watching> = opening.join_all().await.into_iter().flatten().collect();
    let watchers: usize = streams.iter().map(|watching| watching.keys.len()).sum();
    assert_eq!(watchers, CONNECTIONS * ON_EACH);
    let grown = topology.proxy.rss().saturating_sub(before);
    println!(
        "{watchers} watchers on {} streams of {CONNECTIONS} connections: the proxy grew by {} MiB, {} KiB each",
        streams.len(),
        grown >> 20,
        grown / 1024 / watchers as u64
    );
    assert!(grown < watchers as u64 * EACH, "{grown} bytes");

    for round in ["first", "second"] {
        let client = topology.client();
        for connection in 0..CONNECTIONS {
            // One transaction for each route.
            for route in 0..4 {
                let numbers = (route..ON_EACH).step_by(4);
                let puts = numbers.map(|number| Op::RequestPut(put(&key(connection, number), round)));
                client.kv().txn(txn(puts)).await.expect("a write of all keys of a connection");
            }
        }
        for watching in &mut streams {
            watching.read(round).await;
        }
        println!("{round} round: {watchers} events, each at its watcher");
    }
}

/// A stream and the keys of its watchers, by id.
struct Watching {
    stream: WatchStream,
    keys: Vec<(i64, String)>,
}

async fn open(client: &Client, connection: usize, streams: usize) -> Vec<Watching> {
    let mut out = Vec::new();
    for index in 0..streams {
        let mut stream = WatchStream::open(client);
        let numbers: Vec<usize> = (index..ON_EACH).step_by(streams).collect();
        // All requests at once; their answers come in order.
        for number in &numbers {
            stream.send_create(watch(&key(connection, *number)));
        }
        let mut keys = Vec::new();
        for number in numbers {
            let created = stream.next().await;
            assert!(created.created && !created.canceled, "{created:?}");
            keys.push((created.watch_id, key(connection, number)));
        }
        out.push(Watching { stream, keys });
    }
    out
}

impl Watching {
    /// Reads until every watcher has its one event of this round.
    async fn read(&mut self, round: &str) {
        let mut seen = BTreeSet::new();
        while seen.len() < self.keys.len() {
            let response = self.stream.next().await;
            assert!(!response.canceled && !response.created, "{response:?}");
            let (_, key) =
                self.keys.iter().find(|(id, _)| *id == response.watch_id).expect("a watcher of this stream");
            for event in &response.events {
                let kv = event.kv.as_ref().expect("a key");
                assert_eq!(
                    (&kv.key, &kv.value),
                    (&Bytes::copy_from_slice(key.as_bytes()), &Bytes::copy_from_slice(round.as_bytes()))
                );
                assert!(seen.insert(response.watch_id), "twice: {key}");
            }
        }
    }
}
