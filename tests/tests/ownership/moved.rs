//! A route goes back and forth between shards while clients use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use etcd_prism_proto::mvccpb::event::EventType;
use etcd_prism_tests::client::Client;
use etcd_prism_tests::history::{current_revision, history};
use etcd_prism_tests::request::{delete, get, put};
use etcd_prism_tests::wait;
use etcd_prism_tests::watch_check::{key, revision};
use tokio::time::Instant;
use tonic::Status;

use crate::cli;
use crate::site::{MOVED, NODES, SPLIT, Site, revision_of, until_route};

/// Most of the time there is no key, so that the route can move.
const PAUSE: Duration = Duration::from_millis(100);

/// Puts a key, reads it, deletes it and reads again, each through a proxy that chance picks.
struct Writer {
    proxies: Vec<Client>,
    key: String,
    /// The last revision that it was told. It must not fall, whichever shard tells it.
    revision: i64,
    /// Values with the revision at which they were acknowledged.
    acknowledged: Vec<(String, i64)>,
    rounds: Arc<AtomicUsize>,
}

impl Writer {
    fn any(&self) -> Client {
        self.proxies[rand::random_range(0..self.proxies.len())].clone()
    }

    fn told(&mut self, revision: i64) {
        assert!(revision >= self.revision, "{}: revision {revision} after {}", self.key, self.revision);
        self.revision = revision;
    }

    async fn run(mut self, stop: Arc<AtomicBool>) -> Self {
        for number in 0u64.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let value = number.to_string();
            match self.any().kv().put(put(&self.key, &value)).await {
                Ok(reply) => {
                    let revision = revision_of(reply.into_inner().header);
                    self.told(revision);
                    self.acknowledged.push((value.clone(), revision));
                    self.reads(Some(&value)).await;
                }
                Err(status) => allowed(&status),
            }
            self.delete().await;
            self.reads(None).await;
            self.rounds.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
        self
    }

    async fn reads(&mut self, expected: Option<&str>) {
        let found = match self.any().kv().range(get(&self.key)).await {
            Ok(reply) => reply.into_inner(),
            Err(status) => return allowed(&status),
        };
        self.told(revision_of(found.header));
        let found = found.kvs.first().map(|kv| String::from_utf8_lossy(&kv.value).into_owned());
        assert_eq!(found.as_deref(), expected, "{} at {}", self.key, self.revision);
    }

    /// Until it is sure to be gone.
    async fn delete(&mut self) {
        let end = Instant::now() + wait::DEADLINE;
        loop {
            match self.any().kv().delete_range(delete(&self.key)).await {
                Ok(reply) => return self.told(revision_of(reply.into_inner().header)),
                Err(status) => allowed(&status),
            }
            assert!(Instant::now() < end, "{} cannot be deleted", self.key);
        }
    }
}

fn allowed(status: &Status) {
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
}

/// The naive version lets requests pass while the route moves: a write lands where nobody looks any more.
#[tokio::test]
async fn clients_lose_nothing_while_their_route_goes_back_and_forth() {
    let site = Site::start(&["a", "b"]).await;
    let there = site.proxy("there", MOVED).await;
    let back = site.proxy("back", SPLIT).await;
    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let writer = |name: &str| Writer {
        proxies: vec![there.client(), back.client()],
        key: format!("{NODES}{name}"),
        revision: 0,
        acknowledged: Vec::new(),
        rounds: Arc::clone(&rounds),
    };
    let writers = ["x", "y"].map(|name| tokio::spawn(writer(name).run(stop.clone())));
    let mut n = until_route(&there, "nodes", "served", |r| r.reign > 0).await.reign;
    for (file, from, to) in [("back", "a", "b"), ("there", "b", "a"), ("back", "a", "b")] {
        let other = if to == "a" { "/registry/pods/x" } else { "/registry/other" };
        wait::until_within(wait::DEADLINE * 2, &format!("a moment without keys on {from}"), async || {
            // The keys may not go to a shard that is behind.
            let seen = current_revision(&site.direct(from)).await;
            site.advance(to, other, seen + 20).await;
            let ran = cli::run(&["route", "apply", "--yes", "--max-pause=20s"], &site.file_of(file)).await;
            if ran.success { Ok(()) } else { Err(ran) }
        })
        .await;
        n += 1;
        for proxy in [&there, &back] {
            let what = format!("served on {to} in reign {n}");
            until_route(proxy, "nodes", &what, |r| r.reign == n && r.shard.as_deref() == Some(to)).await;
        }
        let before = rounds.load(Ordering::Relaxed);
        wait::until("the writers to go on", async || match rounds.load(Ordering::Relaxed) {
            now if now >= before + 10 => Ok(()),
            now => Err(now),
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut happened = Vec::new();
    for shard in ["a", "b"] {
        let direct = site.direct(shard);
        happened.extend(history(&direct, NODES.as_bytes(), 1, current_revision(&direct).await).await);
    }
    for writer in writers {
        let writer = tokio::time::timeout(wait::DEADLINE, writer).await.expect("an end").expect("a writer");
        assert!(!writer.acknowledged.is_empty());
        for (value, at) in &writer.acknowledged {
            let same = |event: &&etcd_prism_proto::mvccpb::Event| {
                event.r#type() == EventType::Put
                    && key(event) == writer.key.as_bytes()
                    && event.kv.as_ref().is_some_and(|kv| kv.value == value.as_bytes())
            };
            let applied: Vec<i64> = happened.iter().filter(same).map(revision).collect();
            assert_eq!(applied, [*at], "{} = {value}: acknowledged at {at}", writer.key);
        }
    }
}
