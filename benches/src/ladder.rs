//! The same load on every rung, in interleaved rounds.

mod measure;
mod quiet;
mod results;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::LadderOptions;
use crate::error::BenchError;
use crate::ladder::measure::measure;
pub(crate) use crate::ladder::quiet::BUSY;
use crate::ladder::quiet::Patience;
pub(crate) use crate::ladder::results::{Cell, Results, Rounds, Sample, Spread};
use crate::load::{self, Order};
use crate::report::{self, Run, Rung};
use crate::rungs::{Plan, RungKind, Stage, Tools};
use crate::system::machine::Machine;
use crate::works::Work;

/// How long the load takes to be ready, and the proxy to do what it is told, at most.
const STARTING: Duration = Duration::from_secs(1);

/// Measures, and prints the report; when it is stopped early, of what was measured until then.
pub(crate) async fn run(options: LadderOptions) -> Result<(), BenchError> {
    let machine = Machine::look();
    let tools = Tools::find(&options)?;
    let rungs = rungs(&options, &tools);
    for Rung { kind, missing, .. } in &rungs {
        if let Some(reason) = missing {
            eprintln!("{kind}: not measured: {reason}");
        }
    }
    let mut results = Results::default();
    let kinds: Vec<RungKind> =
        rungs.iter().filter(|rung| rung.missing.is_none()).map(|rung| rung.kind).collect();
    let (interrupted, ended) = tokio::select! {
        ended = rounds(&options, &tools, &kinds, &mut results) => (ended.is_err(), ended),
        stopped = stop() => (true, stopped.map_err(|cause| BenchError::io("wait for signals", cause))),
    };
    let run = Run::new(machine, &options, rungs, interrupted, results);
    print!("{}", report::text(&run));
    if let Some(path) = &options.json {
        write(path, &serde_json::to_string_pretty(&run)?)?;
    }
    ended
}

/// Resolves when somebody wants this process to end.
async fn stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        stopped = ctrl_c() => stopped,
        _ = terminate.recv() => Ok(()),
    }
}

fn rungs(options: &LadderOptions, tools: &Tools) -> Vec<Rung> {
    let rung = |&kind| {
        let missing = tools.program(kind).err().map(|error| error.to_string());
        Rung { kind, version: tools.version(kind), missing }
    };
    options.rungs().iter().map(rung).collect()
}

async fn rounds(
    options: &LadderOptions,
    tools: &Tools,
    kinds: &[RungKind],
    results: &mut Results,
) -> Result<(), BenchError> {
    let folder = folder(options);
    for round in 0..options.rounds {
        for &work in &options.works {
            eprintln!("round {} of {}: {work}", round + 1, options.rounds);
            // Nothing that one work or round leaves behind can cost the next one anything.
            let mut stage = Stage::start(tools, kinds, &folder, plan(options, work)).await?;
            for address in stage.stores() {
                load::populate(address, work).await?;
            }
            stage.arrange().await?;
            for (step, clients) in work.clients(&options.clients).into_iter().enumerate() {
                // Each rung is first, second, … equally often.
                let count = stage.rungs.len();
                for turn in 0..count {
                    let place = (turn + round as usize + step) % count;
                    let sample = patiently(options, work, clients, &mut stage, place).await;
                    results.add(Cell { work, clients, rung: stage.rungs[place].kind }, sample);
                }
            }
        }
    }
    Ok(())
}

fn plan(options: &LadderOptions, work: Work) -> Plan {
    let once = options.warmup + options.seconds * work.stretch() + options.patience + STARTING;
    let times = u32::try_from(work.clients(&options.clients).len()).unwrap_or(u32::MAX);
    Plan { fsync: options.fsync, measured: once.saturating_mul(times) }
}

/// Measures while the machine is quiet, as far as patience goes.
async fn patiently(
    options: &LadderOptions,
    work: Work,
    clients: usize,
    stage: &mut Stage,
    place: usize,
) -> Result<Sample, BenchError> {
    let mut patience = Patience::new(options.patience);
    loop {
        patience.quiet().await?;
        let order = order(options, work, clients, stage.rungs[place].address);
        stage.rungs[place].begin().await?;
        let sample = measure(order, stage, place, options).await?;
        stage.rungs[place].end().await?;
        if let Some(sample) = patience.judge(sample) {
            return Ok(sample);
        }
    }
}

fn order(options: &LadderOptions, work: Work, clients: usize, address: SocketAddr) -> Order {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    // All clients together send at the rate that was asked for.
    let interval = options.rate.filter(|_| work.is_unary());
    let interval = interval.map(|rate| Duration::from_secs_f64(clients as f64 / f64::from(rate)));
    let threads = usize::from(options.threads);
    Order { work, clients, address, threads, interval, serial }
}

fn folder(options: &LadderOptions) -> PathBuf {
    let memory = || Some(PathBuf::from("/dev/shm")).filter(|path| path.is_dir());
    options.data_dir.clone().or_else(memory).unwrap_or_else(std::env::temp_dir)
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    std::fs::write(path, text).map_err(|cause| BenchError::io(format!("write {}", path.display()), cause))
}
