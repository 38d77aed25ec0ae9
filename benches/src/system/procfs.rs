//! CPU time and memory of processes, as Linux counts them.

use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;

use crate::error::BenchError;

/// The user and system time that a process has used so far, in steps of a clock tick (10 ms).
pub(crate) fn cpu_time(pid: u32) -> Result<Duration, BenchError> {
    let path = format!("/proc/{pid}/stat");
    let text = read(&path)?;
    // The second field is the program's name in brackets, and may hold anything; utime and stime are fields 14 and 15.
    let fields = text.rsplit_once(')').map(|(_, fields)| fields.split_ascii_whitespace());
    let ticks = fields.and_then(|fields| sum(fields.skip(11).take(2)));
    ticks.map(ticks_to_time).ok_or_else(|| unexpected(&path))
}

/// The time that the machine's cores have been busy so far, together.
pub(crate) fn machine_cpu_time() -> Result<Duration, BenchError> {
    let text = read("/proc/stat")?;
    // cpu user nice system idle iowait irq softirq steal: busy is all but idle, iowait and what the host took away.
    let fields: Option<Vec<&str>> =
        text.lines().next().map(|line| line.split_ascii_whitespace().skip(1).collect());
    let busy = fields.and_then(|fields| {
        let of = |index: usize| fields.get(index).copied();
        sum([of(0)?, of(1)?, of(2)?, of(5)?, of(6)?].into_iter())
    });
    busy.map(ticks_to_time).ok_or_else(|| unexpected("/proc/stat"))
}

/// The memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident now, in bytes.
    pub(crate) now: u64,
    /// The most that was resident since [`reset_peak`], in bytes.
    pub(crate) peak: u64,
}

pub(crate) fn memory(pid: u32) -> Result<Memory, BenchError> {
    let path = format!("/proc/{pid}/status");
    let text = read(&path)?;
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    };
    let memory = bytes("VmRSS:").zip(bytes("VmHWM:")).map(|(now, peak)| Memory { now, peak });
    memory.ok_or_else(|| unexpected(&path))
}

/// Lets the peak start again from what is resident now. A kernel without that keeps the peak since the start.
pub(crate) fn reset_peak(pid: u32) -> Result<(), BenchError> {
    let path = format!("/proc/{pid}/clear_refs");
    fs::write(&path, "5").map_err(|cause| BenchError::io(format!("write {path}"), cause))
}

fn read(path: &str) -> Result<String, BenchError> {
    fs::read_to_string(path).map_err(|cause| BenchError::io(format!("read {path}"), cause))
}

fn sum<'a>(mut fields: impl Iterator<Item = &'a str>) -> Option<u64> {
    fields.try_fold(0, |sum: u64, field| sum.checked_add(field.parse().ok()?))
}

fn ticks_to_time(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64)
}

fn unexpected(path: &str) -> BenchError {
    BenchError::io(format!("read {path}"), std::io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests;
