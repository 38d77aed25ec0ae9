use tokio::time::Instant;

use super::testing::{member, shard, status, unknown};
use super::*;

#[test]
fn the_leader_of_the_newest_term_speaks() {
    let mut follower = status(1, "3.7.1", 90);
    follower.leader = 2;
    let mut deposed = status(3, "3.7.1", 10);
    deposed.raft_term = 1;
    for (members, revision) in [
        (vec![follower.clone(), status(2, "3.7.1", 80)], 80),
        (vec![deposed.clone(), status(2, "3.7.1", 80), follower.clone()], 80),
        (vec![follower], 90),
        (vec![deposed], 10),
    ] {
        assert_eq!(shard("a", members.into_iter().map(member).collect()).revision(), revision);
    }
    assert_eq!(unknown("a").revision(), 0);
    assert!(!unknown("a").contacted() && !unknown("a").has_leader());
}

#[test]
fn what_a_lost_member_said_is_not_current() {
    let mut lost = member(status(2, "3.7.1", 1));
    let Some(at) = Instant::now().checked_sub(2 * CURRENT) else { panic!("the clock has just started") };
    lost.seen = Some(Arc::new(Seen { status: status(2, "3.7.1", 1), at }));
    let view = shard("a", vec![member(status(1, "3.7.1", 5)), lost.clone()]);
    assert_eq!(view.current().map(|(m, _)| m.id()).collect::<Vec<_>>(), [1]);
    // Nothing newer is known.
    assert_eq!(shard("a", vec![lost]).current().count(), 1);
}
