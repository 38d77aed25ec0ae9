//! Two proxies over two shards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use etcd_prism_ownership::keys;
use etcd_prism_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, PutRequest, PutResponse,
};
use etcd_prism_proto::mvccpb::KeyValue;
use etcd_prism_proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::delay::{DelayProxy, Late};
use etcd_prism_tests::etcd::{EtcdBuilder, EtcdCluster};
use etcd_prism_tests::layout::{Layout, Route};
use etcd_prism_tests::proxy::{Proxy, ProxyBuilder};
use etcd_prism_tests::request::{list, put};
use etcd_prism_tests::scratch::Scratch;
use etcd_prism_tests::topology::Topology;
use etcd_prism_tests::wait;
use tonic::{Code, Status};

/// A key on each shard.
pub(crate) const ON: [(&str, &str); 2] = [("a", "/registry/pods/x"), ("b", "/registry/events/x")];
/// The text of etcd for a lease that it does not have.
pub(crate) const NO_LEASE: (Code, &str) = (Code::NotFound, "etcdserver: requested lease not found");

const ROUTES: [(&str, &str, &str); 2] =
    [("pods", "/registry/pods/", "a"), ("events", "/registry/events/", "b")];

/// `pods` and everything else on `a`, `events` on `b`, if nothing else is said.
pub(crate) struct Site {
    // First, so that they end before their shards do.
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) shards: BTreeMap<&'static str, EtcdCluster>,
    layout: Layout,
    /// Who the proxies are to the shards, in TOML.
    user: String,
    pub(crate) scratch: Arc<Scratch>,
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::start_with(EtcdBuilder::new).await
    }

    /// A way to a shard on which requests take this much longer.
    pub(crate) async fn slow_road(&self, shard: &str, delay: Duration) -> DelayProxy {
        let road = DelayProxy::start(&self.shards[shard].endpoints()[0], Late::Requests).await;
        road.set_delay(delay);
        road
    }

    pub(crate) async fn start_with(shard: impl Fn(&str) -> EtcdBuilder) -> Self {
        Self::start_on(&ROUTES, shard).await
    }

    /// Shards on which the proxies are the user `prism`, once each was prepared.
    pub(crate) async fn start_protected(
        shard: impl Fn(&str) -> EtcdBuilder,
        prepare: impl AsyncFn(Client),
    ) -> Self {
        let mut site = Self::shards_on(&ROUTES, shard).await;
        for shard in site.shards.values() {
            prepare(shard.client()).await;
        }
        let file = site.scratch.path().join("password");
        std::fs::write(&file, "secret\n").expect("a password file");
        site.user = format!("username = \"prism\"\npassword_file = {file:?}\n");
        site.start_proxies().await;
        site
    }

    /// Routes by name, prefix and shard; everything else is on the first one's.
    pub(crate) async fn start_on(
        routes: &[(&'static str, &'static str, &'static str)],
        shard: impl Fn(&str) -> EtcdBuilder,
    ) -> Self {
        let mut site = Self::shards_on(routes, shard).await;
        site.start_proxies().await;
        site
    }

    async fn shards_on(
        routes: &[(&'static str, &'static str, &'static str)],
        shard: impl Fn(&str) -> EtcdBuilder,
    ) -> Self {
        let route = |(name, prefix, shard)| Route { name, prefixes: vec![prefix], shard };
        let rest = Route { name: "rest", prefixes: Vec::new(), shard: routes[0].2 };
        let routes = routes.iter().copied().map(route).chain([rest]).collect();
        let (scratch, layout) = (Arc::new(Scratch::new()), Layout { routes });
        let shards = Topology::shards(&layout, shard, &scratch).await;
        Self { proxies: Vec::new(), shards, layout, user: String::new(), scratch }
    }

    async fn start_proxies(&mut self) {
        for name in ["one", "two"] {
            let endpoints = |shard: &str| self.shards[shard].endpoints();
            let proxy = self.proxy(name, endpoints).await;
            if !self.user.is_empty() {
                proxy.expect_log("rights");
                proxy.expect_log("permission denied");
            }
            self.proxies.push(proxy);
        }
    }

    /// One more proxy, which finds the shards at these endpoints.
    pub(crate) async fn proxy(&self, name: &str, endpoints: impl Fn(&str) -> Vec<String>) -> Proxy {
        let mut builder = ProxyBuilder::new(name, self.layout.clone());
        for shard in self.shards.keys() {
            builder = builder.shard(shard, endpoints(shard)).shard_extra(shard, &self.user);
        }
        // Sessions that end soon, for tests that pause a shard.
        builder.extra("[ownership]\nsession_ttl = \"4s\"\n").start(&self.scratch).await
    }

    /// A client of each proxy, each on a connection of its own.
    pub(crate) fn clients(&self) -> [Client; 2] {
        [self.proxies[0].client(), self.proxies[1].client()]
    }

    /// A client that goes straight to a shard.
    pub(crate) fn direct(&self, shard: &str) -> Client {
        self.shards[shard].client()
    }

    pub(crate) fn shard(&mut self, name: &str) -> &mut EtcdCluster {
        self.shards.get_mut(name).expect("a shard of that name")
    }

    /// SIGSTOP to a proxy, and waits until every thread of it has stopped: on a busy machine that takes its time.
    pub(crate) async fn pause_proxy(&mut self, proxy: usize) {
        self.proxies[proxy].pause();
        let tasks = format!("/proc/{}/task", self.proxies[proxy].pid());
        wait::until("a proxy that stands still", async || {
            let stat = |task: std::io::Result<std::fs::DirEntry>| {
                let path = task.expect("a thread").path().join("stat");
                std::fs::read_to_string(path).expect("the state of a thread")
            };
            let stats: Vec<_> = std::fs::read_dir(&tasks).expect("its threads").map(stat).collect();
            if stats.iter().all(|stat| stat.contains(") T ")) { Ok(()) } else { Err(stats) }
        })
        .await;
    }

    /// Faults of this shard are part of the test.
    pub(crate) fn expect_faults_of(&self, shard: &str) {
        self.proxies.iter().for_each(|proxy| proxy.expect_log(shard));
    }

    /// The lease records on a shard, by key, with the lease each hangs on.
    pub(crate) async fn records(&self, shard: &str) -> Vec<KeyValue> {
        let found = self.direct(shard).kv().range(list(b"\xffprism/lease/")).await.expect("a list");
        found.into_inner().kvs
    }

    /// The identity of a shard, in hexadecimal.
    pub(crate) async fn identity(&self, shard: &str) -> String {
        use etcd_prism_ownership::value::{Identity, Stored};
        let found = self.direct(shard).kv().range(list(keys::IDENTITY)).await.expect("a read").into_inner();
        Identity::decode(&found.kvs[0].value).expect("an identity").id.to_string()
    }

    /// Waits until `shard` has a record of another.
    pub(crate) async fn until_recorded(&self, lease: i64, shard: &str, of: &str) -> KeyValue {
        let key = self.record_key(lease, of).await;
        wait::until("a record", async || {
            let records = self.records(shard).await;
            records.iter().find(|kv| kv.key == key).cloned().ok_or(records)
        })
        .await
    }

    /// Writes on `shard` the record of somebody who is about to bring the lease to another, `age` milliseconds ago.
    pub(crate) async fn intend(&self, lease: i64, shard: &str, of: &str, writer: u64, age: u128) {
        let key = self.record_key(lease, of).await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis();
        let at = now - age;
        let value = format!("{{\"format\":1,\"granted\":false,\"writer\":{writer},\"at\":{at}}}");
        self.direct(shard).kv().put(PutRequest { lease, ..put(&key, &value) }).await.expect("a record");
    }

    /// The record that a shard holds, or would hold, of another under a lease.
    pub(crate) async fn record_key(&self, lease: i64, of: &str) -> Vec<u8> {
        [&keys::lease(lease)[..], b"/", self.identity(of).await.as_bytes()].concat()
    }
}

pub(crate) async fn grant(client: &Client, ttl: i64) -> i64 {
    let granted = client.lease().lease_grant(LeaseGrantRequest { id: 0, ttl }).await;
    granted.expect("a lease").into_inner().id
}

/// A lease that is, so far, on the shard of `key` alone: its connection has used no other.
pub(crate) async fn grant_at(proxy: &Proxy, key: &str, ttl: i64) -> i64 {
    let client = proxy.client();
    client.kv().put(put(key, "before")).await.expect("a write");
    let lease = grant(&client, ttl).await;
    put_leased(&client, key, lease).await.expect("a leased key");
    lease
}

pub(crate) async fn put_leased(client: &Client, key: &str, lease: i64) -> Result<PutResponse, Status> {
    Ok(client.kv().put(PutRequest { lease, ..put(key, "leased") }).await?.into_inner())
}

pub(crate) async fn revoke(client: &Client, id: i64) -> Result<(), Status> {
    client.lease().lease_revoke(LeaseRevokeRequest { id }).await.map(drop)
}

pub(crate) async fn time_to_live(client: &Client, id: i64) -> LeaseTimeToLiveResponse {
    let asked = client.lease().lease_time_to_live(LeaseTimeToLiveRequest { id, keys: true }).await;
    asked.expect("an answer").into_inner()
}

pub(crate) async fn keep_alive(client: &Client, id: i64) -> Result<LeaseKeepAliveResponse, Status> {
    let asked = tokio_stream::once(LeaseKeepAliveRequest { id });
    let answer = client.lease().lease_keep_alive(asked).await?.into_inner().message().await?;
    answer.ok_or_else(|| Status::unknown("the stream ended without an answer"))
}

pub(crate) async fn lock(client: &Client, name: &str, lease: i64) -> Result<LockResponse, Status> {
    let name = Bytes::copy_from_slice(name.as_bytes());
    Ok(client.lock().lock(LockRequest { name, lease }).await?.into_inner())
}

pub(crate) async fn unlock(client: &Client, key: &Bytes) {
    let request = UnlockRequest { key: key.clone() };
    client.lock().unlock(request).await.expect("an unlock");
}

/// The keys of a lock or an election, the oldest first.
pub(crate) async fn waiting(client: &Client, name: &str) -> Vec<KeyValue> {
    let mut kvs = client.kv().range(list(&format!("{name}/"))).await.expect("a list").into_inner().kvs;
    kvs.sort_by_key(|kv| kv.create_revision);
    kvs
}

/// Waits until that many sessions hold a lock or wait for it.
pub(crate) async fn until_waiting(client: &Client, name: &str, count: usize) -> Vec<KeyValue> {
    wait::until(&format!("{count} keys of {name}"), async || {
        let kvs = waiting(client, name).await;
        if kvs.len() == count { Ok(kvs) } else { Err(kvs) }
    })
    .await
}

pub(crate) fn code_and_text(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}
