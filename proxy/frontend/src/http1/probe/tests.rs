use super::*;
use crate::view::testing::{alarm, member, shard, status, unknown};

fn home() -> ShardView {
    shard("rest", vec![member(status(1, "3.7.1", 1))])
}

#[test]
fn health_of_home() {
    let with = |alarms: &[AlarmType]| {
        let mut home = home();
        home.alarms = alarms.iter().map(|a| alarm(1, *a)).collect();
        home
    };
    let mut leaderless = home();
    leaderless.members[0].healthy = false;
    let mut down = home();
    down.reachable = false;
    let both = [AlarmType::Nospace, AlarmType::Corrupt];
    for (home, query, reason) in [
        (home(), "", ""),
        (with(&[AlarmType::Nospace]), "", "ALARM NOSPACE"),
        (with(&[AlarmType::Nospace]), "exclude=NOSPACE", ""),
        (with(&both), "exclude=NOSPACE", "ALARM CORRUPT"),
        (with(&both), "exclude=NOSPACE&exclude=CORRUPT", ""),
        (with(&[AlarmType::Corrupt]), "exclude=NOSPACE", "ALARM CORRUPT"),
        (leaderless.clone(), "", "RAFT NO LEADER"),
        (leaderless.clone(), "serializable=false", "RAFT NO LEADER"),
        (leaderless, "serializable=true", ""),
        (down.clone(), "", "RANGE ERROR:shard rest: unreachable"),
        (down, "serializable=true", "RANGE ERROR:shard rest: unreachable"),
        (unknown("rest"), "", "RANGE ERROR:shard rest: unreachable"),
    ] {
        let health = health(&home, &Query::parse(query));
        assert_eq!(health.reason, reason, "{query}");
        assert_eq!(health.is_good(), reason.is_empty());
    }
}

#[test]
fn health_in_the_shape_of_etcd() {
    let json = serde_json::to_string(&health(&home(), &Query::default())).unwrap();
    assert_eq!(json, r#"{"health":"true","reason":""}"#);
}

#[test]
fn ready_without_the_other_shards() {
    let shards = [unknown("events"), home()];
    let routes =
        [("events".to_owned(), false, Err("waiting: x".to_owned())), ("rest".to_owned(), true, Ok(()))];
    for (home, draining, only, query, good, body) in [
        (1, false, "", "", true, "ok\n"),
        (
            1,
            false,
            "",
            "verbose",
            true,
            "[+]home ok\n[+]fence ok\n[+]draining ok\n[i]shard events unreachable\n[i]shard rest ok\n\
             [i]route events waiting: x\nok\n",
        ),
        (
            1,
            false,
            "",
            "verbose=1&exclude=home",
            true,
            "[+]fence ok\n[+]draining ok\n[i]shard events unreachable\n[i]shard rest ok\n\
             [i]route events waiting: x\nok\n",
        ),
        (1, false, "home", "verbose", true, "[+]home ok\nok\n"),
        (0, false, "home", "", false, "[-]home failed: shard events was not contacted yet\n\n"),
        (0, false, "", "exclude=home", true, "ok\n"),
        (1, true, "draining", "", false, "[-]draining failed: the proxy is shutting down\n\n"),
        (1, true, "home", "", true, "ok\n"),
    ] {
        let outcome = ready_from(&shards, &routes, home, draining).outcome(only, &Query::parse(query));
        assert_eq!(outcome, (good, body.to_owned()), "{only} {query}");
    }
}

#[test]
fn not_ready_while_the_default_route_is_not_served() {
    let routes = [("rest".to_owned(), true, Err("refused: it moved".to_owned()))];
    let outcome = ready_from(&[home()], &routes, 0, false).outcome("fence", &Query::default());
    assert_eq!(outcome, (false, "[-]fence failed: refused: it moved\n\n".to_owned()));
}

#[test]
fn alive_without_checks() {
    assert_eq!(Checks::default().outcome("", &Query::default()), (true, "ok\n".to_owned()));
}
