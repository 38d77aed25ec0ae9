use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::child::Child;
use crate::data_dir::DataDir;
use crate::fleet::Fleet;
use crate::layout::{Layout, Proxy, Shard, url};
use crate::signals::StopSignals;
use crate::spawner::Spawner;
use crate::{BusyPort, Options, PlaygroundError, banner, config, http_probe, programs};

/// How long etcd may take to elect itself, and a proxy to be ready over healthy shards.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Ops per transaction that a shard accepts: the 128 that clients may send, and room for what the proxy adds.
const MAX_TXN_OPS: u32 = 160;
/// Bytes per request that a shard accepts: etcd's 1.5 MiB, and 4 KiB for what the proxy adds.
const MAX_REQUEST_BYTES: u32 = 1_572_864 + 4096;

/// Runs a playground until SIGINT, SIGTERM or SIGHUP; then stops everything, proxies first. A second signal while it
/// stops kills what is left.
///
/// Prints to standard output what runs where and, once everything is ready, how to use it. The path in the
/// environment variable `ETCD_PRISM_ETCDCTL`, if set, is the etcdctl it names.
///
/// # Errors
///
/// Whatever keeps it from starting, and any child that ends by itself: the others are stopped then.
pub async fn run(options: Options) -> Result<(), PlaygroundError> {
    let layout = Layout::new(options.listen, options.proxies, options.unsplit)?;
    let data = DataDir::open(&options.data_dir)?;
    let etcd = programs::etcd(options.etcd.as_deref())?;
    let prism = programs::absolute(&options.prism)?;
    let setpriv = programs::setpriv()?;
    check_ports(&layout)?;
    let mut signals = StopSignals::install().map_err(PlaygroundError::Signals)?;
    let spawner = Spawner::start(setpriv)
        .map_err(|cause| PlaygroundError::Spawn { name: "a thread".to_owned(), cause })?;
    let starter = Starter { data: &data, spawner: &spawner, etcd: &etcd, prism: &prism };

    let mut fleet = Fleet::default();
    let outcome = tokio::select! {
        ended = serve(&starter, &layout, &mut fleet) => ended,
        signal = signals.next() => say(&format!("\n{signal}: stopping the proxies, then the shards")),
    };
    let stopped = tokio::select! {
        stopped = fleet.stop() => stopped,
        // The children end with the spawner.
        signal = signals.next() => say(&format!("{signal} again: killing what is left")),
    };
    match (outcome, stopped) {
        // The first error is the cause; the second one must be seen too.
        (Err(cause), Err(also)) => say(&also.to_string()).and(Err(cause)),
        (outcome, stopped) => outcome.and(stopped),
    }
}

/// Starts everything and watches over it; returns only with an error.
async fn serve(starter: &Starter<'_>, layout: &Layout, fleet: &mut Fleet) -> Result<(), PlaygroundError> {
    say(&format!("etcd-prism playground in {}", starter.data.path().display()))?;
    for shard in &layout.shards {
        let child = starter.shard(shard).await?;
        say(&banner::shard_line(shard, &child))?;
        fleet.shards.push(child);
    }
    for shard in &layout.shards {
        ready(fleet, shard_name(shard), shard.client, "/health", starter.data.log(shard.name)).await?;
    }
    for proxy in &layout.proxies {
        let child = starter.proxy(layout, proxy).await?;
        say(&banner::proxy_line(proxy, &child))?;
        fleet.proxies.push(child);
    }
    for proxy in &layout.proxies {
        ready(fleet, proxy.name.clone(), proxy.admin, "/readyz", starter.data.log(&proxy.name)).await?;
    }
    let etcdctl = std::env::var("ETCD_PRISM_ETCDCTL").ok();
    say(&banner::usage(layout, etcdctl.as_deref()))?;
    Err(fleet.any_died().await)
}

/// Waits until `name` answers, or any child dies.
async fn ready(
    fleet: &mut Fleet,
    name: String,
    address: SocketAddr,
    path: &str,
    log: PathBuf,
) -> Result<(), PlaygroundError> {
    let answer = tokio::select! {
        answer = http_probe::until_well(address, path, READY_WITHIN) => answer,
        death = fleet.any_died() => return Err(death),
    };
    let url = format!("{}{path}", url(address));
    answer.map_err(|reason| PlaygroundError::NotReady { name, url, within: READY_WITHIN, reason, log })
}

fn shard_name(shard: &Shard) -> String {
    format!("shard {}", shard.name)
}

struct Starter<'a> {
    data: &'a DataDir,
    spawner: &'a Spawner,
    etcd: &'a Path,
    prism: &'a Path,
}

// === impl Starter ===

impl Starter<'_> {
    async fn shard(&self, shard: &Shard) -> Result<Child, PlaygroundError> {
        let (client, peer) = (url(shard.client), url(shard.peer));
        let mut command = self.spawner.command(self.etcd);
        // What is meant for another etcd must not configure this one.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"ETCD_"))
        {
            command.env_remove(name);
        }
        command.args([
            format!("--name={}", shard.name),
            format!("--data-dir={}", self.data.shard(shard.name).display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={}={peer}", shard.name),
            // Part of the cluster id: two playgrounds' shards are different clusters.
            format!("--initial-cluster-token=playground-{}-{peer}", shard.name),
            format!("--max-txn-ops={MAX_TXN_OPS}"),
            format!("--max-request-bytes={MAX_REQUEST_BYTES}"),
            "--log-level=warn".to_owned(),
        ]);
        self.child(shard_name(shard), shard.name, command).await
    }

    async fn proxy(&self, layout: &Layout, proxy: &Proxy) -> Result<Child, PlaygroundError> {
        let config = self.data.write_config(&proxy.name, &config::toml(layout, proxy))?;
        let mut command = self.spawner.command(self.prism);
        command.args(["serve", "--config"]).arg(config);
        self.child(proxy.name.clone(), &proxy.name, command).await
    }

    async fn child(&self, name: String, log: &str, command: Command) -> Result<Child, PlaygroundError> {
        let (log, output) = self.data.new_log(log)?;
        match self.spawner.spawn(command, output).await {
            Ok(process) => Ok(Child { name, log, process }),
            Err(cause) => Err(PlaygroundError::Spawn { name, cause }),
        }
    }
}

/// Asks for every port before anything starts, so that one message names all that are taken.
fn check_ports(layout: &Layout) -> Result<(), PlaygroundError> {
    let busy = |(wanted_by, address)| match TcpListener::bind(address) {
        Ok(_free) => None,
        Err(cause) => Some(BusyPort { address, wanted_by, cause }),
    };
    let ports: Vec<_> = layout.addresses().into_iter().filter_map(busy).collect();
    if ports.is_empty() { Ok(()) } else { Err(PlaygroundError::Ports { ports }) }
}

fn say(text: &str) -> Result<(), PlaygroundError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(PlaygroundError::Print)
}
