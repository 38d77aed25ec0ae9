use std::time::Duration;

use crate::testing::{self, LISTEN, ROUTE, SHARD, good};

fn file(more: &str) -> String {
    format!("{LISTEN}{SHARD}{ROUTE}{more}\n")
}

#[test]
fn defaults() {
    let ownership = good(&file("")).ownership;
    assert_eq!((ownership.fences, ownership.session_ttl), (true, Duration::from_secs(10)));
    assert_eq!(ownership.name, None);
}

#[test]
fn everything_set() {
    let ownership = good(&file("[ownership]\nfences = false\nsession_ttl = \"1m\"\nname = \"a\"")).ownership;
    assert_eq!((ownership.fences, ownership.session_ttl), (false, Duration::from_secs(60)));
    assert_eq!(ownership.name.as_deref(), Some("a"));
}

/// Line 9 is the first of `more`.
#[test]
fn mistakes() {
    let check = |more: &str, expected: &[&str]| testing::check(&file(more), expected);
    check("[ownership]\nsession_ttl = \"1s\"", &["10:15 session_ttl: too short; write at least \"2s\""]);
    check("[ownership]\nsession_ttl = \"2500ms\"", &["10:15 session_ttl: not whole seconds; write seconds"]);
    check("[ownership]\nfence = true", &["10:1 unknown key fence in [ownership]; did you mean fences?"]);
}
