//! One shard is full, stopped, without a leader or slow: no request of another route fails or takes a second for it, the
//! route concerned answers etcd's own errors in time, and everything goes on by itself when the shard does.

mod delayed;
mod full;
mod leaderless;
mod load;
mod samples;
mod start;
mod stopped;
mod trial;
mod watcher;

/// Times are compared here, so only one trial has the machine at a time.
static MACHINE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
