//! What changes between two layouts, interval by interval.

use std::collections::BTreeSet;
use std::fmt;

use super::{Interval, Layout, LayoutRoute};
use crate::id::ShardUid;

/// Where keys live: the route and its shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub route: String,
    pub shard: ShardUid,
}

/// An interval that gets another route or another shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Moved {
    pub interval: Interval,
    pub from: Place,
    pub to: Place,
}

impl Moved {
    /// Whether the keys would have to go to another shard.
    pub fn changes_shard(&self) -> bool {
        self.from.shard != self.to.shard
    }
}

/// What happens to a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RouteChange {
    Added(Place),
    Removed(Place),
    /// It owns other keys than before, or lives elsewhere.
    Changed {
        from: Place,
        to: Place,
        /// Whether it owns other keys.
        redefined: bool,
    },
}

impl RouteChange {
    pub fn route(&self) -> &str {
        match self {
            Self::Added(place) | Self::Removed(place) | Self::Changed { from: place, .. } => &place.route,
        }
    }
}

/// The way from one layout to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Diff {
    /// By name.
    pub routes: Vec<RouteChange>,
    /// In key order.
    pub moved: Vec<Moved>,
}

impl Diff {
    pub fn new(from: &Layout, to: &Layout) -> Self {
        Self { routes: routes(from, to), moved: moved(from, to) }
    }

    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// The diff as text, a line for each route and for each interval. `name` names a shard.
    pub fn describe<'a>(&'a self, name: &'a dyn Fn(ShardUid) -> String) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| self.write(f, name))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, name: &dyn Fn(ShardUid) -> String) -> fmt::Result {
        for change in &self.routes {
            match change {
                RouteChange::Added(to) => writeln!(f, "+ route {} on {}", to.route, name(to.shard))?,
                RouteChange::Removed(from) => writeln!(f, "- route {} on {}", from.route, name(from.shard))?,
                RouteChange::Changed { from, to, redefined } => {
                    write!(f, "~ route {} on {}", from.route, name(from.shard))?;
                    if from.shard != to.shard {
                        write!(f, " → {}", name(to.shard))?;
                    }
                    writeln!(f, "{}", if *redefined { ": owns other keys" } else { "" })?;
                }
            }
        }
        for Moved { interval: (start, end), from, to } in &self.moved {
            let (start, end) = (start.escape_ascii(), end.escape_ascii());
            let (old, new) = (name(from.shard), name(to.shard));
            writeln!(f, "  [{start}, {end}): {} on {old} → {} on {new}", from.route, to.route)?;
        }
        Ok(())
    }
}

fn place(route: &LayoutRoute) -> Place {
    Place { route: route.name.clone(), shard: route.shard }
}

fn routes(from: &Layout, to: &Layout) -> Vec<RouteChange> {
    let names: BTreeSet<&str> = from.routes().chain(to.routes()).map(|r| &r.name[..]).collect();
    let change = |name: &str| match (from.route(name), to.route(name)) {
        (None, Some(new)) => Some(RouteChange::Added(place(new))),
        (Some(old), None) => Some(RouteChange::Removed(place(old))),
        (Some(old), Some(new)) if old != new => {
            let redefined = old.definition != new.definition;
            Some(RouteChange::Changed { from: place(old), to: place(new), redefined })
        }
        _ => None,
    };
    names.into_iter().filter_map(change).collect()
}

fn moved(from: &Layout, to: &Layout) -> Vec<Moved> {
    let owners = |layout: &Layout| {
        let pieces =
            layout.routes().flat_map(|r| r.definition.intervals.iter().map(move |i| (i.clone(), place(r))));
        let mut pieces: Vec<(Interval, Place)> = pieces.collect();
        pieces.sort();
        pieces
    };
    let (old, new) = (owners(from), owners(to));
    let mut out: Vec<Moved> = Vec::new();
    let (mut i, mut j) = (0, 0);
    // Both cover the same keys without gaps, so walking them side by side meets every elementary interval.
    while let (Some(((a, a_end), was)), Some(((b, b_end), is))) = (old.get(i), new.get(j)) {
        let (start, end) = (a.max(b), a_end.min(b_end));
        if start < end && was != is {
            match out.last_mut() {
                Some(last) if last.interval.1 == *start && last.from == *was && last.to == *is => {
                    last.interval.1 = end.clone();
                }
                _ => out.push(Moved {
                    interval: (start.clone(), end.clone()),
                    from: was.clone(),
                    to: is.clone(),
                }),
            }
        }
        let (next_i, next_j) = (a_end <= b_end, b_end <= a_end);
        i += usize::from(next_i);
        j += usize::from(next_j);
    }
    out
}
