//! Which route and shard a key belongs to, worked out as plainly as possible: the tests' own opinion.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::request::prefix_end;

/// One route. Without prefixes it is the default route.
#[derive(Clone, Debug)]
pub struct Route {
    pub name: &'static str,
    pub prefixes: Vec<&'static str>,
    pub shard: &'static str,
}

/// All routes of a proxy.
#[derive(Clone, Debug)]
pub struct Layout {
    pub routes: Vec<Route>,
}

/// Where clients cannot reach.
pub const RESERVED: &[u8] = b"\xff";

impl Layout {
    /// Four routes, each on a shard of its own name.
    pub fn four_shards() -> Self {
        Self::new([("events", "events"), ("leases", "leases"), ("pods", "pods"), ("rest", "rest")])
    }

    /// The same four routes on one shard.
    pub fn single() -> Self {
        Self::new([("events", "one"), ("leases", "one"), ("pods", "one"), ("rest", "one")])
    }

    /// `pods` is to be moved; each shard that it may come to has a route of its own.
    pub fn movable() -> Self {
        let route =
            |name, prefixes: &[&'static str], shard| Route { name, prefixes: prefixes.to_vec(), shard };
        Self {
            routes: vec![
                route("pods", &["/pods/"], "a"),
                route("bees", &["/bees/"], "b"),
                route("cats", &["/cats/"], "c"),
                route("rest", &[], "rest"),
            ],
        }
    }

    fn new(shards: [(&'static str, &'static str); 4]) -> Self {
        let prefixes = |name| match name {
            "events" => vec!["/registry/events/"],
            "leases" => vec!["/registry/leases/", "/registry/masterleases/"],
            "pods" => vec!["/registry/pods/"],
            _ => vec![],
        };
        let routes = shards.map(|(name, shard)| Route { name, prefixes: prefixes(name), shard });
        Self { routes: routes.into() }
    }

    /// The shards' names, each once.
    pub fn shards(&self) -> BTreeSet<&'static str> {
        self.routes.iter().map(|route| route.shard).collect()
    }

    /// The shard of the route `name`.
    pub fn shard_of(&self, name: &str) -> &'static str {
        self.routes.iter().find(|route| route.name == name).expect("a route of this layout").shard
    }

    /// The route without prefixes.
    pub fn default_route(&self) -> &'static str {
        self.routes.iter().find(|route| route.prefixes.is_empty()).expect("a default route").name
    }

    /// The route that owns `key`.
    pub fn route_of(&self, key: &[u8]) -> &'static str {
        let owns = |route: &&Route| {
            route.prefixes.iter().any(|prefix| {
                let bare = prefix.trim_end_matches('/');
                key.starts_with(prefix.as_bytes()) || key == bare.as_bytes()
            })
        };
        self.routes.iter().find(owns).map_or_else(|| self.default_route(), |route| route.name)
    }

    /// The routes that own a key of `[key, range_end)`, in etcd's notation: an empty end means the key alone, `\0` every
    /// key from there on. An empty range belongs to the route of its key.
    pub fn routes_of(&self, key: &[u8], range_end: &[u8]) -> BTreeSet<&'static str> {
        if range_end.is_empty() {
            return [self.route_of(key)].into();
        }
        let end = if range_end == b"\0" || range_end > RESERVED { RESERVED } else { range_end };
        // Ownership changes only at these keys, so asking at each of them asks everywhere.
        let borders = self.routes.iter().flat_map(|route| &route.prefixes).flat_map(|prefix| {
            let bare = prefix.trim_end_matches('/').as_bytes();
            let after_bare = [bare, b"\0"].concat();
            [
                Bytes::from_static(bare),
                after_bare.into(),
                Bytes::from_static(prefix.as_bytes()),
                prefix_end(prefix.as_bytes()),
            ]
        });
        let mut routes: BTreeSet<_> = borders
            .filter(|border| key < &border[..] && &border[..] < end)
            .map(|border| self.route_of(&border))
            .collect();
        routes.insert(self.route_of(key));
        routes
    }

    /// The shards of `routes`.
    pub fn shards_of(&self, routes: &BTreeSet<&'static str>) -> BTreeSet<&'static str> {
        routes.iter().map(|route| self.shard_of(route)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_owns_its_prefix_and_the_bare_key_and_nothing_else() {
        let layout = Layout::four_shards();
        for (key, route) in [
            ("/registry/pods", "pods"),
            ("/registry/pods/", "pods"),
            ("/registry/pods/ns/a", "pods"),
            ("/registry/pods0", "rest"),
            ("/registry/pods-a", "rest"),
            ("/registry/podtemplates/ns/a", "rest"),
            ("/registry/masterleases/10.0.0.1", "leases"),
            ("compact_rev_key", "rest"),
        ] {
            assert_eq!(layout.route_of(key.as_bytes()), route, "{key}");
        }
    }

    #[test]
    fn a_range_names_every_route_that_it_touches() {
        let layout = Layout::four_shards();
        for (key, end, routes) in [
            ("/registry/pods/", "/registry/pods0", &["pods"][..]),
            ("/registry/pods/a", "/registry/pods/b", &["pods"]),
            ("/registry/pods", "", &["pods"]),
            ("/registry/pods", "/registry/pods0", &["pods", "rest"]),
            ("/registry/podtemplates/", "/registry/podtemplates0", &["rest"]),
            ("/registry/pod", "/registry/poe", &["pods", "rest"]),
            ("/registry/leases/", "/registry/masterleases0", &["leases", "rest"]),
            ("\0", "\0", &["events", "leases", "pods", "rest"]),
            ("/registry/q", "\0", &["rest"]),
            ("/registry/pods/b", "/registry/pods/a", &["pods"]),
        ] {
            let found: Vec<_> = layout.routes_of(key.as_bytes(), end.as_bytes()).into_iter().collect();
            assert_eq!(found, routes, "[{key}, {end})");
        }
    }
}
