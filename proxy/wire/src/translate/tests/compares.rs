use super::*;
use crate::request::TxnShape;
use pb::compare::TargetUnion;

type Triple = (i64, i64, i64);

fn state((create_revision, mod_revision, version): Triple) -> KeyState {
    KeyState { create_revision, mod_revision, version }
}

/// A life's states, raw and virtual, in the order in which they come.
fn lives() -> Vec<(&'static str, Vec<(Triple, Triple)>)> {
    let later = [((0, 0, 0), (0, 0, 0)), ((150, 150, 1), (350, 350, 1)), ((150, 160, 2), (350, 360, 2))];
    let life = |key, first: &[(Triple, Triple)]| (key, [first, &later].concat());
    vec![
        life("copied", &[((90, 95, 4), (120, 250, 7)), ((90, 140, 5), (120, 340, 8))]),
        life("old", &[((66, 70, 2), (66, 70, 2)), ((66, 140, 3), (66, 340, 3))]),
        life("again", &[((70, 75, 4), (70, 75, 4)), ((70, 140, 5), (70, 340, 5))]),
        life("new", &[]),
    ]
}

fn union(target: i32, number: i64) -> TargetUnion {
    match target {
        0 => TargetUnion::Version(number),
        1 => TargetUnion::CreateRevision(number),
        _ => TargetUnion::ModRevision(number),
    }
}

fn compare(key: &str, target: i32, result: i32, number: i64) -> pb::Compare {
    pb::Compare {
        key: Bytes::copy_from_slice(key.as_bytes()),
        target,
        result,
        target_union: Some(union(target, number)),
        ..Default::default()
    }
}

/// What etcd decides.
fn holds(compare: &pb::Compare, (create, modified, version): Triple) -> bool {
    let has = [version, create, modified][compare.target as usize];
    let asked = match &compare.target_union {
        Some(TargetUnion::Version(n)) if compare.target == 0 => *n,
        Some(TargetUnion::CreateRevision(n)) if compare.target == 1 => *n,
        Some(TargetUnion::ModRevision(n)) if compare.target == 2 => *n,
        _ => 0,
    };
    match compare.result {
        0 => has == asked,
        1 => has > asked,
        2 => has < asked,
        3 => has != asked,
        _ => true,
    }
}

fn request(compare: pb::Compare) -> Bytes {
    bytes(&pb::TxnRequest { compare: vec![compare], ..Default::default() })
}

/// The compare that was made of the only one, and its guard.
fn rewritten(got: &TxnRewrite) -> (pb::Compare, Option<pb::Compare>) {
    let outer = pb::TxnRequest::decode(got.message.clone()).unwrap();
    if !got.is_guarded {
        return (outer.compare[0].clone(), None);
    }
    let Some(pb::request_op::Request::RequestTxn(inner)) = outer.success[0].request.clone() else { panic!() };
    (inner.compare[0].clone(), Some(outer.compare[0].clone()))
}

#[test]
fn every_compare_decides_as_it_would_have_on_the_virtual_line() {
    let line = Returned::new();
    let interesting = [
        -7,
        -1,
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        39,
        40,
        41,
        60,
        66,
        70,
        75,
        90,
        95,
        101,
        119,
        120,
        121,
        140,
        150,
        249,
        250,
        251,
        300,
        301,
        339,
        340,
        341,
        349,
        350,
        351,
        360,
        361,
        1 << 62,
        -1 << 62,
    ];
    let mut checked = 0;
    for (key, states) in lives() {
        for (target, result, number) in interesting
            .iter()
            .flat_map(|n| (0..3).flat_map(move |target| (0..5).map(move |result| (target, result, *n))))
        {
            let asked = compare(key, target, result, number);
            for (seen, (seen_raw, _)) in states.iter().enumerate() {
                let seen_before = HashMap::from([(asked.key.clone(), state(*seen_raw))]);
                for known in [HashMap::new(), seen_before] {
                    let got = match txn(&request(asked.clone()), &line, &known) {
                        Err(RequestError::Unread(_)) if known.is_empty() => continue,
                        got => got.unwrap(),
                    };
                    let (raw_compare, guard) = rewritten(&got);
                    // The state that the shard finds is the one that was seen, or a later one.
                    for (raw, shown) in &states[seen..] {
                        if guard.as_ref().is_some_and(|guard| !holds(guard, *raw)) {
                            continue;
                        }
                        let expect = holds(&asked, *shown);
                        assert_eq!(holds(&raw_compare, *raw), expect, "{asked:?} {raw_compare:?} {raw:?}");
                        checked += 1;
                    }
                }
            }
        }
    }
    assert!(checked > 20_000, "{checked}");
}

#[test]
fn only_what_needs_it_is_read_first() {
    let line = Returned::new();
    let needs = |compare: pb::Compare| match txn(&request(compare), &line, &HashMap::new()) {
        Err(RequestError::Unread(keys)) => !keys.is_empty(),
        other => other.map(|_| false).unwrap(),
    };
    for (number, expect) in [(0, false), (-1, false), (120, true), (251, true), (301, false), (400, false)] {
        for (target, result) in [(1, 0), (1, 2), (2, 0), (2, 1), (2, 3)] {
            assert_eq!(
                needs(compare("copied", target, result, number)),
                expect,
                "{target} {result} {number}"
            );
        }
    }
    assert!(!needs(compare("copied", 0, 0, 0)), "a key that is there has a version");
    assert!(needs(compare("copied", 0, 0, 1)));
    // The revision that the copy brought is known from its record alone.
    assert!((0..4).all(|result| !needs(compare("copied", 2, result, 250))));
    assert!(needs(compare("copied", 1, 0, 120)));
    let got = txn(&request(compare("copied", 2, 0, 250)), &line, &HashMap::new()).unwrap();
    assert_eq!(rewritten(&got).0, compare("copied", 2, 0, 95));
    // A key that was seen, but whose provenance was not.
    let known = HashMap::from([(Bytes::from("x"), state((5, 6, 1)))]);
    let got = txn(&request(compare("x", 2, 0, 250)), &line, &known);
    assert_eq!(got.unwrap_err(), RequestError::Unread(vec!["x".into()]));
}

#[test]
fn compares_over_ranges() {
    let line = Returned::new();
    let over = |target, number| {
        let range = pb::Compare { range_end: "d".into(), ..compare("copied", target, 1, number) };
        txn(&request(range), &line, &HashMap::new()).map(|got| rewritten(&got).0.target_union.unwrap())
    };
    assert_eq!(over(1, 0), Ok(union(1, 0)));
    assert_eq!(over(2, 340), Ok(union(2, 140)));
    assert_eq!(over(0, 0), Ok(union(0, 0)));
    assert_eq!(over(2, 250), Err(RequestError::RangeCompare));
    assert_eq!(over(0, 1), Err(RequestError::RangeCompare));
}

#[test]
fn other_compares_stay_as_they_are() {
    let line = Returned::new();
    let key = || Bytes::from("copied");
    let compares = vec![
        pb::Compare {
            key: key(),
            target: 3,
            target_union: Some(TargetUnion::Value("x".into())),
            ..Default::default()
        },
        pb::Compare {
            key: key(),
            target: 4,
            target_union: Some(TargetUnion::Lease(250)),
            ..Default::default()
        },
        // The union says another member than the target: etcd compares with 0.
        pb::Compare {
            key: key(),
            target: 2,
            target_union: Some(TargetUnion::Version(250)),
            ..Default::default()
        },
        pb::Compare { key: key(), target: 2, ..Default::default() },
        pb::Compare {
            key: key(),
            target: 9,
            target_union: Some(TargetUnion::ModRevision(250)),
            ..Default::default()
        },
        pb::Compare { result: 8, ..compare("copied", 2, 0, 250) },
    ];
    let message = bytes(&pb::TxnRequest { compare: compares, ..Default::default() });
    let got = txn(&message, &line, &HashMap::new()).unwrap();
    assert_eq!(got.message, message);
    assert!(!got.is_guarded && got.plan.is_empty());
}

fn operation(request: pb::request_op::Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn read(revision: i64) -> pb::RequestOp {
    operation(pb::request_op::Request::RequestRange(pb::RangeRequest {
        key: "k".into(),
        revision,
        ..Default::default()
    }))
}

#[test]
fn what_needs_no_change_comes_back_as_it_was() {
    let put = pb::PutRequest { key: "k".into(), value: vec![1; 5000].into(), ..Default::default() };
    let message = bytes(&pb::TxnRequest {
        compare: vec![compare("k", 2, 0, 0)],
        success: vec![operation(pb::request_op::Request::RequestPut(put))],
        failure: vec![read(0)],
    });
    let got = txn(&message, &Returned::new(), &HashMap::new()).unwrap();
    assert_eq!(got.message.as_ptr(), message.as_ptr());
    assert_eq!(got.message, message);
}

#[test]
fn nested_transactions() {
    let nest = |txn| operation(pb::request_op::Request::RequestTxn(txn));
    let put = pb::PutRequest { key: "k".into(), value: vec![1; 500].into(), ..Default::default() };
    let delete = pb::DeleteRangeRequest { key: "k".into(), ..Default::default() };
    let build = |modified, created, revision| {
        let inner = pb::TxnRequest {
            compare: vec![compare("new", 1, 2, created)],
            success: vec![read(revision)],
            ..Default::default()
        };
        let middle = pb::TxnRequest {
            failure: vec![
                operation(pb::request_op::Request::RequestDeleteRange(delete.clone())),
                nest(inner),
            ],
            ..Default::default()
        };
        pb::TxnRequest {
            compare: vec![compare("new", 2, 1, modified)],
            success: vec![
                operation(pb::request_op::Request::RequestPut(put.clone())),
                nest(middle),
                read(revision),
            ],
            failure: vec![read(0), read(revision)],
        }
    };
    let line = Returned::new();
    let got = txn(&bytes(&build(350, 360, 370)), &line, &HashMap::new()).unwrap();
    assert_eq!(pb::TxnRequest::decode(got.message).unwrap(), build(150, 160, 170));
    let got = txn(&bytes(&build(350, 360, 200)), &line, &HashMap::new());
    assert_eq!(got.unwrap_err(), RequestError::OtherReign(200));
    let got = txn(&bytes(&build(350, 360, 2)), &line, &HashMap::new());
    assert_eq!(got.unwrap_err(), RequestError::Compacted(2));
}

#[test]
fn guards_enclose_the_transaction() {
    let put = pb::PutRequest { key: "k".into(), ..Default::default() };
    let request = pb::TxnRequest {
        compare: vec![compare("copied", 0, 0, 8), compare("copied", 0, 1, 2)],
        success: vec![operation(pb::request_op::Request::RequestPut(put))],
        failure: vec![read(0)],
    };
    let known = HashMap::from([(Bytes::from("copied"), state((90, 95, 4)))]);
    let got = txn(&bytes(&request), &Returned::new(), &known).unwrap();
    assert!(got.is_guarded);
    let outer = pb::TxnRequest::decode(got.message.clone()).unwrap();
    assert_eq!(outer.compare, [compare("copied", 1, 0, 90)]);
    let inner =
        pb::TxnRequest { compare: vec![compare("copied", 0, 0, 5), compare("copied", 0, 1, -1)], ..request };
    assert_eq!(outer.success, [operation(pb::request_op::Request::RequestTxn(inner))]);
    // A full shard looks for Puts at the outermost level.
    let marker =
        pb::PutRequest { key: crate::fence::MARKER.into(), value: vec![0].into(), ..Default::default() };
    assert_eq!(outer.failure, [operation(pb::request_op::Request::RequestPut(marker))]);
    let shape: TxnShape = crate::request::txn(&got.message, 128, &mut |_, _| {}).unwrap();
    assert!(shape.puts && shape.failure_writes);

    let inner = pb::TxnResponse { header: Some(Default::default()), succeeded: true, responses: vec![] };
    let response = pb::ResponseOp { response: Some(pb::response_op::Response::ResponseTxn(inner.clone())) };
    let reply = pb::TxnResponse { header: header(140), succeeded: true, responses: vec![response] };
    let expect = Guarded::Passed { reply: bytes(&inner), revision: 140, raft_term: 4 };
    assert_eq!(Guarded::read(&bytes(&reply)), Ok(expect));
    let missed =
        pb::TxnResponse { header: header(140), succeeded: false, responses: vec![Default::default()] };
    assert_eq!(Guarded::read(&bytes(&missed)), Ok(Guarded::Missed));
    let strange = pb::TxnResponse { header: header(140), succeeded: true, responses: vec![] };
    assert!(Guarded::read(&bytes(&strange)).is_err());
}
