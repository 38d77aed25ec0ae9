//! What a request touches: its routes, and its pieces by where they are.

use etcd_prism_wire::KeyRange;
use smallvec::SmallVec;

use crate::keyspace::{Keyspace, RouteId};

/// A piece of a range that is in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a, P> {
    pub keys: KeyRange<'a>,
    pub place: P,
}

/// The routes that a request touches, gathered key by key, each once, in the order in which they were met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Footprint {
    routes: SmallVec<[RouteId; 2]>,
}

impl Footprint {
    /// Of one route.
    pub fn one(route: RouteId) -> Self {
        Self { routes: SmallVec::from_slice(&[route]) }
    }

    /// Of a range that is clamped to clients' keys.
    pub fn of(keyspace: &Keyspace, range: KeyRange<'_>) -> Self {
        let mut footprint = Self::default();
        footprint.add_range(keyspace, range);
        footprint
    }

    pub fn add(&mut self, route: RouteId) {
        if !self.routes.contains(&route) {
            self.routes.push(route);
        }
    }

    /// Adds the routes of a range that is clamped to clients' keys.
    pub fn add_range(&mut self, keyspace: &Keyspace, range: KeyRange<'_>) {
        if range.is_single() {
            self.add(keyspace.route_of(range.key));
        } else {
            keyspace.pieces(range).for_each(|(_, route)| self.add(route));
        }
    }

    /// A request that touches nothing belongs to the default route.
    #[must_use]
    pub fn or_default(mut self, keyspace: &Keyspace) -> Self {
        if self.routes.is_empty() {
            self.add(keyspace.default_route());
        }
        self
    }

    pub fn routes(&self) -> &[RouteId] {
        &self.routes
    }
}

impl Keyspace {
    /// The pieces of a range by place, in key order; neighbours in the same place are one piece. `place_of` tells where a
    /// route is: that may be elsewhere than the configuration says.
    pub fn segments<'a, P: PartialEq>(
        &'a self,
        range: KeyRange<'a>,
        mut place_of: impl FnMut(RouteId) -> P,
    ) -> Vec<Segment<'a, P>> {
        let mut out: Vec<Segment<'a, P>> = Vec::new();
        for (keys, route) in self.pieces(range) {
            let place = place_of(route);
            match out.last_mut() {
                Some(last) if last.place == place => last.keys.range_end = keys.range_end,
                _ => out.push(Segment { keys, place }),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RouteSpec, ShardId};

    fn keyspace() -> Keyspace {
        let spec = |name: &str, prefixes: &[&str], shard| RouteSpec {
            name: name.into(),
            prefixes: prefixes.iter().map(|p| p.as_bytes().to_vec()).collect(),
            shard: ShardId(shard),
        };
        Keyspace::new(&[
            spec("a", &["/a/"], 0),
            spec("b", &["/b/"], 0),
            spec("c", &["/c/"], 1),
            spec("rest", &[], 0),
        ])
        .unwrap()
    }

    #[test]
    fn the_routes_of_a_range_each_once() {
        let keyspace = keyspace();
        let routes = |keys| Footprint::of(&keyspace, keys).routes().iter().map(|r| r.0).collect::<Vec<_>>();
        assert_eq!(routes(KeyRange::single(b"/b/x")), [1]);
        assert_eq!(routes(KeyRange::new(b"/a/", b"/a0")), [0]);
        assert_eq!(routes(KeyRange::new(b"/b/", b"/c0")), [1, 3, 2]);
        assert_eq!(Footprint::default().or_default(&keyspace), Footprint::one(RouteId(3)));
    }

    #[test]
    fn neighbours_in_one_place_are_one_segment() {
        let keyspace = keyspace();
        let shards: Vec<_> = keyspace
            .segments(KeyRange::new(b"\0", b"\xff"), |route| keyspace.shard_of(route))
            .iter()
            .map(|s| (s.keys.key.to_vec(), s.place.0))
            .collect();
        assert_eq!(
            shards,
            vec![
                (b"\0".to_vec(), 0),
                (b"/c".to_vec(), 1),
                (b"/c\0".to_vec(), 0),
                (b"/c/".to_vec(), 1),
                (b"/c0".to_vec(), 0)
            ]
        );
    }
}
