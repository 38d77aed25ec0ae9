use crate::testing::{LISTEN, ROUTE, SHARD, check, good};

fn shard(name: &str, endpoint: &str) -> String {
    format!("[[shard]]\nname = \"{name}\"\nendpoints = [\"{endpoint}\"]\n")
}

fn route(name: &str, prefix: &str) -> String {
    format!("[[route]]\nname = \"{name}\"\nshard = \"rest\"\nprefixes = [\"{prefix}\"]\n")
}

/// The prelude is 8 lines long: `[listen]`, a shard and the default route, both called `rest`.
fn file(more: &[String]) -> String {
    format!("{LISTEN}{SHARD}{ROUTE}{}", more.concat())
}

#[test]
fn names_are_unique_per_kind() {
    check(
        &file(&[shard("rest", "http://b:1")]),
        &["10:8 two shards are called \"rest\"; give each its own name"],
    );
    check(
        &file(&[route("a", "/a/"), route("a", "/b/")]),
        &["14:8 two routes are called \"a\"; give each its own name"],
    );
    check(&file(&[shard("a", "http://b:1"), route("a", "/a/")]), &[]);
}

#[test]
fn one_shard_entry_per_cluster() {
    let two = |a, b| file(&[shard("a", a), shard("b", b)]);
    check(&two("http://h:1", "http://H:1"), &["14:14 http://h:1 belongs to two shards; each [[shard]] is"]);
    check(
        &two("http://127.0.0.1:1", "http://localhost:1"),
        &["14:14 http://localhost:1 belongs to two shards"],
    );
    check(&two("http://h:1", "http://h:2"), &[]);
}

#[test]
fn no_shard_is_the_proxy() {
    check(
        &file(&[shard("a", "http://localhost:2379")]),
        &["11:14 http://localhost:2379 is this proxy's own address; write"],
    );
    let advertised = file(&[]).replace("[[shard]]", "advertise = [\"http://10.0.0.1:2379\"]\n[[shard]]");
    check(&advertised, &["6:14 http://10.0.0.1:2379 is this proxy's own address"]);
}

#[test]
fn routes_name_known_shards() {
    let to = |shard: &str| file(&[route("a", "/a/").replace("\"rest\"", &format!("\"{shard}\""))]);
    check(&to("resd"), &["11:9 no shard is called \"resd\"; did you mean \"rest\"?"]);
    check(&to("pods"), &["11:9 no shard is called \"pods\"; the shards are: rest"]);
}

#[test]
fn exactly_one_default_route() {
    let none = file(&[]).replace(ROUTE, &(route("a", "/a/") + &route("b", "/b/")));
    check(&none, &["10:1 no default route: ~; add one [[route]] without prefixes"]);
    check(
        &file(&[ROUTE.replace("\"rest\"\ns", "\"other\"\ns")]),
        &["9:1 a second route without prefixes; exactly one route is the default"],
    );
    check(&format!("{LISTEN}{SHARD}"), &["1:1 the file lacks route; add a [[route]]"]);
}

#[test]
fn a_prefix_has_one_owner() {
    check(
        &file(&[route("a", "/a/"), route("b", "/a/")]),
        &["16:13 the prefix \"/a/\" is listed twice; each prefix"],
    );
    check(&file(&[route("a", "/a/\", \"/a/")]), &["12:20 the prefix \"/a/\" is listed twice"]);
}

#[test]
fn a_longer_prefix_may_lie_in_a_shorter_one() {
    let config = good(&file(&[route("pods", "/registry/pods/"), route("ci", "/registry/pods/ci/")]));
    assert_eq!(config.routes.len(), 3);
    assert_eq!(config.home().map(|home| home.name.as_str()), Some("rest"));
}
