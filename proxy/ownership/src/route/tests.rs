use super::*;
use crate::id::ClusterId;
use crate::value::Claim;

const OURS: DefinitionHash = DefinitionHash([7; 32]);
const THEIRS: DefinitionHash = DefinitionHash([8; 32]);
const A: ShardId = ShardId(0);
const B: ShardId = ShardId(1);

fn id(shard: ShardId) -> ShardUid {
    ShardUid(u128::from(shard.0) + 1)
}

fn engine() -> RouteEngine {
    let mut engine = RouteEngine::new("pods", OURS, &["a".into(), "b".into()]);
    engine.identify(A, id(A));
    engine.identify(B, id(B));
    engine
}

fn fence(shard: ShardId, n: u64, state: State) -> Fence {
    Fence { n, definition: OURS, shard: id(shard), state }
}

fn open(shard: ShardId, n: u64) -> Fence {
    fence(shard, n, State::Open { peer: None })
}

fn sealed(shard: ShardId, n: u64) -> Fence {
    fence(shard, n, State::Sealed { peer: None, claim: None })
}

fn at(mod_revision: i64, fence: Fence) -> Observation {
    Observation { revision: mod_revision, fence: Some((mod_revision, Ok(fence))) }
}

fn absent(revision: i64) -> Observation {
    Observation { revision, fence: None }
}

fn permit(shard: ShardId, epoch: i64, n: u64) -> Answer {
    Answer::Permit(Permit { shard, epoch, n })
}

fn refused(engine: &RouteEngine) -> &Reason {
    match engine.answer() {
        Answer::Refuse(reason) => reason,
        other => panic!("{other:?}"),
    }
}

fn waits(engine: &RouteEngine) -> &Reason {
    match engine.answer() {
        Answer::Wait(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_permitted_before_the_owner_was_read() {
    let mut engine = engine();
    assert_eq!(waits(&engine), &Reason::Unread { shards: vec!["a".into(), "b".into()] });
    engine.observe(B, absent(5));
    assert_eq!(waits(&engine), &Reason::Unread { shards: vec!["a".into()] });
    engine.observe(A, absent(5));
    assert_eq!(waits(&engine), &Reason::Missing);
    engine.observe(A, at(9, open(A, 1)));
    assert_eq!(engine.answer(), &permit(A, 9, 1));
}

#[test]
fn the_owner_alone_is_enough() {
    let mut engine = engine();
    engine.observe(A, at(9, open(A, 1)));
    assert_eq!(engine.answer(), &permit(A, 9, 1));
}

#[test]
fn the_fence_wins_over_the_configuration() {
    let mut engine = engine();
    engine.observe(A, absent(5));
    engine.observe(B, at(9, open(B, 3)));
    assert_eq!(engine.answer(), &permit(B, 9, 3));
}

#[test]
fn the_higher_revision_of_one_fence_wins_in_any_order() {
    let steps = [at(9, open(A, 1)), at(12, sealed(A, 1)), at(15, open(A, 1))];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1], [0, 2, 1], [1, 2, 0]] {
        let mut engine = engine();
        order.iter().for_each(|&i| engine.observe(A, steps[i].clone()));
        assert_eq!(engine.answer(), &permit(A, 15, 1), "{order:?}");
    }
}

#[test]
fn every_change_of_the_answer_raises_the_generation() {
    let mut engine = engine();
    let mut last = engine.generation();
    for observation in [at(9, open(A, 1)), at(12, sealed(A, 1)), at(15, open(A, 1)), at(16, open(A, 1))] {
        engine.observe(A, observation.clone());
        assert!(engine.generation() > last);
        last = engine.generation();
        engine.observe(A, observation);
        engine.observe(A, at(9, open(A, 1)));
        engine.observe(A, absent(8));
        assert_eq!(engine.generation(), last, "an old or repeated observation");
    }
}

#[test]
fn a_seal_exists_only_while_it_is_the_newest() {
    let mut engine = engine();
    assert_eq!(engine.seal(A), None);
    engine.observe(A, at(9, open(A, 1)));
    assert_eq!(engine.seal(A), None);
    engine.observe(A, at(12, sealed(A, 1)));
    assert_eq!(engine.permit(), None);
    assert_eq!(engine.seal(A).map(|s| s.revision()), Some(12));
    assert_eq!(engine.seal(B), None);
    engine.observe(A, at(15, open(A, 1)));
    assert_eq!(engine.seal(A), None);
}

#[test]
fn ce25_another_definition_is_refused() {
    let mut engine = engine();
    let theirs = Fence { definition: THEIRS, ..open(A, 1) };
    engine.observe(A, at(9, theirs));
    assert!(matches!(refused(&engine), Reason::Definition { .. }));
    engine.set_definition(THEIRS);
    assert_eq!(engine.answer(), &permit(A, 9, 1));
}

#[test]
fn an_unknown_state_or_format_is_never_open() {
    for error in [ValueError::UnknownState("ajar".into()), ValueError::Format { what: "fence", found: 2 }] {
        let mut engine = engine();
        engine.observe(A, at(9, open(A, 1)));
        engine.observe(A, Observation { revision: 12, fence: Some((12, Err(error))) });
        assert!(matches!(refused(&engine), Reason::Unreadable { .. }));
    }
}

#[test]
fn a_fence_of_whatever_value_is_a_fence() {
    let mut engine = engine();
    assert!(!engine.has_fence(A));
    engine.observe(A, absent(5));
    assert!(!engine.has_fence(A));
    let error = ValueError::Format { what: "fence", found: 2 };
    engine.observe(A, Observation { revision: 12, fence: Some((12, Err(error))) });
    assert!(engine.has_fence(A) && engine.fence(A).is_none());
    engine.observe(A, absent(20));
    assert!(matches!(refused(&engine), Reason::WentBack { .. }));
    assert!(engine.has_fence(A) && !engine.has_fence(B));
}

#[test]
fn ce26_a_fence_that_went_back_in_time_stops_the_route_until_it_is_accepted() {
    for (observation, found) in
        [(absent(9), 0), (Observation { revision: 20, fence: Some((7, Ok(open(A, 1)))) }, 7)]
    {
        let mut engine = engine();
        engine.observe(A, at(9, open(A, 1)));
        engine.observe(A, observation);
        assert_eq!(refused(&engine), &Reason::WentBack { shard: "a".into(), known: 9, found });
        engine.observe(A, at(30, open(A, 1)));
        assert!(matches!(engine.answer(), Answer::Refuse(_)));
        engine.accept(A);
        engine.observe(A, at(30, open(A, 1)));
        assert_eq!(engine.answer(), &permit(A, 30, 1));
    }
}

#[test]
fn ce26_of_two_open_fences_the_higher_reign_wins_loudly() {
    let mut engine = engine();
    engine.observe(A, at(9, open(A, 1)));
    engine.observe(B, at(5, open(B, 2)));
    assert_eq!(engine.answer(), &permit(B, 5, 2));
    assert!(engine.alarms().is_empty(), "it may only have been read before it was left");
    let suspect = engine.suspects()[0];
    engine.confirm(suspect, at(9, open(A, 1)));
    assert_eq!(engine.alarms(), [Reason::Restored { shard: "a".into(), n: 1, known: 2 }]);
    assert_eq!(engine.answer(), &permit(B, 5, 2));
    assert!(engine.suspects().is_empty());
}

#[test]
fn a_shard_that_was_only_read_too_early_raises_no_alarm() {
    let mut engine = engine();
    engine.observe(A, at(9, open(A, 1)));
    engine.observe(B, at(5, open(B, 2)));
    let suspect = engine.suspects()[0];
    engine.confirm(suspect, at(11, fence(A, 2, State::Retired)));
    assert!(engine.alarms().is_empty());
    assert_eq!(engine.answer(), &permit(B, 5, 2));
}

#[test]
fn ce26_an_owner_that_others_know_as_deposed_is_read_again_and_then_refused() {
    let mut engine = engine();
    engine.observe(A, at(9, open(A, 1)));
    engine.observe(B, at(5, fence(B, 3, State::Standby { peer: id(A) })));
    assert_eq!(waits(&engine), &Reason::Rereading { shard: "a".into(), n: 1, known: 3 });
    let suspect = engine.suspects()[0];
    engine.confirm(suspect, at(9, open(A, 1)));
    assert_eq!(refused(&engine), &Reason::Restored { shard: "a".into(), n: 1, known: 3 });
    engine.observe(A, at(30, open(A, 3)));
    assert_eq!(engine.answer(), &permit(A, 30, 3));
}

#[test]
fn a_flip_that_has_not_happened_deposes_nobody() {
    let mut engine = engine();
    let flipping = State::Flipping { target: id(A), target_epoch: 9, g: 100, floor: 0, since: 0 };
    engine.observe(B, at(5, fence(B, 2, flipping)));
    assert!(matches!(waits(&engine), Reason::Moving { state: "flipping", .. }));
    engine.observe(A, at(12, open(A, 2)));
    assert_eq!(engine.answer(), &permit(A, 12, 2));
}

#[test]
fn two_owners_of_one_reign_are_both_refused() {
    let mut engine = engine();
    engine.observe(A, at(9, open(A, 1)));
    engine.observe(B, at(9, open(B, 1)));
    assert!(matches!(refused(&engine), Reason::TwoOwners { n: 1, .. }));
}

#[test]
fn ce26_a_shard_that_is_another_one_is_refused() {
    let mut engine = engine();
    engine.observe(A, at(9, open(B, 1)));
    assert_eq!(refused(&engine), &Reason::Foreign { shard: "a".into(), written_for: id(B) });

    let mut engine = self::engine();
    engine.observe(A, at(9, open(A, 1)));
    let problem = IdentityProblem::OtherCluster { expected: ClusterId(1), found: ClusterId(2) };
    engine.set_problem(A, Some(problem.clone()));
    assert_eq!(refused(&engine), &Reason::Identity { shard: "a".into(), problem });
    engine.set_problem(A, None);
    assert_eq!(engine.answer(), &permit(A, 9, 1));

    engine.identify(A, ShardUid(77));
    assert_eq!(waits(&engine), &Reason::Unread { shards: vec!["a".into(), "b".into()] });
}

#[test]
fn an_unidentified_shard_is_not_served() {
    let mut engine = RouteEngine::new("pods", OURS, &["a".into()]);
    engine.observe(A, at(9, open(A, 1)));
    assert_eq!(waits(&engine), &Reason::Unidentified { shard: "a".into() });
}

#[test]
fn without_an_owner_the_route_says_why() {
    let mut engine = engine();
    engine.observe(A, at(9, fence(A, 2, State::Retired)));
    assert_eq!(waits(&engine), &Reason::Unread { shards: vec!["b".into()] });
    engine.observe(B, absent(3));
    assert_eq!(waits(&engine), &Reason::Rereading { shard: "b".into(), n: 0, known: 2 });
    let suspects = engine.suspects();
    engine.confirm(suspects[0], absent(3));
    assert_eq!(refused(&engine), &Reason::NoOwner { shard: "a".into(), state: "retired" });
    assert_eq!(engine.suspects(), []);
    engine.observe(B, at(5, fence(B, 2, State::Importing { peer: None, claim: None })));
    assert!(matches!(waits(&engine), Reason::Moving { state: "importing", .. }));
    engine.set_table(Some("differs".into()));
    assert_eq!(refused(&engine), &Reason::Table("differs".into()));
}

/// Of two shards the one that was left may be heard first.
#[test]
fn a_route_that_moved_is_waited_for_where_it_went() {
    let mut engine = engine();
    engine.observe(A, at(9, open(A, 1)));
    engine.observe(B, absent(3));
    for (from, to, n, now) in [(A, B, 2, 20), (B, A, 3, 30), (A, B, 4, 40)] {
        engine.observe(from, at(now, fence(from, n - 1, State::Retired)));
        let waits = matches!(waits(&engine), Reason::Successor { .. } | Reason::Rereading { .. });
        assert!(waits, "{n}: {:?}", engine.answer());
        let suspects = engine.suspects();
        assert_eq!(suspects.iter().map(|s| s.shard).collect::<Vec<_>>(), [to]);
        engine.confirm(suspects[0], at(now, open(to, n)));
        assert_eq!(engine.answer(), &permit(to, now, n));
        assert_eq!(engine.suspects(), []);
    }
}

#[test]
fn a_stranger_is_never_served_and_its_seals_are_acknowledged() {
    let mut engine = RouteEngine::stranger("old", &["a".into(), "b".into()]);
    engine.identify(A, id(A));
    engine.observe(A, at(9, Fence { definition: DefinitionHash([0; 32]), ..open(A, 1) }));
    assert!(matches!(refused(&engine), Reason::Table(_)));
    engine.observe(A, at(12, sealed(A, 1)));
    assert_eq!(engine.seal(A).map(|s| s.revision()), Some(12));
}

fn importing(n: u64) -> Fence {
    fence(B, n, State::Importing { peer: Some(id(A)), claim: None })
}

fn linked(n: u64) -> Fence {
    fence(A, n, State::Open { peer: Some(id(B)) })
}

#[test]
fn writes_are_mirrored_while_the_standby_follows_the_permitted_reign() {
    let mut engine = engine();
    engine.observe(A, at(10, linked(3)));
    assert_eq!((engine.mirror(), engine.following(B)), (None, None), "the standby has not been read");
    engine.observe(B, at(7, importing(3)));
    assert_eq!(engine.mirror(), Some(Mirror { shard: B, epoch: 7 }));
    assert_eq!(engine.following(B).unwrap().revision(), 7);
    assert_eq!(engine.following(A), None);
    engine.observe(B, at(8, importing(3)));
    assert_eq!(engine.mirror(), Some(Mirror { shard: B, epoch: 8 }), "raised");
    engine.observe(A, at(11, fence(A, 3, State::Sealed { peer: Some(id(B)), claim: None })));
    assert_eq!(engine.mirror(), None, "nothing is committed under a seal");
}

#[test]
fn nothing_is_mirrored_to_who_follows_another_reign_or_another_owner() {
    for (owner, standby) in [
        (linked(3), importing(2)),
        (open(A, 3), importing(3)),
        (linked(3), fence(B, 3, State::Standby { peer: ShardUid(9) })),
        (linked(3), fence(B, 3, State::Importing { peer: Some(id(A)), claim: Some(Claim(1)) })),
        (linked(3), Fence { shard: ShardUid(9), ..importing(3) }),
    ] {
        let mut engine = engine();
        engine.observe(A, at(10, owner));
        engine.observe(B, at(7, standby.clone()));
        assert_eq!(engine.mirror(), None, "{standby:?}");
    }
}

#[test]
fn a_switch_seen_on_the_old_owner_only_makes_the_other_one_be_read_again() {
    for stale in [at(7, importing(3)), absent(9), at(7, fence(B, 2, State::Retired))] {
        let mut engine = engine();
        engine.observe(B, stale);
        engine.observe(A, at(12, fence(A, 4, State::Standby { peer: id(B) })));
        assert!(matches!(engine.answer(), Answer::Wait(_)), "{:?}", engine.answer());
        let suspects = engine.suspects();
        assert_eq!(suspects.iter().map(|s| s.shard).collect::<Vec<_>>(), [B]);
        engine.confirm(suspects[0], at(20, fence(B, 4, State::Open { peer: Some(id(A)) })));
        assert_eq!(engine.answer(), &permit(B, 20, 4));
        assert!(engine.suspects().is_empty());
    }
}

#[test]
fn an_owner_that_is_nowhere_is_named_once_every_shard_was_read_again() {
    let mut engine = engine();
    engine.observe(B, absent(9));
    engine.observe(A, at(12, fence(A, 4, State::Standby { peer: id(B) })));
    engine.confirm(engine.suspects()[0], absent(30));
    assert_eq!(refused(&engine), &Reason::NoOwner { shard: "a".into(), state: "standby" });
}

#[test]
fn a_flip_that_is_only_wanted_counts_for_nothing() {
    let mut engine = engine();
    engine.observe(B, at(7, importing(3)));
    let flipping = State::Flipping { target: id(B), target_epoch: 7, g: 40, floor: 0, since: 0 };
    engine.observe(A, at(12, fence(A, 4, flipping)));
    assert_eq!(waits(&engine), &Reason::Moving { shard: "a".into(), state: "flipping" });
    assert!(engine.suspects().is_empty());
    engine.observe(A, at(13, linked(3)));
    assert_eq!(engine.answer(), &permit(A, 13, 3), "reopened");
}
