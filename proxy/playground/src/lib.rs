//! The playground: what `make run` and `etcd-prism playground` start.
//!
//! Four single-member etcd shards (`events`, `leases`, `pods`, `rest`) and one or more proxies over them, all of them
//! child processes on loopback addresses. The shards keep their data in a directory, so that it survives a restart.
//!
//! - [`Options`]: what a user can choose. Every port follows from the listen port, see [`Options::listen`].
//! - [`run`]: starts everything, prints how to reach it, and stops everything at SIGINT, SIGTERM or SIGHUP.
//!
//! No child outlives its parent, however that ends: see `spawner.rs`.

mod banner;
mod child;
mod config;
mod data_dir;
mod error;
mod fleet;
mod http_probe;
mod layout;
mod options;
mod programs;
mod run;
mod signals;
mod spawner;

pub use error::{BusyPort, PlaygroundError};
pub use layout::MAX_PROXIES;
pub use options::{DEFAULT_DATA_DIR, DEFAULT_LISTEN, Options};
pub use run::run;
