use super::*;
use crate::ladder::Sample;
use crate::works::Call;

const UPDATE: Work = Work::unary(Call::Update, 256);
const PUT: Work = Work::unary(Call::Put, 256);

fn sample(per_second: f64, p50: f64, proxy_cpu: Option<f64>) -> Sample {
    Sample {
        things: 1000,
        conflicts: 0,
        per_second,
        p50: Some(p50),
        p99: Some(2.0 * p50),
        p999: Some(3.0 * p50),
        proxy_cpu,
        etcd_cpu: Some(1.0),
        proxy_cores: Some(0.5),
        etcd_cores: 0.5,
        bench_cores: 0.5,
        other_cores: 0.0,
        memory_before: Some(10 << 20),
        memory: Some(30 << 20),
        peak_memory: Some(50 << 20),
        peak_is_own: true,
    }
}

/// Samples by work, clients and rung: throughput, p50, CPU.
fn results(samples: &[(Work, usize, RungKind, f64, f64, f64)]) -> Results {
    let mut results = Results::default();
    for &(work, clients, rung, per_second, p50, cpu) in samples {
        let cpu = (rung != RungKind::Direct).then_some(cpu);
        results.add(Cell { work, clients, rung }, Ok(sample(per_second, p50, cpu)));
    }
    results
}

fn target(results: &Results, measure: &str) -> Target {
    targets(results).into_iter().find(|target| target.measure == measure).unwrap()
}

#[test]
fn nothing_is_met_without_measurements() {
    for target in targets(&Results::default()) {
        assert_eq!(
            (target.must_is, target.aim_is),
            (Verdict::NotMeasured, Verdict::NotMeasured),
            "{target:?}"
        );
        assert_eq!(target.measured, "not measured");
    }
}

#[test]
fn the_worst_number_of_clients_counts() {
    let results = results(&[
        (UPDATE, 16, RungKind::Prism, 1.0, 1.0, 5.0),
        (UPDATE, 16, RungKind::Nginx, 1.0, 1.0, 10.0),
        (UPDATE, 64, RungKind::Prism, 1.0, 1.0, 6.0),
        (UPDATE, 64, RungKind::Nginx, 1.0, 1.0, 5.0),
    ]);
    let nginx = target(&results, "CPU per request, of nginx");
    assert_eq!((nginx.measured.as_str(), nginx.place.as_str()), ("1.20", "txn-update-256, 64"));
    assert_eq!(nginx.must_is, Verdict::Missed);
}

#[test]
fn the_worst_throughput_is_the_lowest() {
    let results = results(&[
        (UPDATE, 64, RungKind::Direct, 100.0, 1.0, 0.0),
        (UPDATE, 64, RungKind::Splice, 90.0, 1.0, 1.0),
        (UPDATE, 64, RungKind::Prism, 95.0, 1.0, 1.0),
        (PUT, 64, RungKind::Direct, 100.0, 1.0, 0.0),
        (PUT, 64, RungKind::Splice, 60.0, 1.0, 1.0),
        (PUT, 64, RungKind::Prism, 65.0, 1.0, 1.0),
    ]);
    let found = target(&results, "throughput of direct, 64 clients");
    assert_eq!((found.measured.as_str(), found.place.as_str()), ("0.65", "put-256, 64"));
    assert_eq!((found.must_is, found.aim_is), (Verdict::Missed, Verdict::Met), "{found:?}");
    assert_eq!(target(&results, "throughput of direct, 256 clients").must_is, Verdict::NotMeasured);
}

#[test]
fn latency_is_added_to_direct_and_held_against_the_splice() {
    let check = |prism: f64, must: Verdict, aim: Verdict| {
        let results = results(&[
            (UPDATE, 1, RungKind::Direct, 1.0, 0.40, 0.0),
            (UPDATE, 1, RungKind::Splice, 1.0, 0.44, 1.0),
            (UPDATE, 1, RungKind::Prism, 1.0, prism, 1.0),
        ]);
        let found = target(&results, "added p50 at one client, ms");
        assert_eq!((found.must_is, found.aim_is), (must, aim), "{found:?}");
    };
    check(0.46, Verdict::Met, Verdict::Met);
    check(0.49, Verdict::Met, Verdict::Missed);
    check(0.51, Verdict::Missed, Verdict::Missed);
}

#[test]
fn memory_is_counted_over_idle() {
    let results = results(&[(Work::LIST_LARGE, LIST_CLIENTS, RungKind::Prism, 1.0, 1.0, 1.0)]);
    let found = target(&results, "memory over idle while listing 256 MiB, MiB");
    assert_eq!(found.measured, "40.00");
    assert_eq!((found.must_is, found.aim_is), (Verdict::Met, Verdict::Missed));
}
