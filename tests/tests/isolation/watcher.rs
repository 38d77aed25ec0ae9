//! A watch of one route, with progress requests, for as long as the load runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_prism_tests::client::Client;
use etcd_prism_tests::request::{put, watch_prefix};
use etcd_prism_tests::watch_check::{WatcherLog, header_revision, is_progress, revision};
use etcd_prism_tests::watch_stream::{WatchEnd, WatchStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Status;

use crate::load::prefix_of;
use crate::samples::Samples;

/// How often kube-apiserver asks for progress while a consistent read waits.
const ASKS: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(20);
/// No fault here lasts this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running watch.
pub(crate) struct Watcher {
    pub(crate) route: &'static str,
    stop: Arc<AtomicBool>,
    task: JoinHandle<(WatcherLog, i64)>,
}

impl Watcher {
    /// Opens the watch and returns once it is there.
    pub(crate) async fn open(client: Client, route: &'static str, samples: Samples) -> Self {
        let mut watch = Watch {
            stream: WatchStream::open_with_leader(&client),
            log: WatcherLog::new(watch_prefix(prefix_of(route))),
            client,
            route,
            samples,
        };
        let created = watch.stream.create(watch.log.request.clone()).await;
        let from = header_revision(&created) + 1;
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let task = tokio::spawn(async move {
            for number in 0u64.. {
                watch.turn(number, from).await;
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
            (watch.log, from)
        });
        Self { route, stop, task }
    }

    /// All that it was sent, and the revision that it began at.
    pub(crate) async fn stop(self) -> (WatcherLog, i64) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("a watcher")
    }
}

struct Watch {
    client: Client,
    route: &'static str,
    samples: Samples,
    stream: WatchStream,
    log: WatcherLog,
}

impl Watch {
    /// Writes, waits for the event, then for progress at its revision.
    async fn turn(&mut self, number: u64, from: i64) {
        let key = format!("{}marker", prefix_of(self.route));
        let start = Instant::now();
        let write = self.client.kv().put(put(&key, &number.to_string())).await;
        let Some(written) = self.samples.note(self.route, "marker", start, write) else { return };
        let written = written.into_inner().header.map_or(0, |header| header.revision);
        let start = Instant::now();
        while self.log.events().next_back().is_none_or(|event| revision(event) < written) {
            self.read(PATIENCE, from).await;
        }
        self.samples.note(self.route, "event", start, Ok(()));
        let start = Instant::now();
        loop {
            self.stream.send_progress_request();
            let told = |log: &WatcherLog| {
                log.responses.last().is_some_and(|r| is_progress(r) && header_revision(r) >= written)
            };
            let end = Instant::now() + ASKS;
            while !told(&self.log) && Instant::now() < end {
                self.read(end.saturating_duration_since(Instant::now()), from).await;
            }
            if told(&self.log) {
                break;
            }
        }
        self.samples.note(self.route, "progress", start, Ok(()));
    }

    /// Takes one response. A stream that ends is noted as an error and opened anew where it left off.
    async fn read(&mut self, limit: Duration, from: i64) {
        let start = Instant::now();
        let status = match self.stream.try_next(limit).await {
            Ok(response) if !response.canceled => {
                if !response.created {
                    self.log.responses.push(response);
                }
                return;
            }
            Ok(response) => Status::unknown(format!("canceled: {}", response.cancel_reason)),
            Err(WatchEnd::Silence(limit)) if limit < PATIENCE => return,
            Err(WatchEnd::Status(status)) => status,
            Err(end) => Status::unknown(end.to_string()),
        };
        self.samples.note::<()>(self.route, "watch", start, Err(status));
        let mut request = self.log.request.clone();
        request.start_revision = self.log.next_revision().max(from);
        self.stream = WatchStream::open_with_leader(&self.client);
        self.stream.send_create(request);
    }
}
