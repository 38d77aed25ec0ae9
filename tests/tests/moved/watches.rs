//! Watches, from any revision on and through every move.

use etcd_prism_proto::etcdserverpb::WatchCreateRequest;
use etcd_prism_proto::mvccpb::Event;
use etcd_prism_tests::request::watch_prefix;
use etcd_prism_tests::watch_check::{WatcherLog, revision};
use etcd_prism_tests::watch_stream::WatchStream;

use crate::rig::{PODS, Rig};

struct Watcher {
    stream: WatchStream,
    log: WatcherLog,
    from: i64,
}

impl Watcher {
    async fn open(rig: &Rig, from: i64) -> Self {
        let request = WatchCreateRequest { start_revision: from, prev_kv: true, ..watch_prefix(PODS) };
        let mut stream = WatchStream::open(&rig.client);
        stream.create(request.clone()).await;
        Self { stream, log: WatcherLog::new(request), from }
    }

    /// Reads until it was told of the oracle's last event, and compares.
    async fn check(&mut self, rig: &Rig) {
        let last = rig.oracle.revision();
        while self.log.events().next_back().is_none_or(|event| revision(event) < last) {
            let response = self.stream.next().await;
            assert!(!response.canceled, "{response:?}");
            self.log.responses.push(response);
        }
        self.log.check().unwrap_or_else(|error| panic!("{error}"));
        let found: Vec<Event> = self.log.events().cloned().collect();
        let expected = rig.oracle.since(self.from);
        let wrong = found.iter().zip(&expected).position(|(found, expected)| found != expected);
        if let Some(i) = wrong {
            panic!("event {i} of a watch from {}: {:?}, not {:?}", self.from, found[i], expected[i]);
        }
        assert_eq!(found.len(), expected.len());
    }
}

#[tokio::test]
async fn a_watch_goes_on_through_every_move() {
    let mut rig = Rig::start().await;
    rig.churn(0).await;
    let mut watchers = vec![Watcher::open(&rig, 1).await];
    let mut idle = vec![Watcher::open(&rig, 1).await];
    for (round, shard) in ["b", "a", "c", "b"].into_iter().enumerate() {
        rig.churn(round + 1).await;
        watchers.push(Watcher::open(&rig, rig.oracle.revision() + 1).await);
        rig.move_to(shard).await;
        idle.push(Watcher::open(&rig, rig.oracle.revision() + 1).await);
        rig.churn(round + 11).await;
        for watcher in &mut watchers {
            watcher.check(&rig).await;
        }
    }
    for watcher in &mut idle {
        watcher.check(&rig).await;
    }
}

#[tokio::test]
async fn a_watch_begins_at_any_revision_of_the_past() {
    let mut rig = Rig::start().await;
    for (round, shard) in ["b", "a", "c"].into_iter().enumerate() {
        rig.churn(round).await;
        rig.move_to(shard).await;
    }
    rig.churn(5).await;
    let first = revision(&rig.oracle.since(0)[0]);
    for from in first..=rig.oracle.revision() {
        Watcher::open(&rig, from).await.check(&rig).await;
    }
    // From now on.
    let mut now = Watcher::open(&rig, 0).await;
    now.from = rig.oracle.revision() + 1;
    rig.churn(6).await;
    now.check(&rig).await;
}
