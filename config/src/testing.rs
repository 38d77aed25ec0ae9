//! A good file to break, and mistakes as text.

use crate::config::Config;

/// The parts of a good file.
pub(crate) const LISTEN: &str = "[listen]\nclient = \"127.0.0.1:2379\"\n";
pub(crate) const SHARD: &str = "[[shard]]\nname = \"rest\"\nendpoints = [\"http://10.0.0.1:2379\"]\n";
pub(crate) const ROUTE: &str = "[[route]]\nname = \"rest\"\nshard = \"rest\"\n";

pub(crate) fn good(text: &str) -> Config {
    Config::parse(text, "f").unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

/// Every mistake in `text` as `line:column message; help`.
pub(crate) fn mistakes(text: &str) -> Vec<String> {
    match Config::parse(text, "f") {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .diagnostics()
            .iter()
            .map(|d| format!("{}:{} {}; {}", d.line, d.column, d.message, d.help))
            .collect(),
    }
}

/// Asserts that the mistakes in `text` are, in file order, those that begin with `expected`. A `~` in an expectation stands
/// for any text.
pub(crate) fn check(text: &str, expected: &[&str]) {
    let found = mistakes(text);
    let same = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| fits(found, expected));
    assert!(same, "in\n{text}\nfound    {found:#?}\nexpected {expected:#?}");
}

fn fits(found: &str, expected: &str) -> bool {
    let mut rest = found;
    expected.split('~').enumerate().all(|(i, part)| match (i, rest.find(part)) {
        (0, Some(0)) | (1.., Some(_)) => {
            rest = &rest[rest.find(part).unwrap_or(0) + part.len()..];
            true
        }
        _ => false,
    })
}
