//! `etcd-prism fence show`: the fences as they are stored.

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use comfy_table::{Table, presets};
use etcd_prism_control::Reading;
use etcd_prism_ownership::value::{Fence, State};
use serde::Serialize;

use crate::route::ConfigFile;
use crate::site;
use crate::status::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum FenceCommand {
    /// Shows the fences on every shard.
    Show {
        /// Only those of this route.
        #[arg(value_name = "ROUTE")]
        route: Option<String>,
        #[command(flatten)]
        file: ConfigFile,
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
}

/// One fence.
#[derive(Debug, Serialize)]
struct Row {
    route: String,
    shard: String,
    /// The fence's mod revision there.
    epoch: i64,
    state: &'static str,
    reign: u64,
    /// The hash of what the route owns.
    definition: String,
    /// What else the state says: peer, claim, target.
    details: String,
}

pub(crate) async fn run(command: FenceCommand) -> anyhow::Result<ExitCode> {
    let FenceCommand::Show { route, file, output } = command;
    show(&file.config, route.as_deref(), output).await
}

async fn show(path: &Path, route: Option<&str>, output: Output) -> anyhow::Result<ExitCode> {
    let opened = site::open(path)?;
    let mut rows = Vec::new();
    let mut failed = false;
    for (shard, reading) in opened.site.names().zip(opened.site.read().await) {
        match reading {
            Ok(reading) => rows.extend(rows_of(shard, &reading, route)),
            Err(error) => {
                failed = true;
                eprintln!("shard {shard}: {error}");
            }
        }
    }
    rows.sort_by(|a, b| (&a.route, &a.shard).cmp(&(&b.route, &b.shard)));
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&rows)?),
        Output::Table => print!("{}", render(&rows)),
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn rows_of(shard: &str, reading: &Reading, only: Option<&str>) -> Vec<Row> {
    let wanted = reading.snapshot.fences.iter().filter(|(route, _)| only.is_none_or(|only| only == *route));
    let row = |(route, (epoch, fence)): (&String, &(i64, Result<Fence, _>))| {
        let (route, shard, epoch) = (route.clone(), shard.to_owned(), *epoch);
        match fence {
            Ok(fence) => Row {
                route,
                shard,
                epoch,
                state: fence.state.name(),
                reign: fence.n,
                definition: fence.definition.to_string(),
                details: details(&fence.state),
            },
            Err(error) => Row {
                route,
                shard,
                epoch,
                state: "unreadable",
                reign: 0,
                definition: String::new(),
                details: etcd_prism_ownership::ValueError::to_string(error),
            },
        }
    };
    wanted.map(row).collect()
}

fn details(state: &State) -> String {
    let mut parts = Vec::new();
    match state {
        State::Open { peer } | State::Importing { peer, .. } | State::Sealed { peer, .. } => {
            parts.extend(peer.map(|peer| format!("peer {peer}")));
        }
        State::Flipping { target, target_epoch, g, .. } => {
            parts.push(format!("target {target} at epoch {target_epoch}, up to revision {g}"));
        }
        State::Standby { peer } => parts.push(format!("peer {peer}")),
        State::Retired => {}
    }
    parts.extend(state.claim().map(|claim| format!("for the change claimed at revision {}", claim.0)));
    parts.join(", ")
}

fn render(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["ROUTE", "SHARD", "STATE", "EPOCH", "REIGN", "DEFINITION", "DETAILS"]);
    for row in rows {
        table.add_row([
            row.route.clone(),
            row.shard.clone(),
            row.state.to_owned(),
            row.epoch.to_string(),
            row.reign.to_string(),
            row.definition.chars().take(12).collect(),
            row.details.clone(),
        ]);
    }
    format!("{}\n", table.trim_fmt())
}
