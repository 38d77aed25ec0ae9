//! Versions of etcd: their order, and which of them may stand behind the proxy.

use semver::Version;

/// What a shard's version means for its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// Kubernetes cannot read consistently through it; refused at start-up unless the shard allows it.
    Unsupported(&'static str),
    /// Served, with a known defect that a later patch release of the same minor version mends.
    Old(&'static str),
    Good,
}

impl Support {
    /// Why the version is not good.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Support::Unsupported(reason) | Support::Old(reason) => Some(reason),
            Support::Good => None,
        }
    }
}

/// The oldest release whose answers to progress requests can be relied upon; Kubernetes draws the same line
/// (`endpointSupportsRequestWatchProgress` in its `feature_support_checker.go`).
const OLDEST: Version = Version::new(3, 5, 13);

/// Patch releases that are good, per minor version.
static GOOD: [(Version, &str); 3] = [
    (
        Version::new(3, 5, 24),
        "before 3.5.24 revoked leases can be renewed and watches of odd revisions misbehave",
    ),
    (
        Version::new(3, 6, 6),
        "before 3.6.6 revoked leases can be renewed and watches of odd revisions misbehave",
    ),
    (Version::new(3, 7, 1), "before 3.7.1 an open-ended watch escapes the check of permissions"),
];

/// The verdict on a version such as `3.6.12`, as `Maintenance.Status` tells it.
pub fn support(version: &str) -> Support {
    let Ok(version) = Version::parse(version) else {
        return Support::Unsupported("it does not tell its version");
    };
    if version < OLDEST {
        return Support::Unsupported("before 3.5.13 answers to progress requests cannot be relied upon");
    }
    let line = GOOD.iter().find(|(good, _)| (good.major, good.minor) == (version.major, version.minor));
    match line {
        Some((good, reason)) if version < *good => Support::Old(reason),
        _ => Support::Good,
    }
}

/// The lowest of some versions. One that cannot be read is below all others: it promises nothing.
pub fn lowest<'a>(versions: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    versions.into_iter().min_by_key(|text| Version::parse(text).ok())
}

/// The cluster version that goes with a server version: `3.6.0` for `3.6.12`.
pub fn cluster(version: &str) -> Option<String> {
    Version::parse(version).ok().map(|v| Version::new(v.major, v.minor, 0).to_string())
}

#[cfg(test)]
mod tests;
