//! Clients at work on the route while it moves, and what must be true of everything that they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::{DeleteRangeRequest, RangeResponse, TxnRequest, WatchCreateRequest};
use etcd_prism_proto::mvccpb::Event;
use etcd_prism_proto::mvccpb::event::EventType;
use etcd_prism_tests::client::Client;
use etcd_prism_tests::oracle::Oracle;
use etcd_prism_tests::request::{delete, get, list, mod_revision_is, op, put, watch_prefix};
use etcd_prism_tests::watch_check::{WatcherLog, key as event_key, revision};
use etcd_prism_tests::watch_stream::WatchStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::rig::PODS;

/// Keys of one writer.
const KEYS: usize = 20;

/// A write that was acknowledged.
#[derive(Debug, Clone)]
struct Write {
    revision: i64,
    key: String,
    /// `None`: it was deleted.
    value: Option<String>,
}

#[derive(Debug, Default)]
pub struct Told {
    writes: Vec<Write>,
    reads: Vec<RangeResponse>,
    /// The longest time between two acknowledgements of one writer, but for what its own pause took too long.
    pub longest_gap: Duration,
    pub longest_request: Duration,
}

/// Writers and readers at work.
#[derive(Default)]
pub struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Told>>,
}

impl Load {
    /// Each client gets a writer with keys of its own, and a reader of all.
    pub fn start(clients: &[Client], pause: Duration) -> Self {
        Self::start_at(clients, pause, 0)
    }

    /// The same; `first` tells the keys of this load from those of others.
    pub fn start_at(clients: &[Client], pause: Duration, first: usize) -> Self {
        let mut load = Self::default();
        for (i, client) in clients.iter().enumerate() {
            load.writer(first + i, client, pause);
            load.reader(client);
        }
        load
    }

    /// The writers alone: for routes that are too large to be listed all the time.
    pub fn writers(clients: &[Client], pause: Duration) -> Self {
        let mut load = Self::default();
        clients.iter().enumerate().for_each(|(i, client)| load.writer(i, client, pause));
        load
    }

    /// One more writer, with keys of its own: `number` tells them from those of others.
    pub fn writer(&mut self, number: usize, client: &Client, pause: Duration) {
        self.tasks.push(tokio::spawn(write(number, client.clone(), self.stop.clone(), pause)));
    }

    /// One more reader of all keys.
    pub fn reader(&mut self, client: &Client) {
        self.tasks.push(tokio::spawn(read(client.clone(), self.stop.clone())));
    }

    pub async fn finish(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Told::default();
        for task in self.tasks {
            let told = task.await.unwrap_or_else(|error| panic!("{error}"));
            all.writes.extend(told.writes);
            all.reads.extend(told.reads);
            all.longest_gap = all.longest_gap.max(told.longest_gap);
            all.longest_request = all.longest_request.max(told.longest_request);
        }
        all
    }
}

/// Creates, updates and deletes as an API server does. Nobody else writes these keys, so no compare may fail.
async fn write(writer: usize, client: Client, stop: Arc<AtomicBool>, pause: Duration) -> Told {
    let mut told = Told::default();
    let mut known = [0_i64; KEYS];
    let mut last = Instant::now();
    for turn in 0_usize.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let i = (turn * 7) % KEYS;
        let key = format!("{PODS}{writer}-{i:02}");
        let value = (known[i] == 0 || turn % 11 != 3).then(|| format!("{writer}.{turn}"));
        let success = match &value {
            Some(value) => Request::RequestPut(put(&key, value)),
            None => Request::RequestDeleteRange(DeleteRangeRequest { prev_kv: true, ..delete(&key) }),
        };
        let txn = TxnRequest {
            compare: vec![mod_revision_is(&key, known[i])],
            success: vec![op(success)],
            failure: vec![op(Request::RequestRange(get(&key)))],
        };
        let sent = Instant::now();
        let reply = client.kv().txn(txn).await.unwrap_or_else(|e| panic!("write {turn} of {key}: {e}"));
        told.longest_request = told.longest_request.max(sent.elapsed());
        told.longest_gap = told.longest_gap.max(last.elapsed());
        let reply = reply.into_inner();
        assert!(
            reply.succeeded,
            "a conflict that one etcd would not have given: {key} at {}: {reply:?}",
            known[i]
        );
        let revision = reply.header.expect("a header").revision;
        known[i] = if value.is_some() { revision } else { 0 };
        told.writes.push(Write { revision, key, value });
        tokio::time::sleep(pause).await;
        last = Instant::now() - pause;
    }
    told
}

async fn read(client: Client, stop: Arc<AtomicBool>) -> Told {
    let mut told = Told::default();
    while !stop.load(Ordering::Relaxed) {
        let sent = Instant::now();
        let reply = client.kv().range(list(PODS)).await.unwrap_or_else(|e| panic!("a list: {e}"));
        told.longest_request = told.longest_request.max(sent.elapsed());
        told.reads.push(reply.into_inner());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    told
}

impl Told {
    /// The history that all writes together are. Every revision is new, and higher than that of every write before.
    pub fn oracle(&self, start: &Oracle) -> Oracle {
        let mut oracle = start.clone();
        let mut writes = self.writes.clone();
        writes.sort_by_key(|write| write.revision);
        for pair in writes.windows(2) {
            assert!(pair[0].revision < pair[1].revision, "one revision for two writes: {pair:?}");
        }
        for write in writes {
            match write.value {
                Some(value) => oracle.put(&write.key, value.as_bytes(), 0, write.revision),
                None => oracle.delete(&write.key, write.revision),
            }
        }
        oracle
    }

    /// Every read showed exactly what there was at the revision that it named.
    pub fn check_reads(&self, oracle: &Oracle) {
        for reply in &self.reads {
            let at = reply.header.as_ref().expect("a header").revision;
            assert_eq!(reply.kvs, oracle.at(at), "a list at {at}");
        }
    }

    pub fn writes(&self) -> usize {
        self.writes.len()
    }
}

/// A watcher of the route.
pub struct Watcher {
    stream: WatchStream,
    log: WatcherLog,
    from: i64,
}

impl Watcher {
    pub async fn open(client: &Client, from: i64) -> Self {
        let request = WatchCreateRequest {
            start_revision: from,
            prev_kv: true,
            progress_notify: true,
            ..watch_prefix(PODS)
        };
        let mut stream = WatchStream::open(client);
        stream.create(request.clone()).await;
        Self { stream, log: WatcherLog::new(request), from }
    }

    /// Reads until it is told that a key is gone: the revision.
    pub async fn deletion_of(&mut self, key: &str) -> i64 {
        loop {
            let gone =
                |event: &&Event| event.r#type() == EventType::Delete && event_key(event) == key.as_bytes();
            if let Some(event) = self.log.events().rev().find(gone) {
                return revision(event);
            }
            let response = self.stream.next().await;
            assert!(!response.canceled, "{response:?}");
            self.log.responses.push(response);
        }
    }

    /// Reads until it was told of the oracle's last event, and compares.
    pub async fn check(&mut self, oracle: &Oracle) {
        let last = oracle.revision();
        while self.log.events().next_back().is_none_or(|event| revision(event) < last) {
            let response = self.stream.next().await;
            assert!(!response.canceled, "{response:?}");
            self.log.responses.push(response);
        }
        self.log.check().unwrap_or_else(|error| panic!("{error}"));
        let found: Vec<Event> = self.log.events().cloned().collect();
        let expected = oracle.since(self.from);
        if let Some(i) = found.iter().zip(&expected).position(|(found, expected)| found != expected) {
            panic!("event {i} of a watch from {}: {:?}, not {:?}", self.from, found[i], expected[i]);
        }
        assert_eq!(found.len(), expected.len(), "events of a watch from {}", self.from);
    }
}
