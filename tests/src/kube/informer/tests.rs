use serde_json::json;

use super::Seen;
use crate::kube::objects::{Kind, numbered};
use crate::kube::watch::WatchEvent;

fn event(kind: &str, version: u64, number: u64) -> WatchEvent {
    let mut object = Kind::Pod.object("a");
    object["metadata"]["annotations"] = numbered(number)["metadata"]["annotations"].clone();
    object["metadata"]["resourceVersion"] = json!(version.to_string());
    WatchEvent { kind: kind.to_owned(), object }
}

fn violations(events: &[(&str, u64, u64)]) -> usize {
    let mut seen = Seen::default();
    for (kind, version, number) in events {
        seen.event(&event(kind, *version, *number));
    }
    seen.violations.len()
}

#[test]
fn missed_and_repeated_events_are_found() {
    let created = ("ADDED", 2, 0);
    for (what, events, found) in [
        (
            "all of an object's life",
            &[created, ("MODIFIED", 3, 1), ("DELETED", 9, 1), ("ADDED", 10, 0)][..],
            0,
        ),
        ("another field was changed", &[created, ("MODIFIED", 3, 0), ("MODIFIED", 4, 1)], 0),
        ("a bookmark", &[created, ("BOOKMARK", 7, 0), ("MODIFIED", 8, 1)], 0),
        ("a missed update", &[created, ("MODIFIED", 4, 2)], 1),
        ("a missed creation", &[("MODIFIED", 4, 1)], 1),
        ("a missed deletion", &[created, ("ADDED", 4, 0)], 1),
        ("a deletion that shows a missed update", &[created, ("DELETED", 5, 1)], 1),
        ("an event twice", &[created, ("MODIFIED", 3, 1), ("MODIFIED", 3, 1)], 1),
        ("a bookmark ahead of an event", &[created, ("BOOKMARK", 7, 0), ("MODIFIED", 6, 1)], 1),
        ("a bookmark that goes back", &[created, ("BOOKMARK", 7, 0), ("BOOKMARK", 6, 0)], 1),
    ] {
        assert_eq!(violations(events), found, "{what}");
    }
}
