//! The table of shards and routes as all proxies have agreed on it.

use std::collections::BTreeMap;

use etcd_prism_routing::{RouteSpec, ShardId};
use serde::{Deserialize, Serialize};

use super::{Begin, Claim};
use crate::definition::{DefinitionHash, Layout, LayoutError};
use crate::id::{ClusterId, ShardUid};

/// A shard of the table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableShard {
    pub name: String,
    pub id: ShardUid,
    pub cluster_id: ClusterId,
}

/// A route of the table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableRoute {
    pub name: String,
    /// As configured; none for the default route.
    pub prefixes: Vec<String>,
    pub shard: ShardUid,
    pub definition: DefinitionHash,
}

/// Shards and routes. Every shard stores it; the arbiter's is the one that counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Table {
    /// Counts the changes; the first table is 1.
    pub generation: u64,
    /// The shard on which changes are claimed and committed. Home when the table was created; it never changes.
    pub arbiter: ShardUid,
    pub shards: Vec<TableShard>,
    pub routes: Vec<TableRoute>,
    /// The claim of the change that made this generation; 0 for the first.
    pub claim: Claim,
    /// By name, the routes that begin a reign with this generation: where they had none on their shard, and where they stay
    /// but get keys that another shard may have shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub begins: BTreeMap<String, Begin>,
    /// A change that has been claimed and neither committed nor given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
}
super::stored!(Table, "table of routes");

/// What a claimed change wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pending {
    pub shards: Vec<TableShard>,
    pub routes: Vec<TableRoute>,
}

/// Why a table cannot be built or used.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TableError {
    #[error("route {route}: the prefix {prefix:?} is not text")]
    NotText { route: String, prefix: String },
    #[error("route {route} is on a shard that the table does not name")]
    UnknownShard { route: String },
    #[error("the route table: {0}")]
    Keyspace(String),
    #[error(
        "route {route}: the stored hash is {stored}, its prefixes have {computed}: another version wrote the table"
    )]
    Hash { route: String, stored: DefinitionHash, computed: DefinitionHash },
}

impl From<LayoutError> for TableError {
    fn from(error: LayoutError) -> Self {
        match error {
            LayoutError::UnknownShard { route } => Self::UnknownShard { route },
            LayoutError::Keyspace(error) => Self::Keyspace(error.to_string()),
        }
    }
}

impl Table {
    /// The first table, from a configuration. `shards` are in the configuration's order; the arbiter is the default
    /// route's.
    ///
    /// # Errors
    /// The routes make no keyspace, or a prefix is not text.
    pub fn first(shards: Vec<TableShard>, specs: &[RouteSpec]) -> Result<Self, TableError> {
        let pending = Pending::new(shards, specs)?;
        // A keyspace was built from them, so there is one.
        let home = specs.iter().position(|s| s.prefixes.is_empty());
        let arbiter = home
            .and_then(|home| pending.routes.get(home))
            .map(|route| route.shard)
            .ok_or_else(|| TableError::Keyspace("no default route".to_owned()))?;
        let Pending { shards, routes } = pending;
        Ok(Self {
            generation: 1,
            arbiter,
            shards,
            routes,
            claim: Claim(0),
            begins: BTreeMap::new(),
            pending: None,
        })
    }

    /// # Errors
    /// The stored routes make no keyspace, or their hashes are another version's.
    pub fn layout(&self) -> Result<Layout, TableError> {
        layout(&self.shards, &self.routes)
    }

    pub fn route(&self, name: &str) -> Option<&TableRoute> {
        self.routes.iter().find(|r| r.name == name)
    }

    /// Whether both want the same of every key: the same shards, and the same routes in any order.
    pub fn agrees(&self, shards: &[TableShard], routes: &[TableRoute]) -> bool {
        same(&self.shards, shards, |s| s.id) && same(&self.routes, routes, |r| r.name.clone())
    }
}

impl Pending {
    /// As [`Table::agrees`].
    pub fn agrees(&self, other: &Self) -> bool {
        same(&self.shards, &other.shards, |s| s.id) && same(&self.routes, &other.routes, |r| r.name.clone())
    }

    /// # Errors
    /// The routes make no keyspace, or a prefix is not text.
    pub fn new(shards: Vec<TableShard>, specs: &[RouteSpec]) -> Result<Self, TableError> {
        let ids: Vec<ShardUid> = shards.iter().map(|s| s.id).collect();
        let layout = Layout::new(specs, &ids)?;
        let mut routes = Vec::with_capacity(specs.len());
        for (spec, route) in specs.iter().zip(layout.routes()) {
            let mut prefixes = Vec::with_capacity(spec.prefixes.len());
            for prefix in &spec.prefixes {
                prefixes.push(String::from_utf8(prefix.clone()).map_err(|_| TableError::NotText {
                    route: spec.name.clone(),
                    prefix: String::from_utf8_lossy(prefix).into_owned(),
                })?);
            }
            let definition = route.definition.hash();
            routes.push(TableRoute { name: spec.name.clone(), prefixes, shard: route.shard, definition });
        }
        Ok(Self { shards, routes })
    }

    /// # Errors
    /// As [`Table::layout`].
    pub fn layout(&self) -> Result<Layout, TableError> {
        layout(&self.shards, &self.routes)
    }
}

fn layout(shards: &[TableShard], routes: &[TableRoute]) -> Result<Layout, TableError> {
    let ids: Vec<ShardUid> = shards.iter().map(|s| s.id).collect();
    let mut specs = Vec::with_capacity(routes.len());
    for route in routes {
        let shard = ids.iter().position(|id| *id == route.shard).and_then(|i| u16::try_from(i).ok());
        let shard = shard.ok_or_else(|| TableError::UnknownShard { route: route.name.clone() })?;
        let prefixes = route.prefixes.iter().map(|p| p.clone().into_bytes()).collect();
        specs.push(RouteSpec { name: route.name.clone(), prefixes, shard: ShardId(shard) });
    }
    let layout = Layout::new(&specs, &ids)?;
    for (route, built) in routes.iter().zip(layout.routes()) {
        let computed = built.definition.hash();
        if computed != route.definition {
            return Err(TableError::Hash { route: route.name.clone(), stored: route.definition, computed });
        }
    }
    Ok(layout)
}

fn same<T: PartialEq, K: Ord>(a: &[T], b: &[T], key: impl Fn(&T) -> K) -> bool {
    let sorted = |items: &[T]| {
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by_key(|&i| key(&items[i]));
        order
    };
    a.len() == b.len() && sorted(a).into_iter().zip(sorted(b)).all(|(i, j)| a[i] == b[j])
}
