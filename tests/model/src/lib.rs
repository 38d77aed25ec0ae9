//! Worlds for the model checker: shards, proxies and drivers around the engines of `etcd-prism-ownership`, the same types
//! that ship. Every interleaving is explored, with crashes, pauses and messages that arrive late or not at all.
//!
//! Each world has *variants* that break one rule, by lying to an engine or to a shard. The tests assert that the checker
//! finds a counter-example for each of them, and none for the rules as they are.

pub mod changes;
pub mod explore;
pub mod first;
pub mod migrations;
pub mod reads;
pub mod report;
