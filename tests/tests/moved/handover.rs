//! Watches that are open while their route moves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use etcd_prism_proto::etcdserverpb::WatchCreateRequest;
use etcd_prism_proto::etcdserverpb::watch_create_request::FilterType;
use etcd_prism_proto::mvccpb::Event;
use etcd_prism_proto::mvccpb::event::EventType;
use etcd_prism_tests::request::watch_prefix;
use etcd_prism_tests::wait::DEADLINE;
use etcd_prism_tests::watch_check::{WatcherLog, header_revision, is_progress, revision};
use etcd_prism_tests::watch_stream::{WatchEnd, WatchStream};

use crate::rig::{PODS, Rig};

/// Before progress is asked for once more.
const PATIENCE: Duration = Duration::from_millis(200);

/// Reads until `enough`, and checks what etcd promises of a watch.
async fn read(stream: &mut WatchStream, log: &mut WatcherLog, enough: impl Fn(&WatcherLog) -> bool) {
    while !enough(log) {
        let response = stream.next().await;
        assert!(!response.canceled, "{response:?}");
        log.responses.push(response);
    }
    log.check().unwrap_or_else(|error| panic!("{error}"));
}

fn last(log: &WatcherLog) -> i64 {
    log.events().next_back().map_or(0, revision)
}

#[tokio::test]
async fn a_thousand_watchers_of_one_stream_go_on_under_their_ids() {
    const WATCHERS: usize = 1000;
    let mut rig = Rig::start().await;
    rig.churn(0).await;
    let mut stream = WatchStream::open(&rig.client);
    for _ in 0..WATCHERS {
        let created = stream.create(watch_prefix(PODS)).await;
        assert!(created.created && !created.canceled, "{created:?}");
    }
    let mut expected = Vec::new();
    for shard in ["b", "a"] {
        expected.push(rig.put("before", shard).await);
        rig.move_to(shard).await;
        expected.push(rig.put("after", shard).await);
    }
    let mut told: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    while told.len() < WATCHERS || told.values().any(|revisions| revisions.len() < expected.len()) {
        let response = stream.next().await;
        assert!(!response.created && !response.canceled, "{response:?}");
        told.entry(response.watch_id).or_default().extend(response.events.iter().map(revision));
    }
    let wrong = told.iter().find(|(_, revisions)| **revisions != expected);
    assert_eq!(wrong, None, "not {expected:?}");
}

#[tokio::test]
async fn progress_grows_through_every_move_and_never_runs_ahead() {
    let mut rig = Rig::start().await;
    rig.churn(0).await;
    let request = watch_prefix(PODS);
    let mut stream = WatchStream::open(&rig.client);
    stream.create(request.clone()).await;
    let mut log = WatcherLog::new(request);
    for shard in ["b", "a", "c"] {
        let written = rig.put("x", shard).await;
        ask_progress(&mut stream, &mut log, |told| told >= written).await;
        rig.move_to(shard).await;
        // Nothing has happened since but the move itself, and it was no event.
        ask_progress(&mut stream, &mut log, |told| told > written).await;
        let ahead = told(&log);
        let next = rig.put("y", shard).await;
        assert!(ahead < next, "progress at {ahead}, and the next write was {next}");
        read(&mut stream, &mut log, |log| last(log) == next).await;
    }
    let told: Vec<i64> = log.responses.iter().map(header_revision).collect();
    assert!(told.is_sorted(), "{told:?}");
}

/// Asks for progress until it is enough. etcd does not answer while a watcher of the stream is not in sync.
async fn ask_progress(stream: &mut WatchStream, log: &mut WatcherLog, enough: impl Fn(i64) -> bool) {
    let asked = Instant::now();
    while !enough(told(log)) {
        stream.send_progress_request();
        match stream.try_next(PATIENCE).await {
            Ok(response) => log.responses.push(response),
            Err(WatchEnd::Silence(_)) if asked.elapsed() < DEADLINE => {}
            Err(end) => panic!("waiting for progress: {end}"),
        }
    }
    log.check().unwrap_or_else(|error| panic!("{error}"));
}

/// The latest progress; 0 before the first.
fn told(log: &WatcherLog) -> i64 {
    log.responses.iter().rev().find(|response| is_progress(response)).map_or(0, header_revision)
}

#[tokio::test]
async fn a_start_in_the_future_stays_where_it_is() {
    let mut rig = Rig::start().await;
    rig.churn(0).await;
    let from = rig.oracle.revision() + 40;
    let request = WatchCreateRequest { start_revision: from, ..watch_prefix(PODS) };
    let mut stream = WatchStream::open(&rig.client);
    stream.create(request.clone()).await;
    let mut log = WatcherLog::new(request);
    rig.move_to("b").await;
    for i in 0..50 {
        rig.put("x", &i.to_string()).await;
    }
    assert!(rig.oracle.revision() > from);
    read(&mut stream, &mut log, |log| last(log) == rig.oracle.revision()).await;
    let found: Vec<Event> = log.events().cloned().collect();
    assert_eq!(found, rig.oracle.since(from));
}

#[tokio::test]
async fn filters_and_fragments_are_kept() {
    let mut rig = Rig::start().await;
    rig.churn(0).await;
    let from = rig.oracle.revision() + 1;
    let request = WatchCreateRequest {
        start_revision: from,
        fragment: true,
        filters: vec![FilterType::Noput.into()],
        ..watch_prefix(PODS)
    };
    let mut stream = WatchStream::open(&rig.client);
    stream.create(request.clone()).await;
    let mut log = WatcherLog::new(request);
    // A deletion of what came with the copy, and of what was written since.
    rig.put("old", "1").await;
    rig.move_to("b").await;
    rig.delete("old").await;
    rig.put("new", "2").await;
    let end = rig.delete("new").await;
    read(&mut stream, &mut log, |log| last(log) == end).await;
    let found: Vec<Event> = log.events().cloned().collect();
    let deleted = |event: &Event| event.r#type() == EventType::Delete;
    assert_eq!(found, rig.oracle.since(from).into_iter().filter(deleted).collect::<Vec<_>>());
}
