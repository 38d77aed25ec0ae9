//! One measurement: one work, one number of clients, one rung.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::cli::LadderOptions;
use crate::error::BenchError;
use crate::ladder::results::Sample;
use crate::load::{self, Order};
use crate::rungs::Stage;
use crate::system::procfs;

/// The CPU time used so far.
#[derive(Clone, Copy, Debug)]
struct Cpu {
    proxy: Option<Duration>,
    etcd: Duration,
    bench: Duration,
    machine: Duration,
}

/// Runs the load through the rung at `place`, first to warm up, then for as long as `options` says.
pub(crate) async fn measure(
    order: Order,
    stage: &mut Stage,
    place: usize,
    options: &LadderOptions,
) -> Result<Sample, BenchError> {
    stage.check(place)?;
    let etcd = stage.etcd_pids(place);
    let proxy = stage.rungs[place].proxy.as_ref().map(|proxy| proxy.pid());
    let peak_is_own = proxy.is_some_and(|pid| procfs::reset_peak(pid).is_ok());
    let memory_before = proxy.map(procfs::memory).transpose()?;
    let mut team = load::start(order).await?;
    team.ready().await?;
    sleep(options.warmup).await;
    let (start, before) = (Instant::now(), cpu(proxy, &etcd)?);
    team.open();
    sleep(options.seconds * order.work.stretch()).await;
    let (elapsed, after) = (start.elapsed(), cpu(proxy, &etcd)?);
    // Before the clients leave, and what they hold is let go.
    let memory = proxy.map(procfs::memory).transpose()?;
    team.close();
    let tally = team.results().await?;

    let unit = order.work.unit().size();
    let per_unit = |before: Duration, after: Duration| {
        let units = tally.things as f64 / unit;
        (units > 0.0).then(|| after.saturating_sub(before).as_secs_f64() / units)
    };
    let share = |used: Duration| used.as_secs_f64() / elapsed.as_secs_f64();
    let proxy_used = after.proxy.zip(before.proxy).map(|(after, before)| after.saturating_sub(before));
    let etcd_used = after.etcd.saturating_sub(before.etcd);
    let bench_used = after.bench.saturating_sub(before.bench);
    let machine_used = after.machine.saturating_sub(before.machine);
    let ours = proxy_used.unwrap_or_default() + etcd_used + bench_used;
    Ok(Sample {
        things: tally.things,
        conflicts: tally.conflicts,
        per_second: tally.things as f64 / elapsed.as_secs_f64(),
        p50: tally.quantile(0.5),
        p99: tally.quantile(0.99),
        p999: tally.quantile(0.999),
        proxy_cpu: before.proxy.zip(after.proxy).and_then(|(before, after)| per_unit(before, after)),
        etcd_cpu: per_unit(before.etcd, after.etcd),
        proxy_cores: proxy_used.map(share),
        etcd_cores: share(etcd_used),
        bench_cores: share(bench_used),
        other_cores: share(machine_used.saturating_sub(ours)),
        memory_before: memory_before.map(|memory| memory.now),
        memory: memory.map(|memory| memory.now),
        peak_memory: memory.map(|memory| memory.peak),
        peak_is_own,
    })
}

fn cpu(proxy: Option<u32>, etcds: &[u32]) -> Result<Cpu, BenchError> {
    let mut etcd = Duration::ZERO;
    for &pid in etcds {
        etcd += procfs::cpu_time(pid)?;
    }
    Ok(Cpu {
        proxy: proxy.map(procfs::cpu_time).transpose()?,
        etcd,
        bench: procfs::cpu_time(std::process::id())?,
        machine: procfs::machine_cpu_time()?,
    })
}
