//! Where a request goes: to one shard, or over several.

use etcd_prism_wire::KeyRange;

use crate::keyspace::{Keyspace, RouteId, ShardId};

/// Where a range or a transaction lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// One shard serves it whole. `route` is the route of its first key; `single_route` tells whether it is the only one.
    One { shard: ShardId, route: RouteId, single_route: bool },
    /// More than one shard would be needed. The routes touched, by id.
    Spans(Vec<RouteId>),
}

/// A piece of a range on one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    pub keys: KeyRange<'a>,
    pub shard: ShardId,
}

/// The routes that a request touches, gathered key by key.
#[derive(Debug, Clone, Default)]
pub struct Footprint {
    routes: Vec<RouteId>,
}

impl Footprint {
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

    /// Where the request goes; a request that touches nothing goes home.
    pub fn placement(mut self, keyspace: &Keyspace) -> Placement {
        let route = self.routes.first().copied().unwrap_or(keyspace.default_route());
        let shard = keyspace.shard_of(route);
        if self.routes.iter().all(|r| keyspace.shard_of(*r) == shard) {
            return Placement::One { shard, route, single_route: self.routes.len() <= 1 };
        }
        self.routes.sort_unstable();
        Placement::Spans(self.routes)
    }
}

impl Keyspace {
    /// Where a range, clamped to clients' keys, lies.
    #[inline]
    pub fn place(&self, range: KeyRange<'_>) -> Placement {
        if range.is_single() {
            let route = self.route_of(range.key);
            return Placement::One { shard: self.shard_of(route), route, single_route: true };
        }
        let mut footprint = Footprint::default();
        footprint.add_range(self, range);
        footprint.placement(self)
    }

    /// The pieces of a range by shard, in key order; neighbours on the same shard are one piece.
    pub fn segments<'a>(&'a self, range: KeyRange<'a>) -> Vec<Segment<'a>> {
        let mut out: Vec<Segment<'a>> = Vec::new();
        for (keys, route) in self.pieces(range) {
            let shard = self.shard_of(route);
            match out.last_mut() {
                Some(last) if last.shard == shard => last.keys.range_end = keys.range_end,
                _ => out.push(Segment { keys, shard }),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RouteSpec;

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
    fn places() {
        let keyspace = keyspace();
        let one =
            |route, single_route| Placement::One { shard: ShardId(0), route: RouteId(route), single_route };
        assert_eq!(keyspace.place(KeyRange::new(b"/a/", b"/a0")), one(0, true));
        assert_eq!(keyspace.place(KeyRange::new(b"/a/", b"/b0")), one(0, false));
        assert_eq!(
            keyspace.place(KeyRange::new(b"/b/", b"/c0")),
            Placement::Spans(vec![RouteId(1), RouteId(2), RouteId(3)])
        );
        assert_eq!(Footprint::default().placement(&keyspace), one(3, true));
    }

    #[test]
    fn neighbours_on_one_shard_are_one_segment() {
        let keyspace = keyspace();
        let shards: Vec<_> = keyspace
            .segments(KeyRange::new(b"\0", b"\xff"))
            .iter()
            .map(|s| (s.keys.key.to_vec(), s.shard.0))
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
