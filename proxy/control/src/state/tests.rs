use std::sync::Arc;

use bytes::Bytes;
use etcd_prism_ownership::definition::DefinitionHash;
use etcd_prism_ownership::id::ClusterId;
use etcd_prism_ownership::session::Step;
use etcd_prism_ownership::value::{Claim, Fence, ReignRecord, TableRoute, TableShard};
use etcd_prism_ownership::{Permit, State as FenceState};
use etcd_prism_routing::RouteId;
use etcd_prism_wire::Status;
use futures_util::FutureExt;

use super::*;
use crate::clock::Clock;
use crate::hub::Hub;
use crate::task::Signals;
use crate::view::RouteView;

const A: ShardId = ShardId(0);
const B: ShardId = ShardId(1);
const PODS: RouteId = RouteId(0);
const OURS: DefinitionHash = DefinitionHash([7; 32]);

/// A proxy of two shards with one route, `pods` on a.
struct Rig {
    state: State,
    hub: Hub,
    signals: Signals,
}

fn uid(shard: ShardId) -> ShardUid {
    ShardUid(u128::from(shard.0) + 1)
}

fn rig() -> Rig {
    let names = ["a".to_owned(), "b".to_owned()];
    let mut pods = Route::new("pods", OURS, A, &names);
    [A, B].into_iter().for_each(|shard| pods.engine.identify(shard, uid(shard)));
    let view = RouteView {
        answer: pods.engine.answer().clone(),
        generation: pods.engine.generation(),
        floor: 0,
        line: None,
        fence_key: Bytes::new(),
        unfenced: false,
    };
    let shards = names.iter().map(|name| Shard::new(name, 0)).collect();
    Rig {
        state: State::new(vec![pods], shards),
        hub: Hub::new(vec![view], 2, Clock::default()),
        signals: Signals::new(2),
    }
}

fn fence(shard: ShardId, n: u64, state: FenceState) -> Fence {
    Fence { n, definition: OURS, shard: uid(shard), state }
}

fn open(shard: ShardId, n: u64) -> Fence {
    fence(shard, n, FenceState::Open { peer: None })
}

fn sealed(shard: ShardId, n: u64) -> Fence {
    fence(shard, n, FenceState::Sealed { peer: None, claim: None })
}

fn at(mod_revision: i64, fence: Fence) -> Observation {
    Observation { revision: mod_revision, fence: Some((mod_revision, Ok(fence))) }
}

fn status(code: Code) -> UpstreamError {
    UpstreamError::Status(Status::new(code, ""))
}

impl Rig {
    fn publish(&mut self) -> Arc<RouteView> {
        self.state.publish(&self.hub, &self.signals);
        self.hub.slot(PODS).view.load_full()
    }

    fn see(&mut self, shard: ShardId, observation: Observation) -> Arc<RouteView> {
        self.state.observe(0, shard, observation);
        self.publish()
    }

    fn record(&mut self, shard: ShardId, n: u64, mod_revision: i64, floor: i64) {
        let record = ReignRecord { n, shard: uid(shard), after: floor, floor, since: 0, earlier: Vec::new() };
        self.state.shard_mut(shard).reigns.event("pods", n, mod_revision, Some(&Ok(record)));
    }

    /// The shard was read at this revision.
    fn read(&mut self, shard: ShardId, revision: i64) {
        let facts = self.state.shard_mut(shard);
        facts.live = Some(Live { cluster_id: ClusterId(1), id: Some(uid(shard)), revision });
        facts.reigns.read(revision, &BTreeMap::new());
    }

    /// A session that would acknowledge whatever it is told.
    fn session(&mut self, shard: ShardId) {
        self.state.shard_mut(shard).session.granted(5, 0, u64::MAX / 2);
    }

    fn acks(&self, shard: ShardId) -> Vec<(String, i64)> {
        match self.state.shard(shard).session.step() {
            Step::Put { acks, .. } => acks.into_iter().collect(),
            step => panic!("{step:?}"),
        }
    }
}

#[test]
fn the_first_reign_has_a_floor_too() {
    let mut rig = rig();
    rig.record(B, 1, 5_001, 960);
    let view = rig.see(B, at(5_001, open(B, 1)));
    assert_eq!((view.permit(), view.floor), (Some(Permit { shard: B, epoch: 5_001, n: 1 }), 960));
}

#[test]
fn a_route_waits_for_the_record_of_its_reign_and_shows_nothing_of_before() {
    let mut rig = rig();
    rig.record(A, 1, 9, 0);
    let before = rig.see(A, at(9, open(A, 1)));
    assert!(before.permit().is_some());
    // A began a seal that this proxy slept through, and B rules by now.
    rig.session(A);
    rig.state.observe(0, A, at(12, sealed(A, 1)));
    rig.state.observe(0, B, at(50, open(B, 2)));
    let view = rig.publish();
    assert_eq!(view.answer, Answer::Wait(Reason::ReignUnread { shard: "b".into(), n: 2 }));
    assert!(view.generation > before.generation);
    assert_eq!(rig.acks(A), [("pods".to_owned(), 12)], "after the view was changed, which it was");
    let waiting = view.generation;
    assert_eq!(rig.publish().generation, waiting, "nothing has changed");
    // The watch is about to bring it: it is asked for in a while, and not at once.
    assert!(rig.signals.shard(B).reign.notified().now_or_never().is_some());
    assert!(rig.signals.shard(B).reread.notified().now_or_never().is_none());
    rig.record(B, 2, 50, 40);
    let view = rig.publish();
    assert_eq!((view.permit().map(|p| p.shard), view.floor), (Some(B), 40));
    assert!(view.generation > waiting);
    assert!(rig.signals.shard(B).reign.notified().now_or_never().is_none());
}

#[test]
fn a_route_whose_record_is_missing_or_unreadable_is_refused_and_nobody_reads_for_it() {
    let mut rig = rig();
    // Read before the reign began.
    rig.read(B, 49);
    let view = rig.see(B, at(50, open(B, 1)));
    assert!(matches!(view.answer, Answer::Wait(Reason::ReignUnread { .. })));
    assert!(rig.signals.shard(B).reign.notified().now_or_never().is_some());
    rig.read(B, 50);
    let missing = rig.publish();
    assert_eq!(missing.answer, Answer::Refuse(Reason::ReignMissing { shard: "b".into(), n: 1 }));
    let error = ValueError::Format { what: "reign record", found: 2 };
    rig.state.shard_mut(B).reigns.event("pods", 1, 51, Some(&Err(error.clone())));
    let unreadable = rig.publish();
    assert_eq!(unreadable.answer, Answer::Refuse(Reason::Unreadable { shard: "b".into(), error }));
    assert!(unreadable.generation > missing.generation);
    for signal in [&rig.signals.shard(B).reign, &rig.signals.shard(B).reread] {
        assert!(signal.notified().now_or_never().is_none());
    }
    rig.record(B, 1, 52, 0);
    assert!(rig.publish().permit().is_some());
    // Somebody deletes it.
    rig.state.shard_mut(B).reigns.event("pods", 1, 53, None);
    assert!(matches!(rig.publish().answer, Answer::Refuse(Reason::ReignMissing { .. })));
}

#[test]
fn a_shard_that_became_another_one_keeps_no_records() {
    let mut rig = rig();
    let live = |id| Live { cluster_id: ClusterId(1), id: Some(id), revision: 60 };
    rig.state.met(B, live(uid(B)), &BTreeMap::new());
    rig.record(B, 1, 50, 0);
    assert!(rig.state.shard(B).reigns.get("pods", 1).is_some());
    rig.state.met(B, live(ShardUid(77)), &BTreeMap::new());
    let reigns = &rig.state.shard(B).reigns;
    assert!(reigns.get("pods", 1).is_none() && reigns.read_at() == 0);
}

#[test]
fn ce21_a_fence_that_cannot_be_used_is_not_none() {
    let unreadable = || {
        let error = ValueError::Format { what: "fence", found: 2 };
        vec![Observation { revision: 9, fence: Some((9, Err(error))) }]
    };
    let went_back = || vec![at(9, open(A, 1)), Observation { revision: 20, fence: None }];
    for seen in [unreadable(), went_back()] {
        let mut rig = rig();
        rig.state.shard_mut(B).read_failed(&status(Code::PermissionDenied));
        rig.read(A, 20);
        seen.into_iter().for_each(|observation| rig.state.observe(0, A, observation));
        let view = rig.publish();
        assert!(!view.unfenced && matches!(view.answer, Answer::Refuse(_)), "{view:?}");
    }
}

/// The others may serve its keys under another name, elsewhere.
#[test]
fn ce25_a_route_that_the_table_contradicts_is_not_served_without_a_fence() {
    let shard =
        |name: &str, shard| TableShard { name: name.into(), id: uid(shard), cluster_id: ClusterId(1) };
    let route = |definition, shard| TableRoute {
        name: "pods".into(),
        prefixes: Vec::new(),
        shard: uid(shard),
        definition,
    };
    let table = |routes| Table {
        generation: 1,
        arbiter: uid(A),
        shards: vec![shard("a", A), shard("b", B)],
        routes,
        claim: Claim(0),
        begins: BTreeMap::new(),
        pending: None,
    };
    let unreadable = || Err(ValueError::Format { what: "table of routes", found: 2 });
    let agrees = || Ok(table(vec![route(OURS, A)]));
    for (stored, elsewhere, served) in [
        (agrees(), None, true),
        (agrees(), Some(unreadable()), false),
        (Ok(table(vec![route(DefinitionHash([8; 32]), A)])), None, false),
        (Ok(table(vec![route(OURS, B)])), None, false),
        (Ok(table(Vec::new())), None, false),
        (unreadable(), None, false),
    ] {
        let mut rig = rig();
        rig.read(A, 20);
        rig.state.observe(0, A, Observation { revision: 20, fence: None });
        rig.state.shard_mut(B).read_failed(&status(Code::PermissionDenied));
        rig.state.shard_mut(A).table = Some((3, stored.clone()));
        rig.state.shard_mut(B).table = elsewhere.map(|table| (3, table));
        let view = rig.publish();
        assert_eq!(view.permit().is_some(), served, "{stored:?}: {view:?}");
        assert!(served || matches!(view.answer, Answer::Refuse(_)));
    }
}

#[test]
fn ce21_rights_are_lost_and_found_by_what_is_about_rights() {
    let mut rig = rig();
    rig.read(A, 20);
    rig.state.observe(0, A, Observation { revision: 20, fence: None });
    rig.state.shard_mut(B).read_failed(&status(Code::PermissionDenied));
    let view = rig.publish();
    assert!(view.unfenced && view.permit().is_some());
    // B is down: that says nothing of rights, and a is not concerned.
    rig.state.shard_mut(B).read_failed(&status(Code::Unavailable));
    assert_eq!(rig.publish(), view);
    // It may be read, and not written.
    rig.state.shard_mut(B).write_failed(&status(Code::PermissionDenied));
    rig.read(B, 7);
    rig.state.shard_mut(B).was_read();
    rig.state.observe(0, B, Observation { revision: 7, fence: None });
    assert!(rig.publish().unfenced, "a read says nothing of writes");
    rig.state.shard_mut(B).write_failed(&status(Code::Unavailable));
    assert!(rig.publish().unfenced);
    rig.state.shard_mut(B).was_written();
    assert_eq!(rig.publish().answer, Answer::Wait(Reason::Missing));
}

#[test]
fn seals_of_routes_that_are_not_known_here_are_acknowledged() {
    let mut rig = rig();
    rig.session(A);
    rig.state.observe_stranger("old", A, at(12, sealed(A, 1)));
    rig.publish();
    assert_eq!(rig.acks(A), [("old".to_owned(), 12)]);
    // What is heard late is known for old.
    rig.state.observe_stranger("old", A, at(20, fence(A, 1, FenceState::Retired)));
    rig.state.observe_stranger("old", A, at(12, sealed(A, 1)));
    assert_eq!(rig.state.strangers["old"].seal(A), None);
    rig.state.observe_stranger("old", A, at(30, sealed(A, 1)));
    rig.publish();
    assert_eq!(rig.acks(A), [("old".to_owned(), 30)]);
}

#[test]
fn what_is_served_without_a_fence_may_be_a_strangers() {
    let mut rig = rig();
    rig.session(A);
    rig.read(A, 20);
    rig.state.observe(0, A, Observation { revision: 20, fence: None });
    rig.state.shard_mut(B).read_failed(&status(Code::PermissionDenied));
    rig.state.observe_stranger("old", A, at(12, sealed(A, 1)));
    assert!(rig.publish().unfenced);
    assert_eq!(rig.acks(A), []);
}

#[test]
fn strangers_are_bounded() {
    let mut rig = rig();
    for i in 0..2 * MAX_STRANGERS {
        rig.state.observe_stranger(&format!("r{i}"), A, at(12, open(A, 1)));
    }
    assert_eq!(rig.state.strangers.len(), MAX_STRANGERS);
}

#[test]
fn a_moved_route_has_a_line_and_a_route_that_was_changed_has_none() {
    let mut rig = rig();
    rig.record(A, 1, 9, 0);
    assert_eq!(rig.see(A, at(9, open(A, 1))).line, None);
    let first = Reign { n: 1, shard: uid(A), after: 0, raw_start: 1 };
    let record = ReignRecord { n: 2, shard: uid(B), after: 100, floor: 0, since: 0, earlier: vec![first] };
    rig.state.shard_mut(A).live = Some(Live { cluster_id: ClusterId(1), id: Some(uid(A)), revision: 100 });
    rig.state.shard_mut(A).identified = true;
    rig.state.shard_mut(B).reigns.event("pods", 2, 40, Some(&Ok(record)));
    rig.state.observe(0, A, at(120, standby(A, B, 2)));
    let view = rig.see(B, at(40, open(B, 2)));
    let line = view.line.clone().expect("a line");
    let found = |revision| line.find(revision).map(|at| (at.reign, at.shard, at.raw));
    assert_eq!(found(100), Some((0, A, 100)));
    assert_eq!(found(101), Some((1, B, 40)));
    assert_eq!((line.present(), line.last(0), line.last(1), line.floor()), (1, Some(100), None, 0));
    // It stays the same one while nothing changes, and ends at G where the former shard is not the one that it was.
    assert!(Arc::ptr_eq(&line, rig.publish().line.as_ref().expect("a line")));
    rig.state.shard_mut(A).identified = false;
    let view = rig.publish();
    let line = view.line.as_ref().expect("a line");
    assert_eq!((line.find(100), line.floor(), view.floor), (None, 100, 100));
    assert!(line.find(101).is_some());
}

#[test]
fn a_proxy_that_starts_does_not_take_a_shard_that_it_has_not_asked_yet_for_gone() {
    let mut rig = rig();
    let first = Reign { n: 1, shard: uid(A), after: 0, raw_start: 1 };
    let record =
        |floor| Ok(ReignRecord { n: 2, shard: uid(B), after: 100, floor, since: 39, earlier: vec![first] });
    rig.state.shard_mut(B).reigns.event("pods", 2, 40, Some(&record(0)));
    rig.state.observe(0, A, at(120, standby(A, B, 2)));
    let view = rig.see(B, at(40, open(B, 2)));
    assert!(matches!(view.answer, Answer::Wait(Reason::Unidentified { .. })), "{:?}", view.answer);
    // It does not answer: the route is served without what it held.
    rig.state.shard_mut(A).read_failed(&status(Code::Unavailable));
    let view = rig.publish();
    assert!(view.permit().is_some() && view.floor == 100, "{view:?}");
    // Here it is.
    rig.state.shard_mut(A).live = Some(Live { cluster_id: ClusterId(1), id: Some(uid(A)), revision: 120 });
    rig.state.shard_mut(A).identified = true;
    assert_eq!(rig.publish().floor, 0);
    // What it held was given up.
    rig.state.shard_mut(B).reigns.event("pods", 2, 60, Some(&record(100)));
    assert_eq!(rig.publish().line.as_ref().map(|line| line.floor()), Some(100));
}

#[test]
fn who_has_a_session_at_a_standby_says_that_it_follows() {
    let mut rig = rig();
    rig.record(A, 1, 9, 0);
    let linked = fence(A, 1, FenceState::Open { peer: Some(uid(B)) });
    rig.state.observe(0, A, at(12, linked));
    rig.session(B);
    rig.see(B, at(50, standby(B, A, 1)));
    assert_eq!(rig.acks(B), vec![("pods".to_owned(), 50)]);
    // Not an epoch of a standby that follows somebody else.
    rig.see(B, at(51, standby(B, B, 1)));
    assert_eq!(rig.acks(B), vec![("pods".to_owned(), 50)]);
}

fn standby(shard: ShardId, peer: ShardId, n: u64) -> Fence {
    fence(shard, n, FenceState::Standby { peer: uid(peer) })
}

#[test]
fn a_seal_is_acknowledged_when_the_revokes_before_it_are_over() {
    let mut rig = rig();
    rig.record(A, 1, 9, 0);
    rig.see(A, at(9, open(A, 1)));
    rig.session(A);
    let before = rig.state.revokes.begin();
    rig.see(A, at(12, sealed(A, 1)));
    // One that begins now sees that the route is not served, and is held: it keeps nobody waiting.
    let after = rig.state.revokes.begin();
    rig.publish();
    assert_eq!(rig.acks(A), vec![]);
    // What another shard says is of no use; this one's answer is.
    assert!(rig.state.revokes.told(before, B));
    rig.publish();
    assert_eq!(rig.acks(A), vec![]);
    assert!(rig.state.revokes.told(before, A));
    rig.publish();
    assert_eq!(rig.acks(A), vec![("pods".to_owned(), 12)]);
    assert!(!rig.state.revokes.end(before) && !rig.state.revokes.end(after));
    // The next seal looks anew.
    rig.see(A, at(13, open(A, 1)));
    let before = rig.state.revokes.begin();
    rig.see(A, at(14, sealed(A, 1)));
    assert_eq!(rig.acks(A), vec![("pods".to_owned(), 12)]);
    assert!(rig.state.revokes.end(before));
    rig.publish();
    assert_eq!(rig.acks(A), vec![("pods".to_owned(), 14)]);
}
