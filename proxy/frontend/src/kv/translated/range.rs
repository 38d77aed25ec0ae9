//! Range of a route that was moved.

use bytes::Bytes;
use etcd_prism_control::At;
use etcd_prism_proto::etcdserverpb::RangeRequest;
use etcd_prism_upstream::{Class, Retry, rpc};
use etcd_prism_wire::keys::CLIENT_END;
use etcd_prism_wire::patch::Patch;
use etcd_prism_wire::translate::{self, Header, Line, RangeRewrite};
use etcd_prism_wire::{frame, request, response};

use super::list;
use crate::context::Context;
use crate::error::{RequestError, compacted};
use crate::kv::exchange::{self, Answer, Ask, PRESENT};
use crate::kv::forward;
use crate::kv::open::{self, Opening};
use crate::place::{Grant, Moved};
use crate::provenance::{Known, Reign};

/// The field of a RangeRequest.
const SERIALIZABLE: u32 = 7;
/// A reply without pairs fits easily.
const MAX_PRESENT: usize = 4096;

pub(super) async fn ask(
    cx: &Context,
    grant: &Grant,
    moved: Moved<'_>,
    request: &Ask<'_>,
) -> Result<Answer, RequestError> {
    let range = request::range(request.message())?;
    if range.revision > 0 {
        let at = moved.line.find(range.revision).ok_or_else(compacted)?;
        if at.reign != moved.line.present() {
            return past(cx, grant, moved, at, request).await;
        }
    }
    present(cx, grant, moved, request, range.serializable).await
}

/// Reads in the present reign, by its right.
async fn present(
    cx: &Context,
    grant: &Grant,
    moved: Moved<'_>,
    request: &Ask<'_>,
    is_serializable: bool,
) -> Result<Answer, RequestError> {
    let reign = Reign::present(moved);
    let RangeRewrite { patch, select } = translate::range(request.message(), &Known::new(cx, reign).line()?)?;
    let kind = select.as_ref().map_or(translate::Kind::Range, translate::Kind::Selected);
    let mut request = Ask { frame: patched(request, &patch), revision: PRESENT, ..request.clone() };
    loop {
        let answer = exchange::ask_raw(cx, grant, &request).await?;
        match list::translate(cx, reign, grant.shard, kind, answer, Header::Exact).await {
            // A lagging member, that has not seen the beginning of the reign.
            Err(RequestError::Outside(_)) if is_serializable && !request.must_be_fenced => {
                request.must_be_fenced = true;
            }
            answer => return answer,
        }
    }
}

/// Reads in an earlier reign, on the shard that ruled then. What it held at a revision of its reign does not change, so that
/// needs no right; the header tells the present revision of the owner, and that does.
async fn past(
    cx: &Context,
    grant: &Grant,
    moved: Moved<'_>,
    at: At,
    request: &Ask<'_>,
) -> Result<Answer, RequestError> {
    let reign = Reign::at(moved, at);
    let RangeRewrite { patch, select } = translate::range(request.message(), &Known::new(cx, reign).line()?)?;
    let kind = select.as_ref().map_or(translate::Kind::Range, translate::Kind::Selected);
    // A lagging member may not have the end of its reign yet.
    let frame = patched(request, &patch.varint(SERIALIZABLE, 0));
    let mut call = forward::call(cx, rpc::RANGE, frame, request.class, Retry::OnceElsewhere);
    call.place = request.place;
    let pool = cx.worker.pool(at.shard);
    let read = async {
        Ok(match open::open(pool, call, None, &cx.gateway().identity).await? {
            Opening::Early(headers) => Answer::Early(headers),
            Opening::Open(opened) => Answer::Open(opened),
            Opening::Failed(message) => Answer::Message(message),
        })
    };
    let (answer, present) = futures_util::try_join!(read, present_revision(cx, grant, moved))?;
    list::translate(cx, reign, at.shard, kind, answer, Header::At(present)).await
}

/// The present revision of the route, read by right of `grant`.
async fn present_revision(cx: &Context, grant: &Grant, moved: Moved<'_>) -> Result<i64, RequestError> {
    let request = RangeRequest { key: CLIENT_END.into(), count_only: true, ..RangeRequest::default() };
    let reply = exchange::read_raw(cx, grant, rpc::frame_of(&request), Class::Unary, MAX_PRESENT).await?;
    Ok(Known::new(cx, Reign::present(moved)).line()?.up(response::revision(&reply)?)?)
}

fn patched(request: &Ask<'_>, patch: &Patch) -> Bytes {
    if patch.is_empty() {
        request.frame.clone()
    } else {
        frame::encode(&[request.message(), patch.as_slice()])
    }
}
