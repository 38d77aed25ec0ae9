use std::fmt::{self, Display};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::layout::{MAX_LISTEN_PORT, MAX_PROXIES};

/// Why a playground did not start, or ended other than by a signal. The text is for its user and complete in itself,
/// in one or more lines: causes are part of it, and not repeated as [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaygroundError {
    #[error(
        "--listen: port {port} is not between 1 and {MAX_LISTEN_PORT} (the shards take this port plus up to 40001)"
    )]
    ListenPort { port: u16 },
    #[error("--proxies: {proxies} is not between 1 and {MAX_PROXIES}")]
    Proxies { proxies: usize },
    /// The data directory, or a file in it, cannot be made, opened or written.
    #[error("{}: {cause}", path.display())]
    Path { path: PathBuf, cause: io::Error },
    /// Another playground holds the data directory's lock.
    #[error(
        "a playground{} already runs on {}: stop it, or start this one with another --data-dir and --listen",
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(),
        path.display()
    )]
    Running { path: PathBuf, pid: Option<u32> },
    #[error(
        "cannot listen on:\n{}\nstop what holds these ports, or choose others with --listen (every port follows from it)",
        lines(ports)
    )]
    Ports { ports: Vec<BusyPort> },
    #[error("no etcd at {}: name an etcd binary with --etcd (`scripts/tool etcd` prints one)", path.display())]
    NoEtcd { path: PathBuf },
    #[error("{program} is not on the PATH: install the package {package}")]
    NoProgram { program: &'static str, package: &'static str },
    #[error("starting {name}: {cause}")]
    Spawn { name: String, cause: io::Error },
    /// No success from its health endpoint in time; `reason` is that of the last attempt.
    #[error("{name} did not answer {url} within {} s ({reason}); its log is {}", within.as_secs(), log.display())]
    NotReady { name: String, url: String, within: Duration, reason: String, log: PathBuf },
    /// A child ended while it should have run.
    #[error("{name} ended by itself ({status}); its log, {}, ends with:\n{}", log.display(), lines(tail))]
    Died { name: String, status: ExitStatus, log: PathBuf, tail: Vec<String> },
    #[error("waiting for {name}: {cause}")]
    Wait { name: String, cause: io::Error },
    /// These were asked to stop, did not, and were killed.
    #[error("killed {}: still running {} s after SIGTERM", names.join(", "), within.as_secs())]
    Killed { names: Vec<String>, within: Duration },
    #[error("signal handlers: {0}")]
    Signals(io::Error),
    #[error("printing: {0}")]
    Print(io::Error),
}

/// An address that something else holds, or that cannot be had for another reason.
#[derive(Debug)]
pub struct BusyPort {
    pub address: SocketAddr,
    /// What would have listened there.
    pub wanted_by: String,
    pub cause: io::Error,
}

// === impl BusyPort ===

impl Display for BusyPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.address, self.wanted_by, self.cause)
    }
}

fn lines(items: &[impl Display]) -> String {
    items.iter().map(|item| format!("  {item}")).collect::<Vec<_>>().join("\n")
}
