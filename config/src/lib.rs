//! The typed configuration of etcd-prism: TOML in, a checked [`Config`] or every mistake at once out.
//!
//! Reading has no side effects besides [`Config::load`] reading the one file: certificates, keys and password files are
//! named here and opened elsewhere, so nothing in this crate ever holds a secret.

#![deny(missing_docs)]

mod config;
mod cross;
mod endpoint;
mod errors;
mod explain;
mod listen;
mod load;
mod ownership;
mod reader;
mod redact;
mod route;
mod shard;
mod telemetry;
#[cfg(test)]
mod testing;
mod value;

pub use config::{
    ClientTls, Config, DEFAULT_ADMIN, DEFAULT_CLUSTER_NAME, GRPC_OVERHEAD_BYTES, Listen, Log, LogFormat,
    LogLevel, Ownership, Route, ServerTls, Shard, Trace,
};
pub use endpoint::{Endpoint, EndpointError, Scheme};
pub use errors::{ConfigErrors, Diagnostic, Diagnostics};
