//! The table from keys to routes.

use etcd_prism_wire::keys::{self, CLIENT_END, KeyRange, RESERVED};

/// Index of a shard, in the order of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// Index of a route, in the order of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u16);

/// What a route is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSpec {
    pub name: String,
    /// Each ends in `/`; none for the default route. A prefix also owns its bare key, the prefix without that slash: an
    /// API server reads the bare key only to learn the revision of the resource.
    pub prefixes: Vec<Vec<u8>>,
    pub shard: ShardId,
}

/// A route of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub name: String,
    pub shard: ShardId,
}

/// Why a table cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyspaceError {
    #[error("exactly one route must have no prefixes (the default route), found {0}")]
    Default(usize),
    #[error("route {0}: prefix {1:?} must end in '/'")]
    Slash(String, String),
    #[error("route {0}: prefix {1:?} begins with a reserved byte (0x00 or 0xFF)")]
    Reserved(String, String),
    #[error("prefix {0:?} is given twice")]
    Twice(String),
    #[error("more than {0} routes")]
    TooMany(usize),
}

/// The keyspace of clients (everything below the reserved byte) cut into half-open intervals, each owned by one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyspace {
    /// `(start, route)` by ascending start; the first start is the empty key. An interval ends where the next one starts.
    intervals: Vec<(Box<[u8]>, RouteId)>,
    routes: Vec<Route>,
    default: RouteId,
}

impl Keyspace {
    pub fn new(specs: &[RouteSpec]) -> Result<Self, KeyspaceError> {
        if specs.len() > usize::from(u16::MAX) {
            return Err(KeyspaceError::TooMany(usize::from(u16::MAX)));
        }
        let defaults: Vec<usize> = (0..specs.len()).filter(|&i| specs[i].prefixes.is_empty()).collect();
        let &[default] = &defaults[..] else { return Err(KeyspaceError::Default(defaults.len())) };
        let default = RouteId(default as u16);
        let owned = owned_intervals(specs)?;

        let mut borders: Vec<&[u8]> = vec![b""];
        borders.extend(owned.iter().flat_map(|o| [&o.start[..], &o.end[..]]));
        borders.sort_unstable();
        borders.dedup();
        let mut intervals: Vec<(Box<[u8]>, RouteId)> = Vec::new();
        for start in borders.into_iter().filter(|b| *b < CLIENT_END) {
            // Every key of an elementary interval has the owner of its first key: the longest name that covers it.
            let owner =
                owned.iter().filter(|o| &o.start[..] <= start && start < &o.end[..]).max_by_key(|o| o.depth);
            let route = owner.map_or(default, |o| o.route);
            if intervals.last().is_none_or(|(_, last)| *last != route) {
                intervals.push((start.into(), route));
            }
        }
        let routes = specs.iter().map(|s| Route { name: s.name.clone(), shard: s.shard }).collect();
        Ok(Self { intervals, routes, default })
    }

    /// The route that owns `key`. Reserved keys belong to no client; they are placed with the default route.
    #[inline]
    pub fn route_of(&self, key: &[u8]) -> RouteId {
        if key.first() == Some(&RESERVED) {
            return self.default;
        }
        self.intervals[self.interval_at(key)].1
    }

    pub fn route(&self, id: RouteId) -> &Route {
        &self.routes[usize::from(id.0)]
    }

    pub fn shard_of(&self, id: RouteId) -> ShardId {
        self.route(id).shard
    }

    pub fn routes(&self) -> impl Iterator<Item = (RouteId, &Route)> {
        self.routes.iter().enumerate().map(|(i, r)| (RouteId(i as u16), r))
    }

    /// The route of everything that no prefix names.
    pub fn default_route(&self) -> RouteId {
        self.default
    }

    /// The shard of the default route, called home: it owns `compact_rev_key` and `/registry/health`.
    pub fn home(&self) -> ShardId {
        self.shard_of(self.default)
    }

    /// The pieces of a range by owner, in key order. The range must be clamped to clients' keys. A range that holds no key
    /// is one piece, placed by its first key.
    pub fn pieces<'a>(&'a self, range: KeyRange<'a>) -> impl Iterator<Item = (KeyRange<'a>, RouteId)> + 'a {
        let first = self.interval_at(range.key);
        let end: &[u8] = if range.is_open() { CLIENT_END } else { range.range_end };
        let single = range.is_single();
        (first..self.intervals.len())
            .take_while(move |&i| i == first || (!single && &*self.intervals[i].0 < end))
            .map(move |i| {
                let (start, route) = &self.intervals[i];
                if single {
                    return (range, *route);
                }
                let key = if i == first { range.key } else { &start[..] };
                let next = self.intervals.get(i + 1).map_or(CLIENT_END, |(start, _)| &start[..]);
                (KeyRange::new(key, end.min(next)), *route)
            })
    }

    /// The intervals with their owners, for display: `(start, end, route)`.
    pub fn intervals(&self) -> impl Iterator<Item = (&[u8], &[u8], RouteId)> {
        self.intervals.iter().enumerate().map(|(i, (start, route))| {
            let end = self.intervals.get(i + 1).map_or(CLIENT_END, |(start, _)| &start[..]);
            (&start[..], end, *route)
        })
    }

    #[inline]
    fn interval_at(&self, key: &[u8]) -> usize {
        // The first interval starts at the empty key, so at least one start is not above any key.
        self.intervals.partition_point(|(start, _)| &start[..] <= key) - 1
    }
}

/// Keys claimed by a prefix or by its bare key.
struct Owned {
    start: Vec<u8>,
    end: Vec<u8>,
    /// The longer name wins; between equals the bare key, which is the exact one.
    depth: usize,
    route: RouteId,
}

fn owned_intervals(specs: &[RouteSpec]) -> Result<Vec<Owned>, KeyspaceError> {
    let mut out: Vec<Owned> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for (i, spec) in specs.iter().enumerate() {
        for prefix in &spec.prefixes {
            let text = || String::from_utf8_lossy(prefix).into_owned();
            let Some((b'/', bare)) = prefix.split_last() else {
                return Err(KeyspaceError::Slash(spec.name.clone(), text()));
            };
            // A border at "\0" could not be written as a range_end: there it means "no border".
            if matches!(prefix.first(), Some(&(0 | RESERVED))) {
                return Err(KeyspaceError::Reserved(spec.name.clone(), text()));
            }
            if !seen.insert(prefix) {
                return Err(KeyspaceError::Twice(text()));
            }
            let route = RouteId(i as u16);
            let end = keys::prefix_end(prefix);
            out.push(Owned { start: prefix.clone(), end, depth: 2 * prefix.len(), route });
            if !bare.is_empty() {
                let mut end = bare.to_vec();
                end.push(0);
                out.push(Owned { start: bare.to_vec(), end, depth: 2 * bare.len() + 1, route });
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
