//! What can go wrong.

use std::io;

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("{what}: {cause}")]
    Io { what: String, cause: io::Error },
    #[error("no {name}: {hint}")]
    Missing { name: &'static str, hint: &'static str },
    #[error("{name} is not ready after {seconds} s: {last}\nthe end of its log:\n{log}")]
    NotReady { name: String, seconds: u64, last: String, log: String },
    #[error("etcd-prism migrate {verb}: {text}")]
    Migrate { verb: String, text: String },
    #[error("the copy has ended before the measurement: use fewer seconds or clients")]
    CopyEnded,
    #[error("{name} ended: {status}\nthe end of its log:\n{log}")]
    Died { name: String, status: String, log: String },
    #[error("the load is not ready after {seconds} s")]
    LoadNotReady { seconds: u64 },
    #[error("a thread of the load generator ended without a result")]
    LoadDied,
    #[error("HTTP/2: {0}")]
    Http2(#[from] h2::Error),
    #[error("HTTP/2: {0}")]
    Hyper(#[from] hyper::Error),
    #[error("the request cannot be built: {0}")]
    Request(#[from] http::Error),
    #[error("HTTP status {0}")]
    HttpStatus(http::StatusCode),
    #[error("gRPC status {code}: {message}")]
    Grpc { code: String, message: String },
    #[error("a reply that is no whole gRPC message ({bytes} bytes)")]
    Frame { bytes: usize },
    #[error("a message cannot be encoded: {0}")]
    Encode(#[from] prost::EncodeError),
    #[error("a reply cannot be decoded: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("a reply lacks its {0}")]
    Incomplete(&'static str),
    #[error("a watch was canceled: {0}")]
    Canceled(String),
    #[error("a watch stream ended")]
    WatchEnded,
    #[error("an event did not reach every watcher within {seconds} s")]
    EventLost { seconds: u64 },
    #[error("a histogram cannot be made: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
    #[error("the report cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

impl BenchError {
    pub(crate) fn io(what: impl Into<String>, cause: io::Error) -> Self {
        Self::Io { what: what.into(), cause }
    }
}
