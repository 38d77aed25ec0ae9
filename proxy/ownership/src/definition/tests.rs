use etcd_prism_routing::ShardId;
use proptest::prelude::*;

use super::*;

const A: ShardUid = ShardUid(1);
const B: ShardUid = ShardUid(2);

fn spec(name: &str, prefixes: &[&str], shard: u16) -> RouteSpec {
    let prefixes = prefixes.iter().map(|p| p.as_bytes().to_vec()).collect();
    RouteSpec { name: name.into(), prefixes, shard: ShardId(shard) }
}

fn layout(specs: &[RouteSpec]) -> Layout {
    Layout::new(specs, &[A, B]).unwrap()
}

fn hash(layout: &Layout, route: &str) -> DefinitionHash {
    layout.route(route).unwrap().definition.hash()
}

#[test]
fn a_prefix_taken_from_a_route_changes_its_definition() {
    let before = layout(&[spec("pods", &["/r/pods/"], 0), spec("rest", &[], 0)]);
    let after =
        layout(&[spec("pods", &["/r/pods/"], 0), spec("web", &["/r/pods/web/"], 0), spec("rest", &[], 0)]);
    assert_ne!(hash(&before, "pods"), hash(&after, "pods"));
    assert_eq!(hash(&before, "rest"), hash(&after, "rest"));
}

#[test]
fn order_and_names_do_not_count() {
    let one = layout(&[spec("pods", &["/a/", "/b/"], 0), spec("rest", &[], 0)]);
    let two = layout(&[spec("rest", &[], 0), spec("other", &["/b/", "/a/"], 1)]);
    assert_eq!(hash(&one, "pods"), hash(&two, "other"));
    assert_eq!(hash(&one, "rest"), hash(&two, "rest"));
}

#[test]
fn borders_do_not_run_into_each_other() {
    let of = |borders: [&[u8]; 2]| Definition { intervals: vec![(borders[0].into(), borders[1].into())] };
    assert_ne!(of([b"a", b"bc"]).hash(), of([b"ab", b"c"]).hash());
}

#[test]
fn the_hash_is_stable() {
    // Stored on shards: a change of this value is a change of format.
    let of = Definition { intervals: vec![(b"/a".as_slice().into(), b"/a\0".as_slice().into())] };
    let text = of.hash().to_string();
    assert_eq!(text, "552b316130dcab4a63ced48780c7c613849ef5da8776fcb79ec247a3ad8132fd");
}

#[test]
fn diff_is_readable() {
    let before = layout(&[spec("pods", &["/r/pods/"], 0), spec("rest", &[], 0)]);
    let after =
        layout(&[spec("pods", &["/r/pods/"], 1), spec("events", &["/r/events/"], 1), spec("rest", &[], 0)]);
    let diff = Diff::new(&before, &after);
    let text = diff.describe(&|shard| if shard == A { "a".into() } else { "b".into() }).to_string();
    let expected = "\
+ route events on b
~ route pods on a → b
~ route rest on a: owns other keys
  [/r/events, /r/events\\x00): rest on a → events on b
  [/r/events/, /r/events0): rest on a → events on b
  [/r/pods, /r/pods\\x00): pods on a → pods on b
  [/r/pods/, /r/pods0): pods on a → pods on b
";
    assert_eq!(text, expected);
    assert!(Diff::new(&after, &after).is_empty());
}

fn any_specs() -> impl Strategy<Value = Vec<RouteSpec>> {
    let prefix = prop::sample::subsequence(vec!["/a/", "/a/b/", "/a/b/c/", "/b/", "/c/", "/c/a/"], 0..=6);
    (prefix, prop::collection::vec((0..3_usize, 0..2_u16), 7)).prop_map(|(prefixes, draws)| {
        let mut specs: Vec<RouteSpec> = (0..3).map(|i| spec(&format!("r{i}"), &[], draws[i].1)).collect();
        for (prefix, (route, _)) in prefixes.iter().zip(&draws) {
            specs[*route].prefixes.push(prefix.as_bytes().to_vec());
        }
        specs.retain(|s| !s.prefixes.is_empty());
        specs.push(spec("rest", &[], draws[6].1));
        specs
    })
}

proptest! {
    #[test]
    fn every_key_is_moved_exactly_if_its_place_changes(
        from in any_specs(), to in any_specs(), key in "(/a|/b|/c|/|a|0){0,5}",
    ) {
        let owner = |specs: &[RouteSpec]| {
            let keyspace = Keyspace::new(specs).unwrap();
            let route = keyspace.route(keyspace.route_of(key.as_bytes()));
            (route.name.clone(), [A, B][usize::from(route.shard.0)])
        };
        let (was, is) = (owner(&from), owner(&to));
        let diff = Diff::new(&layout(&from), &layout(&to));
        let key = key.as_bytes();
        let hits: Vec<&Moved> =
            diff.moved.iter().filter(|m| &*m.interval.0 <= key && key < &*m.interval.1).collect();
        if was == is {
            prop_assert!(hits.is_empty());
        } else {
            prop_assert_eq!(hits.len(), 1);
            prop_assert_eq!((&hits[0].from.route, hits[0].from.shard), (&was.0, was.1));
            prop_assert_eq!((&hits[0].to.route, hits[0].to.shard), (&is.0, is.1));
        }
    }
}
