//! Rules 4, 6, 7 and 8: what a watcher is sent.

use etcd_prism_proto::etcdserverpb::WatchCreateRequest;
use etcd_prism_proto::mvccpb::event::EventType;
use etcd_prism_tests::request::{delete, delete_prefix, watch_prefix};
use etcd_prism_tests::watch_check::{WatcherLog, header_revision, revision};
use etcd_prism_tests::watch_stream::WatchStream;

use crate::on_both;
use crate::site::{Site, compact, prefix_of, read_until, write, write_together};

on_both!(
    a_revision_is_never_split,
    fragments_come_back_to_back,
    previous_values_and_creations_are_exact,
    a_compacted_start_is_canceled,
    a_start_at_the_compact_revision_is_kept,
);

/// Rule 4, read live and read from history.
async fn a_revision_is_never_split(site: &Site) {
    const WRITES: i64 = 60;
    let names: Vec<String> = (0..100).map(|index| format!("k{index:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let client = site.client();
    let mut stream = WatchStream::open(&client);
    let live = watch_prefix(prefix_of("pods"));
    let created = stream.create(live.clone()).await;
    let from = header_revision(&created) + 1;
    let mut last = 0;
    for _ in 0..WRITES {
        last = write_together(&client, "pods", &names, b"some value").await;
    }
    let old = WatchCreateRequest { start_revision: from, ..live.clone() };
    for (request, stream) in [(live, stream), (old, WatchStream::open(&client))] {
        let (mut stream, mut log) = (stream, WatcherLog::new(request.clone()));
        if request.start_revision > 0 {
            stream.create(request).await;
        }
        read_until(&mut stream, &mut log, last).await;
        assert_eq!(log.events().count(), names.len() * WRITES as usize);
        site.verify("pods", &log, from, last).await;
    }
}

/// Rule 4: a revision too large for one response comes in fragments, with nothing between them.
async fn fragments_come_back_to_back(site: &Site) {
    let client = site.client();
    let mut stream = WatchStream::open(&client);
    let request =
        WatchCreateRequest { fragment: true, progress_notify: true, ..watch_prefix(prefix_of("pods")) };
    let created = stream.create(request.clone()).await;
    // A second watcher of the same keys is sent everything at the same time.
    let second = stream.create(watch_prefix(prefix_of("pods"))).await;
    let from = header_revision(&created) + 1;
    let mut last = 0;
    for _ in 0..6 {
        // 1.4 MB, and as much again for the previous values.
        last = write_together(&client, "pods", &["a", "b"], &[b'x'; 700_000]).await;
        stream.send_progress_request();
    }
    let mut whole = WatcherLog::new(watch_prefix(prefix_of("pods")));
    let mut parts = WatcherLog::new(request);
    let is_open = |log: &WatcherLog| log.events().next_back().is_none_or(|event| revision(event) < last);
    let mut open = None;
    while is_open(&whole) || is_open(&parts) || open.is_some() {
        let response = stream.next().await;
        assert!(open.is_none_or(|id| id == response.watch_id), "between two fragments: {response:?}");
        open = response.fragment.then_some(response.watch_id);
        for (id, log) in [(second.watch_id, &mut whole), (created.watch_id, &mut parts)] {
            if [-1, id].contains(&response.watch_id) {
                log.responses.push(response.clone());
            }
        }
    }
    assert!(parts.responses.iter().any(|response| response.fragment), "nothing was fragmented");
    assert!(!whole.responses.iter().any(|response| response.fragment), "fragments that nobody asked for");
    site.verify("pods", &parts, from, last).await;
    site.verify("pods", &whole, from, last).await;
}

/// Rule 7.
async fn previous_values_and_creations_are_exact(site: &Site) {
    let client = site.client();
    let mut stream = WatchStream::open(&client);
    let with = watch_prefix(prefix_of("pods"));
    let without = WatchCreateRequest { prev_kv: false, ..with.clone() };
    let created = [stream.create(with.clone()).await, stream.create(without.clone()).await];
    let from = header_revision(&created[1]) + 1;
    let key = [prefix_of("pods"), "a"].concat();
    write(&client, "pods", "a", b"1").await;
    write(&client, "pods", "a", b"2").await;
    client.kv().delete_range(delete(&key)).await.expect("a delete");
    write(&client, "pods", "a", b"3").await;
    write_together(&client, "pods", &["a", "b", "c"], b"4").await;
    client.kv().delete_range(delete_prefix(prefix_of("pods"))).await.expect("a delete");
    let last = write(&client, "pods", "b", b"5").await;
    let mut logs = [WatcherLog::new(with), WatcherLog::new(without)];
    while logs.iter().any(|log| log.events().next_back().is_none_or(|event| revision(event) < last)) {
        let response = stream.next().await;
        let index = created
            .iter()
            .position(|created| created.watch_id == response.watch_id)
            .expect("a known watcher");
        logs[index].responses.push(response);
    }
    let previous = |log: &WatcherLog| log.events().filter(|event| event.prev_kv.is_some()).count();
    assert_eq!([previous(&logs[0]), previous(&logs[1])], [6, 0]);
    let is_creation = |kv: &etcd_prism_proto::mvccpb::KeyValue| kv.create_revision == kv.mod_revision;
    let puts = logs[0].events().filter(|event| event.r#type() == EventType::Put);
    let creations = puts.filter(|event| event.kv.as_ref().is_some_and(is_creation)).count();
    assert_eq!(creations, 5);
    for log in &logs {
        site.verify("pods", log, from, last).await;
    }
}

/// Rule 8.
async fn a_compacted_start_is_canceled(site: &Site) {
    let client = site.client();
    let first = write(&client, "pods", "a", b"1").await;
    let second = write(&client, "pods", "a", b"2").await;
    write(&client, "pods", "a", b"3").await;
    compact(site, "pods", second).await;
    let mut stream = WatchStream::open(&client);
    let alive = stream.create(watch_prefix(prefix_of("pods"))).await;
    let request = WatchCreateRequest { start_revision: first, ..watch_prefix(prefix_of("pods")) };
    let created = stream.create(request).await;
    assert!(!created.canceled && created.watch_id >= 0, "{created:?}");
    let canceled = stream.wait_for("canceled", |response| response.watch_id == created.watch_id).await;
    assert!(canceled.canceled && canceled.events.is_empty() && !canceled.created, "{canceled:?}");
    assert_eq!(canceled.compact_revision, second, "{canceled:?}");
    let written = write(&client, "pods", "a", b"4").await;
    let mut log = WatcherLog::new(watch_prefix(prefix_of("pods")));
    read_until(&mut stream, &mut log, written).await;
    assert_eq!(log.responses[0].watch_id, alive.watch_id);
}

/// Rule 8: the compact revision itself can still be watched from.
async fn a_start_at_the_compact_revision_is_kept(site: &Site) {
    let client = site.client();
    write(&client, "pods", "a", b"1").await;
    let start = write(&client, "pods", "a", b"2").await;
    compact(site, "pods", start).await;
    let mut stream = WatchStream::open(&client);
    let request = WatchCreateRequest { start_revision: start, ..watch_prefix(prefix_of("pods")) };
    stream.create(request.clone()).await;
    let last = write(&client, "pods", "a", b"3").await;
    let mut log = WatcherLog::new(request);
    read_until(&mut stream, &mut log, last).await;
    site.verify("pods", &log, start, last).await;
}

/// Rule 6, while writes go on: the revision in `created` is not above the first event, and nothing after it is missing.
#[tokio::test]
async fn created_is_not_ahead_of_its_first_event() {
    const WATCHES: usize = 60;
    let site = Site::proxy().await;
    let client = site.client();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = tokio::spawn({
        let (client, stop) = (site.client(), stop.clone());
        async move {
            let mut last = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                last = write(&client, "pods", "a", b"1").await;
            }
            last
        }
    });
    let mut watches = Vec::new();
    for _ in 0..WATCHES {
        let mut stream = WatchStream::open(&client);
        let mut log = WatcherLog::new(watch_prefix(prefix_of("pods")));
        let created = stream.create(log.request.clone()).await;
        while log.events().next().is_none() {
            log.responses.push(stream.next().await);
        }
        watches.push((stream, log, header_revision(&created)));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let last = writer.await.expect("the writer");
    for (mut stream, mut log, created) in watches {
        read_until(&mut stream, &mut log, last).await;
        let first = log.events().next().map_or(0, revision);
        assert!(created > 0 && created <= first, "created at {created}, first event at {first}");
        site.verify("pods", &log, created + 1, last).await;
    }
}
