//! What etcd promises of a watch, checked on what one watcher was sent.
//!
//! *Ordered*, *unique*, *atomic* (a revision is never split over responses, declared fragments apart), *reliable* (no gap),
//! *bookmarkable* (progress at R means that every event up to R was sent), *resumable* from the next revision, with exact
//! `prev_kv` and with `create_revision == mod_revision` on creations only.

use std::collections::BTreeMap;

use etcd_prism_proto::etcdserverpb::watch_create_request::FilterType;
use etcd_prism_proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use etcd_prism_proto::mvccpb::Event;
use etcd_prism_proto::mvccpb::event::EventType;

/// One watcher's request and every response that concerned it after `created`.
#[derive(Clone, Debug, Default)]
pub struct WatcherLog {
    pub request: WatchCreateRequest,
    pub responses: Vec<WatchResponse>,
}

/// A response that carries progress and nothing else, as clientv3 tells it.
pub fn is_progress(response: &WatchResponse) -> bool {
    response.events.is_empty()
        && !response.created
        && !response.canceled
        && response.compact_revision == 0
        && header_revision(response) != 0
}

/// 0 where there is no header.
pub fn header_revision(response: &WatchResponse) -> i64 {
    response.header.as_ref().map_or(0, |header| header.revision)
}

/// The event's revision.
pub fn revision(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

/// The event's key.
pub fn key(event: &Event) -> &[u8] {
    event.kv.as_ref().map_or(&[], |kv| &kv.key)
}

/// Whether a watcher that asked for `request` gets `event`.
pub fn wants(request: &WatchCreateRequest, event: &Event) -> bool {
    let filter = match event.r#type() {
        EventType::Put => FilterType::Noput,
        EventType::Delete => FilterType::Nodelete,
    };
    contains(request, key(event))
        && revision(event) >= request.start_revision
        && !request.filters.contains(&filter.into())
}

/// Whether `key` lies in the watched range.
pub fn contains(request: &WatchCreateRequest, key: &[u8]) -> bool {
    let start: &[u8] = if request.key.is_empty() { b"\0" } else { &request.key };
    match &request.range_end[..] {
        b"" => key == start,
        b"\0" => key >= start,
        end => key >= start && key < end,
    }
}

impl WatcherLog {
    pub fn new(request: WatchCreateRequest) -> Self {
        Self { request, responses: Vec::new() }
    }

    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.responses.iter().flat_map(|response| &response.events)
    }

    /// The revision at which clientv3 would resume this watcher; 0 while nothing says so.
    pub fn next_revision(&self) -> i64 {
        let last = self.responses.iter().rev().find_map(|response| match response.events.last() {
            Some(event) => Some(revision(event)),
            None => is_progress(response).then(|| header_revision(response)),
        });
        last.map_or(self.request.start_revision, |revision| revision + 1)
    }

    /// All promises that show in the responses themselves.
    pub fn check(&self) -> Result<(), String> {
        self.check_responses(&mut Check::default(), |_| "")
    }

    /// As [`check`](Self::check) for a watcher over several lines of revisions: order holds within each, and progress
    /// says nothing about any of them.
    pub fn check_lines<'a>(&self, line: impl Fn(&[u8]) -> &'a str) -> Result<(), String> {
        self.check_responses(&mut Check { several: true, ..Check::default() }, line)
    }

    fn check_responses<'a>(
        &self,
        check: &mut Check<'a>,
        line: impl Fn(&[u8]) -> &'a str,
    ) -> Result<(), String> {
        for (index, response) in self.responses.iter().enumerate() {
            self.check_response(check, response, &line)
                .map_err(|error| format!("response {index} to {:?}: {error}", self.request))?;
        }
        Ok(())
    }

    fn check_response<'a>(
        &self,
        check: &mut Check<'a>,
        response: &WatchResponse,
        line: &impl Fn(&[u8]) -> &'a str,
    ) -> Result<(), String> {
        if is_progress(response) {
            return self.check_progress(check, header_revision(response));
        }
        require(
            check.fragment.is_none_or(|id| id == response.watch_id && !response.events.is_empty()),
            || "something came between two fragments".to_owned(),
        )?;
        for event in &response.events {
            check.event(event, line(key(event)))?;
            require(wants(&self.request, event), || format!("an event that was not asked for: {event:?}"))?;
            require(header_revision(response) >= revision(event), || {
                format!("header revision {} below the event's {}", header_revision(response), revision(event))
            })?;
            consistent(event)?;
        }
        check.fragment = response.fragment.then_some(response.watch_id);
        // Two events of one revision on one line must not lie in two responses.
        if !response.fragment {
            check.response_ends();
        }
        Ok(())
    }

    fn check_progress(&self, check: &mut Check<'_>, progress: i64) -> Result<(), String> {
        require(check.fragment.is_none(), || "progress between two fragments".to_owned())?;
        require(progress >= self.request.start_revision, || {
            format!("progress {progress} before the start revision {}", self.request.start_revision)
        })?;
        if !check.several {
            let last = check.last.entry("").or_default();
            require(progress >= last.revision, || {
                format!("progress {progress} after an event at {}", last.revision)
            })?;
            *last = Last { revision: progress, ..Last::default() };
        }
        Ok(())
    }

    /// Reliable: exactly what `history` (every event of the range, in order, with previous values) holds for this watcher
    /// from `from` to `to`, both inclusive.
    pub fn check_against(&self, history: &[Event], from: i64, to: i64) -> Result<(), String> {
        let window = |event: &&Event| (from..=to).contains(&revision(event));
        let wanted = history.iter().filter(|event| wants(&self.request, event)).filter(window);
        let expected: Vec<Event> = wanted.map(|event| self.as_asked(event)).collect();
        let found: Vec<Event> = self.events().filter(window).cloned().collect();
        let same = expected.iter().zip(&found).take_while(|(one, other)| one == other).count();
        require(expected.len() == found.len() && same == found.len(), || {
            format!(
                "{} events instead of {}; the first that differs is {same}: {:?} instead of {:?}",
                found.len(),
                expected.len(),
                found.get(same),
                expected.get(same),
            )
        })
    }

    fn as_asked(&self, event: &Event) -> Event {
        let prev_kv = event.prev_kv.clone().filter(|_| self.request.prev_kv);
        Event { prev_kv, ..event.clone() }
    }
}

#[derive(Default)]
struct Check<'a> {
    last: BTreeMap<&'a str, Last>,
    // The watch id of the fragments that are not complete.
    fragment: Option<i64>,
    // Whether the watcher is over several lines.
    several: bool,
}

#[derive(Default)]
struct Last {
    revision: i64,
    // The keys of this revision with their last event: one transaction can put, delete and put a key again.
    keys: BTreeMap<Vec<u8>, EventType>,
    // Whether the response in which this revision began goes on.
    open: bool,
}

impl<'a> Check<'a> {
    fn event(&mut self, event: &Event, line: &'a str) -> Result<(), String> {
        let now = revision(event);
        let last = self.last.entry(line).or_default();
        require(now > last.revision || (now == last.revision && last.open), || {
            format!("an event at {now} after {} was complete", last.revision)
        })?;
        if now > last.revision {
            last.keys.clear();
        }
        let before = last.keys.insert(key(event).to_vec(), event.r#type());
        require(before != Some(event.r#type()), || format!("twice at {now}: {event:?}"))?;
        (last.revision, last.open) = (now, true);
        Ok(())
    }

    fn response_ends(&mut self) {
        self.last.values_mut().for_each(|last| last.open = false);
    }
}

/// Whether an event agrees with itself.
fn consistent(event: &Event) -> Result<(), String> {
    let kv = event.kv.as_ref().ok_or("an event without a key")?;
    let previous = event.prev_kv.as_ref();
    let holds = match event.r#type() {
        EventType::Delete => kv.create_revision == 0 && kv.version == 0 && kv.value.is_empty(),
        EventType::Put if kv.create_revision == kv.mod_revision => kv.version == 1 && previous.is_none(),
        EventType::Put => {
            let follows = |before: &etcd_prism_proto::mvccpb::KeyValue| {
                before.version + 1 == kv.version && before.create_revision == kv.create_revision
            };
            kv.create_revision < kv.mod_revision && kv.version > 1 && previous.is_none_or(follows)
        }
    };
    let precedes =
        previous.is_none_or(|before| before.key == kv.key && before.mod_revision < kv.mod_revision);
    require(holds && precedes, || format!("an event that contradicts itself: {event:?}"))
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

#[cfg(test)]
mod tests;
