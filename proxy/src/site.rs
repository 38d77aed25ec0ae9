//! The shards of a configuration, for commands that need no proxy.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use etcd_prism_config::Config;
use etcd_prism_control::Site;
use etcd_prism_routing::{RouteSpec, ShardId};
use etcd_prism_upstream::ShardPool;
use etcd_prism_upstream::configure::{configure, shard_state};

/// Longest wait for one answer of a shard.
const PATIENCE: Duration = Duration::from_secs(3);

/// A configuration file with the shards that it names.
pub(crate) struct Opened {
    pub(crate) config: Config,
    pub(crate) specs: Vec<RouteSpec>,
    pub(crate) site: Site,
}

/// Reads the file. Connects to nothing yet.
pub(crate) fn open(path: &Path) -> anyhow::Result<Opened> {
    let config = Config::load(path)?;
    let specs = crate::serve::route_specs(&config)?;
    let site = Site::new(pools(&config)?, PATIENCE);
    Ok(Opened { config, specs, site })
}

/// Connections to every shard, in the order of the file.
pub(crate) fn pools(config: &Config) -> anyhow::Result<Vec<ShardPool>> {
    let pool = |(i, shard)| {
        let configured = configure(shard)?;
        Ok(ShardPool::new(Arc::new(shard_state(ShardId(i as u16), shard, &configured))))
    };
    config.shards.iter().enumerate().map(pool).collect()
}
