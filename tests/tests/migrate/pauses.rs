//! How long clients wait for a switch. Not an assertion, but figures:
//! `cargo test -p etcd-prism-tests --test migrate -- --ignored pauses --nocapture`, with `ETCD_PRISM_BIN` where the proxy is
//! to be of another profile than the tests.

use std::time::Duration;

use etcd_prism_tests::tools;
use serde_json::Value;

use crate::load::Load;
use crate::rig::Rig;

const RUNS: usize = 10;
/// Before and after each switch.
const AROUND: Duration = Duration::from_millis(300);
/// What the median and the worst of the runs are to stay below.
const TARGETS: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(250)];
/// Between two writes of each of the writers that make up the load. The one that is measured makes none.
const OTHERS: Duration = Duration::from_millis(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures"]
async fn pauses_as_clients_see_them() {
    println!("proxies: {}", tools::etcd_prism().display());
    for (what, others) in
        [("idle, one writer in a loop", 0), ("loaded, one writer in a loop and 15 others", 15)]
    {
        measure(what, others).await;
    }
}

async fn measure(what: &str, others: usize) {
    let mut rig = Rig::start().await;
    rig.fill(500).await;
    rig.migrate(0, "create", &["--to", "b"]).await;
    rig.copied(0).await;
    let mut figures: [Vec<Duration>; 5] = Default::default();
    let (mut writes, mut slowest) = (0, Value::Null);
    let clients = rig.clients();
    let mut oracle = rig.oracle.clone();
    for run in 0..2 * RUNS {
        let mut load = Load::default();
        load.writer(run * 100, &clients[run / 2 % 2], Duration::ZERO);
        for other in 0..others {
            load.writer(run * 100 + 1 + other, &clients[other % 2], OTHERS);
        }
        tokio::time::sleep(AROUND).await;
        // Every other run nothing happens: what this machine does by itself.
        let switched = match run % 4 {
            1 => Some(rig.migrate(0, "switch", &[]).await),
            3 => Some(rig.migrate(1, "reverse", &[]).await),
            _ => None,
        };
        tokio::time::sleep(AROUND).await;
        let told = load.finish().await;
        oracle = told.oracle(&oracle);
        writes += told.writes();
        if let Some(done) = switched {
            let held = done["pause_ms"].as_f64().unwrap_or_else(|| panic!("no pause: {done}"));
            figures[2].push(told.longest_gap);
            figures[3].push(told.longest_request);
            figures[4].push(Duration::from_secs_f64(held / 1e3));
            if slowest["pause_ms"].as_f64().is_none_or(|slowest| slowest < held) {
                slowest = done;
            }
        } else {
            figures[0].push(told.longest_gap);
            figures[1].push(told.longest_request);
        }
    }
    println!("{what}: {RUNS} switches, {writes} writes");
    let names = [
        "no switch: longest gap between writes",
        "no switch: longest request",
        "switch: longest gap between writes",
        "switch: longest request",
        "switch: requests were held, by itself",
    ];
    for (name, mut found) in names.into_iter().zip(figures) {
        found.sort();
        let [median, worst] = [found[found.len() / 2], found[found.len() - 1]];
        let verdict = if median < TARGETS[0] && worst < TARGETS[1] { "" } else { "  MISSED" };
        let [median, worst] = [median, worst].map(|time| time.as_secs_f64() * 1e3);
        println!("  {name:<40} median {median:>6.1} ms, worst {worst:>6.1} ms{verdict}");
    }
    for step in slowest["steps"].as_array().into_iter().flatten() {
        println!(
            "    slowest: {:<28} {:>6.1} ms",
            step["step"].as_str().unwrap_or_default(),
            step["ms"].as_f64().unwrap_or_default()
        );
    }
}
