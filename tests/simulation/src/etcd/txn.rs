//! Writes.

use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::response_op::Response;
use etcd_prism_proto::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RequestOp, ResponseHeader, ResponseOp,
    TxnRequest, TxnResponse,
};

use super::Refusal;
use super::store::{Changes, Store};

/// Which branch each transaction takes, itself first and then those within, in the order of the ops.
type Path = Vec<bool>;

impl Store {
    /// # Errors
    /// Nothing was changed.
    pub fn txn(&mut self, txn: &TxnRequest) -> Result<TxnResponse, Refusal> {
        if self.full && has_puts(txn) {
            return Err(Refusal::Full);
        }
        let mut path = Path::new();
        self.choose(txn, &mut path);
        self.check(txn, &mut path.iter().copied())?;
        let mut changes = Changes::default();
        let mut reply = self.execute(txn, &mut path.into_iter(), &mut changes);
        self.commit(changes, false);
        reply.header = Some(ResponseHeader { revision: self.revision(), ..ResponseHeader::default() });
        Ok(reply)
    }

    /// Compares see what was there before the whole, wherever they stand.
    fn choose(&self, txn: &TxnRequest, path: &mut Path) {
        let holds = self.holds(&txn.compare);
        path.push(holds);
        for op in branch(txn, holds) {
            if let Some(Request::RequestTxn(nested)) = &op.request {
                self.choose(nested, path);
            }
        }
    }

    fn check(&self, txn: &TxnRequest, path: &mut impl Iterator<Item = bool>) -> Result<(), Refusal> {
        for op in branch(txn, path.next().unwrap_or_default()) {
            match &op.request {
                Some(Request::RequestRange(range)) => self.check_range(range, self.revision())?,
                Some(Request::RequestPut(put)) => self.check_put(put)?,
                Some(Request::RequestTxn(nested)) => self.check(nested, path)?,
                Some(Request::RequestDeleteRange(_)) | None => {}
            }
        }
        Ok(())
    }

    fn check_put(&self, put: &PutRequest) -> Result<(), Refusal> {
        if put.key.is_empty() {
            return Err(Refusal::EmptyKey);
        }
        if put.lease != 0 && !self.leases.contains_key(&put.lease) {
            return Err(Refusal::NoLease);
        }
        if (put.ignore_value || put.ignore_lease) && self.key(&put.key).is_none() {
            return Err(Refusal::NoKey);
        }
        Ok(())
    }

    fn execute(
        &mut self,
        txn: &TxnRequest,
        path: &mut impl Iterator<Item = bool>,
        changes: &mut Changes,
    ) -> TxnResponse {
        let succeeded = path.next().unwrap_or_default();
        let mut responses = Vec::new();
        for op in branch(txn, succeeded) {
            let reached = self.revision() + i64::from(!changes.events.is_empty());
            let response = match &op.request {
                Some(Request::RequestRange(range)) => Response::ResponseRange(self.range(range, reached)),
                Some(Request::RequestPut(put)) => Response::ResponsePut(self.put_one(put, changes)),
                Some(Request::RequestDeleteRange(delete)) => {
                    Response::ResponseDeleteRange(self.delete_some(delete, changes))
                }
                Some(Request::RequestTxn(nested)) => {
                    Response::ResponseTxn(self.execute(nested, path, changes))
                }
                None => continue,
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        TxnResponse { header: Some(ResponseHeader::default()), succeeded, responses }
    }

    fn put_one(&mut self, put: &PutRequest, changes: &mut Changes) -> PutResponse {
        let before = self.key(&put.key).cloned();
        let known = before.clone().unwrap_or_default();
        let value = if put.ignore_value { known.value } else { put.value.clone() };
        let lease = if put.ignore_lease { known.lease } else { put.lease };
        self.put(changes, put.key.clone(), value, lease);
        let header = Some(ResponseHeader { revision: self.revision() + 1, ..ResponseHeader::default() });
        PutResponse { header, prev_kv: before.filter(|_| put.prev_kv) }
    }

    fn delete_some(&mut self, delete: &DeleteRangeRequest, changes: &mut Changes) -> DeleteRangeResponse {
        let found: Vec<_> = self.keys(&delete.key, &delete.range_end, 0).cloned().collect();
        for kv in &found {
            self.delete(changes, &kv.key);
        }
        let revision = self.revision() + i64::from(!changes.events.is_empty());
        DeleteRangeResponse {
            header: Some(ResponseHeader { revision, ..ResponseHeader::default() }),
            deleted: i64::try_from(found.len()).unwrap_or(i64::MAX),
            prev_kvs: if delete.prev_kv { found } else { Vec::new() },
        }
    }
}

fn branch(txn: &TxnRequest, succeeded: bool) -> &[RequestOp] {
    if succeeded { &txn.success } else { &txn.failure }
}

/// In either branch, at any depth: what the quota is asked about.
fn has_puts(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Request::RequestPut(_)) => true,
        Some(Request::RequestTxn(nested)) => has_puts(nested),
        _ => false,
    })
}
