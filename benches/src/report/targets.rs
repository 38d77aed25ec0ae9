//! What etcd-prism promises, and whether this run shows it.

use serde::Serialize;

use crate::ladder::{Cell, Results, Sample};
use crate::report::{fences, moves};
use crate::rungs::RungKind;
use crate::works::{Call, IDLE_WATCHERS, LIST_CLIENTS, WATCH_STREAMS, Work};

const MIB: f64 = (1 << 20) as f64;
/// Up to how many clients etcd's own proxy is compared with.
const FEW_CLIENTS: usize = 64;
/// More than a splice adds, in milliseconds.
const LATENCY_ALLOWANCE: f64 = 0.03;

/// One promise. Of several works or numbers of clients, the worst counts.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Target {
    pub(crate) measure: &'static str,
    pub(crate) measured: String,
    /// Which work and number of clients was the worst.
    pub(crate) place: String,
    pub(crate) must: String,
    pub(crate) must_is: Verdict,
    pub(crate) aim: String,
    pub(crate) aim_is: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    Met,
    Missed,
    NotMeasured,
}

/// What a figure is held against.
#[derive(Clone, Copy, Debug)]
enum Bound {
    None,
    Below(f64),
    AtMost(f64),
    AtLeast(f64),
}

/// A figure and where it was found.
#[derive(Clone, Debug)]
struct Found {
    value: f64,
    place: String,
}

type Figure = fn(&Sample) -> Option<f64>;

// === impl Bound ===

impl Bound {
    fn text(self) -> String {
        match self {
            Self::None => String::new(),
            Self::Below(bound) => format!("< {bound:.2}"),
            Self::AtMost(bound) => format!("≤ {bound:.2}"),
            Self::AtLeast(bound) => format!("≥ {bound:.2}"),
        }
    }

    fn verdict(self, value: f64) -> Verdict {
        let met = match self {
            Self::None => return Verdict::NotMeasured,
            Self::Below(bound) => value < bound,
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        };
        if met { Verdict::Met } else { Verdict::Missed }
    }
}

// === impl Target ===

impl Target {
    fn new(measure: &'static str, found: Option<Found>, must: Bound, aim: Bound) -> Self {
        let is =
            |bound: Bound| found.as_ref().map_or(Verdict::NotMeasured, |found| bound.verdict(found.value));
        Self {
            measure,
            must_is: is(must),
            aim_is: is(aim),
            measured: found
                .as_ref()
                .map_or_else(|| "not measured".to_owned(), |found| format!("{:.2}", found.value)),
            place: found.map(|found| found.place).unwrap_or_default(),
            must: must.text(),
            aim: aim.text(),
        }
    }
}

/// Every promise of the design, those that this run says nothing about too.
pub(crate) fn targets(results: &Results) -> Vec<Target> {
    let cpu: Figure = |sample| sample.proxy_cpu;
    let unary = |clients: &usize| *clients > 0;
    let few = |clients: &usize| *clients <= FEW_CLIENTS;
    let mut targets = vec![
        Target::new(
            "CPU per request, of nginx",
            worst(results, unary, |row| ratio(results, row, RungKind::Nginx, cpu)),
            Bound::Below(1.0),
            Bound::None,
        ),
        Target::new(
            "CPU per request, of grpc-proxy, up to 64 clients",
            worst(results, few, |row| ratio(results, row, RungKind::GrpcProxy, cpu)),
            Bound::AtMost(0.5),
            Bound::None,
        ),
        Target::new(
            "CPU per request, of splice",
            worst(results, unary, |row| ratio(results, row, RungKind::Splice, cpu)),
            Bound::None,
            Bound::AtMost(1.5),
        ),
        latency(results),
    ];
    targets.extend(
        [(64, "throughput of direct, 64 clients"), (256, "throughput of direct, 256 clients")]
            .map(|(clients, measure)| throughput(results, clients, measure)),
    );
    let lists = (Work::LIST, LIST_CLIENTS);
    let large_lists = (Work::LIST_LARGE, LIST_CLIENTS);
    let watches = (Work::WATCH, WATCH_STREAMS);
    let watch = |figure| ratio(results, watches, RungKind::Direct, figure).map(|value| at(value, watches));
    targets.extend([
        Target::new(
            "CPU per GB listed, of splice",
            ratio(results, lists, RungKind::Splice, cpu).map(|value| at(value, lists)),
            Bound::AtMost(1.3),
            Bound::AtMost(1.0),
        ),
        Target::new(
            "memory over idle while listing 256 MiB, MiB",
            over_idle(results, large_lists).map(|value| at(value, large_lists)),
            Bound::AtMost(64.0),
            Bound::AtMost(32.0),
        ),
        Target::new(
            "identical watchers: events/s of direct",
            watch(|sample| Some(sample.per_second)),
            Bound::AtLeast(1.0),
            Bound::AtLeast(1.35),
        ),
        Target::new(
            "identical watchers: p99 of direct",
            watch(|sample| sample.p99),
            Bound::AtMost(1.0),
            Bound::AtMost(1.0),
        ),
        Target::new(
            "identical watchers: etcd CPU of direct",
            watch(|sample| sample.etcd_cpu),
            Bound::AtMost(0.3),
            Bound::AtMost(0.2),
        ),
        watcher("distinct watchers: memory of each, KB", results, Work::WATCHERS),
        watcher("distinct watchers, a stream each: memory of each, KB", results, Work::WATCH_STREAMS),
        Target::new(
            "fence: CPU over an equal Txn",
            fence(results, Call::is_txn),
            Bound::AtMost(0.05),
            Bound::None,
        ),
        Target::new(
            "fence: CPU over an equal Put",
            fence(results, |call| call == Call::Put),
            Bound::None,
            Bound::None,
        ),
        Target::new(
            "translated route: CPU per list of identity",
            moves::translation(results, lists).map(|value| at(value, lists)),
            Bound::AtMost(1.25),
            Bound::AtMost(1.05),
        ),
        Target::new(
            "translated route: CPU per request of identity",
            worst(results, unary, |row| moves::translation(results, row)),
            Bound::AtMost(1.1),
            Bound::AtMost(1.05),
        ),
    ]);
    targets
}

/// What one request is slower by than without a proxy.
fn latency(results: &Results) -> Target {
    let p50 = |row, rung| results.median(cell(row, rung), |sample| sample.p50);
    let added = |row, rung| Some(p50(row, rung)? - p50(row, RungKind::Direct)?);
    let own = |row| added(row, RungKind::Prism);
    let found = worst(results, |clients| *clients == 1, own);
    // The aim belongs to the place where the figure comes from.
    let aim = rows(results, |clients| *clients == 1)
        .filter_map(|row| Some((own(row)?, added(row, RungKind::Splice)?)))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or(Bound::None, |(_, splice)| Bound::AtMost(splice + LATENCY_ALLOWANCE));
    Target::new("added p50 at one client, ms", found, Bound::AtMost(0.10), aim)
}

fn throughput(results: &Results, clients: usize, measure: &'static str) -> Target {
    let speed = |row, rung| results.median(cell(row, rung), |sample| Some(sample.per_second));
    let of_direct = |row, rung| Some(speed(row, rung)? / speed(row, RungKind::Direct)?);
    let least = rows(results, |found| *found == clients)
        .filter_map(|row| Some((of_direct(row, RungKind::Prism)?, row)))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    let aim = least.and_then(|(_, row)| of_direct(row, RungKind::Splice)).map_or(Bound::None, Bound::AtLeast);
    Target::new(measure, least.map(|(value, row)| at(value, row)), Bound::AtLeast(0.70), aim)
}

/// In MiB: the most that the proxy had resident, over what it had before any load.
fn over_idle(results: &Results, row: (Work, usize)) -> Option<f64> {
    let over = |sample: &Sample| Some(sample.peak_memory?.saturating_sub(sample.memory_before?) as f64 / MIB);
    results.median(cell(row, RungKind::Prism), over)
}

fn watcher(measure: &'static str, results: &Results, work: Work) -> Target {
    let row = (work, IDLE_WATCHERS);
    let each = results.median(cell(row, RungKind::Prism), |sample| Some(sample.memory_each()? / 1e3));
    Target::new(measure, each.map(|value| at(value, row)), Bound::AtMost(4.0), Bound::AtMost(1.0))
}

/// The share of CPU time, the proxy's and etcd's, that the fences of some calls add.
fn fence(results: &Results, calls: fn(Call) -> bool) -> Option<Found> {
    worst(
        results,
        |_| true,
        |row| match row.0 {
            Work::Unary { call, .. } if calls(call) => fences::cost(results, row),
            _ => None,
        },
    )
}

/// The highest of a figure over the unary works.
fn worst(
    results: &Results,
    clients: impl Fn(&usize) -> bool,
    figure: impl Fn((Work, usize)) -> Option<f64>,
) -> Option<Found> {
    let figures = rows(results, clients).filter_map(|row| Some((figure(row)?, row)));
    figures.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(value, row)| at(value, row))
}

/// The unary works, with the numbers of clients that `clients` wants.
fn rows(results: &Results, clients: impl Fn(&usize) -> bool) -> impl Iterator<Item = (Work, usize)> {
    results.rows().into_iter().filter(move |(work, count)| work.is_unary() && clients(count))
}

/// A figure of etcd-prism, divided by that of another rung.
fn ratio(results: &Results, row: (Work, usize), to: RungKind, figure: Figure) -> Option<f64> {
    let other = results.median(cell(row, to), figure).filter(|other| *other > 0.0)?;
    Some(results.median(cell(row, RungKind::Prism), figure)? / other)
}

fn cell((work, clients): (Work, usize), rung: RungKind) -> Cell {
    Cell { work, clients, rung }
}

fn at(value: f64, (work, clients): (Work, usize)) -> Found {
    let place = if work.is_unary() { format!("{work}, {clients}") } else { work.to_string() };
    Found { value, place }
}

#[cfg(test)]
mod tests;
