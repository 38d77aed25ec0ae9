//! The task behind a client's watch stream.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use etcd_prism_routing::ShardId;
use etcd_prism_wire::frame::FrameReader;
use etcd_prism_wire::translate::Pieces;
use etcd_prism_wire::{Code, Status, request};
use http::HeaderMap;
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::create::Creating;
use super::link::{Link, LinkEvent};
use super::messages;
use super::outbox::{Outbox, Source};
use super::rights::Gate;
use super::translation::Translating;
use super::watcher::Watcher;
use crate::context::Context;
use crate::error::RequestError;
use crate::metadata;
use crate::place::Placement;
use crate::queue::Sender;

/// Requests of the client that wait behind a create. More are left on the wire.
const WAITING_REQUESTS: usize = 64;
/// Bytes queued for the client, its newest message aside, above which its links are not read. More than one flow-control
/// window, so that a burst alone does not get there.
const QUEUE_HIGH: usize = 2 << 20;
/// Bytes queued at which they are read again.
const QUEUE_LOW: usize = 256 << 10;
/// How long links may stay unread: after that they are closed, because what waits in them uses up a window that others
/// need.
const LAG_PATIENCE: Duration = Duration::from_secs(1);
/// Time between looks at a client that cannot be cut loose yet.
const TICK: Duration = Duration::from_millis(200);
/// Time between progress requests of the proxy's own.
const FRESHNESS: Duration = Duration::from_secs(20);

/// What happened next.
enum Event {
    Request(Bytes),
    ClientClosed,
    ClientGone,
    Link(ShardId, LinkEvent),
    /// Whether the message that waits there may be passed on.
    Gate(ShardId, Result<i64, RequestError>),
    /// The response that is being translated there.
    Translated(ShardId, Result<Pieces, RequestError>),
    /// Some route is served otherwise than before, or some session has ended or begun.
    Ownership,
    /// Where a watcher is to be created.
    Placed(Result<Placement, RequestError>),
    /// The revisions that a create without a start revision has to know.
    Revisions(Result<Vec<(ShardId, i64)>, RequestError>),
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
    pub outbox: Outbox,
    pub watchers: HashMap<i64, Watcher>,
    pub links: BTreeMap<ShardId, Link>,
    /// Messages that wait for leave to be passed on; their links are not read meanwhile.
    pub gates: BTreeMap<ShardId, Gate>,
    /// Responses that wait for their translation; likewise.
    pub translating: BTreeMap<ShardId, Translating>,
    pub creating: Option<Creating>,
    pub next_id: i64,
    /// Since when more is queued than the client takes: links are not read.
    full_since: Option<Instant>,
    /// The client does not read: links are closed until the queue has drained.
    pub lagging: bool,
    fresh_at: Instant,
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
            outbox: Outbox::new(out),
            watchers: HashMap::new(),
            links: BTreeMap::new(),
            gates: BTreeMap::new(),
            translating: BTreeMap::new(),
            creating: None,
            next_id: 0,
            full_since: None,
            lagging: false,
            fresh_at: Instant::now() + FRESHNESS,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }

    /// Runs until the stream is over. `None`: the client is gone.
    pub(super) async fn run(&mut self) -> Option<Status> {
        let gateway = self.cx.worker.gateway.clone();
        let mut ownership = gateway.ownership.subscribe();
        let mut has_news = true;
        loop {
            self.open_links();
            self.arm();
            let event = tokio::select! {
                biased;
                changed = ownership.changed(), if has_news => {
                    // Its end is the proxy's.
                    has_news = changed.is_ok();
                    Event::Ownership
                }
                event = std::future::poll_fn(|cx| self.poll_event(cx)) => event,
            };
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
                Event::Gate(shard, answer) => self.on_gate(shard, answer),
                Event::Translated(shard, answer) => self.on_translated(shard, answer),
                Event::Ownership => self.on_ownership(),
                Event::Placed(placement) => {
                    self.on_placed(placement);
                    Ok(())
                }
                Event::Revisions(answer) => {
                    self.on_revisions(answer);
                    Ok(())
                }
                Event::Timer => {
                    self.on_timer();
                    self.ask_ends();
                    if self.fresh_at <= Instant::now() {
                        self.fresh_at = Instant::now() + FRESHNESS;
                        self.keep_positions_fresh();
                    }
                    Ok(())
                }
                Event::Drained => {
                    self.lagging = false;
                    self.full_since = None;
                    Ok(())
                }
                Event::Bad(error) => Err(error.status()),
            };
            if let Err(status) = outcome.and_then(|()| self.serve_waiting()) {
                return Some(status);
            }
            self.check_lag();
        }
    }

    pub(super) fn finish(&mut self, status: &Status) {
        self.outbox.finish(status);
    }

    /// Queues a message of the proxy's own about a watcher.
    pub(super) fn push(&mut self, id: i64, frame: Bytes) {
        self.outbox.push(Source::own(id), frame, false);
    }

    /// The shards that may go on sending: all, unless too much waits behind a partial response; then those that can end it.
    fn flowing(&self) -> Option<Vec<ShardId>> {
        let partial = self.outbox.partial().filter(|_| self.outbox.behind_bytes() > QUEUE_HIGH)?;
        Some(Vec::from_iter(partial.shard))
    }

    /// Takes up waiting requests, one create at a time: `created` answers come in the order of the requests.
    fn serve_waiting(&mut self) -> Result<(), Status> {
        while self.creating.is_none()
            && let Some(message) = self.waiting.pop_front()
        {
            match request::watch(&message).map_err(|e| RequestError::from(e).status())? {
                request::Watch::Create(create) => {
                    // A copy: a slice would keep the whole chunk that it was read in.
                    let raw = Bytes::copy_from_slice(create.message);
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
        let Some(watcher) = self.watchers.get(&id) else { return };
        let mut revision = 1;
        for leg in &watcher.legs {
            let seen = self.links.get(&leg.shard).map_or(0, |link| link.revision);
            revision = revision.max(leg.shown(seen.max(leg.next - 1)));
        }
        self.forget(id);
        self.outbox.forget(id);
        let canceled = messages::canceled(&self.cx.gateway().identity, revision, id);
        self.push(id, canceled);
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

    /// Stops reading for a client that does not read, and after a moment cuts it loose: what it missed is read again from
    /// the shards when it does.
    fn check_lag(&mut self) {
        if self.lagging {
            return;
        }
        let Some(since) = self.full_since else {
            self.full_since = (self.outbox.backlog() > QUEUE_HIGH).then(Instant::now);
            return;
        };
        // The rest of a response whose beginning was sent cannot be asked for again: its link stays as it is.
        let in_response = self.watchers.values().flat_map(|w| &w.legs).any(|l| l.in_response);
        if since.elapsed() < LAG_PATIENCE || in_response || self.outbox.partial().is_some() {
            return;
        }
        self.lagging = true;
        self.cx.gateway().metrics.watch_laggards.increment(1);
        self.gates.clear();
        for shard in self.links.keys().copied().collect::<Vec<_>>() {
            if let Some(link) = self.links.get_mut(&shard) {
                link.close();
            }
            self.legs_lost(shard);
        }
    }

    fn arm(&mut self) {
        let wanted = self.links.values().filter(|l| l.wanted > 0 && !self.lagging);
        let retries = wanted.filter_map(Link::retry_at);
        let creating = self.creating.as_ref().map(|c| c.deadline);
        let lag = self
            .full_since
            .filter(|_| !self.lagging)
            .map(|since| (since + LAG_PATIENCE).max(Instant::now() + TICK));
        let ends = self.links.values().filter_map(Link::end_due);
        let next = retries.chain(creating).chain(lag).chain(ends).chain([self.fresh_at]).min();
        self.timer.as_mut().reset(next.unwrap_or(self.fresh_at));
    }

    fn poll_event(&mut self, cx: &mut TaskContext<'_>) -> Poll<Event> {
        // What shards send goes first: it is what the client waits for.
        if self.full_since.is_none() {
            let flowing = self.flowing();
            for (shard, link) in &mut self.links {
                if flowing.as_ref().is_some_and(|some| !some.contains(shard)) {
                    continue;
                }
                if let Some(gate) = self.gates.get_mut(shard) {
                    if let Poll::Ready(answer) = gate.poll(cx) {
                        return Poll::Ready(Event::Gate(*shard, answer));
                    }
                    continue;
                }
                if let Some(translating) = self.translating.get_mut(shard) {
                    if let Poll::Ready(answer) = translating.poll(cx) {
                        return Poll::Ready(Event::Translated(*shard, answer));
                    }
                    continue;
                }
                if let Poll::Ready(event) = link.poll(cx) {
                    return Poll::Ready(Event::Link(*shard, event));
                }
            }
        }
        if let Some(creating) = &mut self.creating {
            if let Poll::Ready(placement) = creating.poll_placing(cx) {
                return Poll::Ready(Event::Placed(placement));
            }
            if let Poll::Ready(answer) = creating.poll_revisions(cx) {
                return Poll::Ready(Event::Revisions(answer));
            }
        }
        if self.full_since.is_some() {
            if let Poll::Ready(gone) = self.outbox.poll_drained(cx, QUEUE_LOW) {
                return Poll::Ready(if gone { Event::ClientGone } else { Event::Drained });
            }
        } else if self.outbox.poll_gone(cx).is_ready() {
            return Poll::Ready(Event::ClientGone);
        }
        // Answers to requests are queued too: a client that does not read is not heard.
        if self.waiting.len() < WAITING_REQUESTS
            && self.full_since.is_none()
            && let Poll::Ready(event) = self.poll_client(cx)
        {
            return Poll::Ready(event);
        }
        self.timer.as_mut().poll(cx).map(|()| Event::Timer)
    }

    fn poll_client(&mut self, cx: &mut TaskContext<'_>) -> Poll<Event> {
        loop {
            match self.frames.next_message() {
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
