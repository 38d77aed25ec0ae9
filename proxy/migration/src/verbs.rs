//! What operators ask for, and what they are told.

use etcd_prism_ownership::migration::{Abort, Throttle};
use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::shipping::Verified;
use crate::status::{History, Status};

/// How long requests may be held up to the point of decision, unless told otherwise; milliseconds.
pub const MAX_PAUSE: u64 = 2_000;
/// How long a switch may take to get ready, before any request is held; milliseconds.
pub const PREPARE: u64 = 30_000;

/// What to do with a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verb", deny_unknown_fields)]
pub enum Verb {
    /// Whether it could be moved to the shard of this name. Changes nothing.
    Plan {
        to: String,
        #[serde(default)]
        no_copy: bool,
    },
    Create(Create),
    /// Where it is. Changes nothing.
    Status,
    /// What happened to it. Changes nothing.
    History,
    Pause,
    Resume,
    Throttle {
        throttle: Throttle,
    },
    /// Compares both shards, key by key.
    Verify,
    /// The target takes over.
    Switch(Switch),
    /// The source takes over again.
    Reverse(Switch),
    Complete(End),
    Cancel(End),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// The name of the shard that the route goes to.
    pub to: String,
    /// Milliseconds.
    #[serde(default = "max_pause")]
    pub max_pause: u64,
    /// The data is dropped.
    #[serde(default)]
    pub no_copy: bool,
    #[serde(default)]
    pub throttle: Throttle,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Only looks whether anything speaks against it.
    #[serde(default)]
    pub dry_run: bool,
    /// Milliseconds; as created if it is not given.
    #[serde(default)]
    pub max_pause: Option<u64>,
    /// How long it may take to get ready, before any request is held; milliseconds.
    #[serde(default = "prepare")]
    pub prepare: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    #[serde(default)]
    pub dry_run: bool,
    /// Even if the standby cannot be reached: it is left as it is.
    #[serde(default)]
    pub abandon: bool,
}

fn max_pause() -> u64 {
    MAX_PAUSE
}

fn prepare() -> u64 {
    PREPARE
}

/// The answer to a verb.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum Reply {
    Plan(Plan),
    Status(Box<Status>),
    History(History),
    Verified(Verified),
    Done(Done),
    /// The switch did not happen; everything is as before.
    Aborted {
        why: Abort,
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pause_ms: Option<f64>,
    },
    /// It was not begun, or could not be ended.
    Refused {
        text: String,
    },
}

/// What was reached.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Done {
    pub text: String,
    /// From the seal to the flip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_ms: Option<f64>,
    /// What the pause was made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepTime>,
}

/// A step of a switch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepTime {
    pub step: String,
    pub ms: f64,
}

impl Reply {
    pub(crate) fn refused(text: impl ToString) -> Self {
        Self::Refused { text: text.to_string() }
    }

    pub(crate) fn done(text: impl ToString) -> Self {
        Self::Done(Done { text: text.to_string(), ..Done::default() })
    }

    /// Whether what was asked for was reached, and what was looked at is as it should be.
    pub fn is_good(&self) -> bool {
        match self {
            Self::Plan(plan) => plan.go(),
            Self::Verified(verified) => verified.is_same(),
            Self::Status(_) | Self::History(_) | Self::Done(_) => true,
            Self::Aborted { .. } | Self::Refused { .. } => false,
        }
    }
}
