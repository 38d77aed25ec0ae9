//! Keys as text.

use std::fmt::Write as _;

use etcd_prism_routing::{Keyspace, RouteId};
use etcd_prism_wire::keys::prefix_end;

use crate::report::{Interval, Route};

/// The routes with what they own.
pub(crate) fn routes(keyspace: &Keyspace, shard_name: impl Fn(RouteId) -> String) -> Vec<Route> {
    let route = |(id, route): (RouteId, &etcd_prism_routing::Route)| {
        let own: Vec<_> = keyspace.intervals().filter(|(.., owner)| *owner == id).collect();
        let default = id == keyspace.default_route();
        let prefixes =
            if default { Vec::new() } else { prefixes(own.iter().map(|(start, end, _)| (*start, *end))) };
        Route {
            name: route.name.clone(),
            shard: shard_name(id),
            default,
            prefixes,
            intervals: own
                .iter()
                .map(|(start, end, _)| Interval { start: escape(start), end: escape(end) })
                .collect(),
        }
    };
    keyspace.routes().map(route).collect()
}

/// The prefixes that intervals are made of: each begins where one of them does.
fn prefixes<'a>(intervals: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<String> {
    let mut out: Vec<&[u8]> = Vec::new();
    for (start, end) in intervals {
        // What follows a hole belongs to the prefix before it; a bare key is not a prefix.
        let inside = out.last().is_some_and(|p| start < &prefix_end(p)[..]);
        let one_key = end.strip_prefix(start) == Some(b"\0");
        if !inside && start.ends_with(b"/") && !one_key {
            out.push(start);
        }
    }
    out.into_iter().map(escape).collect()
}

fn escape(key: &[u8]) -> String {
    let mut out = String::with_capacity(key.len());
    for &byte in key {
        match byte {
            b'\\' => out.push_str("\\\\"),
            0x20..0x7f => out.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(out, "\\x{byte:02x}")),
        }
    }
    out
}

#[cfg(test)]
mod tests;
