//! Requests for a route that was moved: its clients know one line of revisions, its shards have one each.
//!
//! A request is translated for the reign that it concerns, sent as any other, and its reply is read whole and translated
//! back. What cannot be told from the request alone is asked of the shard first. Nothing of this outlives a request that
//! has to be placed anew: the translation begins again with what the client sent.

mod list;
mod range;
mod txn;

use bytes::Bytes;
use etcd_prism_wire::translate::{self, Header};
use etcd_prism_wire::{Code, Status};
use tokio::sync::SemaphorePermit;

use crate::context::Context;
use crate::error::{RequestError, SERVER_STOPPED};
use crate::kv::exchange::{self, Answer, Ask, Kind};
use crate::kv::open::Opened;
use crate::place::{Grant, Moved};
use crate::provenance::{self, Reign};

/// Most bytes of one reply. Longer lists have to be read in parts.
const MAX_HELD: usize = 256 << 20;
/// Replies above this size wait for their turn, in bytes: any write's and any page's fits.
const LARGE: usize = 4 << 20;

/// Asks once.
///
/// # Errors
/// As [`exchange::ask`]; [`RequestError::Void`] only of what was certainly not applied.
pub(super) async fn ask(
    cx: &Context,
    grant: &Grant,
    moved: Moved<'_>,
    request: &Ask<'_>,
) -> Result<Answer, RequestError> {
    match request.kind {
        Kind::Range => range::ask(cx, grant, moved, request).await,
        Kind::Put => same(cx, grant, moved, request, translate::Kind::Put).await,
        Kind::DeleteRange => same(cx, grant, moved, request, translate::Kind::DeleteRange).await,
        Kind::Txn(shape) => txn::ask(cx, grant, moved, request, shape).await,
    }
}

/// A request without revisions.
async fn same(
    cx: &Context,
    grant: &Grant,
    moved: Moved<'_>,
    request: &Ask<'_>,
    kind: translate::Kind<'_>,
) -> Result<Answer, RequestError> {
    let held = match send(cx, grant, request).await? {
        Sent::Early(early) => return Ok(early),
        Sent::Message(held) => held,
    };
    let pieces = provenance::translate(cx, Reign::present(moved), kind, &held.message, Header::Exact).await?;
    Ok(Answer::Parts(pieces.into()))
}

/// What a shard answered, in its own revisions.
enum Sent<'a> {
    /// A status, to be passed on as it is.
    Early(Answer),
    Message(Held<'a>),
}

/// A message that was read whole, with the revision in its header.
struct Held<'a> {
    message: Bytes,
    _turn: Option<SemaphorePermit<'a>>,
}

async fn send<'a>(cx: &'a Context, grant: &Grant, request: &Ask<'_>) -> Result<Sent<'a>, RequestError> {
    let answer = exchange::ask_raw(cx, grant, request).await?;
    hold(cx, answer, &cx.worker.pool(grant.shard).shard().name).await
}

/// Reads an answer whole.
async fn hold<'a>(cx: &'a Context, answer: Answer, shard: &str) -> Result<Sent<'a>, RequestError> {
    let turn = match &answer {
        Answer::Early(_) => return Ok(Sent::Early(answer)),
        Answer::Open(opened) => turn(cx, opened).await?,
        _ => None,
    };
    let message = exchange::whole(answer, shard, MAX_HELD).await?;
    Ok(Sent::Message(Held { message, _turn: turn }))
}

/// Of the large messages only a few are held at a time.
async fn turn<'a>(cx: &'a Context, opened: &Opened) -> Result<Option<SemaphorePermit<'a>>, RequestError> {
    if opened.message_len() <= LARGE {
        return Ok(None);
    }
    let stopped = |_| Status::new(Code::Unavailable, SERVER_STOPPED);
    Ok(Some(cx.worker.translations.acquire().await.map_err(stopped)?))
}
