//! Which Kubernetes minors to test with.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use crate::tools;

/// A minor of Kubernetes 1, such as 37.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minor(u32);

impl Minor {
    /// The first whose API server reads its caches' first content with `RangeStream`.
    pub const FIRST_TO_STREAM: Self = Self(37);

    /// Its API server. `ETCD_PRISM_KUBE_APISERVER` names another binary.
    pub fn apiserver(self) -> PathBuf {
        tools::tool(&format!("kube-apiserver@{self}"), "ETCD_PRISM_KUBE_APISERVER")
    }
}

impl fmt::Display for Minor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.0)
    }
}

impl FromStr for Minor {
    type Err = String;

    /// Takes `1.37` and also `1.37.2`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.trim().split('.');
        match (parts.next(), parts.next().map(str::parse)) {
            (Some("1"), Some(Ok(minor))) => Ok(Self(minor)),
            _ => Err(format!("'{text}' is no minor of Kubernetes: expected something like 1.37")),
        }
    }
}

/// The minors to test with, newest first: those in `ETCD_PRISM_KUBE` (`1.36,1.37`), or the newest that is pinned.
pub fn minors() -> Vec<Minor> {
    let mut minors = match std::env::var("ETCD_PRISM_KUBE") {
        Ok(text) if !text.is_empty() => parse(&text),
        _ => vec![newest()],
    };
    minors.sort_unstable_by(|a, b| b.cmp(a));
    minors.dedup();
    minors
}

/// The newest and the oldest of [`minors`]: the same twice where there is only one.
pub fn pair() -> [Minor; 2] {
    let minors = minors();
    [minors[0], minors[minors.len() - 1]]
}

fn parse(text: &str) -> Vec<Minor> {
    text.split(',')
        .map(|minor| minor.parse().unwrap_or_else(|error| panic!("ETCD_PRISM_KUBE: {error}")))
        .collect()
}

fn newest() -> Minor {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/tool");
    let output =
        Command::new(&script).arg("--list").output().unwrap_or_else(|e| panic!("{}: {e}", script.display()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let versions = text.lines().filter_map(|line| line.strip_prefix("kube-apiserver@"));
    let minors = versions
        .map(|version| version.parse().unwrap_or_else(|error| panic!("scripts/tool --list: {error}")));
    minors.max().expect("a pinned kube-apiserver")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minors_are_ordered_as_numbers() {
        assert!("1.9".parse::<Minor>().unwrap() < "1.37.2".parse().unwrap());
        assert!("2.0".parse::<Minor>().is_err());
        assert_eq!(parse("1.36, 1.37"), [Minor(36), Minor(37)]);
    }
}
