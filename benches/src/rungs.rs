//! What is measured: etcd itself, and proxies in front of it.

mod commands;
mod moving;
mod stage;
mod tools;

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

pub(crate) use crate::rungs::stage::{Plan, Stage};
pub(crate) use crate::rungs::tools::Tools;

/// One rung of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RungKind {
    /// No proxy.
    Direct,
    /// Copies bytes between TCP connections.
    Splice,
    /// Passes HTTP/2 requests on.
    Forward,
    Prism,
    /// etcd-prism with `fences = false`: what the fences cost is the difference.
    Unfenced,
    /// nginx with `grpc_pass`.
    Nginx,
    /// `etcd grpc-proxy`.
    GrpcProxy,
    /// etcd-prism with a route that could move to a second etcd, and does not: what those below are held against.
    Unmoved,
    /// The same, while the route is copied to the second etcd.
    Copying,
    /// The same, once it is copied: the second etcd follows.
    Followed,
    /// The same after the switch: the second etcd rules, the first one follows.
    Switched,
    /// The same, the migration completed: the second etcd rules.
    Completed,
}

impl RungKind {
    pub(crate) const ALL: [Self; 12] = [
        Self::Direct,
        Self::Splice,
        Self::Forward,
        Self::Prism,
        Self::Unfenced,
        Self::Nginx,
        Self::GrpcProxy,
        Self::Unmoved,
        Self::Copying,
        Self::Followed,
        Self::Switched,
        Self::Completed,
    ];
    /// What is measured unless something else is asked for.
    pub(crate) const USUAL: [Self; 7] = [
        Self::Direct,
        Self::Splice,
        Self::Forward,
        Self::Prism,
        Self::Unfenced,
        Self::Nginx,
        Self::GrpcProxy,
    ];
    /// A route that moves, before, during and after.
    pub(crate) const MOVES: [Self; 5] =
        [Self::Unmoved, Self::Copying, Self::Followed, Self::Switched, Self::Completed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Splice => "splice",
            Self::Forward => "forward",
            Self::Prism => "etcd-prism",
            Self::Unfenced => "no-fences",
            Self::Nginx => "nginx",
            Self::GrpcProxy => "grpc-proxy",
            Self::Unmoved => "unmoved",
            Self::Copying => "copying",
            Self::Followed => "followed",
            Self::Switched => "switched",
            Self::Completed => "completed",
        }
    }

    /// Whether it has etcds of its own, and a route that moves between them.
    pub(crate) fn moves(self) -> bool {
        Self::MOVES.contains(&self)
    }
}

impl fmt::Display for RungKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for RungKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|rung| rung.name() == name);
        found.ok_or_else(|| format!("not one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

impl Serialize for RungKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
