//! What operators are given is true: the rules and the dashboard ask for metrics that there are, the examples can be read,
//! and what the documents name exists.

mod documents;
mod examples;
mod exposition;
mod metrics;
mod promql;

use std::path::PathBuf;

/// A file of the repository.
fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
