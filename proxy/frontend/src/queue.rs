//! The queue between a watch stream's driver and the connection that sends its messages.
//!
//! The driver pushes without waiting and asks how much is queued; the connection takes what there is, many small
//! messages as one DATA frame.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use etcd_prism_wire::Status;
use http::HeaderMap;
use http_body::Frame;
use parking_lot::Mutex;

use crate::respond;

/// Messages are put together up to this many bytes per DATA frame.
const BATCH: usize = 32 * 1024;

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Bytes>,
    bytes: usize,
    trailers: Option<HeaderMap>,
    receiver_gone: bool,
    sender_gone: bool,
    receiver: Option<Waker>,
    sender: Option<Waker>,
    /// The sender waits for this many bytes or fewer, not only for the end.
    wanted: Option<usize>,
}

/// A queue of gRPC frames; its bound is kept by the sender.
pub fn queue() -> (Sender, Receiver) {
    let state = Arc::new(Mutex::new(State::default()));
    (Sender { state: state.clone() }, Receiver { state })
}

/// The driver's end.
#[derive(Debug)]
pub struct Sender {
    state: Arc<Mutex<State>>,
}

/// The connection's end.
#[derive(Debug)]
pub struct Receiver {
    state: Arc<Mutex<State>>,
}

impl Sender {
    /// Queues a gRPC frame. Frames for a client that is gone are dropped.
    pub fn push(&self, frame: Bytes) {
        let mut state = self.state.lock();
        if state.receiver_gone {
            return;
        }
        state.bytes += frame.len();
        state.frames.push_back(frame);
        if let Some(waker) = state.receiver.take() {
            waker.wake();
        }
    }

    /// Bytes queued and not yet taken by the connection.
    pub fn queued(&self) -> usize {
        self.state.lock().bytes
    }

    /// Ends the stream with a status, after everything that is queued.
    pub fn finish(self, status: &Status) {
        self.state.lock().trailers = Some(respond::trailers(status));
    }

    /// Ready with true when the client is gone, with false when at most `limit` bytes are queued.
    pub fn poll_drained(&self, cx: &mut Context<'_>, limit: usize) -> Poll<bool> {
        let mut state = self.state.lock();
        if state.receiver_gone {
            return Poll::Ready(true);
        }
        if state.bytes <= limit {
            return Poll::Ready(false);
        }
        state.wanted = Some(limit);
        state.sender = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when the client is gone.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.receiver_gone {
            return Poll::Ready(());
        }
        state.wanted = None;
        state.sender = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.sender_gone = true;
        if let Some(waker) = state.receiver.take() {
            waker.wake();
        }
    }
}

impl Receiver {
    /// The next DATA frame, then the trailers.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        let mut state = self.state.lock();
        let Some(first) = state.frames.pop_front() else {
            if !state.sender_gone {
                state.receiver = Some(cx.waker().clone());
                return Poll::Pending;
            }
            return Poll::Ready(state.trailers.take().map(Frame::trailers));
        };
        let mut taken = first.len();
        let data = match state.frames.front() {
            Some(next) if taken + next.len() <= BATCH => {
                let mut batch = BytesMut::with_capacity(BATCH.min(state.bytes));
                batch.extend_from_slice(&first);
                while let Some(next) = state.frames.front()
                    && taken + next.len() <= BATCH
                {
                    taken += next.len();
                    batch.extend_from_slice(next);
                    state.frames.pop_front();
                }
                batch.freeze()
            }
            _ => first,
        };
        state.bytes -= taken;
        if state.wanted.is_some_and(|wanted| state.bytes <= wanted)
            && let Some(waker) = state.sender.take()
        {
            waker.wake();
        }
        Poll::Ready(Some(Frame::data(data)))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.receiver_gone = true;
        state.frames = VecDeque::new();
        state.bytes = 0;
        if let Some(waker) = state.sender.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd_prism_wire::Code;

    fn take(receiver: &mut Receiver) -> Poll<Option<Frame<Bytes>>> {
        receiver.poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn batches_in_order_and_ends_with_the_status() {
        let (sender, mut receiver) = queue();
        assert!(take(&mut receiver).is_pending());
        sender.push(Bytes::from_static(b"a"));
        sender.push(Bytes::from_static(b"b"));
        sender.push(Bytes::from(vec![b'c'; BATCH]));
        assert_eq!(sender.queued(), BATCH + 2);
        sender.finish(&Status::new(Code::Unavailable, "bye"));
        let Poll::Ready(Some(frame)) = take(&mut receiver) else { panic!() };
        assert_eq!(&frame.into_data().unwrap()[..], b"ab");
        let Poll::Ready(Some(frame)) = take(&mut receiver) else { panic!() };
        assert_eq!(frame.into_data().unwrap().len(), BATCH);
        let Poll::Ready(Some(frame)) = take(&mut receiver) else { panic!() };
        assert_eq!(frame.into_trailers().unwrap()["grpc-status"], "14");
        assert!(matches!(take(&mut receiver), Poll::Ready(None)));
    }

    #[test]
    fn a_client_that_is_gone_costs_nothing() {
        let (sender, receiver) = queue();
        drop(receiver);
        sender.push(Bytes::from_static(b"a"));
        assert_eq!(sender.queued(), 0);
        assert_eq!(sender.poll_drained(&mut Context::from_waker(Waker::noop()), 0), Poll::Ready(true));
    }
}
