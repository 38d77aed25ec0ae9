//! Where a rule is tried: through the proxy over four shards, or straight on one etcd, which keeps most of them too. A
//! rule that etcd itself breaks would be a wrong test.

use std::sync::Arc;

use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::{CompactionRequest, TxnRequest};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::{EtcdBuilder, EtcdCluster};
use etcd_prism_tests::history::history;
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::request::{op, put};
use etcd_prism_tests::scratch::Scratch;
use etcd_prism_tests::topology::Topology;
use etcd_prism_tests::wait;
use etcd_prism_tests::watch_check::{WatcherLog, is_progress, revision};
use etcd_prism_tests::watch_stream::WatchStream;

/// How often watchers that ask for it get progress, in milliseconds.
const PROGRESS_INTERVAL: u64 = 150;

pub(crate) enum Site {
    Etcd { cluster: EtcdCluster, _scratch: Arc<Scratch> },
    Proxy(Box<Topology>),
}

impl Site {
    pub(crate) async fn etcd() -> Self {
        let scratch = Arc::new(Scratch::new());
        let cluster = EtcdBuilder::new("etcd").progress_interval(PROGRESS_INTERVAL).start(&scratch).await;
        Self::Etcd { cluster, _scratch: scratch }
    }

    pub(crate) async fn proxy() -> Self {
        Self::Proxy(Box::new(topology().await))
    }

    /// A client of what is tried.
    pub(crate) fn client(&self) -> Client {
        match self {
            Self::Etcd { cluster, .. } => cluster.client(),
            Self::Proxy(topology) => topology.client(),
        }
    }

    /// A client of the etcd that has `route`.
    pub(crate) fn shard(&self, route: &str) -> Client {
        match self {
            Self::Etcd { cluster, .. } => cluster.client(),
            Self::Proxy(topology) => topology.shard_client(topology.layout.shard_of(route)),
        }
    }

    /// Checks everything that a watcher of `route` was sent against what happened there from `from` to `to`.
    pub(crate) async fn verify(&self, route: &str, log: &WatcherLog, from: i64, to: i64) {
        log.check().unwrap_or_else(|error| panic!("{error}"));
        let events = history(&self.shard(route), prefix_of(route).as_bytes(), from, to).await;
        log.check_against(&events, from, to).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Four shards with frequent progress.
pub(crate) async fn topology() -> Topology {
    let shard = |name: &str| EtcdBuilder::new(name).progress_interval(PROGRESS_INTERVAL);
    Topology::start_with(Layout::four_shards(), shard, |proxy| proxy).await
}

/// A prefix inside `route`.
pub(crate) fn prefix_of(route: &str) -> &'static str {
    match route {
        "events" => "/registry/events/",
        "leases" => "/registry/leases/",
        "pods" => "/registry/pods/",
        _ => "/registry/configmaps/",
    }
}

/// Puts `value` at `name` below the prefix of `route`; the revision of the write.
pub(crate) async fn write(client: &Client, route: &str, name: &str, value: &[u8]) -> i64 {
    let key = [prefix_of(route), name].concat();
    let reply =
        client.kv().put(put(&key, value)).await.unwrap_or_else(|status| panic!("put {key}: {status}"));
    reply.into_inner().header.expect("a header").revision
}

/// Puts every one of `names` in one transaction; its revision.
pub(crate) async fn write_together(client: &Client, route: &str, names: &[&str], value: &[u8]) -> i64 {
    let puts =
        names.iter().map(|name| op(Request::RequestPut(put(&[prefix_of(route), name].concat(), value))));
    let txn = TxnRequest { success: puts.collect(), ..Default::default() };
    let reply = client.kv().txn(txn).await.expect("a transaction").into_inner();
    reply.header.expect("a header").revision
}

/// Reads responses of the one watcher on `stream` until an event at `revision` or later came.
pub(crate) async fn read_until(stream: &mut WatchStream, log: &mut WatcherLog, until: i64) {
    while log.events().next_back().is_none_or(|event| revision(event) < until) {
        let response = stream.next().await;
        assert!(!response.canceled, "the watch was canceled: {response:?}");
        log.responses.push(response);
    }
}

/// Asks for progress until the stream tells `watch_id` that it is at `revision` or later; everything that came before is
/// added to `log` if it concerns the watcher.
pub(crate) async fn ask_for_progress(
    stream: &mut WatchStream,
    watch_id: i64,
    revision: i64,
    log: &mut WatcherLog,
) {
    let short = std::time::Duration::from_millis(100);
    wait::until(&format!("progress of watcher {watch_id} at {revision}"), async || {
        stream.send_progress_request();
        while let Ok(response) = stream.try_next(short).await {
            if ![-1, watch_id].contains(&response.watch_id) {
                continue;
            }
            let told =
                is_progress(&response) && response.header.as_ref().is_some_and(|at| at.revision >= revision);
            log.responses.push(response);
            if told {
                return Ok(());
            }
        }
        Err(log.responses.last().cloned())
    })
    .await;
}

/// Compacts the etcd that has `route` at `revision`, behind the proxy's back.
pub(crate) async fn compact(site: &Site, route: &str, revision: i64) {
    let request = CompactionRequest { revision, physical: true };
    site.shard(route).kv().compact(request).await.expect("a compaction");
}
