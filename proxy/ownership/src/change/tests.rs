use super::*;
use crate::testing::{A, B, Cluster, spec, table};
use crate::value::{Fence, Stored, Table};

const BOTH: [ShardUid; 2] = [A, B];
const ALWAYS: usize = usize::MAX;

fn one() -> Table {
    table(&[spec("rest", &[], 0)])
}

fn split() -> Table {
    table(&[spec("events", &["/r/events/"], 1), spec("rest", &[], 0)])
}

fn goal(table: &Table) -> Goal {
    Goal::Apply(Pending { shards: table.shards.clone(), routes: table.routes.clone() })
}

fn driver(goal: Goal) -> Driver {
    let options = Options { lifted_reigns: true, ..Options::default() };
    Driver::new(BOTH.into(), goal, options)
}

fn apply(cluster: &mut Cluster, table: &Table) -> Command {
    cluster.run(&mut driver(goal(table)), ALWAYS)
}

fn definition(table: &Table, route: &str) -> crate::DefinitionHash {
    table.route(route).unwrap().definition
}

/// Every route of the table is open where it belongs, everything else is at rest, and all shards have the table.
fn assert_at(cluster: &Cluster, table: &Table, generation: u64) {
    for shard in BOTH {
        let stored = cluster.table(shard);
        assert_eq!(stored.generation, generation);
        assert!(stored.agrees(&table.shards, &table.routes) && stored.pending.is_none());
        for route in ["events", "rest"] {
            let Some(fence) = cluster.fence(shard, route) else { continue };
            let here = table.route(route).filter(|r| r.shard == shard);
            match here {
                Some(here) => {
                    assert_eq!((fence.state.name(), fence.definition), ("open", here.definition), "{route}");
                }
                None => assert_eq!(fence.state.name(), "retired", "{route}"),
            }
        }
    }
    for route in &table.routes {
        assert_eq!(cluster.state(route.shard, &route.name), "open");
    }
}

#[test]
fn a_route_is_split_off_and_its_line_goes_on_above_what_was_seen() {
    let mut cluster = Cluster::started(&one());
    cluster.node(A).revision = 1_000;
    assert_eq!(apply(&mut cluster, &split()), Command::Done { generation: 2 });
    assert_at(&cluster, &split(), 2);
    let reign = cluster.reign(B, "events", 1);
    assert!(reign.after >= 1_000 && reign.floor == reign.after, "{reign:?}");
    assert_eq!(cluster.fence(A, "rest").unwrap().n, 1, "it stays where it was");
}

#[test]
fn routes_end_and_move() {
    let mut cluster = Cluster::started(&split());
    cluster.node(A).revision = 1_000;
    assert_eq!(apply(&mut cluster, &one()), Command::Done { generation: 2 });
    assert_at(&cluster, &one(), 2);
    let back = table(&[spec("events", &["/r/events/"], 0), spec("rest", &[], 0)]);
    assert_eq!(apply(&mut cluster, &back), Command::Done { generation: 3 });
    assert_at(&cluster, &back, 3);
    assert_eq!(cluster.fence(A, "events").unwrap().n, 2);
    assert_eq!(cluster.reign(A, "events", 2).after, 0, "its keys were on this shard already");
}

#[test]
fn nothing_is_written_when_nothing_changes() {
    let mut cluster = Cluster::started(&split());
    let before = cluster.0[&A].revision + cluster.0[&B].revision;
    assert_eq!(apply(&mut cluster, &split()), Command::Done { generation: 1 });
    assert_eq!(before, cluster.0[&A].revision + cluster.0[&B].revision);
}

#[test]
fn a_route_that_is_not_concerned_is_not_sealed() {
    let from = table(&[spec("pods", &["/r/pods/"], 1), spec("rest", &[], 0)]);
    let to =
        table(&[spec("pods", &["/r/pods/"], 1), spec("events", &["/r/events/"], 1), spec("rest", &[], 0)]);
    let mut cluster = Cluster::started(&from);
    let epoch = cluster.0[&B].kv[&crate::keys::fence("pods")].0;
    assert_eq!(apply(&mut cluster, &to), Command::Done { generation: 2 });
    assert_eq!(cluster.0[&B].kv[&crate::keys::fence("pods")].0, epoch);
}

#[test]
fn whoever_runs_it_again_goes_on_from_any_step() {
    for (from, to) in [(one(), split()), (split(), one())] {
        for writes in 0.. {
            let mut cluster = Cluster::started(&from);
            cluster.node(A).revision = 1_000;
            let mut first = driver(goal(&to));
            if !matches!(cluster.run(&mut first, writes), Command::Write(_)) {
                assert!(writes > 5, "{writes}");
                break;
            }
            assert_eq!(apply(&mut cluster, &to), Command::Done { generation: 2 }, "after {writes}");
            assert_at(&cluster, &to, 2);
            let reigns = cluster.fence(A, "rest").unwrap().n;
            assert_eq!(reigns, if to == one() { 2 } else { 1 }, "after {writes}");
            // The first one wakes up.
            assert_eq!(cluster.run(&mut first, ALWAYS), Command::Done { generation: 2 }, "after {writes}");
            assert_at(&cluster, &to, 2);
            assert_eq!(cluster.fence(A, "rest").unwrap().n, reigns, "after {writes}");
        }
    }
}

/// The record of a route's present reign, with its mod revision.
fn record(cluster: &Cluster, shard: ShardUid, route: &str) -> (i64, crate::value::ReignRecord) {
    let n = cluster.fence(shard, route).unwrap().n;
    (cluster.0[&shard].kv[&crate::keys::reign(route, n)].0, cluster.reign(shard, route, n))
}

#[test]
fn a_route_that_gets_keys_of_another_shard_begins_a_new_reign_with_a_floor() {
    let mut cluster = Cluster::started(&split());
    (cluster.node(A).revision, cluster.node(B).revision) = (1_000, 900);
    assert_eq!(apply(&mut cluster, &one()), Command::Done { generation: 2 });
    assert_at(&cluster, &one(), 2);
    let first = cluster.reign(A, "rest", 1);
    let (revision, record) = record(&cluster, A, "rest");
    assert_eq!(record.n, 2);
    // What was watched up to B's revision is told to list again; what A itself showed above it is not.
    assert!((900..1_000).contains(&record.floor), "{record:?}");
    // All that clients have seen of the route lies in the reign before.
    assert!(record.after >= 1_000 && record.after < revision, "{record:?}");
    let reigns = [(&first, 2), (&record, revision)].map(|(r, at)| crate::Reign::new(r, at)).to_vec();
    crate::Timeline::new(reigns).unwrap();
}

#[test]
fn a_floor_goes_with_the_keys_to_another_route_of_the_shard() {
    let mut cluster = Cluster::started(&split());
    (cluster.node(A).revision, cluster.node(B).revision) = (1_000, 900);
    let here = table(&[spec("events", &["/r/events/"], 0), spec("rest", &[], 0)]);
    assert_eq!(apply(&mut cluster, &here), Command::Done { generation: 2 });
    let (_, moved) = record(&cluster, A, "events");
    assert!((900..1_000).contains(&moved.floor), "{moved:?}");
    assert_eq!(cluster.fence(A, "rest").unwrap().n, 1, "it gets nothing");
    // To a route that stays.
    assert_eq!(apply(&mut cluster, &one()), Command::Done { generation: 3 });
    let (_, joined) = record(&cluster, A, "rest");
    assert_eq!((joined.n, joined.floor), (2, moved.floor));
    // To one that begins: its line is that of the shard, all the same.
    let again = table(&[spec("pods", &["/r/pods/"], 0), spec("rest", &[], 0)]);
    assert_eq!(apply(&mut cluster, &again), Command::Done { generation: 4 });
    let (_, split) = record(&cluster, A, "pods");
    assert_eq!((split.n, split.after, split.floor), (1, 0, moved.floor));
    assert_eq!(cluster.fence(A, "rest").unwrap().n, 2, "it only loses keys");
    // And back: the floor of the one that stays is as high.
    assert_eq!(apply(&mut cluster, &one()), Command::Done { generation: 5 });
    assert_eq!(cluster.fence(A, "rest").unwrap().n, 2);
}

#[test]
fn it_can_be_ended_at_any_step_before_the_commit() {
    let mut ended = 0;
    for writes in 0.. {
        let mut cluster = Cluster::started(&one());
        let mut first = driver(goal(&split()));
        if !matches!(cluster.run(&mut first, writes), Command::Write(_)) {
            break;
        }
        let outcome = cluster.run(&mut driver(Goal::GiveUp), ALWAYS);
        if cluster.table(A).generation == 1 {
            let expected = if writes == 0 { Reason::Nothing } else { Reason::Ended };
            assert_eq!(outcome, Command::Stopped(expected));
            assert_at(&cluster, &one(), 1);
            ended += 1;
            if writes > 0 {
                assert_eq!(cluster.run(&mut first, ALWAYS), Command::Stopped(Reason::GivenUpElsewhere));
                assert_at(&cluster, &one(), 1);
            }
        } else {
            assert_eq!(outcome, Command::Stopped(Reason::Nothing));
            assert_at(&cluster, &split(), 2);
        }
    }
    assert_eq!(ended, 4, "before the claim, after it, after the fence that begins, after the seal");
}

#[test]
fn it_waits_for_every_session_to_acknowledge_this_seal() {
    let mut cluster = Cluster::started(&one());
    cluster.node(A).acks.insert(7, BTreeMap::from([("rest".to_owned(), 1)]));
    cluster.node(B).acks.insert(8, BTreeMap::new());
    let mut driver = driver(goal(&split()));
    let waiting = vec![(ProxyId(7), "p7".to_owned())];
    assert_eq!(cluster.run(&mut driver, ALWAYS), Command::List { shard: A, waiting });
    assert_eq!(cluster.state(A, "rest"), "sealed");
    cluster.acknowledge();
    assert_eq!(cluster.run(&mut driver, ALWAYS), Command::Done { generation: 2 });
    assert_at(&cluster, &split(), 2);
}

#[test]
fn it_is_given_up_when_it_takes_too_long() {
    let mut cluster = Cluster::started(&one());
    cluster.node(A).acks.insert(7, BTreeMap::new());
    let mut driver = driver(goal(&split()));
    assert!(matches!(cluster.run(&mut driver, ALWAYS), Command::List { .. }));
    let reason = Reason::GivenUp("over --max-pause".into());
    driver.give_up(reason.clone());
    assert_eq!(cluster.run(&mut driver, ALWAYS), Command::Stopped(reason));
    assert_at(&cluster, &one(), 1);
}

#[test]
fn keys_that_would_change_shards_stop_it_before_any_pause() {
    for shard in BOTH {
        let mut cluster = Cluster::started(&one());
        cluster.node(shard).clients.insert(b"/r/events/x".to_vec());
        let before = cluster.0[&A].revision;
        let stopped = apply(&mut cluster, &split());
        assert!(matches!(stopped, Command::Stopped(Reason::Keys { .. })), "{stopped:?}");
        assert_eq!(cluster.0[&A].revision, before);
    }
}

#[test]
fn a_key_that_was_written_before_the_seal_ends_it() {
    let mut cluster = Cluster::started(&one());
    cluster.node(A).acks.insert(7, BTreeMap::new());
    let mut driver = driver(goal(&split()));
    assert!(matches!(cluster.run(&mut driver, ALWAYS), Command::List { .. }));
    cluster.node(A).clients.insert(b"/r/events/x".to_vec());
    cluster.acknowledge();
    assert!(matches!(cluster.run(&mut driver, ALWAYS), Command::Stopped(Reason::Keys { .. })));
    assert_at(&cluster, &one(), 1);
}

#[test]
fn revisions_that_would_fall_stop_it() {
    let mut cluster = Cluster::started(&one());
    cluster.node(A).revision = 1_000;
    let mut strict = Driver::new(BOTH.into(), goal(&split()), Options::default());
    assert!(matches!(cluster.run(&mut strict, ALWAYS), Command::Stopped(Reason::LowerRevision { .. })));
    assert_eq!(apply(&mut cluster, &split()), Command::Done { generation: 2 }, "its reign is lifted");

    // What joins a route that goes on is not lifted. The split-off route's line is above both raw lines.
    cluster.node(B).revision = 5_000;
    assert!(matches!(apply(&mut cluster, &one()), Command::Stopped(Reason::LowerRevision { .. })));
    let options = Options { lower_revisions: true, ..Options::default() };
    let mut forced = Driver::new(BOTH.into(), goal(&one()), options);
    assert_eq!(cluster.run(&mut forced, ALWAYS), Command::Done { generation: 3 });
    assert_at(&cluster, &one(), 3);
    let (revision, record) = record(&cluster, A, "rest");
    assert!(record.floor >= 5_000 && record.effective_floor(revision) == revision - 1);
}

#[test]
fn two_changes_at_once_are_refused() {
    let mut cluster = Cluster::started(&one());
    let mut first = driver(goal(&split()));
    assert!(matches!(cluster.run(&mut first, 1), Command::Write(_)));
    let other = table(&[spec("pods", &["/r/pods/"], 1), spec("rest", &[], 0)]);
    assert_eq!(apply(&mut cluster, &other), Command::Stopped(Reason::Other));
    assert_eq!(cluster.run(&mut first, ALWAYS), Command::Done { generation: 2 });
}

fn with_fence(change: impl FnOnce(&mut Fence)) -> Command {
    let mut cluster = Cluster::started(&one());
    let mut fence = cluster.fence(A, "rest").unwrap();
    change(&mut fence);
    cluster.put(A, crate::keys::fence("rest"), fence.encode().unwrap());
    apply(&mut cluster, &split())
}

#[test]
fn what_is_not_as_the_table_says_stops_it() {
    let stopped = with_fence(|f| f.state = State::Open { peer: Some(B) });
    assert_eq!(stopped, Command::Stopped(Reason::Migrating { route: "rest".into() }));
    let stopped = with_fence(|f| f.state = State::Standby { peer: B });
    assert!(matches!(stopped, Command::Stopped(Reason::NotOpen { .. })));
    let stopped = with_fence(|f| f.definition = definition(&split(), "rest"));
    assert!(matches!(stopped, Command::Stopped(Reason::Definition { .. })));
}

#[test]
fn shards_come_and_go() {
    let mut cluster = Cluster::started(&one());
    let mut only_a = one();
    only_a.shards.truncate(1);
    assert_eq!(apply(&mut cluster, &only_a), Command::Done { generation: 2 });
    assert_eq!(apply(&mut cluster, &split()), Command::Done { generation: 3 });
    assert_at(&cluster, &split(), 3);

    let mut without_a = split();
    without_a.shards.remove(0);
    assert!(matches!(apply(&mut cluster, &without_a), Command::Stopped(Reason::ArbiterGone { .. })));
    let mut in_use = split();
    in_use.shards.truncate(1);
    in_use.routes.remove(0);
    let stopped = apply(&mut cluster, &in_use);
    assert!(matches!(stopped, Command::Stopped(Reason::ShardInUse { .. })), "{stopped:?}");
}

#[test]
fn ce26_an_arbiter_that_went_back_in_time_stops_it() {
    let mut cluster = Cluster::started(&one());
    let old = cluster.node(A).kv.clone();
    assert_eq!(apply(&mut cluster, &split()), Command::Done { generation: 2 });
    cluster.node(A).kv = old;
    assert!(matches!(apply(&mut cluster, &split()), Command::Stopped(Reason::Restored { .. })));
}

#[test]
fn without_a_table_there_is_nothing_to_change() {
    assert_eq!(apply(&mut Cluster::new(), &split()), Command::Stopped(Reason::NoTable));
}

#[test]
fn the_keys_of_a_route_that_was_moved_stay_its_own() {
    let mut cluster = Cluster::started(&split());
    let mut record = cluster.reign(B, "events", 1);
    record.earlier = vec![crate::Reign { n: 0, shard: A, after: 0, raw_start: 1 }];
    cluster.put(B, crate::keys::reign("events", 1), record.encode().unwrap());
    let moved = Command::Stopped(Reason::Moved { route: "events".to_owned() });
    assert_eq!(apply(&mut cluster, &one()), moved);
    assert_at(&cluster, &split(), 1);
}
