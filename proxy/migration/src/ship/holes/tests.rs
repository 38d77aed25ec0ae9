use super::*;
use proptest::prelude::*;

fn key(name: u8) -> Bytes {
    Bytes::copy_from_slice(&[name])
}

fn deleted(name: u8, revision: i64) -> Change {
    Change { key: key(name), revision, put: None }
}

fn all() -> Progress {
    Progress::begin(1, 100, None, 1)
}

fn due(holes: &Holes) -> Vec<Bytes> {
    holes.due(&all(), 100, true).map(|(_, keys)| keys).unwrap_or_default()
}

#[test]
fn own_deletes_and_keys_that_are_not_copied_are_none() {
    let mut holes = Holes::default();
    holes.begin(10);
    holes.deleted(12);
    let progress = Progress::begin(1, 100, Some(b"m"), 1);
    holes.note(vec![deleted(b'a', 11), deleted(b'b', 12), deleted(b'x', 13)], 14, &progress);
    assert_eq!(holes.due(&progress, 100, true), Some((100, vec![key(b'a')])));
    assert_eq!((holes.seen(), holes.looked()), (14, 10));
    holes.forget(&key(b'a'));
    assert_eq!((holes.is_empty(), holes.looked()), (true, 14));
}

#[test]
fn what_is_not_known_is_stored_as_such() {
    let mut holes = Holes::default();
    holes.begin_with_all(10, b"a");
    assert_eq!((holes.looked(), holes.is_empty()), (0, false));
    holes.swept(None, vec![key(b'c')]);
    assert_eq!((holes.looked(), holes.is_empty()), (0, false));
    holes.forget(&key(b'c'));
    assert_eq!((holes.looked(), holes.is_empty()), (10, true));
    holes.note(vec![deleted(b'c', 20)], 20, &all());
    holes.force(key(b'c'));
    assert!(holes.is_forced(&key(b'c')));
    assert_eq!(holes.looked(), 0, "it may be deleted first");
}

#[test]
fn each_is_read_where_the_standby_has_it() {
    let mut progress = Progress::begin(1, 100, Some(b"a"), 1);
    progress.copied(b"c", 100, false);
    progress.copied(b"e", 105, false);
    let mut holes = Holes::default();
    holes.note([b'a', b'b', b'c', b'd'].map(|name| deleted(name, 7)).into(), 7, &progress);
    assert_eq!(holes.due(&progress, 100, true), Some((100, vec![key(b'a'), key(b'b')])));
    assert_eq!(holes.due(&progress, 1, true), Some((100, vec![key(b'a')])));
    holes.forget(&key(b'a'));
    holes.forget(&key(b'b'));
    assert_eq!(holes.due(&progress, 100, true), Some((105, vec![key(b'c'), key(b'd')])));
}

#[tokio::test(start_paused = true)]
async fn what_ended_just_now_waits_for_the_log() {
    let mut holes = Holes::default();
    holes.note(vec![deleted(b'a', 7)], 7, &all());
    assert_eq!(holes.due(&all(), 100, false), None);
    assert_eq!(due(&holes), [key(b'a')]);
    tokio::time::advance(DELAY).await;
    assert!(holes.due(&all(), 100, false).is_some());
}

/// A standby of eight keys, its log, and what is stored there.
#[derive(Default)]
struct Standby {
    has: [bool; 8],
    log: Vec<Change>,
    now: i64,
    looked: i64,
}

impl Standby {
    fn write(&mut self, name: u8, has: bool) -> i64 {
        self.now += 1;
        if self.has[usize::from(name)] && !has {
            self.log.push(deleted(name, self.now));
        }
        self.has[usize::from(name)] = has;
        self.now
    }

    /// As after a restart, or where the standby has compacted what was to come next.
    fn begin(&self, compacted: bool) -> Holes {
        let mut holes = Holes::default();
        if compacted || self.looked == 0 {
            holes.begin_with_all(self.now, &[0]);
        } else {
            holes.begin(self.looked);
        }
        holes
    }

    fn tell(&self, holes: &mut Holes, upto: i64) {
        let seen = holes.seen();
        let told = self.log.iter().filter(|c| c.revision > seen && c.revision <= upto).cloned().collect();
        holes.note(told, upto, &all());
    }

    fn sweep(&self, holes: &mut Holes, owner: &[bool; 8]) {
        if let Some([from]) = holes.sweep() {
            let page = *from..(*from + 3).min(8);
            let is_missing = |name: &u8| owner[usize::from(*name)] && !self.has[usize::from(*name)];
            let missing = page.clone().filter(is_missing).map(key).collect();
            holes.swept((page.end < 8).then(|| vec![page.end]), missing);
        }
    }

    fn fill(&mut self, holes: &mut Holes, owner: &[bool; 8], most: usize) {
        for key in due(holes).into_iter().take(most) {
            let name = key[0];
            if holes.is_forced(&key) && self.has[usize::from(name)] {
                let revision = self.write(name, false);
                holes.deleted(revision);
                self.looked = holes.looked();
                // Here it may die.
                if self.now % 3 == 0 {
                    *holes = self.begin(false);
                    return;
                }
            }
            if self.has[usize::from(name)] != owner[usize::from(name)] {
                self.write(name, owner[usize::from(name)]);
                self.looked = holes.looked();
            }
            holes.forget(&key);
        }
    }
}

proptest! {
    /// Whatever ends on the standby, whenever drivers die and whatever is compacted there: in the end all is there again.
    #[test]
    fn all_comes_back(steps in prop::collection::vec((0u8..8, 0u8..8), 0..120)) {
        let (mut standby, mut owner) = (Standby::default(), [false; 8]);
        let mut holes = standby.begin(false);
        for (what, name) in steps {
            match what {
                // The owner's log is applied.
                0 | 1 => {
                    owner[usize::from(name)] = what == 0;
                    let revision = standby.write(name, what == 0);
                    if what == 1 {
                        holes.deleted(revision);
                    }
                    holes.forget(&key(name));
                    standby.looked = holes.looked();
                }
                2 => {
                    standby.write(name, false);
                }
                3 => {
                    let seen = holes.seen();
                    let upto = (seen + (standby.now - seen) / 2 + 1).min(standby.now);
                    standby.tell(&mut holes, upto.max(seen));
                }
                4 => holes = standby.begin(name < 3),
                5 => standby.sweep(&mut holes, &owner),
                6 => standby.fill(&mut holes, &owner, 1),
                _ => holes.force(key(name)),
            }
        }
        for _ in 0..20 {
            standby.tell(&mut holes, standby.now);
            standby.sweep(&mut holes, &owner);
            standby.fill(&mut holes, &owner, 3);
        }
        prop_assert_eq!(standby.has, owner);
        standby.tell(&mut holes, standby.now);
        prop_assert!(holes.is_empty() && holes.looked() == standby.now, "{:?}", holes);
    }
}
