//! Replies broken on purpose, to see that the comparison finds each break.

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::WatchResponse;
use tonic::{Code, Status};

use crate::call::Reply;

/// One way to break the subject's replies. The first reply that can be broken so is; most leave all others as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Value,
    DropKey,
    SwapKeys,
    Count,
    More,
    KeyVersion,
    KeyLease,
    /// A header that shows the next revision too early.
    HeaderAhead,
    /// A write that shows a revision that was there before.
    RevisionReused,
    InnerHeader,
    ClusterId,
    Deleted,
    PrevKv,
    Branch,
    Code,
    Text,
    ErrorSwallowed,
    LeaseTtl,
    LeaseGone,
    LeaseHidden,
    LeaseKeys,
    DropEvent,
    RepeatEvent,
    SwapEvents,
    SplitRevision,
    EventPrevKv,
    EventCreate,
    CancelReason,
    CompactRevision,
}

impl Fault {
    pub(crate) const ALL: &[Self] = &[
        Self::Value,
        Self::DropKey,
        Self::SwapKeys,
        Self::Count,
        Self::More,
        Self::KeyVersion,
        Self::KeyLease,
        Self::HeaderAhead,
        Self::RevisionReused,
        Self::InnerHeader,
        Self::ClusterId,
        Self::Deleted,
        Self::PrevKv,
        Self::Branch,
        Self::Code,
        Self::Text,
        Self::ErrorSwallowed,
        Self::LeaseTtl,
        Self::LeaseGone,
        Self::LeaseHidden,
        Self::LeaseKeys,
        Self::DropEvent,
        Self::RepeatEvent,
        Self::SwapEvents,
        Self::SplitRevision,
        Self::EventPrevKv,
        Self::EventCreate,
        Self::CancelReason,
        Self::CompactRevision,
    ];

    /// Whether every reply must be broken, because one alone may be followed by something that hides it.
    pub(crate) fn lasts(self) -> bool {
        matches!(self, Self::HeaderAhead | Self::RevisionReused)
    }

    /// Breaks `reply`; false where this fault has nothing to break in it.
    pub(crate) fn break_reply(self, reply: &mut Result<Reply, Status>) -> bool {
        match (self, &mut *reply) {
            (Self::Code, Err(status)) => *status = Status::new(Code::Aborted, status.message()),
            (Self::Text, Err(status)) => {
                *status = Status::new(status.code(), format!("{}.", status.message()))
            }
            (Self::ErrorSwallowed, Err(_)) => *reply = Ok(Reply::Range(Default::default())),
            (_, Ok(reply)) => return self.break_answer(reply),
            _ => return false,
        }
        true
    }

    fn break_answer(self, reply: &mut Reply) -> bool {
        match (self, reply) {
            (Self::Value, Reply::Range(reply)) if !reply.kvs.is_empty() => {
                reply.kvs[0].value = Bytes::from_static(b"broken");
            }
            (Self::DropKey, Reply::Range(reply)) if reply.kvs.len() > 1 => drop(reply.kvs.remove(1)),
            (Self::SwapKeys, Reply::Range(reply)) if reply.kvs.len() > 1 => reply.kvs.swap(0, 1),
            (Self::Count, Reply::Range(reply)) => reply.count += 1,
            (Self::More, Reply::Range(reply)) => reply.more = !reply.more,
            (Self::KeyVersion, Reply::Range(reply)) if !reply.kvs.is_empty() => reply.kvs[0].version += 1,
            (Self::KeyLease, Reply::Range(reply)) if reply.kvs.iter().any(|kv| kv.lease != 0) => {
                reply.kvs.iter_mut().for_each(|kv| kv.lease = 0);
            }
            (Self::HeaderAhead, Reply::Range(reply)) => {
                reply.header.as_mut().expect("a header").revision += 1
            }
            (Self::RevisionReused, Reply::Put(reply)) => {
                reply.header.as_mut().expect("a header").revision -= 1
            }
            (Self::ClusterId, Reply::Put(reply)) => reply.header.as_mut().expect("a header").cluster_id = 0,
            (Self::PrevKv, Reply::Put(reply)) if reply.prev_kv.is_some() => reply.prev_kv = None,
            (Self::Deleted, Reply::Delete(reply)) if reply.deleted > 0 => reply.deleted -= 1,
            (Self::Branch, Reply::Txn(reply)) => reply.succeeded = !reply.succeeded,
            (Self::InnerHeader, Reply::Txn(reply)) => return break_inner_header(reply),
            (Self::LeaseTtl, Reply::Grant(reply)) => reply.ttl += 1,
            (Self::LeaseGone, Reply::KeepAlive(answers)) if answers[0].ttl > 0 => answers[0].ttl = 0,
            (Self::LeaseHidden, Reply::Leases(reply)) if !reply.leases.is_empty() => drop(reply.leases.pop()),
            (Self::LeaseKeys, Reply::TimeToLive(reply)) if !reply.keys.is_empty() => drop(reply.keys.pop()),
            _ => return false,
        }
        true
    }

    /// Breaks what one watcher was sent; false where this fault has nothing to break in it.
    pub(crate) fn break_watch(self, responses: &mut Vec<WatchResponse>) -> bool {
        let Some(index) = responses.iter().position(|response| self.can_break(response)) else {
            return false;
        };
        let response = &mut responses[index];
        match self {
            Self::DropEvent => drop(response.events.remove(0)),
            Self::RepeatEvent => {
                let again = response.clone();
                responses.insert(index, again);
            }
            Self::SwapEvents => response.events.swap(0, 1),
            Self::SplitRevision => {
                let rest = response.events.split_off(1);
                let second = WatchResponse { events: rest, ..response.clone() };
                responses.insert(index + 1, second);
            }
            Self::EventPrevKv => response.events.iter_mut().for_each(|event| event.prev_kv = None),
            Self::EventCreate => {
                let kv = response.events[0].kv.as_mut().expect("an event has a key");
                kv.create_revision = if kv.create_revision == kv.mod_revision { 1 } else { kv.mod_revision };
            }
            Self::CancelReason => response.cancel_reason.clear(),
            Self::CompactRevision => response.compact_revision = 0,
            _ => return false,
        }
        true
    }

    fn can_break(self, response: &WatchResponse) -> bool {
        let revision = |index: usize| response.events[index].kv.as_ref().map(|kv| kv.mod_revision);
        match self {
            Self::DropEvent | Self::RepeatEvent => !response.events.is_empty(),
            Self::SwapEvents => response.events.len() > 1,
            Self::SplitRevision => {
                response.events.len() > 1 && revision(0) == revision(1) && !response.fragment
            }
            Self::EventPrevKv => response.events.iter().any(|event| event.prev_kv.is_some()),
            Self::EventCreate => response
                .events
                .first()
                .and_then(|event| event.kv.as_ref())
                .is_some_and(|kv| kv.create_revision != 0),
            Self::CancelReason => !response.cancel_reason.is_empty(),
            Self::CompactRevision => response.compact_revision != 0,
            _ => false,
        }
    }
}

fn break_inner_header(reply: &mut etcd_prism_proto::etcdserverpb::TxnResponse) -> bool {
    use etcd_prism_proto::etcdserverpb::response_op::Response;
    let put = reply.responses.iter_mut().find_map(|op| match &mut op.response {
        Some(Response::ResponsePut(put)) => put.header.as_mut(),
        _ => None,
    });
    put.map(|header| header.revision -= 1).is_some()
}
