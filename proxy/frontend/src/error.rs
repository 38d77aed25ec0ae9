//! The one place where errors become gRPC statuses, with etcd's codes and texts.

use etcd_prism_control::NotServed;
use etcd_prism_routing::{Keyspace, RouteId};
use etcd_prism_upstream::UpstreamError;
use etcd_prism_wire::frame::FrameError;
use etcd_prism_wire::request::TxnError;
use etcd_prism_wire::translate::{self, Outside};
use etcd_prism_wire::{Code, Malformed, Status};

pub const TIMED_OUT: &str = "etcdserver: request timed out";
pub const SERVER_STOPPED: &str = "etcdserver: server stopped";
pub const LEASE_NOT_FOUND: &str = "etcdserver: requested lease not found";
pub const LEASE_EXISTS: &str = "etcdserver: lease already exists";
pub const NO_LEADER: &str = "etcdserver: no leader";
pub const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

/// A request refused, or failed on its way.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RequestError {
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// The client's stream ended before the message did.
    #[error("message cut off")]
    CutOff,
    #[error("the client did not send its request in time")]
    Slow,
    #[error("request too large")]
    TooLarge,
    #[error("too many operations")]
    TooManyOps,
    #[error("invalid sort option")]
    InvalidSort,
    #[error("transaction or range spans routes")]
    Spans(String),
    #[error("reserved key")]
    Reserved,
    /// The right to serve was lost on the way. Whoever holds the request places it anew.
    #[error("ownership changed on the way")]
    Void,
    /// What a shard answered is no part of the route's line: a lagging member did, or others than proxies wrote there.
    #[error("{0}")]
    Outside(#[from] Outside),
    #[error("{0}")]
    NotServed(Box<NotServed>),
    #[error("{0}")]
    Upstream(#[from] UpstreamError),
    #[error("{0}")]
    Status(#[from] Status),
}

impl From<NotServed> for RequestError {
    fn from(reason: NotServed) -> Self {
        RequestError::NotServed(Box::new(reason))
    }
}

impl From<TxnError> for RequestError {
    fn from(error: TxnError) -> Self {
        match error {
            TxnError::Malformed(malformed) => malformed.into(),
            TxnError::TooManyOps => RequestError::TooManyOps,
            TxnError::InvalidSort => RequestError::InvalidSort,
        }
    }
}

/// Of the requests that the lines of a route that was moved do not allow.
impl From<translate::RequestError> for RequestError {
    fn from(error: translate::RequestError) -> Self {
        use translate::RequestError as Error;
        match error {
            Error::Malformed(malformed) => malformed.into(),
            Error::Compacted(_) => compacted(),
            Error::Outside(outside) => outside.into(),
            Error::OtherReign(revision) => {
                let text = format!(
                    "etcd-prism: a transaction cannot read at revision {revision}: the route has moved to another shard since"
                );
                Status::new(Code::InvalidArgument, text).into()
            }
            Error::RangeCompare => Status::new(Code::InvalidArgument, format!("etcd-prism: {error}")).into(),
            Error::Unread(_) | Error::Provenance => {
                Status::new(Code::Internal, format!("etcd-prism: {error}")).into()
            }
        }
    }
}

impl RequestError {
    /// Whether the same request may be served in a moment, nobody having to act.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Void => true,
            Self::NotServed(reason) => matches!(**reason, NotServed::Waited { .. }),
            _ => false,
        }
    }

    /// What the client gets.
    pub fn status(&self) -> Status {
        match self {
            // grpc-go answers these two before any handler runs.
            Self::Frame(e @ FrameError::TooLarge { .. }) => {
                Status::new(Code::ResourceExhausted, e.to_string())
            }
            Self::Frame(e) => Status::new(Code::Internal, e.to_string()),
            Self::Malformed(e) => {
                Status::new(Code::Internal, format!("grpc: error unmarshalling request: proto: {e}"))
            }
            Self::CutOff => Status::new(Code::Internal, "grpc: message cut off"),
            Self::Slow => Status::new(Code::Unavailable, "etcd-prism: the request did not arrive in time"),
            Self::TooLarge => Status::new(Code::InvalidArgument, "etcdserver: request is too large"),
            Self::TooManyOps => {
                Status::new(Code::InvalidArgument, "etcdserver: too many operations in txn request")
            }
            Self::InvalidSort => Status::new(Code::InvalidArgument, "etcdserver: invalid sort option"),
            Self::Spans(text) => Status::new(Code::InvalidArgument, format!("etcd-prism: {text}")),
            Self::Reserved => Status::new(
                Code::InvalidArgument,
                "etcd-prism: keys that begin with the byte 0xFF are reserved for the proxy",
            ),
            Self::Void => Status::new(Code::Unavailable, "etcd-prism: the route moved on the way"),
            Self::Outside(outside) => Status::new(Code::Internal, format!("etcd-prism: {outside}")),
            Self::NotServed(reason) => match **reason {
                // As a shard that does not answer in time; `status` and the log tell why.
                NotServed::Waited { .. } => Status::new(Code::Unavailable, TIMED_OUT),
                NotServed::Refused { .. } => Status::new(Code::Unavailable, format!("etcd-prism: {reason}")),
            },
            Self::Upstream(error) => error.status(),
            Self::Status(status) => status.clone(),
        }
    }
}

/// A revision that lies before what the shard of a route ever ruled.
pub fn compacted() -> RequestError {
    Status::new(Code::OutOfRange, COMPACTED).into()
}

/// The names of routes, for an error.
pub fn route_names(keyspace: &Keyspace, routes: &[RouteId]) -> String {
    routes.iter().map(|r| keyspace.route(*r).name.as_str()).collect::<Vec<_>>().join(", ")
}
