//! Takes up changes of the configuration file: endpoints, bounds and TLS of shards, limits and TLS of the listener.
//! Everything else needs a restart, and the log says so.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use etcd_prism_config::{Config, Shard};
use etcd_prism_frontend::Gateway;
use etcd_prism_frontend::gateway::Limits;
use etcd_prism_tls::ReloadingServerConfig;
use etcd_prism_upstream::configure::configure;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

/// Time between looks at the file.
const POLL: Duration = Duration::from_secs(2);

/// What a reload changes.
pub(super) struct Reloader {
    pub path: PathBuf,
    /// What is in force.
    pub config: Config,
    pub gateway: Arc<Gateway>,
    pub max_connections: Arc<AtomicUsize>,
    pub tls: Option<Arc<ArcSwap<ReloadingServerConfig>>>,
    pub stop: CancellationToken,
}

impl Reloader {
    /// Reloads on SIGHUP and when the file's content changes, until stopped.
    pub(super) async fn run(mut self, mut hangup: Signal) {
        let mut content = self.content().await;
        loop {
            let asked = tokio::select! {
                () = self.stop.cancelled() => return,
                signal = hangup.recv() => signal.is_some(),
                () = tokio::time::sleep(POLL) => false,
            };
            let now = self.content().await;
            if !asked && (now == content || now.is_none()) {
                continue;
            }
            content = now;
            match Config::load(&self.path) {
                Ok(new) => self.apply(new),
                Err(error) => {
                    tracing::error!("the configuration is not reloaded, the old one stays in force:\n{error}")
                }
            }
        }
    }

    async fn content(&self) -> Option<Vec<u8>> {
        tokio::fs::read(&self.path).await.ok()
    }

    fn apply(&mut self, new: Config) {
        for what in needs_restart(&self.config, &new) {
            tracing::warn!("configuration: a change of {what} needs a restart; the old one stays in force");
        }
        self.gateway.limits.store(Arc::new(limits(&new)));
        self.max_connections.store(new.listen.max_connections, Ordering::Relaxed);
        let shards: Vec<&Shard> = new.shards.iter().collect();
        for shard in shards {
            let old = self.config.shard(&shard.name);
            if old.is_some_and(|old| old != shard)
                && let Err(error) = self.apply_shard(shard)
            {
                tracing::error!(%error, "shard is not reloaded, its old configuration stays in force");
            }
        }
        if let (Some(tls), Some(files)) = (&self.tls, &new.listen.tls)
            && self.config.listen.tls.as_ref() != Some(files)
        {
            match ReloadingServerConfig::load(files.clone()) {
                Ok(loaded) => {
                    tokio::spawn(loaded.clone().watch(self.stop.clone()));
                    tls.store(loaded);
                }
                Err(error) => {
                    tracing::error!(%error, "listen.tls is not reloaded, the old files stay in force")
                }
            }
        }
        tracing::info!("configuration reloaded");
        self.config = new;
    }

    fn apply_shard(&self, shard: &Shard) -> anyhow::Result<()> {
        let configured = configure(shard)?;
        if let Some(state) = self.gateway.shard_named(&shard.name) {
            state.reconfigure(configured.endpoints, configured.bounds);
            tracing::info!(shard = %shard.name, "shard reconfigured");
        }
        if let Some(tls) = configured.tls {
            tokio::spawn(tls.watch(self.stop.clone()));
        }
        Ok(())
    }
}

/// The limits that a configuration asks for.
pub(super) fn limits(config: &Config) -> Limits {
    Limits {
        max_request_bytes: config.listen.max_request_bytes,
        max_message_bytes: config.listen.max_message_bytes(),
        max_txn_ops: config.listen.max_txn_ops,
    }
}

/// The parts that differ and cannot change while running.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let names = |c: &Config| c.shards.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
    let logins = |c: &Config| {
        c.shards.iter().map(|s| (s.username.clone(), s.password_file.clone())).collect::<Vec<_>>()
    };
    let allowed = |c: &Config| c.shards.iter().map(|s| s.allow_unsupported_version).collect::<Vec<_>>();
    let (was, is) = (&old.listen, &new.listen);
    let differs = [
        ("cluster_name", old.cluster_name != new.cluster_name),
        ("the routes", old.routes != new.routes),
        ("the list of shards", names(old) != names(new)),
        ("a shard's username or password_file", logins(old) != logins(new)),
        ("a shard's allow_unsupported_version", allowed(old) != allowed(new)),
        ("listen.client", was.client != is.client),
        ("listen.admin", was.admin != is.admin),
        ("listen.advertise", was.advertise != is.advertise),
        ("listen.tls from or to plaintext", was.tls.is_some() != is.tls.is_some()),
        ("listen.workers", (was.workers, was.work_stealing) != (is.workers, is.work_stealing)),
        ("listen.max_concurrent_streams", was.max_concurrent_streams != is.max_concurrent_streams),
        ("listen.drain_timeout", was.drain_timeout != is.drain_timeout),
        ("log", old.log != new.log),
        ("trace", old.trace != new.trace),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_needs_a_restart() {
        let text = "[listen]\nclient = '127.0.0.1:2379'\n[[shard]]\nname = 'rest'\nendpoints = ['http://127.0.0.1:1']\n\
                    [[route]]\nname = 'rest'\nshard = 'rest'\n";
        let old = Config::parse(text, "a").unwrap();
        let new = Config::parse(&text.replace("127.0.0.1:2379", "127.0.0.1:2378"), "b").unwrap();
        assert_eq!(needs_restart(&old, &new), ["listen.client", "listen.advertise"]);
        let new = Config::parse(&text.replace("127.0.0.1:1'", "127.0.0.1:2'"), "c").unwrap();
        assert!(needs_restart(&old, &new).is_empty());
    }
}
