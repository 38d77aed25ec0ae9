//! What was measured, for people and for programs.

mod fences;
mod format;
mod moves;
mod summary;
mod targets;
mod text;

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

pub(crate) use crate::report::text::text;

use crate::cli::LadderOptions;
use crate::ladder::{BUSY, Cell, Results, Rounds};
use crate::report::targets::{Target, targets};
use crate::rungs::RungKind;
use crate::system::machine::Machine;
use crate::works::{Unit, Work};

/// A run of the ladder. Its JSON form is what `--json` writes.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    machine: Machine,
    rungs: Vec<Rung>,
    rounds: u32,
    seconds: f64,
    warmup: f64,
    /// Requests per second in the open loop.
    rate: Option<u32>,
    fsync: bool,
    /// Stopped before its end.
    interrupted: bool,
    /// Share of the machine that other processes used, over all measurements: the median and the most.
    others: Option<[f64; 2]>,
    #[serde(rename = "figures", serialize_with = "figures")]
    results: Results,
    targets: Vec<Target>,
}

/// Whether and with what a rung was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Rung {
    pub(crate) kind: RungKind,
    pub(crate) version: Option<String>,
    /// Why it was not measured.
    pub(crate) missing: Option<String>,
}

impl Run {
    pub(crate) fn new(
        machine: Machine,
        options: &LadderOptions,
        rungs: Vec<Rung>,
        interrupted: bool,
        results: Results,
    ) -> Self {
        let cores = machine.cores as f64;
        let mut others: Vec<f64> = results.samples().map(|sample| sample.other_cores / cores).collect();
        others.sort_by(f64::total_cmp);
        let others = others.last().map(|most| [others[others.len() / 2], *most]);
        let targets = targets(&results);
        Self {
            machine,
            rungs,
            rounds: options.rounds,
            seconds: options.seconds.as_secs_f64(),
            warmup: options.warmup.as_secs_f64(),
            rate: options.rate,
            fsync: options.fsync,
            interrupted,
            others,
            results,
            targets,
        }
    }

    /// Did others keep the machine busy?
    fn was_busy(&self) -> bool {
        self.others.is_some_and(|[median, _]| median > BUSY)
    }
}

fn figures<S: Serializer>(results: &Results, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row<'a> {
        work: Work,
        clients: usize,
        rung: RungKind,
        unit: Unit,
        #[serde(flatten)]
        rounds: &'a Rounds,
    }
    let mut rows = serializer.serialize_seq(None)?;
    for (Cell { work, clients, rung }, rounds) in results.cells() {
        rows.serialize_element(&Row { work, clients, rung, unit: work.unit(), rounds })?;
    }
    rows.end()
}
