use super::*;
use proptest::prelude::*;

fn spec(name: &str, prefixes: &[&str], shard: u16) -> RouteSpec {
    RouteSpec {
        name: name.to_owned(),
        prefixes: prefixes.iter().map(|p| p.as_bytes().to_vec()).collect(),
        shard: ShardId(shard),
    }
}

fn kubernetes() -> Keyspace {
    Keyspace::new(&[
        spec("events", &["/registry/events/"], 0),
        spec("leases", &["/registry/leases/"], 1),
        spec("pods", &["/registry/pods/", "/registry/pods/kube-system/"], 2),
        spec("system", &["/registry/events/kube-system/"], 3),
        spec("rest", &[], 3),
    ])
    .unwrap()
}

#[test]
fn keys_find_their_route() {
    let keyspace = kubernetes();
    let check = |key: &str, route: &str| {
        assert_eq!(keyspace.route(keyspace.route_of(key.as_bytes())).name, route, "{key}");
    };
    check("/registry/pods/default/a", "pods");
    check("/registry/pods/kube-system/a", "pods");
    check("/registry/pods", "pods");
    check("/registry/podtemplates/default/a", "rest");
    check("/registry/pods0", "rest");
    check("/registry/pods.", "rest");
    check("/registry/leases/x", "leases");
    check("/registry/events/default/e", "events");
    check("/registry/events/kube-system/e", "system");
    check("/registry/events/kube-system", "system");
    check("compact_rev_key", "rest");
    check("/registry/health", "rest");
    check("", "rest");
    check("\u{7f}", "rest");
}

#[test]
fn ranges_are_cut_at_borders() {
    let keyspace = kubernetes();
    let check = |key: &str, end: &str, expect: &[(&str, &str, &str)]| {
        let got: Vec<_> = keyspace
            .pieces(KeyRange::new(key.as_bytes(), end.as_bytes()))
            .map(|(r, route)| {
                let text = |b| String::from_utf8_lossy(b).into_owned();
                (text(r.key), text(r.range_end), keyspace.route(route).name.clone())
            })
            .collect();
        let expect: Vec<_> =
            expect.iter().map(|(a, b, c)| (a.to_string(), b.to_string(), c.to_string())).collect();
        assert_eq!(got, expect, "{key} {end}");
    };
    check("/registry/pods/", "/registry/pods0", &[("/registry/pods/", "/registry/pods0", "pods")]);
    check("/registry/pods", "", &[("/registry/pods", "", "pods")]);
    check(
        "/registry/pods",
        "/registry/pods0",
        &[
            ("/registry/pods", "/registry/pods\0", "pods"),
            ("/registry/pods\0", "/registry/pods/", "rest"),
            ("/registry/pods/", "/registry/pods0", "pods"),
        ],
    );
    // Empty ranges are one piece.
    check("/registry/pods0", "/registry/pods/", &[("/registry/pods0", "/registry/pods/", "rest")]);
}

#[test]
fn tables_that_cannot_be() {
    let check = |specs: &[RouteSpec], expect: KeyspaceError| assert_eq!(Keyspace::new(specs), Err(expect));
    check(&[], KeyspaceError::Default(0));
    check(&[spec("a", &[], 0), spec("b", &[], 0)], KeyspaceError::Default(2));
    check(&[spec("a", &["/x"], 0), spec("b", &[], 0)], KeyspaceError::Slash("a".into(), "/x".into()));
    check(
        &[spec("a", &["/x/"], 0), spec("c", &["/x/"], 0), spec("b", &[], 0)],
        KeyspaceError::Twice("/x/".into()),
    );
    let reserved = RouteSpec { prefixes: vec![b"\xffa/".to_vec()], ..spec("a", &[], 0) };
    assert!(matches!(Keyspace::new(&[reserved, spec("b", &[], 0)]), Err(KeyspaceError::Reserved(..))));
}

/// The reference: the longest prefix or bare key that covers the key.
fn naive(specs: &[RouteSpec], key: &[u8]) -> u16 {
    let mut best = (0, specs.iter().position(|s| s.prefixes.is_empty()).unwrap());
    for (i, spec) in specs.iter().enumerate() {
        for prefix in &spec.prefixes {
            let bare = &prefix[..prefix.len() - 1];
            if key.starts_with(prefix) && 2 * prefix.len() > best.0 {
                best = (2 * prefix.len(), i);
            }
            if key == bare && !bare.is_empty() && 2 * bare.len() + 1 > best.0 {
                best = (2 * bare.len() + 1, i);
            }
        }
    }
    best.1 as u16
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(b'/'), Just(b'a'), Just(b'b'), Just(0u8), Just(b'0')], 0..7)
}

proptest! {
    #[test]
    fn table_equals_longest_prefix(
        prefixes in prop::collection::btree_set(key(), 0..8),
        keys in prop::collection::vec(key(), 1..20),
        range in (key(), key()),
    ) {
        let mut specs: Vec<RouteSpec> = prefixes.into_iter().enumerate().map(|(i, mut p)| {
            p.insert(0, b'/');
            p.push(b'/');
            RouteSpec { name: format!("r{i}"), prefixes: vec![p], shard: ShardId(i as u16) }
        }).collect();
        specs.push(spec("rest", &[], 99));
        let keyspace = Keyspace::new(&specs).unwrap();
        for key in &keys {
            prop_assert_eq!(keyspace.route_of(key).0, naive(&specs, key), "{:?}", key);
        }
        // Pieces cover the range without gap or overlap, and each lies in one route.
        let range = KeyRange::new(&range.0, &range.1);
        for key in &keys {
            let owners: Vec<_> = keyspace.pieces(range).filter(|(piece, _)| piece.contains(key)).collect();
            prop_assert_eq!(owners.len(), usize::from(range.contains(key)));
            for (_, route) in owners {
                prop_assert_eq!(route.0, naive(&specs, key));
            }
        }
    }
}
