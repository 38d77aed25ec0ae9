use super::*;
use crate::testing::{A, B, Cluster, spec, table};
use crate::value::{Pending, Stored};

fn pods_on(shard: u16) -> Table {
    table(&[spec("pods", &["/r/pods/"], shard), spec("rest", &[], 0)])
}

#[test]
fn empty_shards_get_table_and_fences() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.start(&pods_on(1)), Command::Done(BTreeMap::new()));
    assert_eq!((cluster.state(B, "pods"), cluster.state(A, "rest")), ("open", "open"));
    assert_eq!((cluster.state(A, "pods"), cluster.state(B, "rest")), ("absent", "absent"));
    assert_eq!(cluster.table(A), cluster.table(B));
    assert_eq!(cluster.reign(B, "pods", 1).after, 0);
    let before = (cluster.0[&A].revision, cluster.0[&B].revision);
    assert_eq!(cluster.start(&pods_on(1)), Command::Done(BTreeMap::new()));
    assert_eq!(before, (cluster.0[&A].revision, cluster.0[&B].revision), "a second start writes nothing");
}

#[test]
fn ce24_a_route_whose_keys_are_elsewhere_is_refused_and_the_others_are_not() {
    let mut cluster = Cluster::new();
    cluster.node(A).clients.insert(b"/r/pods/default/x".to_vec());
    cluster.node(A).clients.insert(b"/other".to_vec());
    let Command::Done(refused) = cluster.start(&pods_on(1)) else { panic!() };
    let key = "/r/pods/default/x".to_owned();
    assert_eq!(refused, BTreeMap::from([("pods".to_owned(), Obstacle::Keys { shard: "a".into(), key })]));
    assert_eq!((cluster.state(B, "pods"), cluster.state(A, "rest")), ("absent", "open"));
    cluster.node(A).clients.clear();
    assert_eq!(cluster.start(&pods_on(1)), Command::Done(BTreeMap::new()));
}

#[test]
fn ce24_the_bare_key_counts() {
    let mut cluster = Cluster::new();
    cluster.node(A).clients.insert(b"/r/pods".to_vec());
    assert!(matches!(cluster.start(&pods_on(1)), Command::Done(refused) if refused.len() == 1));
}

#[test]
fn ce41_another_table_is_refused() {
    let mut cluster = Cluster::started(&pods_on(1));
    let refused = Command::Refuse(Obstacle::OtherTable { shard: "a".into(), generation: 1 });
    assert_eq!(cluster.start(&pods_on(0)), refused);
}

#[test]
fn ce26_a_shard_without_its_table_is_refused() {
    for (shard, name) in [(A, "a"), (B, "b")] {
        let mut cluster = Cluster::started(&pods_on(1));
        cluster.node(shard).kv.clear();
        // The last one may just not have got it yet; its fences are missing, though, so nothing is created there but they.
        let expected = match shard {
            A => Command::Refuse(Obstacle::Gap { shard: name.into() }),
            _ => Command::Done(BTreeMap::new()),
        };
        assert_eq!(cluster.start(&pods_on(1)), expected);
    }
}

#[test]
fn a_change_that_is_under_way_is_waited_for() {
    let mut cluster = Cluster::started(&pods_on(1));
    let table = pods_on(1);
    let pending = Some(Pending { shards: table.shards.clone(), routes: pods_on(0).routes });
    cluster.put(A, crate::keys::TABLE.to_vec(), Table { pending, ..table }.encode().unwrap());
    let refused = Command::Refuse(Obstacle::Pending { shard: "a".into() });
    assert_eq!(cluster.start(&pods_on(1)), refused);
}

#[test]
fn a_fence_in_any_state_is_left_alone() {
    let mut cluster = Cluster::started(&pods_on(1));
    let retired = Fence { state: State::Retired, ..cluster.fence(B, "pods").unwrap() };
    cluster.put(B, crate::keys::fence("pods"), retired.encode().unwrap());
    assert_eq!(cluster.start(&pods_on(1)), Command::Done(BTreeMap::new()));
    assert_eq!(cluster.state(B, "pods"), "retired");
}
