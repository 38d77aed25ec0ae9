//! Shards and a proxy in front of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::client::Client;
use crate::etcd::{EtcdBuilder, EtcdCluster};
use crate::layout::Layout;
use crate::proxy::{Proxy, ProxyBuilder};
use crate::scratch::Scratch;
use crate::tools::Version;

/// A proxy over the shards of a layout.
#[derive(Debug)]
pub struct Topology {
    // Dropped first: a proxy that sees its shards go would log warnings.
    pub proxy: Proxy,
    pub shards: BTreeMap<&'static str, EtcdCluster>,
    pub layout: Layout,
    pub scratch: Arc<Scratch>,
}

impl Topology {
    /// Shards `events`, `leases`, `pods` and `rest`, one member each, and a proxy.
    pub async fn four_shards() -> Self {
        Self::start(Layout::four_shards(), Version::Newest).await
    }

    /// The same routes, all on one etcd.
    pub async fn single() -> Self {
        Self::start(Layout::single(), Version::Newest).await
    }

    /// One-member shards of `version`.
    pub async fn start(layout: Layout, version: Version) -> Self {
        Self::start_with(layout, |name| EtcdBuilder::new(name).version(version), |proxy| proxy).await
    }

    /// Shards as `shard` makes them by name, and a proxy as `proxy` changes it.
    pub async fn start_with(
        layout: Layout,
        shard: impl Fn(&str) -> EtcdBuilder,
        proxy: impl FnOnce(ProxyBuilder) -> ProxyBuilder,
    ) -> Self {
        let scratch = Arc::new(Scratch::new());
        let shards = Self::shards(&layout, shard, &scratch).await;
        let mut builder = ProxyBuilder::new("proxy", layout.clone());
        for (name, cluster) in &shards {
            builder = builder.shard(name, cluster.endpoints());
        }
        let proxy = proxy(builder).start(&scratch).await;
        Self { proxy, shards, layout, scratch }
    }

    /// The shards of `layout` by name, as `shard` makes them.
    pub async fn shards(
        layout: &Layout,
        shard: impl Fn(&str) -> EtcdBuilder,
        scratch: &Arc<Scratch>,
    ) -> BTreeMap<&'static str, EtcdCluster> {
        let mut shards = BTreeMap::new();
        for name in layout.shards() {
            shards.insert(name, shard(name).as_shard().start(scratch).await);
        }
        shards
    }

    /// A client of the proxy, on a connection of its own.
    pub fn client(&self) -> Client {
        self.proxy.client()
    }

    pub fn shard(&mut self, name: &str) -> &mut EtcdCluster {
        self.shards.get_mut(name).unwrap_or_else(|| panic!("no shard called {name}"))
    }

    /// A client that goes straight to a shard.
    pub fn shard_client(&self, name: &str) -> Client {
        self.shards.get(name).unwrap_or_else(|| panic!("no shard called {name}")).client()
    }
}
