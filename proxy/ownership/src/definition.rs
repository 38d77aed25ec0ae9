//! What a route owns, key by key: its definition.

use std::fmt;

use etcd_prism_routing::{Keyspace, KeyspaceError, RouteSpec};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::id::ShardUid;

mod diff;

pub use diff::{Diff, Moved, Place, RouteChange};

/// A half-open interval of keys, `start ≤ key < end`.
pub type Interval = (Box<[u8]>, Box<[u8]>);

/// The intervals that a route effectively owns, in key order: bare keys are in it, other routes' longer prefixes are cut
/// out of it. So a prefix that is added to one route changes the definition of the route that it is taken from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Definition {
    pub intervals: Vec<Interval>,
}

impl Definition {
    /// SHA-256 over the borders, each with its length before it.
    pub fn hash(&self) -> DefinitionHash {
        let mut hash = Sha256::new();
        for border in self.intervals.iter().flat_map(|(start, end)| [start, end]) {
            hash.update((border.len() as u64).to_be_bytes());
            hash.update(border);
        }
        DefinitionHash(hash.finalize().into())
    }
}

/// The hash of a [`Definition`]; 64 hex digits when written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DefinitionHash(pub [u8; 32]);

impl fmt::Display for DefinitionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for DefinitionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.short())
    }
}

impl DefinitionHash {
    /// The first 12 digits, for people.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

impl Serialize for DefinitionHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DefinitionHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bad = || serde::de::Error::custom(format_args!("{text:?} is not 64 hex digits"));
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let mut hash = [0; 32];
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| bad())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| bad())?;
        }
        Ok(Self(hash))
    }
}

/// A route with what it owns and where it lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LayoutRoute {
    pub name: String,
    pub shard: ShardUid,
    pub definition: Definition,
}

/// A whole table: every key belongs to exactly one of its routes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Layout {
    routes: Vec<LayoutRoute>,
}

/// Why routes make no layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    #[error("route {route} is on a shard that does not exist")]
    UnknownShard { route: String },
    #[error(transparent)]
    Keyspace(#[from] KeyspaceError),
}

impl Layout {
    /// `shards` are the identities by [`etcd_prism_routing::ShardId`].
    ///
    /// # Errors
    /// The routes make no keyspace, or one names a shard that is not there.
    pub fn new(specs: &[RouteSpec], shards: &[ShardUid]) -> Result<Self, LayoutError> {
        let keyspace = Keyspace::new(specs)?;
        let mut routes = Vec::with_capacity(specs.len());
        for ((_, route), definition) in keyspace.routes().zip(definitions(&keyspace)) {
            let shard = shards.get(usize::from(route.shard.0)).copied();
            let shard = shard.ok_or_else(|| LayoutError::UnknownShard { route: route.name.clone() })?;
            routes.push(LayoutRoute { name: route.name.clone(), shard, definition });
        }
        Ok(Self { routes })
    }

    /// In the order of the configuration.
    pub fn routes(&self) -> impl Iterator<Item = &LayoutRoute> {
        self.routes.iter()
    }

    pub fn route(&self, name: &str) -> Option<&LayoutRoute> {
        self.routes.iter().find(|r| r.name == name)
    }
}

/// The definition of each route of a keyspace, in its order.
pub fn definitions(keyspace: &Keyspace) -> Vec<Definition> {
    let mut out: Vec<Definition> = keyspace.routes().map(|_| Definition { intervals: Vec::new() }).collect();
    for (start, end, route) in keyspace.intervals() {
        if let Some(definition) = out.get_mut(usize::from(route.0)) {
            definition.intervals.push((start.into(), end.into()));
        }
    }
    out
}

#[cfg(test)]
mod tests;
