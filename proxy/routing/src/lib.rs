//! Which route owns a key, and which shard serves the route.
//!
//! *Invariant:* this crate does no IO, spawns nothing and knows nothing of tokio, hyper or tonic. The table is immutable:
//! whoever changes routes builds a new one.

pub mod keyspace;
pub mod placement;

pub use keyspace::{Keyspace, KeyspaceError, Route, RouteId, RouteSpec, ShardId};
pub use placement::{Footprint, Segment};
