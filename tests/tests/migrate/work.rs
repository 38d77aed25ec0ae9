//! Clients that go on through faults: what they were told, and what they do not know.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::response_op::Response;
use etcd_prism_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, PutRequest, RangeResponse, TxnRequest,
    TxnResponse,
};
use etcd_prism_proto::mvccpb::KeyValue;
use etcd_prism_tests::client::Client;
use etcd_prism_tests::request::{delete, get, list, mod_revision_is, op, put};
use etcd_prism_tests::wait;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::rig::PODS;

/// Writers of each proxy.
const WRITERS: usize = 2;
/// Keys of one writer.
const KEYS: usize = 12;
const PAUSE: Duration = Duration::from_millis(4);
const READ_EVERY: Duration = Duration::from_millis(40);
/// Far above the proxies' own bound.
const ANSWER: Duration = Duration::from_secs(20);
/// Longer than anything here is away.
const TTL: i64 = 60;

/// A write, as its client knows it.
#[derive(Debug, Clone)]
pub struct Write {
    pub key: String,
    /// `None`: a deletion.
    pub value: Option<String>,
    pub lease: i64,
    pub sent: Instant,
    /// When the answer came, and the revision; `None`: nobody knows whether it happened.
    pub acked: Option<(Instant, i64)>,
}

#[derive(Debug)]
pub struct Read {
    pub sent: Instant,
    pub reply: RangeResponse,
}

#[derive(Debug, Default)]
pub struct Told {
    pub writes: Vec<Write>,
    pub reads: Vec<Read>,
    /// The longest time between two acknowledgements of one writer, by proxy.
    pub gaps: [Duration; 2],
    pub errors: usize,
}

/// Through which proxies requests may fail now. Everywhere else an error ends the test.
#[derive(Debug, Default)]
pub struct Allowed {
    now: [AtomicBool; 2],
    ever: [AtomicBool; 2],
}

impl Allowed {
    pub fn set(&self, proxies: [bool; 2]) {
        for (i, is) in proxies.into_iter().enumerate() {
            self.now[i].store(is, Ordering::SeqCst);
            self.ever[i].fetch_or(is, Ordering::SeqCst);
        }
    }

    pub fn is(&self, proxy: usize) -> bool {
        self.now[proxy].load(Ordering::SeqCst)
    }

    /// Whether they may have failed before, for whoever notices late.
    pub fn was(&self, proxy: usize) -> bool {
        self.ever[proxy].load(Ordering::SeqCst)
    }
}

/// What one task shares with the test.
struct Task {
    proxy: usize,
    client: Client,
    stop: Arc<AtomicBool>,
    allowed: Arc<Allowed>,
    /// When the last request was sent that succeeded.
    last: Arc<Mutex<Instant>>,
    told: Told,
}

/// Clients at work through both proxies.
pub struct Work {
    stop: Arc<AtomicBool>,
    pub allowed: Arc<Allowed>,
    tasks: Vec<(JoinHandle<Told>, Arc<Mutex<Instant>>)>,
    clients: Vec<Client>,
    lease: i64,
    leased: Write,
}

impl Work {
    pub async fn start(clients: Vec<Client>) -> Self {
        let (stop, allowed) = (Arc::new(AtomicBool::new(false)), Arc::new(Allowed::default()));
        let request = LeaseGrantRequest { ttl: TTL, id: 0 };
        let lease = clients[0].lease().lease_grant(request).await.expect("a lease").into_inner().id;
        let leased = put_leased(&clients[0], lease).await;
        let mut tasks = Vec::new();
        let mut spawn = |proxy: usize, what: usize| {
            let last = Arc::new(Mutex::new(Instant::now()));
            let (client, told) = (clients[proxy].clone(), Told::default());
            let (stop, allowed) = (stop.clone(), allowed.clone());
            let task = Task { proxy, client, stop, allowed, last: last.clone(), told };
            let task = match what {
                WRITERS => tokio::spawn(task.reads()),
                writer if writer < WRITERS => tokio::spawn(task.writes(proxy * WRITERS + writer)),
                _ => tokio::spawn(task.keeps_alive(lease)),
            };
            tasks.push((task, last));
        };
        (0..2).for_each(|proxy| (0..WRITERS + 2).for_each(|what| spawn(proxy, what)));
        Self { stop, allowed, tasks, clients, lease, leased }
    }

    /// Waits until every client has had an answer to a request that it sent from now on. How long that took.
    pub async fn goes_on(&self, limit: Duration) -> Duration {
        let since = Instant::now();
        wait::until_within(limit, "every client to go on", async || {
            let waiting: Vec<usize> = self
                .tasks
                .iter()
                .enumerate()
                .filter(|(_, (_, last))| *last.lock() < since)
                .map(|(at, _)| at)
                .collect();
            if let Some(ended) = self.tasks.iter().position(|(task, _)| task.is_finished()) {
                panic!("client {ended} has ended");
            }
            if waiting.is_empty() { Ok(()) } else { Err(format!("these wait: {waiting:?}")) }
        })
        .await;
        since.elapsed()
    }

    /// Ends all of them. The lease is revoked: its key dies, and that write is the last one.
    pub async fn finish(self) -> Told {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Told::default();
        for (task, _) in self.tasks {
            let told = task.await.unwrap_or_else(|error| panic!("a client: {error}"));
            all.writes.extend(told.writes);
            all.reads.extend(told.reads);
            all.errors += told.errors;
            for (gap, told) in all.gaps.iter_mut().zip(told.gaps) {
                *gap = told.max(*gap);
            }
        }
        let sent = Instant::now();
        let request = LeaseRevokeRequest { id: self.lease };
        self.clients[1].lease().lease_revoke(request).await.expect("a revoke");
        all.writes.push(Write { value: None, lease: 0, sent, acked: None, ..self.leased.clone() });
        all.writes.push(self.leased);
        all
    }
}

async fn put_leased(client: &Client, lease: i64) -> Write {
    let (key, value, sent) = ([PODS, "leased"].concat(), "kept".to_owned(), Instant::now());
    let request = PutRequest { lease, ..put(&key, &value) };
    let reply = client.kv().put(request).await.expect("a put").into_inner();
    let acked = Some((Instant::now(), reply.header.expect("a header").revision));
    Write { key, value: Some(value), lease, sent, acked }
}

/// What a request came to.
type Outcome<T> = Result<T, String>;

impl Task {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    /// An answer, or why there is none, where that may be.
    async fn call<T>(
        &mut self,
        what: &str,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Outcome<T> {
        let sent = Instant::now();
        let error = match timeout(ANSWER, call).await {
            Ok(Ok(reply)) => {
                *self.last.lock() = sent;
                return Ok(reply.into_inner());
            }
            Ok(Err(status)) => format!("{:?} {}", status.code(), status.message()),
            Err(_) => format!("no answer within {ANSWER:?}"),
        };
        let proxy = self.proxy;
        assert!(
            self.allowed.is(proxy),
            "{what} through proxy {proxy}, {:?} after it was sent: {error}",
            sent.elapsed()
        );
        self.told.errors += 1;
        tokio::time::sleep(Duration::from_millis(30)).await;
        Err(error)
    }

    /// Creates, updates and deletes as an API server does, and overwrites blindly now and then. Nobody else writes these
    /// keys: a compare fails only where a write of which nobody knew has happened.
    async fn writes(mut self, writer: usize) -> Told {
        let mut known = [Some(0_i64); KEYS];
        let mut last = Instant::now();
        let mut lost = [false; KEYS];
        for turn in 0_usize.. {
            if !self.goes_on() {
                break;
            }
            let i = (turn * 7) % KEYS;
            let key = format!("{PODS}{writer}-{i:02}");
            let Some(at) = known[i] else {
                let client = self.client.clone();
                if let Ok(found) = self.call("a read", async { client.kv().range(get(&key)).await }).await {
                    known[i] = Some(found.kvs.first().map_or(0, |kv| kv.mod_revision));
                }
                continue;
            };
            let value = (at == 0 || turn % 11 != 3).then(|| format!("{writer}.{turn}"));
            let blind = value.is_some() && turn % 13 == 5;
            let sent = Instant::now();
            let client = self.client.clone();
            let request = write_request(&key, value.as_deref(), (!blind).then_some(at));
            let outcome = self.call("a write", async { client.kv().txn(request).await }).await;
            let mut write = Write { key, value, lease: 0, sent, acked: None };
            match outcome {
                Ok(reply) if reply.succeeded => {
                    let revision = reply.header.as_ref().expect("a header").revision;
                    known[i] = Some(if write.value.is_some() { revision } else { 0 });
                    write.acked = Some((Instant::now(), revision));
                    self.told.gaps[self.proxy] = self.told.gaps[self.proxy].max(last.elapsed());
                    last = Instant::now();
                    self.told.writes.push(write);
                }
                Ok(reply) => {
                    assert!(
                        lost[i],
                        "a conflict that one etcd would not have given: {write:?} at {at}: {reply:?}"
                    );
                    known[i] = Some(found(&reply).map_or(0, |kv| kv.mod_revision));
                }
                Err(_) => {
                    (known[i], lost[i]) = (None, true);
                    self.told.writes.push(write);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.told
    }

    async fn reads(mut self) -> Told {
        while self.goes_on() {
            let (sent, client) = (Instant::now(), self.client.clone());
            if let Ok(reply) = self.call("a list", async { client.kv().range(list(PODS)).await }).await {
                self.told.reads.push(Read { sent, reply });
            }
            tokio::time::sleep(READ_EVERY).await;
        }
        self.told
    }

    async fn keeps_alive(mut self, id: i64) -> Told {
        while self.goes_on() {
            let client = self.client.clone();
            let renewed = self.call("a renewal", async {
                let request = tokio_stream::once(LeaseKeepAliveRequest { id });
                let mut answers = client.lease().lease_keep_alive(request).await?.into_inner();
                let answer = answers.message().await?;
                answer.map(tonic::Response::new).ok_or_else(|| tonic::Status::unavailable("no answer"))
            });
            if let Ok(answer) = renewed.await {
                assert!(answer.ttl > 0, "the lease is lost: {answer:?}");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        self.told
    }
}

/// `at`: if the key has this mod revision. What is there otherwise is answered.
fn write_request(key: &str, value: Option<&str>, at: Option<i64>) -> TxnRequest {
    let success = match value {
        Some(value) => Request::RequestPut(put(key, value)),
        None => Request::RequestDeleteRange(delete(key)),
    };
    TxnRequest {
        compare: at.map(|at| mod_revision_is(key, at)).into_iter().collect(),
        success: vec![op(success)],
        failure: vec![op(Request::RequestRange(get(key)))],
    }
}

fn found(reply: &TxnResponse) -> Option<&KeyValue> {
    match reply.responses.first().and_then(|op| op.response.as_ref()) {
        Some(Response::ResponseRange(range)) => range.kvs.first(),
        other => panic!("not what was asked for: {other:?}"),
    }
}
