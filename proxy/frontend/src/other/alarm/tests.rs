use super::*;
use crate::view::testing::{alarm, member, shard, status, unknown};

const NOSPACE: AlarmType = AlarmType::Nospace;
const CORRUPT: AlarmType = AlarmType::Corrupt;

fn answer(revision: i64, alarms: Vec<AlarmMember>) -> Result<AlarmResponse, UpstreamError> {
    let header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
    Ok(AlarmResponse { header, alarms })
}

fn no_answer() -> Result<AlarmResponse, UpstreamError> {
    Err(UpstreamError::TimedOut { shard: "b".to_owned() })
}

#[test]
fn union() {
    let mut silent = shard("b", vec![member(status(2, "3.7.1", 20))]);
    silent.alarms = vec![alarm(2, NOSPACE), alarm(3, CORRUPT)];
    let shards = [shard("a", vec![member(status(1, "3.7.1", 10))]), silent];

    let all = merge(&shards, 0, vec![answer(11, vec![alarm(1, CORRUPT)]), no_answer()], 0);
    assert_eq!(all.alarms, [alarm(1, CORRUPT), alarm(2, NOSPACE), alarm(3, CORRUPT)]);
    assert_eq!(all.header.unwrap().revision, 11);

    let some = merge(&shards, 1, vec![answer(11, Vec::new()), no_answer()], NOSPACE.into());
    assert_eq!(some.alarms, [alarm(2, NOSPACE)]);
    // Home did not answer: its last known revision.
    assert_eq!(some.header.unwrap().revision, 20);

    // An answer counts more than what was reported before.
    let mended = merge(&shards, 0, vec![answer(11, Vec::new()), answer(21, Vec::new())], 0);
    assert_eq!(mended.alarms, []);
}

#[test]
fn a_member_names_its_shard() {
    let mut a = shard("a", vec![member(status(1, "3.7.1", 1)), member(status(2, "3.7.1", 1))]);
    a.alarms = vec![alarm(9, NOSPACE)];
    let shards = [a, shard("b", vec![member(status(3, "3.7.1", 1))]), unknown("c")];
    for (id, expected) in [(2, vec![0]), (3, vec![1]), (9, vec![0]), (4, vec![]), (0, vec![0, 1, 2])] {
        assert_eq!(owners(&shards, id), expected, "{id}");
    }
}
