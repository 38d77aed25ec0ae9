//! The proxy's own keys, the same on every shard.

use etcd_prism_wire::keys::KeyRange;

use crate::id::{ProxyId, ShardUid};

/// What every key of the proxy begins with.
pub const PREFIX: &[u8] = b"\xffprism/";
/// The end of the range over [`PREFIX`].
pub const PREFIX_END: &[u8] = b"\xffprism0";
/// [`crate::value::Identity`].
pub const IDENTITY: &[u8] = b"\xffprism/identity";
/// [`crate::value::Table`].
pub const TABLE: &[u8] = b"\xffprism/table";
/// [`crate::value::Samples`].
pub const SAMPLES: &[u8] = b"\xffprism/samples";
/// One byte, put at top level in wrapped writes that grow the store, so that a full shard refuses them.
pub const MARKER: &[u8] = b"\xffprism/marker";

const FENCE: &[u8] = b"\xffprism/fence/";
const FENCE_END: &[u8] = b"\xffprism/fence0";
const REIGN: &[u8] = b"\xffprism/reign/";
const REIGN_END: &[u8] = b"\xffprism/reign0";
const SESSION: &[u8] = b"\xffprism/session/";
const SESSION_END: &[u8] = b"\xffprism/session0";
const SEEN_PREFIX: &[u8] = b"\xffprism/seen/";
const SEEN_END: &[u8] = b"\xffprism/seen0";
const LEASE: &[u8] = b"\xffprism/lease/";
const LEASE_END: &[u8] = b"\xffprism/lease0";
const MIGRATION: &[u8] = b"\xffprism/migration/";
const MIGRATION_END: &[u8] = b"\xffprism/migration0";
const DRIVER: &[u8] = b"\xffprism/driver/";
const DRIVER_END: &[u8] = b"\xffprism/driver0";
const PROGRESS: &[u8] = b"\xffprism/progress/";
const PROVENANCE: &[u8] = b"\xffprism/prov/";

/// Every key of the proxy.
pub const ALL: KeyRange<'static> = KeyRange { key: PREFIX, range_end: PREFIX_END };
/// Every fence of a shard.
pub const FENCES: KeyRange<'static> = KeyRange { key: FENCE, range_end: FENCE_END };
/// Every reign record of a shard.
pub const REIGNS: KeyRange<'static> = KeyRange { key: REIGN, range_end: REIGN_END };
/// Every session at a shard.
pub const SESSIONS: KeyRange<'static> = KeyRange { key: SESSION, range_end: SESSION_END };
/// What is remembered of other shards that went back in time.
pub const SEEN: KeyRange<'static> = KeyRange { key: SEEN_PREFIX, range_end: SEEN_END };
/// Every lease record of a shard.
pub const LEASES: KeyRange<'static> = KeyRange { key: LEASE, range_end: LEASE_END };

/// Every migration's record on a shard.
pub const MIGRATIONS: KeyRange<'static> = KeyRange { key: MIGRATION, range_end: MIGRATION_END };

/// Who drives migrations to a shard.
pub const DRIVERS: KeyRange<'static> = KeyRange { key: DRIVER, range_end: DRIVER_END };

/// The fence of a route.
pub fn fence(route: &str) -> Vec<u8> {
    [FENCE, route.as_bytes()].concat()
}

/// The record of a route's reign `n`. Written with leading zeros, so that records sort by number.
pub fn reign(route: &str, n: u64) -> Vec<u8> {
    [REIGN, format!("{route}/{n:020}").as_bytes()].concat()
}

/// The session of a proxy.
pub fn session(proxy: ProxyId) -> Vec<u8> {
    [SESSION, proxy.to_string().as_bytes()].concat()
}

/// The record, on other shards, of a revision that a shard had before it went back in time.
pub fn seen(shard: ShardUid) -> Vec<u8> {
    [SEEN_PREFIX, shard.to_string().as_bytes()].concat()
}

/// The record of a client's lease.
pub fn lease(id: i64) -> Vec<u8> {
    [LEASE, format!("{id:016x}").as_bytes()].concat()
}

/// The record of a route's migration to this shard.
pub fn migration(route: &str) -> Vec<u8> {
    [MIGRATION, route.as_bytes()].concat()
}

/// Who drives a route's migration to this shard. Leased.
pub fn driver(route: &str) -> Vec<u8> {
    [DRIVER, route.as_bytes()].concat()
}

/// How far a route's standby on this shard is.
pub fn progress(route: &str) -> Vec<u8> {
    [PROGRESS, route.as_bytes()].concat()
}

/// What clients know of a key that was copied here: see [`crate::value::ProvenanceRecord`]. Below
/// `\xffprism/prov/<route>/` in the order of the keys.
pub fn provenance(route: &str, key: &[u8]) -> Vec<u8> {
    [PROVENANCE, route.as_bytes(), b"/", key].concat()
}

/// A key of the proxy, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key<'a> {
    Identity,
    Table,
    Samples,
    Marker,
    /// Of the route with this name.
    Fence(&'a str),
    Reign {
        route: &'a str,
        n: u64,
    },
    Session(ProxyId),
    /// Of the shard with this identity.
    Seen(ShardUid),
    /// Of the client lease with this id.
    Lease(i64),
    /// Of the route with this name.
    Migration(&'a str),
    /// Of the route with this name.
    Driver(&'a str),
}

/// Takes a key apart; `None` for clients' keys and for keys that only a newer proxy knows.
pub fn parse(key: &[u8]) -> Option<Key<'_>> {
    match key {
        IDENTITY => return Some(Key::Identity),
        TABLE => return Some(Key::Table),
        SAMPLES => return Some(Key::Samples),
        MARKER => return Some(Key::Marker),
        _ => {}
    }
    let after = |prefix| key.strip_prefix(prefix).and_then(|rest| std::str::from_utf8(rest).ok());
    let named = |route: &str| !route.is_empty() && !route.contains('/');
    if let Some(route) = after(FENCE) {
        return named(route).then_some(Key::Fence(route));
    }
    if let Some(route) = after(MIGRATION) {
        return named(route).then_some(Key::Migration(route));
    }
    if let Some(route) = after(DRIVER) {
        return named(route).then_some(Key::Driver(route));
    }
    if let Some((route, n)) = after(REIGN).and_then(|rest| rest.split_once('/')) {
        let digits = n.len() == 20 && n.bytes().all(|b| b.is_ascii_digit());
        return if digits { n.parse().ok().map(|n| Key::Reign { route, n }) } else { None };
    }
    if let Some(proxy) = after(SESSION) {
        return proxy.parse().ok().map(Key::Session);
    }
    if let Some(shard) = after(SEEN_PREFIX) {
        return shard.parse().ok().map(Key::Seen);
    }
    let id = after(LEASE).filter(|id| id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()))?;
    i64::from_str_radix(id, 16).ok().map(Key::Lease)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back() {
        let proxy = ProxyId(7);
        for (key, parsed) in [
            (IDENTITY.to_vec(), Key::Identity),
            (TABLE.to_vec(), Key::Table),
            (SAMPLES.to_vec(), Key::Samples),
            (MARKER.to_vec(), Key::Marker),
            (fence("pods"), Key::Fence("pods")),
            (reign("pods", 12), Key::Reign { route: "pods", n: 12 }),
            (session(proxy), Key::Session(proxy)),
            (seen(ShardUid(8)), Key::Seen(ShardUid(8))),
            (lease(0x7fff_ffff_ffff_ffff), Key::Lease(i64::MAX)),
            (migration("pods"), Key::Migration("pods")),
            (driver("pods"), Key::Driver("pods")),
        ] {
            assert_eq!(parse(&key), Some(parsed));
            assert!(ALL.contains(&key));
            assert!(KeyRange::single(&key).touches_reserved());
        }
        assert!(FENCES.contains(&fence("pods")) && !FENCES.contains(&reign("pods", 1)));
        assert!(REIGNS.contains(&reign("pods", 1)) && SESSIONS.contains(&session(proxy)));
        assert!(LEASES.contains(&lease(1)) && MIGRATIONS.contains(&migration("pods")));
    }

    #[test]
    fn other_keys_are_not_ours() {
        for key in [
            &b"/registry/pods"[..],
            b"\xffprism/fence/",
            b"\xffprism/fence/a/b",
            b"\xffprism/reign/pods/1",
            b"\xffprism/session/xyz",
            b"\xffprism/lease/1",
            b"\xffprism/driver/a/b",
            b"\xffprism/later",
        ] {
            assert_eq!(parse(key), None, "{key:?}");
        }
    }

    #[test]
    fn reigns_sort_by_number() {
        assert!(reign("pods", 9) < reign("pods", 10));
    }
}
