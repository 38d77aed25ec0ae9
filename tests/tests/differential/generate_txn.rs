//! Random transactions.

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::{
    Compare, DeleteRangeRequest, RequestOp, TxnRequest,
    compare::{CompareResult, CompareTarget, TargetUnion},
    request_op::Request,
};
use etcd_prism_tests::request::op;
use rand::Rng;

use crate::generate::Generator;
use crate::state::State;

/// How deep transactions nest.
const DEPTH: u32 = 3;

impl Generator {
    /// A transaction inside one route; now and then one that does nothing.
    pub(crate) fn txn(&mut self, state: &State, route: &'static str) -> TxnRequest {
        if self.chance(2) {
            return TxnRequest::default();
        }
        let reads_only = self.chance(15);
        self.txn_at(state, route, DEPTH, reads_only)
    }

    fn txn_at(&mut self, state: &State, route: &'static str, depth: u32, reads_only: bool) -> TxnRequest {
        let compares = self.rng.random_range(0..3);
        let compare = (0..compares).map(|_| self.compare(state, route)).collect();
        let mut branch = || {
            let ops = self.rng.random_range(0..4);
            (0..ops).map(|_| self.op(state, route, depth, reads_only)).collect()
        };
        TxnRequest { compare, success: branch(), failure: branch() }
    }

    fn op(&mut self, state: &State, route: &'static str, depth: u32, reads_only: bool) -> RequestOp {
        op(match self.rng.random_range(0..100) {
            0..12 if depth > 1 => Request::RequestTxn(self.txn_at(state, route, depth - 1, reads_only)),
            12..40 => Request::RequestRange(self.range(state, route)),
            _ if reads_only => Request::RequestRange(self.range(state, route)),
            40..82 => Request::RequestPut(self.put(route)),
            _ => Request::RequestDeleteRange(self.bounded_delete(route)),
        })
    }

    /// etcd does not see that a delete from a key on covers a key that the same transaction puts, and lets both pass; it does
    /// see it in the range that ends before the proxy's own keys, which the proxy makes of it. So not here.
    fn bounded_delete(&mut self, route: &str) -> DeleteRangeRequest {
        loop {
            let delete = self.delete(route);
            if &delete.range_end[..] != b"\0" {
                return delete;
            }
        }
    }

    fn compare(&mut self, state: &State, route: &'static str) -> Compare {
        let (key, range_end) = if self.chance(20) {
            self.keys.interval(&mut self.rng, route)
        } else {
            (self.keys.key(&mut self.rng, route), Bytes::new())
        };
        let target = self.rng.random_range(CompareTarget::Version as i32..=CompareTarget::Lease as i32);
        let mut result = self.rng.random_range(CompareResult::Equal as i32..=CompareResult::NotEqual as i32);
        let target_union = match CompareTarget::try_from(target).expect("a target") {
            CompareTarget::Version => TargetUnion::Version(self.rng.random_range(0..3)),
            CompareTarget::Create => TargetUnion::CreateRevision(self.some_revision(state, route)),
            CompareTarget::Mod => TargetUnion::ModRevision(self.some_revision(state, route)),
            CompareTarget::Value => TargetUnion::Value(self.value()),
            CompareTarget::Lease => {
                let lease = if self.chance(50) { 0 } else { self.lease() };
                // Ids have no order that two servers would agree on, but any id is above none.
                if lease != 0 {
                    let results = [CompareResult::Equal, CompareResult::NotEqual];
                    result = results[self.rng.random_range(0..2)].into();
                }
                TargetUnion::Lease(lease)
            }
        };
        if self.chance(2) {
            result = 9;
        }
        let target_union = (!self.chance(3)).then_some(target_union);
        Compare { key, range_end, target, result, target_union }
    }

    fn some_revision(&mut self, state: &State, route: &str) -> i64 {
        if self.chance(30) { 0 } else { self.write_revision(state, route) }
    }

    /// Puts to two routes, at the top or inside a nested transaction.
    pub(crate) fn spanning_txn(&mut self, nested: bool) -> TxnRequest {
        let mut put = || {
            let route = self.keys.route(&mut self.rng);
            op(Request::RequestPut(self.put(route)))
        };
        let outer = vec![put()];
        let inner = vec![put(), put()];
        let inner = match nested {
            true => vec![op(Request::RequestTxn(TxnRequest { failure: inner, ..Default::default() }))],
            false => inner,
        };
        TxnRequest { success: [outer, inner].concat(), ..Default::default() }
    }
}
