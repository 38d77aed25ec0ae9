use etcd_prism_routing::ShardId;
use proptest::prelude::*;

use super::*;
use crate::definition::DefinitionHash;
use crate::id::ShardUid;
use crate::route::Observation;
use crate::value::{Fence, State};

const TTL: u64 = 3_000;
const MARGIN: u64 = 500;
const SHARD: ShardId = ShardId(0);

fn turn(step: Step) -> Turn {
    match step {
        Step::ReadFences(turn) | Step::Check(turn) => turn,
        other => panic!("{other:?}"),
    }
}

/// Answers what is due until nothing is.
fn settle(session: &mut Session, mut revision: i64) {
    loop {
        match session.step() {
            Step::Put { lease, acks, .. } => {
                revision += 1;
                session.written(lease, revision, acks);
            }
            Step::ReadFences(turn) => session.fences_read(turn),
            Step::Check(turn) => session.checked(turn),
            Step::Grant | Step::Settled => return,
        }
    }
}

fn serving(sent: u64) -> Session {
    let mut session = Session::new(MARGIN);
    session.granted(7, sent, TTL);
    settle(&mut session, 0);
    session
}

fn route(mod_revision: i64, state: State) -> RouteEngine {
    let definition = DefinitionHash([1; 32]);
    let mut route = RouteEngine::new("pods", definition, &["a".into()]);
    route.identify(SHARD, ShardUid(1));
    let fence = Fence { n: 1, definition, shard: ShardUid(1), state };
    route.observe(SHARD, Observation { revision: mod_revision, fence: Some((mod_revision, Ok(fence))) });
    route
}

#[test]
fn it_counts_only_after_key_fences_and_check_in_this_order() {
    let mut session = Session::new(MARGIN);
    assert_eq!(session.step(), Step::Grant);
    session.granted(7, 100, TTL);
    assert_eq!(session.step(), Step::Put { lease: 7, mod_revision: 0, acks: Acks::new() });
    session.fences_read(Turn(7));
    session.checked(Turn(7));
    assert!(!session.may_release(100), "the key is not written");
    session.written(7, 5, Acks::new());
    session.checked(Turn(7));
    let read = turn(session.step());
    session.fences_read(read);
    assert!(!session.may_release(100), "not checked");
    let check = turn(session.step());
    session.checked(check);
    assert_eq!(session.step(), Step::Settled);
    assert!(session.may_release(100));
}

#[test]
fn ce04_what_was_begun_under_an_earlier_lease_does_not_count() {
    let mut session = Session::new(MARGIN);
    session.granted(7, 100, TTL);
    session.written(7, 5, Acks::new());
    let read = turn(session.step());
    session.lost();
    session.granted(8, 200, TTL);
    session.written(8, 6, Acks::new());
    session.fences_read(read);
    assert_eq!(session.step(), Step::ReadFences(Turn(8)));
}

#[test]
fn the_deadline_counts_from_the_sending() {
    let mut session = serving(100);
    let end = 100 + TTL - MARGIN;
    assert!(session.may_release(end - 1) && !session.may_release(end));
    session.renewed(7, 1_000, TTL);
    assert_eq!(session.deadline(), Some(1_000 + TTL - MARGIN));
    session.renewed(7, 500, TTL);
    assert_eq!(session.deadline(), Some(1_000 + TTL - MARGIN), "an older renewal came late");
    session.renewed(8, 2_000, TTL);
    assert_eq!(session.deadline(), Some(1_000 + TTL - MARGIN), "another lease's");
}

#[test]
fn a_lease_that_ended_begins_anew() {
    let mut session = serving(100);
    session.renewed(7, 1_000, 0);
    assert_eq!(session.step(), Step::Grant);
    assert!(!session.may_release(1_000));
}

#[test]
fn a_ttl_below_the_margin_serves_nothing() {
    let mut session = Session::new(MARGIN);
    session.granted(7, 100, MARGIN);
    settle(&mut session, 0);
    assert!(!session.may_release(100));
}

#[test]
fn puts_are_conditional_on_the_key() {
    let mut session = Session::new(MARGIN);
    session.granted(7, 100, TTL);
    session.refused(9);
    assert_eq!(session.step(), Step::Put { lease: 7, mod_revision: 9, acks: Acks::new() });
    session.written(7, 12, Acks::new());
    settle(&mut session, 12);
    assert!(session.may_release(100));
    session.refused(14);
    assert!(session.may_release(100), "a put of ours of which nobody knew the outcome");
    session.refused(0);
    assert_eq!(session.step(), Step::Grant, "somebody removed the key");
}

#[test]
fn ce04_acknowledgements_name_the_seal() {
    let mut session = serving(100);
    let sealed = State::Sealed { peer: None, claim: None };
    session.acknowledge(&route(12, sealed.clone()).seal(SHARD).unwrap());
    let acks = Acks::from([("pods".to_owned(), 12)]);
    assert_eq!(session.step(), Step::Put { lease: 7, mod_revision: 1, acks: acks.clone() });
    session.written(7, 13, acks);
    assert_eq!(session.step(), Step::Settled);
    assert!(session.may_release(100), "other routes go on");
    session.acknowledge(&route(10, sealed).seal(SHARD).unwrap());
    assert_eq!(session.step(), Step::Settled, "an older seal");
}

#[test]
fn an_answer_of_an_older_generation_is_dropped() {
    let session = serving(100);
    let mut route = route(9, State::Open { peer: None });
    let asked = route.generation();
    assert!(may_release(&session, &route, asked, 200));
    let (_, fence) = route.fence(SHARD).unwrap();
    let fence = fence.clone();
    route.observe(SHARD, Observation { revision: 10, fence: Some((10, Ok(fence))) });
    assert!(!may_release(&session, &route, asked, 200));
    assert!(may_release(&session, &route, route.generation(), 200));
    assert!(!may_release(&session, &route, route.generation(), 100 + TTL));
}

proptest! {
    /// Whatever happens in whatever order: the deadline is never later than the last acknowledged renewal allows.
    #[test]
    fn the_deadline_is_never_too_late(
        events in prop::collection::vec((0..7_u8, 0..3_i64, 0..50_u64), 0..60),
    ) {
        let mut session = Session::new(10);
        let mut acknowledged = 0;
        let (mut now, mut turns) = (0, vec![Turn(0)]);
        for (event, lease, step) in events {
            now += step;
            match event {
                0 => { session.granted(lease, now, 100); acknowledged = now }
                1 => {
                    session.renewed(lease, now.saturating_sub(20), 100);
                    acknowledged = acknowledged.max(now.saturating_sub(20));
                }
                2 => session.written(lease, now as i64, Acks::new()),
                3 => turns.iter().for_each(|t| session.fences_read(*t)),
                4 => turns.iter().for_each(|t| session.checked(*t)),
                5 => session.refused(lease),
                _ => session.lost(),
            }
            if let Step::ReadFences(turn) | Step::Check(turn) = session.step() {
                turns.push(turn);
            }
            if let Some(deadline) = session.deadline() {
                prop_assert!(deadline <= acknowledged + 90);
            }
        }
    }
}
