//! Keeps fences, sessions and identities on the shards.
//!
//! The rules are engines of `etcd-prism-ownership`; this crate reads and writes the shards for them, over the same
//! connections as everything else. [`Ownership`] is what the data path asks: it never waits for a lock there.
//!
//! One task per shard keeps the session ([`task::session`]), one renews its lease, one watches the reserved keys; one for
//! all creates the first fences. [`Site`], [`apply`] and [`accept`] serve the command line, without a proxy.

mod accept;
mod apply;
pub mod call;
mod clock;
mod diff;
mod evaluate;
mod hub;
mod identity;
mod line;
mod metrics;
mod options;
mod ownership;
mod probe;
mod reading;
mod site;
mod snapshot;
mod start;
mod state;
mod task;
mod view;

pub use accept::{AcceptError, accept};
pub use apply::{Applied, ApplyError, ApplyOptions, Progress, abort, apply, dry_run};
pub use clock::Clock;
pub use diff::{Difference, diff};
pub use line::{At, ReignLine, RouteLine};
pub use options::{Options, default_name};
pub use ownership::{Ownership, Revoking};
pub use reading::Reading;
pub use site::{Site, SiteError};
pub use snapshot::{OwnershipSnapshot, RouteSnapshot, RouteState, ShardSnapshot};
pub use start::{start, survey};
pub use view::{NotServed, RouteView};
