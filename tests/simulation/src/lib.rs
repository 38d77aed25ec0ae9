//! Whole proxies over simulated shards, on simulated time and a simulated network.
//!
//! A seed decides everything that happens to a world of two shards, two proxies, their clients and an operator: how long each
//! message takes, what is cut off, what crashes, which verbs come when. The proxies are the real thing from the connection
//! of a client to that of a shard: frontend, ownership, migrations. Only sockets, time and the shards are not.
//!
//! `SEEDS=10000 cargo test -p etcd-prism-simulation --test seeds` runs many; `SEED=7 …` runs one, and prints what happened.

pub mod check;
pub mod clients;
pub mod etcd;
pub mod faults;
pub mod net;
pub mod operator;
pub mod proxy;
pub mod time;
pub mod truth;
pub mod watching;
pub mod world;
