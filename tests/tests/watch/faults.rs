//! Rule 9 under load: each shard in turn is killed and restarted, stopped for a while, and compacted, in mid stream. The
//! client must see no sign of it but a pause, and every event must be there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use etcd_prism_proto::etcdserverpb::WatchResponse;
use etcd_prism_proto::mvccpb::Event;
use etcd_prism_tests::client::Client;
use etcd_prism_tests::history::{current_revision, history};
use etcd_prism_tests::request::{delete, put, watch_prefix};
use etcd_prism_tests::topology::Topology;
use etcd_prism_tests::wait;
use etcd_prism_tests::watch_check::{WatcherLog, key, revision};
use etcd_prism_tests::watch_stream::WatchStream;
use tokio::task::JoinHandle;

use crate::site::{Site, compact, prefix_of, read_until, topology};

const ROUTES: [&str; 4] = ["events", "leases", "pods", "rest"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Kill,
    Stop,
    Compact,
}

#[tokio::test]
async fn watches_survive_kills_of_each_shard() {
    survive(Fault::Kill).await;
}

#[tokio::test]
async fn watches_survive_stops_of_each_shard() {
    survive(Fault::Stop).await;
}

#[tokio::test]
async fn watches_survive_compactions() {
    survive(Fault::Compact).await;
}

/// Runs the fault on each shard while all routes are written, watched on one stream, and watched as a whole on another.
async fn survive(fault: Fault) {
    let mut site = Site::Proxy(Box::new(topology().await));
    for route in ROUTES {
        proxy(&mut site).proxy.expect_log(route);
    }
    let mut watch = Watch::open(&site.client()).await;
    let mut from = BTreeMap::new();
    for route in ROUTES {
        from.insert(route, current_revision(&site.shard(route)).await + 1);
    }
    for victim in ROUTES {
        let mut truth = Truth::begin(&site, fault, &from).await;
        let writers = Writers::start(&site.client());
        writers.advance(&ROUTES).await;
        inflict(&mut site, fault, victim, &writers).await;
        writers.advance(&ROUTES).await;
        let written = writers.stop().await;
        let last = last_writes(&site.client()).await;
        watch.read_until(&last).await;
        let mut total = 0;
        for route in ROUTES {
            let events = truth.events(&site, route, from[route], last[route]).await;
            let found = watch.logs[route].check_against(&events, from[route], last[route]);
            found.unwrap_or_else(|error| panic!("{fault:?} of {victim}, watcher of {route}: {error}"));
            let everything = WatcherLog { responses: watch.of_route(route), ..watch.everything.clone() };
            let found = everything.check_against(&events, from[route], last[route]);
            found.unwrap_or_else(|error| panic!("{fault:?} of {victim}, watcher of everything: {error}"));
            total += events.len();
            from.insert(route, last[route] + 1);
        }
        println!("{fault:?} of {victim}: {written} writes answered, {total} events, each seen twice");
    }
    for log in watch.logs.values() {
        log.check().unwrap_or_else(|error| panic!("{error}"));
    }
    let layout = proxy(&mut site).layout.clone();
    watch.everything.check_lines(|key| layout.route_of(key)).unwrap_or_else(|error| panic!("{error}"));
}

fn proxy(site: &mut Site) -> &mut Topology {
    match site {
        Site::Proxy(topology) => topology,
        Site::Etcd { .. } => unreachable!("a site with a proxy"),
    }
}

async fn inflict(site: &mut Site, fault: Fault, victim: &str, writers: &Writers) {
    let others: Vec<_> = ROUTES.into_iter().filter(|route| *route != victim).collect();
    match fault {
        Fault::Kill => {
            proxy(site).shard(victim).kill();
            writers.advance(&others).await;
            proxy(site).shard(victim).restart().await;
        }
        Fault::Stop => {
            proxy(site).shard(victim).pause();
            writers.advance(&others).await;
            proxy(site).shard(victim).resume();
            proxy(site).shard(victim).wait_ready().await;
        }
        Fault::Compact => {
            let revision = current_revision(&site.shard(victim)).await;
            compact(site, victim, revision).await;
        }
    }
}

/// Writers of all routes, which go on whatever happens to their writes.
struct Writers {
    stop: Arc<AtomicBool>,
    counts: BTreeMap<&'static str, Arc<AtomicU64>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start(client: &Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut counts, mut tasks) = (BTreeMap::new(), Vec::new());
        for route in ROUTES {
            let count = Arc::new(AtomicU64::new(0));
            tasks.push(tokio::spawn(write_on(client.clone(), route, stop.clone(), count.clone())));
            counts.insert(route, count);
        }
        Self { stop, counts, tasks }
    }

    /// Waits until each of `routes` has had some more writes.
    async fn advance(&self, routes: &[&str]) {
        const MORE: u64 = 40;
        for route in routes {
            let count = &self.counts[route];
            let goal = count.load(Ordering::Relaxed) + MORE;
            wait::until(&format!("{MORE} more writes of {route}"), async || {
                let now = count.load(Ordering::Relaxed);
                if now >= goal { Ok(()) } else { Err(now) }
            })
            .await;
        }
    }

    /// How many writes were answered with success.
    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a writer");
        }
        self.counts.values().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

async fn write_on(client: Client, route: &'static str, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) {
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let key = format!("{}k{}", prefix_of(route), turn % 9);
        let answer = match turn % 7 {
            0 => client.kv().delete_range(delete(&key)).await.map(drop),
            _ => client.kv().put(put(&key, &turn.to_string())).await.map(drop),
        };
        match answer {
            Ok(()) => drop(count.fetch_add(1, Ordering::Relaxed)),
            // Whether it was applied is for the shard's history to say.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// One more write to each route, tried until it succeeds; the revisions.
async fn last_writes(client: &Client) -> BTreeMap<&'static str, i64> {
    let mut last = BTreeMap::new();
    for route in ROUTES {
        let written = wait::until(&format!("a write to {route}"), async || {
            let reply = client.kv().put(put(&[prefix_of(route), "last"].concat(), "x")).await?;
            Ok::<_, tonic::Status>(reply.into_inner().header.map_or(0, |header| header.revision))
        })
        .await;
        last.insert(route, written);
    }
    last
}

/// One stream with a watcher for each route, and one with a watcher of everything.
struct Watch {
    routes: WatchStream,
    ids: BTreeMap<i64, &'static str>,
    logs: BTreeMap<&'static str, WatcherLog>,
    whole: WatchStream,
    everything: WatcherLog,
}

impl Watch {
    async fn open(client: &Client) -> Self {
        let mut routes = WatchStream::open_with_leader(client);
        let (mut ids, mut logs) = (BTreeMap::new(), BTreeMap::new());
        for route in ROUTES {
            let request = watch_prefix(prefix_of(route));
            let created = routes.create(request.clone()).await;
            ids.insert(created.watch_id, route);
            logs.insert(route, WatcherLog::new(request));
        }
        let mut whole = WatchStream::open_with_leader(client);
        let everything = WatcherLog::new(watch_prefix("/registry/"));
        let created = whole.create(everything.request.clone()).await;
        assert!(!created.canceled, "{created:?}");
        Self { routes, ids, logs, whole, everything }
    }

    async fn read_until(&mut self, last: &BTreeMap<&'static str, i64>) {
        let reached = |log: &WatcherLog, route: &str| {
            let below = |event: &&Event| key(event).starts_with(prefix_of(route).as_bytes());
            log.events().rev().find(below).is_some_and(|event| revision(event) >= last[route])
        };
        while !ROUTES.iter().all(|route| reached(&self.logs[route], route)) {
            let response = self.routes.next().await;
            assert!(!response.canceled && !response.created, "{response:?}");
            self.logs
                .get_mut(self.ids[&response.watch_id])
                .expect("a log for each route")
                .responses
                .push(response);
        }
        while !ROUTES.iter().all(|route| reached(&self.everything, route)) {
            let response = self.whole.next().await;
            assert!(!response.canceled && !response.created, "{response:?}");
            self.everything.responses.push(response);
        }
    }

    /// The responses of the watcher of everything, reduced to one route.
    fn of_route(&self, route: &str) -> Vec<WatchResponse> {
        let mut responses = self.everything.responses.clone();
        for response in &mut responses {
            response.events.retain(|event| key(event).starts_with(prefix_of(route).as_bytes()));
        }
        responses
    }
}

/// What really happens: watched on the shards themselves where the history will be compacted, else read afterwards.
struct Truth {
    live: BTreeMap<&'static str, (WatchStream, WatcherLog)>,
}

impl Truth {
    async fn begin(site: &Site, fault: Fault, from: &BTreeMap<&'static str, i64>) -> Self {
        let mut live = BTreeMap::new();
        if fault == Fault::Compact {
            for route in ROUTES {
                let mut stream = WatchStream::open(&site.shard(route));
                let mut log = WatcherLog::new(watch_prefix(prefix_of(route)));
                log.request.start_revision = from[route];
                stream.create(log.request.clone()).await;
                live.insert(route, (stream, log));
            }
        }
        Self { live }
    }

    async fn events(&mut self, site: &Site, route: &'static str, from: i64, to: i64) -> Vec<Event> {
        let Some((stream, log)) = self.live.get_mut(route) else {
            return history(&site.shard(route), prefix_of(route).as_bytes(), from, to).await;
        };
        read_until(stream, log, to).await;
        log.events().cloned().collect()
    }
}
