//! Logs go to standard error.

use std::io::IsTerminal;

use etcd_prism_config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// Libraries whose details drown ours: they log warnings and worse.
const QUIET: &str = "h2=warn,hyper=warn,hyper_util=warn,opentelemetry=warn,rustls=warn,tonic=warn,tower=warn";

/// Starts logging. `RUST_LOG` overrides the configured level.
pub(crate) fn start(log: &Log) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{},{QUIET}", log.level.as_str())));
    let logger = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => logger.init(),
        LogFormat::Json => logger.json().flatten_event(true).init(),
    }
}
