//! Provenance that was read, of all routes.

use std::hash::Hash;

use etcd_prism_routing::RouteId;
use etcd_prism_wire::translate::Lookup;
use metrics::{Counter, Gauge, counter, gauge};
use quick_cache::{Equivalent, Weighter};

/// Most bytes held.
const CAPACITY: u64 = 64 << 20;
/// What an entry takes besides its key, in bytes: itself, its place in the table and the allocation of its key.
const ENTRY: u64 = 160;
/// Entries that fit, for keys of 96 bytes.
const EXPECTED: usize = (CAPACITY / (ENTRY + 96)) as usize;

/// A key of a route in a reign.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Name {
    pub(super) route: RouteId,
    pub(super) reign: u64,
    pub(super) key: Box<[u8]>,
}

/// The same, borrowed. Its hash is that of a [`Name`].
#[derive(Hash)]
struct Borrowed<'a> {
    route: RouteId,
    reign: u64,
    key: &'a [u8],
}

impl Equivalent<Name> for Borrowed<'_> {
    fn equivalent(&self, name: &Name) -> bool {
        self.route == name.route && self.reign == name.reign && *self.key == *name.key
    }
}

#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<Name, Lookup> for Bytes {
    fn weight(&self, name: &Name, _: &Lookup) -> u64 {
        ENTRY + name.key.len() as u64
    }
}

/// Bounded in bytes; what is used least goes first. Holds numbers only, never values.
#[derive(Debug)]
pub struct Cache {
    entries: quick_cache::sync::Cache<Name, Lookup, Bytes>,
    bytes: Gauge,
    /// Requests to shards.
    pub(super) reads: Counter,
}

impl Default for Cache {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl Cache {
    fn with_capacity(bytes: u64) -> Self {
        Self {
            entries: quick_cache::sync::Cache::with_weighter(EXPECTED, bytes, Bytes),
            bytes: gauge!("etcd_prism_provenance_cache_bytes"),
            reads: counter!("etcd_prism_provenance_reads_total"),
        }
    }

    /// What is known of a key, in the reign with this number.
    #[inline]
    pub(super) fn get(&self, route: RouteId, reign: u64, key: &[u8]) -> Lookup {
        self.entries.get(&Borrowed { route, reign, key }).unwrap_or(Lookup::Unread)
    }

    pub(super) fn insert(&self, route: RouteId, reign: u64, key: &[u8], lookup: Lookup) {
        self.entries.insert(Name { route, reign, key: key.into() }, lookup);
        self.bytes.set(self.entries.weight() as f64);
    }

    /// What is known of a key, or what `read` finds. Whoever asks for the same key meanwhile waits for that.
    pub(super) async fn get_or_read<E>(
        &self,
        name: &Name,
        read: impl Future<Output = Result<Lookup, E>>,
    ) -> Result<Lookup, E> {
        let lookup = self.entries.get_or_insert_async(name, read).await;
        self.bytes.set(self.entries.weight() as f64);
        lookup
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: RouteId = RouteId(3);

    #[test]
    fn a_key_is_known_in_its_route_and_reign_only() {
        let cache = Cache::default();
        cache.insert(ROUTE, 2, b"/a", Lookup::Absent);
        assert_eq!(cache.get(ROUTE, 2, b"/a"), Lookup::Absent);
        for (route, reign, key) in [(ROUTE, 3, b"/a"), (RouteId(4), 2, b"/a"), (ROUTE, 2, b"/b")] {
            assert_eq!(cache.get(route, reign, key), Lookup::Unread);
        }
    }

    #[test]
    fn it_holds_no_more_than_it_may() {
        let cache = Cache::with_capacity(1 << 20);
        for i in 0..100_000u32 {
            cache.insert(ROUTE, 1, &[&i.to_be_bytes()[..], &[b'k'; 60]].concat(), Lookup::Absent);
        }
        assert!(cache.entries.weight() <= 1 << 20 && cache.entries.len() > 1000);
    }

    #[tokio::test]
    async fn many_that_ask_for_one_key_read_it_once() {
        let cache = std::sync::Arc::new(Cache::default());
        let reads = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let asks = (0..50).map(|_| {
            let (cache, reads) = (cache.clone(), reads.clone());
            async move {
                let name = Name { route: ROUTE, reign: 1, key: b"/a"[..].into() };
                let read = async {
                    reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    Ok::<_, std::convert::Infallible>(Lookup::Absent)
                };
                cache.get_or_read(&name, read).await
            }
        });
        let found = futures_util::future::join_all(asks).await;
        assert!(found.iter().all(|lookup| *lookup == Ok(Lookup::Absent)));
        assert_eq!(reads.load(std::sync::atomic::Ordering::Relaxed), 1);
    }
}
