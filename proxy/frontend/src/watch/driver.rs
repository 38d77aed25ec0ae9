//! The task behind a client's watch stream.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use etcd_prism_routing::ShardId;
use etcd_prism_wire::frame::FrameReader;
use etcd_prism_wire::{Code, Status, request};
use http::HeaderMap;
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::create::Creating;
use super::link::{Link, LinkEvent};
use super::messages;
use super::watcher::Watcher;
use crate::context::Context;
use crate::error::RequestError;
use crate::metadata;
use crate::queue::Sender;

/// Requests of the client that wait behind a create. More are left on the wire.
const WAITING_REQUESTS: usize = 64;
/// Bytes queued for the client above which its links are closed.
const QUEUE_HIGH: usize = 1 << 20;
/// Bytes queued above which a client in the middle of a fragmented response is given up.
const QUEUE_LIMIT: usize = 64 << 20;
/// Bytes queued at which they are opened again.
const QUEUE_LOW: usize = 128 << 10;

/// What happened next.
enum Event {
    Request(Bytes),
    ClientClosed,
    ClientGone,
    Link(ShardId, LinkEvent),
    /// The revisions that a create without a start revision has to know.
    Revisions(Result<Vec<(ShardId, i64)>, etcd_prism_upstream::UpstreamError>),
    Timer,
    Drained,
    Bad(RequestError),
}

/// A client's watch stream.
pub(super) struct Driver {
    pub cx: Context,
    /// Metadata of upstream streams.
    pub metadata: HeaderMap,
    body: Option<Incoming>,
    frames: FrameReader,
    waiting: VecDeque<Bytes>,
    pub out: Option<Sender>,
    pub watchers: HashMap<i64, Watcher>,
    pub links: BTreeMap<ShardId, Link>,
    pub creating: Option<Creating>,
    pub next_id: i64,
    /// The client does not read: links are closed until the queue has drained.
    pub lagging: bool,
    timer: Pin<Box<Sleep>>,
}

impl Driver {
    pub(super) fn new(cx: Context, body: Incoming, out: Sender) -> Self {
        let mut metadata = metadata::upstream(&cx.headers);
        // The client's deadline is the client's to keep; an upstream stream may be opened many times.
        metadata.remove("grpc-timeout");
        let frames = FrameReader::new(cx.gateway().limits().max_message_bytes);
        Self {
            cx,
            metadata,
            body: Some(body),
            frames,
            waiting: VecDeque::new(),
            out: Some(out),
            watchers: HashMap::new(),
            links: BTreeMap::new(),
            creating: None,
            next_id: 0,
            lagging: false,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }

    /// Runs until the stream is over. `None`: the client is gone.
    pub(super) async fn run(&mut self) -> Option<Status> {
        loop {
            self.open_links();
            self.arm();
            let event = std::future::poll_fn(|cx| self.poll_event(cx)).await;
            let outcome = match event {
                Event::Request(message) => {
                    self.waiting.push_back(message);
                    Ok(())
                }
                Event::ClientClosed => {
                    // Half-close ends nothing.
                    self.body = None;
                    Ok(())
                }
                Event::ClientGone => return None,
                Event::Link(shard, event) => self.on_link(shard, event),
                Event::Revisions(answer) => {
                    self.on_revisions(answer);
                    Ok(())
                }
                Event::Timer => {
                    self.on_timer();
                    Ok(())
                }
                Event::Drained => {
                    self.lagging = false;
                    Ok(())
                }
                Event::Bad(error) => Err(error.status()),
            };
            let outcome = outcome.and_then(|()| self.serve_waiting()).and_then(|()| self.check_lag());
            if let Err(status) = outcome {
                return Some(status);
            }
        }
    }

    pub(super) fn finish(&mut self, status: &Status) {
        if let Some(out) = self.out.take() {
            out.finish(status);
        }
    }

    /// Queues a frame for the client.
    pub(super) fn push(&self, frame: Bytes) {
        if let Some(out) = &self.out {
            out.push(frame);
        }
    }

    /// Takes up waiting requests, one create at a time: `created` answers come in the order of the requests.
    fn serve_waiting(&mut self) -> Result<(), Status> {
        while self.creating.is_none()
            && let Some(message) = self.waiting.pop_front()
        {
            match request::watch(&message).map_err(|e| RequestError::from(e).status())? {
                request::Watch::Create(create) => {
                    let raw = message.slice_ref(create.message);
                    self.start_create(&create, raw);
                }
                request::Watch::Cancel { watch_id } => self.cancel(watch_id),
                request::Watch::Progress => self.request_progress(),
                request::Watch::Unknown => {}
            }
        }
        Ok(())
    }

    /// Whether other requests wait behind the create that is under way.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Cancels a watcher; an unknown id gets no answer, as in etcd.
    fn cancel(&mut self, id: i64) {
        let Some(watcher) = self.watchers.remove(&id) else { return };
        self.cx.gateway().metrics.watchers.decrement(1.0);
        let mut revision = 1;
        for leg in &watcher.legs {
            revision = revision.max(leg.next - 1);
            if let Some(link) = self.links.get_mut(&leg.shard) {
                revision = revision.max(link.revision);
                link.wanted -= 1;
                if link.legs.remove(&leg.upstream_id).is_some() {
                    link.send(messages::cancel(leg.upstream_id));
                }
            }
        }
        self.push(messages::canceled(&self.cx.gateway().identity, revision, id));
    }

    /// Opens the links that a watcher needs.
    fn open_links(&mut self) {
        if self.lagging {
            return;
        }
        for link in self.links.values_mut().filter(|l| l.wanted > 0) {
            link.open(&self.cx.worker, &self.metadata);
        }
    }

    /// Cuts a client loose that does not read: what it missed is read again from the shards when it does.
    fn check_lag(&mut self) -> Result<(), Status> {
        let queued = self.out.as_ref().map_or(0, Sender::queued);
        if self.lagging || queued <= QUEUE_HIGH {
            return Ok(());
        }
        if self.watchers.values().flat_map(|w| &w.legs).any(|l| l.in_fragment) {
            // The rest of a fragment cannot be asked for again: it is taken, or the client starts over.
            return if queued <= QUEUE_LIMIT {
                Ok(())
            } else {
                Err(Self::resumable("etcd-prism: the client does not read a fragmented response"))
            };
        }
        self.lagging = true;
        self.cx.gateway().metrics.watch_laggards.increment(1);
        for shard in self.links.keys().copied().collect::<Vec<_>>() {
            if let Some(link) = self.links.get_mut(&shard) {
                link.close();
            }
            self.legs_lost(shard);
        }
        Ok(())
    }

    fn arm(&mut self) {
        let wanted = self.links.values().filter(|l| l.wanted > 0 && !self.lagging);
        let retries = wanted.filter_map(Link::retry_at);
        let next = retries.chain(self.creating.as_ref().map(|c| c.deadline)).min();
        let at = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        self.timer.as_mut().reset(at);
    }

    fn poll_event(&mut self, cx: &mut TaskContext<'_>) -> Poll<Event> {
        // What shards send goes first: it is what the client waits for.
        for (shard, link) in &mut self.links {
            if let Poll::Ready(event) = link.poll(cx) {
                return Poll::Ready(Event::Link(*shard, event));
            }
        }
        if let Some(creating) = &mut self.creating
            && let Poll::Ready(answer) = creating.poll_revisions(cx)
        {
            return Poll::Ready(Event::Revisions(answer));
        }
        if let Some(out) = &self.out {
            if self.lagging {
                if let Poll::Ready(gone) = out.poll_drained(cx, QUEUE_LOW) {
                    return Poll::Ready(if gone { Event::ClientGone } else { Event::Drained });
                }
            } else if out.poll_gone(cx).is_ready() {
                return Poll::Ready(Event::ClientGone);
            }
        }
        if self.waiting.len() < WAITING_REQUESTS
            && let Poll::Ready(event) = self.poll_client(cx)
        {
            return Poll::Ready(event);
        }
        self.timer.as_mut().poll(cx).map(|()| Event::Timer)
    }

    fn poll_client(&mut self, cx: &mut TaskContext<'_>) -> Poll<Event> {
        loop {
            match self.frames.next() {
                Ok(Some(message)) => return Poll::Ready(Event::Request(message)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Event::Bad(error.into())),
            }
            let Some(body) = &mut self.body else { return Poll::Pending };
            match std::task::ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.frames.push(data);
                    }
                }
                Some(Err(_)) => return Poll::Ready(Event::ClientGone),
                None => return Poll::Ready(Event::ClientClosed),
            }
        }
    }

    /// A status that makes clients resume their watches.
    pub(super) fn resumable(text: impl Into<std::borrow::Cow<'static, str>>) -> Status {
        Status::new(Code::Unavailable, text)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.cx.gateway().metrics.watchers.decrement(self.watchers.len() as f64);
    }
}
