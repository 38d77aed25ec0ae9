//! A client that watches a prefix through one proxy after the other, as one that knows all of them does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_prism_tests::client::Client;
use etcd_prism_tests::request::watch_prefix;
use etcd_prism_tests::watch_check::{WatcherLog, header_revision, revision};
use etcd_prism_tests::watch_stream::{WatchEnd, WatchStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tonic::Status;

use crate::tally::Tally;

/// Between progress requests.
const ASKS: Duration = Duration::from_millis(200);
/// Before another proxy is tried.
const PAUSE: Duration = Duration::from_millis(50);
/// A stream on which nothing comes for so long, progress asked for, is given up: its proxy may be stopped.
const SILENCE: Duration = Duration::from_secs(2);

/// A running watch.
pub(crate) struct Watcher {
    pub(crate) prefix: &'static str,
    last: tokio::sync::watch::Sender<i64>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<(WatcherLog, i64)>,
}

struct Watch {
    proxies: Vec<(String, String)>,
    prefix: &'static str,
    at: usize,
    stream: WatchStream,
    log: WatcherLog,
    from: i64,
    silent: Duration,
    tally: Tally,
}

impl Watcher {
    /// Opens the watch through the first of these proxies (name and endpoint), and returns once it is there.
    pub(crate) async fn open(proxies: Vec<(String, String)>, prefix: &'static str, tally: Tally) -> Self {
        let request = watch_prefix(prefix);
        let mut stream = WatchStream::open(&Client::new(&proxies[0].1));
        let from = header_revision(&stream.create(request.clone()).await) + 1;
        let (last, stop) = (tokio::sync::watch::Sender::new(0), Arc::new(AtomicBool::new(false)));
        let log = WatcherLog::new(request);
        let mut watch = Watch { proxies, prefix, at: 0, stream, log, from, silent: Duration::ZERO, tally };
        let (told, ended) = (last.clone(), stop.clone());
        let task = tokio::spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                watch.turn().await;
                told.send_replace(watch.log.events().next_back().map_or(0, revision));
            }
            (watch.log, watch.from)
        });
        Self { prefix, last, stop, task }
    }

    /// Waits until it was sent an event at `revision` or a later one, and ends. All that it was sent, and the revision that
    /// it began at.
    pub(crate) async fn end(self, revision: i64) -> (WatcherLog, i64) {
        let seen = async { self.last.subscribe().wait_for(|last| *last >= revision).await.map(|last| *last) };
        let seen = tokio::time::timeout(etcd_prism_tests::wait::DEADLINE, seen).await;
        assert!(seen.is_ok(), "a watcher of {} was not sent {revision}, only {:?}", self.prefix, self.last);
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("a watcher")
    }
}

impl Watch {
    /// Takes one response. A stream that ends is opened anew, through the next proxy, where it left off.
    async fn turn(&mut self) {
        let proxy = self.proxies[self.at].0.clone();
        let status = match self.stream.try_next(ASKS).await {
            Ok(response) if !response.canceled => {
                self.silent = Duration::ZERO;
                if !response.events.is_empty() {
                    self.tally.done(&proxy, self.prefix, "watch");
                }
                if !response.created {
                    self.log.responses.push(response);
                }
                return;
            }
            Ok(response) => Status::unavailable(format!("canceled: {}", response.cancel_reason)),
            Err(WatchEnd::Silence(_)) => {
                self.silent += ASKS;
                self.stream.send_progress_request();
                if self.silent < SILENCE {
                    return;
                }
                Status::unavailable("silent")
            }
            Err(WatchEnd::Status(status)) => status,
            Err(WatchEnd::Eof) => Status::unknown("the stream ended without a status"),
        };
        self.tally.failed(&proxy, &status);
        sleep(PAUSE).await;
        self.at = (self.at + 1) % self.proxies.len();
        self.silent = Duration::ZERO;
        let mut request = self.log.request.clone();
        request.start_revision = self.log.next_revision().max(self.from);
        self.stream = WatchStream::open(&Client::new(&self.proxies[self.at].1));
        self.stream.send_create(request);
    }
}
