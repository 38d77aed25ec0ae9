//! A gRPC client that costs as little as possible: raw HTTP/2, requests encoded up front, replies decoded only where
//! the next request depends on them.

pub(crate) mod connection;
pub(crate) mod frames;
pub(crate) mod reply;
pub(crate) mod request;
