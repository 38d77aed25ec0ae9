//! The Lease service.
//!
//! A grant names no key, so it belongs to no shard: the proxy chooses the id, one shard grants it at once, and any other
//! shard gets the same id when a write first needs it there.

mod attempt;
mod bring;
mod copies;
mod everyone;
mod flight;
mod grant;
mod holders;
mod intent;
mod keepalive;
mod keys;
mod lists;
mod record;
mod registry;
mod release;
mod renew;
mod revoke;
mod standing;
mod time_to_live;

use std::time::Duration;

use crate::context::Context;

pub use bring::{bring, copy, keep};
pub use copies::Kept;
pub use grant::grant;
pub use keepalive::keep_alive;
pub use registry::Registry;
pub use release::release;
pub use revoke::{retry_revokes, revoke};
pub use time_to_live::{leases, time_to_live};

/// Longest wait for a shard that is not known to have the lease. One that hangs must not delay the answer of the others.
const PATIENCE: Duration = Duration::from_millis(500);
/// Longest wait for a shard that has the lease: a busy one may take its time, and its answer counts.
const HOLDER_PATIENCE: Duration = Duration::from_secs(2);

/// No lease has this id.
const NO_LEASE: i64 = 0;

/// The id to ask shards for: proxies' own leases are as if they did not exist.
fn shown(cx: &Context, id: i64) -> i64 {
    if cx.ownership().is_reserved_lease(id) { NO_LEASE } else { id }
}
