//! Bodies of replies to clients.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use etcd_prism_upstream::Reply;
use etcd_prism_upstream::reply::Places;
use etcd_prism_wire::frame::{self, PREFIX_LEN};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use crate::kv::open::Opened;
use crate::kv::parts::Parts;
use crate::relay::Relay;

/// An error inside a body resets the stream. It carries a text for the log.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct BodyError {
    text: String,
    /// hyper resets the stream with this error's reason.
    #[source]
    reason: Option<h2::Error>,
}

impl BodyError {
    /// A gRPC client sees the code Internal: it must not take it for a call that may be repeated.
    pub fn internal(text: impl Into<String>) -> Self {
        Self { text: text.into(), reason: None }
    }

    /// A gRPC client sees the code Unavailable, and may try again by itself: for reads only.
    pub fn unavailable(text: impl Into<String>) -> Self {
        Self { text: text.into(), reason: Some(h2::Reason::REFUSED_STREAM.into()) }
    }
}

/// The body of a reply.
#[derive(Debug)]
pub enum ResponseBody {
    /// Nothing: the status is in the headers.
    Empty,
    /// Data that is there, then trailers.
    Ready { data: Option<Bytes>, trailers: Option<HeaderMap> },
    /// A message that is held in parts, then trailers.
    Parts { parts: Parts, trailers: Option<HeaderMap> },
    /// A shard's reply, passed on as it comes.
    Forward(Box<Forward>),
    /// A shard's stream of messages, passed on as it comes.
    Relay(Box<Relay>),
    /// Frames that a task makes.
    Stream(mpsc::Receiver<Frame<Bytes>>),
    /// A watch stream's queue.
    Queue(crate::queue::Receiver),
    /// What a tonic service answered.
    Tonic(tonic::body::Body),
    /// A plain HTTP answer.
    Http(Full<Bytes>),
}

/// A shard's unary reply on its way through: its message gets a patch at the end.
#[derive(Debug)]
pub struct Forward {
    /// What was read to look at.
    pub head: Option<Bytes>,
    body: Incoming,
    /// Bytes of the message that are still to come from the shard.
    pub left: usize,
    /// Bytes behind them that are not the client's.
    trailing: usize,
    /// Sent once `left` is 0.
    patch: Bytes,
    /// What a client is told where the reply is cut off.
    cut_off: fn(String) -> BodyError,
    _places: Places,
}

impl Forward {
    /// Goes on from the beginning of a reply.
    pub fn new(opened: Opened, cut_off: fn(String) -> BodyError) -> Self {
        let Opened { first, left, trailing, patch, reply, .. } = opened;
        let mut head = bytes::BytesMut::with_capacity(PREFIX_LEN + first.len());
        head.extend_from_slice(&frame::prefix(first.len() + left + patch.len()));
        head.extend_from_slice(&first);
        let Reply { body, places, .. } = reply;
        Self { head: Some(head.freeze()), body, left, trailing, patch, cut_off, _places: places }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let cut_off = |text: String| Poll::Ready(Some(Err((self.cut_off)(text))));
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(Ok(Frame::data(head))));
        }
        loop {
            if self.left == 0 && !self.patch.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.patch)))));
            }
            let frame = match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return cut_off(format!("upstream: {error}")),
                None if self.left > 0 => return cut_off("upstream: cut off".into()),
                None => return Poll::Ready(None),
            };
            let mut data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    let status = frame.trailers_ref().and_then(etcd_prism_upstream::reply::status_of);
                    if self.left > 0 && status.is_none_or(|s| s.code == etcd_prism_wire::Code::Ok) {
                        return cut_off("upstream: message cut off".into());
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
            };
            let behind = data.len().saturating_sub(self.left);
            let Some(trailing) = self.trailing.checked_sub(behind) else {
                return cut_off("upstream: more than one message".into());
            };
            self.trailing = trailing;
            data.truncate(data.len() - behind);
            self.left -= data.len();
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Ready { data, trailers } => Poll::Ready(
                data.take().map(Frame::data).or_else(|| trailers.take().map(Frame::trailers)).map(Ok),
            ),
            Self::Parts { parts, trailers } => Poll::Ready(
                parts.take_next().map(Frame::data).or_else(|| trailers.take().map(Frame::trailers)).map(Ok),
            ),
            Self::Forward(forward) => forward.poll(cx),
            Self::Relay(relay) => relay.poll(cx),
            Self::Stream(frames) => frames.poll_recv(cx).map(|f| f.map(Ok)),
            Self::Queue(queue) => queue.poll_frame(cx).map(|f| f.map(Ok)),
            Self::Tonic(body) => {
                Pin::new(body).poll_frame(cx).map_err(|e| BodyError::internal(e.to_string()))
            }
            Self::Http(body) => Pin::new(body).poll_frame(cx).map_err(|never: Infallible| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Ready { data, trailers } => data.is_none() && trailers.is_none(),
            Self::Parts { parts, trailers } => parts.remaining() == 0 && trailers.is_none(),
            Self::Tonic(body) => body.is_end_stream(),
            Self::Http(body) => body.is_end_stream(),
            Self::Forward(_) | Self::Relay(_) | Self::Stream(_) | Self::Queue(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http(body) => body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}
