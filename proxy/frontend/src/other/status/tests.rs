use super::*;
use crate::view::testing::{member, shard, status, unknown};

const ME: u64 = 77;

#[test]
fn one_etcd_made_of_all() {
    let mut old = status(3, "3.5.24", 900);
    (old.storage_version, old.db_size_in_use) = (String::new(), 30);
    let mut follower = status(2, "3.6.8", 41);
    (follower.leader, follower.db_size) = (1, 5);
    let shards =
        [shard("a", vec![member(status(1, "3.10.1", 42)), member(follower)]), shard("b", vec![member(old)])];
    let merged = merge(&shards, 0, ME).unwrap();
    assert_eq!(merged.version, "3.5.24");
    assert_eq!(merged.storage_version, "");
    // Of the first shard only the leader counts.
    assert_eq!((merged.db_size, merged.db_size_in_use, merged.db_size_quota), (2000, 530, 20_000));
    assert_eq!((merged.leader, merged.raft_term, merged.is_learner), (ME, 2, false));
    let header = merged.header.unwrap();
    assert_eq!((header.revision, header.raft_term), (42, 2));
    assert_eq!(merged.errors, Vec::<String>::new());
    assert_eq!(merged.downgrade_info, Some(DowngradeInfo::default()));
    assert_eq!(merge(&shards, 1, ME).unwrap().header.unwrap().revision, 900);
}

#[test]
fn no_guess_before_first_contact() {
    let shards = [shard("a", vec![member(status(1, "3.7.1", 1))]), unknown("b"), unknown("c")];
    let error = merge(&shards, 0, ME).unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    assert_eq!(error.message, "etcd-prism: not contacted yet, so its version is unknown: shard b, c");
}

#[test]
fn a_quota_that_is_not_told() {
    let mut silent = status(2, "3.5.24", 1);
    silent.db_size_quota = 0;
    let shards = [shard("a", vec![member(status(1, "3.7.1", 1))]), shard("b", vec![member(silent)])];
    assert_eq!(merge(&shards, 0, ME).unwrap().db_size_quota, 0);
}

#[test]
fn errors_name_their_shard() {
    let mut full = status(1, "3.7.1", 1);
    full.errors = vec!["memberID:1 alarm:NOSPACE ".to_owned()];
    let mut also = status(2, "3.7.1", 1);
    also.errors = vec!["memberID:1 alarm:NOSPACE ".to_owned(), "etcdserver: no leader".to_owned()];
    let mut down = shard("b", vec![member(status(3, "3.7.1", 1))]);
    down.reachable = false;
    let shards = [shard("a", vec![member(full), member(also)]), down];
    let merged = merge(&shards, 0, ME).unwrap();
    assert_eq!(
        merged.errors,
        ["shard a: memberID:1 alarm:NOSPACE", "shard a: etcdserver: no leader", "shard b: unreachable"]
    );
    // What a shard that is down was last known to be still counts.
    assert_eq!((merged.db_size, merged.version.as_str()), (2000, "3.7.1"));
}

#[test]
fn a_downgrade_under_way() {
    let mut going = status(1, "3.7.1", 1);
    going.downgrade_info = Some(DowngradeInfo { enabled: true, target_version: "3.6.0".to_owned() });
    let shards = [shard("a", vec![member(status(2, "3.7.1", 1))]), shard("b", vec![member(going)])];
    let info = merge(&shards, 0, ME).unwrap().downgrade_info.unwrap();
    assert_eq!((info.enabled, info.target_version.as_str()), (true, "3.6.0"));
}
