use std::collections::BTreeMap;

use etcd_prism_ownership::drain::SessionList;
use etcd_prism_ownership::migration::{Options, Phase, Record, Throttle, View};
use etcd_prism_ownership::value::{Fence, MIGRATES, Session};
use etcd_prism_ownership::{DefinitionHash, ProxyId, ShardUid, State};

use super::gather::{Found, Limits, Side, Size, Space};
use super::judge::{Facts, judge};
use super::ready::{About, ready};
use super::{Plan, Verdict};

const A: ShardUid = ShardUid(1);
const B: ShardUid = ShardUid(2);

fn fence(shard: ShardUid, state: State) -> Fence {
    Fence { n: 1, definition: DefinitionHash([1; 32]), shard, state }
}

fn session(
    id: u128,
    protocol: u32,
    ack: Option<i64>,
) -> (ProxyId, Result<Session, etcd_prism_ownership::ValueError>) {
    let acks = ack.map(|ack| ("pods".to_owned(), ack)).into_iter().collect();
    let (name, address, revisions) = (format!("p{id}"), String::new(), BTreeMap::new());
    (ProxyId(id), Ok(Session { protocol, name, address, started: 0, acks, revisions }))
}

fn side(shard: ShardUid, state: Option<State>) -> Side {
    let mut view = View::empty(50);
    view.fence = state.map(|state| (40, Ok(fence(shard, state))));
    let sessions = vec![session(1, MIGRATES, Some(40))];
    let space = Space { in_use: 1 << 20, quota: 2 << 30 };
    Side { view, sessions: SessionList { revision: 50, sessions }, space, errors: Vec::new() }
}

fn found(name: &str, id: ShardUid, state: Option<State>) -> Found {
    Found { name: name.to_owned(), id: Some(id), side: Ok(side(id, state)) }
}

fn facts() -> Facts {
    Facts {
        route: "pods".to_owned(),
        default: false,
        fences: true,
        no_copy: false,
        source: found("a", A, Some(State::Open { peer: None })),
        target: found("b", B, None),
        size: Ok(Size { keys: 100_000, bytes: 1 << 28 }),
        found: Ok(None),
        limits: Some(Limits { ops: Ok(()), request: Ok(()) }),
        throttle: Throttle::default(),
    }
}

/// The names of the checks that say no.
fn against(plan: &Plan) -> Vec<&str> {
    plan.checks.iter().filter(|c| c.verdict == Verdict::NoGo).map(|c| c.name.as_str()).collect()
}

fn no(change: impl FnOnce(&mut Facts)) -> Vec<String> {
    let mut facts = facts();
    change(&mut facts);
    against(&judge(&facts)).into_iter().map(str::to_owned).collect()
}

#[test]
fn a_route_that_can_be_moved() {
    let plan = judge(&facts());
    assert!(plan.go(), "{plan:?}");
    assert_eq!((plan.keys, plan.bytes, plan.seconds), (Some(100_000), Some(1 << 28), Some(20)));
}

#[test]
fn each_obstacle_is_named() {
    let reach = |found: &mut Found| found.side = Err("gone".to_owned());
    assert_eq!(no(|f| f.fences = false), ["fences"]);
    assert_eq!(no(|f| f.default = true), ["route"]);
    assert_eq!(no(|f| f.target.name = "a".to_owned()), ["route"]);
    assert_eq!(no(|f| reach(&mut f.source)), ["shard a"]);
    assert_eq!(no(|f| reach(&mut f.target)), ["shard b"]);
    assert_eq!(no(|f| f.target.id = None), ["shard b"]);
    assert_eq!(no(|f| f.found = Ok(Some(b"/registry/pods/x".to_vec()))), ["target"]);
    assert_eq!(no(|f| f.found = Err("slow".to_owned())), ["target"]);
    assert_eq!(
        no(|f| f.limits = Some(Limits { ops: Err("too many".to_owned()), request: Ok(()) })),
        ["operations"]
    );
    for state in [
        State::Open { peer: Some(ShardUid(3)) },
        State::Sealed { peer: Some(B), claim: None },
        State::Retired,
    ] {
        assert_eq!(no(|f| f.source.side = Ok(side(A, Some(state)))), ["owner"]);
    }
    assert_eq!(no(|f| f.target.side = Ok(side(B, Some(State::Open { peer: None })))), ["target"]);
}

#[test]
fn proxies_have_to_be_new_enough_and_reach_both() {
    let with = |at: fn(&mut Facts) -> &mut Found, session: Vec<_>| {
        no(move |f| {
            if let Ok(side) = &mut at(f).side {
                side.sessions.sessions = session;
            }
        })
    };
    assert_eq!(with(|f| &mut f.source, vec![session(1, MIGRATES - 1, None)]), ["proxies"]);
    assert_eq!(
        with(|f| &mut f.target, vec![session(1, MIGRATES, None), session(7, MIGRATES - 1, None)]),
        ["proxies"]
    );
    assert_eq!(with(|f| &mut f.target, vec![]), ["proxies"]);
}

#[test]
fn an_earlier_attempt_may_have_left_keys() {
    let attempt = |phase, source| {
        no(move |f| {
            let mut record = Record::new(3, source, B, 1, Options::default(), 0);
            record.phase = phase;
            f.found = Ok(Some(b"/registry/pods/x".to_vec()));
            f.source.side = Ok(side(A, Some(State::Open { peer: Some(B) })));
            if let Ok(side) = &mut f.target.side {
                side.view.record = Some((30, Ok(record)));
            }
        })
    };
    assert!(attempt(Phase::Copy, A).is_empty());
    assert_eq!(attempt(Phase::Cancelled, A), ["target"]);
    assert_eq!(attempt(Phase::Copy, ShardUid(9)), ["target"]);
}

#[test]
fn space_is_what_is_needed_beside_what_is_in_use() {
    let verdict = |in_use, quota| {
        let mut facts = facts();
        if let Ok(side) = &mut facts.target.side {
            side.space = Space { in_use, quota };
        }
        judge(&facts).checks.iter().find(|c| c.name == "space").map(|c| c.verdict)
    };
    // 256 MiB and 300 bytes for each key.
    assert_eq!(verdict(0, 1 << 30), Some(Verdict::Ok));
    assert_eq!(verdict(0, 350 << 20), Some(Verdict::Warning));
    assert_eq!(verdict(0, 280 << 20), Some(Verdict::NoGo));
    assert_eq!(verdict(900 << 20, 1 << 30), Some(Verdict::NoGo));
    assert_eq!(verdict(0, 0), Some(Verdict::Warning), "not told");
}

#[test]
fn a_throttle_makes_it_longer() {
    let throttle = Throttle { keys_per_second: 100, ..Throttle::default() };
    assert_eq!(judge(&Facts { throttle, ..facts() }).seconds, Some(1000));
    assert_eq!(judge(&Facts { no_copy: true, ..facts() }).seconds, None);
}

#[test]
fn a_switch_is_ready_once_all_follow_and_all_is_copied() {
    let ours = found("a", A, Some(State::Open { peer: Some(B) }));
    let mut theirs = found("b", B, Some(State::Importing { peer: Some(A), claim: None }));
    let record = |phase, paused| {
        let mut record = Record::new(3, A, B, 1, Options::default(), 0);
        (record.phase, record.paused) = (phase, paused);
        record
    };
    let mut with = |record: Record, sessions| {
        if let Ok(side) = &mut theirs.side {
            side.view.record = Some((30, Ok(record)));
            side.sessions.sessions = sessions;
        }
        against(&ready("pods", About::Switch, &ours, &theirs, B))
            .iter()
            .map(|s| (*s).to_owned())
            .collect::<Vec<_>>()
    };
    let all = || vec![session(1, MIGRATES, Some(40))];
    assert!(with(record(Phase::Follow, false), all()).is_empty());
    assert_eq!(with(record(Phase::Copy, false), all()), ["record"]);
    assert_eq!(with(record(Phase::Follow, true), all()), ["record"]);
    assert_eq!(with(record(Phase::Follow, false), vec![session(1, MIGRATES, Some(39))]), ["proxies"]);
    assert_eq!(against(&ready("pods", About::Complete, &ours, &theirs, B)), ["time"]);
    assert!(ready("pods", About::Cancel, &ours, &theirs, B).go());
    assert_eq!(against(&ready("pods", About::Cancel, &ours, &theirs, A)), ["time"]);
}
