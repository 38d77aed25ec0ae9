//! etcd-prism: one etcd endpoint over several etcd clusters.

mod cli;
mod fence;
mod logging;
mod migrate;
mod route;
mod serve;
mod shard;
mod site;
mod status;
mod tracing_export;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("etcd-prism: {error:#}");
            ExitCode::FAILURE
        }
    }
}
