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
