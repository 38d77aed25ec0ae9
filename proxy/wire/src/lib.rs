//! etcd messages as bytes: what the proxy must know of a message is read in place, what it must change is appended or
//! spliced, and everything else, values and unknown fields above all, passes through untouched.
//!
//! *Invariant:* this crate does no IO, spawns nothing and knows nothing of tokio, hyper or tonic.
//!
//! Two properties of protobuf carry the design: a later scalar field overrides an earlier one, and a later occurrence of
//! an embedded message merges into the earlier one. So a field is overridden by appending it. That is sound only on a
//! message whose every length was checked ([`request`] does that for what clients send): a last length that reaches
//! past the end would swallow what is appended.

pub mod fence;
pub mod field;
pub mod frame;
pub mod keys;
pub mod patch;
pub mod request;
pub mod response;
pub mod status;
pub mod translate;
pub mod varint;

pub use field::{Fields, Malformed, Value};
pub use keys::{KeyRange, RESERVED};
pub use status::{Code, Status};
