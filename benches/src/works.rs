//! What is asked of every rung.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// The streams of the watch work, and the connections they are spread over.
pub(crate) const WATCH_STREAMS: usize = 100;
pub(crate) const WATCH_CONNECTIONS: usize = 10;
/// How many of the watch work's events are on their way at once.
pub(crate) const WATCH_WRITERS: usize = 32;
/// The watchers of the works that only look at memory, and the connections they are spread over.
pub(crate) const IDLE_WATCHERS: usize = 10_000;
pub(crate) const IDLE_CONNECTIONS: usize = 100;
/// How many clients list at once, each on a connection of its own.
pub(crate) const LIST_CLIENTS: usize = 4;
/// The keys that the range work reads.
pub(crate) const RANGE_KEYS: usize = 1_000;

/// One kind of load. Values are so many bytes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// One small request, one small reply.
    Unary { call: Call, value: usize },
    /// All keys of a prefix in one unlimited range.
    List { keys: usize, value: usize },
    /// [`WATCH_STREAMS`] streams, all watching one prefix the way an API server does.
    Watch { value: usize },
    /// [`IDLE_WATCHERS`] watches, each on a key of its own, so many to a stream. Nothing is written.
    Watchers { per_stream: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    /// `if mod_revision(k) = 0 then put`, as an API server creates an object.
    Create,
    /// `if mod_revision(k) = R then put else range`, as an API server updates an object.
    Update,
    Put,
    /// `Range{key, limit: 1}`, linearizable, as an API server gets an object.
    Range,
}

/// What a unit of work is: the costs are per unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    #[serde(rename = "100,000 requests")]
    Requests,
    #[serde(rename = "GB")]
    Gigabytes,
    #[serde(rename = "100,000 events")]
    Events,
    #[serde(rename = "watchers")]
    Watchers,
}

// === impl Work ===

impl Work {
    pub(crate) const ALL: [Self; 11] = [
        Self::unary(Call::Create, 256),
        Self::unary(Call::Create, 4096),
        Self::unary(Call::Update, 256),
        Self::unary(Call::Update, 4096),
        Self::unary(Call::Put, 256),
        Self::unary(Call::Range, 256),
        Self::LIST,
        Self::LIST_LARGE,
        Self::WATCH,
        Self::WATCHERS,
        Self::WATCH_STREAMS,
    ];
    pub(crate) const LIST: Self = Self::List { keys: 10_000, value: 4096 };
    /// Lists of 256 MiB: for the memory that a proxy takes.
    pub(crate) const LIST_LARGE: Self = Self::List { keys: 65_536, value: 4096 };
    pub(crate) const WATCH: Self = Self::Watch { value: 256 };
    /// As a client does that shares a stream between its watches.
    pub(crate) const WATCHERS: Self = Self::Watchers { per_stream: 100 };
    /// As an API server does: a stream for each watch.
    pub(crate) const WATCH_STREAMS: Self = Self::Watchers { per_stream: 1 };

    pub(crate) const fn unary(call: Call, value: usize) -> Self {
        Self::Unary { call, value }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unary { call: Call::Create, value: 256 } => "txn-create-256",
            Self::Unary { call: Call::Create, .. } => "txn-create-4k",
            Self::Unary { call: Call::Update, value: 256 } => "txn-update-256",
            Self::Unary { call: Call::Update, .. } => "txn-update-4k",
            Self::Unary { call: Call::Put, .. } => "put-256",
            Self::Unary { call: Call::Range, .. } => "range",
            Self::LIST_LARGE => "list-256m",
            Self::List { .. } => "list",
            Self::Watch { .. } => "watch",
            Self::WATCH_STREAMS => "watch-streams",
            Self::Watchers { .. } => "watchers",
        }
    }

    /// For people.
    pub(crate) fn title(self) -> String {
        match self {
            Self::Unary { call, value } => format!("{}, {}", call.title(), size(value)),
            Self::List { keys, value } => format!("Range of all {keys} keys, {} each", size(value)),
            Self::Watch { value } => format!(
                "{WATCH_STREAMS} identical watch streams on {WATCH_CONNECTIONS} connections, {}",
                size(value)
            ),
            Self::Watchers { per_stream } => {
                let streams = IDLE_WATCHERS / per_stream;
                format!(
                    "{IDLE_WATCHERS} watches of a key each: {streams} streams on {IDLE_CONNECTIONS} connections"
                )
            }
        }
    }

    pub(crate) fn is_unary(self) -> bool {
        matches!(self, Self::Unary { .. })
    }

    /// The numbers of clients to measure with, `asked` where the work has a choice.
    pub(crate) fn clients(self, asked: &[usize]) -> Vec<usize> {
        match self {
            Self::Unary { .. } => asked.to_vec(),
            Self::List { .. } => vec![LIST_CLIENTS],
            Self::Watch { .. } => vec![WATCH_STREAMS],
            Self::Watchers { .. } => vec![IDLE_WATCHERS],
        }
    }

    /// How many keys must be there before, and how large their values are.
    pub(crate) fn population(self) -> (usize, usize) {
        match self {
            Self::Unary { call: Call::Range, value } => (RANGE_KEYS, value),
            Self::List { keys, value } => (keys, value),
            _ => (0, 0),
        }
    }

    /// How many times longer than others it has to be measured: the large lists take seconds each.
    pub(crate) fn stretch(self) -> u32 {
        if self == Self::LIST_LARGE { 4 } else { 1 }
    }

    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::Unary { .. } => Unit::Requests,
            Self::List { .. } => Unit::Gigabytes,
            Self::Watch { .. } => Unit::Events,
            Self::Watchers { .. } => Unit::Watchers,
        }
    }
}

fn size(bytes: usize) -> String {
    if bytes < 1024 { format!("{bytes} B") } else { format!("{} KiB", bytes / 1024) }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Work {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|work| work.name() == name);
        found.ok_or_else(|| format!("not one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

impl Serialize for Work {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

// === impl Call ===

impl Call {
    pub(crate) fn is_txn(self) -> bool {
        matches!(self, Self::Create | Self::Update)
    }

    fn title(self) -> &'static str {
        match self {
            Self::Create => "Txn that creates an object",
            Self::Update => "Txn that updates an object",
            Self::Put => "Put",
            Self::Range => "Range of one key",
        }
    }
}

// === impl Unit ===

impl Unit {
    /// How many things (requests, bytes, events, watchers) one unit is.
    pub(crate) fn size(self) -> f64 {
        match self {
            Self::Requests | Self::Events => 1e5,
            Self::Gigabytes => 1e9,
            Self::Watchers => 1.0,
        }
    }

    /// What throughput is given in, and how many things per second that is.
    pub(crate) fn rate(self) -> (&'static str, f64) {
        match self {
            Self::Requests => ("requests/s", 1.0),
            Self::Events => ("events/s", 1.0),
            Self::Gigabytes => ("MB/s", 1e6),
            Self::Watchers => ("watchers/s", 1.0),
        }
    }

    /// What costs are given per.
    pub(crate) fn per(self) -> &'static str {
        match self {
            Self::Requests | Self::Events => "100k",
            Self::Gigabytes => "GB",
            Self::Watchers => "watcher",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_parse() {
        for work in Work::ALL {
            assert_eq!(work.name().parse(), Ok(work));
        }
    }
}
