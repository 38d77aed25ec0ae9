//! The rows, one by one.

use super::*;

/// The states of the first fence that a row takes, by name.
fn takes(row: impl Fn(&Standing) -> Result<Txn, rows::NotNow>) -> Vec<&'static str> {
    let all = states(B).into_iter().map(|state| standing(A, 20, 4, state));
    all.filter(|at| row(at).is_ok()).map(|at| at.fence.state.name()).collect()
}

#[test]
fn each_row_begins_where_the_table_says() {
    let target = |revision, n| standing(B, revision, n, importing(A));
    assert_eq!(takes(|s| rows::claim(ROUTE, s, B)), ["open"]);
    assert_eq!(takes(|s| rows::import(ROUTE, s, B, None)), ["open"]);
    assert_eq!(takes(|s| rows::raise(ROUTE, s)), ["importing", "standby"]);
    assert_eq!(takes(|s| rows::seal(ROUTE, s)), ["open"]);
    assert_eq!(takes(|s| rows::abort(ROUTE, s)), ["sealed"]);
    assert_eq!(takes(|s| rows::decide(ROUTE, s, 9, (100, 0, 70))), ["sealed"]);
    assert_eq!(takes(|s| rows::flip(ROUTE, s, &target(9, 3), Vec::new())), ["flipping"]);
    assert_eq!(takes(|s| rows::kill(ROUTE, s, &target(9, 3))), ["flipping"]);
    assert_eq!(takes(|s| rows::reopen(ROUTE, s, &target(10, 3))), ["flipping"]);
    assert_eq!(takes(|s| rows::finish(ROUTE, s, &target(10, 4))), ["flipping"]);
    assert_eq!(
        takes(|s| rows::retire(ROUTE, &standing(B, 9, 4, open(Some(A))), s)),
        ["importing", "standby"]
    );
    assert_eq!(takes(|s| rows::unlink(ROUTE, s)), ["open"]);
}

#[test]
fn each_row_compares_the_fence_that_it_writes_and_nothing_else() {
    let at = |state| standing(A, 20, 4, state);
    let target = standing(B, 9, 3, importing(A));
    let rows = [
        rows::claim(ROUTE, &at(open(None)), B),
        rows::seal(ROUTE, &at(open(Some(B)))),
        rows::abort(ROUTE, &at(sealed(B))),
        rows::decide(ROUTE, &at(sealed(B)), 9, (100, 0, 70)),
        rows::reopen(ROUTE, &at(flipping(B, 8)), &target),
        rows::unlink(ROUTE, &at(open(Some(B)))),
    ];
    for txn in rows.map(Result::unwrap) {
        assert_eq!((txn.shard, &txn.compares[..]), (A, &[(keys::fence(ROUTE), 20)][..]));
    }
    let raised = rows::raise(ROUTE, &target).unwrap();
    assert_eq!(raised.compares, [(keys::fence(ROUTE), 9)]);
    assert_eq!(made(&raised), (9, &target.fence));
}

#[test]
fn ce30_31_a_flip_takes_everything_from_what_is_stored() {
    let owner = standing(A, 20, 4, flipping(B, 9));
    let txn = rows::flip(ROUTE, &owner, &standing(B, 9, 3, importing(A)), Vec::new()).unwrap();
    assert_eq!(txn.compares, [(keys::fence(ROUTE), 9), (keys::reign(ROUTE, 4), 0)]);
    assert_eq!(made(&txn), (9, &fence(B, 4, open(Some(A)))));
    let begin = Begin { after: 100, floor: 3, since: 70, earlier: Vec::new() };
    assert_eq!(
        txn.puts[1].1,
        Write::Reign(ReignRecord {
            n: 4,
            shard: B,
            after: begin.after,
            floor: begin.floor,
            since: begin.since,
            earlier: Vec::new()
        })
    );
    let other = ShardUid(3);
    for (shard, epoch) in [(B, 8), (B, 10), (other, 9)] {
        let target = standing(shard, epoch, 3, importing(A));
        assert!(
            rows::flip(ROUTE, &owner, &target, Vec::new()).is_err()
                && rows::kill(ROUTE, &owner, &target).is_err()
        );
    }
}

#[test]
fn ce29_the_owner_reopens_only_if_the_flip_can_no_longer_happen_and_did_not() {
    let owner = standing(A, 20, 4, flipping(B, 9));
    for state in states(A) {
        let target = |revision, n| standing(B, revision, n, state.clone());
        let reopens = |revision, n| rows::reopen(ROUTE, &owner, &target(revision, n)).is_ok();
        let finishes = |revision, n| rows::finish(ROUTE, &owner, &target(revision, n)).is_ok();
        assert!(!reopens(9, 3) && !finishes(9, 3), "it may still happen");
        assert!(reopens(10, 3) && !finishes(10, 3), "it cannot");
        assert!(!reopens(10, 4) && finishes(10, 4), "it did, whatever came later: {state:?}");
        assert!(!reopens(30, 7) && finishes(30, 7));
    }
    let reopened = rows::reopen(ROUTE, &owner, &standing(B, 10, 3, importing(A))).unwrap();
    assert_eq!(made(&reopened), (20, &fence(A, 3, open(Some(B)))));
}

#[test]
fn a_standby_is_made_of_whatever_does_not_count() {
    let source = standing(A, 20, 4, open(Some(B)));
    let other = ShardUid(3);
    for (state, n, fits) in [
        (State::Retired, 4, true),
        (importing(A), 4, true),
        (importing(other), 2, true),
        (State::Standby { peer: other }, 3, true),
        (State::Importing { peer: None, claim: Some(crate::value::Claim(4)) }, 4, false),
        (State::Retired, 5, false),
        (open(None), 3, false),
        (sealed(A), 3, false),
        (flipping(A, 2), 4, false),
    ] {
        let found = standing(B, 9, n, state);
        let txn = rows::import(ROUTE, &source, B, Some(&found));
        assert_eq!(txn.is_ok(), fits, "{found:?}");
        if let Ok(txn) = txn {
            assert_eq!(made(&txn), (9, &fence(B, 4, importing(A))));
        }
    }
    let first = rows::import(ROUTE, &source, B, None).unwrap();
    assert_eq!(first.compares[0].1, 0);
    assert!(rows::import(ROUTE, &source, other, None).is_err(), "the owner names another one");
}

#[test]
fn a_seal_or_a_standby_of_a_change_of_routes_is_left_alone() {
    let claim = Some(crate::value::Claim(4));
    let sealed = standing(A, 20, 4, State::Sealed { peer: None, claim });
    assert!(rows::abort(ROUTE, &sealed).is_err() && rows::decide(ROUTE, &sealed, 9, (1, 0, 0)).is_err());
    let importing = standing(B, 9, 4, State::Importing { peer: None, claim });
    assert!(rows::raise(ROUTE, &importing).is_err());
    assert!(rows::retire(ROUTE, &standing(A, 20, 4, open(Some(B))), &importing).is_err());
}
