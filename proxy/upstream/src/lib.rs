//! Connections to the shards.
//!
//! A [`ShardState`] is what all workers know of one shard: its endpoints, their health, its bounds. A [`ShardPool`] is one
//! worker's connections to it; they live on the worker's own thread, so that a client's connection and the upstream
//! connection that serves it never wake another thread. [`health::watch`] runs once per shard and feeds the state.
//!
//! Rules kept here: a write is never sent again once a byte of it may have reached a shard; a read may be tried once more
//! on another endpoint; whatever the proxy's own bounds cut off is answered with an etcd text that clients do not retry
//! blindly.

pub mod auth;
pub mod body;
pub mod configure;
pub mod connector;
pub mod dial;
pub mod endpoint;
pub mod error;
pub mod health;
pub mod pool;
pub mod reply;
pub mod rpc;
pub mod shard;

pub use body::RequestBody;
pub use dial::Dial;
pub use error::UpstreamError;
pub use pool::{Call, Class, Place, Retry, ShardPool};
pub use reply::Reply;
pub use shard::ShardState;
