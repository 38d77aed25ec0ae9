//! What the fences cost.

use comfy_table::Table;

use crate::ladder::{Cell, Results, Sample};
use crate::report::format::{number_or_dash, table as new_table};
use crate::rungs::RungKind;
use crate::works::Work;

type Figure = fn(&Sample) -> Option<f64>;

/// Each unary work with fences against the same without; `None` if that was not measured.
pub(crate) fn table(results: &Results) -> Option<Table> {
    let mut table = new_table(&[
        "fenced of unfenced",
        "throughput",
        "proxy CPU",
        "etcd CPU",
        "both",
        "p50, ms more",
        "p99, ms more",
    ]);
    let rows = results.rows().into_iter().filter(|(work, _)| work.is_unary());
    let measured = rows.filter(|row| of(results, *row, RungKind::Unfenced, |s| Some(s.per_second)).is_some());
    for row in measured {
        let figures = [
            ratio(results, row, |s| Some(s.per_second)),
            ratio(results, row, |s| s.proxy_cpu),
            ratio(results, row, |s| s.etcd_cpu),
            ratio(results, row, both),
            more(results, row, |s| s.p50),
            more(results, row, |s| s.p99),
        ];
        let name = format!("{}, {}", row.0, row.1);
        table.add_row([vec![name], figures.map(number_or_dash).to_vec()].concat());
    }
    (table.row_count() > 0).then_some(table)
}

/// The CPU time of the proxy and of etcd, with fences over without: 0.05 is five percent more.
pub(crate) fn cost(results: &Results, row: (Work, usize)) -> Option<f64> {
    Some(ratio(results, row, both)? - 1.0)
}

fn both(sample: &Sample) -> Option<f64> {
    Some(sample.proxy_cpu? + sample.etcd_cpu?)
}

fn ratio(results: &Results, row: (Work, usize), figure: Figure) -> Option<f64> {
    let without = of(results, row, RungKind::Unfenced, figure).filter(|value| *value > 0.0)?;
    Some(of(results, row, RungKind::Prism, figure)? / without)
}

fn more(results: &Results, row: (Work, usize), figure: Figure) -> Option<f64> {
    Some(of(results, row, RungKind::Prism, figure)? - of(results, row, RungKind::Unfenced, figure)?)
}

fn of(results: &Results, (work, clients): (Work, usize), rung: RungKind, figure: Figure) -> Option<f64> {
    results.median(Cell { work, clients, rung }, figure)
}
