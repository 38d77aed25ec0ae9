//! What the shards say of migrations.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_prism_control::call;
use etcd_prism_ownership::keys::{self, Key};
use etcd_prism_ownership::migration::Record;
use etcd_prism_ownership::value::{Stored, ValueError};
use etcd_prism_ownership::{Fence, ShardUid, State};
use etcd_prism_proto::mvccpb::KeyValue;
use etcd_prism_upstream::{ShardPool, UpstreamError};

use super::Host;
use crate::lock::Holder;

const PATIENCE: Duration = Duration::from_secs(2);

/// One shard's fences, records and locks, read linearizably at one revision.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    pub(super) id: Option<ShardUid>,
    pub(super) seen: Result<Seen, String>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// By route, with the fence's mod revision.
    pub(super) fences: BTreeMap<String, (i64, Result<Fence, ValueError>)>,
    pub(super) records: BTreeMap<String, Result<Record, ValueError>>,
    /// By route: who drives.
    pub(super) holders: BTreeMap<String, String>,
}

/// A migration, found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Located {
    pub(super) source: ShardUid,
    pub(super) target: ShardUid,
    /// `None`: it could not be read, or has not been written.
    pub(super) record: Option<Record>,
}

/// Every shard's, in the order of the configuration.
#[derive(Debug, Clone)]
pub(super) struct Pictures(pub(super) Vec<Picture>);

impl Host {
    pub(super) async fn pictures(&self) -> Pictures {
        let picture = |(at, pool)| async move {
            let seen = read(pool).await.map_err(|e| e.to_string());
            Picture { id: self.shards.id_of(at), seen }
        };
        let pools = self.shards.pools().iter().map(|pool| &**pool).enumerate();
        Pictures(futures_util::future::join_all(pools.map(picture)).await)
    }
}

async fn read(pool: &ShardPool) -> Result<Seen, UpstreamError> {
    let ranges = [keys::FENCES, keys::MIGRATIONS, keys::DRIVERS].map(call::range).to_vec();
    let answers = call::read(pool, ranges, PATIENCE).await?;
    let [fences, records, holders] = &answers.ranges[..] else {
        return Err(call::bad(pool, "not the answers that were asked for".to_owned()));
    };
    let fence = |kv: &KeyValue| match keys::parse(&kv.key) {
        Some(Key::Fence(route)) => Some((route.to_owned(), (kv.mod_revision, Fence::decode(&kv.value)))),
        _ => None,
    };
    let record = |kv: &KeyValue| match keys::parse(&kv.key) {
        Some(Key::Migration(route)) => Some((route.to_owned(), Record::decode(&kv.value))),
        _ => None,
    };
    let holder = |kv: &KeyValue| {
        let route = String::from_utf8(kv.key.get(keys::DRIVERS.key.len()..)?.to_vec()).ok()?;
        let name = Holder::decode(&kv.value).map_or_else(|e| e.to_string(), |holder| holder.name);
        Some((route, name))
    };
    Ok(Seen {
        fences: fences.kvs.iter().filter_map(fence).collect(),
        records: records.kvs.iter().filter_map(record).collect(),
        holders: holders.kvs.iter().filter_map(holder).collect(),
    })
}

impl Pictures {
    fn seen(&self) -> impl Iterator<Item = (ShardUid, &Seen)> {
        self.0.iter().filter_map(|picture| Some((picture.id?, picture.seen.as_ref().ok()?)))
    }

    pub(super) fn of(&self, shard: ShardUid) -> Option<&Seen> {
        self.seen().find(|(id, _)| *id == shard).map(|(_, seen)| seen)
    }

    pub(super) fn fence(&self, shard: ShardUid, route: &str) -> Option<(i64, &Fence)> {
        match self.of(shard)?.fences.get(route)? {
            (revision, Ok(fence)) => Some((*revision, fence)),
            _ => None,
        }
    }

    /// The fences of a route, of the shards that were read.
    pub(super) fn fences<'a>(&'a self, route: &'a str) -> impl Iterator<Item = (ShardUid, i64, &'a Fence)> {
        self.seen().filter_map(move |(shard, _)| {
            let (revision, fence) = self.fence(shard, route)?;
            Some((shard, revision, fence))
        })
    }

    /// Who drives a migration to this shard; `None`: nobody, or it could not be read.
    pub(super) fn holder(&self, target: ShardUid, route: &str) -> Option<&str> {
        self.of(target)?.holders.get(route).map(String::as_str)
    }

    /// The migration of a route that is not over.
    pub(super) fn locate(&self, route: &str) -> Option<Located> {
        let peers: Vec<(ShardUid, ShardUid)> =
            self.fences(route).filter_map(|(shard, _, fence)| Some((shard, peer(&fence.state)?))).collect();
        let records = self.records(route).filter(|record| !record.phase.is_over());
        let linked = |record: &&Record| {
            let pair = (record.source, record.target);
            peers.iter().any(|(a, b)| (*a, *b) == pair || (*b, *a) == pair)
        };
        // One that no fence knows of was abandoned; it counts where there is no other.
        if let Some(record) = records.max_by_key(linked) {
            let (source, target) = (record.source, record.target);
            return Some(Located { source, target, record: Some(record.clone()) });
        }
        let (source, target) = peers.first().copied()?;
        Some(Located { source, target, record: None })
    }

    /// The last migration of a route, over or not.
    pub(super) fn last(&self, route: &str) -> Option<Located> {
        self.locate(route).or_else(|| {
            let record = self.records(route).max_by_key(|record| record.timings.created)?;
            let (source, target) = (record.source, record.target);
            Some(Located { source, target, record: Some(record.clone()) })
        })
    }

    /// The migration of a route that is over by its record, while its owner goes on naming the other shard: its last write was
    /// never made. With the owner's mod revision. A route that was claimed for the next migration a moment ago looks the same.
    pub(super) fn unlinked(&self, route: &str) -> Option<(ShardUid, i64, Located)> {
        let (owner, revision, other) = self.fences(route).find_map(|(shard, revision, fence)| {
            matches!(fence.state, State::Open { .. }).then_some((shard, revision, peer(&fence.state)?))
        })?;
        if self.fence(other, route).is_none_or(|(_, fence)| fence.state != State::Retired) {
            return None;
        }
        let pairs = [(owner, other), (other, owner)];
        let records = self.records(route).filter(|record| pairs.contains(&(record.source, record.target)));
        let record = records.max_by_key(|record| record.timings.created)?;
        let (source, target) = (record.source, record.target);
        let found = Located { source, target, record: Some(record.clone()) };
        record.phase.is_over().then_some((owner, revision, found))
    }

    /// Whether the owner of a route was read, and names no other shard. Where it was not, a migration may be under way that
    /// nobody sees here, with the same two shards in other roles than in the one before.
    pub(super) fn is_at_rest(&self, route: &str) -> bool {
        self.fences(route).any(|(_, _, fence)| fence.state == State::Open { peer: None })
    }

    /// The records that lie where they belong.
    fn records<'a>(&'a self, route: &'a str) -> impl Iterator<Item = &'a Record> {
        self.seen().filter_map(move |(shard, seen)| match seen.records.get(route) {
            Some(Ok(record)) if record.target == shard => Some(record),
            _ => None,
        })
    }

    /// Every route that a record or a fence shows to have a migration, or to have had one.
    pub(super) fn routes(&self) -> Vec<String> {
        let records = self.seen().flat_map(|(_, seen)| seen.records.keys().cloned());
        let linked = self.seen().flat_map(|(_, seen)| &seen.fences).filter_map(|(route, (_, fence))| {
            let state = &fence.as_ref().ok()?.state;
            peer(state).map(|_| route.clone())
        });
        let mut out: Vec<String> = records.chain(linked).collect();
        out.sort();
        out.dedup();
        out
    }
}

/// The other shard, as the fence of an owner names it.
pub(super) fn peer(state: &State) -> Option<ShardUid> {
    match state {
        State::Open { peer } | State::Sealed { peer, claim: None } => *peer,
        State::Flipping { target, .. } => Some(*target),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use etcd_prism_ownership::DefinitionHash;
    use etcd_prism_ownership::migration::{Options, Phase};

    use super::*;

    const A: ShardUid = ShardUid(1);
    const B: ShardUid = ShardUid(2);
    const C: ShardUid = ShardUid(3);

    fn picture(id: ShardUid, state: Option<State>, record: Option<Record>) -> Picture {
        let mut seen = Seen::default();
        if let Some(state) = state {
            let fence = Fence { n: 1, definition: DefinitionHash([1; 32]), shard: id, state };
            seen.fences.insert("pods".to_owned(), (7, Ok(fence)));
        }
        if let Some(record) = record {
            seen.records.insert("pods".to_owned(), Ok(record));
        }
        Picture { id: Some(id), seen: Ok(seen) }
    }

    fn record(source: ShardUid, target: ShardUid, phase: Phase) -> Record {
        let mut record = Record::new(3, source, target, 1, Options::default(), 0);
        record.phase = phase;
        record
    }

    fn open(peer: Option<ShardUid>) -> Option<State> {
        Some(State::Open { peer })
    }

    fn pair(pictures: Vec<Picture>) -> Option<(ShardUid, ShardUid, bool)> {
        Pictures(pictures).locate("pods").map(|found| (found.source, found.target, found.record.is_some()))
    }

    #[test]
    fn a_migration_is_found_by_its_record_whoever_owns_the_route() {
        let following = || Some(record(A, B, Phase::Follow));
        let importing = Some(State::Importing { peer: Some(A), claim: None });
        assert_eq!(
            pair(vec![picture(A, open(Some(B)), None), picture(B, importing, following())]),
            Some((A, B, true))
        );
        let standby = Some(State::Standby { peer: B });
        assert_eq!(
            pair(vec![picture(A, standby, None), picture(B, open(Some(A)), following())]),
            Some((A, B, true))
        );
        let over = Some(record(A, B, Phase::Completed));
        assert_eq!(pair(vec![picture(A, None, None), picture(B, open(None), over)]), None);
    }

    #[test]
    fn the_fence_tells_while_there_is_no_record() {
        assert_eq!(pair(vec![picture(A, open(Some(B)), None), picture(B, None, None)]), Some((A, B, false)));
        let away = Picture { id: Some(B), seen: Err("gone".to_owned()) };
        assert_eq!(pair(vec![picture(A, open(Some(B)), None), away]), Some((A, B, false)));
    }

    #[test]
    fn what_was_abandoned_gives_way_to_what_goes_on() {
        let abandoned = picture(B, None, Some(record(A, B, Phase::Copy)));
        let goes_on = picture(C, None, Some(record(A, C, Phase::Purge)));
        for pictures in [[abandoned.clone(), goes_on.clone()], [goes_on, abandoned.clone()]] {
            let mut all = vec![picture(A, open(Some(C)), None)];
            all.extend(pictures);
            assert_eq!(pair(all), Some((A, C, true)));
        }
        assert_eq!(pair(vec![picture(A, open(None), None), abandoned]), Some((A, B, true)));
    }

    #[test]
    fn what_is_over_is_followed_to_its_last_write() {
        let ended = |owner, other, phase| {
            Pictures(vec![
                picture(A, owner, None),
                picture(B, other, Some(record(A, B, phase))),
                picture(C, None, Some(record(A, C, Phase::Completed))),
            ])
            .unlinked("pods")
            .map(|(owner, revision, found)| (owner, revision, found.source, found.target))
        };
        let retired = || Some(State::Retired);
        assert_eq!(ended(open(Some(B)), retired(), Phase::Cancelled), Some((A, 7, A, B)));
        assert_eq!(ended(retired(), open(Some(A)), Phase::Completed), Some((B, 7, A, B)));
        assert_eq!(ended(open(None), retired(), Phase::Cancelled), None);
        assert_eq!(ended(open(Some(B)), retired(), Phase::Follow), None, "it is not over");
        assert_eq!(ended(open(Some(B)), None, Phase::Cancelled), None, "nobody knows what is there");
        let importing = Some(State::Importing { peer: Some(A), claim: None });
        assert_eq!(ended(open(Some(B)), importing, Phase::Cancelled), None, "the next one goes on");
    }

    #[test]
    fn what_is_over_says_nothing_of_an_owner_that_cannot_be_read() {
        // From A to B and completed; then from B to A, and switched. A is away.
        let before = picture(B, Some(State::Standby { peer: A }), Some(record(A, B, Phase::Completed)));
        let away = Picture { id: Some(A), seen: Err("gone".to_owned()) };
        assert!(!Pictures(vec![away, before.clone()]).is_at_rest("pods"));
        let linked = picture(A, open(Some(B)), Some(record(B, A, Phase::Follow)));
        assert!(!Pictures(vec![linked, before]).is_at_rest("pods"));
        let over = picture(B, open(None), Some(record(A, B, Phase::Completed)));
        assert!(Pictures(vec![picture(A, Some(State::Retired), None), over]).is_at_rest("pods"));
    }

    #[test]
    fn a_copy_of_a_record_on_another_shard_is_none() {
        let misplaced = picture(A, open(None), Some(record(A, B, Phase::Follow)));
        assert_eq!(pair(vec![misplaced, picture(B, None, None)]), None);
    }
}
