//! Writers, watchers and a leader at work until they are told to end.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use etcd_prism_tests::kube::api::Api;
use etcd_prism_tests::kube::election::Election;
use etcd_prism_tests::kube::informer::Informer;
use etcd_prism_tests::kube::load::Load;
use etcd_prism_tests::kube::metrics::Metrics;
use etcd_prism_tests::kube::objects::Kind;
use etcd_prism_tests::wait;
use tokio::signal::unix::{SignalKind, signal};

use crate::report::{CHECKS, Report};

/// What is written and watched: pods move, the others are on routes that stay.
const KINDS: [Kind; 3] = [Kind::Pod, Kind::Lease, Kind::ConfigMap];
/// Numbered objects of each kind.
const COUNTERS: usize = 4;
/// Between two steps of one task.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two comparisons of the pods' cache with etcd, at most, and some more.
const CHECK_LIMIT: Duration = Duration::from_secs(300);

/// Works until SIGTERM, prints a report, and fails if anything was not as it must be.
pub(crate) async fn run(api: &Api) -> ExitCode {
    let mut end = signal(SignalKind::terminate()).expect("a handler for SIGTERM");
    let before = metrics(api).await;
    let started = Instant::now();
    let mut informers = Vec::new();
    for kind in KINDS {
        informers.push(Informer::start(&api.another(), kind).await.expect("an informer"));
    }
    let listed = informers[0].seen().numbers.len();
    let election = Election::start(&api.another(), "leader").await.expect("a leader");
    let mut load = Load::on(&KINDS, PAUSE);
    for number in 0..COUNTERS {
        load.numbered_updates(&api.another(), &format!("counter-{number}"))
            .await
            .expect("objects to count with");
    }
    load.lives(api, "life");
    println!("working: {listed} pods were listed");
    end.recv().await;
    // The cache is compared with etcd once more, from beginning to end.
    let moved = metrics(api).await;
    wait::until_within(CHECK_LIMIT, "the pods' cache to be compared with etcd", async || {
        let compared = metrics(api).await.growth(&moved, CHECKS, &[("status", "success")]);
        if compared.get("pods").is_some_and(|count| *count >= 2.0) { Ok(()) } else { Err(compared) }
    })
    .await;
    let tally = load.stop().await;
    for informer in &informers {
        informer.wait_for_list(api).await;
    }
    let report = Report {
        length: started.elapsed(),
        listed,
        tally,
        election: election.told(),
        informers: informers.iter().map(|informer| (informer.kind(), informer.seen())).collect(),
        before,
        after: metrics(api).await,
    };
    if report.print() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn metrics(api: &Api) -> Metrics {
    Metrics::parse(&api.text("/metrics").await.expect("the API server's metrics"))
}
