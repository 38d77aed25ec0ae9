//! What is asked of every rung.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// The streams of the watch work, and the connections they are spread over.
pub(crate) const WATCH_STREAMS: usize = 100;
pub(crate) const WATCH_CONNECTIONS: usize = 10;
/// How many of the watch work's events are on their way at once.
pub(crate) const WATCH_WRITERS: usize = 32;
/// How many clients list at once, each on a connection of its own.
pub(crate) const LIST_CLIENTS: usize = 4;
/// The keys that the range work reads.
pub(crate) const RANGE_KEYS: usize = 1_000;

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// `if mod_revision(k) = 0 then put`, as an API server creates an object. Values of this many bytes.
    Create { value: usize },
    /// `if mod_revision(k) = R then put else range`, as an API server updates an object.
    Update { value: usize },
    /// A plain put.
    Put { value: usize },
    /// `Range{key, limit: 1}`, linearizable, as an API server gets an object.
    Range { value: usize },
    /// All keys of a prefix in one unlimited range.
    List { keys: usize, value: usize },
    /// [`WATCH_STREAMS`] streams, all watching one prefix the way an API server does.
    Watch { value: usize },
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
}

// === impl Work ===

impl Work {
    pub(crate) const ALL: [Self; 9] = [
        Self::Create { value: 256 },
        Self::Create { value: 4096 },
        Self::Update { value: 256 },
        Self::Update { value: 4096 },
        Self::Put { value: 256 },
        Self::Range { value: 256 },
        Self::List { keys: 10_000, value: 4096 },
        Self::LIST_LARGE,
        Self::WATCH,
    ];
    /// Lists of 256 MiB: for the memory that a proxy takes.
    pub(crate) const LIST_LARGE: Self = Self::List { keys: 65_536, value: 4096 };
    pub(crate) const WATCH: Self = Self::Watch { value: 256 };

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Create { value: 256 } => "txn-create-256",
            Self::Create { .. } => "txn-create-4k",
            Self::Update { value: 256 } => "txn-update-256",
            Self::Update { .. } => "txn-update-4k",
            Self::Put { .. } => "put-256",
            Self::Range { .. } => "range",
            Self::LIST_LARGE => "list-256m",
            Self::List { .. } => "list",
            Self::Watch { .. } => "watch",
        }
    }

    /// For people.
    pub(crate) fn title(self) -> String {
        let size =
            |bytes: usize| if bytes < 1024 { format!("{bytes} B") } else { format!("{} KiB", bytes / 1024) };
        match self {
            Self::Create { value } => format!("Txn, create an object of {}", size(value)),
            Self::Update { value } => format!("Txn, update an object of {}", size(value)),
            Self::Put { value } => format!("Put of {}", size(value)),
            Self::Range { value } => format!("Range of one key of {}", size(value)),
            Self::List { keys, value } => format!("Range of all {keys} keys of {}", size(value)),
            Self::Watch { value } => {
                format!(
                    "{WATCH_STREAMS} identical watches on {WATCH_CONNECTIONS} connections, objects of {}",
                    size(value)
                )
            }
        }
    }

    /// Has one request and one reply, small ones.
    pub(crate) fn is_unary(self) -> bool {
        matches!(self, Self::Create { .. } | Self::Update { .. } | Self::Put { .. } | Self::Range { .. })
    }

    /// The numbers of clients to measure with, `asked` where the work has a choice.
    pub(crate) fn clients(self, asked: &[usize]) -> Vec<usize> {
        match self {
            Self::List { .. } => vec![LIST_CLIENTS],
            Self::Watch { .. } => vec![WATCH_STREAMS],
            _ => asked.to_vec(),
        }
    }

    /// How many keys must be there before, and how large their values are.
    pub(crate) fn population(self) -> (usize, usize) {
        match self {
            Self::Range { value } => (RANGE_KEYS, value),
            Self::List { keys, value } => (keys, value),
            _ => (0, 0),
        }
    }

    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::List { .. } => Unit::Gigabytes,
            Self::Watch { .. } => Unit::Events,
            _ => Unit::Requests,
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Work {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|work| work.name() == name)
            .ok_or_else(|| format!("not one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

impl Serialize for Work {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

// === impl Unit ===

impl Unit {
    /// How many things (requests, bytes, events) one unit is.
    pub(crate) fn size(self) -> f64 {
        match self {
            Self::Requests | Self::Events => 1e5,
            Self::Gigabytes => 1e9,
        }
    }

    /// The throughput of this many things per second, for people.
    pub(crate) fn rate(self, per_second: f64) -> (f64, &'static str) {
        match self {
            Self::Requests => (per_second, "requests/s"),
            Self::Events => (per_second, "events/s"),
            Self::Gigabytes => (per_second / 1e6, "MB/s"),
        }
    }

    /// What costs are given per.
    pub(crate) fn per(self) -> &'static str {
        match self {
            Self::Requests | Self::Events => "100k",
            Self::Gigabytes => "GB",
        }
    }
}
