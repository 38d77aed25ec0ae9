//! Drivers over real shards: two proxies without clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation ends the test"
)]

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use etcd_prism_config::{Endpoint, Scheme};
use etcd_prism_control::{Clock, Options, Ownership, call};
use etcd_prism_migration::ship::{Kept, Leases};
use etcd_prism_migration::verbs::{Create, End, Reply, Switch, Verb};
use etcd_prism_migration::{Deps, Host, Status, report};
use etcd_prism_ownership::migration::Phase;
use etcd_prism_ownership::value::{Stored, Table};
use etcd_prism_ownership::{ShardUid, keys};
use etcd_prism_proto::etcdserverpb::{PutRequest, RangeRequest};
use etcd_prism_routing::{Keyspace, RouteId, RouteSpec, ShardId};
use etcd_prism_upstream::endpoint::EndpointState;
use etcd_prism_upstream::shard::Bounds;
use etcd_prism_upstream::{ShardPool, ShardState, UpstreamError};
use etcd_prism_wire::keys::KeyRange;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(5);
const PODS: RouteId = RouteId(0);

struct Etcd {
    process: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

impl Etcd {
    async fn start() -> Self {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let tool = Command::new(format!("{root}/scripts/tool")).arg("etcd").output().unwrap();
        let path = String::from_utf8(tool.stdout).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (port, peer) = (free_port().await, free_port().await);
        let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
        let mut command = Command::new(path.trim());
        command.arg(format!("--data-dir={}", dir.path().display())).arg("--log-level=error");
        command.args([format!("--listen-client-urls={client}"), format!("--advertise-client-urls={client}")]);
        command.args([format!("--listen-peer-urls={peer}"), format!("--initial-advertise-peer-urls={peer}")]);
        command.arg(format!("--initial-cluster=default={peer}")).args(["--max-txn-ops=256"]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { process, port, _dir: dir }
    }

    fn state(&self, id: u16, name: &str) -> Arc<ShardState> {
        let endpoint = Endpoint::from_address(Scheme::Http, ([127, 0, 0, 1], self.port).into());
        let endpoint =
            EndpointState::new(endpoint, None, Duration::from_secs(1), Duration::from_secs(10)).unwrap();
        let bounds = Bounds { request_timeout: PATIENCE, max_in_flight: 1000 };
        Arc::new(ShardState::new(ShardId(id), name.to_owned(), vec![Arc::new(endpoint)], bounds, None))
    }
}

struct NoLeases;

impl Leases for NoLeases {
    fn bring<'a>(
        &'a self,
        _: &'a str,
        _: ShardId,
        _: &'a [i64],
    ) -> BoxFuture<'a, Result<bool, UpstreamError>> {
        Box::pin(async { Ok(false) })
    }

    fn keep<'a>(&'a self, _: &'a str, _: ShardId, _: i64) -> BoxFuture<'a, Result<Kept, UpstreamError>> {
        Box::pin(async { Ok(Kept::Own) })
    }

    fn release<'a>(
        &'a self,
        _: &'a str,
        _: ShardUid,
        _: ShardId,
    ) -> BoxFuture<'a, Result<(), UpstreamError>> {
        Box::pin(async { Ok(()) })
    }
}

fn specs() -> Vec<RouteSpec> {
    let spec = |name: &str, prefixes: &[&str]| RouteSpec {
        name: name.to_owned(),
        prefixes: prefixes.iter().map(|p| p.as_bytes().to_vec()).collect(),
        shard: ShardId(0),
    };
    vec![spec("pods", &["/registry/pods/"]), spec("rest", &[])]
}

struct Proxy {
    own: Arc<Ownership>,
    host: Arc<Host>,
    stop: CancellationToken,
    hosting: tokio::task::JoinHandle<()>,
}

struct Rig {
    etcds: [Etcd; 2],
    states: Vec<Arc<ShardState>>,
}

impl Rig {
    async fn start() -> Self {
        let etcds = [Etcd::start().await, Etcd::start().await];
        let states: Vec<_> =
            etcds.iter().zip(["a", "b"]).enumerate().map(|(i, (e, name))| e.state(i as u16, name)).collect();
        Self { etcds, states }
    }

    fn pools(&self) -> Vec<ShardPool> {
        self.states.iter().map(|state| ShardPool::new(state.clone())).collect()
    }

    async fn proxy(&self, name: &str) -> Proxy {
        let keyspace = Keyspace::new(&specs()).unwrap();
        let options = Options {
            fences: true,
            session_ttl: Duration::from_secs(5),
            name: name.to_owned(),
            address: String::new(),
            clock: Clock::default(),
        };
        let stop = CancellationToken::new();
        let own = etcd_prism_control::start(options, &keyspace, &specs(), self.pools(), stop.clone());
        let deps = Deps { ownership: own.clone(), keyspace, pools: self.pools(), leases: Arc::new(NoLeases) };
        let host = Host::new(deps);
        let hosting = tokio::spawn(host.clone().run(stop.clone()));
        own.permit(PODS, Instant::now() + Duration::from_secs(30)).await.unwrap();
        until("sessions", async || own.session_valid(ShardId(0)) && own.session_valid(ShardId(1))).await;
        Proxy { own, host, stop, hosting }
    }

    async fn put(&self, shard: usize, key: String) {
        let put = PutRequest { key: key.into(), value: vec![b'v'; 300].into(), ..PutRequest::default() };
        call::put_if(&self.pools()[shard], &[], vec![put], None, PATIENCE).await.unwrap();
    }

    /// The keys of the route on a shard.
    async fn count(&self, shard: usize) -> i64 {
        let range = KeyRange::new(b"/registry/pods/", b"/registry/pods0");
        let range = RangeRequest { count_only: true, ..call::range(range) };
        call::read(&self.pools()[shard], vec![range], PATIENCE).await.unwrap().ranges[0].count
    }

    async fn table(&self, shard: usize) -> Table {
        let range = call::range(KeyRange::single(keys::TABLE));
        let found = call::read(&self.pools()[shard], vec![range], PATIENCE).await.unwrap();
        Table::decode(&found.ranges[0].kvs[0].value).unwrap()
    }
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(40);
    while !is().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Proxy {
    async fn verb(&self, verb: Verb) -> Reply {
        let reply = self.host.verb("pods", verb).await;
        print!("{}", report::render(&reply));
        reply
    }

    async fn good(&self, verb: Verb) -> Reply {
        let reply = self.verb(verb).await;
        assert!(reply.is_good(), "{reply:?}");
        reply
    }

    async fn status(&self) -> Status {
        match self.host.verb("pods", Verb::Status).await {
            Reply::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    async fn until_copied(&self) {
        until("copied", async || {
            let status = self.status().await;
            status.phase == Phase::Follow && status.pace.lag.is_some()
        })
        .await;
    }

    fn shard(&self) -> Option<ShardId> {
        self.own.route(PODS).permit().map(|permit| permit.shard)
    }

    async fn die(self) {
        self.stop.cancel();
        self.own.close().await;
        self.hosting.await.unwrap();
    }
}

fn create(no_copy: bool) -> Verb {
    Verb::Create(Create { to: "b".to_owned(), max_pause: 2000, no_copy, throttle: Default::default() })
}

fn switch() -> Switch {
    Switch { dry_run: false, max_pause: None, prepare: 20_000 }
}

fn pause(reply: &Reply) -> f64 {
    match reply {
        Reply::Done(done) => done.pause_ms.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_and_back_and_the_end() {
    let rig = Rig::start().await;
    let (first, second) = (rig.proxy("p1").await, rig.proxy("p2").await);
    for i in 0..500 {
        rig.put(0, format!("/registry/pods/{i:04}")).await;
    }
    assert!(!first.verb(Verb::Status).await.is_good(), "nothing is under way");
    first.good(Verb::Plan { to: "b".to_owned(), no_copy: false }).await;
    first.good(create(false)).await;
    first.until_copied().await;
    assert_eq!(rig.count(1).await, 500);
    first.good(Verb::Verify).await;
    first.good(Verb::Switch(Switch { dry_run: true, ..switch() })).await;
    let mut pauses = Vec::new();
    pauses.push(pause(&first.good(Verb::Switch(switch())).await));
    for proxy in [&first, &second] {
        until("served from b", async || proxy.shard() == Some(ShardId(1))).await;
    }
    // Another proxy takes over, there and back several times.
    for (i, proxy) in [&second, &first, &second, &first].into_iter().enumerate() {
        rig.put((i + 1) % 2, format!("/registry/pods/later-{i}")).await;
        let verb = if i % 2 == 0 { Verb::Reverse(switch()) } else { Verb::Switch(switch()) };
        pauses.push(pause(&proxy.good(verb).await));
        until("nothing is lost", async || rig.count(0).await == 501 + i as i64).await;
        assert_eq!(rig.count(1).await, 501 + i as i64);
    }
    println!("pauses: {pauses:.1?}");
    assert!(!second.verb(Verb::Cancel(End::default())).await.is_good(), "too late");
    second.good(Verb::Complete(End { dry_run: true, abandon: false })).await;
    second.good(Verb::Complete(End::default())).await;
    assert_eq!((rig.count(0).await, rig.count(1).await), (0, 504));
    for shard in 0..2 {
        let table = rig.table(shard).await;
        let name = |id| table.shards.iter().find(|s| s.id == id).map(|s| s.name.clone());
        assert_eq!(name(table.route("pods").unwrap().shard).as_deref(), Some("b"));
        assert_eq!(table.generation, 2);
    }
    let status = second.status().await;
    assert_eq!((status.phase, status.pauses.len()), (Phase::Completed, 5), "{status:?}");
    second.good(Verb::History).await;
    first.die().await;
    second.die().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_proxy_goes_on_and_a_shard_that_is_away_costs_nothing() {
    let mut rig = Rig::start().await;
    let (first, second) = (rig.proxy("p1").await, rig.proxy("p2").await);
    for i in 0..300 {
        rig.put(0, format!("/registry/pods/{i:04}")).await;
    }
    first.good(create(false)).await;
    first.die().await;
    until("the other one drives", async || second.status().await.driver.as_deref() == Some("p2")).await;
    second.until_copied().await;
    assert_eq!(rig.count(1).await, 300);
    second.good(Verb::Pause).await;
    assert!(matches!(second.verb(Verb::Switch(switch())).await, Reply::Refused { .. }));
    second.good(Verb::Resume).await;
    // The target is lost before the switch.
    rig.etcds[1].process.kill().unwrap();
    rig.etcds[1].process.wait().unwrap();
    let reply = second.verb(Verb::Switch(Switch { prepare: 3000, ..switch() })).await;
    assert!(matches!(reply, Reply::Aborted { pause_ms: None, .. } | Reply::Refused { .. }), "{reply:?}");
    assert_eq!(second.shard(), Some(ShardId(0)));
    second.good(Verb::Cancel(End { dry_run: false, abandon: true })).await;
    assert_eq!(second.shard(), Some(ShardId(0)));
    second.die().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_dropped_is_not_copied() {
    let rig = Rig::start().await;
    let proxy = rig.proxy("p1").await;
    rig.put(0, "/registry/pods/x".to_owned()).await;
    proxy.good(create(true)).await;
    pause(&proxy.good(Verb::Switch(switch())).await);
    assert_eq!((rig.count(0).await, rig.count(1).await), (1, 0));
    proxy.good(Verb::Complete(End::default())).await;
    assert_eq!((rig.count(0).await, rig.count(1).await), (0, 0));
    let refused = proxy.host.verb("rest", create(false)).await;
    assert!(matches!(&refused, Reply::Plan(plan) if !plan.go()), "the default route stays: {refused:?}");
    proxy.die().await;
}
