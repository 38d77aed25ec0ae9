use super::*;
use crate::report::testing::report;

#[test]
fn numbers() {
    for (value, text) in
        [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (8 << 30, "8.0 GiB"), (5 << 40, "5.0 TiB")]
    {
        assert_eq!(bytes(value), text);
    }
    assert_eq!(duration(11_530), "3h 12m");
    assert_eq!(duration(0), "0s");
}

#[test]
fn all_is_well() {
    let expected = "\
etcd-prism 0.1.0, up 3h 12m, cluster c1, member a1

ROUTE  SHARD  STATE   EPOCH  REIGN  KEYS
pods   pods   served      5      1  /registry/pods/
rest   rest   served      5      1  everything else

SHARD        STATE  ETCD   REVISION  DB SIZE  IN USE   QUOTA  IN FLIGHT  COMPACTED  ALARMS
pods         ok     3.7.1        42    500 B   400 B  1000 B      0/100     1m ago  -
rest (home)  ok     3.7.1        42    500 B   400 B  1000 B      0/100     1m ago  -

SHARD  ENDPOINT       ROLE      HEALTH  ETCD   TERM  REVISION  DB SIZE    SEEN
pods   http://pods-0  leader    ok      3.7.1     2        42    500 B  1s ago
pods   http://pods-1  follower  ok      3.7.1     2        42    500 B  1s ago
rest   http://rest-0  leader    ok      3.7.1     2        42    500 B  1s ago
rest   http://rest-1  follower  ok      3.7.1     2        42    500 B  1s ago
";
    assert_eq!(render(&report()), expected);
}

#[test]
fn states() {
    let state_of = |change: fn(&mut Shard)| {
        let mut shard = report().shards.remove(0);
        change(&mut shard);
        state(&shard)
    };
    assert_eq!(state_of(|_| {}), "ok");
    assert_eq!(state_of(|s| s.has_leader = false), "no leader");
    assert_eq!(state_of(|s| s.reachable = false), "unreachable");
    assert_eq!(state_of(|s| (s.reachable, s.breaker_open) = (false, true)), "unreachable (refused)");
    assert_eq!(state_of(|s| s.endpoints = vec![Endpoint::default()]), "never contacted");
}

#[test]
fn what_is_wrong_comes_last() {
    let mut report = report();
    report.shards[0].endpoints[1] = Endpoint { url: "http://pods-1".to_owned(), ..Endpoint::default() };
    report.warnings = vec!["shard pods: no leader".to_owned()];
    let text = render(&report);
    assert!(
        text.contains("http://pods-1  -         -       -         -         -        -   never\n"),
        "{text}"
    );
    assert!(text.ends_with("\nWARNINGS\n- shard pods: no leader\n"), "{text}");
}
