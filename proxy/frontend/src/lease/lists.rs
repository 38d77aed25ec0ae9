//! The records of one lease, on every shard that has it.

use std::collections::{BTreeMap, BTreeSet};

use etcd_prism_ownership::ShardUid;
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::UpstreamError;
use futures_util::future::{join_all, try_join_all};

use super::HOLDER_PATIENCE;
use super::grant::ask;
use super::holders::{Alive, shard_of, uid};
use super::record::{self, List, Record};
use super::standing::counts;
use crate::context::Context;

/// What each holder remembers of the others.
#[derive(Debug, Clone, Default)]
pub(super) struct Lists {
    of: BTreeMap<ShardId, List>,
    /// Those who have a copy that does not count, as far as is known.
    copies: BTreeSet<ShardUid>,
}

impl Lists {
    pub(super) async fn read(
        cx: &Context,
        id: i64,
        holders: impl IntoIterator<Item = ShardId>,
    ) -> Result<Self, UpstreamError> {
        let reads = holders.into_iter().map(|shard| async move {
            // One that keeps no records may not let us look for them.
            let list = match uid(cx, shard)? {
                Some(_) => record::list(cx.worker.pool(shard), id).await?,
                None => List::new(),
            };
            Ok::<_, UpstreamError>((shard, list))
        });
        let of = try_join_all(reads).await?.into_iter().collect();
        let mut lists = Self { of, copies: BTreeSet::new() };
        let is_real = |uid, record: &Record| {
            shard_of(cx, uid).and_then(|shard| counts(cx, shard, record)).unwrap_or(false)
        };
        let merged = lists.merged();
        let copies = merged.iter().filter(|(of, record)| record.is_copy() && !is_real(**of, record));
        lists.copies = copies.map(|(of, _)| *of).collect();
        Ok(lists)
    }

    /// Whether a shard has no more than a copy that does not count.
    pub(super) fn is_copy(&self, of: ShardUid) -> bool {
        self.copies.contains(&of)
    }

    /// A shard's copy counts after all, from here on. Whether it did not before.
    pub(super) fn promote(&mut self, of: ShardUid) -> bool {
        self.copies.remove(&of)
    }

    /// A holder remembers of a shard that it has a copy.
    pub(super) fn note_copy(&mut self, holder: ShardId, of: ShardUid, record: Record) {
        self.of.entry(holder).or_default().insert(of, record);
        self.copies.insert(of);
    }

    /// What one holder remembers of a shard.
    pub(super) fn record(&self, holder: ShardId, of: ShardUid) -> Option<&Record> {
        self.of.get(&holder)?.get(&of)
    }

    /// What they know together: one that saw a grant knows more than one that did not, and one that knows of a copy more
    /// than one that knows of an intention.
    pub(super) fn merged(&self) -> List {
        let mut out = List::new();
        for (of, record) in self.of.values().flatten() {
            let known = out.entry(*of).or_insert_with(|| record.clone());
            if known.is_copy() && record.is_copy() {
                known.join(record);
            } else if record.granted || record.is_copy() && !known.granted {
                *known = record.clone();
            }
        }
        out
    }

    /// What each of those that have the lease lacks: whoever has it should know of everybody who has had it, and of copies,
    /// unless it is one itself.
    fn missing(&self, alive: &Alive) -> BTreeMap<ShardId, List> {
        let mut whole = self.merged();
        whole.retain(|_, record| record.granted || record.is_copy());
        for (of, record) in &mut whole {
            if record.is_copy() && !self.copies.contains(of) {
                *record = Record::granted();
            }
        }
        for uid in alive.values().flatten().filter(|uid| !self.copies.contains(uid)) {
            whole.entry(*uid).or_insert_with(Record::granted);
        }
        let lacks = |(holder, uid): (&ShardId, &Option<ShardUid>)| {
            let is_copy = uid.is_some_and(|uid| self.copies.contains(&uid));
            let knows = |of: &ShardUid, record: &Record| {
                record.is_copy() && is_copy
                    || self.record(*holder, *of).is_some_and(|known| known.granted || record.is_copy())
            };
            let mut lacks = whole.clone();
            lacks.retain(|of, record| uid.is_some() && Some(*of) != *uid && !knows(of, record));
            (*holder, lacks)
        };
        alive.iter().map(lacks).collect()
    }

    /// Whether everybody who has the lease knows of everybody who has had it.
    pub(super) fn are_whole(&self, alive: &Alive) -> bool {
        self.missing(alive).values().all(List::is_empty)
    }

    /// Whether everybody who counts does, and the one that it is `needed` on. What a copy lacks is made up for at a renewal.
    pub(super) fn suffice(&self, alive: &Alive, needed: Option<ShardUid>) -> bool {
        let missing = self.missing(alive);
        missing.into_iter().all(|(holder, lacks)| lacks.is_empty() || self.may_lack(alive, holder, needed))
    }

    /// Whether it is only a copy, and not the one that is needed.
    fn may_lack(&self, alive: &Alive, holder: ShardId, needed: Option<ShardUid>) -> bool {
        let of = alive.get(&holder).copied().flatten();
        of.is_some_and(|of| self.is_copy(of) && Some(of) != needed)
    }

    /// Writes what is missing, and looks whether all still have the lease: false if one, with more than a copy, certainly does
    /// not. A copy that takes nothing, on a full shard say, is in nobody's way but its own, if it is the one that is `needed`.
    ///
    /// # Errors
    /// One that may have it did not answer, and nobody is known to have lost it.
    pub(super) async fn complete(
        &self,
        cx: &Context,
        id: i64,
        alive: &Alive,
        needed: Option<ShardUid>,
    ) -> Result<bool, UpstreamError> {
        let writes = self.missing(alive).into_iter().map(|(holder, lacks)| async move {
            let pool = cx.worker.pool(holder);
            // Under the lease, so that it tells at once whether the lease is there.
            let still = match lacks.is_empty() {
                false => record::write(pool, id, &lacks).await,
                true => ask(pool, id, HOLDER_PATIENCE).await.map(|found| found.is_some()),
            };
            let is_copy = alive.get(&holder).copied().flatten().is_some_and(|uid| self.is_copy(uid));
            match still {
                Err(error) if self.may_lack(alive, holder, needed) => {
                    tracing::debug!(lease = id, shard = %pool.shard().name, %error, "the list of a copy is not whole yet");
                    Ok(true)
                }
                still => Ok(still? || is_copy),
            }
        });
        let mut failure = None;
        let mut lost = false;
        for answer in join_all(writes).await {
            match answer {
                Ok(still) => lost |= !still,
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !lost => Err(error),
            _ => Ok(!lost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(records: &[(u128, Record)]) -> List {
        records.iter().map(|(uid, record)| (ShardUid(*uid), record.clone())).collect()
    }

    fn missing(lists: &Lists, alive: &[(u16, Option<u128>)]) -> BTreeMap<u16, Vec<u128>> {
        let alive = alive.iter().map(|(shard, uid)| (ShardId(*shard), uid.map(ShardUid))).collect();
        assert_eq!(lists.are_whole(&alive), lists.missing(&alive).values().all(List::is_empty));
        let missing = lists.missing(&alive).into_iter();
        missing.map(|(shard, list)| (shard.0, list.keys().map(|uid| uid.0).collect())).collect()
    }

    #[test]
    fn who_has_it_is_to_know_of_all_who_had_it() {
        let (granted, intended) = (Record::granted(), Record::intended());
        // 10 has seen a grant on 30, which has lost it; on 20 it was granted just now, on 40 it may be.
        let of_10 = list(&[(20, intended.clone()), (30, granted.clone()), (40, intended.clone())]);
        let lists = Lists { of: BTreeMap::from([(ShardId(1), of_10)]), ..Lists::default() };
        let missing_now = missing(&lists, &[(1, Some(10)), (2, Some(20))]);
        assert_eq!(missing_now, BTreeMap::from([(1, vec![20]), (2, vec![10, 30])]));
        let whole = Lists {
            of: BTreeMap::from([
                (ShardId(1), list(&[(20, granted.clone()), (30, granted.clone()), (40, intended)])),
                (ShardId(2), list(&[(10, granted.clone()), (30, granted)])),
            ]),
            ..Lists::default()
        };
        assert_eq!(
            missing(&whole, &[(1, Some(10)), (2, Some(20))]),
            BTreeMap::from([(1, vec![]), (2, vec![])])
        );
        // One that keeps no records is known, and knows nothing.
        assert_eq!(missing(&whole, &[(1, Some(10)), (5, None)]), BTreeMap::from([(1, vec![]), (5, vec![])]));
    }

    #[test]
    fn a_copy_is_known_and_knows_the_holders_but_is_no_holder() {
        let (granted, copy) = (Record::granted(), Record::copy(BTreeSet::from(["pods".to_owned()])));
        let alive = [(1, Some(10)), (2, Some(20)), (3, Some(30))];
        let mut lists = Lists {
            of: BTreeMap::from([
                (ShardId(1), list(&[(20, granted.clone()), (30, copy.clone())])),
                (ShardId(2), list(&[(10, granted)])),
            ]),
            copies: BTreeSet::from([ShardUid(30)]),
        };
        let now =
            lists.missing(&[1, 2, 3].map(|at| (ShardId(at), Some(ShardUid(u128::from(at) * 10)))).into());
        assert_eq!(missing(&lists, &alive), BTreeMap::from([(1, vec![]), (2, vec![30]), (3, vec![10, 20])]));
        let alive_now = alive.map(|(at, of)| (ShardId(at), of.map(ShardUid))).into();
        assert!(!lists.suffice(&alive_now, None), "one that counts does not know of the copy");
        assert!(now[&ShardId(2)][&ShardUid(30)].is_copy(), "that a copy is there makes it no holder");
        assert!(now[&ShardId(3)].values().all(|record| record.granted));
        // What the copy lacks is in nobody's way but its own.
        let mut known = lists.clone();
        known.note_copy(ShardId(2), ShardUid(30), copy.clone());
        assert!(known.suffice(&alive_now, None) && known.suffice(&alive_now, Some(ShardUid(20))));
        assert!(!known.suffice(&alive_now, Some(ShardUid(30))) && !known.are_whole(&alive_now));
        // It is found to count: everybody is told.
        assert!(lists.promote(ShardUid(30)) && !lists.promote(ShardUid(30)));
        assert_eq!(
            missing(&lists, &alive),
            BTreeMap::from([(1, vec![30]), (2, vec![30]), (3, vec![10, 20])])
        );
        let now =
            lists.missing(&[1, 2, 3].map(|at| (ShardId(at), Some(ShardUid(u128::from(at) * 10)))).into());
        assert!(now.values().flat_map(List::values).all(|record| record.granted));
    }

    #[test]
    fn of_a_grant_a_copy_and_an_intention_the_first_counts() {
        let copy = |of: &str| Record::copy(BTreeSet::from([of.to_owned()]));
        let merged = |records: [Record; 2]| {
            let of = (1..).map(ShardId).zip(records.map(|record| list(&[(30, record)])));
            Lists { of: of.collect(), ..Lists::default() }.merged().remove(&ShardUid(30)).unwrap()
        };
        for (one, other) in [(copy("pods"), Record::granted()), (Record::intended(), Record::granted())] {
            assert!(merged([one.clone(), other.clone()]).granted && merged([other, one]).granted);
        }
        assert!(merged([copy("pods"), Record::intended()]).is_copy());
        assert!(merged([Record::intended(), copy("pods")]).is_copy());
        let both = merged([copy("pods"), copy("leases")]);
        assert_eq!(both.copy_of.into_iter().collect::<Vec<_>>(), ["leases", "pods"]);
    }
}
