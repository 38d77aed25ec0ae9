use std::hint::black_box;
use std::time::{Duration, Instant};

use super::*;

/// Well above a clock tick, and above what the kernel accounts late.
const WORK: Duration = Duration::from_millis(300);

#[test]
fn cpu_time_grows_with_work() {
    let pid = std::process::id();
    let (before, machine_before) = (cpu_time(pid).unwrap(), machine_cpu_time().unwrap());
    let start = Instant::now();
    while cpu_time(pid).unwrap() - before < WORK {
        assert!(start.elapsed() < Duration::from_secs(60), "no CPU time in a minute of work");
        black_box((0..10_000u64).sum::<u64>());
    }
    let machine = machine_cpu_time().unwrap() - machine_before;
    assert!(machine >= WORK / 2, "the machine worked for {machine:?} while this process worked for {WORK:?}");
}

#[test]
fn peak_memory_falls_back_after_a_reset() {
    const SIZE: usize = 64 << 20;
    let pid = std::process::id();
    let block = vec![1u8; SIZE];
    black_box(&block);
    drop(block);
    let before = memory(pid).unwrap();
    assert!(before.peak >= SIZE as u64, "{before:?}");
    reset_peak(pid).unwrap();
    let after = memory(pid).unwrap();
    assert!(after.peak < before.peak && after.peak >= after.now, "{before:?} {after:?}");
}

#[test]
fn a_process_that_is_not_there() {
    assert!(cpu_time(u32::MAX).is_err());
    assert!(memory(u32::MAX).is_err());
}
