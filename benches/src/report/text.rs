//! The report as Markdown.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use crate::ladder::{Cell, Results, Sample, Spread};
use crate::report::Run;
use crate::report::targets::Verdict;
use crate::rungs::RungKind;
use crate::works::Work;

const MB: f64 = 1e6;

/// The machine, a table for each work, and the targets.
pub(crate) fn text(run: &Run) -> String {
    let mut out = head(run);
    for (work, clients) in run.results.rows() {
        let (_, rate) = work.unit().rate(0.0);
        let title =
            if work.is_unary() { format!("{}, {clients} clients", work.title()) } else { work.title() };
        line(&mut out, &format!("\n### {title}\n\n{}", rows(&run.results, work, clients, rate)));
    }
    line(&mut out, &format!("\n### Targets\n\n{}", verdicts(run)));
    if run.results.samples().any(|sample| sample.conflicts > 0) {
        line(
            &mut out,
            "\nSome updates were refused because their object had changed: see `conflicts` in the JSON.",
        );
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
    line(
        &mut out,
        &format!(
            "\n{} rounds of {} s after {} s of warm-up, {pace}, etcd {fsync}",
            run.rounds, run.seconds, run.warmup
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

fn rows(results: &Results, work: Work, clients: usize, rate: &str) -> Table {
    let per = work.unit().per();
    let mut table = table(&[
        "rung",
        rate,
        "min-max",
        "of direct",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        &format!("proxy CPU s/{per}"),
        &format!("etcd CPU s/{per}"),
        "peak RSS MB",
        "cores: proxy+etcd+load",
    ]);
    for rung in RungKind::ALL {
        let cell = Cell { work, clients, rung };
        let Some(rounds) = results.rounds(cell) else { continue };
        if rounds.samples.is_empty() {
            let reason = rounds.failures.first().map_or("", |text| text.lines().next().unwrap_or_default());
            table.add_row([rung.name(), &format!("failed: {reason}")]);
            continue;
        }
        let median = |figure: fn(&Sample) -> Option<f64>| results.median(cell, figure);
        let speed = |sample: &Sample| work.unit().rate(sample.per_second).0;
        let spread = Spread::of(rounds.samples.iter().map(speed));
        let direct = Cell { rung: RungKind::Direct, ..cell };
        let of_direct = results.median(direct, |sample| Some(speed(sample))).zip(spread);
        let cores = [
            median(|sample| sample.proxy_cores),
            median(|sample| Some(sample.etcd_cores)),
            median(|sample| Some(sample.bench_cores)),
        ];
        table.add_row([
            rung.name().to_owned(),
            spread.map_or_else(none, |spread| format!("{:.0}", spread.median)),
            spread.map_or_else(none, |spread| format!("{:.0}-{:.0}", spread.least, spread.most)),
            of_direct.map_or_else(none, |(direct, spread)| format!("{:.2}", spread.median / direct)),
            number(median(|sample| sample.p50)),
            number(median(|sample| sample.p99)),
            number(median(|sample| sample.p999)),
            number(median(|sample| sample.proxy_cpu)),
            number(median(|sample| sample.etcd_cpu)),
            memory(&rounds.samples),
            cores.map(|cores| cores.map_or_else(none, |cores| format!("{cores:.2}"))).join(" + "),
        ]);
    }
    table
}

/// The highest peak of all rounds.
fn memory(samples: &[Sample]) -> String {
    let Some(peak) = samples.iter().filter_map(|sample| sample.peak_memory).max() else { return none() };
    // Where the kernel does not let a peak start again, it is that since the proxy's start.
    let mark = if samples.iter().all(|sample| sample.peak_is_own) { "" } else { " (since start)" };
    format!("{:.0}{mark}", peak as f64 / MB)
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

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Three digits are all that a measurement is worth.
fn number(value: Option<f64>) -> String {
    match value {
        None => none(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

fn none() -> String {
    "-".to_owned()
}

fn line(out: &mut String, text: &str) {
    // Writing to a string cannot fail.
    writeln!(out, "{text}").ok();
}
