//! What was measured, round by round.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::BenchError;
use crate::rungs::RungKind;
use crate::works::Work;

/// What was measured: a place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    pub(crate) work: Work,
    pub(crate) clients: usize,
    pub(crate) rung: RungKind,
}

/// The figures of one cell in one round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// Requests, bytes or events, by the work's unit.
    pub(crate) things: u64,
    pub(crate) conflicts: u64,
    /// Requests, bytes or events per second.
    pub(crate) per_second: f64,
    /// Latencies in milliseconds.
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) p999: Option<f64>,
    /// CPU seconds per unit of work.
    pub(crate) proxy_cpu: Option<f64>,
    pub(crate) etcd_cpu: Option<f64>,
    /// How many cores each kept busy on average.
    pub(crate) proxy_cores: Option<f64>,
    pub(crate) etcd_cores: f64,
    pub(crate) bench_cores: f64,
    /// Everything else on this machine.
    pub(crate) other_cores: f64,
    /// Resident memory of the proxy before the load and at the end of it, and the peak between, in bytes.
    pub(crate) memory_before: Option<u64>,
    pub(crate) memory: Option<u64>,
    pub(crate) peak_memory: Option<u64>,
    /// Is the peak that of this measurement, and not that since the proxy's start?
    pub(crate) peak_is_own: bool,
}

impl Sample {
    /// The memory that the load takes for each of its things, in bytes.
    pub(crate) fn memory_each(&self) -> Option<f64> {
        let taken = self.memory? as f64 - self.memory_before? as f64;
        (self.things > 0).then(|| taken / self.things as f64)
    }
}

/// All samples. A measurement that failed leaves its reason instead.
#[derive(Debug, Default)]
pub(crate) struct Results {
    cells: BTreeMap<Cell, Rounds>,
}

/// One cell's rounds.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Rounds {
    pub(crate) samples: Vec<Sample>,
    pub(crate) failures: Vec<String>,
}

impl Results {
    pub(crate) fn add(&mut self, cell: Cell, sample: Result<Sample, BenchError>) {
        let rounds = self.cells.entry(cell).or_default();
        match sample {
            Ok(sample) => rounds.samples.push(sample),
            Err(error) => {
                eprintln!("{} with {} clients on {}: {error}", cell.work, cell.clients, cell.rung);
                rounds.failures.push(error.to_string());
            }
        }
    }

    pub(crate) fn cells(&self) -> impl Iterator<Item = (Cell, &Rounds)> {
        self.cells.iter().map(|(cell, rounds)| (*cell, rounds))
    }

    pub(crate) fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.cells.values().flat_map(|rounds| &rounds.samples)
    }

    /// The works and numbers of clients that were measured.
    pub(crate) fn rows(&self) -> Vec<(Work, usize)> {
        let mut rows: Vec<_> = self.cells.keys().map(|cell| (cell.work, cell.clients)).collect();
        rows.dedup();
        rows
    }

    pub(crate) fn rounds(&self, cell: Cell) -> Option<&Rounds> {
        self.cells.get(&cell)
    }

    /// The middle of a figure over the rounds; `None` if it was not measured.
    pub(crate) fn median(&self, cell: Cell, figure: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let samples = &self.rounds(cell)?.samples;
        Spread::of(samples.iter().filter_map(figure)).map(|spread| spread.median)
    }
}

/// A figure over the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None` without any figures.
    pub(crate) fn of(figures: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { sorted[middle - 1].midpoint(sorted[middle]) };
        Some(Self { median, least, most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads() {
        let check = |figures: &[f64], expected: Option<[f64; 3]>| {
            let spread = Spread::of(figures.iter().copied());
            assert_eq!(
                spread.map(|spread| [spread.median, spread.least, spread.most]),
                expected,
                "{figures:?}"
            );
        };
        check(&[], None);
        check(&[2.0], Some([2.0, 2.0, 2.0]));
        check(&[3.0, 1.0], Some([2.0, 1.0, 3.0]));
        check(&[9.0, 1.0, 2.0], Some([2.0, 1.0, 9.0]));
    }
}
