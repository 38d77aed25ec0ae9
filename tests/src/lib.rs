//! Helpers for whole-system tests: real etcd processes, the real proxy, clients, and the checks both must pass.
//!
//! Everything a test starts listens on loopback ports held for that test, keeps its data in a scratch folder, and dies
//! with the test. A helper that cannot do its job panics, which fails the test and shows the logs.

pub mod auth;
pub mod client;
pub mod delay;
pub mod etcd;
pub mod etcdctl;
pub mod fake_shard;
pub mod history;
pub mod http;
pub mod kube;
pub mod layout;
pub mod migration;
pub mod oracle;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod relay;
pub mod request;
pub mod scratch;
pub mod tools;
pub mod topology;
pub mod tripwire;
pub mod wait;
pub mod watch_check;
pub mod watch_stream;
