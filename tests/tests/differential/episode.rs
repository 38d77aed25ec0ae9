//! Watchers on both sides while random calls run.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::{DeleteRangeResponse, PutResponse, WatchCreateRequest, WatchResponse};
use etcd_prism_proto::mvccpb::event::EventType;
use etcd_prism_proto::mvccpb::{Event, KeyValue};
use etcd_prism_tests::request::{delete, put};
use etcd_prism_tests::wait::DEADLINE;
use etcd_prism_tests::watch_check::{self, WatcherLog, header_revision, is_progress, wants};
use etcd_prism_tests::watch_stream::WatchStream;
use rand::Rng;
use tokio::time::Instant;

use crate::call::{Call, Reply, brief};
use crate::compare::{key_values, previous, same};
use crate::run::Run;
use crate::state::FUTURE;
use crate::translate::watch_for_subject;

/// The reference's half and the subject's half of something.
pub(crate) type Pair<T> = [T; 2];

/// One watcher on both sides.
pub(crate) struct Watcher {
    ids: Pair<i64>,
    logs: Pair<WatcherLog>,
    routes: Vec<&'static str>,
    /// For each route, the last revision of the drain that this watcher gets an event of.
    targets: BTreeMap<&'static str, Pair<i64>>,
}

impl Watcher {
    pub(crate) fn request(&self) -> &WatchCreateRequest {
        &self.logs[0].request
    }

    /// It was created behind a compaction, which cancels it.
    pub(crate) fn is_compacted(&self, compacted: i64) -> bool {
        (1..compacted).contains(&self.request().start_revision)
    }

    fn waits_for_the_future(&self) -> bool {
        self.request().start_revision >= FUTURE
    }

    /// Whether one side has got everything that it will get.
    fn is_drained(&self, side: usize, compacted: i64, route_of: impl Fn(&[u8]) -> &'static str) -> bool {
        if self.is_compacted(compacted) {
            return self.logs[side].responses.iter().any(|response| response.canceled);
        }
        self.targets.iter().all(|(route, target)| {
            self.logs[side].events().rev().any(|event| {
                route_of(watch_check::key(event)) == *route && watch_check::revision(event) >= target[side]
            })
        })
    }
}

impl Run {
    /// Opens watchers, makes random calls, and compares every event.
    pub(crate) async fn episode(&mut self) -> Result<(), String> {
        let mut streams = [&self.setup.reference, &self.setup.subject].map(WatchStream::open_with_leader);
        let mut watchers = Vec::new();
        for request in self.watch_requests() {
            if let Some(watcher) = self.create(&mut streams, &request).await? {
                watchers.push(watcher);
            }
        }
        self.refuse_creates(&mut streams, &watchers).await?;
        for _ in 0..self.generator.rng.random_range(3..25) {
            self.random_call().await?;
        }
        if self.generator.chance(3) {
            self.expire().await?;
        }
        self.large_events(&watchers).await?;
        self.drain(&mut streams, &mut watchers).await?;
        if let Some(fault) = self.setup.fault
            && watchers.iter_mut().any(|watcher| fault.break_watch(&mut watcher.logs[1].responses))
        {
            self.setup.fault = None;
        }
        for watcher in &watchers {
            let context = |error| format!("watch {:?}: {error}", watcher.request());
            self.compare_watcher(watcher).map_err(context)?;
        }
        // A watcher that a compaction has canceled holds back progress until the client cancels it too, as clientv3 does.
        let (compacted, alive): (Vec<_>, Vec<_>) =
            watchers.iter().partition(|watcher| watcher.is_compacted(self.state.compacted));
        for watcher in compacted {
            // The answer says nothing new, and clients do not wait for it.
            for (stream, id) in streams.iter().zip(watcher.ids) {
                stream.send_cancel(id);
            }
        }
        self.progress(&mut streams, &alive).await?;
        self.cancel(&mut streams, &alive).await
    }

    /// None where both sides refuse it in the same words.
    pub(crate) async fn create(
        &mut self,
        streams: &mut Pair<WatchStream>,
        request: &WatchCreateRequest,
    ) -> Result<Option<Watcher>, String> {
        self.operations += 1;
        self.coverage.watch(&self.state, request);
        let requests = [request.clone(), watch_for_subject(&self.state, request)];
        let [reference, subject] = streams;
        let (reference, mut subject) =
            tokio::join!(reference.create(requests[0].clone()), subject.create(requests[1].clone()));
        if let Some(fault) = self.setup.fault {
            let mut answers = vec![subject.clone()];
            if fault.break_watch(&mut answers) {
                (self.setup.fault, subject) = (None, answers.swap_remove(0));
            }
        }
        self.coverage.watch_response(&reference);
        same("created: canceled", &reference.canceled, &subject.canceled)?;
        same("created: cancel_reason", &reference.cancel_reason, &subject.cancel_reason)?;
        let routes: Vec<_> =
            self.state.layout.routes_of(&request.key, &request.range_end).into_iter().collect();
        if reference.canceled || request.watch_id != 0 {
            same("created: watch_id", &reference.watch_id, &subject.watch_id)?;
        }
        if reference.canceled {
            return Ok(None);
        }
        if let ([route], 0) = (&routes[..], request.start_revision) {
            self.state
                .observe_header(route, header_revision(&reference), header_revision(&subject))
                .map_err(|error| format!("created: {error}"))?;
        }
        let ids = [reference.watch_id, subject.watch_id];
        Ok(Some(Watcher { ids, logs: requests.map(WatcherLog::new), routes, targets: BTreeMap::new() }))
    }

    /// Writes a last put and delete into every watched range, and reads until every watcher has got its last event.
    async fn drain(
        &mut self,
        streams: &mut Pair<WatchStream>,
        watchers: &mut [Watcher],
    ) -> Result<(), String> {
        let mut writes: Vec<Pair<Event>> = Vec::new();
        for watcher in &*watchers {
            for key in self.last_keys(watcher) {
                let written = self.succeed(&Call::Put(put(&key, "last"))).await?;
                writes.push(revisions(&written).map(|revision| bare_event(EventType::Put, &key, revision)));
                let deleted = self.succeed(&Call::Delete(delete(&key))).await?;
                writes
                    .push(revisions(&deleted).map(|revision| bare_event(EventType::Delete, &key, revision)));
            }
        }
        for watcher in watchers.iter_mut().filter(|watcher| !watcher.waits_for_the_future()) {
            for event in &writes {
                if wants(&watcher.logs[0].request, &event[0]) {
                    let route = self.state.layout.route_of(watch_check::key(&event[0]));
                    watcher.targets.insert(route, [0, 1].map(|side| watch_check::revision(&event[side])));
                }
            }
        }
        let (layout, compacted) = (self.state.layout.clone(), self.state.compacted);
        for (side, stream) in streams.iter_mut().enumerate() {
            let end = Instant::now() + DEADLINE;
            while let Some(waiting) = watchers
                .iter()
                .find(|watcher| !watcher.is_drained(side, compacted, |key| layout.route_of(key)))
            {
                let text = format!("{:?} on side {side} to get {:?}", waiting.request(), waiting.targets);
                let left = end.saturating_duration_since(Instant::now());
                let response =
                    stream.try_next(left).await.map_err(|end| format!("waiting for {text}: {end}"))?;
                self.coverage.watch_response(&response);
                deliver(side, response, watchers)?;
            }
        }
        Ok(())
    }

    /// One key for each route of the watched range.
    fn last_keys(&mut self, watcher: &Watcher) -> Vec<Bytes> {
        if watcher.waits_for_the_future() || watcher.is_compacted(self.state.compacted) {
            return Vec::new();
        }
        let key = &watcher.request().key;
        if watcher.routes.len() == 1 {
            return vec![if key.is_empty() { Bytes::from_static(b"\0") } else { key.clone() }];
        }
        watcher.routes.iter().map(|route| self.generator.keys.key(&mut self.generator.rng, route)).collect()
    }

    fn compare_watcher(&mut self, watcher: &Watcher) -> Result<(), String> {
        let layout = self.state.layout.clone();
        let [reference, subject] = &watcher.logs;
        reference.check().map_err(|error| format!("the reference: {error}"))?;
        let shard_of = |key: &[u8]| layout.shard_of(layout.route_of(key));
        let one_line =
            watcher.routes.iter().all(|route| layout.shard_of(route) == layout.shard_of(watcher.routes[0]));
        let checked = if one_line { subject.check() } else { subject.check_lines(shard_of) };
        checked.map_err(|error| format!("the subject: {error}"))?;
        for shard in layout.shards() {
            let on_shard = |log: &WatcherLog| -> Vec<Event> {
                log.events().filter(|event| shard_of(watch_check::key(event)) == shard).cloned().collect()
            };
            let (reference, subject) = (on_shard(reference), on_shard(subject));
            let names = |events: &[Event]| -> Vec<(i32, Bytes)> {
                events
                    .iter()
                    .map(|event| (event.r#type, Bytes::copy_from_slice(watch_check::key(event))))
                    .collect()
            };
            same("events", &names(&reference), &names(&subject))?;
            for (reference, subject) in reference.iter().zip(&subject) {
                self.compare_event(reference, subject)?;
            }
        }
        let ends = |log: &WatcherLog| -> Vec<(bool, String)> {
            let ends = log.responses.iter().filter(|response| response.canceled);
            ends.map(|end| (end.compact_revision > log.request.start_revision, end.cancel_reason.clone()))
                .collect()
        };
        same("cancellations by compaction", &ends(reference), &ends(subject))
    }

    fn compare_event(&mut self, reference: &Event, subject: &Event) -> Result<(), String> {
        let none = KeyValue::default();
        let kvs = [reference, subject].map(|event| event.kv.as_ref().unwrap_or(&none));
        key_values(&mut self.state, kvs[0], kvs[1])?;
        previous(&mut self.state, reference.prev_kv.as_ref(), subject.prev_kv.as_ref())
    }

    /// Asks for progress until every watcher has been told that it has seen everything.
    async fn progress(&mut self, streams: &mut Pair<WatchStream>, alive: &[&Watcher]) -> Result<(), String> {
        const ASK_AGAIN: Duration = Duration::from_millis(100);
        // etcd does not answer while one watcher of the stream waits for the future.
        if alive.is_empty() || alive.iter().any(|watcher| watcher.waits_for_the_future()) {
            return Ok(());
        }
        self.coverage.option("watch: progress request");
        for (side, stream) in streams.iter_mut().enumerate() {
            // Several lines of revisions have no number that would say it of all.
            let layout = &self.state.layout;
            let spans =
                |watcher: &&Watcher| layout.shards_of(&watcher.routes.iter().copied().collect()).len() > 1;
            let mut told: Vec<bool> = alive.iter().map(|watcher| side == 1 && spans(watcher)).collect();
            let end = Instant::now() + DEADLINE;
            while told.contains(&false) {
                if Instant::now() > end {
                    let silent = alive.iter().zip(&told).filter(|(_, told)| !**told);
                    let silent: Vec<_> = silent.map(|(watcher, _)| watcher.request()).collect();
                    return Err(format!("side {side} does not answer a progress request to {silent:?}"));
                }
                stream.send_progress_request();
                while let Ok(response) = stream.try_next(ASK_AGAIN).await {
                    let is_late = alive.iter().all(|watcher| watcher.ids[side] != response.watch_id);
                    let is_expected = is_progress(&response) || (response.canceled && is_late);
                    if !is_expected {
                        return Err(format!(
                            "after everything was read, side {side} sends {}",
                            brief(&response)
                        ));
                    }
                    for (watcher, told) in alive.iter().zip(&mut told) {
                        let concerned = [-1, watcher.ids[side]].contains(&response.watch_id);
                        let newest = watcher.targets.values().map(|target| target[side]).max().unwrap_or(0);
                        *told |= concerned && header_revision(&response) >= newest;
                    }
                    if !told.contains(&false) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    async fn cancel(&mut self, streams: &mut Pair<WatchStream>, watchers: &[&Watcher]) -> Result<(), String> {
        for watcher in watchers {
            for (side, stream) in streams.iter_mut().enumerate() {
                let id = watcher.ids[side];
                stream.send_cancel(id);
                let answer = stream
                    .wait_for("canceled", |response| response.canceled && response.watch_id == id)
                    .await;
                self.coverage.watch_response(&answer);
                if !answer.events.is_empty()
                    || answer.compact_revision != 0
                    || !answer.cancel_reason.is_empty()
                {
                    return Err(format!("the answer to a cancel on side {side} is {answer:?}"));
                }
            }
        }
        Ok(())
    }
}

fn deliver(side: usize, response: WatchResponse, watchers: &mut [Watcher]) -> Result<(), String> {
    if response.watch_id == -1 && is_progress(&response) {
        watchers.iter_mut().for_each(|watcher| watcher.logs[side].responses.push(response.clone()));
        return Ok(());
    }
    match watchers.iter_mut().find(|watcher| watcher.ids[side] == response.watch_id) {
        Some(watcher) => {
            watcher.logs[side].responses.push(response);
            Ok(())
        }
        None => Err(format!("side {side} sends a response for nobody: {}", brief(&response))),
    }
}

fn bare_event(kind: EventType, key: &Bytes, mod_revision: i64) -> Event {
    let kv = KeyValue { key: key.clone(), mod_revision, ..Default::default() };
    Event { r#type: kind.into(), kv: Some(kv), prev_kv: None }
}

fn revisions(replies: &Pair<Reply>) -> Pair<i64> {
    replies.each_ref().map(|reply| match reply {
        Reply::Put(PutResponse { header, .. }) | Reply::Delete(DeleteRangeResponse { header, .. }) => {
            header.as_ref().map_or(0, |header| header.revision)
        }
        _ => 0,
    })
}
