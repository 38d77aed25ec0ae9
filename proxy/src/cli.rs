//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use etcd_prism_config::Config;

/// One etcd endpoint over several etcd clusters: a gRPC proxy that routes key prefixes to shards.
#[derive(Debug, Parser)]
#[command(name = "etcd-prism", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the proxy.
    Serve {
        /// The configuration file (TOML).
        #[arg(long, value_name = "FILE", env = "ETCD_PRISM_CONFIG")]
        config: PathBuf,
    },
    /// Starts four local etcd shards and the proxy in front of them, for trying things out.
    Playground {
        /// Where the proxy listens; the other ports follow from this one.
        #[arg(long, value_name = "ADDR", default_value_t = etcd_prism_playground::DEFAULT_LISTEN)]
        listen: SocketAddr,
        /// Where the shards keep their data; survives restarts.
        #[arg(long, value_name = "DIR", default_value = etcd_prism_playground::DEFAULT_DATA_DIR)]
        data_dir: PathBuf,
        /// How many proxies to start.
        #[arg(long, value_name = "N", default_value_t = 1)]
        proxies: usize,
        /// Begin with every route on the shard `rest`: a cluster that is still to be split. Only for a new data directory.
        #[arg(long)]
        unsplit: bool,
        /// The etcd binary; the one on the PATH by default.
        #[arg(long, value_name = "PATH", env = "ETCD_PRISM_ETCD")]
        etcd: Option<PathBuf>,
    },
    /// Checks a configuration file and explains what it means.
    CheckConfig {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Shows routes and shards of a running proxy: health, leader, version, size, quota, alarms.
    Status {
        /// The proxy's admin address.
        #[arg(long, value_name = "HOST:PORT", default_value_t = etcd_prism_config::DEFAULT_ADMIN.to_string())]
        admin: String,
        #[arg(long, value_enum, default_value = "table")]
        output: crate::status::Output,
    },
    /// Moves a route to another shard while it is used: plan, create, status --watch, switch, complete. Ends with 0 if it was
    /// done, 3 if something speaks against it, 4 if a switch was given up, 5 if a comparison found differences, and 1 if the
    /// proxy could not be asked.
    #[command(subcommand)]
    Migrate(crate::migrate::MigrateCommand),
    /// Looks at and changes what the shards say of the routes. Needs no proxy.
    #[command(subcommand)]
    Route(crate::route::RouteCommand),
    /// Looks at the fences. Needs no proxy.
    #[command(subcommand)]
    Fence(crate::fence::FenceCommand),
    /// Looks after a shard. Needs no proxy.
    #[command(subcommand)]
    Shard(crate::shard::ShardCommand),
    /// Prints shell completions.
    Completions {
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
}

impl Cli {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve { config } => crate::serve::run(&config)?,
            Command::Playground { listen, data_dir, proxies, unsplit, etcd } => {
                let prism = std::env::current_exe().context("cannot find my own binary")?;
                let mut options = etcd_prism_playground::Options::new(prism);
                options.listen = listen;
                options.data_dir = data_dir;
                options.proxies = proxies;
                options.unsplit = unsplit;
                options.etcd = etcd;
                let played = runtime()?.block_on(etcd_prism_playground::run(options));
                played.map_err(|e| anyhow::anyhow!("{e}"))?;
            }
            Command::CheckConfig { file } => {
                println!("{}", Config::load(&file)?.explain());
            }
            Command::Status { admin, output } => runtime()?.block_on(crate::status::run(&admin, output))?,
            Command::Migrate(command) => return runtime()?.block_on(crate::migrate::run(command)),
            Command::Route(command) => return runtime()?.block_on(crate::route::run(command)),
            Command::Fence(command) => return runtime()?.block_on(crate::fence::run(command)),
            Command::Shard(command) => return runtime()?.block_on(crate::shard::run(command)),
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Self::command(), "etcd-prism", &mut std::io::stdout());
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The runtime of everything that is not the data path.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .context("cannot start a runtime")
}
