//! `etcd-prism status`: asks a running proxy and prints what it says.

use anyhow::Context;
use etcd_prism_admin::table;

/// How the answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Prints the status of the proxy whose admin listener is at `admin`, as `host:port`.
pub(crate) async fn run(admin: &str, output: Output) -> anyhow::Result<()> {
    let report = etcd_prism_admin::fetch(admin).await?;
    match output {
        Output::Table => print!("{}", table::render(&report)),
        Output::Json => println!("{}", report.to_json().context("cannot write the status as JSON")?),
    }
    Ok(())
}
