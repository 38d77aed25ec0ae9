//! Where objects are stored: asked of the shards themselves.

use std::collections::{BTreeMap, BTreeSet};

use tonic::Code;

use crate::client::Client;
use crate::layout::RESERVED;
use crate::request::{get, list_all};
use crate::topology::Topology;

/// Every key that clients can see, by shard.
#[derive(Clone, Debug)]
pub struct Contents {
    keys: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Contents {
    /// Reads every shard.
    pub async fn read(topology: &Topology) -> Self {
        let mut keys = BTreeMap::new();
        for (shard, cluster) in &topology.shards {
            let mut request = list_all();
            request.keys_only = true;
            let reply = cluster.client().kv().range(request).await;
            let reply = reply.unwrap_or_else(|status| panic!("list of shard {shard}: {status}")).into_inner();
            let found = reply.kvs.iter().filter(|kv| !kv.key.starts_with(RESERVED));
            keys.insert(*shard, found.map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect());
        }
        Self { keys }
    }

    /// The shards that have `key`.
    pub fn shards_with(&self, key: &str) -> Vec<&'static str> {
        self.keys.iter().filter(|(_, keys)| keys.contains(key)).map(|(shard, _)| *shard).collect()
    }

    /// How many keys a shard has.
    pub fn count(&self, shard: &str) -> usize {
        self.keys[shard].len()
    }

    /// Panics where a key is on a shard that is not its route's.
    pub fn assert_every_key_at_home(&self, topology: &Topology) {
        for (shard, keys) in &self.keys {
            let astray: Vec<_> = keys
                .iter()
                .filter(|key| topology.layout.shard_of(topology.layout.route_of(key.as_bytes())) != *shard)
                .collect();
            assert!(astray.is_empty(), "shard {shard} has keys of other routes: {astray:?}");
        }
    }
}

/// The revision up to which a shard is compacted: 0 before the first time.
pub async fn compacted_revision(shard: &Client, present: i64) -> i64 {
    let (mut readable, mut gone) = (present, 0);
    // The oldest revision that can be read, by halving.
    while readable - gone > 1 {
        let middle = gone + (readable - gone) / 2;
        if is_compacted(shard, middle).await { gone = middle } else { readable = middle }
    }
    // A compaction at R leaves R itself readable, and without one revision 1 is.
    if gone == 0 { 0 } else { readable }
}

/// Whether a shard refuses to read at `revision` because it is compacted.
pub async fn is_compacted(shard: &Client, revision: i64) -> bool {
    let mut read = get("\0");
    read.revision = revision;
    match shard.kv().range(read).await {
        Ok(_) => false,
        Err(status) if status.code() == Code::OutOfRange && status.message().contains("compacted") => true,
        Err(status) => panic!("a read at revision {revision}: {status}"),
    }
}
