//! What must hold between sections: names, owners of prefixes, one entry per cluster.

use crate::endpoint::Endpoint;
use crate::errors::Problems;
use crate::reader::{Located, closest};
use crate::{route, shard};

#[cfg(test)]
mod tests;

pub(crate) fn check(
    shards: &[shard::Draft],
    routes: &[route::Draft],
    own: &[Endpoint],
    problems: &mut Problems,
) {
    unique_names(problems, "shard", shards.iter().filter_map(|shard| shard.name.as_ref()));
    unique_names(problems, "route", routes.iter().filter_map(|route| route.name.as_ref()));
    one_entry_per_cluster(problems, shards);
    not_itself(problems, shards, own);
    known_shards(problems, shards, routes);
    one_default(problems, routes);
    one_owner_per_prefix(problems, routes);
}

fn unique_names<'a>(problems: &mut Problems, kind: &str, names: impl Iterator<Item = &'a Located<String>>) {
    let mut seen: Vec<&Located<String>> = Vec::new();
    for name in names {
        match seen.iter().find(|earlier| earlier.value == name.value) {
            Some(earlier) => problems.clash(
                name.span.clone(),
                format!("two {kind}s are called {:?}", name.value),
                "give each its own name",
                (earlier.span.clone(), "first here"),
            ),
            None => seen.push(name),
        }
    }
}

/// Two entries that are one cluster would each think that they own its revisions.
fn one_entry_per_cluster(problems: &mut Problems, shards: &[shard::Draft]) {
    for (i, shard) in shards.iter().enumerate() {
        for endpoint in &shard.endpoints {
            let earlier = shards[..i]
                .iter()
                .flat_map(|earlier| &earlier.endpoints)
                .find(|earlier| earlier.value.same_server(&endpoint.value));
            if let Some(earlier) = earlier {
                problems.clash(
                    endpoint.span.clone(),
                    format!("{} belongs to two shards", endpoint.value.url),
                    "each [[shard]] is an etcd cluster of its own; several routes may name the same shard",
                    (earlier.span.clone(), "first here"),
                );
            }
        }
    }
}

fn not_itself(problems: &mut Problems, shards: &[shard::Draft], own: &[Endpoint]) {
    for endpoint in shards.iter().flat_map(|shard| &shard.endpoints) {
        if own.iter().any(|own| own.same_server(&endpoint.value)) {
            problems.wrong(
                endpoint.span.clone(),
                format!("{} is this proxy's own address", endpoint.value.url),
                "write where etcd listens; it and the proxy need different ports on one host",
            );
        }
    }
}

fn known_shards(problems: &mut Problems, shards: &[shard::Draft], routes: &[route::Draft]) {
    let names: Vec<&str> =
        shards.iter().filter_map(|shard| shard.name.as_ref()).map(|name| name.value.as_str()).collect();
    for shard in routes.iter().filter_map(|route| route.shard.as_ref()) {
        if names.contains(&shard.value.as_str()) {
            continue;
        }
        let help = match closest(&shard.value, &names) {
            Some(name) => format!("did you mean {name:?}?"),
            None if names.is_empty() => "add a [[shard]] of that name".to_owned(),
            None => format!("the shards are: {}", names.join(", ")),
        };
        problems.absent(shard.span.clone(), format!("no shard is called {:?}", shard.value), help);
    }
}

fn one_default(problems: &mut Problems, routes: &[route::Draft]) {
    let mut defaults = routes.iter().filter(|route| route.is_default);
    let Some(first) = defaults.next() else {
        if let Some(last) = routes.last() {
            problems.absent(
                last.span.clone(),
                "no default route: keys that no prefix names would belong to nobody",
                "add one [[route]] without prefixes, such as name = \"rest\", shard = \"rest\"",
            );
        }
        return;
    };
    for route in defaults {
        // A lost `prefixes` line looks the same, so a syntax error may be behind this.
        problems.absent(
            route.span.clone(),
            "a second route without prefixes",
            "exactly one route is the default: give this one prefixes, or take it out",
        );
        if let Some(problem) = problems.list.last_mut() {
            problem.related = Some((first.span.clone(), "the first default route"));
        }
    }
}

/// Longer prefixes inside shorter ones are fine (the longest wins); the same one twice is not.
fn one_owner_per_prefix(problems: &mut Problems, routes: &[route::Draft]) {
    let mut seen: Vec<&Located<String>> = Vec::new();
    for prefix in routes.iter().flat_map(|route| &route.prefixes) {
        match seen.iter().find(|earlier| earlier.value == prefix.value) {
            Some(earlier) => problems.clash(
                prefix.span.clone(),
                format!("the prefix {:?} is listed twice", prefix.value),
                "each prefix belongs to exactly one route",
                (earlier.span.clone(), "first here"),
            ),
            None => seen.push(prefix),
        }
    }
}
