//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::rungs::RungKind;
use crate::works::Work;

/// Measures etcd-prism against what it could be replaced by.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The same load straight on etcd and through every proxy this machine offers, in interleaved rounds.
    Ladder(LadderOptions),
    /// Passes HTTP/2 requests on and does nothing else: what the libraries cost. The ladder starts it by itself.
    Forward {
        /// The address to listen on.
        #[arg(long)]
        listen: SocketAddr,
        /// The address to connect to, once per connection.
        #[arg(long)]
        to: SocketAddr,
    },
    /// Copies bytes between TCP connections: the floor of what any proxy costs. The ladder starts it by itself.
    Splice {
        /// The address to listen on.
        #[arg(long)]
        listen: SocketAddr,
        /// The address to connect to, once per connection.
        #[arg(long)]
        to: SocketAddr,
    },
}

/// What to measure, with what, and for how long.
#[derive(Clone, Debug, Args)]
pub(crate) struct LadderOptions {
    /// Only these works.
    #[arg(long, value_delimiter = ',', default_values_t = Work::ALL)]
    pub(crate) works: Vec<Work>,
    /// Only these rungs [default: all but those of --moves].
    #[arg(long, value_delimiter = ',', default_values_t = RungKind::USUAL, hide_default_value = true)]
    pub(crate) rungs: Vec<RungKind>,
    /// In place of the usual rungs those of a route before, while and after it moves to another etcd: unmoved, copying,
    /// followed, switched, completed.
    #[arg(long, conflicts_with = "rungs")]
    pub(crate) moves: bool,
    /// How many clients call at once in the unary works; each has one request in flight.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    pub(crate) clients: Vec<usize>,
    /// How often everything is measured. Medians need at least three.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// How long each measurement lasts.
    #[arg(long, default_value = "2", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// How long the load runs before each measurement.
    #[arg(long, default_value = "0.5", value_parser = seconds)]
    pub(crate) warmup: Duration,
    /// On a machine that others use too: how long each measurement may wait until they are quiet, and be repeated when
    /// they were not.
    #[arg(long, default_value = "0", value_parser = patience)]
    pub(crate) patience: Duration,
    /// Requests per second of all clients together, for latency at a fixed load (open loop). Without it each client
    /// sends its next request when the last one is answered (closed loop), which shows the throughput.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// Threads of the load generator.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) threads: u16,
    /// Writes every figure of every round to this file.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// The etcd to measure on, and whose `grpc-proxy` to measure [default: `etcd` on the PATH].
    #[arg(long, env = "ETCD_PRISM_ETCD")]
    pub(crate) etcd: Option<PathBuf>,
    /// The etcd-prism to measure [default: the one beside this program].
    #[arg(long, env = "ETCD_PRISM_BIN")]
    pub(crate) prism: Option<PathBuf>,
    /// The nginx to measure [default: `nginx` on the PATH].
    #[arg(long)]
    pub(crate) nginx: Option<PathBuf>,
    /// Where etcd keeps its data while it is measured [default: memory (/dev/shm), else the folder for temporary files].
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Lets etcd sync its log to disk, as in production: with --data-dir on the disk in question.
    #[arg(long)]
    pub(crate) fsync: bool,
}

impl LadderOptions {
    pub(crate) fn rungs(&self) -> &[RungKind] {
        if self.moves { &RungKind::MOVES } else { &self.rungs }
    }
}

fn patience(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn seconds(text: &str) -> Result<Duration, String> {
    patience(text)
        .and_then(|time| if time.is_zero() { Err("must be above zero".to_owned()) } else { Ok(time) })
}
