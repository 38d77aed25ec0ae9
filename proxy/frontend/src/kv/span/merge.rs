//! A part of a range, or a range in another order: the replies are read, sorted and cut.

use bytes::{Bytes, BytesMut};
use etcd_prism_upstream::Class;
use etcd_prism_wire::patch::Patch;
use etcd_prism_wire::request::Range;
use etcd_prism_wire::{Code, Status, response};
use http::Response;

use super::{COUNT, LIMIT, MORE, Plan, parse};
use crate::body::ResponseBody;
use crate::error::{RequestError, SERVER_STOPPED};
use crate::kv::exchange;
use crate::respond;

/// Most bytes held for one merged reply. A larger one is refused: it needs a limit.
const MAX_HELD: usize = 256 << 20;

/// Sort targets of the API.
const VERSION: i64 = 1;
const CREATE: i64 = 2;
const MOD: i64 = 3;
const VALUE: i64 = 4;

/// Reads what each segment can contribute, then sorts and cuts as one etcd would.
pub(super) async fn collect(
    plan: Plan<'_>,
    range: &Range<'_>,
) -> Result<Response<ResponseBody>, RequestError> {
    let by_key = range.sort_target == 0;
    let descending = range.sort_order == 2;
    let limit = usize::try_from(range.limit).ok().filter(|l| *l > 0).unwrap_or(usize::MAX);
    let mut order: Vec<usize> = (0..plan.segments.len()).filter(|&i| plan.pins.counts[i] > 0).collect();
    if by_key && descending {
        order.reverse();
    }
    let _turn =
        plan.cx.worker.merges.acquire().await.map_err(|_| Status::new(Code::Unavailable, SERVER_STOPPED))?;
    let mut replies: Vec<Bytes> = Vec::new();
    let (mut found, mut held, mut more) = (0, 0, false);
    for i in order {
        let segment = &plan.segments[i];
        // By key, segments come one after the other and the first ones fill the limit. By anything else, each segment's
        // own first `limit` contain whatever of it is among the first `limit` of all.
        let room = if by_key { limit - found } else { limit };
        if room == 0 && !range.filtered {
            more = true;
            break;
        }
        let ask = if room == usize::MAX { 0 } else { room.max(1) as i64 };
        let frame = plan.request(segment, Patch::new().int64(LIMIT, ask));
        let grant = plan.spans.grant(segment.place)?;
        let message = exchange::read(plan.cx, grant, frame, Class::Bulk, MAX_HELD - held).await?;
        let reply = parse(plan.cx, grant, &message)?;
        if room == 0 {
            // Only whether anything passes the filters was still to be known.
            more |= !reply.kvs.is_empty();
            continue;
        }
        more |= reply.more;
        found += reply.kvs.len();
        held += message.len();
        replies.push(message);
    }
    let mut pairs: Vec<(&[u8], response::KeyValue<'_>)> = Vec::with_capacity(found);
    for reply in &replies {
        for (record, kv) in response::range(reply)?.kvs {
            pairs.push((record, response::key_value(kv)?));
        }
    }
    if !by_key {
        pairs.sort_by(|(_, a), (_, b)| {
            let order = match range.sort_target {
                VERSION => a.version.cmp(&b.version),
                CREATE => a.create_revision.cmp(&b.create_revision),
                MOD => a.mod_revision.cmp(&b.mod_revision),
                VALUE => a.value.cmp(b.value),
                _ => std::cmp::Ordering::Equal,
            };
            if descending { order.reverse() } else { order }
        });
    }
    more |= pairs.len() > limit;
    pairs.truncate(limit);
    let mut out = BytesMut::with_capacity(held + 64);
    for (record, _) in pairs {
        out.extend_from_slice(record);
    }
    let tail = Patch::new().varint(MORE, u64::from(more)).int64(COUNT, plan.total());
    Ok(respond::message(&[plan.header, &out, tail.as_slice()]))
}
