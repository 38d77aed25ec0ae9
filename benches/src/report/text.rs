//! The report as Markdown.

use std::fmt::Write as _;

use comfy_table::Table;

use crate::ladder::{Cell, Results, Rounds, Sample, Spread};
use crate::report::Run;
use crate::report::fences;
use crate::report::format::{dash, number, number_or_dash, spread, table};
use crate::report::moves;
use crate::report::summary;
use crate::report::targets::Verdict;
use crate::rungs::RungKind;
use crate::works::{Unit, Work};

const MB: f64 = 1e6;

/// The machine, a summary, the targets, and a table for each work.
pub(crate) fn text(run: &Run) -> String {
    let mut out = head(run);
    if let Some(table) = summary::table(&run.results) {
        line(&mut out, &format!("\n### etcd-prism and the others\n\n{table}"));
    }
    if let Some(table) = fences::table(&run.results) {
        line(&mut out, &format!("\n### Fences: etcd-prism against itself without them\n\n{table}"));
    }
    if let Some(table) = moves::table(&run.results) {
        line(&mut out, &format!("\n### A route that moves, against itself before\n\n{table}"));
    }
    line(&mut out, &format!("\n### Targets\n\n{}", verdicts(run)));
    for (work, clients) in run.results.rows() {
        let title = match work.is_unary() {
            true => format!("{}, {clients} clients", work.title()),
            false => work.title(),
        };
        line(&mut out, &format!("\n### {title}\n\n{}", rows(&run.results, work, clients)));
    }
    if run.results.samples().any(|sample| sample.conflicts > 0) {
        line(&mut out, "\nSome updates were refused because their object had changed: see the JSON.");
    }
    out
}

fn head(run: &Run) -> String {
    let machine = &run.machine;
    let mut out = String::new();
    let memory =
        machine.memory.map_or_else(String::new, |bytes| format!(", {:.0} GB of memory", bytes as f64 / 1e9));
    line(
        &mut out,
        &format!("{} cores ({}){memory}, Linux {}", machine.cores, machine.processor, machine.kernel),
    );
    for rung in &run.rungs {
        let version = rung.version.as_deref().unwrap_or("version unknown");
        match &rung.missing {
            Some(reason) => line(&mut out, &format!("- {}: not measured: {reason}", rung.kind)),
            None => line(&mut out, &format!("- {}: {version}", rung.kind)),
        }
    }
    let fsync = if run.fsync { "with fsync" } else { "without fsync" };
    let pace =
        run.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("open loop at {rate} requests/s"));
    let Run { rounds, seconds, warmup, .. } = run;
    line(
        &mut out,
        &format!(
            "\n{rounds} rounds of {seconds} s after {warmup} s of warm-up, {pace}, etcd {fsync}. Medians (min-max)."
        ),
    );
    if let Some([median, most]) = run.others {
        let [median, most] = [median, most].map(|share| 100.0 * share);
        line(
            &mut out,
            &format!("Other processes used {median:.1} % of the machine (median), {most:.1} % at most."),
        );
    }
    if run.was_busy() {
        line(&mut out, "**On a busy machine: the figures are rough.**");
    }
    if run.interrupted {
        line(&mut out, "**Interrupted: what was measured until then.**");
    }
    out
}

fn rows(results: &Results, work: Work, clients: usize) -> Table {
    let cells = RungKind::ALL.map(|rung| Cell { work, clients, rung });
    let measured = cells.into_iter().filter_map(|cell| Some((cell, results.rounds(cell)?)));
    let mut table = if work.unit() == Unit::Watchers { memory_header() } else { header(work) };
    for (cell, rounds) in measured {
        if rounds.samples.is_empty() {
            let reason = rounds.failures.first().and_then(|text| text.lines().next()).unwrap_or_default();
            table.add_row([cell.rung.name(), &format!("failed: {reason}")]);
        } else if work.unit() == Unit::Watchers {
            table.add_row(memory_row(cell, rounds));
        } else {
            table.add_row(row(results, cell, rounds));
        }
    }
    table
}

fn header(work: Work) -> Table {
    let ((rate, _), per) = (work.unit().rate(), work.unit().per());
    table(&[
        "rung",
        rate,
        "of direct",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        &format!("proxy CPU s/{per}"),
        &format!("etcd CPU s/{per}"),
        "peak RSS MB",
        "cores: proxy + etcd + load",
    ])
}

fn row(results: &Results, cell: Cell, rounds: &Rounds) -> Vec<String> {
    let (_, per_rate) = cell.work.unit().rate();
    let over = |figure: fn(&Sample) -> Option<f64>| Spread::of(rounds.samples.iter().filter_map(figure));
    let median = |figure| number_or_dash(over(figure).map(|spread| spread.median));
    let speed = |sample: &Sample| Some(sample.per_second / per_rate);
    let speeds = Spread::of(rounds.samples.iter().filter_map(speed));
    let direct =
        results.median(Cell { rung: RungKind::Direct, ..cell }, speed).filter(|direct| *direct > 0.0);
    vec![
        cell.rung.to_string(),
        spread(speeds),
        number_or_dash(speeds.zip(direct).map(|(speeds, direct)| speeds.median / direct)),
        spread(over(|sample| sample.p50)),
        median(|sample| sample.p99),
        median(|sample| sample.p999),
        spread(over(|sample| sample.proxy_cpu)),
        median(|sample| sample.etcd_cpu),
        peak(rounds),
        cores(&rounds.samples),
    ]
}

fn memory_header() -> Table {
    table(&["rung", "RSS before MB", "RSS with watches MB", "KB per watch", "cores: proxy + etcd + load"])
}

fn memory_row(cell: Cell, rounds: &Rounds) -> Vec<String> {
    let over =
        |figure: fn(&Sample) -> Option<f64>| spread(Spread::of(rounds.samples.iter().filter_map(figure)));
    vec![
        cell.rung.to_string(),
        over(|sample| sample.memory_before.map(|bytes| bytes as f64 / MB)),
        over(|sample| sample.memory.map(|bytes| bytes as f64 / MB)),
        over(|sample| Some(sample.memory_each()? / 1e3)),
        cores(&rounds.samples),
    ]
}

/// The highest peak of all rounds.
fn peak(rounds: &Rounds) -> String {
    let Some(peak) = rounds.samples.iter().filter_map(|sample| sample.peak_memory).max() else {
        return dash();
    };
    // Where the kernel does not let a peak start again, it is that since the proxy's start.
    let mark = if rounds.samples.iter().all(|sample| sample.peak_is_own) { "" } else { " (since start)" };
    format!("{}{mark}", number(peak as f64 / MB))
}

fn cores(samples: &[Sample]) -> String {
    let figures: [fn(&Sample) -> Option<f64>; 3] =
        [|sample| sample.proxy_cores, |sample| Some(sample.etcd_cores), |sample| Some(sample.bench_cores)];
    let median = |figure| Spread::of(samples.iter().filter_map(figure)).map(|spread| spread.median);
    figures.map(|figure| number_or_dash(median(figure))).join(" + ")
}

fn verdicts(run: &Run) -> Table {
    let mut table = table(&["measure", "measured", "where", "must", "", "aim", ""]);
    for target in &run.targets {
        table.add_row([
            target.measure.to_owned(),
            target.measured.clone(),
            target.place.clone(),
            target.must.clone(),
            verdict(target.must_is).to_owned(),
            target.aim.clone(),
            verdict(target.aim_is).to_owned(),
        ]);
    }
    table
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "met",
        Verdict::Missed => "**missed**",
        Verdict::NotMeasured => "",
    }
}

fn line(out: &mut String, text: &str) {
    // Writing to a string cannot fail.
    writeln!(out, "{text}").ok();
}
