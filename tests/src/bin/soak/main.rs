//! API servers of two minors at work for a while, through two proxies over four shards.
//!
//! Prints what was done and what was found, and fails where anything is not as it
//! must be: a request failed, a watch lost an event, a watch cache was filled again or differs from etcd, a shard was
//! not compacted, or anything panicked.

mod report;
mod run;
mod server_side;

use std::time::Duration;

use clap::Parser;

/// API servers of two minors at work for a while, through two proxies over four shards.
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// How often each API server compacts, in seconds; the default is `run::COMPACTION`.
    #[arg(long, default_value_t = run::COMPACTION.as_secs(), value_parser = clap::value_parser!(u64).range(1..))]
    compaction_seconds: u64,
    /// The same work straight on one etcd, to tell what the proxy does from what API servers do anyway.
    #[arg(long)]
    direct: bool,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    run::run(run::Plan {
        length: Duration::from_secs(60 * arguments.minutes),
        compaction: Duration::from_secs(arguments.compaction_seconds),
        direct: arguments.direct,
    })
    .await;
}
