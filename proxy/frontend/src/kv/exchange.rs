//! One request in one place, under the rule of ownership: asked, checked, and asked again where a fence refused it or the
//! session ran out before the answer came.
//!
//! Requests and answers are in the revisions that clients know, unless a function says that they are the shard's own.

use std::time::Duration;

use bytes::Bytes;
use etcd_prism_routing::{Footprint, ShardId};
use etcd_prism_upstream::{Class, Place, Retry, UpstreamError, reply, rpc};
use etcd_prism_wire::fence::{self, Form, Verdict};
use etcd_prism_wire::request::TxnShape;
use etcd_prism_wire::{Code, Status, frame, response};
use http::HeaderMap;
use tokio::time::Instant;

use crate::context::Context;
use crate::error::{RequestError, compacted};
use crate::kv::open::{self, Opened, Opening};
use crate::kv::parts::Parts;
use crate::kv::{forward, translated};
use crate::metrics::Routed;
use crate::place::{self, Grant, Placement};

/// Before a request is sent again that a fence refused without telling anything new.
const PAUSE: Duration = Duration::from_millis(20);

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub enum Kind<'a> {
    Range,
    Put,
    DeleteRange,
    Txn(&'a TxnShape),
}

impl Kind<'_> {
    /// Whether it may change something, and so must carry its fences.
    pub fn writes(self) -> bool {
        match self {
            Kind::Range => false,
            Kind::Put | Kind::DeleteRange => true,
            Kind::Txn(shape) => shape.writes,
        }
    }

    fn path(self) -> &'static str {
        match self {
            Kind::Range => rpc::RANGE,
            Kind::Put => rpc::PUT,
            Kind::DeleteRange => rpc::DELETE_RANGE,
            Kind::Txn(_) => rpc::TXN,
        }
    }

    /// Whether it may be sent again when nobody knows what became of it.
    pub fn retry(self) -> Retry {
        if self.writes() { Retry::Never } else { Retry::OnceElsewhere }
    }
}

/// A request, scanned, clamped to clients' keys and not yet fenced.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    pub kind: Kind<'a>,
    /// The frame: prefix and message.
    pub frame: Bytes,
    pub class: Class,
    pub place: Place,
    /// The lowest revision that it reads at; [`PRESENT`] if it reads at none.
    pub revision: i64,
    /// It carries its fences, though a session may protect it: so it is linearizable, whatever the client asked for.
    pub must_be_fenced: bool,
}

/// No revision: what is there now.
pub const PRESENT: i64 = i64::MAX;

impl<'a> Ask<'a> {
    /// An ordinary request, at no revision.
    pub fn new(kind: Kind<'a>, frame: Bytes, class: Class) -> Self {
        Self { kind, frame, class, place: Place::Counted, revision: PRESENT, must_be_fenced: false }
    }

    pub fn message(&self) -> &[u8] {
        &self.frame[frame::PREFIX_LEN..]
    }

    fn fenced(&self, grant: &Grant, max_ops: usize) -> (Bytes, Form) {
        let conditions = grant.conditions();
        match self.kind {
            Kind::Range => (fence::range(self.message(), &conditions), Form::Range),
            Kind::Put => (fence::put(self.message(), &conditions), Form::Put),
            Kind::DeleteRange => (fence::delete_range(self.message(), &conditions), Form::DeleteRange),
            Kind::Txn(shape) => fence::txn(self.message(), shape, &conditions, max_ops),
        }
    }
}

/// An answer that may be passed on.
#[derive(Debug)]
pub enum Answer {
    /// A status without a message.
    Early(HeaderMap),
    Open(Opened),
    /// A message that was read whole, without our header.
    Message(Bytes),
    /// The same, translated.
    Parts(Parts),
}

/// Asks once.
///
/// # Errors
/// [`RequestError::Void`]: nothing was applied, what came must not be told, and the grant is worth nothing any more.
pub async fn ask(cx: &Context, grant: &Grant, ask: &Ask<'_>) -> Result<Answer, RequestError> {
    match grant.line() {
        None => ask_raw(cx, grant, ask).await,
        // Its state is large, and routes that were not moved shall not carry it.
        Some(moved) => Box::pin(translated::ask(cx, grant, moved, ask)).await,
    }
}

/// Asks once, in the shard's own revisions.
///
/// # Errors
/// As [`ask`].
pub async fn ask_raw(cx: &Context, grant: &Grant, ask: &Ask<'_>) -> Result<Answer, RequestError> {
    // An earlier reign's, that this shard has no part in.
    if ask.revision <= grant.floor() {
        return Err(compacted());
    }
    let pool = cx.worker.pool(grant.shard);
    let fenced = grant.is_fenced() && (ask.kind.writes() || ask.must_be_fenced || !grant.has_session(cx));
    let identity = &cx.gateway().identity;
    if !fenced {
        let call = forward::call(cx, ask.kind.path(), ask.frame.clone(), ask.class, ask.kind.retry());
        let opening = open::open(pool, placed(call, ask.place), None, identity).await?;
        // Now that it has arrived: a session that ran out on the way protects nothing.
        if !ask.kind.writes() && !grant.may_release(cx) {
            return Err(RequestError::Void);
        }
        return Ok(match opening {
            Opening::Early(headers) => Answer::Early(headers),
            Opening::Open(opened) => Answer::Open(opened),
            Opening::Failed(message) => Answer::Message(message),
        });
    }
    let (frame, form) = ask.fenced(grant, cx.gateway().limits().max_txn_ops);
    let metrics = &cx.gateway().metrics;
    if ask.kind.writes() { &metrics.fenced_writes } else { &metrics.fenced_reads }.increment(1);
    let call = forward::call(cx, rpc::TXN, frame, ask.class, ask.kind.retry());
    match open::open(pool, placed(call, ask.place), Some(form), identity).await? {
        Opening::Early(headers) => Ok(Answer::Early(headers)),
        Opening::Open(opened) => Ok(Answer::Open(opened)),
        Opening::Failed(message) => match fence::verdict(form, &message, &grant.conditions()) {
            Ok(Verdict::Client(message)) => Ok(Answer::Message(message)),
            Ok(Verdict::Refused(fences)) => {
                grant.refused(cx, response::revision(&message)?, &fences);
                if grant.stands(cx) {
                    // What the shard showed changes nothing for us, so asking at once would meet it again.
                    tokio::time::sleep(PAUSE).await;
                }
                Err(RequestError::Void)
            }
            Err(error) => {
                let (shard, reason) = (pool.shard().name.clone(), error.to_string());
                Err(UpstreamError::BadReply { shard, reason }.into())
            }
        },
    }
}

/// Reads a RangeResponse of at most `max` bytes whole.
pub async fn read(
    cx: &Context,
    grant: &Grant,
    frame: Bytes,
    class: Class,
    max: usize,
) -> Result<Bytes, RequestError> {
    let request = Ask::new(Kind::Range, frame, class);
    whole_in_time(cx, grant, ask(cx, grant, &request), max).await
}

/// [`read`] in the shard's own revisions.
pub async fn read_raw(
    cx: &Context,
    grant: &Grant,
    frame: Bytes,
    class: Class,
    max: usize,
) -> Result<Bytes, RequestError> {
    let request = Ask::new(Kind::Range, frame, class);
    whole_in_time(cx, grant, ask_raw(cx, grant, &request), max).await
}

async fn whole_in_time(
    cx: &Context,
    grant: &Grant,
    answer: impl Future<Output = Result<Answer, RequestError>>,
    max: usize,
) -> Result<Bytes, RequestError> {
    let shard = cx.worker.pool(grant.shard).shard();
    let work = async { whole(answer.await?, &shard.name, max).await };
    let timed_out = |_| UpstreamError::TimedOut { shard: shard.name.clone() };
    tokio::time::timeout(shard.bounds().request_timeout, work).await.map_err(timed_out)?
}

/// The message of an answer, at most `max` bytes of it, its revision in its header.
///
/// # Errors
/// A status other than OK is one.
pub async fn whole(answer: Answer, shard: &str, max: usize) -> Result<Bytes, RequestError> {
    let message = match answer {
        Answer::Early(headers) => return Err(early(&headers, shard)),
        Answer::Open(opened) => return Ok(opened.read_with_header(shard, max).await?),
        Answer::Message(message) => message,
        Answer::Parts(parts) => parts.into_bytes(),
    };
    if message.len() > max {
        let text = format!("grpc: received message larger than max ({} vs. {max})", message.len());
        return Err(Status::new(Code::ResourceExhausted, text).into());
    }
    Ok(message)
}

/// The error that an answer without a message is.
pub fn early(headers: &HeaderMap, shard: &str) -> RequestError {
    match reply::status_of(headers) {
        Some(status) => UpstreamError::from(status).into(),
        None => open::lost(shard, &"no grpc-status").into(),
    }
}

fn placed(mut call: etcd_prism_upstream::Call, place: Place) -> etcd_prism_upstream::Call {
    call.place = place;
    call
}

/// Places a request and asks until there is an answer that may be passed on. The caller bounds it.
///
/// # Errors
/// `Spans` with `what` if more than one place would be needed.
pub async fn exchange(
    cx: &Context,
    footprint: &Footprint,
    request: &Ask<'_>,
    what: &str,
    routed: &mut Routed,
) -> Result<(Grant, Answer), RequestError> {
    let deadline = place::deadline(cx, footprint);
    loop {
        let grant = match Placement::of(cx, footprint, deadline).await? {
            Placement::One(grant) => grant,
            Placement::Spans(spans) => {
                place::account(routed, footprint, true);
                return Err(spans.refused(what));
            }
        };
        place::account(routed, footprint, false);
        cx.connection.used(grant.shard);
        match ask(cx, &grant, request).await {
            Err(RequestError::Void) => {}
            answer => return Ok((grant, answer?)),
        }
    }
}

/// Waits for a shard until `deadline`.
pub async fn bounded<T>(
    cx: &Context,
    shard: ShardId,
    deadline: Instant,
    work: impl Future<Output = Result<T, RequestError>>,
) -> Result<T, RequestError> {
    let timed_out = |_| UpstreamError::TimedOut { shard: cx.worker.pool(shard).shard().name.clone() };
    tokio::time::timeout_at(deadline, work).await.map_err(timed_out)?
}
