use proptest::prelude::*;

use super::*;

fn reign(n: u64, shard: u128, after: i64, raw_start: i64) -> Reign {
    Reign { n, shard: ShardUid(shard), after, raw_start }
}

#[test]
fn one_reign_from_the_beginning_is_the_identity() {
    let record = ReignRecord { n: 1, shard: ShardUid(1), after: 0, floor: 0, since: 0, earlier: Vec::new() };
    let timeline = Timeline::new(vec![Reign::new(&record, 500)]).unwrap();
    assert!(timeline.is_identity());
    assert_eq!(timeline.up(ShardUid(1), 3), Ok(3));
    assert_eq!(timeline.down(3), Down::Raw { shard: ShardUid(1), n: 1, raw: 3 });
    assert!(timeline.up(ShardUid(2), 3).is_err());
}

#[test]
fn a_reign_on_a_younger_shard_is_lifted() {
    let timeline = Timeline::new(vec![reign(1, 1, 0, 1), reign(2, 2, 100, 40)]).unwrap();
    assert!(!timeline.is_identity());
    assert_eq!(timeline.up(ShardUid(2), 40), Ok(101));
    assert_eq!(timeline.up(ShardUid(1), 100), Ok(100));
    assert!(timeline.up(ShardUid(1), 101).is_err(), "after its reign");
    assert!(timeline.up(ShardUid(2), 39).is_err(), "before its reign");
    assert_eq!(timeline.down(100), Down::Raw { shard: ShardUid(1), n: 1, raw: 100 });
    assert_eq!(timeline.down(101), Down::Raw { shard: ShardUid(2), n: 2, raw: 40 });
}

#[test]
fn the_gap_before_the_first_raw_revision_is_never_shown() {
    let timeline = Timeline::new(vec![reign(1, 1, 0, 1), reign(2, 2, 100, 400)]).unwrap();
    for revision in [101, 250, 400] {
        assert_eq!(timeline.down(revision), Down::Raw { shard: ShardUid(2), n: 2, raw: 400 });
    }
    assert_eq!(timeline.down(401), Down::Raw { shard: ShardUid(2), n: 2, raw: 401 });
}

#[test]
fn below_the_first_known_reign_is_compacted() {
    let timeline = Timeline::new(vec![reign(3, 1, 100, 400)]).unwrap();
    assert_eq!(timeline.down(100), Down::Compacted);
    assert_eq!(timeline.down(0), Down::Raw { shard: ShardUid(1), n: 3, raw: 0 });
}

#[test]
fn reigns_that_do_not_follow_each_other_are_refused() {
    let refused = |reigns: Vec<Reign>| Timeline::new(reigns).unwrap_err();
    assert_eq!(refused(vec![]), TimelineError::Empty);
    assert_eq!(refused(vec![reign(1, 1, 0, 0)]), TimelineError::Start(1, 0));
    assert_eq!(refused(vec![reign(1, 1, 0, 1), reign(3, 2, 9, 9)]), TimelineError::Gap(1, 3));
    assert_eq!(refused(vec![reign(1, 1, 5, 10), reign(2, 2, 9, 9)]), TimelineError::Order(1));
    assert_eq!(
        refused(vec![reign(1, 1, 0, 1), reign(2, 2, 10, 5), reign(3, 1, 20, 10)]),
        TimelineError::Overlap(2)
    );
}

/// A history: for each reign its shard and how many writes it sees; all shards' raw lines move on beside it.
fn any_history() -> impl Strategy<Value = Vec<(u128, i64, [i64; 3])>> {
    prop::collection::vec((0..3_u128, 0..20_i64, prop::array::uniform3(0..30_i64)), 1..8)
}

/// What clients saw, in order: `(shard, raw, virtual)`.
fn play(history: &[(u128, i64, [i64; 3])]) -> (Timeline, Vec<(ShardUid, i64, i64)>) {
    let mut raw = [1_i64; 3];
    let (mut reigns, mut seen): (Vec<Reign>, Vec<_>) = (Vec::new(), Vec::new());
    let mut line = 0;
    for (n, (shard, writes, drift)) in history.iter().enumerate() {
        raw.iter_mut().zip(drift).for_each(|(raw, drift)| *raw += drift);
        let at = &mut raw[*shard as usize];
        *at += 1;
        let record = ReignRecord {
            n: n as u64 + 1,
            shard: ShardUid(*shard),
            after: line,
            floor: line,
            since: 0,
            earlier: Vec::new(),
        };
        let reign = Reign::new(&record, *at);
        for step in 0..=*writes {
            line = *at + reign.offset();
            seen.push((reign.shard, *at, line));
            *at += i64::from(step < *writes);
        }
        reigns.push(reign);
    }
    (Timeline::new(reigns).unwrap(), seen)
}

proptest! {
    #[test]
    fn lines_are_monotonic_and_come_back(history in any_history()) {
        let (timeline, seen) = play(&history);
        for pair in seen.windows(2) {
            prop_assert!(pair[0].2 < pair[1].2);
        }
        for (shard, raw, line) in seen {
            prop_assert_eq!(timeline.up(shard, raw), Ok(line));
            match timeline.down(line) {
                Down::Raw { shard: s, raw: r, .. } => prop_assert_eq!((s, r), (shard, raw)),
                Down::Compacted => prop_assert!(false),
            }
            prop_assert_eq!(timeline.up(shard, 0), Ok(0));
        }
    }

    #[test]
    fn down_is_monotonic_and_never_below_the_start(history in any_history(), revision in 1..400_i64) {
        let (timeline, _) = play(&history);
        let Down::Raw { shard, n, raw } = timeline.down(revision) else { return Err(TestCaseError::fail("compacted")) };
        let reign = timeline.reigns().iter().find(|r| r.n == n).unwrap();
        prop_assert_eq!(shard, reign.shard);
        prop_assert!(raw >= reign.raw_start);
        let Down::Raw { n: next, raw: above, .. } = timeline.down(revision + 1) else {
            return Err(TestCaseError::fail("compacted"));
        };
        prop_assert!(next > n || (next == n && above >= raw));
    }

    #[test]
    fn up_answers_or_refuses(history in any_history(), shard in 0..4_u128, raw in any::<i64>()) {
        let (timeline, _) = play(&history);
        let reigns = timeline.reigns();
        let inside = raw == 0 || reigns.iter().enumerate().any(|(i, r)| {
            let end = reigns.get(i + 1).map_or(i64::MAX, |next| next.after - r.offset());
            r.shard == ShardUid(shard) && r.raw_start <= raw && raw <= end && raw.checked_add(r.offset()).is_some()
        });
        prop_assert_eq!(timeline.up(ShardUid(shard), raw).is_ok(), inside);
    }
}
