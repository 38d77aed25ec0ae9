//! Measures etcd-prism: see `docs/performance.md`.

mod cli;
mod client;
mod error;
mod forward;
mod ladder;
mod load;
mod report;
mod rungs;
mod splice;
mod system;
mod works;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::error::BenchError;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("etcd-prism-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), BenchError> {
    // The threads of the load generator have runtimes of their own; this one only waits, and starts the children: it
    // is the thread whose end the kernel takes for the end of their parent.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| BenchError::io("start a runtime", cause))?;
    match command {
        Command::Ladder(options) => runtime.block_on(ladder::run(options)),
        Command::Forward { listen, to } => runtime.block_on(forward::run(listen, to)),
        Command::Splice { listen, to } => runtime.block_on(splice::run(listen, to)),
    }
}
