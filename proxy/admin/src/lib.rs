//! What operators ask for: metrics, health and the status of routes and shards.
//!
//! [`serve`] answers on a listener of its own, without credentials, so it belongs on loopback. Everything comes from what
//! the health checks last saw: no question here reaches a shard, but those about migrations. [`fetch`], [`migrate`] and
//! [`table::render`] are the other end of it, for `etcd-prism status` and `etcd-prism migrate`.

mod client;
mod collect;
mod gauges;
mod keys;
mod migrations;
pub mod report;
mod server;
pub mod table;
mod warnings;

pub use client::{FetchError, fetch, migrate, migrations};
pub use report::StatusReport;
pub use server::serve;
