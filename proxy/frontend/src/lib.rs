//! What clients talk to: the listener and the handlers of etcd's methods.
//!
//! A connection stays on the worker that accepted it, together with the upstream connections that serve it. The hot
//! methods (KV, Watch, LeaseKeepAlive) work on bytes; a reply is passed on as it is but for the header fields that are the
//! proxy's own, which are appended.

pub mod body;
pub mod compaction;
pub mod context;
pub mod dispatch;
pub mod error;
pub mod gateway;
pub mod http1;
pub mod identity;
pub mod kv;
pub mod lease;
pub mod lock;
pub mod metadata;
pub mod metrics;
pub mod other;
pub mod place;
pub mod provenance;
pub mod queue;
pub mod relay;
pub mod respond;
pub mod server;
pub mod trace;
pub mod unary;
pub mod version;
pub mod view;
pub mod watch;

pub use gateway::{Gateway, Worker};
pub use identity::Identity;
