use std::collections::BTreeMap;

use super::rows;
use super::*;
use crate::definition::DefinitionHash;
use crate::drain::SessionList;
use crate::id::{ProxyId, ShardUid};
use crate::keys;
use crate::testing::{A, B, Cluster};
use crate::txn::{Txn, Write};
use crate::value::{Begin, Fence, MIGRATES, ReignRecord, Session, State, Stored};

mod driver;
mod table;

const ROUTE: &str = "pods";

fn fence(shard: ShardUid, n: u64, state: State) -> Fence {
    Fence { n, definition: DefinitionHash([7; 32]), shard, state }
}

fn standing(shard: ShardUid, revision: i64, n: u64, state: State) -> Standing {
    Standing { shard, revision, fence: fence(shard, n, state) }
}

fn open(peer: Option<ShardUid>) -> State {
    State::Open { peer }
}

fn sealed(peer: ShardUid) -> State {
    State::Sealed { peer: Some(peer), claim: None }
}

fn importing(peer: ShardUid) -> State {
    State::Importing { peer: Some(peer), claim: None }
}

fn flipping(target: ShardUid, target_epoch: i64) -> State {
    State::Flipping { target, target_epoch, g: 100, floor: 3, since: 70 }
}

/// Every state a fence can have, as seen from the other shard.
fn states(peer: ShardUid) -> Vec<State> {
    let retired = State::Retired;
    let standby = State::Standby { peer };
    vec![open(None), open(Some(peer)), importing(peer), sealed(peer), flipping(peer, 9), standby, retired]
}

/// What a Txn makes of its fence.
fn made(txn: &Txn) -> (i64, &Fence) {
    match &txn.puts[0].1 {
        Write::Fence(fence) => (txn.compares[0].1, fence),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_comes_back() {
    let mut record = Record::new(12, A, B, 3, Options { max_pause: 500, ..Options::default() }, 1_700);
    record.checkpoint.copy.after = Some(HexKey(b"/registry/pods/\xff\x00".to_vec()));
    record.note(Event::Aborted { at: 5, why: Abort::MaxPause("3 s".into()), pause: Some(7) });
    record.note(Event::Aborted { at: 6, why: Abort::Asked, pause: None });
    record.note(Event::Switched { at: 7, to: B, g: 40, pause: Some(9) });
    record.driver = Some(DriverClaim { proxy: ProxyId(4), name: "prism-0".into() });
    assert_eq!(Record::decode(&record.encode().unwrap()).unwrap(), record);
    assert!(Record::decode(b"{\"format\":1}").is_err());
    assert!(
        serde_json::from_str::<HexKey>("\"abc\"").is_err()
            && serde_json::from_str::<HexKey>("\"zz\"").is_err()
    );
}

#[test]
fn a_records_history_is_bounded() {
    let mut record = Record::new(1, A, B, 1, Options::default(), 0);
    (0..200).for_each(|at| record.note(Event::Driver { at, name: String::new() }));
    assert_eq!(record.history.len(), 64);
    assert_eq!(record.history.last(), Some(&Event::Driver { at: 199, name: String::new() }));
}

#[test]
fn a_floor_on_the_line_lies_below_a_lifted_reign() {
    let record = |after, floor| ReignRecord { n: 2, shard: B, after, floor, since: 0, earlier: Vec::new() };
    // raw 40 is shown as 101: whoever stopped at 60 must list again.
    assert_eq!(record(100, 60).virtual_floor(40), 60);
    assert_eq!(record(100, 500).virtual_floor(40), 100);
    assert_eq!(record(100, 500).virtual_floor(400), 399);
    assert_eq!(record(0, 500).virtual_floor(400), 399);
}
