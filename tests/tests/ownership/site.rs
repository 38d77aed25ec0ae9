//! Shards, and proxies over them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use etcd_prism_control::{OwnershipSnapshot, RouteSnapshot, RouteState, ShardSnapshot};
use etcd_prism_proto::etcdserverpb::{RangeResponse, ResponseHeader};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::{EtcdBuilder, EtcdCluster};
use etcd_prism_tests::http;
use etcd_prism_tests::layout::{Layout, Route};
use etcd_prism_tests::proxy::{Proxy, ProxyBuilder};
use etcd_prism_tests::request::{list, put};
use etcd_prism_tests::scratch::Scratch;
use etcd_prism_tests::wait;

/// Routes by name: prefixes and shard.
pub(crate) type Routes = &'static [(&'static str, &'static [&'static str], &'static str)];

pub(crate) const PODS: &str = "/registry/pods/";
pub(crate) const NODES: &str = "/registry/nodes/";

/// `pods` on one shard, everything else on another.
pub(crate) const TWO: Routes = &[("pods", &[PODS], "a"), ("rest", &[], "b")];
/// `rest` gives `nodes` away, on the same shard: the keys stay where they are, but two fences change.
pub(crate) const SPLIT: Routes = &[("pods", &[PODS], "a"), ("nodes", &[NODES], "b"), ("rest", &[], "b")];
/// The same, on the other shard.
pub(crate) const MOVED: Routes = &[("pods", &[PODS], "a"), ("nodes", &[NODES], "a"), ("rest", &[], "b")];

/// How long a proxy's session outlives it.
pub(crate) const TTL: &str = "4s";

pub(crate) fn layout(routes: Routes) -> Layout {
    let route = |(name, prefixes, shard): &(&'static str, &'static [&'static str], &'static str)| Route {
        name,
        prefixes: prefixes.to_vec(),
        shard,
    };
    Layout { routes: routes.iter().map(route).collect() }
}

/// Shards by name. Proxies are the tests' own, declared after it, so that they end before their shards do.
pub(crate) struct Site {
    pub(crate) shards: BTreeMap<&'static str, EtcdCluster>,
    pub(crate) scratch: Arc<Scratch>,
}

impl Site {
    pub(crate) async fn start(names: &[&'static str]) -> Self {
        Self::start_with(names, EtcdBuilder::new).await
    }

    pub(crate) async fn start_with(names: &[&'static str], shard: impl Fn(&str) -> EtcdBuilder) -> Self {
        let (scratch, mut shards) = (Arc::new(Scratch::new()), BTreeMap::new());
        for name in names {
            shards.insert(*name, shard(name).as_shard().start(&scratch).await);
        }
        Self { shards, scratch }
    }

    pub(crate) fn shard(&mut self, name: &str) -> &mut EtcdCluster {
        self.shards.get_mut(name).expect("a shard of that name")
    }

    /// A client that goes straight to a shard.
    pub(crate) fn direct(&self, shard: &str) -> Client {
        self.shards[shard].client()
    }

    pub(crate) fn builder(&self, name: &str, routes: Routes) -> ProxyBuilder {
        self.builder_at(name, routes, |shard| self.shards[shard].endpoints())
    }

    /// A proxy that finds the shards at these endpoints.
    pub(crate) fn builder_at(
        &self,
        name: &str,
        routes: Routes,
        endpoints: impl Fn(&str) -> Vec<String>,
    ) -> ProxyBuilder {
        let mut builder = ProxyBuilder::new(name, layout(routes));
        for shard in self.shards.keys() {
            builder = builder.shard(shard, endpoints(shard));
        }
        builder.extra(&format!("[ownership]\nsession_ttl = {TTL:?}\nname = {name:?}\n"))
    }

    pub(crate) async fn proxy(&self, name: &str, routes: Routes) -> Proxy {
        self.builder(name, routes).start(&self.scratch).await
    }

    /// A proxy whose routes are not those of the others: it is refused some until they are changed.
    pub(crate) fn early(&self, name: &str, routes: Routes) -> Proxy {
        let proxy = self.builder(name, routes).start_unready(&self.scratch);
        proxy.expect_log("route is refused");
        proxy
    }

    /// The configuration file of a proxy.
    pub(crate) fn file_of(&self, proxy: &str) -> PathBuf {
        self.scratch.path().join(format!("{proxy}.toml"))
    }

    /// Writes to a shard itself, until its revision is above `revision`. The key belongs to the shard's first route.
    pub(crate) async fn advance(&self, shard: &str, key: &str, revision: i64) {
        loop {
            let reply = self.direct(shard).kv().put(put(key, "x")).await.expect("a write").into_inner();
            if revision_of(reply.header) > revision {
                return;
            }
        }
    }

    /// What a shard itself holds below a prefix.
    pub(crate) async fn held(&self, shard: &str, prefix: &str) -> RangeResponse {
        self.direct(shard).kv().range(list(prefix)).await.expect("a read of a shard").into_inner()
    }
}

pub(crate) fn revision_of(header: Option<ResponseHeader>) -> i64 {
    header.expect("a header").revision
}

/// What a proxy says of ownership in its status.
pub(crate) async fn ownership(proxy: &Proxy) -> Result<OwnershipSnapshot, String> {
    let status = http::get_ok(&proxy.admin(), "/status").await?;
    let status: serde_json::Value = serde_json::from_str(&status).map_err(|e| e.to_string())?;
    serde_json::from_value(status["ownership"].clone()).map_err(|e| e.to_string())
}

pub(crate) async fn until_route(
    proxy: &Proxy,
    route: &str,
    what: &str,
    good: impl Fn(&RouteSnapshot) -> bool,
) -> RouteSnapshot {
    wait::until(&format!("route {route} to be {what}"), async || {
        let routes = ownership(proxy).await?.routes;
        let found = routes.into_iter().find(|r| r.name == route).expect("a route of that name");
        if good(&found) { Ok(found) } else { Err(format!("{found:?}")) }
    })
    .await
}

pub(crate) async fn until_served(proxy: &Proxy, route: &str) -> RouteSnapshot {
    until_route(proxy, route, "served", |r| r.state == RouteState::Served).await
}

pub(crate) async fn until_shard(
    proxy: &Proxy,
    shard: &str,
    what: &str,
    good: impl Fn(&ShardSnapshot) -> bool,
) -> ShardSnapshot {
    wait::until(&format!("shard {shard} to have {what}"), async || {
        let shards = ownership(proxy).await?.shards;
        let found = shards.into_iter().find(|s| s.name == shard).expect("a shard of that name");
        if good(&found) { Ok(found) } else { Err(format!("{found:?}")) }
    })
    .await
}

pub(crate) async fn until_session(proxy: &Proxy, shard: &str) {
    until_shard(proxy, shard, "a session", |s| s.session).await;
}

/// Waits until a route is refused for a reason with these words in it; the status, `/readyz` and the log all have to say it.
pub(crate) async fn until_refused(proxy: &Proxy, route: &str, words: &str) -> String {
    let is_refused = |r: &RouteSnapshot| {
        r.state == RouteState::Refused && r.reason.as_ref().is_some_and(|r| r.contains(words))
    };
    let found = until_route(proxy, route, &format!("refused: {words}"), is_refused).await;
    let ready = http::get(&proxy.admin(), "/readyz?verbose").await.expect("an answer of /readyz").1;
    let said = ready.lines().any(|line| line.contains(&format!("route {route} ")) && line.contains(words));
    assert!(said, "/readyz does not say why {route} is refused:\n{ready}");
    let logged = |line: &String| {
        line.contains("route is refused") && line.contains(&format!("\"{route}\"")) && line.contains(words)
    };
    assert!(proxy.log_lines().iter().any(logged), "the log does not say why {route} is refused");
    found.reason.expect("a reason")
}

/// SIGSTOP, and waits until every thread has stopped: on a busy machine that takes its time.
pub(crate) async fn pause(proxy: &mut Proxy) {
    proxy.pause();
    let tasks = format!("/proc/{}/task", proxy.pid());
    wait::until("a proxy that stands still", async || {
        let stat = |task: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(task.expect("a thread").path().join("stat")).expect("a thread's state")
        };
        let stats: Vec<_> = std::fs::read_dir(&tasks).expect("its threads").map(stat).collect();
        if stats.iter().all(|stat| stat.contains(") T ")) { Ok(()) } else { Err(stats) }
    })
    .await;
}
