//! Real API servers, their clients, and load on them.

pub mod api;
pub mod apiserver;
pub mod counter;
pub mod credentials;
pub mod election;
pub mod informer;
pub mod kubectl;
pub mod load;
mod log;
pub mod metrics;
pub mod minor;
pub mod objects;
pub mod storage;
pub mod watch;
