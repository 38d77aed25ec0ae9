//! A stream to one shard, for all legs that a client's stream has there.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::pool::{OpenStream, ReplyHead};
use etcd_prism_upstream::reply::{self, MAX_REPLY, Places};
use etcd_prism_upstream::{Reply, UpstreamError};
use etcd_prism_wire::frame::FrameReader;
use http::HeaderMap;
use http::uri::PathAndQuery;
use http_body::Body;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::messages;
use crate::gateway::Worker;

const WATCH: &str = "/etcdserverpb.Watch/Watch";
/// Longest wait for a connection in one attempt.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// A progress request without an answer for this long was dropped by the shard.
const PROGRESS_PATIENCE: Duration = Duration::from_secs(5);
/// Progress requests under way at once.
const MAX_PROGRESS_ASKED: usize = 64;
const MIN_BACKOFF: Duration = Duration::from_millis(20);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// Time until a shard is asked again whether the end of a reign was reached.
const MIN_END_PAUSE: Duration = Duration::from_millis(10);
const MAX_END_PAUSE: Duration = Duration::from_secs(1);
/// Most bytes of messages that are kept while their routes are not served.
const MAX_KEPT: usize = 64 << 10;

type Opening = Pin<Box<dyn Future<Output = Result<OpenStream, UpstreamError>> + Send>>;

enum State {
    /// No stream. It is opened when a leg needs one, not before the time given.
    Closed {
        not_before: Option<Instant>,
    },
    Opening(Opening),
    /// Messages can be sent; the shard's answer starts with its first message.
    Open {
        sender: mpsc::UnboundedSender<Bytes>,
        head: ReplyHead,
    },
    Flowing {
        sender: mpsc::UnboundedSender<Bytes>,
        body: Incoming,
        _places: Places,
    },
}

/// What a link has to tell.
pub(super) enum LinkEvent {
    /// The stream is open: legs can be created.
    Opened,
    Message(Bytes),
    /// The stream ended; whatever was live on it is not any more.
    Ended(UpstreamError),
}

/// A stream to one shard.
pub(super) struct Link {
    pub shard: ShardId,
    state: State,
    frames: FrameReader,
    backoff: Duration,
    /// The legs on this stream by upstream id: the client's watcher id.
    pub legs: HashMap<i64, i64>,
    /// Creates that the shard has not answered, in order.
    pub asked: VecDeque<i64>,
    next_id: i64,
    /// Legs of the client's watchers that this link is to serve; it is opened while there are any.
    pub wanted: usize,
    /// Highest revision seen in a header.
    pub revision: i64,
    /// The client asked for progress while it could not be asked for here.
    pub progress_wanted: bool,
    /// Progress requests that may still be answered: when they were sent, and whether the client asked.
    progress_asked: VecDeque<(Instant, bool)>,
    /// Messages of legs whose routes are not served at the moment.
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
    /// Kept messages that are to be looked at again, before the stream is read on.
    again: VecDeque<Bytes>,
    /// When the shard is asked next how far it is, because a leg here waits for the end of its reign.
    end_due: Option<Instant>,
    end_pause: Duration,
}

impl Link {
    pub(super) fn new(shard: ShardId) -> Self {
        Self {
            shard,
            state: State::Closed { not_before: None },
            frames: FrameReader::new(MAX_REPLY),
            backoff: MIN_BACKOFF,
            legs: HashMap::new(),
            asked: VecDeque::new(),
            next_id: 1,
            wanted: 0,
            revision: 0,
            progress_wanted: false,
            progress_asked: VecDeque::new(),
            kept: VecDeque::new(),
            kept_bytes: 0,
            again: VecDeque::new(),
            end_due: None,
            end_pause: MIN_END_PAUSE,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. } | State::Flowing { .. })
    }

    /// When it may be opened again; `None` if it is not waiting for that.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        match self.state {
            State::Closed { not_before } => not_before,
            _ => None,
        }
    }

    /// Opens the stream if it is closed and may be opened.
    pub(super) fn open(&mut self, worker: &Arc<Worker>, metadata: &HeaderMap) {
        let State::Closed { not_before } = self.state else { return };
        if not_before.is_some_and(|at| at > Instant::now()) {
            return;
        }
        let (worker, shard, metadata) = (worker.clone(), self.shard, metadata.clone());
        self.state = State::Opening(Box::pin(async move {
            let path = PathAndQuery::from_static(WATCH);
            worker.pool(shard).open(&path, metadata, Instant::now() + CONNECT_PATIENCE).await
        }));
    }

    /// Closes the stream; the shard forgets its watchers. It may be opened again at once.
    pub(super) fn close(&mut self) {
        self.reset(None);
    }

    fn reset(&mut self, not_before: Option<Instant>) {
        self.state = State::Closed { not_before };
        self.frames = FrameReader::new(MAX_REPLY);
        self.legs.clear();
        self.asked.clear();
        self.progress_asked.clear();
        self.kept.clear();
        self.kept_bytes = 0;
        self.again.clear();
    }

    /// Keeps a message until its route is served again. False if there are too many.
    pub(super) fn keep(&mut self, message: Bytes) -> bool {
        self.kept_bytes += message.len();
        self.kept.push_back(message);
        self.kept_bytes <= MAX_KEPT
    }

    /// Gives what was kept once more, in its order, before anything that came later.
    pub(super) fn give_again(&mut self) {
        self.kept.append(&mut self.again);
        std::mem::swap(&mut self.kept, &mut self.again);
        self.kept_bytes = 0;
    }

    /// Gives a message once more that was the last one.
    pub(super) fn put_back(&mut self, message: Bytes) {
        self.again.push_front(message);
    }

    /// Gives a message once more, behind those that are given again anyway.
    pub(super) fn give_later(&mut self, message: Bytes) {
        self.again.push_back(message);
    }

    /// A leg waits for the end of its reign: the shard is asked how far it is, once for all of them. `at_once`: the end has
    /// only just become known.
    pub(super) fn await_end(&mut self, now: Instant, at_once: bool) {
        if at_once {
            self.end_pause = MIN_END_PAUSE;
            self.end_due = None;
        }
        self.end_due.get_or_insert(now);
    }

    /// When that is due.
    pub(super) fn end_due(&self) -> Option<Instant> {
        self.end_due
    }

    /// Asks, and again after a while: etcd answers only when all watchers of the stream are in sync. `waits`: some leg still
    /// does.
    pub(super) fn ask_end(&mut self, now: Instant, waits: bool) {
        self.end_due = None;
        if waits {
            self.ask_progress(false);
            self.end_due = Some(now + self.end_pause);
            self.end_pause = (self.end_pause * 2).min(MAX_END_PAUSE);
        }
    }

    /// No leg is left here: the shard forgets what it had of them, and the link owes nothing but what the client asked for.
    pub(super) fn leave(&mut self) {
        self.progress_wanted = false;
        self.end_due = None;
        self.revision = 0;
        self.close();
    }

    /// Whether the client waits for progress from here.
    pub(super) fn owes_progress(&self) -> bool {
        self.progress_wanted || self.progress_asked.iter().any(|(_, for_client)| *for_client)
    }

    /// Asks for progress, for the client or on the proxy's own account. Requests that pile up on a shard that does not
    /// answer are not repeated.
    pub(super) fn ask_progress(&mut self, for_client: bool) {
        self.forget_old_requests();
        if self.progress_asked.len() < MAX_PROGRESS_ASKED {
            self.progress_asked.push_back((Instant::now(), for_client));
            self.send(messages::progress_request());
        }
    }

    /// An answer came; true if the client is to get it. etcd drops requests that it cannot answer, so the answer may belong
    /// to a later request than the oldest: an answer too many is harmless, the client asks again for one too few.
    pub(super) fn progress_answered(&mut self) -> bool {
        self.progress_asked.pop_front().is_none_or(|(_, for_client)| for_client)
    }

    /// Requests whose answers may be on their way.
    pub(super) fn progress_under_way(&mut self) -> usize {
        self.forget_old_requests();
        self.progress_asked.len()
    }

    fn forget_old_requests(&mut self) {
        while self.progress_asked.front().is_some_and(|(at, _)| at.elapsed() > PROGRESS_PATIENCE) {
            self.progress_asked.pop_front();
        }
    }

    /// A fresh id for a leg.
    pub(super) fn next_id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    /// Sends a frame. On a stream that is closed it is dropped: legs are created anew when it opens.
    pub(super) fn send(&self, frame: Bytes) {
        if let State::Open { sender, .. } | State::Flowing { sender, .. } = &self.state {
            // A send fails only when the stream has just ended, which its reader reports.
            drop(sender.send(frame));
        }
    }

    pub(super) fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<LinkEvent> {
        if let Some(message) = self.again.pop_front() {
            return Poll::Ready(LinkEvent::Message(message));
        }
        loop {
            match &mut self.state {
                State::Closed { .. } => return Poll::Pending,
                State::Opening(opening) => match std::task::ready!(opening.as_mut().poll(cx)) {
                    Ok(OpenStream { sender, reply, .. }) => {
                        self.state = State::Open { sender, head: reply };
                        return Poll::Ready(LinkEvent::Opened);
                    }
                    Err(error) => return Poll::Ready(self.ended(error)),
                },
                State::Open { sender, head } => match std::task::ready!(Pin::new(head).poll(cx)) {
                    Ok(reply) => {
                        if let Some(status) = reply.early_status() {
                            return Poll::Ready(self.ended(status.into()));
                        }
                        let Reply { body, places, .. } = reply;
                        self.state = State::Flowing { sender: sender.clone(), body, _places: places };
                    }
                    Err(error) => return Poll::Ready(self.ended(error)),
                },
                State::Flowing { body, .. } => {
                    match self.frames.next_message() {
                        Ok(Some(message)) => {
                            self.backoff = MIN_BACKOFF;
                            return Poll::Ready(LinkEvent::Message(message));
                        }
                        Ok(None) => {}
                        Err(error) => return Poll::Ready(self.lost(&error)),
                    }
                    match std::task::ready!(Pin::new(body).poll_frame(cx)) {
                        Some(Ok(frame)) => match frame.into_data() {
                            Ok(data) => self.frames.push(data),
                            Err(frame) => {
                                let status = reply::status_of(&frame.into_trailers().unwrap_or_default());
                                let event = match status {
                                    Some(status) => self.ended(status.into()),
                                    None => self.lost(&"no status"),
                                };
                                return Poll::Ready(event);
                            }
                        },
                        Some(Err(error)) => return Poll::Ready(self.lost(&error)),
                        None => return Poll::Ready(self.lost(&"cut off")),
                    }
                }
            }
        }
    }

    fn lost(&mut self, reason: &dyn std::fmt::Display) -> LinkEvent {
        self.ended(UpstreamError::ConnectionLost { shard: String::new(), reason: reason.to_string() })
    }

    fn ended(&mut self, error: UpstreamError) -> LinkEvent {
        self.reset(Some(Instant::now() + self.backoff));
        self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
        LinkEvent::Ended(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    /// What comes of the link without its stream.
    fn given(link: &mut Link) -> Vec<Bytes> {
        let mut out = Vec::new();
        while let Poll::Ready(event) = link.poll(&mut TaskContext::from_waker(std::task::Waker::noop())) {
            match event {
                LinkEvent::Message(message) => out.push(message),
                LinkEvent::Opened | LinkEvent::Ended(_) => panic!("the link has no stream"),
            }
        }
        out
    }

    #[test]
    fn what_was_kept_comes_again_in_its_order() {
        let mut link = Link::new(ShardId(0));
        assert!(link.keep(message("a")) && link.keep(message("b")));
        assert_eq!(given(&mut link), Vec::<Bytes>::new());
        // It waited for leave when the news came, so it is younger than what was kept before.
        link.put_back(message("c"));
        link.give_again();
        // It came before the news did.
        link.give_later(message("d"));
        let first = link.poll(&mut TaskContext::from_waker(std::task::Waker::noop()));
        assert!(matches!(first, Poll::Ready(LinkEvent::Message(m)) if m == "a"));
        // Its route is still not served.
        assert!(link.keep(message("a")));
        link.give_again();
        assert_eq!(given(&mut link), ["a", "b", "c", "d"]);
        link.give_again();
        assert_eq!(given(&mut link), Vec::<Bytes>::new());
    }

    #[test]
    fn what_is_kept_is_bounded_and_ends_with_the_stream() {
        let mut link = Link::new(ShardId(0));
        let half = Bytes::from(vec![0; MAX_KEPT / 2]);
        assert!(link.keep(half.clone()) && link.keep(half.clone()));
        assert!(!link.keep(message("too much")));
        link.close();
        link.give_again();
        assert_eq!(given(&mut link), Vec::<Bytes>::new());
        assert!(link.keep(half));
    }

    #[test]
    fn a_shard_is_asked_for_the_end_once_for_all_its_legs_and_less_and_less_often() {
        let mut link = Link::new(ShardId(0));
        let mut now = Instant::now();
        for _ in 0..1000 {
            link.await_end(now, true);
        }
        assert_eq!(link.end_due(), Some(now));
        let mut pauses = Vec::new();
        for _ in 0..9 {
            link.ask_end(now, true);
            let due = link.end_due().unwrap();
            pauses.push((due - now).as_millis());
            // Legs that are created meanwhile change nothing.
            link.await_end(now, false);
            assert_eq!(link.end_due(), Some(due));
            now = due;
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(link.progress_under_way(), 9);
        link.ask_end(now, false);
        assert_eq!(link.end_due(), None);
        link.await_end(now, true);
        link.ask_end(now, true);
        assert_eq!(link.end_due(), Some(now + MIN_END_PAUSE));
    }

    #[test]
    fn progress_that_the_client_waits_for_is_not_forgotten() {
        let mut link = Link::new(ShardId(0));
        link.ask_progress(false);
        assert!(!link.owes_progress());
        link.ask_progress(true);
        assert!(link.owes_progress());
        link.leave();
        assert!(!link.owes_progress());
        link.progress_wanted = true;
        assert!(link.owes_progress());
    }
}
