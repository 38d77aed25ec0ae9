//! The parts of replies that the load generator reads; the rest is skipped.

use bytes::Bytes;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Header {
    #[prost(int64, tag = "3")]
    pub(crate) revision: i64,
}

/// Of any reply with a header.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Headed {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
}

/// Of a `TxnResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TxnReply {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
    #[prost(bool, tag = "2")]
    pub(crate) succeeded: bool,
}

/// Of a `WatchResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WatchReply {
    #[prost(bool, tag = "3")]
    pub(crate) created: bool,
    #[prost(bool, tag = "4")]
    pub(crate) canceled: bool,
    #[prost(string, tag = "6")]
    pub(crate) cancel_reason: String,
    #[prost(message, repeated, tag = "11")]
    pub(crate) events: Vec<Event>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Event {
    #[prost(message, optional, tag = "2")]
    pub(crate) kv: Option<Key>,
}

/// Of a `KeyValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Key {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
}
