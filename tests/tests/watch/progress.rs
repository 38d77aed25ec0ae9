//! Rules 3, 5 and 10: progress, and watches that begin in the future.

use etcd_prism_proto::etcdserverpb::WatchCreateRequest;
use etcd_prism_tests::history::current_revision;
use etcd_prism_tests::request::watch_prefix;
use etcd_prism_tests::wait::DEADLINE;
use etcd_prism_tests::watch_check::{WatcherLog, header_revision, is_progress, revision};
use etcd_prism_tests::watch_stream::WatchStream;

use crate::on_both;
use crate::site::{Site, ask_for_progress, compact, prefix_of, read_until, topology, write, write_together};

on_both!(
    progress_never_comes_before_its_events,
    periodic_progress_comes_by_itself,
    a_start_in_the_future_shows_nothing_before_it,
    fragments_below_the_start_are_not_progress,
    a_compacted_watcher_holds_back_no_progress,
);

/// Rule 3 under load: a progress request after every write.
async fn progress_never_comes_before_its_events(site: &Site) {
    const WRITES: usize = 300;
    let mut stream = WatchStream::open(&site.client());
    let request = watch_prefix(prefix_of("pods"));
    let created = stream.create(request.clone()).await;
    let from = header_revision(&created) + 1;
    let mut log = WatcherLog::new(request);
    let writer = site.client();
    let mut last = 0;
    for index in 0..WRITES {
        let names = [&*format!("a{}", index % 7), &*format!("b{}", index % 5)];
        last = write_together(&writer, "pods", &names, b"x").await;
        stream.send_progress_request();
    }
    read_until(&mut stream, &mut log, last).await;
    ask_for_progress(&mut stream, created.watch_id, last, &mut log).await;
    assert_eq!(log.events().count(), 2 * WRITES);
    site.verify("pods", &log, from, last).await;
}

async fn periodic_progress_comes_by_itself(site: &Site) {
    let mut stream = WatchStream::open(&site.client());
    let request = WatchCreateRequest { progress_notify: true, ..watch_prefix(prefix_of("pods")) };
    let created = stream.create(request.clone()).await;
    let written = write(&site.client(), "pods", "a", b"1").await;
    let mut log = WatcherLog::new(request);
    while !log.responses.last().is_some_and(|last| is_progress(last) && header_revision(last) >= written) {
        log.responses.push(stream.next().await);
    }
    assert!(
        log.responses.iter().all(|response| response.watch_id == created.watch_id),
        "{:?}",
        log.responses
    );
    assert_eq!(log.events().count(), 1);
    site.verify("pods", &log, written, written).await;
}

/// Rule 5: neither events nor progress from before the start, although progress is asked for all the time.
async fn a_start_in_the_future_shows_nothing_before_it(site: &Site) {
    const AHEAD: i64 = 10;
    let start = current_revision(&site.shard("pods")).await + AHEAD;
    let mut stream = WatchStream::open(&site.client());
    let request = WatchCreateRequest {
        start_revision: start,
        progress_notify: true,
        ..watch_prefix(prefix_of("pods"))
    };
    let created = stream.create(request.clone()).await;
    assert!(!created.canceled, "{created:?}");
    let mut log = WatcherLog::new(request);
    let mut last = 0;
    for index in 0..2 * AHEAD {
        stream.send_progress_request();
        last = write(&site.client(), "pods", "a", index.to_string().as_bytes()).await;
    }
    read_until(&mut stream, &mut log, last).await;
    ask_for_progress(&mut stream, created.watch_id, last, &mut log).await;
    assert_eq!(log.events().map(revision).min(), Some(start));
    site.verify("pods", &log, start, last).await;
}

/// Rule 5: what is left of a fragmented response below the start must not look like progress.
async fn fragments_below_the_start_are_not_progress(site: &Site) {
    let client = site.client();
    let mut stream = WatchStream::open(&client);
    let request = WatchCreateRequest { fragment: true, ..watch_prefix(prefix_of("pods")) };
    let start = current_revision(&site.shard("pods")).await + 4;
    let late = WatchCreateRequest { start_revision: start, ..request.clone() };
    let (all, late_id) =
        (stream.create(request.clone()).await.watch_id, stream.create(late.clone()).await.watch_id);
    let mut logs = [WatcherLog::new(request), WatcherLog::new(late)];
    let mut last = 0;
    while last <= start {
        last = write_together(&client, "pods", &["a", "b"], &[b'x'; 700_000]).await;
    }
    while logs.iter().any(|log| log.events().next_back().is_none_or(|event| revision(event) < last)) {
        let response = stream.next().await;
        let index = usize::from(response.watch_id == late_id);
        assert!([all, late_id].contains(&response.watch_id), "{response:?}");
        logs[index].responses.push(response);
    }
    assert!(logs[0].responses.iter().any(|response| response.fragment), "nothing was fragmented");
    for log in &logs {
        log.check().unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A shard answers progress only when all watchers of its stream are in sync, and one that it has canceled behind a
/// compaction never is.
async fn a_compacted_watcher_holds_back_no_progress(site: &Site) {
    let client = site.client();
    write(&client, "pods", "a", b"1").await;
    let written = write(&client, "pods", "a", b"2").await;
    compact(site, "pods", written).await;
    let mut stream = WatchStream::open(&client);
    let request = watch_prefix(prefix_of("pods"));
    let created = stream.create(request.clone()).await;
    let old = stream.create(WatchCreateRequest { start_revision: 1, ..request.clone() }).await.watch_id;
    stream.wait_for("canceled", |response| response.canceled && response.watch_id == old).await;
    // As clientv3 does.
    stream.send_cancel(old);
    let mut log = WatcherLog::new(request);
    ask_for_progress(&mut stream, created.watch_id, written, &mut log).await;
}

/// Rule 3: with watchers of two routes on one stream, each is answered with its own id and its own route's revision.
#[tokio::test]
async fn progress_is_told_to_each_watcher_in_its_own_line() {
    let topology = topology().await;
    let client = topology.client();
    // The lines must differ, or a mix-up would not show.
    for _ in 0..50 {
        write(&client, "rest", "a", b"1").await;
    }
    let mut stream = WatchStream::open(&client);
    let mut told = Vec::new();
    for route in ["pods", "rest"] {
        let created = stream.create(watch_prefix(prefix_of(route))).await;
        told.push((route, created.watch_id, false));
    }
    let end = tokio::time::Instant::now() + DEADLINE;
    while told.iter().any(|(_, _, answered)| !answered) {
        assert!(tokio::time::Instant::now() < end, "not answered: {told:?}");
        stream.send_progress_request();
        while let Ok(response) = stream.try_next(std::time::Duration::from_millis(100)).await {
            assert!(is_progress(&response), "{response:?}");
            let found = told.iter_mut().find(|(_, id, _)| *id == response.watch_id);
            let (route, _, answered) = found.unwrap_or_else(|| panic!("progress for nobody: {response:?}"));
            let current = current_revision(&topology.shard_client(route)).await;
            assert_eq!(header_revision(&response), current, "progress of {route}");
            *answered = true;
        }
    }
}

/// Rules 3 and 10: a watcher that cannot be told anything holds back nobody on another shard.
#[tokio::test]
async fn a_stalled_shard_or_a_future_start_holds_back_only_its_own_watchers() {
    let mut topology = topology().await;
    topology.proxy.expect_log("events");
    let client = topology.client();
    let written = write(&client, "pods", "a", b"1").await;
    let mut stream = WatchStream::open(&client);
    let future = WatchCreateRequest { start_revision: 1 << 40, ..watch_prefix(prefix_of("leases")) };
    let future = stream.create(future).await.watch_id;
    let stalled = stream.create(watch_prefix(prefix_of("events"))).await.watch_id;
    let pods = stream.create(watch_prefix(prefix_of("pods"))).await.watch_id;
    topology.shard("events").pause();
    let mut log = WatcherLog::new(watch_prefix(prefix_of("pods")));
    ask_for_progress(&mut stream, pods, written, &mut log).await;
    assert!(log.responses.iter().all(|response| response.watch_id == pods), "{:?}", log.responses);
    // Neither of the others may be told anything now. What the proxy has sent until here lies before this answer.
    let mut stray = WatcherLog::default();
    ask_for_progress(&mut stream, pods, written, &mut stray).await;
    assert!(
        !stray.responses.iter().any(|response| [future, stalled].contains(&response.watch_id)),
        "{stray:?}"
    );
    topology.shard("events").resume();
    topology.shard("events").wait_ready().await;
    let mut log = WatcherLog::new(watch_prefix(prefix_of("events")));
    let written = write(&client, "events", "a", b"1").await;
    ask_for_progress(&mut stream, stalled, written, &mut log).await;
    log.check().expect("progress after its event");
    assert_eq!(log.events().count(), 1);
}
