use std::collections::BTreeMap;

use etcd_prism_routing::{RouteSpec, ShardId};
use proptest::prelude::*;

use super::*;
use crate::definition::DefinitionHash;
use crate::id::{ClusterId, ShardUid};

fn any_shard() -> impl Strategy<Value = ShardUid> {
    any::<u128>().prop_map(ShardUid)
}

fn any_state() -> impl Strategy<Value = State> {
    let peer = || proptest::option::of(any_shard());
    let claim = || proptest::option::of(any::<i64>().prop_map(Claim));
    prop_oneof![
        peer().prop_map(|peer| State::Open { peer }),
        (peer(), claim()).prop_map(|(peer, claim)| State::Importing { peer, claim }),
        (peer(), claim()).prop_map(|(peer, claim)| State::Sealed { peer, claim }),
        (any_shard(), any::<[i64; 4]>()).prop_map(|(target, [target_epoch, g, floor, since])| {
            State::Flipping { target, target_epoch, g, floor, since }
        }),
        any_shard().prop_map(|peer| State::Standby { peer }),
        Just(State::Retired),
    ]
}

proptest! {
    #[test]
    fn fences_come_back(n in any::<u64>(), hash in any::<[u8; 32]>(), shard in any_shard(), state in any_state()) {
        let fence = Fence { n, definition: DefinitionHash(hash), shard, state };
        let bytes = fence.encode().unwrap();
        let begin: &[u8] = b"{\"format\":1,";
        prop_assert_eq!(&bytes[..begin.len()], begin);
        prop_assert_eq!(Fence::decode(&bytes).unwrap(), fence);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Fence::decode(&bytes).is_err());
        prop_assert!(Session::decode(&bytes).is_err());
    }
}

fn fence_with(change: &str) -> Result<Fence, ValueError> {
    let hash = "ab".repeat(32);
    let shard = "0".repeat(32);
    let rest = format!("\"n\":1,\"definition\":\"{hash}\",\"shard\":\"{shard}\"");
    Fence::decode(format!("{{{change},{rest}}}").as_bytes())
}

#[test]
fn what_a_newer_proxy_wrote_is_never_taken_for_open() {
    assert!(fence_with("\"format\":1,\"state\":\"open\"").is_ok());
    assert!(fence_with("\"format\":1,\"state\":\"open\",\"colour\":\"red\"").is_ok());
    assert_eq!(
        fence_with("\"format\":2,\"state\":\"open\""),
        Err(ValueError::Format { what: "fence", found: 2 })
    );
    assert_eq!(
        fence_with("\"format\":1,\"state\":\"half-open\""),
        Err(ValueError::UnknownState("half-open".into()))
    );
    assert!(matches!(
        fence_with("\"format\":1,\"state\":\"flipping\""),
        Err(ValueError::Malformed { what: "fence", .. })
    ));
    assert!(matches!(fence_with("\"state\":\"open\""), Err(ValueError::Malformed { .. })));
}

#[test]
fn records_come_back() {
    fn check<T: Stored + PartialEq + std::fmt::Debug>(value: T) {
        assert_eq!(T::decode(&value.encode().unwrap()).unwrap(), value);
    }
    let (a, b) = (ShardUid(1), ShardUid(u128::MAX));
    check(Identity { id: a, cluster_id: ClusterId(9), name: "pods".into() });
    check(ReignRecord { n: 2, shard: a, after: 7, floor: 5, since: 0, earlier: Vec::new() });
    check(Session {
        protocol: PROTOCOL,
        name: "p".into(),
        address: "http://127.0.0.1:2379".into(),
        started: 1,
        acks: BTreeMap::from([("pods".into(), 17)]),
        revisions: BTreeMap::from([(a, 3), (b, 4)]),
    });
    check(SeenAt { revision: 60 });
    check(Samples { samples: vec![Sample { home: 5, others: BTreeMap::from([(b, 4)]) }] });
}

fn table() -> Table {
    let specs = [
        RouteSpec { name: "pods".into(), prefixes: vec![b"/r/pods/".to_vec()], shard: ShardId(1) },
        RouteSpec { name: "rest".into(), prefixes: vec![], shard: ShardId(0) },
    ];
    let shard =
        |name: &str, id| TableShard { name: name.into(), id: ShardUid(id), cluster_id: ClusterId(id as u64) };
    Table::first(vec![shard("a", 1), shard("b", 2)], &specs).unwrap()
}

#[test]
fn a_floor_stays_below_its_own_reign() {
    let record =
        |floor| ReignRecord { n: 2, shard: ShardUid(1), after: floor, floor, since: 0, earlier: Vec::new() };
    assert_eq!(record(0).effective_floor(5), 0);
    assert_eq!(record(900).effective_floor(1_000), 900);
    // Revisions fell: what was listed at 100 can be watched from 101 on.
    assert_eq!(record(900).effective_floor(100), 99);
}

#[test]
fn tables_come_back_and_agree() {
    let table = table();
    assert_eq!(table.arbiter, ShardUid(1));
    let back = Table::decode(&table.encode().unwrap()).unwrap();
    assert_eq!(back, table);
    assert_eq!(back.layout().unwrap().route("pods").unwrap().shard, ShardUid(2));

    let mut turned = table.clone();
    turned.routes.reverse();
    turned.shards.reverse();
    assert!(table.agrees(&turned.shards, &turned.routes));
    turned.routes[0].shard = ShardUid(2);
    assert!(!table.agrees(&turned.shards, &turned.routes));
}

#[test]
fn a_table_with_other_hashes_is_refused() {
    let mut table = table();
    table.routes[0].prefixes = vec!["/r/pods/".into(), "/r/more/".into()];
    assert!(matches!(table.layout(), Err(TableError::Hash { .. })));
}

#[test]
fn a_record_with_a_line_is_none_for_proxies_that_know_of_no_lines() {
    let format = |record: &ReignRecord| {
        let value: serde_json::Value = serde_json::from_slice(&record.encode().unwrap()).unwrap();
        value["format"].as_u64()
    };
    let mut record =
        ReignRecord { n: 2, shard: ShardUid(1), after: 7, floor: 0, since: 0, earlier: Vec::new() };
    assert_eq!(format(&record), Some(1));
    record.earlier.push(crate::Reign { n: 1, shard: ShardUid(2), after: 0, raw_start: 1 });
    assert_eq!(format(&record), Some(2));
    assert_eq!(ReignRecord::decode(&record.encode().unwrap()), Ok(record));
    let newer = br#"{"format":3,"n":2,"shard":"0000000000000001","after":7,"floor":0}"#;
    assert!(matches!(ReignRecord::decode(newer), Err(ValueError::Format { found: 3, .. })));
}
