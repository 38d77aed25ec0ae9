//! Whether two replies to one call agree.

use std::collections::BTreeSet;
use std::fmt::Debug;

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::{
    LeaseTimeToLiveResponse, PutResponse, RangeResponse, RangeStreamResponse, ResponseHeader, ResponseOp,
    TxnResponse, response_op::Response,
};
use etcd_prism_proto::mvccpb::KeyValue;
use tonic::Status;

use crate::call::{Call, Reply, TTL_SLACK, brief};
use crate::state::State;
use crate::touch::{routes_of, spans};

/// Compares the reference's reply with the subject's, and learns from them how revisions and leases correspond. The error
/// says where they differ.
pub(crate) fn replies(
    state: &mut State,
    call: &Call,
    reference: &Result<Reply, Status>,
    subject: &Result<Reply, Status>,
) -> Result<(), String> {
    match (reference, subject) {
        (Ok(reference), Ok(subject)) => {
            let routes = routes_of(&state.layout, call);
            let line = if spans(&state.layout, call) {
                Line::Several
            } else if writes(reference) {
                Line::Write
            } else {
                Line::Read
            };
            Comparison { state, routes, line }.reply(reference, subject)
        }
        (Err(reference), Err(subject)) => {
            same("code", &reference.code(), &subject.code())?;
            same("message", &reference.message(), &subject.message())
        }
        (Ok(_), Err(subject)) => Err(format!("the reference answers, the subject refuses with {subject:?}")),
        (Err(reference), Ok(_)) => {
            Err(format!("the reference refuses with {reference:?}, the subject answers"))
        }
    }
}

/// Whether two key-values agree; `create_revision` and `mod_revision` are writes of the key's route.
pub(crate) fn key_values(state: &mut State, reference: &KeyValue, subject: &KeyValue) -> Result<(), String> {
    same("key", &reference.key, &subject.key)?;
    let at = |error| format!("key {:?}: {error}", reference.key);
    same_value(&reference.value, &subject.value).map_err(at)?;
    same("version", &reference.version, &subject.version).map_err(at)?;
    state.observe_lease(reference.lease, subject.lease).map_err(at)?;
    let route = state.layout.route_of(&reference.key);
    for (name, reference, subject) in [
        ("create_revision", reference.create_revision, subject.create_revision),
        ("mod_revision", reference.mod_revision, subject.mod_revision),
    ] {
        let agreed = if reference == 0 || subject == 0 {
            same(name, &reference, &subject)
        } else {
            state.observe_write(route, reference, subject).map_err(|error| format!("{name}: {error}"))
        };
        agreed.map_err(at)?;
    }
    Ok(())
}

/// Whether two optional previous values agree.
pub(crate) fn previous(
    state: &mut State,
    reference: Option<&KeyValue>,
    subject: Option<&KeyValue>,
) -> Result<(), String> {
    match (reference, subject) {
        (Some(reference), Some(subject)) => {
            key_values(state, reference, subject).map_err(|error| format!("prev_kv: {error}"))
        }
        (None, None) => Ok(()),
        _ => Err(format!("prev_kv: the reference has {reference:?}, the subject {subject:?}")),
    }
}

pub(crate) fn same<T: PartialEq + Debug>(what: &str, reference: &T, subject: &T) -> Result<(), String> {
    if reference == subject {
        Ok(())
    } else {
        Err(format!("{what}: the reference has {}, the subject {}", brief(reference), brief(subject)))
    }
}

/// As [`same`], but does not print a megabyte.
fn same_value(reference: &Bytes, subject: &Bytes) -> Result<(), String> {
    let shown = |value: &Bytes| format!("{} bytes: {:?}", value.len(), value.slice(..value.len().min(60)));
    if reference == subject {
        Ok(())
    } else {
        Err(format!("value: the reference has {}, the subject {}", shown(reference), shown(subject)))
    }
}

fn writes(reply: &Reply) -> bool {
    match reply {
        Reply::Put(_) => true,
        Reply::Delete(reply) => reply.deleted > 0,
        Reply::Txn(reply) => txn_writes(reply),
        _ => false,
    }
}

fn txn_writes(reply: &TxnResponse) -> bool {
    reply.responses.iter().any(|op| match &op.response {
        Some(Response::ResponsePut(_)) => true,
        Some(Response::ResponseDeleteRange(reply)) => reply.deleted > 0,
        Some(Response::ResponseTxn(reply)) => txn_writes(reply),
        Some(Response::ResponseRange(_)) | None => false,
    })
}

/// Whose revision a reply's header shows.
#[derive(Clone, Copy)]
enum Line {
    Write,
    Read,
    Several,
}

struct Comparison<'a> {
    state: &'a mut State,
    routes: BTreeSet<&'static str>,
    line: Line,
}

impl Comparison<'_> {
    fn reply(&mut self, reference: &Reply, subject: &Reply) -> Result<(), String> {
        match (reference, subject) {
            (Reply::Range(r), Reply::Range(s)) => {
                self.header(r.header.as_ref(), s.header.as_ref())?;
                self.range(r, s)
            }
            (Reply::RangeStream(r), Reply::RangeStream(s)) => {
                let (r, s) = (joined(r, "reference")?, joined(s, "subject")?);
                self.header(r.header.as_ref(), s.header.as_ref())?;
                self.range(&r, &s)
            }
            (Reply::Put(r), Reply::Put(s)) => {
                self.header(r.header.as_ref(), s.header.as_ref())?;
                self.put(r, s)
            }
            (Reply::Delete(r), Reply::Delete(s)) => {
                self.header(r.header.as_ref(), s.header.as_ref())?;
                same("deleted", &r.deleted, &s.deleted)?;
                self.key_values("prev_kvs", &r.prev_kvs, &s.prev_kvs)
            }
            (Reply::Txn(r), Reply::Txn(s)) => {
                self.header(r.header.as_ref(), s.header.as_ref())?;
                let outer = [revision(r.header.as_ref()), revision(s.header.as_ref())];
                self.txn(r, s, outer)
            }
            (Reply::Compact(r), Reply::Compact(s)) => self.header(r.header.as_ref(), s.header.as_ref()),
            (Reply::Grant(r), Reply::Grant(s)) => {
                self.lease_header(r.header.as_ref(), s.header.as_ref())?;
                same("TTL", &r.ttl, &s.ttl)?;
                same("error", &r.error, &s.error)?;
                self.state.observe_lease(r.id, s.id)
            }
            (Reply::Revoke(r), Reply::Revoke(s)) => self.lease_header(r.header.as_ref(), s.header.as_ref()),
            (Reply::KeepAlive(r), Reply::KeepAlive(s)) => {
                same("answers", &r.len(), &s.len())?;
                for (r, s) in r.iter().zip(s) {
                    self.lease_header(r.header.as_ref(), s.header.as_ref())?;
                    same("TTL", &r.ttl, &s.ttl)?;
                    self.state.observe_lease(r.id, s.id)?;
                }
                Ok(())
            }
            (Reply::TimeToLive(r), Reply::TimeToLive(s)) => self.time_to_live(r, s),
            (Reply::Leases(r), Reply::Leases(s)) => {
                self.lease_header(r.header.as_ref(), s.header.as_ref())?;
                let translated = r
                    .leases
                    .iter()
                    .map(|lease| self.state.translate_lease(lease.id))
                    .collect::<BTreeSet<_>>();
                same("leases", &r.leases.len(), &s.leases.len())?;
                same("leases", &translated, &s.leases.iter().map(|lease| lease.id).collect())
            }
            _ => Err(format!("replies of two kinds: {reference:?}, {subject:?}")),
        }
    }

    fn header(
        &mut self,
        reference: Option<&ResponseHeader>,
        subject: Option<&ResponseHeader>,
    ) -> Result<(), String> {
        let (reference, subject) = self.headers(reference, subject)?;
        match self.line {
            Line::Several => Ok(()),
            line => self.routes.iter().try_for_each(|route| match line {
                Line::Write => self.state.observe_write(route, reference, subject),
                _ => self.state.observe_header(route, reference, subject),
            }),
        }
        .map_err(|error| format!("header: {error}"))
    }

    /// A reply about a lease has a header, but no key and so no route.
    fn lease_header(
        &mut self,
        reference: Option<&ResponseHeader>,
        subject: Option<&ResponseHeader>,
    ) -> Result<(), String> {
        self.headers(reference, subject).map(drop)
    }

    fn headers(
        &mut self,
        reference: Option<&ResponseHeader>,
        subject: Option<&ResponseHeader>,
    ) -> Result<(i64, i64), String> {
        let (Some(reference), Some(subject)) = (reference, subject) else {
            return Err(format!("header: the reference has {reference:?}, the subject {subject:?}"));
        };
        self.state.observe_clusters([reference.cluster_id, subject.cluster_id])?;
        if subject.revision <= 0 {
            return Err(format!("header revision {}", subject.revision));
        }
        Ok((reference.revision, subject.revision))
    }

    fn range(&mut self, reference: &RangeResponse, subject: &RangeResponse) -> Result<(), String> {
        self.key_values("kvs", &reference.kvs, &subject.kvs)?;
        same("more", &reference.more, &subject.more)?;
        same("count", &reference.count, &subject.count)
    }

    fn put(&mut self, reference: &PutResponse, subject: &PutResponse) -> Result<(), String> {
        previous(self.state, reference.prev_kv.as_ref(), subject.prev_kv.as_ref())
    }

    fn key_values(&mut self, name: &str, reference: &[KeyValue], subject: &[KeyValue]) -> Result<(), String> {
        let keys = |kvs: &[KeyValue]| kvs.iter().map(|kv| kv.key.clone()).collect::<Vec<_>>();
        same(name, &keys(reference), &keys(subject))?;
        reference.iter().zip(subject).try_for_each(|(r, s)| key_values(self.state, r, s))
    }

    fn txn(&mut self, reference: &TxnResponse, subject: &TxnResponse, outer: [i64; 2]) -> Result<(), String> {
        same("succeeded", &reference.succeeded, &subject.succeeded)?;
        same("responses", &reference.responses.len(), &subject.responses.len())?;
        let pairs = reference.responses.iter().zip(&subject.responses);
        pairs.enumerate().try_for_each(|(index, (r, s))| {
            self.op(r, s, outer).map_err(|error| format!("response {index}: {error}"))
        })
    }

    fn op(&mut self, reference: &ResponseOp, subject: &ResponseOp, outer: [i64; 2]) -> Result<(), String> {
        match (&reference.response, &subject.response) {
            (Some(Response::ResponseRange(r)), Some(Response::ResponseRange(s))) => {
                inner_header(r.header.as_ref(), s.header.as_ref(), outer)?;
                self.range(r, s)
            }
            (Some(Response::ResponsePut(r)), Some(Response::ResponsePut(s))) => {
                inner_header(r.header.as_ref(), s.header.as_ref(), outer)?;
                self.put(r, s)
            }
            (Some(Response::ResponseDeleteRange(r)), Some(Response::ResponseDeleteRange(s))) => {
                inner_header(r.header.as_ref(), s.header.as_ref(), outer)?;
                same("deleted", &r.deleted, &s.deleted)?;
                self.key_values("prev_kvs", &r.prev_kvs, &s.prev_kvs)
            }
            (Some(Response::ResponseTxn(r)), Some(Response::ResponseTxn(s))) => {
                inner_header(r.header.as_ref(), s.header.as_ref(), outer)?;
                self.txn(r, s, outer)
            }
            (None, None) => Ok(()),
            (r, s) => Err(format!("the reference has {r:?}, the subject {s:?}")),
        }
    }

    fn time_to_live(
        &mut self,
        reference: &LeaseTimeToLiveResponse,
        subject: &LeaseTimeToLiveResponse,
    ) -> Result<(), String> {
        self.lease_header(reference.header.as_ref(), subject.header.as_ref())?;
        self.state.observe_lease(reference.id, subject.id)?;
        same("granted TTL", &reference.granted_ttl, &subject.granted_ttl)?;
        let keys = |reply: &LeaseTimeToLiveResponse| reply.keys.iter().cloned().collect::<BTreeSet<_>>();
        same("keys of the lease", &reference.keys.len(), &subject.keys.len())?;
        same("keys of the lease", &keys(reference), &keys(subject))?;
        let gone = [reference.ttl, subject.ttl].contains(&-1);
        if gone || reference.ttl.abs_diff(subject.ttl) > TTL_SLACK.as_secs() {
            return same("TTL", &reference.ttl, &subject.ttl);
        }
        Ok(())
    }
}

fn revision(header: Option<&ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

/// The header of a reply inside a Txn carries a revision only: that of the Txn, or the one before it.
fn inner_header(
    reference: Option<&ResponseHeader>,
    subject: Option<&ResponseHeader>,
    outer: [i64; 2],
) -> Result<(), String> {
    let distance = |revision: i64, outer: i64| if revision == 0 { None } else { Some(outer - revision) };
    same("inner header", &reference.is_some(), &subject.is_some())?;
    same(
        "distance of the inner header's revision from the outer's",
        &distance(revision(reference), outer[0]),
        &distance(revision(subject), outer[1]),
    )
}

/// The reply that the chunks of a RangeStream stand for. Only the last may have a header, `more` and `count`.
fn joined(chunks: &[RangeStreamResponse], side: &str) -> Result<RangeResponse, String> {
    let mut whole = RangeResponse::default();
    for (index, chunk) in chunks.iter().enumerate() {
        let chunk = chunk.range_response.clone().ok_or_else(|| format!("{side}: chunk {index} is empty"))?;
        let is_last = index + 1 == chunks.len();
        if is_last != chunk.header.is_some() || (!is_last && (chunk.more || chunk.count != 0)) {
            return Err(format!("{side}: chunk {index} of {} has {:?}", chunks.len(), chunk.header));
        }
        (whole.header, whole.more, whole.count) = (chunk.header, chunk.more, chunk.count);
        whole.kvs.extend(chunk.kvs);
    }
    Ok(whole)
}
