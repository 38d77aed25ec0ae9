use etcd_prism_routing::{RouteSpec, ShardId};

use super::*;

/// Name, prefixes and intervals of a route.
type Expected<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a str)]);

fn check(routes: &[(&str, &[&str])], expected: &[Expected<'_>]) {
    let spec = |(name, prefixes): &(&str, &[&str])| RouteSpec {
        name: (*name).to_owned(),
        prefixes: prefixes.iter().map(|p| p.as_bytes().to_vec()).collect(),
        shard: ShardId(0),
    };
    let keyspace = Keyspace::new(&routes.iter().map(spec).collect::<Vec<_>>()).unwrap();
    let got = super::routes(&keyspace, |route| format!("shard {}", keyspace.shard_of(route).0));
    for (route, (name, prefixes, intervals)) in got.iter().zip(expected) {
        assert_eq!((route.name.as_str(), route.shard.as_str()), (*name, "shard 0"));
        assert_eq!(route.prefixes, *prefixes);
        let pairs: Vec<_> = route.intervals.iter().map(|i| (i.start.as_str(), i.end.as_str())).collect();
        assert_eq!(pairs, *intervals, "{name}");
        assert_eq!(route.default, *name == "rest");
    }
    assert_eq!(got.len(), expected.len());
}

#[test]
fn prefixes_bare_keys_and_holes() {
    check(
        &[("pods", &["/p/"]), ("system", &["/p/s/"]), ("rest", &[])],
        &[
            (
                "pods",
                &["/p/"],
                &[("/p", "/p\\x00"), ("/p/", "/p/s"), ("/p/s\\x00", "/p/s/"), ("/p/s0", "/p0")],
            ),
            ("system", &["/p/s/"], &[("/p/s", "/p/s\\x00"), ("/p/s/", "/p/s0")]),
            ("rest", &[], &[("", "/p"), ("/p\\x00", "/p/"), ("/p0", "\\xff")]),
        ],
    );
}

#[test]
fn neighbours_are_two_prefixes() {
    check(
        &[("a", &["/p/", "/p0/"]), ("rest", &[])],
        &[
            ("a", &["/p/", "/p0/"], &[("/p", "/p\\x00"), ("/p/", "/p0\\x00"), ("/p0/", "/p00")]),
            ("rest", &[], &[("", "/p"), ("/p\\x00", "/p/"), ("/p0\\x00", "/p0/"), ("/p00", "\\xff")]),
        ],
    );
}

#[test]
fn bytes_that_cannot_be_printed() {
    assert_eq!(escape(b"/a\\b\x00\xc3\xbc\xff~"), "/a\\\\b\\x00\\xc3\\xbc\\xff~");
}
