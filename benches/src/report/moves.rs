//! What it costs that a route moves, or has moved.

use comfy_table::Table;

use crate::ladder::{Cell, Results, Sample};
use crate::report::format::{number_or_dash, table as new_table};
use crate::rungs::RungKind;
use crate::works::{Unit, Work};

type Figure = fn(&Sample) -> Option<f64>;

/// Each work on a route that moves or has moved against the same on one that does not; `None` if that was not measured.
pub(crate) fn table(results: &Results) -> Option<Table> {
    let mut table = new_table(&[
        "of unmoved",
        "",
        "throughput",
        "proxy CPU",
        "etcds' CPU",
        "all CPU",
        "p50, ms more",
        "p99, ms more",
    ]);
    let kinds = &RungKind::MOVES[1..];
    for row in results.rows().into_iter().filter(|(work, _)| work.unit() != Unit::Watchers) {
        for &kind in kinds.iter().filter(|kind| of(results, row, **kind, |s| Some(s.per_second)).is_some()) {
            let figures = [
                ratio(results, row, kind, |s| Some(s.per_second)),
                ratio(results, row, kind, |s| s.proxy_cpu),
                ratio(results, row, kind, |s| s.etcd_cpu),
                ratio(results, row, kind, both),
                more(results, row, kind, |s| s.p50),
                more(results, row, kind, |s| s.p99),
            ];
            let work = if row.0.is_unary() { format!("{}, {}", row.0, row.1) } else { row.0.to_string() };
            table.add_row([vec![work, kind.to_string()], figures.map(number_or_dash).to_vec()].concat());
        }
    }
    (table.row_count() > 0).then_some(table)
}

/// The proxy's CPU time on a route that has moved, over that on one that has not.
pub(crate) fn translation(results: &Results, row: (Work, usize)) -> Option<f64> {
    ratio(results, row, RungKind::Completed, |sample| sample.proxy_cpu)
}

fn both(sample: &Sample) -> Option<f64> {
    Some(sample.proxy_cpu? + sample.etcd_cpu?)
}

fn ratio(results: &Results, row: (Work, usize), kind: RungKind, figure: Figure) -> Option<f64> {
    let unmoved = of(results, row, RungKind::Unmoved, figure).filter(|value| *value > 0.0)?;
    Some(of(results, row, kind, figure)? / unmoved)
}

fn more(results: &Results, row: (Work, usize), kind: RungKind, figure: Figure) -> Option<f64> {
    Some(of(results, row, kind, figure)? - of(results, row, RungKind::Unmoved, figure)?)
}

fn of(results: &Results, (work, clients): (Work, usize), rung: RungKind, figure: Figure) -> Option<f64> {
    results.median(Cell { work, clients, rung }, figure)
}
