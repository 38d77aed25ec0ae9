//! etcd-prism: one etcd endpoint over several etcd clusters.

mod cli;
mod logging;
mod serve;
mod status;
mod tracing_export;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("etcd-prism: {error:#}");
            ExitCode::FAILURE
        }
    }
}
