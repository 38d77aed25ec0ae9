//! `etcd-prism route …`: looks at and changes what the shards say of the routes.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Subcommand;
use comfy_table::{Table, presets};
use etcd_prism_control::{ApplyError, ApplyOptions, Clock, Difference, Options, OwnershipSnapshot, Progress};
use etcd_prism_routing::Keyspace;
use tokio_util::sync::CancellationToken;

use crate::site::{self, Opened};
use crate::status::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum RouteCommand {
    /// Shows the routes of the file as a proxy would find them: where they are served, or why they are not.
    List {
        #[command(flatten)]
        file: ConfigFile,
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Compares the file with the table on the shards. Ends with 1 if they differ.
    Diff {
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Makes the table on the shards what the file says. Moves no keys: routes that would leave keys behind are refused.
    /// Can be run again at any time, and goes on where an earlier run stopped.
    Apply {
        #[command(flatten)]
        file: ConfigFile,
        /// Only looks whether it would be allowed.
        #[arg(long)]
        dry_run: bool,
        /// How long the routes concerned may pause; when it takes longer, everything is as before.
        #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span)]
        max_pause: Duration,
        /// Allows clients of keys that change shards to see revisions fall: only where no client uses these keys.
        #[arg(long)]
        lower_revisions: bool,
        /// Does not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Ends a change that is under way, if it has not been committed; otherwise finishes it.
    Abort {
        #[command(flatten)]
        file: ConfigFile,
    },
}

/// Which file.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigFile {
    /// The configuration file (TOML), the same that the proxies are started with.
    #[arg(long, value_name = "FILE", env = "ETCD_PRISM_CONFIG")]
    pub(crate) config: PathBuf,
}

fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number and a unit, such as 10s"))
}

pub(crate) async fn run(command: RouteCommand) -> anyhow::Result<ExitCode> {
    match command {
        RouteCommand::List { file, output } => list(&file.config, output).await,
        RouteCommand::Diff { file } => diff(&file.config).await,
        RouteCommand::Apply { file, dry_run, max_pause, lower_revisions, yes } => {
            let opened = site::open(&file.config)?;
            let options = ApplyOptions { max_pause, lower_revisions, interrupt: CancellationToken::new() };
            if dry_run { try_out(&opened, &options).await } else { apply(&opened, options, yes).await }
        }
        RouteCommand::Abort { file } => abort(&file.config).await,
    }
}

async fn list(path: &Path, output: Output) -> anyhow::Result<ExitCode> {
    let Opened { config, specs, .. } = site::open(path)?;
    let options = Options {
        fences: true,
        session_ttl: config.ownership.session_ttl,
        name: String::new(),
        address: String::new(),
        clock: Clock::default(),
    };
    let keyspace = Keyspace::new(&specs)?;
    let found = etcd_prism_control::survey(options, &keyspace, &specs, site::pools(&config)?).await;
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&found)?),
        Output::Table => print!("{}", render(&config, &found)),
    }
    Ok(ExitCode::SUCCESS)
}

fn render(config: &etcd_prism_config::Config, found: &OwnershipSnapshot) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["ROUTE", "PREFIXES", "SHARD", "STATE", "EPOCH", "REIGN", "DEFINITION"]);
    let mut remarks = String::new();
    for (route, shown) in config.routes.iter().zip(&found.routes) {
        let prefixes =
            if route.is_default() { "everything else".to_owned() } else { route.prefixes.join("\n") };
        table.add_row([
            shown.name.clone(),
            prefixes,
            shown.shard.clone().unwrap_or_else(|| "-".to_owned()),
            shown.state.to_string(),
            shown.epoch.to_string(),
            shown.reign.to_string(),
            shown.definition.clone(),
        ]);
        for remark in shown.reason.iter().chain(&shown.alarms) {
            remarks += &format!("route {}: {remark}\n", shown.name);
        }
    }
    for shard in &found.shards {
        for remark in shard.problem.iter().chain(&shard.error) {
            remarks += &format!("shard {}: {remark}\n", shard.name);
        }
    }
    format!("{}\n{remarks}", table.trim_fmt())
}

async fn diff(path: &Path) -> anyhow::Result<ExitCode> {
    let opened = site::open(path)?;
    match etcd_prism_control::diff(&opened.site, &opened.specs).await? {
        Difference::None(generation) => {
            println!("the file and the table on the shards (generation {generation}) say the same");
            Ok(ExitCode::SUCCESS)
        }
        Difference::NoTable => {
            println!("the shards have no table yet: the first proxy that reaches all of them creates it");
            Ok(ExitCode::FAILURE)
        }
        Difference::Some(text) => {
            print!("{text}");
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn try_out(opened: &Opened, options: &ApplyOptions) -> anyhow::Result<ExitCode> {
    if let Difference::Some(text) = etcd_prism_control::diff(&opened.site, &opened.specs).await? {
        print!("{text}");
    }
    let first = etcd_prism_control::dry_run(&opened.site, &opened.specs, options, &mut say).await?;
    match first {
        None => println!("nothing to do"),
        Some(first) => println!("nothing speaks against it; it would begin with: {first}"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn apply(opened: &Opened, options: ApplyOptions, yes: bool) -> anyhow::Result<ExitCode> {
    match etcd_prism_control::diff(&opened.site, &opened.specs).await? {
        Difference::Some(text) if !yes => {
            print!("{text}");
            confirm("change the routes?")?;
        }
        Difference::Some(text) => print!("{text}"),
        Difference::None(_) | Difference::NoTable => {}
    }
    give_up_on_interrupt(options.interrupt.clone());
    let applied = etcd_prism_control::apply(&opened.site, &opened.specs, &options, &mut say).await?;
    match applied.paused {
        Some(paused) => println!("done: generation {}, routes paused for {paused:.0?}", applied.generation),
        None => println!("done: generation {}", applied.generation),
    }
    Ok(ExitCode::SUCCESS)
}

async fn abort(path: &Path) -> anyhow::Result<ExitCode> {
    let opened = site::open(path)?;
    let options = ApplyOptions {
        max_pause: Duration::MAX,
        lower_revisions: false,
        interrupt: CancellationToken::new(),
    };
    match etcd_prism_control::abort(&opened.site, &options, &mut say).await {
        Err(ApplyError::Stopped(reason)) => println!("{reason}"),
        other => println!("generation {}", other?.generation),
    }
    Ok(ExitCode::SUCCESS)
}

fn say(progress: Progress) {
    match progress {
        Progress::Writing(what) => println!("→ {what}"),
        Progress::Waiting(who) => println!("  waiting for {}", who.join(", ")),
        Progress::Probing(shard) => println!("  looking for keys on {shard}"),
        Progress::Retrying(error) => println!("  {error}"),
    }
}

/// Asks on the terminal.
pub(crate) fn confirm(question: &str) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!("{question} pass --yes");
    }
    print!("{question} [y/N] ");
    std::io::stdout().flush().context("standard output")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("standard input")?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => bail!("nothing was changed"),
    }
}

/// The first Ctrl-C ends the change in order; the second ends the process.
fn give_up_on_interrupt(interrupt: CancellationToken) {
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            eprintln!("ending the change; once more ends the program at once");
            interrupt.cancel();
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(130);
            }
        }
    });
}
