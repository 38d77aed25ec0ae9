//! Looks at the shards' versions once, at start.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use etcd_prism_config::Config;
use etcd_prism_frontend::Gateway;
use etcd_prism_frontend::version::{Support, support};

/// Longest wait for first contact: a shard that is down must not keep the others from being served.
const PATIENCE: Duration = Duration::from_secs(2);

/// Refuses to start on a shard whose version cannot carry Kubernetes, unless its configuration allows that; warns of
/// versions with known defects. A shard that cannot be reached in time is looked at by `status` and its warnings only.
pub(super) async fn check(config: &Config, gateway: &Arc<Gateway>) -> anyhow::Result<()> {
    let contact = async {
        while gateway.shards.iter().any(|s| s.seen().is_none()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, contact).await.is_err() {
        let missing: Vec<&str> =
            gateway.shards.iter().filter(|s| s.seen().is_none()).map(|s| &*s.name).collect();
        tracing::warn!(shards = missing.join(", "), "not reached yet: their routes answer once they are");
    }
    let mut refused = Vec::new();
    for (shard, configured) in gateway.shards.iter().zip(&config.shards) {
        for endpoint in shard.endpoints().iter() {
            let Some(seen) = endpoint.seen() else { continue };
            let (version, url) = (&seen.status.version, &endpoint.endpoint.url);
            match support(version) {
                Support::Good => {}
                Support::Old(reason) => {
                    tracing::warn!(shard = %shard.name, url, version, "old version: {reason}")
                }
                Support::Unsupported(reason) if configured.allow_unsupported_version => {
                    tracing::warn!(shard = %shard.name, url, version, "unsupported version, allowed: {reason}");
                }
                Support::Unsupported(reason) => {
                    refused.push(format!("shard {}: {url} runs etcd {version}: {reason}", shard.name));
                }
            }
        }
    }
    if !refused.is_empty() {
        bail!("{}\nupgrade, or set allow_unsupported_version = true for the shard", refused.join("\n"));
    }
    Ok(())
}
