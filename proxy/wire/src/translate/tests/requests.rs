use super::*;
use crate::patch::Patch;

/// A request with what was appended to it.
fn patched<M: Message + Default>(message: &M, patch: &Patch) -> M {
    M::decode([&message.encode_to_vec()[..], patch.as_slice()].concat().as_slice()).unwrap()
}

#[test]
fn ranges_at_a_revision() {
    let at = |revision| pb::RangeRequest { key: "k".into(), revision, ..Default::default() };
    let line = Returned::new();
    for (revision, raw) in
        [(0, 0), (-1, -1), (i64::MIN, i64::MIN), (301, 101), (400, 200), (i64::MAX, i64::MAX - OFFSET)]
    {
        let rewrite = range(&bytes(&at(revision)), &line).unwrap();
        assert_eq!(patched(&at(revision), &rewrite.patch), at(raw));
        assert_eq!(rewrite.select, None);
        assert_eq!(rewrite.patch.is_empty(), revision == raw);
    }
    assert_eq!(range(&bytes(&at(300)), &line).unwrap_err(), RequestError::OtherReign(300));
    assert_eq!(range(&bytes(&at(4)), &line).unwrap_err(), RequestError::Compacted(4));
}

#[test]
fn bounds_within_the_reign_are_left_to_the_shard() {
    let bounds = |min, max, revision| pb::RangeRequest {
        key: "k".into(),
        revision,
        limit: 3,
        min_mod_revision: min,
        max_mod_revision: max,
        min_create_revision: max,
        max_create_revision: min,
        sort_order: 2,
        ..Default::default()
    };
    let request = bounds(310, -5, 400);
    let rewrite = range(&bytes(&request), &Returned::new()).unwrap();
    assert_eq!(patched(&request, &rewrite.patch), bounds(110, -5, 200));
    assert_eq!(rewrite.select, None);
}

#[test]
fn what_a_shard_cannot_judge_is_taken_away() {
    let line = Returned::new();
    let plain =
        pb::RangeRequest { key: "k".into(), range_end: "l".into(), serializable: true, ..Default::default() };
    let taken = |request: &pb::RangeRequest| {
        let rewrite = range(&bytes(request), &line).unwrap();
        (patched(request, &rewrite.patch), rewrite.select.is_some())
    };
    for target in 1..=3 {
        let sorted = pb::RangeRequest {
            sort_target: target,
            sort_order: 1,
            limit: 5,
            keys_only: true,
            ..plain.clone()
        };
        assert_eq!(taken(&sorted), (pb::RangeRequest { keys_only: true, ..plain.clone() }, true));
        let unordered = pb::RangeRequest { sort_target: target, limit: 5, ..plain.clone() };
        assert_eq!(
            taken(&unordered),
            (pb::RangeRequest { limit: 6, ..plain.clone() }, true),
            "etcd cuts before it sorts"
        );
        let count =
            pb::RangeRequest { sort_target: target, count_only: true, min_mod_revision: 7, ..plain.clone() };
        assert_eq!(taken(&count), (count.clone(), false), "counts know no filters");
    }
    let old = pb::RangeRequest { max_create_revision: 290, limit: 5, ..plain.clone() };
    assert_eq!(taken(&old), (plain.clone(), true));
    let by_value = pb::RangeRequest { sort_target: 4, keys_only: true, limit: 2, ..plain.clone() };
    assert_eq!(taken(&by_value), (by_value.clone(), false));
    let by_value = pb::RangeRequest { min_mod_revision: 9, ..by_value };
    assert_eq!(taken(&by_value), (plain.clone(), true));
    let huge = pb::RangeRequest { sort_target: 3, limit: i64::MAX, ..plain.clone() };
    assert_eq!(taken(&huge), (pb::RangeRequest { limit: i64::MAX, ..plain }, true));
}

#[test]
fn watches() {
    let create = |start_revision| pb::WatchCreateRequest {
        key: "k".into(),
        start_revision,
        prev_kv: true,
        ..Default::default()
    };
    let line = Returned::new();
    for (start, next, raw) in [(0, 0, 101), (0, 130, 130), (301, 130, 101), (350, 130, 150), (-1, 130, -1)] {
        let patch = watch_create(start, next, &line).unwrap();
        assert_eq!(patched(&create(start), &patch), create(raw));
    }
    assert_eq!(watch_create(300, 130, &line).unwrap_err(), RequestError::OtherReign(300));
    assert_eq!(watch_create(1, 130, &line).unwrap_err(), RequestError::Compacted(1));
}

#[test]
fn compactions() {
    let at = |revision| pb::CompactionRequest { revision, physical: true };
    let line = Returned::new();
    for (revision, raw) in [(0, 0), (-1, -1), (350, 150)] {
        let patch = compact(&bytes(&at(revision)), &line).unwrap();
        assert_eq!(patched(&at(revision), &patch), at(raw));
    }
    assert_eq!(compact(&bytes(&at(200)), &line).unwrap_err(), RequestError::OtherReign(200));
}
