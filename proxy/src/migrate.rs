//! `etcd-prism migrate …`: moves routes, by way of a running proxy.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use etcd_prism_migration::report;
use etcd_prism_migration::status::Status;
use etcd_prism_migration::verbs::{Create, End, PREPARE, Reply, Switch, Verb};
use etcd_prism_ownership::migration::{Phase, Throttle};

use crate::status::Output;

mod progress;

/// Between two looks.
const TICK: Duration = Duration::from_millis(500);

/// Something speaks against it, or it was refused.
const NO: u8 = 3;
/// A switch was given up; everything is as before.
const ABORTED: u8 = 4;
/// The shards do not hold the same.
const DIFFERENT: u8 = 5;

#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCommand {
    /// Looks whether a route could be moved, and how long that would take. Changes nothing.
    Plan {
        #[command(flatten)]
        route: Which,
        /// The shard that it would go to.
        #[arg(long, value_name = "SHARD")]
        to: String,
        /// As if the data were dropped.
        #[arg(long)]
        no_copy: bool,
    },
    /// Begins to copy a route to another shard, and to keep the copy up to date. Clients notice nothing.
    Create {
        #[command(flatten)]
        route: Which,
        /// The shard that it goes to.
        #[arg(long, value_name = "SHARD")]
        to: String,
        /// How long requests may be held by a switch, up to the point of decision.
        #[arg(long, value_name = "TIME", default_value = "2s", value_parser = span)]
        max_pause: Duration,
        /// Drops the data: nothing is copied, and all clients list again after the switch. For events.
        #[arg(long)]
        no_copy: bool,
        #[command(flatten)]
        throttle: Rates,
        /// Only looks whether anything speaks against it.
        #[arg(long)]
        dry_run: bool,
    },
    /// Shows where a migration is; without a route, all of them.
    Status {
        #[command(flatten)]
        proxy: Proxy,
        #[arg(value_name = "ROUTE")]
        route: Option<String>,
        /// Until everything is copied, or the migration is over.
        #[arg(long, requires = "route")]
        watch: bool,
    },
    /// Stops copying for now.
    Pause {
        #[command(flatten)]
        route: Which,
    },
    /// Goes on copying.
    Resume {
        #[command(flatten)]
        route: Which,
    },
    /// Changes the rates of the copy while it runs.
    Throttle {
        #[command(flatten)]
        route: Which,
        #[command(flatten)]
        throttle: Rates,
    },
    /// Compares both shards, key by key, while the route is used.
    Verify {
        #[command(flatten)]
        route: Which,
    },
    /// Has the target take over: the only moment at which requests wait.
    Switch {
        #[command(flatten)]
        route: Which,
        #[command(flatten)]
        switch: SwitchArgs,
    },
    /// Has the source take over again, with nothing lost.
    Reverse {
        #[command(flatten)]
        route: Which,
        #[command(flatten)]
        switch: SwitchArgs,
    },
    /// Ends a migration that was switched: the source's copy is deleted.
    Complete {
        #[command(flatten)]
        route: Which,
        #[command(flatten)]
        end: EndArgs,
    },
    /// Ends a migration that was not switched, or was reversed: the target's copy is deleted.
    Cancel {
        #[command(flatten)]
        route: Which,
        #[command(flatten)]
        end: EndArgs,
    },
    /// Shows what happened to a route.
    History {
        #[command(flatten)]
        route: Which,
    },
}

/// Which proxy is asked, and how it is printed.
#[derive(Debug, Args)]
pub(crate) struct Proxy {
    /// The admin address of any proxy.
    #[arg(long, value_name = "HOST:PORT", default_value_t = etcd_prism_config::DEFAULT_ADMIN.to_string())]
    admin: String,
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    #[arg(value_name = "ROUTE")]
    route: String,
    #[command(flatten)]
    proxy: Proxy,
}

/// Bounds on the copy; 0 is none.
#[derive(Debug, Args)]
pub(crate) struct Rates {
    #[arg(long, value_name = "N", default_value_t = 0)]
    keys_per_second: u64,
    #[arg(long, value_name = "N", default_value_t = 0)]
    bytes_per_second: u64,
    /// Slower while a shard takes longer than this for a request, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// The migration is cancelled where a shard takes longer than this for 10 s while it is copied, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    critical_latency: u64,
}

impl From<Rates> for Throttle {
    fn from(rates: Rates) -> Self {
        let Rates { keys_per_second, bytes_per_second, latency, critical_latency } = rates;
        Self { keys_per_second, bytes_per_second, latency, critical_latency }
    }
}

#[derive(Debug, Args)]
pub(crate) struct SwitchArgs {
    /// Only looks whether anything speaks against it.
    #[arg(long)]
    dry_run: bool,
    /// How long requests may be held, up to the point of decision; as created if not given.
    #[arg(long, value_name = "TIME", value_parser = span)]
    max_pause: Option<Duration>,
    /// How long it may take to get ready, before any request is held.
    #[arg(long, value_name = "TIME", value_parser = span)]
    prepare: Option<Duration>,
}

impl From<SwitchArgs> for Switch {
    fn from(args: SwitchArgs) -> Self {
        let max_pause = args.max_pause.map(milliseconds);
        Self { dry_run: args.dry_run, max_pause, prepare: args.prepare.map_or(PREPARE, milliseconds) }
    }
}

#[derive(Debug, Args)]
pub(crate) struct EndArgs {
    /// Only looks whether anything speaks against it.
    #[arg(long)]
    dry_run: bool,
    /// Even if the shard that is to be cleared cannot be reached: it is left as it is. Run it again when it is back.
    #[arg(long)]
    abandon: bool,
}

impl From<EndArgs> for End {
    fn from(EndArgs { dry_run, abandon }: EndArgs) -> Self {
        Self { dry_run, abandon }
    }
}

fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number and a unit, such as 500ms"))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) async fn run(command: MigrateCommand) -> anyhow::Result<ExitCode> {
    match command {
        MigrateCommand::Plan { route, to, no_copy } => ask(route, Verb::Plan { to, no_copy }).await,
        MigrateCommand::Create { route, to, no_copy, dry_run: true, .. } => {
            ask(route, Verb::Plan { to, no_copy }).await
        }
        MigrateCommand::Create { route, to, max_pause, no_copy, throttle, .. } => {
            let (max_pause, throttle) = (milliseconds(max_pause), throttle.into());
            ask(route, Verb::Create(Create { to, max_pause, no_copy, throttle })).await
        }
        MigrateCommand::Status { proxy, route: None, .. } => list(&proxy).await,
        MigrateCommand::Status { proxy, route: Some(route), watch: true } => {
            progress::watch(&proxy, &route).await
        }
        MigrateCommand::Status { proxy, route: Some(route), .. } => {
            ask(Which { route, proxy }, Verb::Status).await
        }
        MigrateCommand::Pause { route } => ask(route, Verb::Pause).await,
        MigrateCommand::Resume { route } => ask(route, Verb::Resume).await,
        MigrateCommand::Throttle { route, throttle } => {
            ask(route, Verb::Throttle { throttle: throttle.into() }).await
        }
        MigrateCommand::Verify { route } => ask(route, Verb::Verify).await,
        MigrateCommand::Switch { route, switch } => ask(route, Verb::Switch(switch.into())).await,
        MigrateCommand::Reverse { route, switch } => ask(route, Verb::Reverse(switch.into())).await,
        MigrateCommand::Complete { route, end } => finish(route, end, Verb::Complete).await,
        MigrateCommand::Cancel { route, end } => finish(route, end, Verb::Cancel).await,
        MigrateCommand::History { route } => ask(route, Verb::History).await,
    }
}

async fn ask(Which { route, proxy }: Which, verb: Verb) -> anyhow::Result<ExitCode> {
    let reply = etcd_prism_admin::migrate(&proxy.admin, &route, &verb).await?;
    print(&reply, proxy.output)?;
    Ok(code(&reply))
}

/// Ends a migration, and prints its report.
async fn finish(
    Which { route, proxy }: Which,
    end: EndArgs,
    verb: impl FnOnce(End) -> Verb,
) -> anyhow::Result<ExitCode> {
    let dry = end.dry_run;
    let reply = etcd_prism_admin::migrate(&proxy.admin, &route, &verb(end.into())).await?;
    if dry || !reply.is_good() || proxy.output == Output::Json {
        print(&reply, proxy.output)?;
        return Ok(code(&reply));
    }
    print(&reply, Output::Table)?;
    if let Reply::Status(status) = etcd_prism_admin::migrate(&proxy.admin, &route, &Verb::Status).await? {
        print!("\n{}", report::render_status(&status));
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(proxy: &Proxy) -> anyhow::Result<ExitCode> {
    let found = etcd_prism_admin::migrations(&proxy.admin).await?;
    match proxy.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&found)?),
        Output::Table if found.is_empty() => println!("no route is or was migrated"),
        Output::Table => {
            let reports: Vec<String> = found.iter().map(report::render_status).collect();
            print!("{}", reports.join("\n"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(reply: &Reply, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(reply)?),
        Output::Table => print!("{}", report::render(reply)),
    }
    Ok(())
}

fn code(reply: &Reply) -> ExitCode {
    match reply {
        _ if reply.is_good() => ExitCode::SUCCESS,
        Reply::Aborted { .. } => ExitCode::from(ABORTED),
        Reply::Verified(_) => ExitCode::from(DIFFERENT),
        _ => ExitCode::from(NO),
    }
}

/// Whether there is nothing more to watch.
fn is_settled(status: &Status) -> bool {
    status.phase.is_over() || status.phase == Phase::Follow && !status.paused
}

fn flush() -> std::io::Result<()> {
    std::io::stdout().flush()
}

fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: MigrateCommand,
    }

    fn parse(line: &str) -> Result<MigrateCommand, clap::Error> {
        Line::try_parse_from(std::iter::once("migrate").chain(line.split(' '))).map(|line| line.command)
    }

    #[test]
    fn every_verb_is_understood() {
        for line in [
            "plan pods --to b",
            "create pods --to b --max-pause 500ms --no-copy --keys-per-second 10 --dry-run",
            "status",
            "status pods --watch --output json --admin 127.0.0.1:1",
            "pause pods",
            "resume pods",
            "throttle pods --bytes-per-second 1000 --latency 20",
            "verify pods",
            "switch pods --max-pause 1s --prepare 5s --dry-run",
            "reverse pods",
            "complete pods --abandon",
            "cancel pods --dry-run",
            "history pods",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in ["plan pods", "create pods", "switch", "status --watch", "switch pods --max-pause 5"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_switch_waits_as_long_as_it_is_told() {
        let Ok(MigrateCommand::Switch { switch, .. }) = parse("switch pods --max-pause 1s") else { panic!() };
        let switch = Switch::from(switch);
        assert_eq!((switch.max_pause, switch.prepare, switch.dry_run), (Some(1000), PREPARE, false));
    }

    #[test]
    fn each_outcome_has_its_exit_code() {
        let is = |reply: Reply, expected: u8| assert_eq!(code(&reply), ExitCode::from(expected), "{reply:?}");
        is(Reply::Refused { text: String::new() }, NO);
        is(Reply::Done(Default::default()), 0);
        let different = etcd_prism_migration::shipping::Verified { different: 1, ..Default::default() };
        is(Reply::Verified(different), DIFFERENT);
        is(Reply::Verified(Default::default()), 0);
    }
}
