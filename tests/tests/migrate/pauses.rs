//! How long clients wait for a switch. Not an assertion: `cargo test -p etcd-prism-tests --test migrate -- --ignored pauses
//! --nocapture` prints the figures.

use std::time::Duration;

use crate::load::Load;
use crate::rig::Rig;

const RUNS: usize = 10;
/// Before and after each switch.
const AROUND: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures"]
async fn pauses_as_clients_see_them() {
    for (what, writers, pause) in [("one writer", 1, 1), ("16 writers", 16, 1)] {
        let mut rig = Rig::start().await;
        rig.fill(500).await;
        rig.migrate(0, "create", &["--to", "b"]).await;
        rig.copied(0).await;
        let (mut gaps, mut requests, mut quiet) = (Vec::new(), Vec::new(), Vec::new());
        let mut oracle = rig.oracle.clone();
        for run in 0..=2 * RUNS {
            let clients: Vec<_> = rig.clients().into_iter().cycle().take(writers).collect();
            let load = Load::start_at(&clients, Duration::from_millis(pause), run * 1000);
            tokio::time::sleep(AROUND).await;
            // Every other run nothing happens: what this machine does by itself.
            if run % 2 == 1 {
                rig.migrate(0, if run % 4 == 1 { "switch" } else { "reverse" }, &[]).await;
            }
            tokio::time::sleep(AROUND).await;
            let told = load.finish().await;
            oracle = told.oracle(&oracle);
            if run % 2 == 1 {
                gaps.push(told.longest_gap);
                requests.push(told.longest_request);
            } else {
                quiet.push(told.longest_gap);
            }
        }
        for (figure, mut found) in
            [("without a switch, gap", quiet), ("gap between writes", gaps), ("longest request", requests)]
        {
            found.sort();
            println!("{what}: {figure}: median {:?}, worst {:?}", found[found.len() / 2], found.last());
        }
    }
}
