//! Lists once and then watches, as every controller does, and checks that no event is missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::api::{Api, ApiError};
use super::objects::{self, Kind};
use super::watch::WatchEvent;
use crate::wait;

const RETRY: Duration = Duration::from_millis(100);

/// Everything an informer has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The last number of each object that is there.
    pub numbers: BTreeMap<String, u64>,
    /// The newest resource version: of the list, an event or a bookmark.
    pub resource_version: u64,
    pub events: u64,
    /// Watches that ended and went on from where they were.
    pub resumes: u64,
    /// Lists after the first: the API server no longer had the history.
    pub relists: u64,
    /// Watches and lists that failed.
    pub interruptions: u64,
    /// What no watch may do, and why it failed where it did.
    pub violations: Vec<String>,
}

impl Seen {
    fn list(&mut self, list: &Value) {
        let numbers = objects::items(list)
            .iter()
            .filter_map(|object| Some((objects::name(object), objects::number(object)?)));
        self.numbers = numbers.map(|(name, number)| (name.to_owned(), number)).collect();
        self.resource_version = objects::resource_version(list);
    }

    fn event(&mut self, event: &WatchEvent) {
        let version = event.resource_version();
        if event.kind == "BOOKMARK" {
            if version < self.resource_version {
                self.violation(format!("a bookmark at {version} after {}", self.resource_version));
            }
            self.resource_version = version;
            return;
        }
        if version <= self.resource_version {
            self.violation(format!("an event at {version} after {}: {event:?}", self.resource_version));
        }
        self.resource_version = version;
        self.events += 1;
        let Some(number) = objects::number(&event.object) else { return };
        let name = objects::name(&event.object);
        let before = self.numbers.get(name).copied();
        // An update of something else than the number leaves the number as it was.
        let follows = match (event.kind.as_str(), before) {
            ("ADDED", None) => number == 0,
            ("MODIFIED", Some(before)) => number == before || number == before + 1,
            ("DELETED", Some(before)) => number == before,
            _ => false,
        };
        if !follows {
            self.violation(format!("{} {name} with number {number} after {before:?}", event.kind));
        }
        if event.kind == "DELETED" {
            self.numbers.remove(name);
        } else {
            self.numbers.insert(name.to_owned(), number);
        }
    }

    fn interrupted(&mut self, error: String) {
        self.interruptions += 1;
        self.violation(error);
    }

    fn violation(&mut self, text: String) {
        const ENOUGH: usize = 20;
        if self.violations.len() < ENOUGH {
            self.violations.push(text);
        }
    }
}

/// A task that lists and watches one kind of object. It ends when it is dropped.
#[derive(Debug)]
pub struct Informer {
    kind: Kind,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Informer {
    /// Starts it; the first list is read when this returns.
    pub async fn start(api: &Api, kind: Kind) -> Result<Self, ApiError> {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let first = api.get(&kind.collection()).await?;
        seen.lock().list(&first);
        let task = tokio::spawn(follow(api.clone(), kind, seen.clone()));
        Ok(Self { kind, seen, task })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }

    /// Waits until it has seen update `number` of the object `name`.
    pub async fn wait_for(&self, name: &str, number: u64) {
        let what = format!("update {number} of {} {name} at an informer", self.kind.resource());
        wait::until(&what, async || match self.seen.lock() {
            seen if seen.numbers.get(name).is_some_and(|seen| *seen >= number) => Ok(()),
            seen => Err(seen.numbers.get(name).copied()),
        })
        .await;
    }

    /// Waits until it holds what `api` lists, object by object. Only for a server where nothing is written any more.
    pub async fn wait_for_list(&self, api: &Api) {
        let what = format!("an informer of {} to hold what is listed", self.kind.resource());
        wait::until(&what, async || {
            let mut listed = Seen::default();
            listed.list(&api.get(&self.kind.collection()).await.map_err(|error| error.to_string())?);
            let seen = self.seen.lock();
            if seen.numbers == listed.numbers { Ok(()) } else { Err(format!("{:?}", seen.numbers)) }
        })
        .await;
    }

    /// Panics where an event was missed or came twice, or the history was lost.
    pub fn assert_gapless(&self) {
        let seen = self.seen();
        let resource = self.kind.resource();
        assert!(seen.violations.is_empty(), "{resource}: {:?}", seen.violations);
        assert_eq!(seen.relists, 0, "{resource}: the informer had to list again");
    }
}

impl Drop for Informer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(api: Api, kind: Kind, seen: Arc<Mutex<Seen>>) {
    loop {
        match watch(&api, kind, &seen).await {
            End::Closed => seen.lock().resumes += 1,
            End::Refused(error) => {
                seen.lock().interrupted(error);
                sleep(RETRY).await;
            }
            End::Expired => {
                seen.lock().relists += 1;
                match api.get(&kind.collection()).await {
                    Ok(list) => seen.lock().list(&list),
                    Err(error) => seen.lock().interrupted(error.to_string()),
                }
            }
        }
    }
}

enum End {
    /// The server ended it, as it does after half an hour.
    Closed,
    /// It broke, or could not be opened.
    Refused(String),
    /// The history that it needs is gone.
    Expired,
}

async fn watch(api: &Api, kind: Kind, seen: &Mutex<Seen>) -> End {
    let from = seen.lock().resource_version;
    let path = format!("{}?resourceVersion={from}&allowWatchBookmarks=true", kind.collection());
    let mut watch = match api.watch(&path).await {
        Ok(watch) => watch,
        Err(ApiError::Status { code: 410, .. }) => return End::Expired,
        Err(error) => return End::Refused(error.to_string()),
    };
    loop {
        match watch.next().await {
            Ok(Some(event)) if event.kind == "ERROR" && event.object["code"] == 410 => return End::Expired,
            Ok(Some(event)) if event.kind == "ERROR" => return End::Refused(event.object.to_string()),
            Ok(Some(event)) => seen.lock().event(&event),
            Ok(None) => return End::Closed,
            Err(error) => return End::Refused(error),
        }
    }
}

#[cfg(test)]
mod tests;
