//! A proxy on a simulated host, put together as the binary does it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use etcd_prism_config::{Endpoint, Scheme};
use etcd_prism_control::{Clock, Options, Ownership};
use etcd_prism_frontend::compaction::{self, Samples};
use etcd_prism_frontend::context::{Connection, Context};
use etcd_prism_frontend::gateway::{Exposition, Gateway, Limits, Worker};
use etcd_prism_frontend::metrics::Metrics;
use etcd_prism_frontend::{Identity, dispatch, lease};
use etcd_prism_migration::ship::{Kept, Leases};
use etcd_prism_migration::verbs::{Reply, Verb};
use etcd_prism_migration::{Deps, Host};
use etcd_prism_ownership::ShardUid;
use etcd_prism_routing::{Keyspace, RouteSpec, ShardId};
use etcd_prism_upstream::endpoint::EndpointState;
use etcd_prism_upstream::shard::Bounds;
use etcd_prism_upstream::{ShardPool, ShardState, UpstreamError, health};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::net::{self, PORT, Simulated};
use crate::time::Time;

/// The route that moves.
pub const ROUTE: &str = "pods";
/// Its keys.
pub const PREFIX: &str = "/registry/pods/";
/// The shards' names, in the order of their ids.
pub const SHARDS: [&str; 2] = ["a", "b"];

const SESSION_TTL: Duration = Duration::from_secs(5);

/// What a proxy is told from outside.
pub enum Command {
    Verb(Verb, oneshot::Sender<Reply>),
    /// Ends it in order.
    Stop,
}

/// A proxy's machine: what stays when the proxy ends.
#[derive(Clone)]
pub struct Machine {
    pub name: &'static str,
    time: Time,
    /// By how much its clock is ahead, in nanoseconds.
    ahead: Arc<AtomicU64>,
    /// By how much its clock is too fast, in thousandths.
    fast: i64,
    /// Of the proxy that runs.
    commands: Arc<Mutex<Option<mpsc::UnboundedSender<Command>>>>,
}

impl Machine {
    pub fn new(name: &'static str, time: Time, fast: i64) -> Self {
        Self { name, time, ahead: Arc::default(), fast, commands: Arc::default() }
    }

    /// Its clock jumps, as when a machine was suspended.
    pub fn jump(&self, by: Duration) {
        self.ahead.fetch_add(u64::try_from(by.as_nanos()).expect("a short jump"), Ordering::Relaxed);
    }

    /// Gives a command to the proxy that runs. Where none does, nothing happens.
    pub fn tell(&self, command: Command) {
        if let Some(commands) = &*self.commands.lock() {
            commands.send(command).ok();
        }
    }

    fn clock(&self) -> Clock {
        let (time, ahead, fast) = (self.time.clone(), self.ahead.clone(), self.fast);
        Clock::from_source(move || {
            let now = i64::try_from(time.now().as_nanos()).expect("a short simulation");
            // Machines that have run for a while.
            let now = now + now / 1000 * fast + 1_000_000_000_000;
            now.unsigned_abs() + ahead.load(Ordering::Relaxed)
        })
    }

    /// Runs a proxy until it is told to stop.
    pub async fn run(self) -> turmoil::Result {
        let (sender, mut commands) = mpsc::unbounded_channel();
        *self.commands.lock() = Some(sender);
        let stop = CancellationToken::new();
        let specs = specs();
        let keyspace = Keyspace::new(&specs)?;
        let shards: Vec<_> = (0..).zip(SHARDS).map(|(id, name)| shard(id, name)).collect();
        for shard in &shards {
            tokio::spawn(health::watch(shard.clone(), stop.clone()));
        }
        let pools = || shards.iter().map(|shard| ShardPool::new(shard.clone())).collect::<Vec<_>>();
        let options = Options {
            fences: true,
            session_ttl: SESSION_TTL,
            name: self.name.to_owned(),
            address: String::new(),
            clock: self.clock(),
        };
        let ownership = etcd_prism_control::start(options, &keyspace, &specs, pools(), stop.clone());
        let gateway = gateway(keyspace.clone(), ownership.clone(), shards.clone());
        let worker = Arc::new(Worker::new(gateway));
        tokio::spawn(compaction::run(worker.clone(), stop.clone()));
        tokio::spawn(lease::retry_revokes(worker.clone(), stop.clone()));
        let leases = Arc::new(Copies(Context {
            worker: worker.clone(),
            connection: Arc::default(),
            headers: Arc::default(),
        }));
        let host = Host::new(Deps { ownership: ownership.clone(), keyspace, pools: pools(), leases });
        let hosting = CancellationToken::new();
        let hosted = tokio::spawn(host.clone().run(hosting.clone()));
        // One context for all connections: it only says which shard was used last.
        let connection = Arc::new(Connection::default());
        let served = worker.clone();
        let serving = tokio::spawn(net::serve(move |request| {
            dispatch::handle(served.clone(), connection.clone(), request)
        }));
        while let Some(command) = commands.recv().await {
            match command {
                Command::Verb(verb, reply) => {
                    let host = host.clone();
                    tokio::spawn(async move { reply.send(host.verb(ROUTE, verb).await).ok() });
                }
                Command::Stop => break,
            }
        }
        worker.gateway.draining.cancel();
        serving.abort();
        hosting.cancel();
        hosted.await?;
        ownership.close().await;
        stop.cancel();
        Ok(())
    }
}

fn specs() -> Vec<RouteSpec> {
    let spec = |name: &str, prefixes: &[&str]| RouteSpec {
        name: name.to_owned(),
        prefixes: prefixes.iter().map(|p| p.as_bytes().to_vec()).collect(),
        shard: ShardId(0),
    };
    vec![spec(ROUTE, &[PREFIX]), spec("rest", &[])]
}

fn shard(id: u16, name: &str) -> Arc<ShardState> {
    let address = (turmoil::lookup(name), PORT).into();
    let endpoint = Endpoint::from_address(Scheme::Http, address);
    let endpoint = EndpointState::new(endpoint, None, Duration::from_secs(1), Duration::from_secs(10));
    let endpoint = endpoint.expect("an endpoint").through(Arc::new(Simulated));
    let bounds = Bounds { request_timeout: Duration::from_secs(5), max_in_flight: 1000 };
    Arc::new(ShardState::new(ShardId(id), name.to_owned(), vec![Arc::new(endpoint)], bounds, None))
}

fn gateway(keyspace: Keyspace, ownership: Arc<Ownership>, shards: Vec<Arc<ShardState>>) -> Arc<Gateway> {
    let limits = Limits { max_request_bytes: 3 << 19, max_message_bytes: 4 << 19, max_txn_ops: 128 };
    Arc::new(Gateway {
        identity: Identity::new("simulated", &[]),
        metrics: Metrics::new(&keyspace, dispatch::METHODS),
        samples: Samples::new(shards.len()),
        keyspace,
        ownership,
        shards,
        limits: ArcSwap::from_pointee(limits),
        leases: lease::Registry::default(),
        provenance: Default::default(),
        exposition: Exposition(Arc::new(String::new)),
        tracer: Default::default(),
        draining: CancellationToken::new(),
    })
}

/// Brings leases as the binary does.
struct Copies(Context);

impl Leases for Copies {
    fn bring<'a>(
        &'a self,
        route: &'a str,
        standby: ShardId,
        leases: &'a [i64],
    ) -> BoxFuture<'a, Result<bool, UpstreamError>> {
        Box::pin(async move {
            let mut all = true;
            for id in leases {
                let brought = lease::copy(&self.0, route, standby, *id).await;
                all &= brought.map_err(|error| UpstreamError::Status(error.status()))?;
            }
            Ok(all)
        })
    }

    fn keep<'a>(
        &'a self,
        route: &'a str,
        standby: ShardId,
        lease: i64,
    ) -> BoxFuture<'a, Result<Kept, UpstreamError>> {
        Box::pin(async move {
            let kept = lease::keep(&self.0, route, standby, lease).await;
            Ok(match kept.map_err(|error| UpstreamError::Status(error.status()))? {
                lease::Kept::Copy => Kept::Copy,
                lease::Kept::Own => Kept::Own,
                lease::Kept::Ended => Kept::Ended,
                lease::Kept::Unknown => Kept::Unknown,
            })
        })
    }

    fn release<'a>(
        &'a self,
        route: &'a str,
        standby: ShardUid,
        on: ShardId,
    ) -> BoxFuture<'a, Result<(), UpstreamError>> {
        Box::pin(lease::release(&self.0, route, standby, on))
    }
}
