//! What an operator may choose.

use std::time::Duration;

use crate::clock::Clock;

/// The choices.
#[derive(Debug, Clone)]
pub struct Options {
    /// False: writes are not fenced and reads need no session.
    pub fences: bool,
    /// TTL of the sessions, in whole seconds.
    pub session_ttl: Duration,
    /// The proxy's name, for people.
    pub name: String,
    /// Where clients reach the proxy, for people.
    pub address: String,
    pub clock: Clock,
}

impl Options {
    /// The TTL as etcd counts it.
    pub(crate) fn ttl_seconds(&self) -> i64 {
        i64::try_from(self.session_ttl.as_secs().max(1)).unwrap_or(i64::MAX)
    }

    pub(crate) fn ttl_nanos(&self) -> u64 {
        self.ttl_seconds().unsigned_abs().saturating_mul(1_000_000_000)
    }

    /// Taken off every TTL: how far a shard's lease clock may run ahead of ours within one TTL.
    pub(crate) fn margin_nanos(&self) -> u64 {
        const LEAST: u64 = 300_000_000;
        (self.ttl_nanos() / 10).max(LEAST)
    }

    /// Longest wait for one answer of a shard: short enough for another attempt within the TTL.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_nanos(self.ttl_nanos() / 3).min(Duration::from_secs(3))
    }
}

/// The machine's name with a few random digits: what a proxy is called unless told otherwise.
pub fn default_name() -> String {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    format!("{host}-{:04x}", rand::random::<u16>())
}
