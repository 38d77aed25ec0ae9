//! The shard that rules first.

use std::collections::BTreeMap;

use etcd_prism_ownership::drain::{Drained, SessionList, drained};
use etcd_prism_ownership::route::Observation;
use etcd_prism_ownership::session::Acks;
use etcd_prism_ownership::value::{self, PROTOCOL};
use etcd_prism_ownership::{DefinitionHash, Fence, ProxyId, ShardUid, State};

pub(super) const ROUTE: &str = "pods";
pub(super) const DEFINITION: DefinitionHash = DefinitionHash([1; 32]);
pub(super) const SHARD: ShardUid = ShardUid(1);

/// A session key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    lease: i64,
    mod_revision: i64,
    acks: Acks,
}

/// An etcd, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shard {
    ttl: u64,
    pub revision: i64,
    fence: (i64, bool),
    /// When each lease may end.
    leases: BTreeMap<i64, u64>,
    granted: i64,
    keys: BTreeMap<u128, Key>,
    lost: bool,
}

impl Shard {
    pub(super) fn new(ttl: u64) -> Self {
        let (leases, keys) = (BTreeMap::new(), BTreeMap::new());
        Self { ttl, revision: 1, fence: (1, false), leases, granted: 0, keys, lost: false }
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.fence.1
    }

    pub(super) fn has_lost_a_session(&self) -> bool {
        self.lost
    }

    pub(super) fn write_fence(&mut self, sealed: bool) -> i64 {
        self.revision += 1;
        self.fence = (self.revision, sealed);
        self.revision
    }

    pub(super) fn fence_now(&self) -> Observation {
        let (mod_revision, sealed) = self.fence;
        let state =
            if sealed { State::Sealed { peer: None, claim: None } } else { State::Open { peer: None } };
        let fence = Fence { n: 1, definition: DEFINITION, shard: SHARD, state };
        Observation { revision: self.revision, fence: Some((mod_revision, Ok(fence))) }
    }

    pub(super) fn grant(&mut self, now: u64) -> i64 {
        self.granted += 1;
        self.leases.insert(self.granted, now + self.ttl);
        self.granted
    }

    /// The TTL; 0 if the lease has ended.
    pub(super) fn renew(&mut self, lease: i64, now: u64) -> u64 {
        match self.leases.get_mut(&lease) {
            Some(end) => {
                *end = now + self.ttl;
                self.ttl
            }
            None => 0,
        }
    }

    pub(super) fn ttl(&self) -> u64 {
        self.ttl
    }

    /// Leases that may end now. They need not: etcd may be late.
    pub(super) fn expired(&self, now: u64) -> impl Iterator<Item = i64> + '_ {
        self.leases.iter().filter(move |(_, end)| **end <= now).map(|(lease, _)| *lease)
    }

    pub(super) fn end_lease(&mut self, lease: i64) {
        self.leases.remove(&lease);
        let before = self.keys.len();
        self.keys.retain(|_, key| key.lease != lease);
        if self.keys.len() < before {
            self.revision += 1;
            self.lost = true;
        }
    }

    /// Puts a session key: its mod revision, or what was found instead; `None` if the lease has ended.
    pub(super) fn put(
        &mut self,
        proxy: u128,
        lease: i64,
        expected: Option<i64>,
        acks: Acks,
    ) -> Option<Result<i64, i64>> {
        let found = self.keys.get(&proxy).map_or(0, |key| key.mod_revision);
        if expected.is_some_and(|expected| expected != found) {
            return Some(Err(found));
        }
        if !self.leases.contains_key(&lease) {
            return None;
        }
        self.revision += 1;
        self.keys.insert(proxy, Key { lease, mod_revision: self.revision, acks });
        Some(Ok(self.revision))
    }

    /// Whether a list of the sessions that is taken now lets the driver go on. A broken one takes `any` acknowledgement.
    pub(super) fn drained(&self, revision: i64, seal: i64, any: bool) -> bool {
        let session = |(proxy, key): (&u128, &Key)| {
            let mut acks = key.acks.clone();
            if any {
                acks.values_mut().for_each(|ack| *ack = seal);
            }
            let session = value::Session {
                protocol: PROTOCOL,
                name: String::new(),
                address: String::new(),
                started: 0,
                acks,
                revisions: BTreeMap::new(),
            };
            (ProxyId(*proxy), Ok(session))
        };
        let list = SessionList { revision, sessions: self.keys.iter().map(session).collect() };
        drained(&list, ROUTE, seal) == Drained::Yes
    }
}
