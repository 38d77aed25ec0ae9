//! The few figures that matter, one line for each work and number of clients.

use comfy_table::Table;

use crate::ladder::{Cell, Results, Sample};
use crate::report::format::{dash, number_or_dash, table as new_table};
use crate::rungs::RungKind;
use crate::works::{Unit, Work};

type Figure = fn(&Sample) -> Option<f64>;

const PROXIES: [RungKind; 5] =
    [RungKind::Splice, RungKind::Forward, RungKind::Prism, RungKind::Nginx, RungKind::GrpcProxy];

/// Throughput and latency against direct, and the proxies' CPU time, of each rung; `None` if none was measured.
pub(crate) fn table(results: &Results) -> Option<Table> {
    let rungs = PROXIES.map(RungKind::name).join(" / ");
    let mut table = new_table(&[
        &format!("each: {rungs}"),
        "throughput of direct",
        "added p50, ms",
        "proxy CPU, s per 100k (lists: per GB)",
    ]);
    let works = results.rows().into_iter().filter(|(work, _)| work.unit() != Unit::Watchers);
    for row in works {
        let speed: Figure = |sample| Some(sample.per_second);
        let figures: [&dyn Fn(RungKind) -> Option<f64>; 3] = [
            &|rung| Some(of(results, row, rung, speed)? / of(results, row, RungKind::Direct, speed)?),
            &|rung| {
                let p50: Figure = |sample| sample.p50;
                Some(of(results, row, rung, p50)? - of(results, row, RungKind::Direct, p50)?)
            },
            &|rung| of(results, row, rung, |sample| sample.proxy_cpu),
        ];
        let cells = figures.map(|figure| {
            let texts = PROXIES.map(|rung| number_or_dash(figure(rung)));
            if texts.iter().all(|text| *text == dash()) { dash() } else { texts.join(" / ") }
        });
        if cells.iter().any(|text| *text != dash()) {
            table.add_row([vec![name(row)], cells.to_vec()].concat());
        }
    }
    (table.row_count() > 0).then_some(table)
}

fn of(results: &Results, (work, clients): (Work, usize), rung: RungKind, figure: Figure) -> Option<f64> {
    results.median(Cell { work, clients, rung }, figure).filter(|value| *value > 0.0)
}

fn name((work, clients): (Work, usize)) -> String {
    if work.is_unary() { format!("{work}, {clients}") } else { work.to_string() }
}
