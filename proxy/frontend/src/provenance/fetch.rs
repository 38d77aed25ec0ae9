//! Reads provenance records.
//!
//! A few keys are read one by one, in one transaction. Of the many keys of a list the records lie side by side, in the
//! order of the keys, and are read in pages.

use bytes::Bytes;
use etcd_prism_ownership::keys;
use etcd_prism_ownership::value::ValueError;
use etcd_prism_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::response_op::Response;
use etcd_prism_proto::etcdserverpb::{
    Compare, RangeRequest, RangeResponse, RequestOp, ResponseOp, TxnRequest, TxnResponse,
};
use etcd_prism_routing::RouteId;
use etcd_prism_upstream::{ShardPool, UpstreamError, rpc};
use etcd_prism_wire::translate::Lookup;
use etcd_prism_wire::{Code, Status};

use super::cache::Name;
use super::{Reign, lookup};
use crate::context::Context;
use crate::error::{COMPACTED, RequestError, TIMED_OUT};

/// Keys that are read one by one with one request; half of etcd's default bound on operations.
const POINTS: usize = 64;
/// Records in a page: a few hundred KiB.
const PAGE: i64 = 2_000;
/// A page of which less than one in so many records was asked for is the last: the other keys are read one by one.
const DENSE: usize = 16;

/// Looks these keys up, at a raw revision within the reign, and remembers what was found. They are sorted.
pub(super) async fn fetch(
    cx: &Context,
    reign: Reign<'_>,
    revision: i64,
    keys: Vec<Bytes>,
) -> Result<Vec<(Bytes, Lookup)>, RequestError> {
    let fetch = Fetch::new(cx, reign, revision)?;
    if let [key] = &keys[..] {
        let found = fetch.shared(key).await?;
        return Ok(vec![(key.clone(), found)]);
    }
    let mut out = Vec::with_capacity(keys.len());
    let mut rest = &keys[..];
    let mut is_dense = true;
    while !rest.is_empty() {
        let found = if is_dense && rest.len() > POINTS {
            let (found, records) = fetch.page(rest).await?;
            is_dense = found.len() * DENSE >= records;
            found
        } else {
            fetch.points(&rest[..rest.len().min(POINTS)]).await?
        };
        for (key, lookup) in rest.iter().zip(&found) {
            cx.gateway().provenance.insert(reign.route, fetch.n, key, *lookup);
        }
        let (now, later) = rest.split_at(found.len());
        out.extend(now.iter().cloned().zip(found));
        rest = later;
    }
    Ok(out)
}

/// Where records are read.
#[derive(Clone)]
struct Fetch {
    cx: Context,
    route: RouteId,
    /// The route's, as the records' keys have it.
    name: String,
    n: u64,
    /// The route's present reign, so that it is its fence's to say whether it still is.
    is_present: bool,
    shard: etcd_prism_routing::ShardId,
    revision: i64,
}

impl Fetch {
    fn new(cx: &Context, reign: Reign<'_>, revision: i64) -> Result<Self, RequestError> {
        Ok(Self {
            cx: cx.clone(),
            route: reign.route,
            name: cx.gateway().keyspace.route(reign.route).name.clone(),
            n: reign.n(),
            is_present: reign.is_present(),
            shard: reign.shard()?,
            revision,
        })
    }

    /// One key. Many watchers may ask for it at once, of which one reads: in a task of its own, so that it does not stop
    /// when its watcher does.
    async fn shared(&self, key: &Bytes) -> Result<Lookup, RequestError> {
        let name = Name { route: self.route, reign: self.n, key: key[..].into() };
        let (fetch, key) = (self.clone(), key.clone());
        let task = tokio::spawn(async move {
            let cx = fetch.cx.clone();
            let read = async { Ok(fetch.points(&[key]).await?.pop().unwrap_or(Lookup::Absent)) };
            cx.gateway().provenance.get_or_read(&name, read).await
        });
        task.await.map_err(|error| self.bad(&error))?
    }

    /// Each of these keys.
    async fn points(&self, keys: &[Bytes]) -> Result<Vec<Lookup>, RequestError> {
        let range = |key: &Bytes| RangeRequest { key: self.key(key), ..RangeRequest::default() };
        let replies = self.read(keys.iter().map(range).collect()).await?;
        if replies.len() != keys.len() {
            return Err(self.bad(&"another number of answers"));
        }
        replies.iter().map(|reply| lookup(reply.kvs.first()).map_err(|e| self.bad(&e))).collect()
    }

    /// The first of these keys, as many as a page tells of, and how many records it has.
    async fn page(&self, keys: &[Bytes]) -> Result<(Vec<Lookup>, usize), RequestError> {
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return Ok((Vec::new(), 0)) };
        let mut range_end = self.key(last).to_vec();
        range_end.push(0);
        let range = RangeRequest {
            key: self.key(first),
            range_end: range_end.into(),
            limit: PAGE,
            ..RangeRequest::default()
        };
        let reply = self.read(vec![range]).await?.pop().ok_or_else(|| self.bad(&"no answer"))?;
        let found = told(&reply, self.key(b"").len(), keys).map_err(|e| self.bad(&e))?;
        // The page begins at the first key, so it tells of that one at least.
        if found.is_empty() { Err(self.bad(&"a page of nothing")) } else { Ok((found, reply.kvs.len())) }
    }

    fn key(&self, key: &[u8]) -> Bytes {
        keys::provenance(&self.name, key).into()
    }

    fn pool(&self) -> &ShardPool {
        self.cx.worker.pool(self.shard)
    }

    fn bad(&self, reason: &dyn std::fmt::Display) -> RequestError {
        let shard = self.pool().shard().name.clone();
        UpstreamError::BadReply { shard, reason: format!("provenance: {reason}") }.into()
    }

    /// Reads at the revision or, if that is compacted already, at a later one of the present reign.
    async fn read(&self, ranges: Vec<RangeRequest>) -> Result<Vec<RangeResponse>, RequestError> {
        match self.read_at(&ranges).await {
            Err(UpstreamError::Status(status)) if status.message == COMPACTED && self.is_present => {
                self.read_now(ranges).await
            }
            replies => Ok(replies?),
        }
    }

    async fn read_at(&self, ranges: &[RangeRequest]) -> Result<Vec<RangeResponse>, UpstreamError> {
        self.cx.gateway().provenance.reads.increment(1);
        let at = |range: &RangeRequest| RangeRequest { revision: self.revision, ..range.clone() };
        if let [range] = ranges {
            return Ok(vec![rpc::read(self.pool(), rpc::RANGE, &at(range)).await?]);
        }
        let request = txn(Vec::new(), ranges.iter().map(at));
        let reply: TxnResponse = rpc::read(self.pool(), rpc::TXN, &request).await?;
        Ok(ranges_of(reply))
    }

    /// Under the fence: so the reign has not ended.
    async fn read_now(&self, ranges: Vec<RangeRequest>) -> Result<Vec<RangeResponse>, RequestError> {
        self.cx.gateway().provenance.reads.increment(1);
        let view = self.cx.ownership().route(self.route).clone();
        let permit = view.permit().filter(|permit| permit.shard == self.shard && permit.n == self.n);
        if let Some(permit) = permit {
            let fence = Compare {
                result: CompareResult::Equal.into(),
                target: CompareTarget::Mod.into(),
                key: view.fence_key.clone(),
                target_union: Some(TargetUnion::ModRevision(permit.epoch)),
                ..Compare::default()
            };
            let request = txn(vec![fence], ranges.into_iter());
            let reply: TxnResponse = rpc::read(self.pool(), rpc::TXN, &request).await?;
            if reply.succeeded {
                return Ok(ranges_of(reply));
            }
        }
        Err(Status::new(Code::Unavailable, TIMED_OUT).into())
    }
}

/// What a page of records tells of these sorted keys, as far as it goes. The records' keys are those after `prefix` bytes.
fn told(page: &RangeResponse, prefix: usize, keys: &[Bytes]) -> Result<Vec<Lookup>, ValueError> {
    let mut records = page.kvs.iter().filter_map(|kv| Some((kv.key.get(prefix..)?, kv))).peekable();
    // Behind the last record of a page that is not the last one nothing is known.
    let known = match page.kvs.last().filter(|_| page.more) {
        Some(last) => keys.partition_point(|key| Some(&key[..]) <= last.key.get(prefix..)),
        None => keys.len(),
    };
    let mut found = Vec::with_capacity(known);
    for key in keys.iter().take(known) {
        while records.next_if(|(of, _)| *of < &key[..]).is_some() {}
        found.push(lookup(records.next_if(|(of, _)| *of == &key[..]).map(|(_, kv)| kv))?);
    }
    Ok(found)
}

fn txn(compare: Vec<Compare>, ranges: impl Iterator<Item = RangeRequest>) -> TxnRequest {
    let op = |range| RequestOp { request: Some(Request::RequestRange(range)) };
    TxnRequest { compare, success: ranges.map(op).collect(), failure: Vec::new() }
}

fn ranges_of(reply: TxnResponse) -> Vec<RangeResponse> {
    let range = |op: ResponseOp| match op.response {
        Some(Response::ResponseRange(range)) => Some(range),
        _ => None,
    };
    reply.responses.into_iter().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use etcd_prism_ownership::value::ProvenanceRecord;
    use etcd_prism_proto::mvccpb::KeyValue;

    use super::*;

    fn record(key: &str, mod_revision: i64) -> KeyValue {
        let record = ProvenanceRecord { create_revision: 1, mod_revision: 2, version: 3 };
        KeyValue {
            key: keys::provenance("pods", key.as_bytes()).into(),
            value: record.encode().to_vec().into(),
            mod_revision,
            version: 1,
            ..KeyValue::default()
        }
    }

    /// The mod revisions of the records that a page of `records` shows for `keys`; 0 for none.
    fn check(records: &[(&str, i64)], more: bool, keys: &[&'static str]) -> Vec<i64> {
        let kvs = records.iter().map(|(key, revision)| record(key, *revision)).collect();
        let page = RangeResponse { kvs, more, ..RangeResponse::default() };
        let keys: Vec<Bytes> = keys.iter().map(|key| Bytes::from_static(key.as_bytes())).collect();
        let found = told(&page, keys::provenance("pods", b"").len(), &keys).unwrap();
        let revision = |lookup: &Lookup| match lookup {
            Lookup::Found(found) => found.raw_mod_revision,
            Lookup::Absent => 0,
            Lookup::Unread => panic!("a page tells of it"),
        };
        found.iter().map(revision).collect()
    }

    #[test]
    fn a_page_tells_of_the_keys_up_to_its_last_record() {
        let page = [("/a", 11), ("/b", 12), ("/d", 14)];
        assert_eq!(check(&page, true, &["/a", "/c", "/d", "/e"]), [11, 0, 14]);
        assert_eq!(check(&page, true, &["/a", "/a0", "/b", "/f"]), [11, 0, 12]);
    }

    #[test]
    fn the_last_page_tells_of_all() {
        let page = [("/b", 12), ("/d", 14)];
        assert_eq!(check(&page, false, &["/a", "/b", "/c", "/d", "/e"]), [0, 12, 0, 14, 0]);
        assert_eq!(check(&[], false, &["/a", "/b"]), [0, 0]);
    }

    #[test]
    fn what_is_no_record_is_an_error() {
        let mut kv = record("/a", 11);
        kv.value = Bytes::from_static(b"short");
        let page = RangeResponse { kvs: vec![kv], ..RangeResponse::default() };
        assert!(told(&page, keys::provenance("pods", b"").len(), &[Bytes::from_static(b"/a")]).is_err());
    }
}
