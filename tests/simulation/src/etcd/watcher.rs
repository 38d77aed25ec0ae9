//! Watches.

use std::collections::BTreeMap;
use std::pin::Pin;

use etcd_prism_proto::etcdserverpb::watch_create_request::FilterType;
use etcd_prism_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_prism_proto::etcdserverpb::watch_server::Watch;
use etcd_prism_proto::etcdserverpb::{ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse};
use etcd_prism_proto::mvccpb::Event;
use etcd_prism_proto::mvccpb::event::EventType;
use etcd_prism_tests::watch_check;
use futures_util::stream::Stream;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Shard;

/// Of what concerns no watcher, or all.
const NO_WATCHER: i64 = -1;
/// Responses that wait for a slow client.
const QUEUE: usize = 64;

#[tonic::async_trait]
impl Watch for Shard {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (out, replies) = mpsc::channel(QUEUE);
        let session = Watching { shard: self.clone(), out, watchers: BTreeMap::new() };
        tokio::spawn(session.run(request.into_inner(), self.reached.subscribe()));
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }
}

struct Watcher {
    request: WatchCreateRequest,
    /// What comes next.
    next: i64,
}

/// One stream.
struct Watching {
    shard: Shard,
    out: mpsc::Sender<Result<WatchResponse, Status>>,
    watchers: BTreeMap<i64, Watcher>,
}

/// The client is gone.
struct Gone;

impl Watching {
    async fn run(mut self, mut requests: Streaming<WatchRequest>, mut reached: watch::Receiver<i64>) {
        loop {
            let done = tokio::select! {
                biased;
                () = self.out.closed() => return,
                request = requests.message() => match request {
                    Ok(Some(request)) => self.take(request).await,
                    // A client that has asked for all that it wants still listens.
                    Ok(None) => self.listen(&mut reached).await,
                    Err(_) => return,
                },
                _ = reached.changed() => {
                    tokio::time::sleep(self.shard.late()).await;
                    self.deliver().await
                }
            };
            if done.is_err() {
                return;
            }
        }
    }

    async fn listen(&mut self, reached: &mut watch::Receiver<i64>) -> Result<(), Gone> {
        while reached.changed().await.is_ok() {
            self.deliver().await?;
        }
        Err(Gone)
    }

    async fn send(&self, response: WatchResponse) -> Result<(), Gone> {
        self.out.send(Ok(response)).await.map_err(|_| Gone)
    }

    async fn take(&mut self, request: WatchRequest) -> Result<(), Gone> {
        // Later events must not be told before what was asked for now.
        self.deliver().await?;
        let header = self.shard.header_now();
        let revision = header.as_ref().map_or(0, |header| header.revision);
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => {
                // No end and the end \0 mean something else.
                if request.range_end[..] > b"\0"[..] && request.key >= request.range_end {
                    return self.refuse(header).await;
                }
                let free = (0..).find(|id| !self.watchers.contains_key(id)).unwrap_or_default();
                let id = if request.watch_id == 0 { free } else { request.watch_id };
                let next = if request.start_revision <= 0 { revision + 1 } else { request.start_revision };
                self.watchers.insert(id, Watcher { request, next });
                self.send(WatchResponse { header, watch_id: id, created: true, ..Default::default() })
                    .await?;
                self.deliver().await
            }
            Some(RequestUnion::CancelRequest(request)) => {
                let watch_id = request.watch_id;
                if self.watchers.remove(&watch_id).is_none() {
                    return Ok(());
                }
                self.send(WatchResponse { header, watch_id, canceled: true, ..Default::default() }).await
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                self.send(WatchResponse { header, watch_id: NO_WATCHER, ..Default::default() }).await
            }
            None => Ok(()),
        }
    }

    /// A watcher of nothing.
    async fn refuse(&self, header: Option<ResponseHeader>) -> Result<(), Gone> {
        self.send(WatchResponse {
            header,
            watch_id: NO_WATCHER,
            created: true,
            canceled: true,
            cancel_reason: "mvcc: watcher range is empty".to_owned(),
            ..Default::default()
        })
        .await
    }

    /// Tells every watcher what it has not been told.
    async fn deliver(&mut self) -> Result<(), Gone> {
        for response in self.news() {
            self.send(response).await?;
        }
        Ok(())
    }

    fn news(&mut self) -> Vec<WatchResponse> {
        let store = self.shard.store();
        let (reached, compacted) = (store.revision(), store.compacted());
        let header = Some(self.shard.header(reached));
        let mut out = Vec::new();
        self.watchers.retain(|id, watcher| {
            if watcher.next < compacted {
                out.push(WatchResponse {
                    header,
                    watch_id: *id,
                    canceled: true,
                    compact_revision: compacted,
                    ..Default::default()
                });
                return false;
            }
            let commits = store.since(watcher.next);
            let events = commits.iter().flat_map(|commit| &commit.events);
            let events: Vec<Event> =
                events.filter_map(|event| told(&watcher.request, event, compacted)).collect();
            watcher.next = watcher.next.max(reached + 1);
            if !events.is_empty() {
                out.push(WatchResponse { header, watch_id: *id, events, ..Default::default() });
            }
            true
        });
        out
    }
}

fn told(request: &WatchCreateRequest, event: &Event, compacted: i64) -> Option<Event> {
    let kv = event.kv.as_ref()?;
    let (filter, is_new) = match event.r#type() {
        EventType::Put => (FilterType::Noput, kv.version == 1),
        EventType::Delete => (FilterType::Nodelete, false),
    };
    if !watch_check::contains(request, &kv.key) || request.filters.contains(&filter.into()) {
        return None;
    }
    // etcd reads it at the revision before, when it tells the event.
    let is_there = kv.mod_revision > compacted;
    let prev_kv = event.prev_kv.clone().filter(|_| request.prev_kv && !is_new && is_there);
    Some(Event { prev_kv, ..event.clone() })
}
