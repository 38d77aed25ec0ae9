//! Shards, and proxies that move a route between them as they are told on the command line.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::{EtcdBuilder, EtcdCluster};
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::migration;
use etcd_prism_tests::oracle::Oracle;
use etcd_prism_tests::proxy::{Proxy, ProxyBuilder};
use etcd_prism_tests::request::put;
use etcd_prism_tests::scratch::Scratch;
use etcd_prism_tests::topology::Topology;
use serde_json::Value;

pub const PODS: &str = "/pods/";
const ROUTE: &str = "pods";

pub struct Rig {
    pub proxies: Vec<Proxy>,
    shards: BTreeMap<&'static str, EtcdCluster>,
    _scratch: Arc<Scratch>,
    /// What clients must see of `pods`.
    pub oracle: Oracle,
}

impl Rig {
    /// Two proxies over the shards of [`Layout::movable`].
    pub async fn start() -> Self {
        Self::start_with(2, EtcdBuilder::new).await
    }

    pub async fn start_with(proxies: usize, shard: impl Fn(&str) -> EtcdBuilder) -> Self {
        let scratch = Arc::new(Scratch::new());
        let shards = Topology::shards(&Layout::movable(), shard, &scratch).await;
        let mut started = Vec::new();
        for i in 0..proxies {
            let mut builder = ProxyBuilder::new(&format!("proxy-{i}"), Layout::movable());
            for (name, cluster) in &shards {
                builder = builder.shard(name, cluster.endpoints());
            }
            started.push(builder.start(&scratch).await);
        }
        Self { proxies: started, shards, _scratch: scratch, oracle: Oracle::default() }
    }

    /// A client of each proxy.
    pub fn clients(&self) -> Vec<Client> {
        self.proxies.iter().map(Proxy::client).collect()
    }

    pub fn shard(&self, name: &str) -> Client {
        self.shards[name].client()
    }

    pub fn cluster(&mut self, name: &str) -> &mut EtcdCluster {
        self.shards.get_mut(name).expect("a shard")
    }

    /// Puts a key below [`PODS`] through the first proxy.
    pub async fn put(&mut self, name: &str, value: &[u8]) -> i64 {
        let key = [PODS, name].concat();
        let reply = self.proxies[0].client().kv().put(put(&key, value)).await.expect("a put").into_inner();
        let revision = reply.header.expect("a header").revision;
        self.oracle.put(&key, value, 0, revision);
        revision
    }

    /// So many keys before anything begins.
    pub async fn fill(&mut self, keys: usize) {
        for i in 0..keys {
            self.put(&format!("old-{i:05}"), format!("value {i}").as_bytes()).await;
        }
    }

    /// `etcd-prism migrate VERB pods ARGS` at a proxy; what it prints as JSON.
    pub async fn migrate(&self, proxy: usize, verb: &str, args: &[&str]) -> Value {
        migration::migrate(&self.proxies[proxy], verb, ROUTE, args).await
    }

    /// The same, as soon as nothing speaks against it.
    pub async fn migrate_soon(&self, proxy: usize, verb: &str) {
        migration::migrate_soon(&self.proxies[proxy], verb, ROUTE, &[]).await;
    }

    /// Waits until everything is copied.
    pub async fn copied(&self, proxy: usize) {
        migration::copied(&self.proxies[proxy], ROUTE).await;
    }
}
