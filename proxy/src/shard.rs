//! `etcd-prism shard accept`: takes a shard whose data was restored or replaced on purpose.

use std::process::ExitCode;

use clap::Subcommand;

use crate::route::{ConfigFile, confirm};
use crate::site;

#[derive(Debug, Subcommand)]
pub(crate) enum ShardCommand {
    /// Takes a shard as it is, after its data was restored or replaced on purpose: it gets a new identity, and its routes
    /// are served again. What clients saw of newer data is lost.
    Accept {
        #[arg(value_name = "SHARD")]
        name: String,
        #[command(flatten)]
        file: ConfigFile,
        /// Does not ask.
        #[arg(long)]
        yes: bool,
    },
}

pub(crate) async fn run(command: ShardCommand) -> anyhow::Result<ExitCode> {
    let ShardCommand::Accept { name, file, yes } = command;
    let opened = site::open(&file.config)?;
    if !yes {
        confirm(&format!("is the data of shard {name} the newest that there is?"))?;
    }
    for line in etcd_prism_control::accept(&opened.site, &name).await? {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}
