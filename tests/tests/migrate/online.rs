//! There and back, under load.

use std::time::Duration;

use crate::load::{Load, Watcher};
use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_moves_there_and_back_and_on_while_clients_work_on_it() {
    let mut rig = Rig::start().await;
    rig.fill(300).await;
    let clients = rig.clients();
    let mut watchers = Vec::new();
    for client in &clients {
        watchers.push(Watcher::open(client, 1).await);
        watchers.push(Watcher::open(client, rig.oracle.revision() + 1).await);
    }
    let load = Load::start(&clients, Duration::from_millis(2));
    rig.migrate(0, "create", &["--to", "b"]).await;
    rig.migrate(0, "switch", &[]).await;
    rig.migrate(1, "reverse", &[]).await;
    rig.migrate(0, "switch", &[]).await;
    rig.migrate(1, "complete", &[]).await;
    rig.migrate(1, "create", &["--to", "c"]).await;
    rig.migrate(1, "switch", &[]).await;
    rig.migrate(0, "complete", &[]).await;
    let told = load.finish().await;
    assert!(told.writes() > 200, "{} writes", told.writes());
    let oracle = told.oracle(&rig.oracle);
    told.check_reads(&oracle);
    for watcher in &mut watchers {
        watcher.check(&oracle).await;
    }
    println!(
        "{} writes, longest gap {:?}, longest request {:?}",
        told.writes(),
        told.longest_gap,
        told.longest_request
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_says_what_was_copied_and_compared() {
    let mut rig = Rig::start().await;
    rig.fill(300).await;
    rig.migrate(0, "create", &["--to", "b"]).await;
    rig.copied(0).await;
    let compared = rig.migrate(0, "verify", &[]).await;
    assert_eq!(compared["compared"], 300, "{compared}");
    rig.migrate(0, "switch", &[]).await;
    rig.migrate(0, "reverse", &[]).await;
    rig.migrate(0, "switch", &[]).await;
    rig.migrate(0, "complete", &[]).await;
    let report = rig.migrate(0, "status", &[]).await;
    assert_eq!(report["counts"]["keys"], 300, "{report}");
    assert_eq!(report["counts"]["compared"], 300, "{report}");
    assert!(report["timings"]["verified"].is_i64(), "{report}");
    assert_eq!(report["pauses"].as_array().map(Vec::len), Some(3), "{report}");
    assert!(report["step"].is_null(), "{report}");
}
