//! The Lease service.
//!
//! A grant names no key, so it belongs to no shard: the proxy chooses the id, one shard grants it at once, and any other
//! shard gets the same id when a write first needs it there.

mod bring;
mod grant;
mod keepalive;
mod registry;
mod revoke;
mod time_to_live;

pub use bring::bring;
pub use grant::grant;
pub use keepalive::keep_alive;
pub use registry::Registry;
pub use revoke::{retry_revokes, revoke};
pub use time_to_live::{leases, time_to_live};
