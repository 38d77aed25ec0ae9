//! Drivers over shards in memory: what is written is encoded, and decoded when it is read.

use super::*;

fn me(proxy: u128) -> DriverClaim {
    DriverClaim { proxy: ProxyId(proxy), name: format!("p{proxy}") }
}

fn driver(proxy: u128, goal: Goal) -> Driver {
    Driver::new(me(proxy), ROUTE, A, B, goal)
}

fn create(no_copy: bool) -> Goal {
    Goal::Create(Options { no_copy, ..Options::default() })
}

/// Two shards; the first one owns the route since its reign began at revision 12.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.put(A, keys::fence(ROUTE), fence(A, 1, open(None)).encode().unwrap());
    let record = ReignRecord { n: 1, shard: A, after: 0, floor: 0, since: 0, earlier: Vec::new() };
    cluster.put(A, keys::reign(ROUTE, 1), record.encode().unwrap());
    cluster
}

fn view(cluster: &Cluster, shard: ShardUid) -> View {
    let node = &cluster.0[&shard];
    let mut view = View::empty(node.revision);
    view.fence = node.kv.get(&keys::fence(ROUTE)).map(|(r, v)| (*r, Fence::decode(v)));
    view.record = node.kv.get(&keys::migration(ROUTE)).map(|(r, v)| (*r, Record::decode(v)));
    let reigns = (1..9).rev().find_map(|n| node.kv.get(&keys::reign(ROUTE, n)));
    view.reign = reigns.map(|(r, v)| (*r, ReignRecord::decode(v)));
    view
}

fn list(cluster: &Cluster, shard: ShardUid, sessions: &[(u128, u32, i64)]) -> SessionList {
    let session = |(id, protocol, ack): &(u128, u32, i64)| {
        let acks = BTreeMap::from([(ROUTE.to_owned(), *ack)]);
        let (name, address, revisions) = (format!("p{id}"), String::new(), BTreeMap::new());
        let session = Session { protocol: *protocol, name, address, started: 0, acks, revisions };
        (ProxyId(*id), Ok(session))
    };
    SessionList { revision: cluster.0[&shard].revision, sessions: sessions.iter().map(session).collect() }
}

/// Does what the driver asks for until `stop` names a command, or it waits or ends.
fn run_until(cluster: &mut Cluster, driver: &mut Driver, stop: &dyn Fn(&Command) -> bool) -> Command {
    for _ in 0..200 {
        let command = driver.next();
        if stop(&command) {
            return command;
        }
        match command.clone() {
            Command::Read(shard) => driver.read(shard, view(cluster, shard)),
            Command::Write(txn) => {
                let revision = cluster.txn(&txn);
                driver.answered(&txn, revision);
            }
            Command::Purge(purge) => driver.purged(purge),
            Command::Copy => {
                let stream = driver.stream().unwrap();
                let copy = CopyPoint {
                    revision: cluster.0[&stream.from].revision,
                    done: true,
                    ..CopyPoint::default()
                };
                let checkpoint = Checkpoint { reign: stream.reign.n, copy, ..Checkpoint::default() };
                driver.progress(checkpoint, Counts::default());
            }
            Command::ListFollowers { .. } => {
                driver.listed(&Lists { owner: list(cluster, A, &[]), standby: list(cluster, B, &[]) });
            }
            Command::Prove { epoch, .. } => driver.proved(epoch),
            Command::ListSessions { shard, seal, .. } => driver.drained(seal, &list(cluster, shard, &[])),
            Command::ReadRevision { shard, seal } => driver.revision(seal, cluster.0[&shard].revision),
            Command::CatchUp { seal, raw } => driver.caught_up(seal, raw, 0),
            Command::Probe { standby, seal, epoch } => {
                driver.probed(standby, seal, epoch, true, view(cluster, standby));
            }
            Command::Demote { .. } => driver.demoted(),
            Command::Release { .. } => driver.released(),
            Command::Relocate { .. } => driver.relocated(),
            Command::Wait(_) | Command::Done(_) | Command::Stop(_) => return command,
        }
    }
    panic!("it does not come to an end: {:?}", driver.next())
}

fn run(cluster: &mut Cluster, driver: &mut Driver) -> Command {
    run_until(cluster, driver, &|_| false)
}

fn record(cluster: &Cluster) -> Record {
    Record::decode(&cluster.0[&B].kv[&keys::migration(ROUTE)].1).unwrap()
}

const FOLLOWING: Command = Command::Wait(Waiting::Following { aborted: None });

#[test]
fn there_and_back_and_the_end() {
    let mut cluster = cluster();
    let mut driver = driver(1, create(false));
    assert_eq!(run(&mut cluster, &mut driver), FOLLOWING);
    assert_eq!((cluster.state(A, ROUTE), cluster.state(B, ROUTE)), ("open", "importing"));
    assert_eq!((record(&cluster).phase, record(&cluster).driver), (Phase::Follow, Some(me(1))));

    driver.want(Goal::Switch { to: B });
    assert_eq!(run(&mut cluster, &mut driver), Command::Done(Outcome::Switched { owner: B }));
    assert_eq!((cluster.state(A, ROUTE), cluster.state(B, ROUTE)), ("standby", "open"));
    let reign = cluster.reign(B, ROUTE, 2);
    assert!(reign.after > 12 && reign.floor == 0, "{reign:?}");

    driver.want(Goal::Switch { to: A });
    assert_eq!(run(&mut cluster, &mut driver), Command::Done(Outcome::Switched { owner: A }));
    assert_eq!((cluster.state(A, ROUTE), cluster.state(B, ROUTE)), ("open", "standby"));
    assert!(cluster.reign(A, ROUTE, 3).after > reign.after);

    driver.want(Goal::Complete { abandon: false });
    assert_eq!(run(&mut cluster, &mut driver), Command::Done(Outcome::Completed));
    assert_eq!(cluster.fence(A, ROUTE).unwrap().state, open(None));
    assert_eq!((cluster.state(B, ROUTE), record(&cluster).phase), ("retired", Phase::Completed));
}

#[test]
fn what_is_dropped_is_below_the_floor() {
    let mut cluster = cluster();
    let mut driver = driver(1, create(true));
    run(&mut cluster, &mut driver);
    assert_eq!(driver.stream(), None, "nothing is copied");
    driver.want(Goal::Switch { to: B });
    run(&mut cluster, &mut driver);
    let reign = cluster.reign(B, ROUTE, 2);
    assert_eq!(reign.floor, reign.after);
}

#[test]
fn every_new_driver_raises_and_the_old_one_steps_down() {
    let mut cluster = cluster();
    let mut first = driver(1, create(false));
    run(&mut cluster, &mut first);
    let epoch = first.stream().unwrap().epoch;
    let mut second = driver(2, Driver::resume(&record(&cluster)));
    assert_eq!(run(&mut cluster, &mut second), FOLLOWING);
    assert!(second.stream().unwrap().epoch > epoch);
    assert_eq!(record(&cluster).driver, Some(me(2)));
    first.refused();
    assert_eq!(run(&mut cluster, &mut first), Command::Stop(Reason::Superseded));
    assert_eq!(first.stream(), None);
}

#[test]
fn who_was_superseded_leaves_the_seal_of_the_next_one_alone() {
    let mut cluster = cluster();
    let mut first = driver(1, create(false));
    run(&mut cluster, &mut first);
    let mut second = driver(2, create(false));
    run(&mut cluster, &mut second);
    second.want(Goal::Switch { to: B });
    let decides = |c: &Command| matches!(c, Command::Probe { .. });
    run_until(&mut cluster, &mut second, &decides);
    first.look_again();
    assert_eq!(run(&mut cluster, &mut first), Command::Stop(Reason::Superseded));
    assert_eq!(cluster.state(A, ROUTE), "sealed");
    assert_eq!(run(&mut cluster, &mut second), Command::Done(Outcome::Switched { owner: B }));
}

#[test]
fn a_seal_is_never_taken_over() {
    let mut cluster = cluster();
    let mut first = driver(1, create(false));
    run(&mut cluster, &mut first);
    first.want(Goal::Switch { to: B });
    let decides = |c: &Command| matches!(c, Command::Probe { .. });
    run_until(&mut cluster, &mut first, &decides);
    assert_eq!(cluster.state(A, ROUTE), "sealed");
    let mut other = driver(2, Goal::Settle);
    assert_eq!(run(&mut cluster, &mut other), Command::Done(Outcome::Settled));
    assert_eq!(cluster.state(A, ROUTE), "open");
    let aborted = Command::Wait(Waiting::Following { aborted: Some(Abort::Elsewhere) });
    assert_eq!(run(&mut cluster, &mut first), aborted);
    assert!(matches!(record(&cluster).history.last(), Some(Event::Aborted { why: Abort::Elsewhere, .. })));
}

#[test]
fn a_switch_that_takes_too_long_is_aborted_before_the_decision_only() {
    let mut cluster = cluster();
    let mut driver = driver(1, create(false));
    run(&mut cluster, &mut driver);
    let why = Abort::MaxPause("500 ms".into());
    driver.want(Goal::Switch { to: B });
    run_until(&mut cluster, &mut driver, &|c| matches!(c, Command::CatchUp { .. }));
    assert_eq!(driver.stream().unwrap().bound, Bound::At(cluster.0[&A].revision));
    driver.give_up(why.clone());
    let aborted = Command::Wait(Waiting::Following { aborted: Some(why.clone()) });
    assert_eq!(run(&mut cluster, &mut driver), aborted);
    assert_eq!(driver.stream().unwrap().bound, Bound::None);

    driver.want(Goal::Switch { to: B });
    let flips = |c: &Command| matches!(c, Command::Write(txn) if txn.shard == B && txn.puts.len() == 2);
    run_until(&mut cluster, &mut driver, &flips);
    assert_eq!(cluster.state(A, ROUTE), "flipping");
    driver.give_up(why);
    assert_eq!(run(&mut cluster, &mut driver), Command::Done(Outcome::Switched { owner: B }));
}

#[test]
fn a_proxy_that_cannot_follow_keeps_the_switch_from_beginning() {
    let mut cluster = cluster();
    let mut driver = driver(1, create(false));
    run(&mut cluster, &mut driver);
    driver.want(Goal::Switch { to: B });
    let lists = |c: &Command| matches!(c, Command::ListFollowers { .. });
    run_until(&mut cluster, &mut driver, &lists);
    let epoch = driver.stream().unwrap().epoch;
    let owner = list(&cluster, A, &[(1, MIGRATES, 0), (2, MIGRATES, 0)]);
    for standby in [
        vec![(1, MIGRATES, epoch)],
        vec![(1, MIGRATES, epoch), (2, MIGRATES, epoch - 1)],
        vec![(1, MIGRATES, epoch), (2, MIGRATES - 1, epoch)],
    ] {
        let standby = list(&cluster, B, &standby);
        driver.listed(&Lists { owner: owner.clone(), standby });
        let waiting = vec![(ProxyId(2), "p2".to_owned())];
        assert_eq!(driver.next(), Command::ListFollowers { waiting });
    }
    let standby = list(&cluster, B, &[(1, MIGRATES, epoch), (2, MIGRATES, epoch)]);
    driver.listed(&Lists { owner, standby });
    assert!(matches!(driver.next(), Command::Prove { .. }));
}

/// Otherwise they would count, with no key there any more.
#[test]
fn a_former_owner_is_retired_when_its_leases_are_copies_and_its_end_is_stored_when_nothing_names_them() {
    for (to, goal) in [(B, Goal::Complete { abandon: false }), (A, Goal::Cancel { abandon: false })] {
        let mut cluster = cluster();
        let mut first = driver(1, create(false));
        run(&mut cluster, &mut first);
        first.want(Goal::Switch { to: B });
        run(&mut cluster, &mut first);
        first.want(Goal::Switch { to });
        run(&mut cluster, &mut first);
        let former = if to == A { B } else { A };
        let demotes = Command::Demote { standby: former };
        first.want(goal.clone());
        assert_eq!(run_until(&mut cluster, &mut first, &|c| *c == demotes), demotes);
        assert!(first.stream().is_some(), "meanwhile it follows");
        // The next driver goes on with it.
        assert_ne!(record(&cluster).want, Want::Follow);
        let mut next = driver(2, Driver::resume(&record(&cluster)));
        assert_eq!(run_until(&mut cluster, &mut next, &|c| *c == demotes), demotes);
        assert_eq!(cluster.state(former, ROUTE), "standby");
        let releases = Command::Release { standby: former };
        assert_eq!(run_until(&mut cluster, &mut next, &|c| *c == releases), releases);
        assert_eq!((cluster.state(former, ROUTE), record(&cluster).phase.is_over()), ("retired", false));
        let mut last = driver(3, Driver::resume(&record(&cluster)));
        assert_eq!(run_until(&mut cluster, &mut last, &|c| *c == releases), releases);
        run(&mut cluster, &mut last);
        assert!(record(&cluster).phase.is_over());
        // The same verb does it again: a shard may have been away.
        let mut again = driver(4, goal);
        assert_eq!(run_until(&mut cluster, &mut again, &|c| *c == releases), releases);
    }
}

#[test]
fn who_abandons_does_not_wait_for_leases() {
    let mut cluster = cluster();
    let mut driver = driver(1, create(false));
    run(&mut cluster, &mut driver);
    driver.want(Goal::Switch { to: B });
    run(&mut cluster, &mut driver);
    driver.want(Goal::Complete { abandon: false });
    run_until(&mut cluster, &mut driver, &|c| matches!(c, Command::Demote { .. }));
    driver.want(Goal::Complete { abandon: true });
    let waits = |c: &Command| matches!(c, Command::Demote { .. } | Command::Done(_));
    assert_eq!(run_until(&mut cluster, &mut driver, &waits), Command::Done(Outcome::Completed));
}

#[test]
fn cancel_and_complete_know_their_time() {
    let mut cluster = cluster();
    run(&mut cluster, &mut driver(1, create(false)));
    let complete = Goal::Complete { abandon: false };
    assert_eq!(run(&mut cluster, &mut driver(2, complete)), Command::Stop(Reason::TooEarly));
    run(&mut cluster, &mut driver(1, Goal::Switch { to: B }));
    assert_eq!(cluster.state(B, ROUTE), "open");
    let cancel = Goal::Cancel { abandon: false };
    assert_eq!(run(&mut cluster, &mut driver(2, cancel.clone())), Command::Stop(Reason::TooLate));
    run(&mut cluster, &mut driver(1, Goal::Switch { to: A }));
    assert_eq!(run(&mut cluster, &mut driver(2, cancel)), Command::Done(Outcome::Cancelled));
    assert_eq!(record(&cluster).phase, Phase::Cancelled);
    assert_eq!(run(&mut cluster, &mut driver(3, Goal::Follow)), Command::Stop(Reason::NotClaimed));
    assert_eq!(run(&mut cluster, &mut driver(3, create(false))), FOLLOWING, "once more");
}

#[test]
fn without_the_record_of_its_reign_nothing_is_sealed() {
    let mut cluster = cluster();
    let mut driver = driver(1, create(true));
    run(&mut cluster, &mut driver);
    cluster.node(A).kv.remove(&keys::reign(ROUTE, 1));
    driver.look_again();
    driver.want(Goal::Switch { to: B });
    assert_eq!(run(&mut cluster, &mut driver), Command::Stop(Reason::ReignMissing { shard: A, n: 1 }));
    assert_eq!(cluster.state(A, ROUTE), "open");
}

/// Runs while a shard is away.
fn without(away: ShardUid, driver: &mut Driver, cluster: &mut Cluster) -> Command {
    loop {
        match driver.next() {
            Command::Read(shard) if shard == away => driver.unreachable(shard),
            Command::Read(shard) => driver.read(shard, view(cluster, shard)),
            Command::Write(txn) => {
                let revision = cluster.txn(&txn);
                driver.answered(&txn, revision);
            }
            Command::Release { standby } if standby == away => driver.released(),
            Command::Relocate { .. } => driver.relocated(),
            end => return end,
        }
    }
}

#[test]
fn what_a_lost_source_held_is_given_up() {
    let mut cluster = cluster();
    let mut first = driver(1, create(false));
    run(&mut cluster, &mut first);
    first.want(Goal::Switch { to: B });
    run(&mut cluster, &mut first);
    let before = cluster.reign(B, ROUTE, 2);
    assert!(before.floor < before.after);
    let began = before.on_line(view(&cluster, B).reign.unwrap().0).raw_start;
    let mut lost = driver(2, Goal::Complete { abandon: true });
    assert_eq!(without(A, &mut lost, &mut cluster), Command::Done(Outcome::Completed));
    let reign = cluster.reign(B, ROUTE, 2);
    assert_eq!((reign.floor, reign.after), (before.after, before.after));
    let (written, _) = view(&cluster, B).reign.unwrap();
    assert_eq!(reign.on_line(written).raw_start, began, "the reign is what it was");
    // It comes back: what it holds is deleted, though the record says that all is over.
    let mut back = driver(3, Goal::Complete { abandon: false });
    let is_purge = |c: &Command| matches!(c, Command::Purge(Purge { shard: A, .. }));
    assert!(is_purge(&run_until(&mut cluster, &mut back, &is_purge)));
    assert_eq!(run(&mut cluster, &mut back), Command::Done(Outcome::Completed));
    assert_eq!(cluster.state(A, ROUTE), "retired");
}

#[test]
fn a_target_that_is_lost_for_good_is_abandoned() {
    let mut cluster = cluster();
    run(&mut cluster, &mut driver(1, create(false)));
    let away = |driver: &mut Driver, cluster: &mut Cluster| without(B, driver, cluster);
    let mut cancel = driver(2, Goal::Cancel { abandon: false });
    assert_eq!(away(&mut cancel, &mut cluster), Command::Wait(Waiting::Unreachable(B)));
    cancel.want(Goal::Cancel { abandon: true });
    assert_eq!(away(&mut cancel, &mut cluster), Command::Done(Outcome::Cancelled));
    assert_eq!(cluster.fence(A, ROUTE).unwrap().state, open(None));
    // It comes back: what is left there is cleaned up by the same command.
    assert_eq!(
        run(&mut cluster, &mut driver(3, Goal::Cancel { abandon: false })),
        Command::Done(Outcome::Cancelled)
    );
    assert_eq!(cluster.state(B, ROUTE), "retired");
}

#[test]
fn what_was_compacted_away_is_copied_anew_under_another_epoch() {
    let mut cluster = cluster();
    let mut driver = driver(1, create(false));
    run(&mut cluster, &mut driver);
    for _ in 0..2 {
        let epoch = driver.stream().unwrap().epoch;
        driver.compacted();
        assert_eq!(driver.stream(), None, "what follows is stopped at once");
        let mut purges = Vec::new();
        let is_purge = |c: &Command| matches!(c, Command::Purge(_));
        if let Command::Purge(purge) = run_until(&mut cluster, &mut driver, &is_purge) {
            purges.push(purge);
        }
        assert_eq!(record(&cluster).phase, Phase::Purge);
        assert!(purges.len() == 1 && purges[0].epoch > epoch, "{purges:?}");
        assert_eq!(run(&mut cluster, &mut driver), FOLLOWING);
        assert!(driver.stream().unwrap().epoch > purges[0].epoch);
        assert!(record(&cluster).history.iter().any(|e| matches!(e, Event::Restarted { .. })));
        // The same after a switch: the record stays where it is, the standby is the other shard.
        driver.want(Goal::Switch { to: B });
        run(&mut cluster, &mut driver);
        assert_eq!(run(&mut cluster, &mut driver), Command::Done(Outcome::Switched { owner: B }));
        driver.want(Goal::Follow);
    }
    assert_eq!(driver.stream().unwrap().to, A);
}

#[test]
fn a_paused_migration_neither_copies_nor_switches() {
    let mut cluster = cluster();
    let mut driver = driver(1, create(false));
    run(&mut cluster, &mut driver);
    driver.edit(Edit { paused: Some(true), max_pause: Some(70), throttle: None });
    assert_eq!(run(&mut cluster, &mut driver), FOLLOWING);
    assert_eq!((record(&cluster).paused, record(&cluster).options.max_pause), (true, 70));
    assert_eq!(driver.stream(), None);
    driver.want(Goal::Switch { to: B });
    assert_eq!(run(&mut cluster, &mut driver), Command::Wait(Waiting::Paused));
    driver.edit(Edit { paused: Some(false), ..Edit::default() });
    assert_eq!(run(&mut cluster, &mut driver), Command::Done(Outcome::Switched { owner: B }));
    assert_eq!(record(&cluster).options.max_pause, 70);
}

#[test]
fn the_record_tells_how_long_clients_waited() {
    let mut cluster = cluster();
    let mut driver = driver(1, create(false));
    run(&mut cluster, &mut driver);
    driver.want(Goal::Switch { to: B });
    driver.clock(1_000);
    run_until(&mut cluster, &mut driver, &|c| matches!(c, Command::CatchUp { .. }));
    driver.clock(1_040);
    run(&mut cluster, &mut driver);
    driver.clock(2_000);
    driver.want(Goal::Follow);
    run(&mut cluster, &mut driver);
    let switched = |e: &Event| matches!(e, Event::Switched { to, pause: Some(40), .. } if *to == B);
    assert!(record(&cluster).history.iter().any(switched), "{:?}", record(&cluster).history);
}

/// It would delete and leave out what its own file says.
#[test]
fn whoever_takes_the_route_for_something_else_does_not_drive_it() {
    let mut cluster = cluster();
    run(&mut cluster, &mut driver(1, create(false)));
    let other = Command::Stop(Reason::Definition { shard: A });
    for goal in [create(false), Goal::Follow, Goal::Switch { to: B }, Goal::Cancel { abandon: false }] {
        let mut driver = driver(2, goal).of(DefinitionHash([8; 32]));
        assert_eq!(run(&mut cluster, &mut driver), other);
    }
    let mut settling = driver(2, Goal::Settle).of(DefinitionHash([8; 32]));
    assert_eq!(run(&mut cluster, &mut settling), Command::Done(Outcome::Settled));
    assert_eq!(run(&mut cluster, &mut driver(2, Goal::Follow).of(DefinitionHash([7; 32]))), FOLLOWING);
}

#[test]
fn data_is_dropped_only_if_the_migration_that_goes_on_was_created_so() {
    let mut cluster = cluster();
    run(&mut cluster, &mut driver(1, create(true)));
    let refused = Command::Stop(Reason::OtherOptions { no_copy: true });
    assert_eq!(run(&mut cluster, &mut driver(2, create(false))), refused);
    assert_eq!(run(&mut cluster, &mut driver(2, create(true))), FOLLOWING);
    // And there is no way back to what was dropped.
    run(&mut cluster, &mut driver(1, Goal::Switch { to: B }));
    assert_eq!(cluster.state(B, ROUTE), "open");
    let refused = Command::Stop(Reason::NoWayBack);
    assert_eq!(run(&mut cluster, &mut driver(1, Goal::Switch { to: A })), refused);
}

#[test]
fn what_was_left_on_a_target_is_purged_before_it_is_used_again() {
    let mut cluster = cluster();
    run(&mut cluster, &mut driver(1, create(false)));
    // Abandoned: the owner names nobody, the target still follows.
    cluster.put(A, keys::fence(ROUTE), fence(A, 1, open(None)).encode().unwrap());
    assert_eq!((cluster.state(B, ROUTE), record(&cluster).phase), ("importing", Phase::Follow));
    let mut again = driver(2, create(false));
    let is_purge = |command: &Command| matches!(command, Command::Purge(purge) if purge.shard == B);
    assert!(matches!(run_until(&mut cluster, &mut again, &is_purge), Command::Purge(_)));
    assert_eq!(run(&mut cluster, &mut again), FOLLOWING);
}

/// One that slept through a switch and back must not take the standby from whoever drives now.
#[test]
fn roles_that_others_swapped_end_a_driver() {
    let mut cluster = cluster();
    let mut sleeper = driver(1, create(false));
    assert_eq!(run(&mut cluster, &mut sleeper), FOLLOWING);
    let mut awake = driver(2, Goal::Follow);
    run(&mut cluster, &mut awake);
    awake.want(Goal::Switch { to: B });
    assert_eq!(run(&mut cluster, &mut awake), Command::Done(Outcome::Switched { owner: B }));
    awake.want(Goal::Follow);
    assert_eq!(run(&mut cluster, &mut awake), FOLLOWING);
    let epoch = awake.stream().unwrap().epoch;
    sleeper.look_again();
    assert_eq!(run(&mut cluster, &mut sleeper), Command::Stop(Reason::Superseded));
    awake.look_again();
    assert_eq!((run(&mut cluster, &mut awake), awake.stream().unwrap().epoch), (FOLLOWING, epoch));
}
