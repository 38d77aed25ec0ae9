//! RangeStream.
//!
//! Passed through where the shard speaks it (etcd 3.7). Older shards are read page by page at one revision: a single
//! `Unimplemented` would make an API server give up streaming for every resource. So are routes that were moved, whose
//! pages are translated. A range over several places chains them in key order. Header, `more` and `count` come with the
//! last chunk only.

use bytes::Bytes;
use etcd_prism_routing::{Footprint, Segment};
use etcd_prism_upstream::reply::MAX_REPLY;
use etcd_prism_upstream::{Class, Retry, ShardState, UpstreamError};
use etcd_prism_wire::frame;
use etcd_prism_wire::patch::{self, Patch};
use etcd_prism_wire::request::Range;
use etcd_prism_wire::{Code, KeyRange, Status, request, response, varint};
use http::Response;
use http_body::Frame;
use tokio::sync::mpsc;

use crate::body::ResponseBody;
use crate::context::Context;
use crate::error::{RequestError, compacted};
use crate::kv::{exchange, forward, span};
use crate::metrics::Routed;
use crate::place::{self, Grant, Group, Placement};
use crate::unary::UnaryRequest;
use crate::{relay, respond};

const RANGE_STREAM: &str = "/etcdserverpb.KV/RangeStream";
/// Keys in the first page, as in etcd; later pages aim at [`PAGE_BYTES`].
const FIRST_PAGE: i64 = 10;
const PAGE_BYTES: usize = 1 << 20;

const LIMIT: u32 = 3;
const REVISION: u32 = 4;

type Sender = mpsc::Sender<Frame<Bytes>>;

pub async fn handle(
    cx: &Context,
    request: UnaryRequest,
    routed: &mut Routed,
) -> Result<Response<ResponseBody>, RequestError> {
    let range = request::range(request.message())?;
    check(&range)?;
    let visible = range.keys.clamped().unwrap_or_default();
    let footprint = Footprint::of(&cx.gateway().keyspace, visible);
    let deadline = place::deadline(cx, &footprint);
    loop {
        let placement = Placement::of(cx, &footprint, deadline).await?;
        place::account(routed, &footprint, matches!(placement, Placement::Spans(_)));
        let begin = begin(cx, &request, &range, placement);
        match place::bounded(deadline, begin).await {
            Err(RequestError::Void) => {}
            reply => return reply,
        }
    }
}

/// Reads until the answer can start.
async fn begin(
    cx: &Context,
    request: &UnaryRequest,
    range: &Range<'_>,
    placement: Placement,
) -> Result<Response<ResponseBody>, RequestError> {
    let visible = range.keys.clamped().unwrap_or_default();
    match placement {
        Placement::One(grant) if range.revision > 0 && range.revision <= grant.floor() => Err(compacted()),
        // Without a session every chunk would have to be asked about: pages are.
        Placement::One(grant)
            if grant.line().is_none()
                && speaks_range_stream(cx.worker.pool(grant.shard).shard())
                && grant.has_session(cx) =>
        {
            let clamp = patch::clamp(patch::RANGE_KEYS, range.keys).unwrap_or_default();
            pass_through(cx, &grant, request.patched(clamp.as_slice())).await
        }
        Placement::One(grant) => {
            let keys = if range.keys.clamped().is_some() { visible } else { patch::NOTHING };
            let segment = Segment { keys, place: Group::ONLY };
            Box::pin(in_pages(cx, vec![grant], &[segment], range, request)).await
        }
        Placement::Spans(spans) if range.revision > 0 => Err(span::at_a_revision(&spans)),
        Placement::Spans(spans) => {
            let segments = spans.segments(cx, visible)?;
            Box::pin(in_pages(cx, spans.grants, &segments, range, request)).await
        }
    }
}

/// Reads the segments page by page. The first page is read before the answer starts, so that errors come as a plain status.
async fn in_pages(
    cx: &Context,
    grants: Vec<Grant>,
    segments: &[Segment<'_, Group>],
    range: &Range<'_>,
    request: &UnaryRequest,
) -> Result<Response<ResponseBody>, RequestError> {
    let owned = |s: &Segment<'_, Group>| (s.keys.key.to_vec(), s.keys.range_end.to_vec(), s.place);
    let segments: Vec<OwnedSegment> = segments.iter().map(owned).collect();
    let mut pages = Pages {
        cx: cx.clone(),
        grants,
        message: Bytes::copy_from_slice(request.message()),
        left: if range.limit > 0 { range.limit } else { i64::MAX },
        count_only: range.count_only,
        pinned: range.revision,
        out: Totals::default(),
    };
    let first = pages.first_page(&segments).await?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let status = match pages.run(&segments, first, &sender).await {
            Ok(()) => Status::new(Code::Ok, ""),
            Err(error) => error.status(),
        };
        // A client that is gone needs no status.
        drop(sender.send(Frame::trailers(respond::trailers(&status))).await);
    });
    Ok(respond::with_body(ResponseBody::Stream(receiver)))
}

/// etcd's own refusals, in its words.
fn check(range: &Range<'_>) -> Result<(), RequestError> {
    let unimplemented = |text| Err(Status::new(Code::Unimplemented, text).into());
    let invalid = |text| Err(Status::new(Code::InvalidArgument, text).into());
    if range.keys.key.is_empty() {
        return invalid("etcdserver: key is not provided");
    }
    if !range.sort_exists() {
        return Err(RequestError::InvalidSort);
    }
    let natural = range.sort_target == 0 && range.sort_order != 2;
    if !natural {
        return unimplemented("RangeStream does not support custom sort orders");
    }
    if range.filtered {
        return unimplemented("RangeStream does not support revision filters");
    }
    Ok(())
}

/// Whether every member of the shard is known to be 3.7 or newer.
fn speaks_range_stream(shard: &ShardState) -> bool {
    let endpoints = shard.endpoints();
    let mut versions = endpoints.iter().filter_map(|e| e.seen()).peekable();
    versions.peek().is_some() && versions.all(|seen| version(&seen.status.version) >= Some((3, 7)))
}

/// Major and minor of a version such as `3.7.3`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A shard's own stream; the chunk that carries a header gets ours. All of it is of the revision at which it began, so it
/// may be passed on if its beginning may.
async fn pass_through(
    cx: &Context,
    grant: &Grant,
    frame: Bytes,
) -> Result<Response<ResponseBody>, RequestError> {
    let pool = cx.worker.pool(grant.shard);
    let call = forward::call(cx, RANGE_STREAM, frame, Class::Bulk, Retry::OnceElsewhere);
    cx.connection.used(grant.shard);
    // The chunk with the counts carries a header, the others must not get one.
    let patch = Patch::new().bytes(1, &cx.gateway().identity.header_patch).into_bytes();
    let header = relay::Header::OfChunks { patch, seen: false };
    let begin = async {
        let reply = pool.call(call).await?;
        if reply.early_status().is_some() {
            return Ok(respond::early(reply.headers));
        }
        relay::begin(reply, pool.shard().name.clone(), header).await
    };
    let timed_out = |_| UpstreamError::TimedOut { shard: pool.shard().name.clone() };
    let reply =
        tokio::time::timeout(pool.shard().bounds().request_timeout, begin).await.map_err(timed_out)??;
    if grant.may_release(cx) { Ok(reply) } else { Err(RequestError::Void) }
}

#[derive(Default)]
struct Totals {
    /// Lowest revision of the places read.
    revision: Option<i64>,
    count: i64,
    more: bool,
}

/// One page: a RangeResponse as it came.
struct Page {
    message: Bytes,
}

/// Reads segments page by page.
struct Pages {
    cx: Context,
    /// For each group.
    grants: Vec<Grant>,
    message: Bytes,
    /// Pairs that may still be sent.
    left: i64,
    count_only: bool,
    /// The revision asked for; 0: each place's latest.
    pinned: i64,
    out: Totals,
}

type OwnedSegment = (Vec<u8>, Vec<u8>, Group);

impl Pages {
    async fn first_page(&mut self, segments: &[OwnedSegment]) -> Result<Option<Page>, RequestError> {
        let Some((key, end, group)) = segments.first() else { return Ok(None) };
        let limit = FIRST_PAGE.min(self.left);
        Ok(Some(self.read(*group, key, end, self.pinned, limit).await?))
    }

    async fn run(
        &mut self,
        segments: &[OwnedSegment],
        mut first: Option<Page>,
        sender: &Sender,
    ) -> Result<(), RequestError> {
        // The last chunk of pairs waits here: header and counts go with it.
        let mut chunk = Bytes::new();
        let mut pins: Vec<(Group, i64)> = Vec::new();
        for (key, end, group) in segments {
            let mut key = key.clone();
            let mut revision = pins.iter().find(|(g, _)| g == group).map_or(self.pinned, |(_, r)| *r);
            let mut limit = FIRST_PAGE;
            let mut counted = false;
            loop {
                let ask = limit.min(self.left.max(1));
                // A client that does not read has no further pages read for it.
                if sender.reserve().await.is_err() {
                    return Err(Status::new(Code::Canceled, "client is gone").into());
                }
                let page = match first.take() {
                    Some(page) => page,
                    None => self.read_on(*group, &key, end, revision, ask).await?,
                };
                let reply = response::range(&page.message)?;
                if revision == 0 {
                    revision = reply.revision;
                    pins.push((*group, revision));
                }
                self.out.revision = Some(self.out.revision.map_or(reply.revision, |r| r.min(reply.revision)));
                if !counted {
                    self.out.count += reply.count;
                    counted = true;
                }
                if self.count_only {
                    break;
                }
                if self.left == 0 {
                    self.out.more |= !reply.kvs.is_empty();
                    break;
                }
                if !reply.kvs.is_empty() && !chunk.is_empty() {
                    self.send(std::mem::take(&mut chunk), Bytes::new(), sender).await?;
                }
                if !reply.kvs.is_empty() {
                    chunk = reply.records(&page.message);
                }
                self.left -= reply.kvs.len() as i64;
                let Some((_, last)) = reply.kvs.last().filter(|_| reply.more) else { break };
                if self.left == 0 {
                    self.out.more = true;
                    break;
                }
                key = response::key_value(last)?.key.to_vec();
                key.push(0);
                limit = next_limit(reply.kvs.len(), page.message.len());
            }
        }
        let identity = &self.cx.gateway().identity;
        let header =
            patch::header_at(identity.cluster_id, identity.member_id, self.out.revision.unwrap_or(0));
        let tail = Patch::new().varint(3, u64::from(self.out.more)).int64(4, self.out.count);
        self.send(chunk, [header.as_slice(), tail.as_slice()].concat().into(), sender).await
    }

    /// Reads a page of a stream that has begun. Where a session ran out on the way the next read carries its fence; where
    /// the route has moved its line tells where the pages are.
    async fn read_on(
        &mut self,
        group: Group,
        key: &[u8],
        end: &[u8],
        revision: i64,
        limit: i64,
    ) -> Result<Page, RequestError> {
        let mut footprint = Footprint::default();
        self.grants.iter().skip(group.index()).take(1).flat_map(Grant::routes).for_each(|r| footprint.add(r));
        let deadline = place::deadline(&self.cx, &footprint);
        place::bounded(deadline, async {
            loop {
                match self.read(group, key, end, revision, limit).await {
                    Err(RequestError::Void) => {
                        let placement = Placement::of(&self.cx, &footprint, deadline).await?;
                        self.go_on(group, placement, revision)?;
                    }
                    page => return page,
                }
            }
        })
        .await
    }

    /// Takes the place where a group is now, for pages at a revision; 0: the latest.
    fn go_on(&mut self, group: Group, placement: Placement, revision: i64) -> Result<(), RequestError> {
        let Placement::One(new) = placement else { return Err(RequestError::Void) };
        let Some(grant) = self.grants.get_mut(group.index()) else { return Err(RequestError::Void) };
        let has_it = new.line().is_some()
            || revision == 0
            || (grant.line().is_none() && new.shard == grant.shard && revision > new.floor());
        if !has_it {
            return Err(compacted());
        }
        *grant = new;
        Ok(())
    }

    async fn read(
        &self,
        group: Group,
        key: &[u8],
        end: &[u8],
        revision: i64,
        limit: i64,
    ) -> Result<Page, RequestError> {
        let keys = Patch::new().keys(patch::RANGE_KEYS, KeyRange::new(key, end));
        let patch = keys.int64(REVISION, revision).int64(LIMIT, limit);
        let frame = frame::encode(&[&self.message, patch.as_slice()]);
        let grant = self.grants.get(group.index()).ok_or(RequestError::Void)?;
        let message = exchange::read(&self.cx, grant, frame, Class::Bulk, MAX_REPLY).await?;
        Ok(Page { message })
    }

    /// Sends `RangeStreamResponse{range_response: pairs ‖ tail}`, in parts so that the pairs are not copied.
    async fn send(&self, pairs: Bytes, tail: Bytes, sender: &Sender) -> Result<(), RequestError> {
        let len = pairs.len() + tail.len();
        // The field's tag and length: number 1, length-delimited.
        let mut field = vec![0x0a];
        varint::put(&mut field, len as u64);
        let start = Bytes::from([&frame::prefix(field.len() + len)[..], &field].concat());
        for part in [start, pairs, tail] {
            if !part.is_empty() && sender.send(Frame::data(part)).await.is_err() {
                return Err(Status::new(Code::Canceled, "client is gone").into());
            }
        }
        Ok(())
    }
}

/// As many keys as fill a page, judged by the last one.
fn next_limit(keys: usize, bytes: usize) -> i64 {
    let average = (bytes / keys.max(1)).max(1);
    (PAGE_BYTES / average).clamp(1, 10_000) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(version("3.7.3"), Some((3, 7)));
        assert!(version("3.10.0") > Some((3, 7)));
        assert_eq!(version("garbage"), None);
    }

    #[test]
    fn pages_aim_at_a_size() {
        assert_eq!(next_limit(100, 100 * 1024), 1024);
        assert_eq!(next_limit(1, 4 << 20), 1);
        assert_eq!(next_limit(10, 100), 10_000);
    }
}
