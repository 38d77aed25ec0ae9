//! Why shipping ends.

use etcd_prism_ownership::ValueError;
use etcd_prism_upstream::UpstreamError;
use etcd_prism_wire::Status;
use etcd_prism_wire::translate::ReplyError;

/// The fence or the progress of the standby is not what it was: somebody else writes there, or nobody may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "refused by {shard}: the fence is at {fence}, not at {epoch}, or its progress was written by somebody else ({progress})"
)]
pub struct Refused {
    pub shard: String,
    /// The mod revision that the fence should have.
    pub epoch: i64,
    /// The one it has; 0: there is none.
    pub fence: i64,
    /// The mod revision of the progress; 0: there is none.
    pub progress: i64,
}

/// Why a shipper has ended, or a purge or a comparison was broken off.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ShipError {
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The owner has compacted what was not shipped yet: the standby has to be purged and copied anew.
    #[error(
        "shard {shard} has compacted its history up to revision {compacted}, and only {watermark} was shipped"
    )]
    Compacted { shard: String, watermark: i64, compacted: i64 },
    /// One key does not fit into a transaction of the standby's.
    #[error(
        "shard {shard} does not take key {key:?}: {status}; raise its --max-request-bytes or --max-txn-ops"
    )]
    TooLarge { shard: String, key: String, status: Status },
    /// What is stored of the standby cannot be read.
    #[error(transparent)]
    Stored(#[from] ValueError),
    /// The owner's own provenance does not fit.
    #[error("what shard {shard} holds cannot be shown: {error}")]
    Translate { shard: String, error: ReplyError },
    #[error(transparent)]
    Line(#[from] etcd_prism_ownership::timeline::TimelineError),
    /// A shard did not answer; a shipper retries instead.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// It was told to.
    #[error("stopped")]
    Stopped,
}
