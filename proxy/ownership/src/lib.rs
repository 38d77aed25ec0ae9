//! Who may write and read a route: what is stored on the shards under the reserved prefix, and the rules that read it.
//!
//! The rules are engines: events in, answers and commands out. They read no clock, send nothing and wait for nothing, so
//! the proxy and the model checker run the same types.
//!
//! *Invariant:* this crate does no IO, spawns nothing and knows nothing of tokio, hyper or tonic.

pub mod change;
pub mod definition;
pub mod drain;
pub mod facts;
pub mod first;
pub mod id;
pub mod identity;
pub mod keys;
pub mod migration;
pub mod route;
pub mod session;
pub mod timeline;
pub mod txn;
pub mod value;

pub use definition::{Definition, DefinitionHash, Layout};
pub use id::{ClusterId, ProxyId, ShardUid};
pub use route::{Answer, Permit, Reason, RouteEngine};
pub use session::Session;
pub use timeline::{Reign, Timeline};
pub use value::{Claim, Fence, State, Stored, ValueError};

#[cfg(test)]
mod testing;
