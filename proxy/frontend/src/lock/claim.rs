//! A key that was put to wait for a turn, taken back if its client goes.
//!
//! A session that stops waiting may ask again at once, here or through another proxy, and finds its key. So whoever asks
//! writes the key, also where it is there, and it is taken back only as it was last written by the call that goes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::{Compare, DeleteRangeRequest, RequestOp, TxnRequest, TxnResponse};
use etcd_prism_routing::Footprint;

use super::names::modified_at;
use super::{PAUSE, may_pass};
use crate::context::Context;
use crate::error::RequestError;
use crate::kv::typed;
use crate::metrics::Routed;

/// Longest wait for a shard before the key is left to its lease.
const BOUND: Duration = Duration::from_secs(30);
/// Longest wait while a client waits for the answer.
const FAREWELL: Duration = Duration::from_secs(2);

/// Deletes its key when it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    /// `None`: it is kept.
    held: Option<Held>,
}

#[derive(Debug, Clone)]
struct Held {
    cx: Context,
    footprint: Footprint,
    key: Bytes,
    written: i64,
}

impl Claim {
    /// Of the key that was put at the revision `written`.
    pub(super) fn of(cx: &Context, footprint: &Footprint, key: &Bytes, written: i64) -> Self {
        let mut headers = (*cx.headers).clone();
        // The key is taken back after the client's own deadline.
        headers.remove("grpc-timeout");
        let cx = Context { headers: Arc::new(headers), ..cx.clone() };
        let held = Held { cx, footprint: footprint.clone(), key: key.clone(), written };
        Self { held: Some(held) }
    }

    /// The key stays.
    pub(super) fn keep(mut self) {
        self.held = None;
    }

    /// Takes the key back, and waits for it a little.
    pub(super) async fn give_back(mut self) {
        if let Some(held) = self.held.clone()
            && tokio::time::timeout(FAREWELL, held.take_back()).await.is_ok()
        {
            self.held = None;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(held) = self.held.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { tokio::time::timeout(BOUND, held.take_back()).await });
        }
    }
}

impl Held {
    async fn take_back(self) {
        loop {
            let ours = modified_at(&self.key, self.written);
            let done = delete(&self.cx, &self.footprint, &self.key, ours, &mut Routed::None).await;
            match done {
                Ok(_) => return,
                Err(error) if may_pass(&error) => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    tracing::debug!(%error, "the key of a client that has gone is left to its lease");
                    return;
                }
            }
        }
    }
}

/// Deletes a key, if it is as expected.
pub(super) async fn delete(
    cx: &Context,
    footprint: &Footprint,
    key: &Bytes,
    expected: Compare,
    routed: &mut Routed,
) -> Result<TxnResponse, RequestError> {
    let delete = DeleteRangeRequest { key: key.clone(), ..DeleteRangeRequest::default() };
    let request = TxnRequest {
        compare: vec![expected],
        success: vec![RequestOp { request: Some(Request::RequestDeleteRange(delete)) }],
        failure: Vec::new(),
    };
    typed::txn(cx, footprint, &request, "a lock", &[], routed).await
}
