use super::*;
use crate::report::testing::{report, shard};
use crate::report::{Alarm, Endpoint, Support};

fn check(change: impl FnOnce(&mut StatusReport), expected: &[&str]) {
    let mut report = report();
    change(&mut report);
    assert_eq!(of(&report), expected);
}

#[test]
fn all_is_well() {
    check(|_| {}, &[]);
}

#[test]
fn reach() {
    check(|r| r.shards[0].reachable = false, &["shard pods: unreachable"]);
    check(
        |r| (r.shards[0].reachable, r.shards[0].breaker_open) = (false, true),
        &["shard pods: unreachable; requests are refused at once"],
    );
    check(|r| r.shards[0].has_leader = false, &["shard pods: no leader"]);
    check(
        |r| r.shards[0].endpoints[1].healthy = false,
        &["shard pods: endpoint http://pods-1 does not answer, or knows no leader"],
    );
    check(
        |r| (r.shards[0].endpoints[1].healthy, r.shards[0].endpoints[1].learner) = (false, true),
        &["shard pods: endpoint http://pods-1 is a learner"],
    );
    check(
        |r| {
            r.shards[0].reachable = false;
            r.shards[0].endpoints = vec![Endpoint::default()];
        },
        &["shard pods: never contacted; until it is, the proxy answers no Status request"],
    );
}

#[test]
fn an_endpoint_of_another_cluster() {
    check(
        |r| {
            let endpoint = &mut r.shards[0].endpoints[1];
            (endpoint.healthy, endpoint.elsewhere) = (false, Some("c9".to_owned()));
        },
        &[
            "shard pods: endpoint http://pods-1 belongs to another etcd cluster, c9, and is not used: correct it",
        ],
    );
}

#[test]
fn space_and_load() {
    check(|r| r.shards[0].endpoints[0].db_size = 799, &[]);
    check(|r| r.shards[0].endpoints[0].db_size = 850, &["shard pods: the database takes 85 % of its quota"]);
    // A follower that lags does not speak for the shard.
    check(|r| r.shards[0].endpoints[1].db_size = 850, &[]);
    check(|r| (r.shards[0].endpoints[0].db_size, r.shards[0].endpoints[0].quota) = (850, 0), &[]);
    let alarm = Alarm { member_id: "1f".to_owned(), alarm: "CORRUPT".to_owned() };
    check(|r| r.shards[1].alarms.push(alarm), &["shard rest: alarm CORRUPT of member 1f"]);
    check(|r| r.shards[1].in_flight = 80, &["shard rest: 80 requests in flight, 100 are allowed"]);
}

#[test]
fn versions() {
    let support = |verdict| Support { verdict, reason: Some("because".to_owned()) };
    check(
        |r| r.shards[0].support = support(Verdict::Old),
        &["shard pods: etcd 3.7.1 should be upgraded: because"],
    );
    check(
        |r| r.shards[0].support = support(Verdict::Unsupported),
        &["shard pods: etcd \"3.7.1\" is not supported: because"],
    );
}

#[test]
fn compactions() {
    let ages = |home, other| {
        move |r: &mut StatusReport| {
            r.shards[1].seconds_since_compaction = home;
            r.shards[0].seconds_since_compaction = other;
        }
    };
    check(ages(Some(60), Some(300)), &[]);
    check(ages(Some(60), Some(60 + 20 * 60)), &["shard pods: last compacted 20 minutes after home"]);
    check(ages(None, Some(100_000)), &[]);
    check(ages(Some(60), None), &[]);
    check(
        |r| {
            r.shards[0].seconds_since_compaction = None;
            r.shards[0].compactions_skipped = 4;
        },
        &["shard pods: never compacted, though home was"],
    );
}

#[test]
fn clusters() {
    check(
        |r| r.shards[1].endpoints[0].cluster_id = "pods".to_owned(),
        &[
            "shard rest: its endpoints belong to different clusters: pods, rest",
            "shards pods and rest are the same cluster, pods",
        ],
    );
    check(
        |r| r.shards.push(shard("pods-again", "pods")),
        &["shards pods and pods-again are the same cluster, pods"],
    );
    // An endpoint that was never seen has no cluster id yet.
    check(
        |r| {
            r.shards.iter_mut().for_each(|s| {
                s.endpoints.push(Endpoint {
                    url: "http://new".to_owned(),
                    healthy: true,
                    ..Endpoint::default()
                });
            });
        },
        &[],
    );
}

#[test]
fn drain() {
    check(|r| r.proxy.draining = true, &["the proxy is shutting down"]);
}
