use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::ResponseHeader;
use etcd_prism_proto::mvccpb::KeyValue;

use super::*;
use crate::request::watch_prefix;

fn kv(key: &'static str, create: i64, version: i64, modified: i64) -> KeyValue {
    KeyValue {
        key: Bytes::from_static(key.as_bytes()),
        create_revision: create,
        mod_revision: modified,
        version,
        ..Default::default()
    }
}

/// The creation of `key`.
fn new(key: &'static str, revision: i64) -> Event {
    Event { kv: Some(kv(key, revision, 1, revision)), ..Default::default() }
}

fn events(revision: i64, events: &[Event]) -> WatchResponse {
    let header = Some(ResponseHeader { revision, ..Default::default() });
    WatchResponse { header, events: events.to_vec(), ..Default::default() }
}

fn fragment(revision: i64, list: &[Event]) -> WatchResponse {
    WatchResponse { fragment: true, ..events(revision, list) }
}

fn check(responses: &[WatchResponse]) -> Result<(), String> {
    let request = WatchCreateRequest { start_revision: 2, ..watch_prefix("k") };
    WatcherLog { request, responses: responses.to_vec() }.check()
}

#[test]
fn good_streams_pass() {
    let good = [
        vec![events(3, &[new("k1", 3)]), events(9, &[new("k2", 4), new("k3", 4)]), events(9, &[])],
        vec![events(5, &[]), events(6, &[new("k1", 6)])],
        vec![fragment(4, &[new("k1", 4)]), events(4, &[new("k2", 4)]), events(5, &[new("k1", 5)])],
    ];
    for responses in good {
        assert_eq!(check(&responses), Ok(()), "{responses:?}");
    }
}

#[test]
fn each_broken_promise_is_found() {
    let stale = Event { prev_kv: Some(kv("k1", 3, 1, 3)), kv: Some(kv("k1", 3, 3, 5)), ..Default::default() };
    let not_new = Event { prev_kv: Some(kv("k1", 3, 1, 3)), ..new("k1", 5) };
    let broken = [
        ("order in a response", vec![events(4, &[new("k1", 4), new("k2", 3)])]),
        ("order of responses", vec![events(4, &[new("k1", 4)]), events(4, &[new("k2", 3)])]),
        ("an event twice", vec![events(4, &[new("k1", 4), new("k1", 4)])]),
        ("a response twice", vec![events(4, &[new("k1", 4)]), events(4, &[new("k1", 4)])]),
        ("a split revision", vec![events(4, &[new("k1", 4)]), events(4, &[new("k2", 4)])]),
        ("an event after its progress", vec![events(5, &[]), events(6, &[new("k1", 5)])]),
        ("progress below an event", vec![events(5, &[new("k1", 5)]), events(4, &[])]),
        (
            "an event at the progress after it",
            vec![events(5, &[new("k1", 4)]), events(5, &[]), events(5, &[new("k2", 5)])],
        ),
        (
            "progress between fragments",
            vec![fragment(4, &[new("k1", 4)]), events(4, &[]), events(4, &[new("k2", 4)])],
        ),
        ("an event before the start", vec![events(4, &[new("k1", 1)])]),
        ("progress before the start", vec![events(1, &[])]),
        ("an event outside the range", vec![events(4, &[new("x", 4)])]),
        ("a header below its events", vec![events(3, &[new("k1", 4)])]),
        ("prev_kv of another version", vec![events(5, &[stale])]),
        ("a creation with a past", vec![events(5, &[not_new])]),
    ];
    for (name, responses) in broken {
        assert!(check(&responses).is_err(), "not found: {name}");
    }
}

#[test]
fn order_holds_within_each_line_only() {
    let responses = vec![events(9, &[new("k1", 9)]), events(9, &[new("k2", 3)])];
    let log = WatcherLog { request: watch_prefix("k"), responses };
    assert_eq!(log.check_lines(|key| if key == b"k1" { "one" } else { "two" }), Ok(()));
    assert!(log.check().is_err());
}

#[test]
fn a_gap_is_found_against_the_history() {
    let history = [new("k1", 3), new("k2", 4), new("x", 5), new("k3", 6)];
    let log = |list: &[Event]| WatcherLog { request: watch_prefix("k"), responses: vec![events(9, list)] };
    let [one, two, _, three] = history.clone();
    assert_eq!(log(&[one.clone(), two, three.clone()]).check_against(&history, 3, 6), Ok(()));
    assert!(log(&[one.clone(), three.clone()]).check_against(&history, 3, 6).is_err());
    assert_eq!(log(&[one, three]).check_against(&history, 6, 6), Ok(()));
}
