//! Calls that etcd refuses, one for each text.

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest,
    RequestOp, TxnRequest, range_request::SortOrder, request_op::Request,
};
use etcd_prism_tests::request::{delete, get, mod_revision_is, op, put, txn};
use rand::Rng;

use crate::call::Call;
use crate::generate::Generator;
use crate::state::{FUTURE, State};

/// The largest request that etcd takes by default, in bytes.
const MAX_REQUEST: usize = 3 * 512 * 1024;

impl Generator {
    /// A call that etcd answers with an error; which one depends on the case.
    pub(crate) fn refused(&mut self, state: &State) -> Call {
        let route = self.keys.route(&mut self.rng);
        let key = self.keys.key(&mut self.rng, route);
        match self.rng.random_range(0..22) {
            0 => self.empty_key(&key),
            1 => Call::Put(PutRequest { ignore_value: true, ..put(&self.absent(route), "") }),
            2 => Call::Put(PutRequest { ignore_lease: true, ..put(&self.absent(route), "a") }),
            3 => Call::Txn(TxnRequest { success: vec![RequestOp { request: None }], ..Default::default() }),
            4 => Call::Put(PutRequest { ignore_value: true, ..put(&key, "a") }),
            5 => Call::Put(PutRequest { ignore_lease: true, lease: 7, ..put(&key, "a") }),
            6 => self.too_many_ops(&key),
            7 => self.duplicate_key(&key),
            // etcd 3.5 does not look, and panics.
            8 if self.newest => Call::Range(RangeRequest { sort_order: 7, ..get(&key) }),
            9 if self.newest => Call::Range(RangeRequest { sort_target: 7, ..get(&key) }),
            10 => Call::Put(put(&key, &vec![b'x'; MAX_REQUEST + self.rng.random_range(0..1_000)])),
            11 => Call::Put(put(&key, &vec![b'x'; MAX_REQUEST + 600_000])),
            12 => Call::Range(RangeRequest { revision: FUTURE, ..get(&key) }),
            13 => {
                let revision = self.compacted_revision(state, route).unwrap_or(FUTURE);
                Call::Range(RangeRequest { revision, ..get(&key) })
            }
            14 => Call::Put(PutRequest { lease: self.free_lease(), ..put(&key, "a") }),
            15 => Call::Txn(txn([Request::RequestPut(PutRequest {
                lease: self.free_lease(),
                ..put(&key, "a")
            })])),
            16 => Call::Grant(LeaseGrantRequest { id: self.lease().max(1), ttl: 9_000_000_001 }),
            17 => Call::Revoke(LeaseRevokeRequest { id: self.free_lease() }),
            18 => match self.lease() {
                0 => Call::Revoke(LeaseRevokeRequest { id: 0 }),
                id => Call::Grant(LeaseGrantRequest { id, ttl: 3_600 }),
            },
            // etcd 3.5 answers in other words.
            19 if self.newest => Call::RangeWithBadVersion(get(&key)),
            20 => {
                let revision = if self.chance(50) { FUTURE } else { state.compacted };
                Call::Compact(CompactionRequest { revision, physical: self.chance(50) })
            }
            _ if self.newest => self.refused_stream(&key),
            _ => Call::Txn(txn([Request::RequestRange(RangeRequest { revision: FUTURE, ..get(&key) })])),
        }
    }

    /// A key of `route` that nothing puts.
    fn absent(&mut self, route: &str) -> Bytes {
        [&self.keys.key(&mut self.rng, route)[..], b".absent"].concat().into()
    }

    fn empty_key(&mut self, key: &Bytes) -> Call {
        match self.rng.random_range(0..6) {
            0 => Call::Range(get("")),
            1 => Call::Put(put("", "a")),
            2 => Call::Delete(delete("")),
            3 => Call::Txn(TxnRequest { compare: vec![mod_revision_is("", 0)], ..Default::default() }),
            4 => Call::Txn(txn([Request::RequestPut(put(key, "a")), Request::RequestRange(get(""))])),
            _ => Call::Txn(txn([Request::RequestTxn(txn([Request::RequestPut(put("", "a"))]))])),
        }
    }

    fn too_many_ops(&mut self, key: &Bytes) -> Call {
        let reads = |count| vec![Request::RequestRange(get(key)); count];
        match self.rng.random_range(0..4) {
            0 => Call::Txn(txn(reads(129))),
            1 => Call::Txn(TxnRequest { compare: vec![mod_revision_is(key, 0); 129], ..Default::default() }),
            2 => Call::Txn(TxnRequest { failure: txn(reads(129)).success, ..Default::default() }),
            // A nested transaction gets what its parent leaves.
            _ => {
                let mut outer = txn(reads(120));
                outer.success.push(op(Request::RequestTxn(txn(reads(8)))));
                Call::Txn(outer)
            }
        }
    }

    fn duplicate_key(&mut self, key: &Bytes) -> Call {
        let put = || Request::RequestPut(put(key, "a"));
        Call::Txn(match self.rng.random_range(0..4) {
            0 => txn([put(), put()]),
            1 => {
                let range_end = [&key[..], b"\0"].concat().into();
                txn([Request::RequestDeleteRange(DeleteRangeRequest { range_end, ..delete(key) }), put()])
            }
            2 => txn([put(), Request::RequestTxn(txn([put()]))]),
            _ => txn([put(), Request::RequestDeleteRange(delete(key))]),
        })
    }

    fn refused_stream(&mut self, key: &Bytes) -> Call {
        Call::RangeStream(match self.rng.random_range(0..3) {
            0 => RangeRequest { sort_order: SortOrder::Descend.into(), ..get(key) },
            1 => RangeRequest { min_mod_revision: 1, ..get(key) },
            _ => get(""),
        })
    }
}
