//! Shards as the configuration describes them.

use std::sync::Arc;

use etcd_prism_config::Shard;
use etcd_prism_routing::ShardId;
use etcd_prism_tls::{ReloadingClientConfig, TlsError};

use crate::auth::Credentials;
use crate::endpoint::EndpointState;
use crate::shard::{Bounds, ShardState};

/// Why a shard cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    #[error("shard {0}: {1}")]
    Tls(String, Box<TlsError>),
    #[error("shard {0}: endpoint {1}: {2}")]
    Endpoint(String, String, http::uri::InvalidUri),
}

/// A shard's endpoints and bounds, with the TLS files that have to be watched.
#[derive(Debug)]
pub struct Configured {
    pub endpoints: Vec<Arc<EndpointState>>,
    pub bounds: Bounds,
    pub tls: Option<Arc<ReloadingClientConfig>>,
}

/// Reads a shard's TLS files and prepares its endpoints. Connects to nothing.
pub fn configure(shard: &Shard) -> Result<Configured, ShardError> {
    let tls = match &shard.tls {
        None => None,
        Some(files) => {
            let loaded = ReloadingClientConfig::load(files.clone());
            Some(loaded.map_err(|e| ShardError::Tls(shard.name.clone(), Box::new(e)))?)
        }
    };
    let endpoint = |endpoint: &etcd_prism_config::Endpoint| {
        EndpointState::new(endpoint.clone(), tls.clone(), shard.connect_timeout, shard.keepalive_interval)
            .map(Arc::new)
            .map_err(|e| ShardError::Endpoint(shard.name.clone(), endpoint.url.clone(), e))
    };
    let endpoints = shard.endpoints.iter().map(endpoint).collect::<Result<Vec<_>, _>>()?;
    let bounds = Bounds { request_timeout: shard.request_timeout, max_in_flight: shard.max_in_flight };
    Ok(Configured { endpoints, bounds, tls })
}

/// The state of a configured shard.
pub fn shard_state(id: ShardId, shard: &Shard, configured: &Configured) -> ShardState {
    let credentials = match (&shard.username, &shard.password_file) {
        (Some(username), Some(password_file)) => {
            Some(Credentials { username: username.clone(), password_file: password_file.clone() })
        }
        _ => None,
    };
    ShardState::new(id, shard.name.clone(), configured.endpoints.clone(), configured.bounds, credentials)
}
