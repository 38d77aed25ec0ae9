//! A call as the reference gets it, made into the same call for the subject.

use std::collections::BTreeSet;

use etcd_prism_proto::etcdserverpb::{
    Compare, PutRequest, RangeRequest, TxnRequest, WatchCreateRequest, compare::TargetUnion,
    request_op::Request,
};

use crate::call::Call;
use crate::state::State;
use crate::touch::routes_of;

/// The same call with the subject's revisions and lease ids.
pub(crate) fn for_subject(state: &State, call: &Call) -> Call {
    let translator = Translator { state, routes: routes_of(&state.layout, call) };
    let mut call = call.clone();
    match &mut call {
        Call::Range(request) | Call::RangeStream(request) | Call::RangeWithBadVersion(request) => {
            translator.range(request);
        }
        Call::Put(request) => translator.put(request),
        Call::Txn(request) => translator.txn(request),
        Call::Compact(request) => translator.revision(&mut request.revision),
        Call::Grant(request) => request.id = state.translate_lease(request.id),
        Call::Revoke(request) => request.id = state.translate_lease(request.id),
        Call::TimeToLive(request) => request.id = state.translate_lease(request.id),
        Call::KeepAlive(requests) => {
            requests.iter_mut().for_each(|request| request.id = state.translate_lease(request.id));
        }
        Call::Delete(_) | Call::Leases(_) => {}
    }
    call
}

/// The same watch with the subject's start revision.
pub(crate) fn watch_for_subject(state: &State, request: &WatchCreateRequest) -> WatchCreateRequest {
    let routes = state.layout.routes_of(&request.key, &request.range_end);
    WatchCreateRequest {
        start_revision: state.translate_start(&routes, request.start_revision),
        ..request.clone()
    }
}

struct Translator<'a> {
    state: &'a State,
    routes: BTreeSet<&'static str>,
}

impl Translator<'_> {
    fn revision(&self, revision: &mut i64) {
        *revision = self.state.translate(&self.routes, *revision);
    }

    fn range(&self, request: &mut RangeRequest) {
        self.revision(&mut request.revision);
        self.revision(&mut request.min_mod_revision);
        self.revision(&mut request.max_mod_revision);
        self.revision(&mut request.min_create_revision);
        self.revision(&mut request.max_create_revision);
    }

    fn put(&self, request: &mut PutRequest) {
        request.lease = self.state.translate_lease(request.lease);
    }

    fn compare(&self, compare: &mut Compare) {
        match &mut compare.target_union {
            Some(TargetUnion::CreateRevision(revision) | TargetUnion::ModRevision(revision)) => {
                self.revision(revision)
            }
            Some(TargetUnion::Lease(lease)) => *lease = self.state.translate_lease(*lease),
            Some(TargetUnion::Version(_) | TargetUnion::Value(_)) | None => {}
        }
    }

    fn txn(&self, request: &mut TxnRequest) {
        request.compare.iter_mut().for_each(|compare| self.compare(compare));
        for op in request.success.iter_mut().chain(&mut request.failure) {
            match &mut op.request {
                Some(Request::RequestRange(range)) => self.range(range),
                Some(Request::RequestPut(put)) => self.put(put),
                Some(Request::RequestTxn(nested)) => self.txn(nested),
                Some(Request::RequestDeleteRange(_)) | None => {}
            }
        }
    }
}
