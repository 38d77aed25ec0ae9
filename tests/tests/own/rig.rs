//! Shards, and the part of a proxy that keeps ownership.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_prism_config::{Config, Ownership as OwnershipConfig};
use etcd_prism_control::{
    Clock, Options, Ownership, OwnershipSnapshot, Reading, RouteSnapshot, RouteState, Site,
};
use etcd_prism_ownership::{Fence, keys};
use etcd_prism_routing::{Keyspace, RouteId, RouteSpec, ShardId};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::{EtcdBuilder, EtcdCluster};
use etcd_prism_tests::scratch::Scratch;
use etcd_prism_tests::wait;
use etcd_prism_upstream::configure::{configure, shard_state};
use etcd_prism_upstream::{ShardPool, ShardState, health};
use tokio_util::sync::CancellationToken;

/// The shortest TTL that may be configured.
pub const TTL: Duration = Duration::from_secs(2);

/// Routes by name: prefixes and shard.
pub type Routes<'a> = &'a [(&'a str, &'a [&'a str], &'a str)];

/// `pods` on one shard, everything else on another.
pub const TWO: Routes<'static> = &[("pods", &["/pods/"], "a"), ("rest", &[], "b")];

pub struct Rig {
    pub scratch: Arc<Scratch>,
    pub shards: BTreeMap<String, EtcdCluster>,
}

impl Rig {
    pub async fn start(names: &[&str]) -> Self {
        Self::start_with(names, EtcdBuilder::new).await
    }

    pub async fn start_with(names: &[&str], builder: impl Fn(&str) -> EtcdBuilder) -> Self {
        let scratch = Arc::new(Scratch::new());
        let mut shards = BTreeMap::new();
        for name in names {
            shards.insert((*name).to_owned(), builder(name).as_shard().start(&scratch).await);
        }
        Self { scratch, shards }
    }

    pub fn shard(&mut self, name: &str) -> &mut EtcdCluster {
        self.shards.get_mut(name).expect("a shard of that name")
    }

    pub fn client(&self, name: &str) -> Client {
        self.shards[name].client()
    }

    /// A configuration; shards by name and etcd cluster.
    pub fn config_of(&self, shards: &[(&str, &str)], routes: Routes<'_>) -> Config {
        let text = self.text_of(shards, routes);
        Config::parse(&text, "test").unwrap_or_else(|error| panic!("{error}"))
    }

    /// The text of [`Self::config`].
    pub fn text(&self, routes: Routes<'_>) -> String {
        let shards: Vec<(&str, &str)> = self.shards.keys().map(|name| (&name[..], &name[..])).collect();
        self.text_of(&shards, routes)
    }

    fn text_of(&self, shards: &[(&str, &str)], routes: Routes<'_>) -> String {
        let mut text = String::from("[listen]\nclient = \"127.0.0.1:1\"\n");
        for (name, cluster) in shards {
            let endpoints = self.shards[*cluster].endpoints();
            text += &format!("[[shard]]\nname = \"{name}\"\nendpoints = {endpoints:?}\n");
        }
        for (name, prefixes, shard) in routes {
            text += &format!("[[route]]\nname = \"{name}\"\nshard = \"{shard}\"\n");
            if !prefixes.is_empty() {
                text += &format!("prefixes = {prefixes:?}\n");
            }
        }
        text
    }

    /// A configuration with every shard.
    pub fn config(&self, routes: Routes<'_>) -> Config {
        let shards: Vec<(&str, &str)> = self.shards.keys().map(|name| (&name[..], &name[..])).collect();
        self.config_of(&shards, routes)
    }

    pub fn node(&self, routes: Routes<'_>) -> Node {
        Node::start(&self.config(routes))
    }

    /// What a shard holds.
    pub async fn read(&self, name: &str) -> Reading {
        let node = Probe::of(&self.config(TWO_FOR_READING), name, self);
        Reading::of(&node.pool, wait::DEADLINE).await.expect("a shard that can be read")
    }

    /// The fence of a route on a shard, with its mod revision.
    pub async fn fence(&self, shard: &str, route: &str) -> Option<(i64, Fence)> {
        let fences = self.read(shard).await.snapshot.fences;
        fences.get(route).map(|(revision, fence)| (*revision, fence.clone().expect("a readable fence")))
    }
}

const TWO_FOR_READING: Routes<'static> = &[("rest", &[], "a")];

/// A pool of its own, to look at a shard with.
struct Probe {
    pool: ShardPool,
}

impl Probe {
    fn of(config: &Config, name: &str, rig: &Rig) -> Self {
        let mut shard = config.shards[0].clone();
        shard.name = name.to_owned();
        let endpoints = rig.shards[name].endpoints();
        shard.endpoints = endpoints.iter().map(|url| url.parse().expect("an endpoint")).collect();
        let configured = configure(&shard).expect("a shard");
        Self { pool: ShardPool::new(Arc::new(shard_state(ShardId(0), &shard, &configured))) }
    }
}

/// What of a proxy keeps ownership. It dies like a killed process when dropped: its sessions expire.
pub struct Node {
    pub own: Arc<Ownership>,
    pub shards: Vec<Arc<ShardState>>,
    pub routes: Vec<String>,
    stop: CancellationToken,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn specs(config: &Config) -> Vec<RouteSpec> {
    let shard = |name: &str| config.shards.iter().position(|s| s.name == name).expect("a shard");
    let spec = |route: &etcd_prism_config::Route| RouteSpec {
        name: route.name.clone(),
        prefixes: route.prefixes.iter().map(|p| p.clone().into_bytes()).collect(),
        shard: ShardId(u16::try_from(shard(&route.shard)).expect("few shards")),
    };
    config.routes.iter().map(spec).collect()
}

impl Node {
    pub fn start(config: &Config) -> Self {
        Self::start_with(config, Clock::default())
    }

    pub fn start_with(config: &Config, clock: Clock) -> Self {
        let stop = CancellationToken::new();
        let specs = specs(config);
        let keyspace = Keyspace::new(&specs).expect("a keyspace");
        let mut shards = Vec::new();
        for (i, shard) in config.shards.iter().enumerate() {
            let configured = configure(shard).expect("a shard");
            let id = ShardId(u16::try_from(i).expect("few shards"));
            let state = Arc::new(shard_state(id, shard, &configured));
            tokio::spawn(health::watch(state.clone(), stop.clone()));
            shards.push(state);
        }
        let pools = shards.iter().map(|state| ShardPool::new(state.clone())).collect();
        let OwnershipConfig { fences, .. } = config.ownership.clone();
        let options = Options {
            fences,
            session_ttl: TTL,
            name: "node".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            clock,
        };
        let own = etcd_prism_control::start(options, &keyspace, &specs, pools, stop.clone());
        let routes = specs.into_iter().map(|spec| spec.name).collect();
        Self { own, shards, routes, stop }
    }

    pub fn id(&self, route: &str) -> RouteId {
        let at = self.routes.iter().position(|name| name == route).expect("a route");
        RouteId(u16::try_from(at).expect("few routes"))
    }

    pub fn shard(&self, name: &str) -> ShardId {
        self.shards.iter().find(|s| s.name == name).expect("a shard").id
    }

    pub fn snapshot(&self) -> OwnershipSnapshot {
        self.own.snapshot()
    }

    pub fn route(&self, name: &str) -> RouteSnapshot {
        let routes = self.snapshot().routes;
        routes.into_iter().find(|route| route.name == name).expect("a route")
    }

    /// Waits until a picture is as wished.
    pub async fn until(&self, what: &str, good: impl Fn(&OwnershipSnapshot) -> bool) {
        wait::until(what, async || {
            let snapshot = self.snapshot();
            if good(&snapshot) { Ok(()) } else { Err(snapshot) }
        })
        .await;
    }

    /// Waits until every route is served and every session stands.
    pub async fn until_served(&self) {
        self.until("every route and session", |snapshot| {
            snapshot.not_served().next().is_none() && snapshot.shards.iter().all(|shard| shard.session)
        })
        .await;
    }

    /// Waits until a route is refused; the reason.
    pub async fn refused(&self, route: &str) -> String {
        let what = format!("the refusal of {route}");
        wait::until(&what, async || {
            let found = self.route(route);
            match (found.state, found.reason.clone()) {
                (RouteState::Refused, Some(reason)) => Ok(reason),
                _ => Err(found),
            }
        })
        .await
    }
}

/// The key of a route's fence.
pub fn fence_key(route: &str) -> Vec<u8> {
    keys::fence(route)
}

/// The shards of a configuration, for commands.
pub fn site(config: &Config) -> Site {
    let pool = |(i, shard): (usize, &etcd_prism_config::Shard)| {
        let configured = configure(shard).expect("a shard");
        let id = ShardId(u16::try_from(i).expect("few shards"));
        ShardPool::new(Arc::new(shard_state(id, shard, &configured)))
    };
    Site::new(config.shards.iter().enumerate().map(pool).collect(), Duration::from_secs(2))
}
