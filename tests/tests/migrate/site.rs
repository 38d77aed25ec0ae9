//! Two shards, two proxies, and between each proxy and the shards a network that can be broken and read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_prism_ownership::keys;
use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::{EtcdBuilder, EtcdCluster};
use etcd_prism_tests::layout::{Layout, Route};
use etcd_prism_tests::migration;
use etcd_prism_tests::oracle::Oracle;
use etcd_prism_tests::proxy::{Proxy, ProxyBuilder};
use etcd_prism_tests::request::{get, list, put};
use etcd_prism_tests::scratch::Scratch;
use etcd_prism_tests::tripwire::Tripwire;
use etcd_prism_tests::wait;
use serde_json::Value;

use crate::rig::PODS;

pub const ROUTE: &str = "pods";
pub const SHARDS: [&str; 2] = ["a", "b"];
/// The shortest that leaves room for a busy machine.
const SESSION: &str = "[ownership]\nsession_ttl = \"4s\"\n";

pub struct Site {
    // Dropped first: proxies that see shards go would log it.
    pub proxies: Vec<Proxy>,
    pub wires: Vec<Tripwire>,
    pub shards: BTreeMap<&'static str, EtcdCluster>,
    pub oracle: Oracle,
    _scratch: Arc<Scratch>,
}

fn layout() -> Layout {
    let route = |name, prefixes: &[&'static str], shard| Route { name, prefixes: prefixes.to_vec(), shard };
    Layout {
        routes: vec![route(ROUTE, &[PODS], "a"), route("bees", &["/bees/"], "b"), route("rest", &[], "a")],
    }
}

impl Site {
    pub async fn start(shard: impl Fn(&str) -> EtcdBuilder) -> Self {
        let scratch = Arc::new(Scratch::new());
        let mut shards = BTreeMap::new();
        for name in SHARDS {
            shards.insert(name, shard(name).as_shard().start(&scratch).await);
        }
        let endpoints = SHARDS.map(|name| (name, shards[name].endpoints()));
        let (mut wires, mut proxies) = (Vec::new(), Vec::new());
        for i in 0..2 {
            let wire = Tripwire::start(&endpoints).await;
            let mut builder = ProxyBuilder::new(&format!("proxy-{i}"), layout()).extra(SESSION);
            for name in SHARDS {
                builder = builder.shard(name, wire.endpoints(name));
            }
            proxies.push(builder.start(&scratch).await);
            wires.push(wire);
        }
        // Warnings tell of the faults; errors and panics are never part of one.
        proxies.iter().for_each(|proxy: &Proxy| proxy.expect_log(r#""level":"WARN""#));
        Self { proxies, wires, shards, oracle: Oracle::default(), _scratch: scratch }
    }

    /// So many keys of the route before anything begins.
    pub async fn fill(&mut self, keys: usize) {
        let client = self.proxies[0].client();
        for i in 0..keys {
            let (key, value) = (format!("{PODS}old-{i:05}"), format!("value {i}"));
            let reply = client.kv().put(put(&key, &value)).await.expect("a put").into_inner();
            self.oracle.put(&key, value.as_bytes(), 0, reply.header.expect("a header").revision);
        }
    }

    pub fn clients(&self) -> Vec<Client> {
        self.proxies.iter().map(Proxy::client).collect()
    }

    pub fn shard(&mut self, name: &str) -> &mut EtcdCluster {
        self.shards.get_mut(name).expect("a shard")
    }

    /// Straight to a shard, past the proxies and their network.
    pub fn direct(&self, name: &str) -> Client {
        self.shards[name].client()
    }

    /// What a reserved key of a shard holds, with its mod revision.
    pub async fn stored(&self, shard: &str, key: &[u8]) -> Option<(i64, Value)> {
        let reply = self.direct(shard).kv().range(get(key)).await.expect("a read of a shard").into_inner();
        let kv = reply.kvs.first()?;
        Some((kv.mod_revision, serde_json::from_slice(&kv.value).expect("JSON")))
    }

    /// The state of the route's fence on both shards, with the other shard that it names.
    pub async fn fences(&self) -> [(String, bool); 2] {
        let mut out = [const { (String::new(), false) }; 2];
        for (found, shard) in out.iter_mut().zip(SHARDS) {
            if let Some((_, fence)) = self.stored(shard, &keys::fence(ROUTE)).await {
                *found = (fence["state"].as_str().expect("a state").to_owned(), fence.get("peer").is_some());
            }
        }
        out
    }

    /// The shard that rules, once nothing is sealed or flipping.
    pub async fn at_rest(&self, limit: Duration) -> &'static str {
        wait::until_within(limit, "a seal or flip to come to rest", async || {
            let fences = self.fences().await;
            let open = fences.iter().position(|(state, _)| state == "open");
            let moves = fences.iter().any(|(state, _)| state == "sealed" || state == "flipping");
            open.filter(|_| !moves).map(|at| SHARDS[at]).ok_or(fences)
        })
        .await
    }

    /// Who drives, by the mod revision of the lock on a shard.
    pub async fn lock(&self, target: &str) -> Option<i64> {
        self.stored(target, &keys::driver(ROUTE)).await.map(|(revision, _)| revision)
    }

    /// How many proxies have a session at a shard.
    pub async fn sessions(&self, shard: &str) -> usize {
        let sessions = list(b"\xffprism/session/");
        self.direct(shard).kv().range(sessions).await.expect("a read of a shard").into_inner().kvs.len()
    }

    /// `etcd-prism migrate VERB pods ARGS` at a proxy; panics if it fails.
    pub async fn migrate(&self, proxy: usize, verb: &str, args: &[&str]) -> Value {
        migration::migrate(&self.proxies[proxy], verb, ROUTE, args).await
    }

    /// The same until it succeeds.
    pub async fn migrate_soon(&self, proxy: usize, verb: &str, args: &[&str]) {
        migration::migrate_soon(&self.proxies[proxy], verb, ROUTE, args).await;
    }

    /// The phase that the record on the target has, if there is one.
    pub async fn phase(&self, target: &str) -> Option<String> {
        let (_, record) = self.stored(target, &keys::migration(ROUTE)).await?;
        record["phase"].as_str().map(str::to_owned)
    }

    /// Waits until everything is copied to a shard.
    pub async fn copied(&self, target: &str, limit: Duration) {
        wait::until_within(limit, "the copy to end", async || match self.phase(target).await.as_deref() {
            Some("follow") => Ok(()),
            other => Err(other.map(str::to_owned)),
        })
        .await;
    }
}
