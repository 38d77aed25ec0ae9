//! What is stored of a migration beside the fences.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Abort;
use crate::id::{ProxyId, ShardUid};

/// How many events a record keeps.
const HISTORY: usize = 64;

/// The record of a route's migration, under `\xffprism/migration/<route>` on the shard that it goes to, to its very end (also
/// after a switch, a reverse, and as history). Each write compares the record's own mod revision; nothing that fences decide
/// is decided by it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    /// The mod revision that the claim gave to the source's fence: with the source it names the migration.
    pub id: i64,
    pub source: ShardUid,
    pub target: ShardUid,
    pub options: Options,
    pub phase: Phase,
    /// What a driver that takes over goes on with.
    pub want: Want,
    pub paused: bool,
    pub checkpoint: Checkpoint,
    pub counts: Counts,
    pub timings: Timings,
    /// The newest last, 64 at most.
    pub history: Vec<Event>,
    pub driver: Option<DriverClaim>,
}
crate::value::stored!(Record, "record of the migration");

/// Choices of the operator.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Options {
    /// How long requests may be held up to the point of decision, in milliseconds.
    pub max_pause: u64,
    /// The data is dropped: nothing is copied, and all clients list again after the switch.
    pub no_copy: bool,
    pub throttle: Throttle,
}

/// Bounds on copy and verify; 0 is none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Throttle {
    pub keys_per_second: u64,
    pub bytes_per_second: u64,
    /// Slower while a shard's requests take longer than this, in milliseconds.
    pub latency: u64,
    /// The migration is cancelled where a shard takes longer than this for 10 s while it is copied, in milliseconds.
    #[serde(default)]
    pub critical_latency: u64,
}

/// What an operator changes while a migration goes on; `None`: as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Edit {
    pub paused: Option<bool>,
    /// In milliseconds.
    pub max_pause: Option<u64>,
    pub throttle: Option<Throttle>,
}

/// How far the standby is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It may hold anything: what there is of the route is deleted.
    Purge,
    Copy,
    /// It has been copied and is kept up to date, before the switch and after it.
    Follow,
    Cancelled,
    Completed,
}

impl Phase {
    pub fn is_over(self) -> bool {
        matches!(self, Self::Cancelled | Self::Completed)
    }
}

/// What the operator wants, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// The standby is made and kept up to date. Also after a switch: a switch that a dead driver began is not begun anew by
    /// the next one.
    Follow,
    Complete,
    Cancel,
}

/// From where to go on. Raw revisions of the owner; they mean nothing in another reign than `reign`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    pub reign: u64,
    pub copy: CopyPoint,
    /// Everything up to this revision has been applied on the standby; 0: nothing yet.
    pub followed: i64,
    pub verify: VerifyPoint,
}

/// How far the copy is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct CopyPoint {
    /// The revision that is copied; 0: none yet.
    pub revision: i64,
    /// Every key up to this one.
    pub after: Option<HexKey>,
    /// An earlier copy was broken off by compaction: keys that it brought may be gone by now.
    pub merge: bool,
    pub done: bool,
}

/// How far the comparison is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct VerifyPoint {
    pub revision: i64,
    /// The first key that is not compared yet; `None`: none is, or all are.
    pub after: Option<HexKey>,
    /// Both shards were found to hold the same.
    pub done: bool,
    /// Whoever drives goes on with it.
    #[serde(default)]
    pub under_way: bool,
}

/// For people.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Counts {
    pub keys: u64,
    pub bytes: u64,
    /// As counted before the copy.
    pub expected_keys: u64,
    pub followed_events: u64,
    pub mirrored: u64,
    /// Writes that were not applied on the standby at once.
    pub gaps: u64,
    pub compared: u64,
    pub repaired: u64,
    pub purged: u64,
}

/// When, in milliseconds since the epoch; for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Timings {
    pub created: i64,
    pub copied: Option<i64>,
    pub verified: Option<i64>,
    pub switched: Option<i64>,
    pub ended: Option<i64>,
}

/// Who drives.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DriverClaim {
    pub proxy: ProxyId,
    /// For people.
    pub name: String,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Driver {
        at: i64,
        name: String,
    },
    /// `pause`: from the seal to the reopening, in milliseconds.
    Aborted {
        at: i64,
        why: Abort,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pause: Option<u64>,
    },
    /// `pause`: from the seal to the flip, in milliseconds.
    Switched {
        at: i64,
        to: ShardUid,
        g: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pause: Option<u64>,
    },
    /// The driver has cancelled it for want of what the operator asked to be kept.
    GivenUp {
        at: i64,
        why: String,
    },
    /// The owner compacted what was not copied yet: everything begins anew.
    Restarted {
        at: i64,
    },
}

impl Record {
    /// A new one. Whatever was there before is another migration's.
    pub fn new(id: i64, source: ShardUid, target: ShardUid, reign: u64, options: Options, now: i64) -> Self {
        Self {
            id,
            source,
            target,
            options,
            phase: Phase::Purge,
            want: Want::Follow,
            paused: false,
            checkpoint: Checkpoint { reign, ..Checkpoint::default() },
            counts: Counts::default(),
            timings: Timings { created: now, ..Timings::default() },
            history: Vec::new(),
            driver: None,
        }
    }

    /// Takes over what the operator wants.
    pub fn edit(&mut self, edit: &Edit) {
        self.paused = edit.paused.unwrap_or(self.paused);
        self.options.max_pause = edit.max_pause.unwrap_or(self.options.max_pause);
        if let Some(throttle) = &edit.throttle {
            self.options.throttle = throttle.clone();
        }
    }

    pub fn note(&mut self, event: Event) {
        if self.history.len() >= HISTORY {
            self.history.remove(0);
        }
        self.history.push(event);
    }
}

/// A key, as hex.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HexKey(pub Vec<u8>);

impl Serialize for HexKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}", Hex(&self.0)))
    }
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<'de> Deserialize<'de> for HexKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
        match digits {
            Some(digits) if digits.len() % 2 == 0 => {
                Ok(Self(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()))
            }
            _ => Err(serde::de::Error::custom("a key is not hex")),
        }
    }
}
