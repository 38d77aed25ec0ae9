//! A Range over several places: shards, or lines of revisions.
//!
//! Each place is read at one revision of its own, so what is merged is one snapshot per place. Their revisions cannot be
//! compared: a range at a given revision is refused, and the reply's revision is the lowest.

use std::collections::BTreeMap;

use etcd_prism_routing::Segment;
use etcd_prism_upstream::{Class, UpstreamError};
use etcd_prism_wire::patch::{self, Patch};
use etcd_prism_wire::request::Range;
use etcd_prism_wire::{frame, response};
use http::Response;

use crate::body::ResponseBody;
use crate::context::Context;
use crate::error::RequestError;
use crate::kv::exchange;
use crate::place::{Grant, Group, Spans};
use crate::respond;

mod concat;
mod merge;

/// A reply that consists of a header and a count fits easily.
const MAX_COUNT_REPLY: usize = 4096;

/// Fields of RangeRequest and RangeResponse that are overridden.
const LIMIT: u32 = 3;
const REVISION: u32 = 4;
const COUNT_ONLY: u32 = 9;
const MORE: u32 = 3;
const COUNT: u32 = 4;
/// The sort target VALUE.
const VALUE_TARGET: i64 = 4;

/// Answers a range that spans routes on several shards.
pub async fn range(
    cx: &Context,
    range: &Range<'_>,
    spans: &Spans,
    message: &[u8],
) -> Result<Response<ResponseBody>, RequestError> {
    if range.revision > 0 {
        return Err(at_a_revision(spans));
    }
    if range.keys_only && range.sort_target == VALUE_TARGET {
        return Err(RequestError::Spans("keys only, sorted by value, cannot be merged over shards".into()));
    }
    // The caller found that the range, clamped, spans shards: it is not empty.
    let visible = range.keys.clamped().unwrap_or_default();
    let segments = spans.segments(cx, visible)?;
    let pins = pin(cx, spans, &segments, message).await?;
    let total: i64 = pins.counts.iter().sum();
    let header = patch::header_at(
        cx.gateway().identity.cluster_id,
        cx.gateway().identity.member_id,
        pins.revisions.values().copied().min().unwrap_or(0),
    );
    if range.count_only {
        let tail = Patch::new().int64(COUNT, total);
        return Ok(respond::message(&[header.as_slice(), tail.as_slice()]));
    }
    let plan = Plan { cx, spans, message, segments: &segments, pins: &pins, header: header.as_slice() };
    if range.limit <= 0 && !range.is_sorted() && !range.filtered {
        concat::stream(plan).await
    } else {
        merge::collect(plan, range).await
    }
}

pub(super) fn at_a_revision(spans: &Spans) -> RequestError {
    RequestError::Spans(format!(
        "a range at a revision cannot span the routes {}: each has a line of revisions of its own",
        spans.names
    ))
}

/// What the two ways of merging work from.
#[derive(Clone, Copy)]
struct Plan<'p> {
    cx: &'p Context,
    spans: &'p Spans,
    /// The client's RangeRequest.
    message: &'p [u8],
    segments: &'p [Segment<'p, Group>],
    pins: &'p Pins,
    /// The merged reply's header, as a patch.
    header: &'p [u8],
}

impl Plan<'_> {
    /// The request for one segment, pinned to its place's revision, with `extra` appended.
    fn request(&self, segment: &Segment<'_, Group>, extra: Patch) -> bytes::Bytes {
        let revision = self.pins.revisions.get(&segment.place).copied().unwrap_or(0);
        let keys = Patch::new().keys(patch::RANGE_KEYS, segment.keys).int64(REVISION, revision);
        frame::encode(&[self.message, keys.as_slice(), extra.as_slice()])
    }

    fn total(&self) -> i64 {
        self.pins.counts.iter().sum()
    }
}

/// The revision that each place is read at, and how many keys each segment holds there.
struct Pins {
    revisions: BTreeMap<Group, i64>,
    /// By segment.
    counts: Vec<i64>,
}

/// Fixes the revision of every place with its first segment's count, then counts the other segments at it.
async fn pin(
    cx: &Context,
    spans: &Spans,
    segments: &[Segment<'_, Group>],
    message: &[u8],
) -> Result<Pins, RequestError> {
    let mut first: BTreeMap<Group, usize> = BTreeMap::new();
    for (i, segment) in segments.iter().enumerate() {
        first.entry(segment.place).or_insert(i);
    }
    let mut counts = vec![0; segments.len()];
    let mut revisions = BTreeMap::new();
    let firsts = first.values().map(|&i| count(cx, spans, &segments[i], message, 0));
    for (&i, answer) in first.values().zip(futures_util::future::join_all(firsts).await) {
        let (revision, keys) = answer?;
        revisions.insert(segments[i].place, revision);
        counts[i] = keys;
    }
    let others: Vec<usize> =
        (0..segments.len()).filter(|i| first.get(&segments[*i].place) != Some(i)).collect();
    let reads = others.iter().map(|&i| {
        let revision = revisions.get(&segments[i].place).copied().unwrap_or(0);
        count(cx, spans, &segments[i], message, revision)
    });
    for (&i, answer) in others.iter().zip(futures_util::future::join_all(reads).await) {
        counts[i] = answer?.1;
    }
    Ok(Pins { revisions, counts })
}

/// The place's revision and the number of keys in a segment.
async fn count(
    cx: &Context,
    spans: &Spans,
    segment: &Segment<'_, Group>,
    message: &[u8],
    revision: i64,
) -> Result<(i64, i64), RequestError> {
    let patch = Patch::new()
        .keys(patch::RANGE_KEYS, segment.keys)
        .int64(REVISION, revision)
        .int64(LIMIT, 0)
        .varint(COUNT_ONLY, 1);
    let frame = frame::encode(&[message, patch.as_slice()]);
    let grant = spans.grant(segment.place)?;
    let reply = exchange::read(cx, grant, frame, Class::Unary, MAX_COUNT_REPLY).await?;
    let reply = parse(cx, grant, &reply)?;
    Ok((reply.revision, reply.count))
}

fn parse<'m>(
    cx: &Context,
    grant: &Grant,
    message: &'m [u8],
) -> Result<response::RangeReply<'m>, UpstreamError> {
    response::range(message).map_err(|e| malformed(cx, grant, &e))
}

fn malformed(cx: &Context, grant: &Grant, reason: &dyn std::fmt::Display) -> UpstreamError {
    let shard = cx.worker.pool(grant.shard).shard().name.clone();
    UpstreamError::BadReply { shard, reason: reason.to_string() }
}
