//! What can go wrong on the way to a shard, and what the client is told.

use std::borrow::Cow;

use etcd_prism_wire::{Code, Status};

/// A call to a shard that gave no gRPC status.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UpstreamError {
    /// No endpoint of the shard could be connected to within the bound. Nothing was sent.
    #[error("no endpoint of shard {shard} can be reached: {reason}")]
    Unreachable { shard: String, reason: String },
    /// The bound passed. A write may or may not have been applied.
    #[error("shard {shard} did not answer within its bound")]
    TimedOut { shard: String },
    /// The connection broke. A write may or may not have been applied.
    #[error("connection to shard {shard} was lost: {reason}")]
    ConnectionLost { shard: String, reason: String },
    /// As many requests are in flight to the shard as are allowed. Nothing was sent.
    #[error("too many requests in flight to shard {shard}")]
    Overloaded { shard: String },
    /// The shard answered something that is not gRPC, or not the message that was due.
    #[error("shard {shard} sent a malformed reply: {reason}")]
    BadReply { shard: String, reason: String },
    /// The shard's own status, as it is.
    #[error("{0}")]
    Status(Status),
}

impl UpstreamError {
    /// Whether the request certainly did not reach the shard.
    pub fn not_sent(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Overloaded { .. })
    }

    /// The status that the client gets. clientv3 matches on these texts. `DeadlineExceeded` and `Canceled` are never
    /// used: clientv3 would send a write again.
    pub fn status(&self) -> Status {
        const TIMED_OUT: &str = "etcdserver: request timed out";
        let (code, message): (Code, Cow<'static, str>) = match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } => (Code::Unavailable, TIMED_OUT.into()),
            Self::ConnectionLost { .. } => {
                (Code::Unavailable, "etcdserver: request timed out, possibly due to connection lost".into())
            }
            Self::Overloaded { .. } => (Code::ResourceExhausted, "etcdserver: too many requests".into()),
            Self::BadReply { .. } => (Code::Internal, format!("etcd-prism: {self}").into()),
            Self::Status(status) => return status.clone(),
        };
        Status { code, message }
    }
}

impl From<Status> for UpstreamError {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}
