//! Starts everything, works on it, and stops.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_prism_tests::history::current_revision;
use etcd_prism_tests::kube::apiserver::{ApiServer, ApiServerBuilder};
use etcd_prism_tests::kube::informer::Informer;
use etcd_prism_tests::kube::load::Load;
use etcd_prism_tests::kube::metrics::Metrics;
use etcd_prism_tests::kube::minor::pair;
use etcd_prism_tests::kube::objects::Kind;
use etcd_prism_tests::kube::storage::{self, Contents};
use etcd_prism_tests::proxy::{Proxy, ProxyBuilder};
use etcd_prism_tests::topology::Topology;
use tokio::time::{Instant, sleep_until};

use crate::report::{ProxySide, Report};
use crate::server_side::ServerSide;

/// Between two steps of one task of the load: there are 36 of them, 18 on each API server.
const PAUSE: Duration = Duration::from_millis(400);
/// More often than an API server does it by itself (5 minutes), for more races between the two. Not much more: the cache
/// of a resource that nobody writes learns of the present only every 60 to 132 s (`startObservingCount`), and the
/// comparison with etcd reads at the cache's revision, which must not be compacted by then. With 60 s the same
/// comparisons end in errors without any proxy: `soak --direct --compaction-seconds 60`.
pub(crate) const COMPACTION: Duration = Duration::from_secs(180);
const NEWS: Duration = Duration::from_secs(60);

/// What to do.
pub(crate) struct Plan {
    pub(crate) length: Duration,
    /// Between two compactions of each API server.
    pub(crate) compaction: Duration,
    /// Straight on one etcd; the proxies are idle.
    pub(crate) direct: bool,
}

/// Works as planned, prints the report, and panics where something is wrong, which keeps the logs.
pub(crate) async fn run(Plan { length, compaction, direct }: Plan) {
    let topology = if direct { Topology::single().await } else { Topology::four_shards().await };
    let mut second = ProxyBuilder::new("second-proxy", topology.layout.clone());
    for (name, cluster) in &topology.shards {
        second = second.shard(name, cluster.endpoints());
    }
    let second = second.start(&topology.scratch).await;
    // Each API server spreads its requests over both proxies.
    let endpoints = match topology.shards.get("one").filter(|_| direct) {
        Some(etcd) => etcd.endpoints(),
        None => vec![topology.proxy.endpoint(), second.endpoint()],
    };
    let mut servers = Vec::new();
    for (name, minor) in ["newest", "oldest"].into_iter().zip(pair()) {
        let builder = ApiServerBuilder::new(name, minor, endpoints.clone()).compaction_interval(compaction);
        servers.push(builder.start(&topology.scratch).await);
    }
    servers[0].define_widgets().await;
    servers[1].wait_for_widgets().await;
    let before = [servers[0].metrics().await, servers[1].metrics().await];
    let over = if direct { "one etcd, no proxy" } else { "two proxies and four shards" };
    println!("kube-apiserver {} and {} over {over}", servers[0].minor(), servers[1].minor());

    let mut informers = Vec::new();
    let mut load = Load::new(PAUSE);
    for server in &servers {
        for kind in Kind::ALL {
            informers.push(Informer::start(&server.api(), kind).await.expect("an informer"));
        }
        load.numbered_updates(&server.api(), &format!("counter-{}", server.name()))
            .await
            .expect("objects to update");
        load.lives(&server.api(), &format!("life-{}", server.name()));
        load.lists(&server.api());
    }
    work(&load, length).await;
    let tally = load.stop().await;
    wait_for_informers(&servers, &informers).await;
    Contents::read(&topology).await.assert_every_key_at_home(&topology);

    let mut report = Report {
        direct,
        length,
        compactions_due: length.as_secs() / compaction.as_secs(),
        tally,
        informers: informers.iter().map(|informer| (informer.kind(), informer.seen())).collect(),
        servers: Vec::new(),
        proxies: vec![proxy_side("proxy", &topology.proxy).await, proxy_side("second-proxy", &second).await],
        compacted: compacted(&topology).await,
    };
    for (server, before) in servers.iter_mut().zip(before) {
        report.servers.push(ServerSide::new(server, before).await);
    }
    let violations = report.print();
    assert!(violations.is_empty(), "the soak failed:\n{}", violations.join("\n"));
}

/// Lets the load work, and says every minute how far it is. A failure ends it.
async fn work(load: &Load, length: Duration) {
    let started = Instant::now();
    let end = started + length;
    while Instant::now() < end {
        sleep_until(end.min(Instant::now() + NEWS)).await;
        let tally = load.tally();
        let done: u64 = tally.done.values().sum();
        println!(
            "after {:>4} s: {done} API requests, {} failures",
            started.elapsed().as_secs(),
            tally.failures.len()
        );
        if !tally.failures.is_empty() {
            return;
        }
    }
}

/// What the informers of both servers hold must become what the servers list.
async fn wait_for_informers(servers: &[ApiServer], informers: &[Informer]) {
    for (server, informers) in servers.iter().zip(informers.chunks(Kind::ALL.len())) {
        for informer in informers {
            informer.wait_for_list(&server.api()).await;
        }
    }
}

async fn proxy_side(name: &'static str, proxy: &Proxy) -> ProxySide {
    ProxySide::new(name, &Metrics::parse(&proxy.metrics().await), proxy.rss())
}

async fn compacted(topology: &Topology) -> BTreeMap<&'static str, (i64, i64)> {
    let mut compacted = BTreeMap::new();
    for shard in topology.shards.keys() {
        let client = topology.shard_client(shard);
        let present = current_revision(&client).await;
        compacted.insert(*shard, (storage::compacted_revision(&client, present).await, present));
    }
    compacted
}
