//! Bodies of requests to shards.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// What is sent to a shard: one message, or messages as they come.
#[derive(Debug)]
pub enum RequestBody {
    /// One gRPC frame.
    Once(Option<Bytes>),
    /// gRPC frames until the sender is dropped. The sender bounds what it queues.
    Stream(mpsc::UnboundedReceiver<Bytes>),
}

impl RequestBody {
    pub fn once(frame: Bytes) -> Self {
        Self::Once(Some(frame))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Once(frame) => Poll::Ready(frame.take().map(|f| Ok(Frame::data(f)))),
            Self::Stream(frames) => frames.poll_recv(cx).map(|f| f.map(|f| Ok(Frame::data(f)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Once(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Once(frame) => SizeHint::with_exact(frame.as_ref().map_or(0, |f| f.len() as u64)),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
