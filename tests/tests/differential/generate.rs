//! Random calls that are valid, in the reference's revisions and lease ids.

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::{
    DeleteRangeRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, PutRequest, RangeRequest,
    range_request::{SortOrder, SortTarget},
};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, SeedableRng};

use crate::call::Call;
use crate::keys::{Interval, Keys};
use crate::state::{FUTURE, State};
use crate::touch::spans;

/// Lives longer than any run.
const LONG_TTL: std::ops::Range<i64> = 3_600..7_200;

#[derive(Debug)]
pub(crate) struct Generator {
    pub(crate) rng: StdRng,
    pub(crate) keys: Keys,
    /// The reference's ids of the leases that are alive.
    pub(crate) leases: Vec<i64>,
    pub(crate) newest: bool,
}

impl Generator {
    pub(crate) fn new(seed: u64, state: &State, newest: bool) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { rng, keys: Keys::new(&state.layout), leases: Vec::new(), newest }
    }

    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_ratio(percent, 100)
    }

    /// Any call but compactions.
    pub(crate) fn call(&mut self, state: &State) -> Call {
        let route = self.keys.route(&mut self.rng);
        match self.rng.random_range(0..100) {
            0..24 => Call::Range(self.range(state, route)),
            24..28 => self.wide_range(),
            28..32 if self.newest => Call::RangeStream(self.range_stream(state, route)),
            28..58 => Call::Put(self.put(route)),
            58..66 => Call::Delete(self.delete(route)),
            66..88 => Call::Txn(self.txn(state, route)),
            _ => self.lease_call(),
        }
    }

    pub(crate) fn value(&mut self) -> Bytes {
        let length = match self.rng.random_range(0..100) {
            0..10 => 0,
            10..95 => self.rng.random_range(1..20),
            _ => self.rng.random_range(100..3_000),
        };
        // Few letters, so that values compare equal now and then.
        (0..length).map(|_| self.rng.random_range(b'a'..=b'c')).collect()
    }

    /// A revision to read `route` at; 0 more often than not.
    pub(crate) fn revision(&mut self, state: &State, route: &str) -> i64 {
        let line = state.revisions(route);
        let picked = match self.rng.random_range(0..100) {
            0..70 => Some(0),
            70..84 => self.kept_revision(state, route),
            84..92 => {
                line.headers().rev().take_while(|revision| *revision >= state.compacted).choose(&mut self.rng)
            }
            92..95 => self.compacted_revision(state, route),
            95..98 => Some(FUTURE),
            // A transaction takes a negative one for compacted, but only where something is.
            _ if state.compacted_shard(route) > 0 => Some(-1),
            _ => None,
        };
        picked.unwrap_or(0)
    }

    /// A revision that both sides have compacted.
    pub(crate) fn compacted_revision(&mut self, state: &State, route: &str) -> Option<i64> {
        let (line, limit) = (state.revisions(route), state.compacted_shard(route));
        let is_compacted = |revision: &i64| line.translate(*revision).is_some_and(|subject| subject < limit);
        line.writes()
            .take_while(|revision| *revision < state.compacted)
            .filter(is_compacted)
            .choose(&mut self.rng)
    }

    /// A revision at which `route` was written and that is not compacted.
    pub(crate) fn kept_revision(&mut self, state: &State, route: &str) -> Option<i64> {
        let kept = state.revisions(route).writes().rev().take_while(|revision| *revision >= state.compacted);
        kept.take(200).choose(&mut self.rng)
    }

    /// A revision at which `route` was written, for filters and compares.
    pub(crate) fn write_revision(&mut self, state: &State, route: &str) -> i64 {
        state.revisions(route).writes().rev().take(50).choose(&mut self.rng).unwrap_or(0)
    }

    pub(crate) fn range(&mut self, state: &State, route: &'static str) -> RangeRequest {
        let mut request = self.plain_range(state, route);
        if self.chance(25) {
            request.sort_order =
                [SortOrder::None, SortOrder::Ascend, SortOrder::Descend][self.rng.random_range(0..3)].into();
            request.sort_target = self.rng.random_range(SortTarget::Key as i32..=SortTarget::Value as i32);
        }
        for filter in 0..4 {
            if self.chance(4) {
                let revision = self.write_revision(state, route);
                match filter {
                    0 => request.min_mod_revision = revision,
                    1 => request.max_mod_revision = revision,
                    2 => request.min_create_revision = revision,
                    _ => request.max_create_revision = revision,
                }
            }
        }
        request
    }

    fn range_stream(&mut self, state: &State, route: &'static str) -> RangeRequest {
        match self.chance(25) {
            true => self.wide_plain_range(),
            false => self.plain_range(state, route),
        }
    }

    fn wide_range(&mut self) -> Call {
        Call::Range(self.wide_plain_range())
    }

    /// Over several routes: in key order, and from now.
    fn wide_plain_range(&mut self) -> RangeRequest {
        let interval = self.keys.wide_interval(&mut self.rng);
        self.with_range_options(interval)
    }

    fn plain_range(&mut self, state: &State, route: &'static str) -> RangeRequest {
        let interval = self.keys.interval(&mut self.rng, route);
        let request = self.with_range_options(interval);
        RangeRequest { revision: self.revision(state, route), ..request }
    }

    fn with_range_options(&mut self, (key, range_end): Interval) -> RangeRequest {
        RangeRequest {
            key,
            range_end,
            limit: if self.chance(30) { self.rng.random_range(-1..6) } else { 0 },
            serializable: self.chance(20),
            keys_only: self.chance(10),
            count_only: self.chance(10),
            ..Default::default()
        }
    }

    pub(crate) fn put(&mut self, route: &str) -> PutRequest {
        let mut request = PutRequest {
            key: self.keys.key(&mut self.rng, route),
            prev_kv: self.chance(30),
            ..Default::default()
        };
        if self.chance(10) {
            request.ignore_value = true;
        } else {
            request.value = self.value();
        }
        if self.chance(10) {
            request.ignore_lease = true;
        } else if self.chance(30) {
            request.lease = self.lease();
        }
        request
    }

    pub(crate) fn delete(&mut self, route: &str) -> DeleteRangeRequest {
        let (key, mut range_end) = self.keys.interval(&mut self.rng, route);
        if self.chance(50) {
            range_end.clear();
        }
        DeleteRangeRequest { key, range_end, prev_kv: self.chance(40) }
    }

    /// A lease that is alive; 0 where there is none.
    pub(crate) fn lease(&mut self) -> i64 {
        self.leases.choose(&mut self.rng).copied().unwrap_or(0)
    }

    /// An id that no lease has.
    pub(crate) fn free_lease(&mut self) -> i64 {
        self.rng.random_range(1 << 40..1 << 62)
    }

    fn lease_call(&mut self) -> Call {
        match self.rng.random_range(0..100) {
            0..30 => self.grant(),
            30..45 => {
                let id = self.lease();
                Call::Revoke(LeaseRevokeRequest { id })
            }
            45..65 => {
                let ids = [self.lease(), self.free_lease(), self.lease()];
                let count = self.rng.random_range(1..=ids.len());
                Call::KeepAlive(ids[..count].iter().map(|id| LeaseKeepAliveRequest { id: *id }).collect())
            }
            65..90 => {
                let id = if self.chance(20) { self.free_lease() } else { self.lease() };
                Call::TimeToLive(LeaseTimeToLiveRequest { id, keys: self.chance(70) })
            }
            _ => Call::Leases(LeaseLeasesRequest {}),
        }
    }

    fn grant(&mut self) -> Call {
        const ALIVE: usize = 12;
        if self.leases.len() >= ALIVE {
            let id = self.lease();
            return Call::Revoke(LeaseRevokeRequest { id });
        }
        let id = if self.chance(50) { self.free_lease() } else { 0 };
        Call::Grant(LeaseGrantRequest { id, ttl: self.rng.random_range(LONG_TTL) })
    }

    /// A call over several shards that the proxy must refuse, and the name of that refusal.
    pub(crate) fn refused_spanning(&mut self, state: &State) -> Option<(&'static str, Call)> {
        let (key, range_end) = self.keys.wide_interval(&mut self.rng);
        let (name, call) = match self.rng.random_range(0..4) {
            0 => ("delete", Call::Delete(DeleteRangeRequest { key, range_end, prev_kv: false })),
            1 => {
                let route = self.keys.route(&mut self.rng);
                let revision = self.write_revision(state, route).max(1);
                (
                    "range at a revision",
                    Call::Range(RangeRequest { key, range_end, revision, ..Default::default() }),
                )
            }
            2 => ("txn", Call::Txn(self.spanning_txn(false))),
            _ => ("txn", Call::Txn(self.spanning_txn(true))),
        };
        spans(&state.layout, &call).then_some((name, call))
    }
}
