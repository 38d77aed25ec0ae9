//! Clients at work, and what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_prism_proto::etcdserverpb::kv_client::KvClient;
use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::response_op::Response;
use etcd_prism_proto::etcdserverpb::{RangeResponse, TxnRequest, TxnResponse};
use etcd_prism_tests::request::{delete, get, list, mod_revision_is, op, put};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::net;
use crate::proxy::PREFIX;
use crate::watching::{self, Segment};

/// Keys of one writer.
const KEYS: usize = 12;
/// Between two looks whether there is a hurry.
const SLICE: Duration = Duration::from_millis(5);
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(8);

/// A write that was acknowledged.
#[derive(Debug, Clone)]
pub struct Write {
    pub revision: i64,
    pub key: String,
    /// `None`: it was deleted.
    pub value: Option<String>,
}

/// A linearizable list, or (`key`) the reading of one key.
#[derive(Debug, Clone)]
pub struct Read {
    pub key: Option<String>,
    /// A revision that somebody had been told of before this was asked.
    pub known: i64,
    pub reply: RangeResponse,
}

/// What all clients were told.
#[derive(Debug, Default)]
pub struct Told {
    pub acknowledged: Vec<Write>,
    /// What was sent: each value once.
    pub sent: usize,
    pub reads: Vec<Read>,
    pub watches: Vec<Segment>,
    /// Requests that failed or were not answered.
    pub failed: usize,
    /// The highest revision that anybody was told.
    pub known: i64,
    /// When each client last got an answer, by its number: to see that all are served.
    pub served: Vec<u64>,
    /// What no single etcd would have answered.
    pub wrong: Vec<String>,
}

/// Everything that the clients share.
#[derive(Debug, Clone, Default)]
pub struct History {
    told: Arc<Mutex<Told>>,
    /// A switch is under way: readers look as often as they can.
    pub hurry: Arc<AtomicBool>,
    /// Writers stop; readers and watchers go on.
    pub stop_writing: CancellationToken,
}

impl History {
    pub fn told(&self) -> parking_lot::MutexGuard<'_, Told> {
        self.told.lock()
    }
}

/// Runs all clients of all proxies, for ever.
pub async fn run(history: History, proxies: Vec<&'static str>, seed: u64) -> turmoil::Result {
    let mut number = 0;
    for proxy in proxies {
        let channel = net::channel(proxy);
        for _ in 0..2 {
            let random = SmallRng::seed_from_u64(seed ^ ((number as u64 + 1) << 32));
            tokio::spawn(Writer::new(number, channel.clone(), history.clone(), random).run());
            number += 1;
        }
        let random = SmallRng::seed_from_u64(seed ^ ((number as u64 + 100) << 32));
        tokio::spawn(read(channel.clone(), history.clone(), random));
        tokio::spawn(watching::run(net::channel(proxy), history.clone()));
    }
    std::future::pending().await
}

/// What a writer knows of a key: its mod revision, 0 if it is not there.
type Known = i64;

struct Writer {
    number: usize,
    kv: KvClient<Channel>,
    history: History,
    random: SmallRng,
    known: [Known; KEYS],
}

impl Writer {
    fn new(number: usize, channel: Channel, history: History, random: SmallRng) -> Self {
        history.told().served.push(0);
        Self { number, kv: KvClient::new(channel), history, random, known: [0; KEYS] }
    }

    async fn run(mut self) {
        for turn in 0_u64.. {
            if self.history.stop_writing.is_cancelled() {
                return;
            }
            self.write(turn).await;
            // Some come in quick succession.
            let pause = if self.random.random_bool(0.7) { self.random.random_range(2..80) } else { 500 };
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// One conditional write, as an API server does it. Nobody else writes the key, so its compare may fail only where an
    /// earlier write of ours, which was not answered, was applied after all.
    async fn write(&mut self, turn: u64) {
        let i = self.random.random_range(0..KEYS);
        let key = format!("{PREFIX}{}-{i:02}", self.number);
        let is_put = self.known[i] == 0 || self.random.random_bool(0.85);
        let value = is_put.then(|| format!("{}.{turn}", self.number));
        let success = match &value {
            Some(value) => Request::RequestPut(put(&key, value)),
            None => Request::RequestDeleteRange(delete(&key)),
        };
        let txn = TxnRequest {
            compare: vec![mod_revision_is(&key, self.known[i])],
            success: vec![op(success)],
            failure: vec![op(Request::RequestRange(get(&key)))],
        };
        let known = {
            let mut told = self.history.told();
            told.sent += 1;
            told.known
        };
        let answer = tokio::time::timeout(PATIENCE, self.kv.txn(txn)).await;
        let mut told = self.history.told();
        let reply = match answer {
            Ok(Ok(reply)) => reply.into_inner(),
            Ok(Err(error)) => {
                tracing::debug!(%error, key, "a write failed");
                told.failed += 1;
                return;
            }
            Err(_) => {
                told.failed += 1;
                return;
            }
        };
        told.served[self.number] += 1;
        let revision = reply.header.as_ref().map_or(0, |header| header.revision);
        if revision <= known && reply.succeeded {
            told.wrong.push(format!("{key} was written at {revision}, but {known} was known before"));
        }
        told.known = told.known.max(revision);
        if reply.succeeded {
            self.known[i] = if is_put { revision } else { 0 };
            told.acknowledged.push(Write { revision, key, value });
        } else {
            let found = found(reply);
            let there = found.kvs.first().map_or(0, |kv| kv.mod_revision);
            if there == self.known[i] {
                told.wrong.push(format!("{key} is at {there}, and a compare with that failed at {revision}"));
            }
            self.known[i] = there;
            told.reads.push(Read { key: Some(key), known, reply: found });
        }
    }
}

/// What the failure branch has read.
fn found(reply: TxnResponse) -> RangeResponse {
    let header = reply.header;
    match reply.responses.into_iter().next().and_then(|op| op.response) {
        Some(Response::ResponseRange(range)) => RangeResponse { header, ..range },
        other => panic!("not what a failure branch with one Range answers: {other:?}"),
    }
}

async fn read(channel: Channel, history: History, mut random: SmallRng) {
    let mut kv = KvClient::new(channel);
    loop {
        let known = history.told().known;
        match tokio::time::timeout(PATIENCE, kv.range(list(PREFIX))).await {
            Ok(Ok(reply)) => {
                let reply = reply.into_inner();
                let mut told = history.told();
                told.known = told.known.max(reply.header.as_ref().map_or(0, |header| header.revision));
                told.reads.push(Read { key: None, known, reply });
            }
            _ => history.told().failed += 1,
        }
        let mut slices = random.random_range(10..120);
        while slices > 0 && !history.hurry.load(Ordering::Relaxed) {
            tokio::time::sleep(SLICE).await;
            slices -= 1;
        }
        tokio::time::sleep(SLICE / 5).await;
    }
}
