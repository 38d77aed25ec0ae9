//! Clients of all proxies at once: counters that only grow by one, plain writes, reads and watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::response_op::Response;
use etcd_prism_proto::etcdserverpb::{TxnRequest, TxnResponse};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::history::{current_revision, history};
use etcd_prism_tests::proxy::Proxy;
use etcd_prism_tests::request::{get, list, mod_revision_is, op, put};
use etcd_prism_tests::wait;
use etcd_prism_tests::watch_check::revision;
use tokio::task::JoinHandle;
use tonic::Status;

use crate::site::revision_of;
use crate::tally::Tally;
use crate::watcher::Watcher;

/// Enough for conflicts, and little enough for two slow cores.
const PAUSE: Duration = Duration::from_millis(10);
const KINDS: [&str; 4] = ["count", "put", "read", "watch"];
/// Of each kind, before something is said to work.
const EACH: usize = 5;

pub(crate) struct Load {
    pub(crate) tally: Tally,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
    watchers: Vec<Watcher>,
}

impl Load {
    /// Through each of these proxies, by name, below each of these prefixes. Those that serve `later` are tried by
    /// watchers whose own proxy does not serve any more.
    pub(crate) async fn start(
        proxies: &[(&str, &Proxy)],
        later: &[(&str, &Proxy)],
        prefixes: &[&'static str],
    ) -> Self {
        let (tally, stop) = (Tally::default(), Arc::new(AtomicBool::new(false)));
        let mut load = Self { tally, stop, tasks: Vec::new(), watchers: Vec::new() };
        let all = proxies.iter().chain(later);
        let mut all: Vec<_> = all.map(|(name, proxy)| ((*name).to_owned(), proxy.endpoint())).collect();
        for (proxy, endpoint) in &all {
            load.add(proxy, endpoint, prefixes);
        }
        for _ in proxies {
            for prefix in prefixes {
                load.watchers.push(Watcher::open(all.clone(), prefix, load.tally.clone()).await);
            }
            all.rotate_left(1);
        }
        load
    }

    fn add(&mut self, proxy: &str, endpoint: &str, prefixes: &[&'static str]) {
        for prefix in prefixes {
            let worker = |kind| Worker {
                client: Client::new(endpoint),
                proxy: proxy.to_owned(),
                prefix,
                kind,
                tally: self.tally.clone(),
            };
            let workers = KINDS[..3].iter().map(|kind| worker(kind));
            let tasks = workers.map(|worker| tokio::spawn(worker.run(self.stop.clone())));
            self.tasks.extend(tasks);
        }
    }

    /// Waits until writes and reads go on through each of these proxies below each of these prefixes.
    pub(crate) async fn goes_on(&self, proxies: &[&str], prefixes: &[&str]) {
        self.more(proxies, prefixes, &KINDS[..3]).await;
    }

    /// Waits until watches go on, too, where nothing makes them leave their proxy.
    pub(crate) async fn watches_go_on(&self, proxies: &[&str], prefixes: &[&str]) {
        self.more(proxies, prefixes, &KINDS[3..]).await;
    }

    async fn more(&self, proxies: &[&str], prefixes: &[&str], kinds: &[&'static str]) {
        let mut wanted = Vec::new();
        for proxy in proxies {
            for prefix in prefixes {
                for kind in kinds {
                    let count = self.tally.count(proxy, prefix, kind) + EACH;
                    wanted.push(((*proxy).to_owned(), (*prefix).to_owned(), *kind, count));
                }
            }
        }
        wait::until("the load to go on", async || {
            wanted.retain(|(proxy, prefix, kind, count)| self.tally.count(proxy, prefix, kind) < *count);
            if wanted.is_empty() {
                return Ok(());
            }
            let errors = wanted.iter().map(|(proxy, ..)| self.tally.errors(proxy)).next_back();
            Err(format!("{wanted:?}; {errors:?}"))
        })
        .await;
    }

    /// Ends everything, and checks what clients were told against what happened on the shard of each prefix. Some proxy has
    /// to serve each of them.
    pub(crate) async fn end(self, shards: &[(&'static str, Client)]) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            // A call of a proxy that was stopped meanwhile is answered when it is woken.
            tokio::time::timeout(wait::DEADLINE, task).await.expect("an end").expect("a task of the load");
        }
        let mut happened = Vec::new();
        for (prefix, shard) in shards {
            let to = current_revision(shard).await;
            let events = history(shard, prefix.as_bytes(), 1, to).await;
            self.tally.check(prefix, &events);
            happened.push((*prefix, events));
        }
        for watcher in self.watchers {
            let events = happened.iter().find(|(prefix, _)| *prefix == watcher.prefix);
            let (prefix, events) = events.expect("the shard of every prefix");
            let last = events.last().map_or(0, revision);
            let (log, from) = watcher.end(last).await;
            let checked = log.check().and_then(|()| log.check_against(events, from, last));
            checked.unwrap_or_else(|error| panic!("a watcher of {prefix}: {error}"));
        }
    }
}

struct Worker {
    client: Client,
    proxy: String,
    prefix: &'static str,
    kind: &'static str,
    tally: Tally,
}

impl Worker {
    async fn run(self, stop: Arc<AtomicBool>) {
        for number in 0u64.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let outcome = match self.kind {
                "count" => self.count(number).await,
                "put" => self.put(number).await,
                _ => self.read(number).await,
            };
            match outcome {
                Ok(true) => self.tally.done(&self.proxy, self.prefix, self.kind),
                Ok(false) => {}
                Err(status) => self.tally.failed(&self.proxy, &status),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn value(&self, first: u64, number: u64) -> String {
        format!("{first} {} {} {} {number}", self.proxy, self.prefix, self.kind)
    }

    /// Adds one to the counter that all proxies share. Whether it did.
    async fn count(&self, number: u64) -> Result<bool, Status> {
        let key = format!("{}counter", self.prefix);
        let before = self.tally.newest(&key);
        let found = self.client.kv().range(get(&key)).await?.into_inner();
        self.tally.saw(&self.proxy, &before, revision_of(found.header), &found.kvs);
        let (count, revision) = match found.kvs.first() {
            None => (0, 0),
            Some(kv) => {
                let text = String::from_utf8_lossy(&kv.value).into_owned();
                let count = text.split(' ').next().expect("a word").parse().expect("a number");
                (count, kv.mod_revision)
            }
        };
        let value = self.value(count + 1, number);
        self.tally.tried(&value);
        let request = TxnRequest {
            compare: vec![mod_revision_is(&key, revision)],
            success: vec![op(Request::RequestPut(put(&key, &value)))],
            failure: vec![op(Request::RequestRange(get(&key)))],
        };
        let before = self.tally.newest(&key);
        let reply: TxnResponse = self.client.kv().txn(request).await?.into_inner();
        let header = revision_of(reply.header);
        if reply.succeeded {
            self.tally.acknowledged(&key, &value, header);
        } else if let Some(Response::ResponseRange(range)) = &reply.responses[0].response {
            self.tally.saw(&self.proxy, &before, header, &range.kvs);
        }
        Ok(reply.succeeded)
    }

    /// Writes to a key that all proxies share, and to one of its own.
    async fn put(&self, number: u64) -> Result<bool, Status> {
        let name = if number.is_multiple_of(2) { "shared" } else { &self.proxy };
        let (key, value) = (format!("{}{name}", self.prefix), self.value(0, number));
        self.tally.tried(&value);
        let reply = self.client.kv().put(put(&key, &value)).await?.into_inner();
        self.tally.acknowledged(&key, &value, revision_of(reply.header));
        Ok(true)
    }

    async fn read(&self, number: u64) -> Result<bool, Status> {
        let key = format!("{}shared", self.prefix);
        let (asked, request) =
            if number.is_multiple_of(2) { (&key[..], get(&key)) } else { (self.prefix, list(self.prefix)) };
        let before = self.tally.newest(asked);
        let found = self.client.kv().range(request).await?.into_inner();
        self.tally.saw(&self.proxy, &before, revision_of(found.header), &found.kvs);
        Ok(true)
    }
}
