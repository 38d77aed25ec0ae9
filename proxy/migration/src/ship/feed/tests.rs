use super::*;
use etcd_prism_proto::etcdserverpb::ResponseHeader;
use etcd_prism_proto::mvccpb::KeyValue;

fn event(key: &str, revision: i64) -> Event {
    let kv = KeyValue { key: key.as_bytes().to_vec().into(), mod_revision: revision, ..KeyValue::default() };
    Event { r#type: EventType::Put.into(), kv: Some(kv), prev_kv: None }
}

fn response(events: &[(&str, i64)], fragment: bool, revision: i64) -> WatchResponse {
    WatchResponse {
        header: Some(ResponseHeader { revision, ..ResponseHeader::default() }),
        fragment,
        events: events.iter().map(|(key, revision)| event(key, *revision)).collect(),
        ..WatchResponse::default()
    }
}

/// The keys that come out, and what is complete then.
fn take(log: &mut Log, response: WatchResponse) -> (Option<String>, i64) {
    let intervals = Intervals::new(vec![(b"a".to_vec(), b"n".to_vec())]).unwrap();
    let endpoints = Vec::new();
    let bounds = etcd_prism_upstream::shard::Bounds { request_timeout: PATIENCE, max_in_flight: 1 };
    let id = etcd_prism_routing::ShardId(0);
    let state = etcd_prism_upstream::ShardState::new(id, "one".to_owned(), endpoints, bounds, None);
    let pool = ShardPool::new(Arc::new(state));
    let Ok(changes) = log.take(response, &intervals, Shard(&pool)) else { panic!("the watch ended") };
    let keys = |changes: Vec<Change>| {
        let keys: Vec<_> =
            changes.iter().map(|c| format!("{}{}", c.key.escape_ascii(), c.revision)).collect();
        keys.join(" ")
    };
    (changes.map(keys), log.complete)
}

fn log() -> Log {
    Log { complete: 10, held: Vec::new() }
}

#[test]
fn changes_of_other_routes_only_tell_how_far_it_is() {
    let mut log = log();
    let found = take(&mut log, response(&[("a", 11), ("z", 12), ("b", 13), ("y", 14)], false, 99));
    assert_eq!(found, (Some("a11 b13".to_owned()), 14));
    assert_eq!(take(&mut log, response(&[("z", 15)], false, 99)), (Some(String::new()), 15));
}

#[test]
fn a_revision_in_fragments_comes_out_whole() {
    let mut log = log();
    assert_eq!(take(&mut log, response(&[("a", 11), ("b", 12)], true, 20)), (Some("a11".to_owned()), 11));
    assert_eq!(take(&mut log, response(&[("c", 12)], true, 20)), (None, 11));
    let found = take(&mut log, response(&[("d", 12), ("e", 13)], false, 20));
    assert_eq!(found, (Some("b12 c12 d12 e13".to_owned()), 13));
}

#[test]
fn progress_moves_on_and_never_back() {
    let mut log = log();
    assert_eq!(take(&mut log, response(&[], false, 12)), (Some(String::new()), 12));
    assert_eq!(take(&mut log, response(&[], false, 12)), (None, 12));
    assert_eq!(take(&mut log, response(&[], false, 5)), (None, 12));
    assert_eq!(take(&mut log, response(&[("a", 12)], false, 12)), (None, 12), "it was told before");
}

#[test]
fn what_was_created_at_a_revision_says_nothing_of_it() {
    let created = WatchResponse { created: true, ..response(&[], false, 50) };
    assert_eq!(take(&mut log(), created), (None, 10));
}
