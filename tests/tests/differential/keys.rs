//! The keys of a trace: few, so that calls meet, and close to every border between routes.

use bytes::Bytes;
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::request::prefix_end;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// A key, or `[key, range_end)` in etcd's notation.
pub(crate) type Interval = (Bytes, Bytes);

#[derive(Debug)]
pub(crate) struct Keys {
    layout: Layout,
    // One pool for each route, in the layout's order.
    pools: Vec<Vec<Bytes>>,
}

impl Keys {
    pub(crate) fn new(layout: &Layout) -> Self {
        let pools = layout.routes.iter().map(|route| pool(&route.prefixes)).collect();
        Self { layout: layout.clone(), pools }
    }

    /// The name of a random route.
    pub(crate) fn route(&self, rng: &mut StdRng) -> &'static str {
        self.layout.routes.choose(rng).expect("a layout has routes").name
    }

    fn pool(&self, route: &str) -> &[Bytes] {
        let index = self.layout.routes.iter().position(|known| known.name == route);
        &self.pools[index.expect("a route of the layout")]
    }

    pub(crate) fn key(&self, rng: &mut StdRng, route: &str) -> Bytes {
        self.pool(route).choose(rng).expect("a pool has keys").clone()
    }

    /// A key or range that touches one shard, that of `route`.
    pub(crate) fn interval(&self, rng: &mut StdRng, route: &str) -> Interval {
        loop {
            let interval = self.any_interval(rng, route);
            let routes = self.layout.routes_of(&interval.0, &interval.1);
            if self.layout.shards_of(&routes).len() == 1 {
                return interval;
            }
        }
    }

    /// A range over several routes.
    pub(crate) fn wide_interval(&self, rng: &mut StdRng) -> Interval {
        match rng.random_range(0..4) {
            0 => (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
            1 => (Bytes::from_static(b"/registry/"), prefix_end(b"/registry/")),
            2 => {
                let route = self.route(rng);
                (self.key(rng, route), Bytes::from_static(b"\0"))
            }
            _ => {
                let [one, other] = [0; 2].map(|_| {
                    let route = self.route(rng);
                    self.key(rng, route)
                });
                (one.clone().min(other.clone()), one.max(other))
            }
        }
    }

    fn any_interval(&self, rng: &mut StdRng, route: &str) -> Interval {
        let key = self.key(rng, route);
        match rng.random_range(0..10) {
            0..4 => (key, Bytes::new()),
            4..7 => {
                let prefix = self.prefix(rng, route);
                let end = prefix_end(&prefix);
                (prefix, end)
            }
            // Half of these are empty ranges.
            7..9 => (key, self.key(rng, route)),
            _ => (key, Bytes::from_static(b"\0")),
        }
    }

    /// A route's prefix or a namespace below it.
    pub(crate) fn prefix(&self, rng: &mut StdRng, route: &str) -> Bytes {
        let route =
            self.layout.routes.iter().find(|known| known.name == route).expect("a route of the layout");
        let prefix = route.prefixes.choose(rng).copied().unwrap_or("/registry/configmaps/");
        let namespace = ["", "ns1/", "ns2/"].choose(rng).expect("three choices");
        [prefix, namespace].concat().into()
    }
}

fn pool(prefixes: &[&str]) -> Vec<Bytes> {
    let mut keys = Vec::new();
    let names = ["ns1/a", "ns1/b", "ns1/c", "ns2/a", "ns2/b"];
    for prefix in prefixes {
        keys.push(prefix.trim_end_matches('/').to_owned().into());
        keys.push(Bytes::copy_from_slice(prefix.as_bytes()));
        keys.extend(names.map(|name| Bytes::from([prefix, name].concat())));
        keys.push([prefix.as_bytes(), b"ns2/\xff\x00"].concat().into());
    }
    if prefixes.is_empty() {
        keys.extend(names.map(|name| Bytes::from(["/registry/configmaps/", name].concat())));
        // Neighbours of the other routes' borders, and the ends of what clients can reach.
        let others: [&[u8]; 9] = [
            b"/registry/pods0",
            b"/registry/pods-a",
            b"/registry/podtemplates/ns1/a",
            b"/registry/leases\x00",
            b"/registry/health",
            b"health",
            b"\x00",
            b"/",
            b"\xfe\xff",
        ];
        keys.extend(others.map(Bytes::from_static));
    }
    keys
}
