//! Steady work on an API server: numbered updates, objects that come and go, lists of every sort.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::api::{Api, ApiError, Patch};
use super::counter::Counter;
use super::objects::{self, Kind};

/// What was done so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests that succeeded, by what they were.
    pub done: BTreeMap<&'static str, u64>,
    /// The slowest of them.
    pub slowest: Duration,
    /// By how much a pause was too long at most: so long nothing ran here, for want of a processor.
    pub stall: Duration,
    pub failures: Vec<String>,
}

/// Tasks that work until they are told to stop.
#[derive(Debug)]
pub struct Load {
    kinds: Vec<Kind>,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    /// Between two steps of one task.
    pause: Duration,
    tally: Mutex<Tally>,
}

impl Load {
    /// On every kind of object; `pause` lies between two steps of one task.
    pub fn new(pause: Duration) -> Self {
        Self::on(&Kind::ALL, pause)
    }

    /// On objects of `kinds` only.
    pub fn on(kinds: &[Kind], pause: Duration) -> Self {
        let shared = Shared { stop: AtomicBool::new(false), pause, tally: Mutex::default() };
        Self { kinds: kinds.to_vec(), shared: Arc::new(shared), tasks: JoinSet::new() }
    }

    /// One task per kind that updates an object `name`, in turns by a patch and by replacing the object that it knows.
    /// Nobody else writes it, so no update may be refused as a conflict.
    pub async fn numbered_updates(&mut self, api: &Api, name: &str) -> Result<(), ApiError> {
        for &kind in &self.kinds {
            let mut counter = Counter::create(api, kind, name).await?;
            let shared = self.shared.clone();
            self.tasks.spawn(async move {
                while shared.goes_on().await {
                    shared.count("update", counter.advance().await);
                    shared.count("replace", counter.replace().await);
                }
            });
        }
        Ok(())
    }

    /// One task per kind that creates objects, applies to them and deletes them.
    pub fn lives(&mut self, api: &Api, name: &str) {
        for &kind in &self.kinds {
            let (api, name, shared) = (api.clone(), name.to_owned(), self.shared.clone());
            self.tasks.spawn(async move {
                let mut number = 0_u64;
                while shared.goes_on().await {
                    number += 1;
                    shared.life(&api, kind, &format!("{name}-{number}")).await;
                }
            });
        }
    }

    /// One task per kind that lists: consistently, from the cache, and page by page.
    pub fn lists(&mut self, api: &Api) {
        for &kind in &self.kinds {
            let (api, shared) = (api.clone(), self.shared.clone());
            self.tasks.spawn(async move {
                while shared.goes_on().await {
                    shared.count("list", timed(api.get(&kind.collection())).await);
                    let cached = format!("{}?resourceVersion=0", kind.collection());
                    shared.count("list from the cache", timed(api.get(&cached)).await);
                    shared.count("list by pages", timed(pages(&api, kind, 3)).await);
                }
            });
        }
    }

    /// What was done so far.
    pub fn tally(&self) -> Tally {
        self.shared.tally.lock().clone()
    }

    /// Lets every task end its step; what was done.
    pub async fn stop(mut self) -> Tally {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(task) = self.tasks.join_next().await {
            task.expect("a task of the load");
        }
        self.tally()
    }
}

impl Shared {
    async fn goes_on(&self) -> bool {
        let started = Instant::now();
        sleep(self.pause).await;
        let stall = started.elapsed().saturating_sub(self.pause);
        let mut tally = self.tally.lock();
        tally.stall = tally.stall.max(stall);
        !self.stop.load(Ordering::Relaxed)
    }

    fn count(&self, what: &'static str, result: Result<Duration, ApiError>) {
        let mut tally = self.tally.lock();
        match result {
            Ok(took) => {
                *tally.done.entry(what).or_default() += 1;
                tally.slowest = tally.slowest.max(took);
            }
            Err(error) => tally.failures.push(format!("{what}: {error}")),
        }
    }

    async fn life(&self, api: &Api, kind: Kind, name: &str) {
        let object = kind.object(name);
        let path = kind.path(name);
        self.count("create", timed(api.create(&kind.collection(), &object)).await);
        let mut applied = object;
        applied["metadata"]["labels"]["applied"] = "yes".into();
        self.count("apply", timed(api.patch(&path, Patch::Apply, &applied)).await);
        self.count("get", timed(api.get(&path)).await);
        self.count("delete", timed(api.delete(&path)).await);
    }
}

async fn timed<T>(request: impl Future<Output = Result<T, ApiError>>) -> Result<Duration, ApiError> {
    let started = Instant::now();
    request.await.map(|_| started.elapsed())
}

/// Lists `kind` in pages of `limit`; the names in order, and the resource version that every page had.
pub async fn pages(api: &Api, kind: Kind, limit: usize) -> Result<(Vec<String>, u64), ApiError> {
    let mut names = Vec::new();
    let mut token = String::new();
    let mut version = None;
    loop {
        let page = api.get(&format!("{}?limit={limit}&continue={token}", kind.collection())).await?;
        let at = objects::resource_version(&page);
        assert_eq!(
            *version.get_or_insert(at),
            at,
            "the pages of one list of {} differ in version",
            kind.resource()
        );
        let items = objects::items(&page);
        assert!(items.len() <= limit, "a page of {} has more than {limit} objects", kind.resource());
        names.extend(items.iter().map(|item| objects::name(item).to_owned()));
        match page["metadata"]["continue"].as_str() {
            Some(next) if !next.is_empty() => token = next.to_owned(),
            _ => return Ok((names, at)),
        }
    }
}
