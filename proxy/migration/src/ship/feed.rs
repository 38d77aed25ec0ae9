//! A shard's log of a route: one watch, opened again whenever it breaks. The owner's, and of the standby's the deletes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::watch_create_request::FilterType;
use etcd_prism_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_prism_proto::etcdserverpb::{WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse};
use etcd_prism_proto::mvccpb::Event;
use etcd_prism_proto::mvccpb::event::EventType;
use etcd_prism_upstream::reply::{MAX_REPLY, status_of};
use etcd_prism_upstream::{ShardPool, UpstreamError, rpc};
use etcd_prism_wire::frame::FrameReader;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use prost::Message;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::intervals::{Intervals, first};
use super::io::{PATIENCE, Shard};
use super::pending::Change;

/// Time between progress requests when nobody is in a hurry.
const PROGRESS: Duration = Duration::from_millis(500);
/// A watch that is asked for progress and says nothing for this long is opened again.
const SILENCE: Duration = Duration::from_secs(15);
const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// What the watch tells.
#[derive(Debug)]
pub(crate) enum News {
    /// Every change up to a revision that was not told yet, and what revision the shard has reached at least.
    Log { changes: Vec<Change>, complete: i64, present: i64 },
    /// The watch broke, and is opened again.
    Trouble(UpstreamError),
    /// What was to come next is not there any more. The last.
    Compacted(i64),
}

/// Follows a shard.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) shard: Arc<ShardPool>,
    pub(crate) intervals: Arc<Intervals>,
    /// Puts are left out.
    pub(crate) only_deletes: bool,
    pub(crate) out: mpsc::Sender<News>,
    /// Progress is wanted at once.
    pub(crate) hurry: Arc<Notify>,
}

/// Why a watch ended.
enum End {
    Broken(UpstreamError),
    Compacted(i64),
    /// Nobody listens.
    Unheard,
}

impl From<UpstreamError> for End {
    fn from(error: UpstreamError) -> Self {
        Self::Broken(error)
    }
}

impl Feed {
    /// Follows the shard behind a revision, until it is compacted there or nobody listens.
    pub(crate) async fn run(self, watermark: i64) {
        let mut log = Log { complete: watermark, held: Vec::new() };
        let mut backoff = MIN_BACKOFF;
        loop {
            let before = log.complete;
            let news = match self.watch(&mut log).await {
                End::Broken(error) => News::Trouble(error),
                End::Compacted(revision) => {
                    self.tell(News::Compacted(revision)).await;
                    return;
                }
                End::Unheard => return,
            };
            if !self.tell(news).await {
                return;
            }
            backoff = if log.complete > before { MIN_BACKOFF } else { (backoff * 2).min(MAX_BACKOFF) };
            tokio::time::sleep(backoff).await;
        }
    }

    async fn tell(&self, news: News) -> bool {
        self.out.send(news).await.is_ok()
    }

    async fn watch(&self, log: &mut Log) -> End {
        match self.stream(log).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn stream(&self, log: &mut Log) -> Result<std::convert::Infallible, End> {
        log.held.clear();
        let shard = Shard(&self.shard);
        let lost =
            |reason: &str| UpstreamError::ConnectionLost { shard: shard.name(), reason: reason.into() };
        let path = PathAndQuery::from_static(rpc::WATCH);
        let deadline = Instant::now() + PATIENCE;
        let mut metadata = HeaderMap::new();
        // A member that has lost its leader would be silent otherwise.
        metadata.insert("hasleader", HeaderValue::from_static("true"));
        let open = self.shard.open(&path, metadata, deadline).await?;
        let (start, end) = self.intervals.hull();
        let create = WatchCreateRequest {
            key: first(start),
            range_end: end.to_vec().into(),
            // A watch of what is still to come would be silent on a shard where nothing happens. What it tells again is left
            // out. On the owner that would be in the way of compaction.
            start_revision: log.complete + i64::from(!self.only_deletes),
            filters: self.only_deletes.then_some(FilterType::Noput.into()).into_iter().collect(),
            fragment: true,
            ..WatchCreateRequest::default()
        };
        ask(&open.sender, RequestUnion::CreateRequest(create)).map_err(lost)?;
        let mut reply = tokio::time::timeout_at(deadline, open.reply)
            .await
            .map_err(|_| UpstreamError::TimedOut { shard: shard.name() })??;
        if let Some(status) = reply.early_status() {
            return Err(UpstreamError::from(status).into());
        }
        let mut frames = FrameReader::new(MAX_REPLY);
        let mut created = false;
        let mut heard = Instant::now();
        let mut timer = tokio::time::interval(PROGRESS);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wants_progress = tokio::select! {
                biased;
                frame = reply.body.frame() => {
                    let frame = frame.ok_or_else(|| lost("the stream was closed"))?;
                    match frame.map_err(|error| lost(&error.to_string()))?.into_data() {
                        Ok(data) => frames.push(data),
                        Err(frame) => {
                            let status = frame.into_trailers().ok().and_then(|t| status_of(&t));
                            return Err(status.map_or_else(|| lost("the stream has ended"), UpstreamError::from).into());
                        }
                    }
                    heard = Instant::now();
                    false
                }
                () = self.hurry.notified() => true,
                _ = timer.tick() => true,
            };
            while let Some(message) = frames.next_message().map_err(|e| shard.bad(&e.to_string()))? {
                let response = WatchResponse::decode(message).map_err(|e| shard.bad(&e.to_string()))?;
                created |= response.created;
                let present = response.header.as_ref().map_or(0, |header| header.revision);
                // That it is open again is news too.
                let opened = response.created.then(Vec::new);
                if let Some(changes) = log.take(response, &self.intervals, shard)?.or(opened) {
                    let complete = log.complete;
                    if !self.tell(News::Log { changes, complete, present }).await {
                        return Err(End::Unheard);
                    }
                    heard = Instant::now();
                }
            }
            // Before the watch exists an answer would say nothing of it.
            if wants_progress && created {
                ask(&open.sender, RequestUnion::ProgressRequest(WatchProgressRequest {})).map_err(lost)?;
            }
            if heard.elapsed() > SILENCE {
                return Err(UpstreamError::TimedOut { shard: shard.name() }.into());
            }
        }
    }
}

fn ask(sender: &mpsc::UnboundedSender<Bytes>, union: RequestUnion) -> Result<(), &'static str> {
    let request = WatchRequest { request_union: Some(union) };
    sender.send(rpc::frame_of(&request)).map_err(|_| "the stream was closed")
}

/// What the watch has told so far.
struct Log {
    /// Every change up to this revision was passed on.
    complete: i64,
    /// Changes of one revision, more of which may come with the next fragment.
    held: Vec<Change>,
}

impl Log {
    /// The changes of the revisions that a response completes; `None`: nothing new.
    fn take(
        &mut self,
        response: WatchResponse,
        intervals: &Intervals,
        shard: Shard<'_>,
    ) -> Result<Option<Vec<Change>>, End> {
        if response.compact_revision != 0 {
            return Err(End::Compacted(response.compact_revision));
        }
        if response.canceled {
            return Err(shard.bad(&format!("the watch was cancelled: {}", response.cancel_reason)).into());
        }
        if response.created {
            return Ok(None);
        }
        let Some(last) = response.events.last().and_then(|event| event.kv.as_ref()).map(|kv| kv.mod_revision)
        else {
            let reached = response.header.map_or(0, |header| header.revision);
            let news = reached > self.complete && self.held.is_empty();
            self.complete = if news { reached } else { self.complete };
            return Ok(news.then(Vec::new));
        };
        let changes = response.events.into_iter().filter_map(change);
        self.held.extend(changes.filter(|c| c.revision > self.complete && intervals.contains(&c.key)));
        // The last revision of a fragment may go on in the next one.
        let whole = if response.fragment { last - 1 } else { last };
        let rest = self.held.partition_point(|change| change.revision <= whole);
        let rest = self.held.split_off(rest);
        let changes = std::mem::replace(&mut self.held, rest);
        let news = whole > self.complete;
        self.complete = self.complete.max(whole);
        Ok(news.then_some(changes))
    }
}

fn change(event: Event) -> Option<Change> {
    let is_put = event.r#type() == EventType::Put;
    let kv = event.kv?;
    let (key, revision): (Bytes, i64) = (kv.key.clone(), kv.mod_revision);
    Some(Change { key, revision, put: is_put.then_some(kv) })
}

#[cfg(test)]
mod tests;
