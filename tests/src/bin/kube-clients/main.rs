//! Clients of an API server, for `scripts/demo-migrate`: they fill it, work on it, and say what they noticed.

mod fill;
mod report;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use etcd_prism_tests::kube::api::Api;
use etcd_prism_tests::kube::credentials::Credentials;

/// Clients of an API server: they fill it, work on it, and say what they noticed.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes keys, a certificate and a token for an API server and for the clients here.
    Credentials {
        /// Where they are written.
        folder: PathBuf,
    },
    /// Creates pods, as many as asked for.
    Fill {
        #[command(flatten)]
        server: Server,
        #[arg(long, default_value_t = 100_000)]
        objects: usize,
    },
    /// Works until it is told to end (SIGTERM), and then fails if anything was not as it must be.
    Work {
        #[command(flatten)]
        server: Server,
    },
}

/// Which API server.
#[derive(Debug, Args)]
struct Server {
    /// Its address, such as 127.0.0.1:6443.
    #[arg(long)]
    server: String,
    /// Where its credentials are.
    #[arg(long)]
    credentials: PathBuf,
}

impl Server {
    fn api(&self) -> Api {
        Api::new(&self.server, &Credentials::open(&self.credentials))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Credentials { folder } => {
            Credentials::create(&folder);
            ExitCode::SUCCESS
        }
        Command::Fill { server, objects } => {
            fill::run(&server.api(), objects).await;
            ExitCode::SUCCESS
        }
        Command::Work { server } => work::run(&server.api()).await,
    }
}
