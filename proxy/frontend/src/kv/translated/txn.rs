//! Txn of a route that was moved.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use etcd_prism_ownership::keys;
use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::response_op::Response;
use etcd_prism_proto::etcdserverpb::{RangeRequest, RequestOp, TxnRequest, TxnResponse};
use etcd_prism_proto::mvccpb::KeyValue;
use etcd_prism_upstream::{Class, UpstreamError, rpc};
use etcd_prism_wire::frame::PREFIX_LEN;
use etcd_prism_wire::request::TxnShape;
use etcd_prism_wire::translate::{self, Guarded, Header, KeyState, TxnRewrite};
use etcd_prism_wire::{Code, Status, frame, patch, request};
use prost::Message;

use super::{Sent, send};
use crate::context::Context;
use crate::error::{RequestError, TIMED_OUT};
use crate::kv::exchange::{self, Answer, Ask, Kind, PRESENT};
use crate::place::{Grant, Moved};
use crate::provenance::{self, Known, Reign};

/// Times that a transaction is sent whose compared keys were created anew after they were looked at.
const ATTEMPTS: usize = 16;
/// Keys that are looked at with one request, each with its record: within etcd's default bound on operations.
const LOOKED_AT: usize = 60;
/// A reply without values fits easily.
const MAX_LOOK: usize = 4 << 20;

pub(super) async fn ask(
    cx: &Context,
    grant: &Grant,
    moved: Moved<'_>,
    request: &Ask<'_>,
    shape: &TxnShape,
) -> Result<Answer, RequestError> {
    let mut txn = Txn {
        cx,
        grant,
        reign: Reign::present(moved),
        message: request.frame.slice(PREFIX_LEN..),
        known: Known::new(cx, Reign::present(moved)),
        seen: HashMap::new(),
    };
    let mut must_be_fenced = false;
    for _ in 0..ATTEMPTS {
        let rewrite = txn.rewrite().await?;
        // How deep it is was judged by what the client sent. The shards are given room for more.
        let (shape, frame) = if rewrite.message == txn.message {
            (*shape, request.frame.clone())
        } else {
            let shape = request::txn(&rewrite.message, usize::MAX, &mut |_, _| {})?;
            (shape, frame::encode(&[&rewrite.message]))
        };
        let ask = Ask {
            kind: Kind::Txn(&shape),
            frame,
            class: request.class,
            place: request.place,
            revision: PRESENT,
            must_be_fenced,
        };
        let held = match send(cx, grant, &ask).await? {
            Sent::Early(early) => return Ok(early),
            Sent::Message(held) => held,
        };
        let Some(message) = txn.own_reply(&rewrite, &held.message)? else { continue };
        let kind = translate::Kind::Txn(&rewrite.plan);
        match provenance::translate(cx, txn.reign, kind, &message, Header::Exact).await {
            // All that it reads was read serializably, from a member that has not seen the beginning of the reign.
            Err(RequestError::Outside(_)) if !shape.writes && !must_be_fenced => must_be_fenced = true,
            pieces => return Ok(Answer::Parts(pieces?.into())),
        }
    }
    Err(Status::new(Code::Unavailable, TIMED_OUT).into())
}

/// A client's transaction on its way to the shard of the present reign.
struct Txn<'a> {
    cx: &'a Context,
    grant: &'a Grant,
    reign: Reign<'a>,
    /// As the client sent it.
    message: Bytes,
    known: Known<'a>,
    /// What was read of keys that it compares.
    seen: HashMap<Bytes, KeyState>,
}

impl Txn<'_> {
    /// Translates it, looking at compared keys where that is needed.
    async fn rewrite(&mut self) -> Result<TxnRewrite, RequestError> {
        loop {
            let unread = match translate::txn(&self.message, &self.known.line()?, &self.seen) {
                Ok(rewrite) => return Ok(rewrite),
                Err(translate::RequestError::Unread(keys)) => keys,
                Err(error) => return Err(error.into()),
            };
            for keys in unread.chunks(LOOKED_AT) {
                self.look(keys).await?;
            }
        }
    }

    /// Reads these keys and their records, by right of the grant: so at a moment within the reign.
    async fn look(&mut self, keys: &[Bytes]) -> Result<(), RequestError> {
        let route = &self.cx.gateway().keyspace.route(self.reign.route).name;
        let get = |key: Bytes, keys_only| {
            let range = RangeRequest { key, keys_only, ..RangeRequest::default() };
            RequestOp { request: Some(Request::RequestRange(range)) }
        };
        let gets = keys
            .iter()
            .flat_map(|key| [get(key.clone(), true), get(keys::provenance(route, key).into(), false)]);
        let request = TxnRequest { success: gets.collect(), ..TxnRequest::default() };
        let shape =
            TxnShape { success_ops: request.success.len(), failure_gets: true, ..TxnShape::default() };
        let ask = Ask::new(Kind::Txn(&shape), rpc::frame_of(&request), Class::Unary);
        let answer = exchange::ask_raw(self.cx, self.grant, &ask).await?;
        let shard = &self.cx.worker.pool(self.grant.shard).shard().name;
        let bad = |reason: String| UpstreamError::BadReply { shard: shard.clone(), reason };
        let reply = exchange::whole(answer, shard, MAX_LOOK).await?;
        let reply = TxnResponse::decode(reply).map_err(|error| bad(error.to_string()))?;
        if reply.responses.len() != request.success.len() {
            return Err(bad("another number of answers".to_owned()).into());
        }
        let mut kvs = reply.responses.into_iter().map(|op| match op.response {
            Some(Response::ResponseRange(range)) => range.kvs.into_iter().next(),
            _ => None,
        });
        for key in keys {
            let (kv, record) = (kvs.next().flatten(), kvs.next().flatten());
            let lookup = provenance::lookup(record.as_ref()).map_err(|error| bad(error.to_string()))?;
            self.known.learn(key.clone(), lookup);
            self.seen.insert(key.clone(), kv.as_ref().map(state).unwrap_or_default());
        }
        Ok(())
    }

    /// The reply to what the client sent; `None` if nothing was done, because a key is not what it was.
    fn own_reply(&mut self, rewrite: &TxnRewrite, message: &Bytes) -> Result<Option<Bytes>, RequestError> {
        if !rewrite.is_guarded {
            return Ok(Some(message.clone()));
        }
        match Guarded::read(message).map_err(|error| self.reign.bad(self.cx, &error))? {
            Guarded::Missed => {
                self.seen.clear();
                Ok(None)
            }
            Guarded::Passed { reply, revision, raft_term } => {
                let identity = &self.cx.gateway().identity;
                let header = patch::header_of(identity.cluster_id, identity.member_id, revision, raft_term);
                let mut whole = BytesMut::with_capacity(reply.len() + header.as_slice().len());
                whole.extend_from_slice(&reply);
                whole.extend_from_slice(header.as_slice());
                Ok(Some(whole.freeze()))
            }
        }
    }
}

fn state(kv: &KeyValue) -> KeyState {
    KeyState { create_revision: kv.create_revision, mod_revision: kv.mod_revision, version: kv.version }
}
