//! Which routes a call touches.

use std::collections::BTreeSet;

use etcd_prism_proto::etcdserverpb::{TxnRequest, request_op::Request};
use etcd_prism_tests::layout::Layout;

use crate::call::Call;

/// The routes of every key and range in `call`, at any depth. Empty for calls that name no key.
pub(crate) fn routes_of(layout: &Layout, call: &Call) -> BTreeSet<&'static str> {
    match call {
        Call::Range(request) | Call::RangeStream(request) | Call::RangeWithBadVersion(request) => {
            layout.routes_of(&request.key, &request.range_end)
        }
        Call::Put(request) => [layout.route_of(&request.key)].into(),
        Call::Delete(request) => layout.routes_of(&request.key, &request.range_end),
        Call::Txn(request) => {
            let mut routes = BTreeSet::new();
            add_txn(layout, request, &mut routes);
            if routes.is_empty() { [layout.default_route()].into() } else { routes }
        }
        Call::Compact(_) => [layout.default_route()].into(),
        Call::Grant(_) | Call::Revoke(_) | Call::KeepAlive(_) | Call::TimeToLive(_) | Call::Leases(_) => {
            BTreeSet::new()
        }
    }
}

/// Whether `call` touches more than one shard.
pub(crate) fn spans(layout: &Layout, call: &Call) -> bool {
    layout.shards_of(&routes_of(layout, call)).len() > 1
}

fn add_txn(layout: &Layout, txn: &TxnRequest, routes: &mut BTreeSet<&'static str>) {
    for compare in &txn.compare {
        routes.extend(layout.routes_of(&compare.key, &compare.range_end));
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match &op.request {
            Some(Request::RequestRange(range)) => {
                routes.extend(layout.routes_of(&range.key, &range.range_end))
            }
            Some(Request::RequestPut(put)) => routes.extend([layout.route_of(&put.key)]),
            Some(Request::RequestDeleteRange(delete)) => {
                routes.extend(layout.routes_of(&delete.key, &delete.range_end));
            }
            Some(Request::RequestTxn(nested)) => add_txn(layout, nested, routes),
            None => {}
        }
    }
}
