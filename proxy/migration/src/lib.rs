//! Moves routes between shards.
//!
//! The rules are the engine of `etcd-prism-ownership`; this crate reads, writes and copies for it. [`Host`] lives in every
//! proxy: it answers the operator's verbs and takes over what a dead proxy drove.

pub mod host;
mod lock;
pub mod plan;
mod relocate;
pub mod report;
pub mod run;
mod shards;
pub mod ship;
pub mod shipping;
pub mod status;
pub mod verbs;
mod view;

pub use host::{Deps, Host};
pub use status::Status;
