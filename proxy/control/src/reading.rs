//! What a shard's reserved keys hold.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_prism_ownership::drain::SessionList;
use etcd_prism_ownership::facts::Snapshot;
use etcd_prism_ownership::id::{ClusterId, ProxyId, ShardUid};
use etcd_prism_ownership::identity::Live;
use etcd_prism_ownership::keys::{self, Key};
use etcd_prism_ownership::value::{
    Fence, Identity, ReignRecord, Samples, SeenAt, Session, Stored, Table, ValueError,
};
use etcd_prism_proto::etcdserverpb::RangeResponse;
use etcd_prism_proto::mvccpb::KeyValue;
use etcd_prism_upstream::{ShardPool, UpstreamError};
use etcd_prism_wire::keys::KeyRange;

use crate::call;

/// A shard's own keys at one revision, read linearizably.
#[derive(Debug, Clone)]
pub struct Reading {
    pub live: Live,
    /// With its mod revision.
    pub identity: Option<(i64, Result<Identity, ValueError>)>,
    /// Table, fences and reigns.
    pub snapshot: Snapshot,
    pub sessions: SessionList,
    /// The leases that the sessions hang on.
    pub leases: BTreeMap<ProxyId, i64>,
    /// The leases that the locks of drivers hang on, by route.
    pub(crate) drivers: BTreeMap<String, i64>,
    samples: Option<Samples>,
    /// Revisions that shards fell below.
    seen: BTreeMap<ShardUid, i64>,
}

impl Reading {
    /// Reads a shard.
    ///
    /// # Errors
    /// The shard did not answer, or does not let our user read the reserved keys.
    pub async fn of(pool: &ShardPool, patience: Duration) -> Result<Self, UpstreamError> {
        let one = |key| call::range(KeyRange::single(key));
        let ranges = vec![
            call::range(keys::FENCES),
            one(keys::TABLE),
            one(keys::IDENTITY),
            call::range(keys::SESSIONS),
            one(keys::SAMPLES),
            call::range(keys::REIGNS),
            call::range(keys::SEEN),
            call::range(keys::DRIVERS),
        ];
        let answers = call::read(pool, ranges, patience).await?;
        let [fences, table, identity, sessions, samples, reigns, seen, drivers] = &answers.ranges[..] else {
            return Err(call::bad(pool, "not the answers that were asked for".to_owned()));
        };
        let identity = first::<Identity>(identity);
        let id = identity.as_ref().and_then(|(_, identity)| identity.as_ref().ok()).map(|i| i.id);
        let (sessions, leases) = read_sessions(sessions);
        Ok(Self {
            live: Live { cluster_id: ClusterId(answers.cluster_id), id, revision: answers.revision },
            identity,
            snapshot: Snapshot {
                table: first::<Table>(table),
                fences: read_fences(fences),
                reigns: read_reigns(reigns),
            },
            sessions: SessionList { revision: answers.revision, sessions },
            leases,
            drivers: read_drivers(drivers),
            samples: first::<Samples>(samples).and_then(|(_, samples)| samples.ok()),
            seen: read_seen(seen),
        })
    }

    /// Every revision of any shard that is remembered here.
    pub(crate) fn remembered(&self) -> BTreeMap<ShardUid, i64> {
        let mut out = BTreeMap::new();
        let sessions = self.sessions.sessions.iter().filter_map(|(_, session)| session.as_ref().ok());
        let samples = self.samples.iter().flat_map(|s| &s.samples).flat_map(|s| &s.others);
        for (shard, revision) in sessions.flat_map(|s| &s.revisions).chain(samples).chain(&self.seen) {
            let highest = out.entry(*shard).or_insert(0);
            *highest = (*highest).max(*revision);
        }
        out
    }
}

fn first<T: Stored>(reply: &RangeResponse) -> Option<(i64, Result<T, ValueError>)> {
    reply.kvs.first().map(|kv| (kv.mod_revision, T::decode(&kv.value)))
}

fn read_seen(reply: &RangeResponse) -> BTreeMap<ShardUid, i64> {
    let seen = |kv: &KeyValue| match keys::parse(&kv.key) {
        // What a newer proxy wrote in another way it remembers itself.
        Some(Key::Seen(shard)) => Some((shard, SeenAt::decode(&kv.value).ok()?.revision)),
        _ => None,
    };
    reply.kvs.iter().filter_map(seen).collect()
}

fn read_fences(reply: &RangeResponse) -> BTreeMap<String, (i64, Result<Fence, ValueError>)> {
    let fence = |kv: &KeyValue| match keys::parse(&kv.key) {
        Some(Key::Fence(route)) => Some((route.to_owned(), (kv.mod_revision, Fence::decode(&kv.value)))),
        _ => None,
    };
    reply.kvs.iter().filter_map(fence).collect()
}

fn read_reigns(reply: &RangeResponse) -> BTreeMap<(String, u64), (i64, Result<ReignRecord, ValueError>)> {
    let record = |kv: &KeyValue| match keys::parse(&kv.key) {
        Some(Key::Reign { route, n }) => {
            Some(((route.to_owned(), n), (kv.mod_revision, ReignRecord::decode(&kv.value))))
        }
        _ => None,
    };
    reply.kvs.iter().filter_map(record).collect()
}

fn read_drivers(reply: &RangeResponse) -> BTreeMap<String, i64> {
    let driver = |kv: &KeyValue| match keys::parse(&kv.key) {
        Some(Key::Driver(route)) => Some((route.to_owned(), kv.lease)),
        _ => None,
    };
    reply.kvs.iter().filter_map(driver).collect()
}

type Sessions = Vec<(ProxyId, Result<Session, ValueError>)>;

fn read_sessions(reply: &RangeResponse) -> (Sessions, BTreeMap<ProxyId, i64>) {
    let mut sessions = Vec::new();
    let mut leases = BTreeMap::new();
    for kv in &reply.kvs {
        if let Some(Key::Session(proxy)) = keys::parse(&kv.key) {
            leases.insert(proxy, kv.lease);
            sessions.push((proxy, Session::decode(&kv.value)));
        }
    }
    (sessions, leases)
}
