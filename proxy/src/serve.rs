//! Wires the parts together and runs the proxy.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use etcd_prism_config::Config;
use etcd_prism_frontend::compaction::{self, Samples};
use etcd_prism_frontend::gateway::{Exposition, Gateway, Worker};
use etcd_prism_frontend::metrics::Metrics;
use etcd_prism_frontend::server::{self, Options};
use etcd_prism_frontend::{Identity, dispatch, lease};
use etcd_prism_routing::{Keyspace, RouteSpec, ShardId};
use etcd_prism_tls::ReloadingServerConfig;
use etcd_prism_upstream::configure::{configure, shard_state};
use etcd_prism_upstream::{ShardPool, ShardState, health};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

mod migrations;
mod reload;
mod versions;

/// Bounds of the latency histogram, in seconds.
const SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Runs the proxy until it is told to stop.
pub(crate) fn run(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    crate::logging::start(&config.log);
    raise_descriptor_limit();
    crate::cli::runtime()?.block_on(serve(path, config))
}

async fn serve(path: &Path, config: Config) -> anyhow::Result<()> {
    let prometheus = install_metrics()?;
    let stop = CancellationToken::new();
    let specs = route_specs(&config)?;
    let keyspace = Keyspace::new(&specs)?;
    let shards = start_shards(&config, &stop)?;
    let pools = shards.iter().map(|shard| ShardPool::new(shard.clone())).collect();
    let ownership =
        etcd_prism_control::start(ownership_options(&config), &keyspace, &specs, pools, stop.clone());
    let (tracer, spans) = crate::tracing_export::start(config.trace.otlp_endpoint.as_deref())?;
    let gateway = Arc::new(Gateway {
        identity: Identity::new(&config.cluster_name, &config.listen.advertise),
        metrics: Metrics::new(&keyspace, dispatch::METHODS),
        samples: Samples::new(shards.len()),
        keyspace,
        ownership: ownership.clone(),
        shards,
        limits: ArcSwap::from_pointee(reload::limits(&config)),
        leases: lease::Registry::default(),
        provenance: Default::default(),
        exposition: Exposition(Arc::new({
            let prometheus = prometheus.clone();
            move || prometheus.render()
        })),
        tracer,
        draining: CancellationToken::new(),
    });
    let control = Arc::new(Worker::new(gateway.clone()));
    tokio::spawn(compaction::run(control.clone(), stop.clone()));
    tokio::spawn(lease::retry_revokes(control.clone(), stop.clone()));
    let host = migrations::host(control);
    // Before the sessions end, so that a switch under way does not wait for the next proxy to find it.
    let hosting = CancellationToken::new();
    let hosted = tokio::spawn(host.clone().run(hosting.clone()));

    let listener = bind(config.listen.client, "listen.client").await?;
    let admin = bind(config.listen.admin, "listen.admin").await?;
    // The admin port is up first: it tells why the client port is not.
    let admin = tokio::spawn(etcd_prism_admin::serve(admin, gateway.clone(), Some(host), stop.clone()));
    versions::check(&config, &gateway).await?;
    let max_connections = Arc::new(AtomicUsize::new(config.listen.max_connections));
    let tls = server_tls(&config, &stop)?;
    let options = Options {
        workers: config.listen.workers.unwrap_or_else(cores),
        work_stealing: config.listen.work_stealing,
        max_connections: max_connections.clone(),
        max_concurrent_streams: config.listen.max_concurrent_streams,
        drain_timeout: config.listen.drain_timeout,
        tls: tls.clone(),
    };
    let server = tokio::spawn(server::run(listener, gateway.clone(), options));
    let hangup = signal(SignalKind::hangup())?;
    tracing::info!(client = %config.listen.client, admin = %config.listen.admin, "serving");
    let reloader = reload::Reloader {
        path: path.to_owned(),
        config,
        gateway: gateway.clone(),
        max_connections,
        tls,
        stop: stop.clone(),
    };
    tokio::spawn(reloader.run(hangup));
    wait_for_stop().await?;
    tracing::info!("draining");
    gateway.draining.cancel();
    hosting.cancel();
    server.await.context("the server panicked")??;
    if let Err(error) = hosted.await {
        tracing::error!(%error, "the host of migrations ended");
    }
    ownership.close().await;
    stop.cancel();
    admin.await.context("the admin server panicked")?.context("admin server")?;
    if let Some(spans) = spans
        && let Err(error) = spans.shutdown()
    {
        tracing::warn!(%error, "the last spans were not exported");
    }
    Ok(())
}

fn ownership_options(config: &Config) -> etcd_prism_control::Options {
    etcd_prism_control::Options {
        fences: config.ownership.fences,
        session_ttl: config.ownership.session_ttl,
        name: config.ownership.name.clone().unwrap_or_else(etcd_prism_control::default_name),
        address: config.listen.advertise.first().cloned().unwrap_or_default(),
        clock: etcd_prism_control::Clock::default(),
    }
}

/// What the table from keys to routes is built from.
pub(crate) fn route_specs(config: &Config) -> anyhow::Result<Vec<RouteSpec>> {
    config
        .routes
        .iter()
        .map(|route| {
            let shard = config.shards.iter().position(|s| s.name == route.shard);
            Ok(RouteSpec {
                name: route.name.clone(),
                prefixes: route.prefixes.iter().map(|p| p.clone().into_bytes()).collect(),
                shard: ShardId(
                    shard.with_context(|| format!("route {}: no shard {}", route.name, route.shard))? as u16,
                ),
            })
        })
        .collect()
}

/// Sets up the shards and starts to watch their health.
fn start_shards(config: &Config, stop: &CancellationToken) -> anyhow::Result<Vec<Arc<ShardState>>> {
    let mut shards = Vec::new();
    for (i, shard) in config.shards.iter().enumerate() {
        let configured = configure(shard)?;
        let state = Arc::new(shard_state(ShardId(i as u16), shard, &configured));
        if let Some(tls) = configured.tls {
            tokio::spawn(tls.watch(stop.clone()));
        }
        tokio::spawn(health::watch(state.clone(), stop.clone()));
        shards.push(state);
    }
    Ok(shards)
}

fn server_tls(
    config: &Config,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Arc<ArcSwap<ReloadingServerConfig>>>> {
    let Some(files) = &config.listen.tls else { return Ok(None) };
    let tls = ReloadingServerConfig::load(files.clone()).context("listen.tls")?;
    tokio::spawn(tls.clone().watch(stop.clone()));
    Ok(Some(Arc::new(ArcSwap::new(tls))))
}

async fn bind(address: std::net::SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: change {key} in the configuration file, or free the port")
    })
}

async fn wait_for_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .install_recorder()?;
    // Histograms keep what they saw until somebody folds it in.
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// An API server opens a connection per resource type, so thousands are normal.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get)
}
