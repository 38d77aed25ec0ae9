//! Steps and faults. A selection runs always; `make test-matrix` runs all and prints the table of docs/migration.md.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use etcd_prism_tests::tripwire::Side;
use parking_lot::Mutex;

use crate::cell::{self, Outcome};
use crate::fault::{FAULTS, Fault, MEMBERS};
use crate::steps::{self, STEPS, Step};

/// Steps that are also taken with shards of three members.
const WITH_MEMBERS: &[&str] =
    &["copy", "follow", "seal", "read G", "catch up", "decide", "flip", "finish", "retire"];

macro_rules! cells {
    ($($name:ident: $step:literal, $side:ident, $fault:ident;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                println!("{:?}", cell::run(steps::named($step), Side::$side, Fault::$fault).await);
            }
        )*
    };
}

cells! {
    the_source_is_compacted_while_it_is_copied: "copy", Before, SourceCompacted;
    the_target_is_full_while_it_follows: "follow", Before, TargetFull;
    the_driver_dies_behind_its_seal: "seal", After, DriverKilled;
    the_other_proxy_dies_and_cannot_let_go: "let go", Before, OtherKilled;
    the_target_is_away_when_it_is_to_catch_up: "catch up", Before, TargetCutFromDriver;
    the_source_dies_when_the_flip_is_decided: "decide", Before, SourceKilled;
    the_driver_sleeps_between_decision_and_flip: "flip", Before, DriverStopped;
    the_target_dies_right_after_the_flip: "flip", After, TargetKilled;
    everything_dies_while_the_source_is_purged: "purge the source", After, EverythingRestarted;
}

/// Each step with each fault, once before and once after it in turn. `MATRIX=seal` runs the cells whose name has that in
/// it, `MATRIX_JOBS` so many at once, `MATRIX_SIDES=both` each of them before and after.
#[test]
#[ignore = "long"]
fn every_step_with_every_fault() {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let (filter, both) = (variable("MATRIX"), variable("MATRIX_SIDES") == "both");
    let jobs: usize = variable("MATRIX_JOBS").parse().unwrap_or(3);
    let cells = Mutex::new(cells(&filter, both));
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(cell) = { cells.lock().pop_front() } {
                    found.lock().push((cell, alone(cell)));
                }
            });
        }
    });
    let found = found.into_inner();
    let mut table: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for ((step, _, fault), outcome) in &found {
        let text = outcome.as_ref().map_or_else(|_| "FAILED".to_owned(), |outcome| text(outcome, *fault));
        table.entry((step.name, fault.name())).or_default().push(text);
    }
    for faults in [&FAULTS[..6], &FAULTS[6..], MEMBERS] {
        print_table(faults, &table);
    }
    let failed: Vec<&String> = found.iter().filter_map(|(_, outcome)| outcome.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} of {} cells failed:\n{failed:#?}", failed.len(), found.len());
}

type Cell = (&'static Step, Side, Fault);

/// In the order of the steps. `both`: each of them before and after, instead of in turn.
fn cells(filter: &str, both: bool) -> VecDeque<Cell> {
    let mut cells = VecDeque::new();
    for (row, step) in STEPS.iter().enumerate() {
        let members = MEMBERS.iter().filter(|_| WITH_MEMBERS.contains(&step.name));
        for (column, fault) in FAULTS.iter().chain(members).copied().enumerate() {
            let turn = [Side::Before, Side::After][(row + column) % 2];
            let sides = [Side::Before, Side::After].into_iter().filter(|side| both || *side == turn);
            cells.extend(sides.map(|side| (step, side, fault)).filter(|cell| name(*cell).contains(filter)));
        }
    }
    cells
}

/// A cell that fails does not end the others.
fn alone(cell: Cell) -> Result<Outcome, String> {
    let (step, side, fault) = cell;
    let run = move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(cell::run(step, side, fault))
    };
    match std::thread::spawn(run).join() {
        Ok(outcome) => {
            println!("{}: {outcome:?}", name(cell));
            Ok(outcome)
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map_or("no text", String::as_str);
            println!("{}: FAILED: {text}", name(cell));
            Err(format!("{}: {text}", name(cell)))
        }
    }
}

fn name((step, side, fault): Cell) -> String {
    format!("{} {side:?} {}", step.name, fault.name())
}

/// `on`: by itself, `again`: with the verb once more; and how long writers had to wait at the proxy that lived.
fn text(outcome: &Outcome, fault: Fault) -> String {
    let gap = match fault {
        Fault::OtherKilled => outcome.gaps[0],
        Fault::EverythingRestarted => outcome.gaps[0].max(outcome.gaps[1]),
        _ => outcome.gaps[1],
    };
    format!("{} {}", if outcome.by_itself { "on" } else { "again" }, seconds(gap))
}

fn seconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64())
}

fn print_table(faults: &[Fault], cells: &BTreeMap<(&str, &str), Vec<String>>) {
    let names: Vec<&str> = faults.iter().map(|fault| fault.name()).collect();
    println!("\n| step | {} |\n|---{}|", names.join(" | "), "|---".repeat(names.len()));
    for step in STEPS {
        let row: Vec<String> = names
            .iter()
            .map(|fault| cells.get(&(step.name, *fault)).map_or(String::new(), |c| c.join(", ")))
            .collect();
        if row.iter().any(|cell| !cell.is_empty()) {
            println!("| {} | {} |", step.name, row.join(" | "));
        }
    }
}
