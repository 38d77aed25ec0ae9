//! The records of one lease, on every shard that has it.

use std::collections::BTreeMap;

use etcd_prism_ownership::ShardUid;
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::UpstreamError;
use futures_util::future::{join_all, try_join_all};

use super::HOLDER_PATIENCE;
use super::grant::ask;
use super::holders::{Alive, uid};
use super::record::{self, List, Record};
use crate::context::Context;

/// What each holder remembers of the others.
#[derive(Debug, Clone, Default)]
pub(super) struct Lists {
    of: BTreeMap<ShardId, List>,
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
        Ok(Self { of: try_join_all(reads).await?.into_iter().collect() })
    }

    /// What one holder remembers of a shard.
    pub(super) fn record(&self, holder: ShardId, of: ShardUid) -> Option<&Record> {
        self.of.get(&holder)?.get(&of)
    }

    /// What they know together: one that saw a grant knows more than one that did not.
    pub(super) fn merged(&self) -> List {
        let mut out = List::new();
        for (of, record) in self.of.values().flatten() {
            let known = out.entry(*of).or_insert_with(|| record.clone());
            if record.granted {
                *known = record.clone();
            }
        }
        out
    }

    /// What each of those that have the lease lacks: whoever has it should know of everybody who has had it.
    fn missing(&self, alive: &Alive) -> BTreeMap<ShardId, List> {
        let mut whole = self.merged();
        whole.retain(|_, record| record.granted);
        for uid in alive.values().flatten() {
            whole.entry(*uid).or_insert_with(Record::granted);
        }
        let lacks = |(holder, uid): (&ShardId, &Option<ShardUid>)| {
            let knows = |of: &ShardUid| self.record(*holder, *of).is_some_and(|record| record.granted);
            let mut lacks = whole.clone();
            lacks.retain(|of, _| uid.is_some() && Some(*of) != *uid && !knows(of));
            (*holder, lacks)
        };
        alive.iter().map(lacks).collect()
    }

    /// Whether everybody who has the lease knows of everybody who has had it.
    pub(super) fn are_whole(&self, alive: &Alive) -> bool {
        self.missing(alive).values().all(List::is_empty)
    }

    /// Writes what is missing, and looks whether all still have the lease: false if one certainly does not.
    ///
    /// # Errors
    /// One that may have it did not answer, and nobody is known to have lost it.
    pub(super) async fn complete(&self, cx: &Context, id: i64, alive: &Alive) -> Result<bool, UpstreamError> {
        let writes = self.missing(alive).into_iter().map(|(holder, lacks)| async move {
            let pool = cx.worker.pool(holder);
            // Under the lease, so that it tells at once whether the lease is there.
            if !lacks.is_empty() {
                return record::write(pool, id, &lacks).await;
            }
            Ok(ask(pool, id, HOLDER_PATIENCE).await?.is_some())
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
        let lists = Lists { of: BTreeMap::from([(ShardId(1), of_10)]) };
        let missing_now = missing(&lists, &[(1, Some(10)), (2, Some(20))]);
        assert_eq!(missing_now, BTreeMap::from([(1, vec![20]), (2, vec![10, 30])]));
        let whole = Lists {
            of: BTreeMap::from([
                (ShardId(1), list(&[(20, granted.clone()), (30, granted.clone()), (40, intended)])),
                (ShardId(2), list(&[(10, granted.clone()), (30, granted)])),
            ]),
        };
        assert_eq!(
            missing(&whole, &[(1, Some(10)), (2, Some(20))]),
            BTreeMap::from([(1, vec![]), (2, vec![])])
        );
        // One that keeps no records is known, and knows nothing.
        assert_eq!(missing(&whole, &[(1, Some(10)), (5, None)]), BTreeMap::from([(1, vec![]), (5, vec![])]));
    }
}
