//! Watchers that go on as clients do: from the next revision, wherever they are answered.

use std::sync::Arc;
use std::time::Duration;

use etcd_prism_proto::etcdserverpb::WatchCreateRequest;
use etcd_prism_tests::client::Client;
use etcd_prism_tests::watch_check::{WatcherLog, revision};
use etcd_prism_tests::watch_stream::{WatchEnd, WatchStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::work::Allowed;

/// How a watcher reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// As fast as it is sent, and stays where it is.
    Steady,
    /// Nothing before the end.
    Late,
    /// Goes from one proxy to the other all the time.
    Restless,
}

const HOP: Duration = Duration::from_millis(120);
const LOOK: Duration = Duration::from_millis(50);
/// Every event must have come this long after the last write.
const ARRIVAL: Duration = Duration::from_secs(30);

/// What a watcher was sent.
#[derive(Debug)]
pub struct Followed {
    pub name: String,
    /// The first revision that it asked for, or the first one after what was compacted.
    pub from: i64,
    pub log: WatcherLog,
}

/// A watcher that runs.
pub struct Follower {
    name: String,
    until: watch::Sender<Option<i64>>,
    task: JoinHandle<Result<Followed, String>>,
}

struct State {
    habit: Habit,
    clients: Vec<Client>,
    at: usize,
    /// Through which proxies a watch may end; `None`: all.
    allowed: Option<Arc<Allowed>>,
    /// Whether it may be told that what it asked for is compacted.
    compacted: bool,
    stream: Option<(WatchStream, Instant)>,
    followed: Followed,
}

impl Follower {
    /// `clients` are those of the proxies, in their order; the watch begins at the one called `at`.
    pub fn start(
        name: String,
        habit: Habit,
        clients: Vec<Client>,
        at: usize,
        allowed: Option<Arc<Allowed>>,
        compacted: bool,
        request: WatchCreateRequest,
    ) -> Self {
        let (until, told) = watch::channel(None);
        let followed =
            Followed { name: name.clone(), from: request.start_revision, log: WatcherLog::new(request) };
        let state = State { habit, clients, at, allowed, compacted, stream: None, followed };
        Self { name, until, task: tokio::spawn(state.run(told)) }
    }

    /// Reads on until it was told of this revision.
    pub async fn finish(self, last: i64) -> Followed {
        self.until.send_replace(Some(last));
        let name = self.name;
        match tokio::time::timeout(ARRIVAL, self.task).await {
            Ok(Ok(Ok(followed))) => followed,
            Ok(Ok(Err(error))) => panic!("the watch of {name}: {error}"),
            Ok(Err(error)) => panic!("the watch of {name}: {error}"),
            Err(_) => panic!("the watch of {name} was not told of revision {last} within {ARRIVAL:?}"),
        }
    }
}

impl State {
    async fn run(mut self, mut until: watch::Receiver<Option<i64>>) -> Result<Followed, String> {
        loop {
            let goal = *until.borrow_and_update();
            if goal.is_some_and(|last| self.last() >= last) {
                return Ok(self.followed);
            }
            if self.stream.is_none() {
                self.open();
            }
            if goal.is_none() && self.habit == Habit::Late {
                // Nobody ends it before.
                until.changed().await.map_err(|_| "nobody waits for it".to_owned())?;
                continue;
            }
            if goal.is_none()
                && self.habit == Habit::Restless
                && self.stream.as_ref().is_some_and(|(_, since)| since.elapsed() > HOP)
            {
                self.go_elsewhere();
                continue;
            }
            self.read().await?;
        }
    }

    fn last(&self) -> i64 {
        self.followed.log.events().next_back().map_or(0, revision)
    }

    fn open(&mut self) {
        let stream = WatchStream::open(&self.clients[self.at]);
        let start_revision = self.followed.log.next_revision();
        stream.send_create(WatchCreateRequest { start_revision, ..self.followed.log.request.clone() });
        self.stream = Some((stream, Instant::now()));
    }

    fn go_elsewhere(&mut self) {
        self.stream = None;
        self.at = (self.at + 1) % self.clients.len();
    }

    async fn read(&mut self) -> Result<(), String> {
        let Some((stream, _)) = &mut self.stream else { return Ok(()) };
        match stream.try_next(LOOK).await {
            Ok(response) if response.canceled && response.compact_revision > 0 => {
                if !self.compacted {
                    return Err(format!("compacted: {response:?}"));
                }
                // It lists at that revision, and goes on after it.
                let (request, next) = (&self.followed.log.request, response.compact_revision + 1);
                let request = WatchCreateRequest { start_revision: next, ..request.clone() };
                self.followed.from = request.start_revision;
                self.followed.log = WatcherLog::new(request);
                self.stream = None;
            }
            Ok(response) if response.canceled => self.ended(&format!("{response:?}")).await?,
            Ok(response) if response.created && response.events.is_empty() => {}
            Ok(response) => self.followed.log.responses.push(response),
            Err(WatchEnd::Silence(_)) => {}
            Err(end) => self.ended(&end.to_string()).await?,
        }
        Ok(())
    }

    async fn ended(&mut self, how: &str) -> Result<(), String> {
        let may_end = |allowed: &Arc<Allowed>| match self.habit {
            Habit::Late => allowed.was(self.at),
            Habit::Steady | Habit::Restless => allowed.is(self.at),
        };
        if !self.allowed.as_ref().is_none_or(may_end) {
            return Err(format!("it ended at proxy {}, where nothing was wrong: {how}", self.at));
        }
        self.go_elsewhere();
        tokio::time::sleep(LOOK).await;
        Ok(())
    }
}
