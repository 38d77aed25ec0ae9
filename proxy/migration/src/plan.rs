//! Whether a route could be moved: everything that can be known beforehand.

use serde::{Deserialize, Serialize};

pub(crate) mod gather;
pub(crate) mod judge;
pub(crate) mod ready;
#[cfg(test)]
mod tests;

/// What speaks for and against it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub route: String,
    /// Shards by name.
    pub from: String,
    pub to: String,
    pub checks: Vec<Check>,
    /// Counted on the owner; `None`: could not be.
    pub keys: Option<u64>,
    /// Estimated from a sample.
    pub bytes: Option<u64>,
    /// About how long the copy takes.
    pub seconds: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    pub verdict: Verdict,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    /// It can be done; somebody should read it.
    Warning,
    NoGo,
}

impl Plan {
    /// Whether nothing speaks against it.
    pub fn go(&self) -> bool {
        self.checks.iter().all(|check| check.verdict != Verdict::NoGo)
    }
}

impl Check {
    pub(crate) fn new(name: &str, outcome: Result<String, String>) -> Self {
        let (verdict, text) = match outcome {
            Ok(text) => (Verdict::Ok, text),
            Err(text) => (Verdict::NoGo, text),
        };
        Self { name: name.to_owned(), verdict, text }
    }

    pub(crate) fn warning(name: &str, text: String) -> Self {
        Self { name: name.to_owned(), verdict: Verdict::Warning, text }
    }
}
