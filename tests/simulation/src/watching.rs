//! Watchers that go on where they were, as informers do.

use std::time::Duration;

use etcd_prism_proto::etcdserverpb::kv_client::KvClient;
use etcd_prism_proto::etcdserverpb::watch_client::WatchClient;
use etcd_prism_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_prism_proto::etcdserverpb::{WatchCreateRequest, WatchRequest};
use etcd_prism_proto::mvccpb::Event;
use etcd_prism_tests::request::{list, watch_prefix};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use crate::clients::History;
use crate::proxy::PREFIX;

/// A watch that is asked for progress every second and silent for this long is opened again.
const SILENCE: Duration = Duration::from_secs(6);
const PROGRESS: Duration = Duration::from_secs(1);

/// What a watcher was told from a revision on, without a gap, over as many streams as it took. Where what comes next was
/// compacted, another segment begins behind a list.
#[derive(Debug, Clone)]
pub struct Segment {
    pub watcher: usize,
    pub from: i64,
    pub events: Vec<Event>,
}

impl Segment {
    /// What comes next.
    fn next(&self) -> i64 {
        let last = self.events.last().and_then(|event| event.kv.as_ref());
        last.map_or(self.from, |kv| kv.mod_revision + 1)
    }
}

/// Watches for ever.
pub async fn run(channel: Channel, history: History) {
    let watcher = history.told().watches.len();
    let first = Segment { watcher, from: 1, events: Vec::new() };
    let mut place = {
        let mut told = history.told();
        told.watches.push(first);
        told.watches.len() - 1
    };
    loop {
        if matches!(stream(&channel, &history, place).await, Ok(End::Compacted)) {
            let Ok(from) = relist(&channel).await else { continue };
            let mut told = history.told();
            told.watches.push(Segment { watcher, from, events: Vec::new() });
            place = told.watches.len() - 1;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

enum End {
    Compacted,
    Broken,
}

async fn stream(channel: &Channel, history: &History, place: usize) -> Result<End, Status> {
    let start_revision = history.told().watches[place].next();
    let (requests, sent) = mpsc::unbounded_channel();
    let create = WatchCreateRequest { start_revision, ..watch_prefix(PREFIX) };
    let ask = |union| requests.send(WatchRequest { request_union: Some(union) }).ok();
    ask(RequestUnion::CreateRequest(create));
    let mut client = WatchClient::new(channel.clone());
    let opening = client.watch(UnboundedReceiverStream::new(sent));
    let Ok(opened) = tokio::time::timeout(SILENCE, opening).await else { return Ok(End::Broken) };
    let mut replies = opened?.into_inner();
    let mut heard = tokio::time::Instant::now();
    loop {
        let Ok(reply) = tokio::time::timeout(PROGRESS, replies.message()).await else {
            if heard.elapsed() > SILENCE {
                return Ok(End::Broken);
            }
            ask(RequestUnion::ProgressRequest(Default::default()));
            continue;
        };
        let Some(reply) = reply? else { return Ok(End::Broken) };
        heard = tokio::time::Instant::now();
        if reply.compact_revision != 0 {
            return Ok(End::Compacted);
        }
        if reply.canceled {
            return Ok(End::Broken);
        }
        history.told().watches[place].events.extend(reply.events);
    }
}

/// Where to go on after a list.
async fn relist(channel: &Channel) -> Result<i64, Status> {
    let mut kv = KvClient::new(channel.clone());
    let reply = tokio::time::timeout(SILENCE, kv.range(list(PREFIX))).await;
    let reply = reply.map_err(|_| Status::deadline_exceeded("a list"))??.into_inner();
    Ok(reply.header.map_or(0, |header| header.revision) + 1)
}
