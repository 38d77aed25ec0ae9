//! What of a response the client gets.

use bytes::Bytes;
use etcd_prism_wire::{Malformed, response};

use super::span::Span;

/// Whether a key is one of those that a leg serves.
pub(super) type Own<'o> = &'o dyn Fn(&[u8]) -> bool;

/// The events that a client has still to get from a shard, by their raw revisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// The lowest revision that the client has not got.
    pub next: i64,
    /// The reign that is read; `None`: the route was never moved.
    pub span: Option<Span>,
}

impl Due {
    pub(super) fn holds(&self, revision: i64) -> bool {
        revision >= self.next && self.span.is_none_or(|span| span.holds(revision))
    }

    /// Cuts a response down to these events, and to those of the keys that are `own`, where it matters. Whole revisions stay
    /// or go. Gives the response and how many events are left. What needs no cutting is not touched.
    pub(super) fn cut(
        &self,
        message: Bytes,
        view: &response::Watch<'_>,
        own: Option<Own<'_>>,
    ) -> Result<(Bytes, usize), Malformed> {
        // Events come in the order of their revisions.
        let all = self.holds(view.first_mod_revision) && self.holds(view.last_mod_revision);
        if view.events == 0 || (all && own.is_none()) {
            return Ok((message, view.events));
        }
        let (kept, left) = response::filter_events(&message, &mut |key, revision| {
            self.holds(revision) && own.is_none_or(|own| own(key))
        })?;
        Ok((kept.freeze(), left))
    }
}

#[cfg(test)]
mod tests {
    use etcd_prism_proto::etcdserverpb::{ResponseHeader, WatchResponse};
    use etcd_prism_proto::mvccpb::{Event, KeyValue};
    use prost::Message;

    use super::*;

    fn message(events: &[(&str, i64)]) -> Bytes {
        let event = |(key, revision): &(&str, i64)| Event {
            kv: Some(KeyValue {
                key: key.as_bytes().to_vec().into(),
                mod_revision: *revision,
                ..KeyValue::default()
            }),
            ..Event::default()
        };
        let response = WatchResponse {
            header: Some(ResponseHeader { revision: 99, ..ResponseHeader::default() }),
            watch_id: 4,
            events: events.iter().map(event).collect(),
            ..WatchResponse::default()
        };
        response.encode_to_vec().into()
    }

    fn cut(due: Due, events: &[(&str, i64)], own: Option<Own<'_>>) -> (Bytes, Vec<(String, i64)>) {
        let message = message(events);
        let view = response::watch(&message).unwrap();
        let (kept, count) = due.cut(message.clone(), &view, own).unwrap();
        let read = WatchResponse::decode(kept.clone()).unwrap();
        assert_eq!((read.watch_id, read.header.unwrap().revision, read.events.len()), (4, 99, count));
        let events = read.events.into_iter().filter_map(|e| e.kv);
        (kept, events.map(|kv| (String::from_utf8(kv.key.to_vec()).unwrap(), kv.mod_revision)).collect())
    }

    const EVENTS: [(&str, i64); 6] = [("a", 9), ("b", 10), ("c", 19), ("d", 20), ("e", 20), ("f", 21)];

    #[test]
    fn a_response_that_goes_on_behind_the_end_is_cut_there() {
        let due = |next| Due { next, span: Some(Span::ended(10, 20)) };
        let names =
            |next| cut(due(next), &EVENTS, None).1.into_iter().map(|(key, _)| key).collect::<String>();
        assert_eq!(names(10), "bcde");
        assert_eq!(names(11), "cde");
        assert_eq!(names(20), "de");
        assert_eq!(names(21), "");
    }

    #[test]
    fn a_response_of_the_reign_is_passed_on_as_it_is() {
        let due = Due { next: 10, span: Some(Span::ended(10, 20)) };
        let (kept, events) = cut(due, &EVENTS[1..5], None);
        assert_eq!((kept, events.len()), (message(&EVENTS[1..5]), 4));
        let never_moved = Due { next: 9, span: None };
        assert_eq!(cut(never_moved, &EVENTS, None).1.len(), 6);
    }

    #[test]
    fn keys_of_others_are_dropped() {
        let due = Due { next: 1, span: None };
        let own = |key: &[u8]| key < &b"c"[..];
        assert_eq!(cut(due, &EVENTS, Some(&own)).1.len(), 2);
    }
}
